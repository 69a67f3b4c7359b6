"""What waits for somebody or something. Nothing here loops: it looks once, and pauses the run."""

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from svcctl.clock import now
from svcctl.errors import ConfigError, PipelineError, Refused
from svcctl.pipeline.partial import Pause
from svcctl.pipeline.step import SURROUNDINGS, step
from svcctl.pipeline.strategy import Strategy

_YES = frozenset({"y", "yes", "true", "1", "on"})
_NO = frozenset({"n", "no", "false", "0", "off"})
_MOST = 1024 * 1024
_PROTECTED = SURROUNDINGS | {"user", "social", "is_new", "uid", "user_storage"}


@step(settings=("CONFIRM_QUESTION",), pauses=True, needs=("confirmed",))
def confirm(strategy: Strategy, backend: Any, **_context: Any) -> Pause | None:
    """Ask CONFIRM_QUESTION on a terminal; without one, pause until somebody has answered it.

    The answer is `--set confirmed=yes` or `no`. Raises Refused (`not_confirmed`) for a no.
    """
    question = str(strategy.setting("CONFIRM_QUESTION", "Go on?", backend=backend))
    answer = _answer(strategy, "confirmed")
    if answer is None:
        answer = strategy.ask(question)
    if answer is None:
        return Pause(question, needs=("confirmed",))
    if not answer:
        raise Refused("the answer was no", code="not_confirmed")
    return None


@step(
    settings=("WAIT_FOR_FILE", "WAIT_FOR_DATE", "WAIT_FOR_APPROVAL"),
    pauses=True,
    needs=("approved",),
)
def wait_for(strategy: Strategy, backend: Any, **_context: Any) -> Pause | None:
    """Pause until a file is there, a moment has come, and somebody has approved; as far as set.

    WAIT_FOR_DATE is ISO 8601, in UTC where it names no zone. The approval is `--set approved=yes`
    or `no`. Raises Refused (`not_approved`) for a no, ConfigError where nothing to wait for is set.
    """
    file, date, approval = (
        strategy.setting(name, backend=backend)
        for name in ("WAIT_FOR_FILE", "WAIT_FOR_DATE", "WAIT_FOR_APPROVAL")
    )
    if not (file or date or approval):
        raise ConfigError(
            "wait_for: nothing to wait for is set",
            hint="set WAIT_FOR_FILE, WAIT_FOR_DATE or WAIT_FOR_APPROVAL",
        )
    if file and not (strategy.settings.folder / str(file)).exists():
        return Pause(f"waits for the file {file}")
    if date and now() < (moment := _moment(date)):
        return Pause(f"waits until {moment.isoformat()}")
    if approval:
        answer = _answer(strategy, "approved")
        if answer is None:
            return Pause("waits for somebody's approval", needs=("approved",))
        if not answer:
            raise Refused("it was not approved", code="not_approved")
    return None


@step(settings=("COMMAND", "COMMAND_TIMEOUT"), effects="runs a program")
def run_command(
    strategy: Strategy,
    backend: Any,
    details: Mapping[str, Any],
    user: Any = None,
    uid: str | None = None,
    is_new: bool = False,  # noqa: FBT001, FBT002 - social-core's name
    **_context: Any,
) -> dict[str, Any] | None:
    """Run the program COMMAND (a list, no shell): one JSON object on its stdin, one on its stdout.

    It gets `backend`, `uid`, `details`, `is_new`, `username` and `state`, and no tokens. What it
    prints, if anything, is merged into the context; it cannot set what identifies the user. Exit
    code 0 goes on, 1 refuses (its stderr says why), anything else fails. After COMMAND_TIMEOUT
    seconds its whole process group is killed. Raises Refused (`command_refused`), PipelineError.
    """
    words = strategy.setting("COMMAND", backend=backend)
    if (
        not isinstance(words, list | tuple)
        or not words
        or not all(isinstance(word, str) for word in words)
    ):
        raise ConfigError("COMMAND: must be a list of words", hint='like ["/usr/local/bin/greet"]')
    seconds = float(strategy.setting("COMMAND_TIMEOUT", 60, backend=backend))
    given = {
        "backend": backend.name,
        "uid": uid,
        "details": {key: value for key, value in details.items() if _is_plain(value)},
        "is_new": is_new,
        "username": None if user is None else user.username,
        "state": None if user is None else user.state,
    }
    code, said, complaint = _run(list(words), json.dumps(given), seconds, strategy.settings.folder)
    name = Path(words[0]).name
    if code == 1:
        raise Refused(complaint or f"{name} said no", code="command_refused")
    if code != 0:
        raise PipelineError(
            f"{name} ended with {code}: {complaint or 'it said nothing'}",
            hint="0 goes on, 1 refuses",
        )
    return _answered(name, said)


def _answer(strategy: Strategy, name: str) -> bool | None:
    given = strategy.request_data().get(name)
    if given is None:
        return None
    word = str(given).strip().lower()
    if word not in _YES | _NO:
        raise PipelineError(f"{name}={given}: neither yes nor no", hint=f"--set {name}=yes")
    return word in _YES


def _moment(text: Any) -> datetime:
    try:
        moment = text if isinstance(text, datetime) else datetime.fromisoformat(str(text))
    except ValueError:
        raise ConfigError(
            f"WAIT_FOR_DATE: {text!r} is no moment", hint="write it like 2026-12-01T09:00:00Z"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float | bool | None)


def _run(words: list[str], given: str, seconds: float, folder: Path) -> tuple[int, str, str]:
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            cwd=folder,
            start_new_session=True,
        )
    except OSError as error:
        raise PipelineError(
            f"{words[0]}: cannot be run: {(error.strerror or 'it failed').lower()}",
            hint="check COMMAND",
        ) from error
    try:
        said, complained = process.communicate(given, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise PipelineError(
            f"{words[0]}: no end after {seconds:g} s, killed", hint="check it, or COMMAND_TIMEOUT"
        ) from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return process.returncode, said, " ".join(complained.split())[:500]


def _answered(name: str, said: str) -> dict[str, Any] | None:
    if not said.strip():
        return None
    try:
        answer = json.loads(said) if len(said) <= _MOST else None
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise PipelineError(
            f"{name}: what it printed is no JSON object", hint="print nothing, or one"
        )
    for key in answer:
        if key in _PROTECTED:
            raise PipelineError(f"{name}: a program cannot set {key}")
    return answer
