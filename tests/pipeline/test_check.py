"""What is found of a pipeline without running it, besides the order of the usual steps."""

import functools
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

import pytest
from social_core.pipeline.partial import partial

from svcctl.pipeline.check import Severity, check
from svcctl.pipeline.check.order import WITHOUT
from svcctl.pipeline.dataflow import OPTIONAL, ORDER, Kind, steps_that_ship
from svcctl.pipeline.definition import resolve
from svcctl.pipeline.partial import partial_step
from svcctl.pipeline.step import Step, step
from svcctl.pipeline.steps.debug import debug
from tests.support.logins import OURS, THEIRS

USUAL = [name for name in ORDER["auth"] if name not in OPTIONAL]


def found(
    steps: Sequence[str | Callable[..., Any]],
    *,
    kind: Kind = "auth",
    mail: bool = True,
    **settings: Any,
) -> list[str]:
    """The findings as lines. A step is one of svcctl's, or a function here."""
    made = [
        Step(each, getattr(import_module(OURS[each]), each))
        if isinstance(each, str)
        else Step(f"acme.{getattr(each, '__name__', 'step')}", each)
        for each in steps
    ]
    values = {name: [value] for name, value in settings.items()}
    return [
        f"{finding.severity}: {finding}"
        for finding in check(made, kind=kind, settings=values, mail=mail)
    ]


def behind(name: str, function: Callable[..., Any]) -> list[str | Callable[..., Any]]:
    """The usual steps with another one behind one of them."""
    place = USUAL.index(name) + 1
    return [*USUAL[:place], function, *USUAL[place:]]


# Lists that are in use


def load_user(user_id: Any = None, **kwargs: Any) -> Any:
    """The document's `myapp.pipeline.load_user`."""


