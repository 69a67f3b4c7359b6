"""sql: accounts of any service that keeps them in a database, without Python.

The configuration has the statements; each verb is one transaction.
"""

from typing import Any

from svcctl.hooks.declared import DeclaredHook
from svcctl.hooks.sql.config import SqlConfig
from svcctl.hooks.sql.manager import SqlManager

__all__ = ["SqlConfig", "SqlHook", "SqlManager"]


class SqlHook(DeclaredHook):
    """People in the tables of a service."""

    config: SqlConfig
    config_class = SqlConfig
    manager_class = SqlManager
    version = "1"

    def manager_arguments(self) -> dict[str, Any]:
        return {
            **super().manager_arguments(),
            "timeout": self.config.timeout.total_seconds(),
            "username_rule": self.username_rule,
        }
