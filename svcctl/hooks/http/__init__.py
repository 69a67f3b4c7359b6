"""http: accounts of any service with an HTTP API that answers in JSON, without Python.

The configuration has the requests, the places in their answers, and what errors look like.
"""

from typing import Any

from svcctl.hooks.declared import DeclaredHook
from svcctl.hooks.http.config import HttpConfig
from svcctl.hooks.http.manager import HttpManager, SessionManager

__all__ = ["HttpConfig", "HttpHook", "HttpManager"]


class HttpHook(DeclaredHook):
    """People on a service with an HTTP API."""

    config: HttpConfig
    config_class = HttpConfig
    manager_class = HttpManager
    version = "1"

    def __init__(
        self, name: str, config: HttpConfig, *, default_name_format: str = "{character_name}"
    ) -> None:
        if config.login is not None:
            self.manager_class = SessionManager
        super().__init__(name, config, default_name_format=default_name_format)

    def manager_arguments(self) -> dict[str, Any]:
        return {**super().manager_arguments(), "username_rule": self.username_rule}
