"""Steps of somebody else: they declare nothing and know only python-social-auth's convention."""

import os
import signal
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from social_core.pipeline.partial import partial as social_core_partial

from svcctl.pipeline.partial import Pause, partial, partial_step, save_status_to_session


@dataclass(frozen=True)
class Response:
    """What a web framework would send."""

    url: str


@partial
def ask_for_nick(strategy: Any, details: Any, user: Any = None, **kwargs: Any) -> Any:
    """Pauses until somebody has said how the person wants to be called."""
    nick = strategy.request_data().get("nick")
    if not nick:
        assert kwargs["current_partial"].token
        return strategy.redirect("/ask")
    return {"details": {**details, "username": nick}}


@partial_step(save_to_session=True, allow_external_resume=True)
def ask_outside(strategy: Any, details: Any, **kwargs: Any) -> Any:
    """Waits for whoever was given the token."""
    if nick := strategy.request_data().get("nick"):
        return {"details": {**details, "username": nick}}
    sent.append(kwargs["current_partial"].token)
    return strategy.redirect("/sent")


@partial_step(save_to_session=False)
def ask_inside(strategy: Any, details: Any, **kwargs: Any) -> Any:
    """Waits for the operator."""
    if nick := strategy.request_data().get("nick"):
        return {"details": {**details, "username": nick}}
    sent.append(kwargs["current_partial"].token)
    return strategy.redirect("/sent")


@social_core_partial
def theirs(strategy: Any, **_kwargs: Any) -> Any:
    """Decorated with python-social-auth's own `@partial`."""
    return None if strategy.request_data().get("go") else Response("/theirs")


def pause(confirmed_by: str | None = None) -> Any:
    """Names one parameter, and gets no other."""
    if confirmed_by is None:
        return Pause("who confirms it?", needs=("confirmed_by",))
    return {"witness": confirmed_by}


def remember_much(**_kwargs: Any) -> dict[str, Any]:
    """What social-core would lose or change on its way through a session."""
    return {
        "price": Decimal("1.10"),
        "born": date(1815, 12, 10),
        "ratio": 0.1,
        "pair": (1, 2),
        "set": {1, 2},
        "by_number": {1: "one"},
        "raw": b"\x00\xff",
        "uuid": UUID(int=7),
    }


def check_much(**kwargs: Any) -> None:
    """Everything came back as it was."""
    for name, value in remember_much().items():
        assert kwargs[name] == value, name
        assert type(kwargs[name]) is type(value), name


def remember_object(**_kwargs: Any) -> dict[str, Any]:
    """What nobody can save."""
    return {"profile": {"photo": object()}}


def answer(**_kwargs: Any) -> Response:
    """A response of its own."""
    return Response("https://example.org/closed?token=s3cr3t-answer")


def fail(response: Any, **_kwargs: Any) -> None:
    """A bug, whose message has a token in it."""
    raise KeyError(response.get("access_token"))


def die(**_kwargs: Any) -> None:
    """The machine loses its power."""
    os.kill(os.getpid(), signal.SIGKILL)


def write_a_file(**_kwargs: Any) -> dict[str, Any]:
    """Acts on the outside."""
    Path("written.txt").write_text("x")
    return {"written": True}


def open_a_socket(**_kwargs: Any) -> None:
    """Acts on the outside."""
    socket.create_connection(("127.0.0.1", 9))


def start_a_process(**_kwargs: Any) -> None:
    """Acts on the outside."""
    subprocess.run(["/bin/true"], check=True)


def needs_written(written: bool) -> None:  # noqa: FBT001
    """Needs what a step before it gives."""
    assert written


def old_way(strategy: Any, **kwargs: Any) -> Any:
    """As it was done before `@partial`."""
    return None if strategy.request_data().get("go") else Response("/wait")


def session_backend(strategy: Any, **_kwargs: Any) -> dict[str, Any]:
    """What the session says of the paused run."""
    return {"paused_with": strategy.session_get("partial_pipeline")["backend"]}


def save_profile(backend: Any, user: Any, response: Any, *args: Any, **kwargs: Any) -> None:
    """As python-social-auth's own documentation shows a step."""
    if backend.name == "github":
        user.fullname = response.get("name", "").upper()
        backend.strategy.storage.user.changed(user)


save = save_status_to_session
acts: list[Callable[[], Any]] = []
sent: list[Any] = []


def meanwhile(**_kwargs: Any) -> None:
    """Something happens in another shell."""
    while acts:
        acts.pop()()


def send_three(strategy: Any, backend: Any, code: Any) -> None:
    """The three-argument form of EMAIL_VALIDATION_FUNCTION."""
    sent.append((strategy.setting("EMAIL_VALIDATION_URL"), backend.name, code.code, code.email))


def send_four(strategy: Any, backend: Any, code: Any, partial_token: str) -> None:
    """The four-argument form."""
    sent.append((code.code, code.email, code.verified, partial_token))


def send_nothing(strategy: Any, backend: Any, code: Any) -> None:
    """A sender that does not work."""
    raise ConnectionError("no route to the post office")


def never_allowed(user: Any, backend_name: str, association_id: Any) -> bool:
    """A policy."""
    return bool(user.username == "boss" and backend_name and association_id is None)