def save_profile(backend: Any, user: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
    """The document's `path.to.save_profile`."""


OLD = [name for name in USUAL if name != "social_names"]  # python-social-auth had eight, then nine


@pytest.mark.parametrize(
    ("kind", "steps", "told"),
    [
        ("auth", USUAL, []),
        ("disconnect", ORDER["disconnect"], []),
        ("auth", OLD, ["social_names"]),
        (
            "auth",
            [name for name in OLD if name not in ("get_username", "create_user")],
            ["social_names", "create_user"],
        ),
        (
            "auth",
            [load_user, "social_user", "associate_user", "load_extra_data", "user_details"],
            ["auth_allowed"],
        ),
        ("auth", [*OLD[:6], save_profile, *OLD[6:]], []),
        ("auth", behind("create_user", save_profile), []),
        ("auth", behind("user_details", save_profile), []),
        ("auth", [*USUAL[:6], "mail_validation", *USUAL[6:]], ["mail_validation"]),
        ("auth", [*USUAL[:6], "associate_by_email", *USUAL[6:]], ["associate_by_email"]),
        ("auth", [load_user], []),
        ("auth", [], []),
    ],
)
def test_lists_that_are_in_use_have_no_errors(
    kind: Kind, steps: Sequence[Any], told: Sequence[str]
) -> None:
    lines = found(steps, kind=kind)
    assert [line.partition(":")[0] for line in lines] == ["warning"] * len(told)
    assert [line.split(": ")[1] for line in lines] == list(told)


def test_social_cores_own_steps_are_known_by_what_they_do() -> None:
    steps = [Step(name, getattr(import_module(THEIRS[name]), name)) for name in USUAL]
    assert check(steps, kind="auth", settings={}, mail=True) == []
    twice = [*steps, steps_that_ship()["create_user"]]
    (finding,) = check(twice, kind="auth", settings={}, mail=True)
    assert str(finding) == "create_user: is there twice; leave one of them out"


def test_every_usual_step_has_its_loss() -> None:
    assert {name for names in ORDER.values() for name in names} - OPTIONAL == WITHOUT.keys()


# What steps are given


def test_a_parameter_that_nobody_gives() -> None:
    def greet(user: Any, greeting: str, **kwargs: Any) -> None: ...

    assert found(behind("user_details", greet)) == [
        "error: acme.greet: greeting: no step before it gives this; "
        "a step before it has to return it, or the parameter needs a default"
    ]


def test_a_parameter_that_the_run_is_given() -> None:
    def greet(greeting: str) -> None: ...

    steps = [Step("greet", greet)]
    assert len(check(steps, kind="auth", settings={}, mail=True)) == 1
    assert check(steps, kind="auth", settings={}, mail=True, given=["greeting"]) == []


def test_a_parameter_that_a_later_step_gives() -> None:
    @step(produces=("greeting",))
    def polite(**kwargs: Any) -> Any: ...

    def greet(greeting: str) -> None: ...

    assert found([greet, polite]) == [
        "error: acme.greet: greeting: no step before it gives this; move acme.polite before it"
    ]
    assert found([polite, greet]) == []


def test_a_parameter_that_one_of_the_usual_steps_would_give() -> None:
    def greet(username: str, entries: Any) -> None: ...

    assert found([greet]) == [
        "error: acme.greet: username: no step before it gives this; put get_username before it",
        "error: acme.greet: entries: no step before it gives this; "
        "a step before it has to return it, or the parameter needs a default",
    ]


def test_a_parameter_that_only_the_other_kind_of_pipeline_has() -> None:
    assert found(["allowed_to_disconnect"]) == [
        f"error: allowed_to_disconnect: {name}: no step before it gives this; "
        'only a pipeline with kind = "disconnect" has it'
        for name in ("name", "user_storage")
    ]

    def ask(is_new: bool) -> None: ...  # noqa: FBT001 - social-core's name

    assert found([ask], kind="disconnect") == [
        "error: acme.ask: is_new: no step before it gives this; "
        'only a pipeline with kind = "auth" has it'
    ]


def test_a_step_that_declares_nothing_may_give_everything() -> None:
    def greet(greeting: str) -> None: ...

    ran = check([resolve("run_command"), Step("greet", greet)], kind="auth", settings={}, mail=True)
    assert ran == []
    assert found([load_user, greet]) == []
    assert len(found([greet, load_user])) == 1


def test_what_surrounds_a_step_is_always_there_and_kwargs_are_not_needed() -> None:
    def look(
        strategy: Any, backend: Any, storage: Any, request: Any, pipeline_index: int
    ) -> None: ...

    def nothing() -> None: ...

    def positions(*args: Any) -> None: ...

    def optional(anything: Any = None, *, more: Any = None) -> None: ...

    for function in (look, nothing, positions, optional):
        assert found([function]) == []


def test_somebody_elses_step_that_comes_before_the_user_is_there() -> None:
    late = "warning: acme.save_profile: user: is None for somebody who is new; move it behind "
    assert found([save_profile, *USUAL]) == [f"{late}create_user"]
    assert found(behind("get_username", save_profile)) == [f"{late}create_user"]
    only = ["social_details", "social_names", "social_uid", "auth_allowed", "social_user"]
    assert "warning: acme.save_profile: user: says nothing yet; move it behind social_user" in (
        found([save_profile, *only])
    )

    def either(user: Any = None, **kwargs: Any) -> None: ...

    assert found([either, *USUAL]) == []


def test_somebody_elses_step_that_comes_before_the_details_are_there() -> None:
    def shout(details: Any, **kwargs: Any) -> None: ...

    assert found([shout, *USUAL]) == [
        "warning: acme.shout: details: says nothing yet; move it behind social_details"
    ]
    assert found(behind("social_details", shout)) == []


# What cannot be a step


def generator(**kwargs: Any) -> Iterator[None]:
    yield


async def coroutine(**kwargs: Any) -> None: ...


async def stream(**kwargs: Any) -> AsyncIterator[None]:
    yield


class Thing:
    def method(self, user: Any) -> None: ...

    def __call__(self, user: Any) -> None: ...


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (generator, "a generator"),
        (coroutine, "a coroutine function"),
        (functools.partial(coroutine), "a coroutine function"),
        (stream, "an asynchronous generator"),
        (Thing, "a class"),
    ],
)
def test_what_would_end_the_run_by_what_it_returns(function: Callable[..., Any], what: str) -> None:
    name = getattr(function, "__name__", "step")
    assert found([function]) == [
        f"error: acme.{name}: is {what}, and what it returns would end the run; "
        "a step is a function, written with def, that returns a dict or nothing"
    ]


def test_methods_and_objects_that_can_be_called_are_steps() -> None:
    assert found([Thing().method]) == []
    assert found([Thing()]) == []
    assert found([functools.partial(save_profile, response={})]) == []


def test_parameters_that_have_no_name() -> None:
    def placed(user: Any, /, **kwargs: Any) -> None: ...

    assert found([placed]) == [
        "error: acme.placed: user: can only be given by its place, and steps are given everything "
        "by name; remove the / behind it"
    ]


