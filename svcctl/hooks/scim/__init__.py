"""SCIM 2.0 (RFC 7643, 7644): accounts and groups of any service that speaks it."""

from collections.abc import Iterable

from pydantic import Field, field_validator

from svcctl.config.http import Remote
from svcctl.config.service import HookConfig
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.scim.manager import PATHS, ScimManager
from svcctl.model import Verb
from svcctl.names import NameRule

__all__ = ["ScimConfig", "ScimHook", "ScimManager"]


class ScimConfig(Remote, HookConfig):
    """The settings of a SCIM service."""

    paths: dict[str, str] = Field(
        default_factory=lambda: dict(PATHS),
        description="user attribute -> SCIM attribute, like name.givenName, for those that "
        "`attributes` names; others go by their own name",
    )
    nickname_path: str = Field(
        "displayName",
        description='the SCIM attribute that holds the nickname; "": the server keeps none',
    )
    passwords: bool = Field(
        default=False, description="true: new accounts get a random password, which can be reset"
    )
    external_ids: bool = Field(
        default=True,
        description="false: the server drops externalId; accounts are found by userName then",
    )
    create_groups: bool = Field(
        default=False, description="true: mapped groups that the server lacks are created"
    )
    page_size: int = Field(100, ge=1, le=10_000, description="accounts to ask for at once")

    @field_validator("paths", mode="after")
    @classmethod
    def _simple(cls, paths: dict[str, str]) -> dict[str, str]:
        for path in paths.values():
            parts = path.split(".")
            if len(parts) > 2 or not all(part.isidentifier() for part in parts):
                raise ValueError(f"{path}: write it like title or name.givenName")
        return paths


class ScimHook(ServiceHook):
    """People on a SCIM service: named by userName, known by externalId, shown by displayName."""

    config: ScimConfig
    config_class = ScimConfig
    manager_class = ScimManager
    version = "1"
    # RFC 7643, 4.1.1: userName is compared without regard to case.
    username_rule = NameRule(case_sensitive=False, max_length=255)
    nickname_rule = NameRule(min_length=0, max_length=255)
    group_rule = NameRule(max_length=255)

    def cannot(self) -> Iterable[str]:
        if not self.config.passwords:
            yield Verb.SET_PASSWORD
        if not self.config.nickname_path:
            yield Verb.SET_NICKNAME
