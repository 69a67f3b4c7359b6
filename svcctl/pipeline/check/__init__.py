"""What can be said of a pipeline without running it: what will fail, and what will not work.

Nothing is called. What steps declare is believed; a step that declares nothing is believed to give
whatever the steps after it need.
"""

from collections.abc import Collection, Iterable
from typing import Any

from svcctl.config.problems import dotted
from svcctl.config.settings import Settings
from svcctl.errors import ConfigError
from svcctl.pipeline.check.calling import calling
from svcctl.pipeline.check.finding import Finding, Severity, error
from svcctl.pipeline.check.order import order
from svcctl.pipeline.check.settings import reliance
from svcctl.pipeline.dataflow import Chosen, Kind, Part, part_of
from svcctl.pipeline.definition import Definition
from svcctl.pipeline.settings import Lookup
from svcctl.pipeline.step import Step

__all__ = ["Finding", "Severity", "check", "check_pipeline", "require_sound"]


def check(
    steps: Iterable[Step],
    *,
    kind: Kind,
    settings: Chosen,
    mail: bool,
    given: Collection[str] = (),
) -> list[Finding]:
    """Everything that is found, errors first, otherwise in the order of the steps.

    mail: whether svcctl can send mail. given: what a run is given besides, with `--set`.
    """
    found: list[Finding] = []
    parts: list[Part] = []
    for step in steps:
        try:
            parts.append(part_of(step, settings))
        except (TypeError, ValueError):  # some functions in C
            found.append(
                error(step.name, "its parameters cannot be told", "write a function around it")
            )
            parts.append(part_of(Step(step.name, _anything), settings))
    found += calling(parts, kind, given)
    found += order(parts, kind, settings)
    found += reliance(parts, kind, settings, mail=mail)
    return sorted(found, key=lambda finding: finding.severity is Severity.WARNING)


def check_pipeline(
    pipeline: Definition, settings: Settings, *, given: Collection[str] = ()
) -> list[Finding]:
    """The same, of a pipeline of the configuration."""
    return check(
        pipeline.steps,
        kind=pipeline.pipeline.kind,
        settings=Lookup(pipeline.name, pipeline.pipeline, settings.backends).chosen(),
        mail=settings.notify is not None,
        given=given,
    )


def require_sound(pipeline: Definition, settings: Settings, *, given: Collection[str]) -> None:
    """Raise ConfigError where something has to be mended, before anything runs."""
    found = check_pipeline(pipeline, settings, given=given)
    wrong = tuple(str(one) for one in found if one.severity is Severity.ERROR)
    if wrong:
        key = dotted((pipeline.name,), "pipelines")
        raise ConfigError(f"{key}: cannot be run as it is", problems=wrong)


def _anything(**_context: Any) -> None:
    """What is believed of a step of which nothing is known."""
