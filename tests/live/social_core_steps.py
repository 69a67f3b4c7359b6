"""A plug-in for pytest: in social-core's own tests, svcctl's steps and @partial instead of its own.

Refusals become the exceptions that social-core raises with the same code. What came of each test,
and how many calls of our steps it made, is written to the file that `SVCCTL_REPORT` names.
"""

import functools
import json
import os
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from social_core import exceptions

from svcctl.errors import ConfigError, Refused
from svcctl.pipeline import partial

PLACES = {
    "social_core.pipeline.social_auth": "svcctl.pipeline.steps.social",
    "social_core.pipeline.user": "svcctl.pipeline.steps.user",
    "social_core.pipeline.mail": "svcctl.pipeline.steps.mail",
    "social_core.pipeline.disconnect": "svcctl.pipeline.steps.disconnect",
    "social_core.pipeline.debug": "svcctl.pipeline.steps.debug",
}
EXCEPTIONS = {
    "missing_claim": exceptions.AuthResponseError,
    "invalid_claim": exceptions.AuthResponseError,
    "authentication_disallowed": exceptions.AuthPolicyError,
    "disconnect_disallowed": exceptions.AuthPolicyError,
    "identity_in_use": exceptions.AuthAssociationError,
    "email_in_use": exceptions.AuthAssociationError,
    "username_in_use": exceptions.AuthAssociationError,
    "identifier_migration_conflict": exceptions.AuthAssociationError,
    "email_verification_rejected": exceptions.AuthCredentialError,
}

_calls: list[str] = []
_came_of: dict[str, dict[str, Any]] = {}


def pytest_configure() -> None:
    """Before a test is imported: some import steps by name."""
    for theirs, ours in PLACES.items():
        module = import_module(ours)
        for name, function in vars(module).items():
            if hasattr(function, "svcctl_step") and hasattr(import_module(theirs), name):
                setattr(import_module(theirs), name, _as_theirs(name, function))
    decorators = import_module("social_core.pipeline.partial")
    for name in ("partial", "partial_step"):
        setattr(decorators, name, getattr(partial, name))


def _as_theirs(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def run(*arguments: Any, **context: Any) -> Any:
        _calls.append(name)
        try:
            return function(*arguments, **context)
        except Refused as refused:
            stage: Any = "disconnect" if refused.code == "disconnect_disallowed" else "pipeline"
            kind = EXCEPTIONS[refused.code]
            raise kind(None, refused.message, code=refused.code, stage=stage) from refused
        except ConfigError as error:
            raise exceptions.AuthConfigurationError(
                None, error.message, code="invalid_setting", stage="pipeline"
            ) from error

    return run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Count, in the process that runs the test."""
    _calls.clear()
    try:
        return (yield)
    finally:
        item.user_properties.append(("steps", len(_calls)))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """In the process that has the report; a test fails with any of its parts."""
    entry = _came_of.setdefault(report.nodeid, {"outcome": "passed", "steps": 0})
    if report.outcome != "passed" and entry["outcome"] != "failed":
        entry["outcome"] = report.outcome
    entry["steps"] = max(
        [entry["steps"], *(n for key, n in report.user_properties if key == "steps")]
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """The file."""
    if not hasattr(session.config, "workerinput"):
        Path(os.environ["SVCCTL_REPORT"]).write_text(json.dumps(_came_of), encoding="utf-8")
