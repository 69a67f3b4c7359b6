"""From `[pipelines.<name>]` to steps: names are resolved before anything runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

from svcctl.config.pipeline import Pipeline
from svcctl.config.problems import dotted, suggest
from svcctl.config.settings import Settings
from svcctl.errors import ConfigError, UsageError
from svcctl.pipeline.functions import imported
from svcctl.pipeline.settings import unknown
from svcctl.pipeline.step import Step

SHIPPED: Mapping[str, str] = {
    name: f"svcctl.pipeline.steps.{module}"
    for module, names in {
        "social": (
            "social_details",
            "social_names",
            "social_uid",
            "auth_allowed",
            "social_user",
            "associate_by_email",
            "associate_user",
            "load_extra_data",
        ),
        "user": ("get_username", "create_user", "user_details"),
        "mail": ("mail_validation",),
        "disconnect": ("allowed_to_disconnect", "get_entries", "revoke_tokens", "disconnect"),
        "debug": ("debug",),
        "accounts": (
            "link_account",
            "activate_services",
            "update_groups",
            "sync_nickname",
            "delete_services",
        ),
        "people": ("load_user", "assign_state", "notify"),
        "waiting": ("confirm", "wait_for", "run_command"),
    }.items()
    for name in names
}
"""The steps that ship: short name -> module."""

DEFAULT_STEPS: Mapping[str, tuple[str, ...]] = {
    "auth": (
        "social_details",
        "social_names",
        "social_uid",
        "auth_allowed",
        "social_user",
        "get_username",
        "create_user",
        "associate_user",
        "load_extra_data",
        "user_details",
    ),
    "disconnect": ("allowed_to_disconnect", "get_entries", "revoke_tokens", "disconnect"),
}
"""The lists of social-core 7, by kind of pipeline."""

INITIAL: Mapping[str, frozenset[str]] = {
    "auth": frozenset({"details", "response", "user", "is_new"}),
    "disconnect": frozenset({"details", "response", "user", "name", "user_storage"}),
}
"""What is in the context before the first step, besides its surroundings."""

_OURS = ("social.pipeline.", "social_core.pipeline.")


@dataclass(frozen=True, slots=True)
class Definition:
    """A pipeline of the configuration, its steps resolved."""

    name: str
    pipeline: Pipeline
    steps: tuple[Step, ...]

    @property
    def kind(self) -> str:
        """`auth` or `disconnect`."""
        return self.pipeline.kind

    @property
    def fingerprint(self) -> tuple[str, ...]:
        """What a paused run must find again: the steps by name, in order."""
        return tuple(step.name for step in self.steps)

    def index_of(self, name: str) -> int | None:
        """Where the step of this name is, None if it is not there."""
        names = self.fingerprint
        return names.index(name) if name in names else None


def definition(settings: Settings, name: str) -> Definition:
    """The pipeline of this name.

    Raises UsageError, and ConfigError for steps that are none and settings that nobody knows.
    """
    pipeline = settings.pipelines.get(name)
    if pipeline is None:
        raise UsageError(
            f"no such pipeline: {name}",
            hint=suggest(name, settings.pipelines) or "add it as [pipelines.<name>]",
        )
    key = f"{dotted((name,), 'pipelines')}.steps"
    names = pipeline.steps or DEFAULT_STEPS[pipeline.kind]
    steps, problems = [], []
    for index, step in enumerate(names):
        try:
            steps.append(resolve(step))
        except ConfigError as error:
            told = f"{key}[{index}]: {error.message}"
            problems.append(f"{told}; {error.hint}" if error.hint else told)
    if problems:
        raise ConfigError(f"{key}: not all steps can be used", problems=tuple(problems))
    wrong = tuple(str(problem) for problem in unknown(name, pipeline, settings.backends))
    if wrong:
        raise ConfigError(f"{dotted((name,), 'pipelines')}: unknown settings", problems=wrong)
    return Definition(name, pipeline, tuple(steps))


def resolve(name: str) -> Step:
    """The step of this name. Raises ConfigError where there is none.

    `social_uid`, and dotted names under `social.pipeline.` or `social_core.pipeline.`, are svcctl's
    own; `module:function` and all other dotted names are imported.
    """
    short = name
    if ":" not in name and name.startswith(_OURS):
        short = name.rpartition(".")[2]
        if short == "save_status_to_session":
            return Step(name, import_module("svcctl.pipeline.partial").save_status_to_session)
        if short not in SHIPPED:
            raise ConfigError(
                f"{name}: svcctl has no step {short}",
                hint=f"{name.rpartition('.')[0]}:{short} names python-social-auth's own",
            )
    if short in SHIPPED:
        return Step(name, getattr(import_module(SHIPPED[short]), short))
    if "." not in name and ":" not in name:
        raise ConfigError(f"{name}: no such step", hint=suggest(name, SHIPPED))
    return Step(name, imported(name))
