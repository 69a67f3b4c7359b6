"""command: accounts of whatever a program of yours speaks to, in any language."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from svcctl.config.http import MEBIBYTE
from svcctl.config.secrets import Secret
from svcctl.config.service import Duration
from svcctl.hooks.command.manager import CommandManager
from svcctl.hooks.declared import DeclaredConfig, DeclaredHook
from svcctl.hooks.manager import READS, VERBS

__all__ = ["CommandConfig", "CommandHook", "CommandManager", "ParallelManager"]


class CommandConfig(DeclaredConfig):
    """The settings of a service that a program knows; see docs/services-without-python.md."""

    program: Path = Field(
        description="the executable; a relative path starts at this file's folder"
    )
    arguments: tuple[str, ...] = Field((), description="its arguments; secrets go under secrets")
    methods: frozenset[str] = Field(
        description=f"what it can do, of: {', '.join(sorted(READS | VERBS))}"
    )
    settings: dict[str, Any] = Field(
        default_factory=dict, description="handed to it with each request, as they are"
    )
    secrets: dict[str, Secret] = Field(
        default_factory=dict, description="handed to it with each request, on stdin only"
    )
    environment: tuple[str, ...] = Field(
        (),
        description="variables that it gets, besides PATH, HOME, USER, LOGNAME, TMPDIR, TZ, LANG, "
        "LC_ALL and LC_CTYPE",
    )
    timeout: Duration = Field(
        "60s",  # type: ignore[assignment] # validated
        description="how long one call may take; then the program is ended",
    )
    largest_answer: int = Field(
        32 * MEBIBYTE, ge=1024, description="bytes; a program that writes more is ended"
    )
    external_ids: bool = Field(
        default=False, description="true: it keeps svcctl's key for a person, and finds by it"
    )
    parallel: bool = Field(
        default=False, description="true: several may run at once, as many as concurrency says"
    )

    @field_validator("methods")
    @classmethod
    def _of_the_contract(cls, methods: frozenset[str]) -> frozenset[str]:
        if unknown := sorted(methods - READS - VERBS):
            known = ", ".join(sorted(READS | VERBS))
            raise ValueError(f"{unknown[0]}: no such method; known: {known}")
        return methods

    def offered(self) -> Iterable[str]:
        return self.methods


class ParallelManager(CommandManager):
    """Several programs at once: they share nothing here."""

    concurrency = 8


class CommandHook(DeclaredHook):
    """People on a service that a program knows."""

    config: CommandConfig
    config_class = CommandConfig
    manager_class = CommandManager
    version = "1"

    def __init__(
        self, name: str, config: CommandConfig, *, default_name_format: str = "{character_name}"
    ) -> None:
        if config.parallel:
            self.manager_class = ParallelManager
        super().__init__(name, config, default_name_format=default_name_format)

    def manager_arguments(self) -> dict[str, Any]:
        arguments = super().manager_arguments()
        del arguments["methods"], arguments["parallel"]
        return {**arguments, "timeout": self.config.timeout.total_seconds()}
