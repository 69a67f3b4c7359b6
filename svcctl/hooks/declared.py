"""Services that are described in the configuration instead of in Python: http, sql and command."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any, Self

from pydantic import Field, model_validator

from svcctl.config.service import Frozen, HookConfig
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import READS, VERBS
from svcctl.names import NameRule


class Rule(Frozen):
    """Which names the service takes, and how a name is made to fit."""

    replace: dict[str, str] = Field(
        default_factory=dict, description='characters and what stands for them, like { " " = "_" }'
    )
    characters: str | None = Field(
        None, description="the allowed ones as in a regular expression's brackets; default: all"
    )
    lower: bool = Field(default=False, description="true: in lower case")
    squeeze: str = Field("", description="characters of which several in a row become one")
    strip: str = Field(" ", description="characters that are taken off both ends")
    upper_first: bool = Field(
        default=False, description="true: the first letter is a capital, ada and Ada are the same"
    )
    min_length: int = Field(1, ge=0, description="a shorter name is refused")
    max_length: int | None = Field(None, description="longer names are cut off here")
    max_bytes: int | None = Field(None, description="the same, in bytes of UTF-8")
    reserved: frozenset[str] = Field(
        frozenset(), description="names that the service keeps for itself"
    )
    case_sensitive: bool = Field(
        default=True, description="false: the service takes Ada and ada for the same name"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self.built()
        return self

    def built(self) -> NameRule:
        """Raises ValueError for a rule that contradicts itself."""
        return NameRule(**{field.name: getattr(self, field.name) for field in fields(NameRule)})


class NicknameRule(Rule):
    """Which nicknames the service takes: mostly also none."""

    min_length: int = Field(0, ge=0, description="a shorter nickname is refused")


class DeclaredConfig(HookConfig):
    """The settings of all services that are described in the configuration."""

    username_rule: Rule = Field(Rule(), description="which names of accounts the service takes")
    nickname_rule: NicknameRule = Field(NicknameRule(), description="which nicknames it takes")
    group_rule: Rule = Field(Rule(), description="which names of groups it takes")

    def offered(self) -> Iterable[str]:
        """The methods of the manager for which there is a description."""
        raise NotImplementedError


class DeclaredHook(ServiceHook):
    """Takes the names, and can do the verbs, that its configuration describes."""

    config: DeclaredConfig

    def __init__(
        self, name: str, config: DeclaredConfig, *, default_name_format: str = "{character_name}"
    ) -> None:
        self.username_rule = config.username_rule.built()
        self.nickname_rule = config.nickname_rule.built()
        self.group_rule = config.group_rule.built()
        super().__init__(name, config, default_name_format=default_name_format)

    def cannot(self) -> Iterable[str]:
        return (READS | VERBS).difference(self.config.offered())

    def manager_arguments(self) -> dict[str, Any]:
        arguments = super().manager_arguments()
        for name in DeclaredConfig.model_fields.keys() & arguments.keys():
            del arguments[name]
        return arguments