def test_a_function_in_c_that_does_not_tell_its_parameters() -> None:
    largest: Callable[..., Any] = max
    assert found([largest, "social_uid"])[0] == (
        "error: acme.max: its parameters cannot be told; write a function around it"
    )


def test_what_belongs_to_the_engine_is_not_a_steps_to_give() -> None:
    @step(produces=("backend", "profile"))
    def replace(**kwargs: Any) -> Any: ...

    assert found([replace]) == [
        "error: acme.replace: backend: is returned by it, and belongs to the engine; "
        "return it under another name"
    ]


def test_a_step_that_is_there_twice() -> None:
    assert found(["social_details", "social_details"])[-1] == (
        "warning: social_details: is there twice; leave one of them out"
    )
    again = Step("users.load", load_user), Step("load", load_user)
    (finding,) = check(again, kind="auth", settings={}, mail=True)
    assert str(finding) == "load: is there twice, also as users.load; leave one of them out"
    assert found([debug, *USUAL, debug]) == []


# Pauses


def test_a_step_that_pauses_is_there_once_since_a_run_goes_on_by_its_name() -> None:
    @step(pauses=True)
    def ask(strategy: Any) -> Any: ...

    assert found([ask, ask]) == [
        "error: acme.ask: is there twice, and a paused run goes on with a step by its name; "
        "leave one of them out"
    ]
    named = Step("first", ask), Step("second", ask)
    (finding,) = check(named, kind="auth", settings={}, mail=True)
    assert finding.severity is Severity.WARNING


def test_a_step_that_pauses_and_can_never_hear_an_answer() -> None:
    @step(pauses=True)
    def deaf(user: Any, details: Any) -> Any: ...

    @step(pauses=True)
    def hears(user: Any, approved: Any = None) -> Any: ...

    @step(pauses=True)
    def asks(strategy: Any) -> Any: ...

    @partial
    def theirs(strategy: Any, backend: Any, current_partial: Any, **kwargs: Any) -> Any: ...

    assert found([deaf]) == [
        "error: acme.deaf: pauses, and is given nothing that could hold an answer; "
        "let it take strategy, whose request_data() has what `--set` says, or **kwargs"
    ]
    for function in (hears, asks, theirs):
        assert found([function]) == []


def test_only_a_step_under_partial_has_a_partial() -> None:
    def forgot(current_partial: Any, **kwargs: Any) -> None: ...

    assert found([forgot]) == [
        "error: acme.forgot: current_partial: no step before it gives this; "
        "only a step under @partial gets it"
    ]
    for decorator in (partial, partial_step(save_to_session=True), functools.partial(again, 1)):
        assert found([decorator(forgot)]) == []


