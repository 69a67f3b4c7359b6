"""Lists that differ from the usual one: found if the outcome differs, and only then."""

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

import pytest
from social_core.backends.github import GithubOAuth2

from svcctl.pipeline.check import Finding, Severity, check
from svcctl.pipeline.dataflow import OPTIONAL, ORDER, Kind, part_of
from svcctl.pipeline.step import Step
from tests.support.logins import (
    DISCONNECTIONS,
    LOGINS,
    OURS,
    THEIRS,
    Engine,
    Scenario,
    new_with_a_known_address,
    outcome,
    social_cores_engine,
    svcctl_engine,
)
from tests.support.social import Strategy

USUAL = [name for name in ORDER["auth"] if name not in OPTIONAL]
LEAVING = list(ORDER["disconnect"])
FORCED = {"FORCE_EMAIL_VALIDATION": True}
ENGINES = pytest.mark.parametrize("on", [svcctl_engine, social_cores_engine])
ORIGINS = pytest.mark.parametrize("where", [OURS, THEIRS], ids=["ours", "social_core"])


def found(
    steps: Sequence[str],
    where: Mapping[str, str] = OURS,
    *,
    kind: Kind = "auth",
    settings: Mapping[str, Any] | None = None,
) -> list[str]:
    return [str(finding) for finding in findings(steps, where, kind=kind, settings=settings)]


def findings(
    steps: Sequence[str],
    where: Mapping[str, str] = OURS,
    *,
    kind: Kind = "auth",
    settings: Mapping[str, Any] | None = None,
) -> list[Finding]:
    functions = [Step(name, getattr(import_module(where[name]), name)) for name in steps]
    values = {name: [value] for name, value in (settings or {}).items()}
    return check(functions, kind=kind, settings=values, mail=True)