def again(times: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """Somebody's own decorator around @partial."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any: ...

    wrapper.__wrapped__ = partial(function)
    return wrapper


def test_a_step_under_partial_takes_what_that_gives() -> None:
    def ask(details: Any, current_partial: Any) -> Any: ...

    def all_of_it(
        strategy: Any, backend: Any, pipeline_index: int, current_partial: Any
    ) -> Any: ...

    for decorator in (partial, partial_step(save_to_session=True)):
        assert found([decorator(ask)]) == [
            "error: acme.ask: is under @partial, which also gives it backend, pipeline_index and "
            "strategy; add **kwargs to its parameters"
        ]
        assert found([decorator(all_of_it)]) == []


def test_people_are_asked_after_it_is_known_that_they_are_let_in() -> None:
    @step(pauses=True)
    def ask(strategy: Any) -> Any: ...

    assert found([ask, *USUAL]) == [
        "warning: auth_allowed: comes after acme.ask, which asks also those who are not let in; "
        "move it before acme.ask"
    ]
    assert found(behind("create_user", ask)) == []


def test_what_is_done_before_a_pause_stays_done() -> None:
    late = [*USUAL[:7], "mail_validation", *USUAL[7:]]
    assert found(late, FORCE_EMAIL_VALIDATION=True) == [
        "warning: mail_validation: pauses after create_user (creates a user where nobody is known "
        "yet), and what is done stays; move it before create_user"
    ]


# What stands in for a usual step


def test_a_step_of_somebody_else_may_do_the_work_of_one_that_is_not_there() -> None:
    @step(produces=("user", "is_new"))
    def create_member(details: Any, user: Any = None) -> Any: ...

    steps: list[Any] = [*USUAL[:6], create_member, *USUAL[7:]]
    assert found(steps) == []
    steps[6] = load_user
    assert found(steps) == []
    others: list[Any] = [*USUAL[:6], *USUAL[7:], load_user]
    assert len(found(others)) == 1


def test_nobody_stands_in_for_whom_is_let_in() -> None:
    steps: list[Any] = [load_user, *[name for name in USUAL if name != "auth_allowed"]]
    assert [line.split(": ")[1] for line in found(steps)] == ["auth_allowed"]


# Settings


def test_a_setting_that_keeps_somebody_out_and_that_nobody_reads_is_an_error() -> None:
    steps = [name for name in USUAL if name != "auth_allowed"]
    told = (
        "WHITELISTED_DOMAINS: is set, and auth_allowed, which heeds it, is not there; "
        "put auth_allowed into the list"
    )
    assert found(steps, WHITELISTED_DOMAINS=["example.org"])[0] == f"error: {told}"
    # Somebody else's step may do it.
    assert f"warning: {told}" in found([load_user, *steps], WHITELISTED_DOMAINS=["example.org"])
    assert found(USUAL, WHITELISTED_DOMAINS=["example.org"]) == []
    assert len(found(steps, WHITELISTED_DOMAINS=[])) == 1


def test_addresses_that_have_to_be_proven_and_that_nobody_asks_for_are_an_error() -> None:
    assert found(USUAL, FORCE_EMAIL_VALIDATION=True) == [
        "error: FORCE_EMAIL_VALIDATION: is set, and mail_validation, which heeds it, is not there; "
        "put mail_validation into the list"
    ]
    assert found(USUAL, FORCE_EMAIL_VALIDATION=False) == []


def test_tokens_are_revoked_where_the_settings_say_so() -> None:
    steps = ["allowed_to_disconnect", "get_entries", "disconnect"]
    assert found(steps, kind="disconnect") == []
    assert found(steps, kind="disconnect", REVOKE_TOKENS_ON_DISCONNECT=True) == [
        "error: REVOKE_TOKENS_ON_DISCONNECT: is set, and revoke_tokens, which heeds it, "
        "is not there; put revoke_tokens into the list",
        "warning: revoke_tokens: is not there: the provider goes on accepting the tokens; "
        "put it back, if that is not meant",
    ]


def test_a_backends_settings_are_no_matter_of_pipelines_that_have_nothing_to_do_with_them() -> None:
    settings: dict[str, Any] = {
        "WHITELISTED_DOMAINS": ["example.org"],
        "FORCE_EMAIL_VALIDATION": True,
    }
    assert found(ORDER["disconnect"], kind="disconnect", **settings) == []
    assert found([load_user, "social_details"], **settings) == []
    assert found(USUAL, REVOKE_TOKENS_ON_DISCONNECT=True) == []


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("NO_DEFAULT_PROTECTED_USER_FIELDS", True, "user_details"),
        ("NO_DEFAULT_PROTECTED_USER_FIELDS", 1, None),  # the step asks for true itself
        ("ALLOW_UNVERIFIED_LEGACY_UID_MIGRATION", True, "social_user"),
        ("ALLOW_UNVERIFIED_LEGACY_UID_MIGRATION", False, None),
    ],
)
def test_settings_that_are_dangerous(name: str, value: Any, told: str | None) -> None:
    lines = found(USUAL, **{name: value})
    assert [line.split(": ")[1:3] for line in lines] == ([[told, name]] if told else [])


def test_mail_validation_that_does_nothing_or_cannot_send() -> None:
    steps = [*USUAL[:6], "mail_validation", *USUAL[6:]]
    assert found(steps) == [
        "warning: mail_validation: does nothing, unless the backend wants it; "
        "set FORCE_EMAIL_VALIDATION = true"
    ]
    assert found(steps, mail=False, FORCE_EMAIL_VALIDATION=True) == [
        "error: mail_validation: has no way to send its codes; "
        "configure [notify.mail], or name an EMAIL_VALIDATION_FUNCTION"
    ]
    sending: Mapping[str, Any] = {"EMAIL_VALIDATION_FUNCTION": "acme.send"}
    assert found(steps, mail=False, FORCE_EMAIL_VALIDATION=True, **sending) == []
    assert found(steps, FORCE_EMAIL_VALIDATION=True) == []


def test_errors_come_first() -> None:
    def greet(greeting: str) -> None: ...

    made = [steps_that_ship()["social_user"], Step("greet", greet)]
    severities = [finding.severity for finding in check(made, kind="auth", settings={}, mail=True)]
    assert severities == sorted(severities)
    assert set(severities) == set(Severity)