def without(steps: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    for place, name in enumerate(steps):
        yield f"without {name}", [*steps[:place], *steps[place + 1 :]]


def swapped(steps: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    for place in range(len(steps) - 1):
        first, second = steps[place : place + 2]
        yield f"{second} before {first}", [*steps[:place], second, first, *steps[place + 2 :]]


def moved(steps: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    for place, name in enumerate(steps):
        rest = [*steps[:place], *steps[place + 1 :]]
        for other in range(len(steps)):
            if other != place:
                yield f"{name} at {other}", [*rest[:other], name, *rest[other:]]


def inserted(step: str, steps: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    for place in range(len(steps) + 1):
        yield f"{step} at {place}", [*steps[:place], step, *steps[place:]]


def outcomes(
    steps: Sequence[str],
    where: Mapping[str, str],
    scenarios: Sequence[Scenario],
    on: Engine = svcctl_engine,
    **more: Any,
) -> list[Any]:
    return [outcome(steps, scenario, where=where, on=on, **more) for scenario in scenarios]


@ORIGINS
@ENGINES
def test_every_removal_and_every_move_that_changes_the_outcome_is_found_and_no_other(
    where: Mapping[str, str], on: Engine
) -> None:
    usual = outcomes(USUAL, where, LOGINS, on)
    assert found(USUAL, where) == []
    lists = dict([*without(USUAL), *swapped(USUAL), *moved(USUAL)])
    assert len(lists) == 10 + 9 + 90
    changes = {what for what, steps in lists.items() if outcomes(steps, where, LOGINS, on) != usual}
    assert {what for what, steps in lists.items() if found(steps, where)} == changes
    # Every removal, and five of the nine swaps.
    assert len(changes & dict(without(USUAL)).keys()) == 10
    assert sorted(changes & dict(swapped(USUAL)).keys()) == [
        "associate_user before create_user",
        "create_user before get_username",
        "get_username before social_user",
        "load_extra_data before associate_user",
        "social_names before social_details",
    ]


@ORIGINS
@ENGINES
@pytest.mark.parametrize("revoke", [True, False])
def test_so_it_is_with_the_disconnection(
    where: Mapping[str, str],
    on: Engine,
    revoke: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    settings = {"REVOKE_TOKENS_ON_DISCONNECT": revoke}
    assert found(LEAVING, where, kind="disconnect", settings=settings) == []
    usual = outcomes(LEAVING, where, DISCONNECTIONS, on, settings=settings)
    lists = dict([*without(LEAVING), *swapped(LEAVING)])
    changes = {
        what
        for what, steps in lists.items()
        if outcomes(steps, where, DISCONNECTIONS, on, settings=settings) != usual
    }
    assert {
        what
        for what, steps in lists.items()
        if found(steps, where, kind="disconnect", settings=settings)
    } == changes
    assert ("without revoke_tokens" in changes) is revoke


def test_steps_without_which_the_others_cannot_be_called_are_errors() -> None:
    for name in USUAL:
        steps = [each for each in USUAL if each != name]
        fails = any(kind == "failed" for kind, *_ in outcomes(steps, OURS, LOGINS[:1]))
        severities = {finding.severity for finding in findings(steps)}
        assert (severities == {Severity.ERROR}) is fails, name


@ORIGINS
@ENGINES
def test_mail_validation_is_found_wherever_it_does_not_ask_in_time(
    where: Mapping[str, str], on: Engine
) -> None:
    lists = dict(inserted("mail_validation", USUAL))
    good = USUAL.index("create_user")

    def results(steps: Sequence[str]) -> list[Any]:
        asked = outcomes(steps, where, LOGINS, on, settings=FORCED)
        return asked + outcomes(steps, where, LOGINS, on, settings=FORCED, proven=True)

    wanted = results(lists[f"mail_validation at {good}"])
    assert {kind for kind, *_ in wanted} == {"done", "paused", "failed"}
    changes = {what for what, steps in lists.items() if results(steps) != wanted}
    assert {what for what, steps in lists.items() if found(steps, where, settings=FORCED)} == (
        changes
    )
    fine = {f"mail_validation at {place}" for place in (good - 1, good)}
    assert lists.keys() - changes == fine


@ORIGINS
@ENGINES
def test_associate_by_email_is_found_wherever_it_does_nothing_or_harm(
    where: Mapping[str, str], on: Engine
) -> None:
    lists = dict(inserted("associate_by_email", USUAL))
    good = f"associate_by_email at {USUAL.index('create_user')}"
    wanted = _but_username(outcomes(lists[good], where, LOGINS, on))
    changes = {
        what
        for what, steps in lists.items()
        if _but_username(outcomes(steps, where, LOGINS, on)) != wanted
    }
    risk = set(found(lists[good], where))
    assert len(risk) == 1
    assert {what for what, steps in lists.items() if set(found(steps, where)) - risk} == changes
    assert len(changes) == 9


def _but_username(results: list[Any]) -> list[Any]:
    """Before `get_username` it even saves making a name up for somebody who has one."""
    for result in results:
        if result[0] == "done":
            result[-1].pop("username", None)
    return results


def test_an_address_is_proven_before_it_is_trusted() -> None:
    base = list(USUAL)
    base.insert(base.index("create_user"), "mail_validation")
    taken_over = 0
    for what, steps in inserted("associate_by_email", base):
        kind, (users, associations), *_ = outcome(steps, new_with_a_known_address, settings=FORCED)
        took = kind == "done" and [owner for owner, *_ in associations] == [users[0]["id"]]
        told = any("nobody has proven" in one for one in found(steps, settings=FORCED))
        assert told or not took, what
        assert told is (steps.index("associate_by_email") < steps.index("mail_validation"))
        taken_over += took
    assert taken_over > 0


class Watched(dict[str, Any]):
    """Details that know who asked for what."""

    def __init__(self, **known: Any) -> None:
        super().__init__(known)
        self.asked: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.asked.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)


@ORIGINS
@pytest.mark.parametrize(
    ("step", "parts"),
    [
        ("social_names", {"fullname", "first_name", "last_name"}),
        ("social_uid", set()),
        ("auth_allowed", {"email"}),
        ("get_username", {"username", "email"}),
        ("associate_by_email", {"email"}),
        ("create_user", {"username", "email"}),
        ("load_extra_data", {"fullname"}),
    ],
)
def test_the_check_knows_which_details_a_step_reads(
    where: Mapping[str, str], step: str, parts: set[str]
) -> None:
    function = getattr(import_module(where[step]), step)
    settings = {"EXTRA_DATA": ["fullname"]}
    strategy = Strategy(WHITELISTED_EMAILS=["a@b.c"], USERNAME_IS_FULL_EMAIL=True, **settings)
    users: Any = strategy.storage.user
    details = Watched(email="" if step == "get_username" else "a@b.c", username="ada")
    given = {"backend": GithubOAuth2(strategy), "strategy": strategy, "response": {"id": 1}}
    if step == "load_extra_data":
        given["social"] = users.create_social_auth(users.create_user(username="ada"), "1", "github")
        given["uid"] = "1"
    function(details=details, **given)
    assert details.asked & PERSON == parts
    part = part_of(Step(step, function), {"EXTRA_DATA": [["fullname"]]})
    assert {key.partition(".")[2] for key in part.reads if key.startswith("details")} == parts


PERSON = {"username", "email", "fullname", "first_name", "last_name"}
