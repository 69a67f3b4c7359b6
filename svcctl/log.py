"""The log: what runs did and what went wrong, in a file and in systemd's journal.

Nothing is logged before `open_log`. A log that cannot be written keeps nothing from being done: it
is told once, at the end. What a secret of the configuration stands for is never in it.
"""

import logging
import os
import socket
import struct
import sys
import traceback
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import IO

from svcctl.clock import stamp
from svcctl.config.log import Log
from svcctl.config.secrets import fetched
from svcctl.config.values import redacted
from svcctl.errors import SvcctlError
from svcctl.text import visible
from svcctl.tripwire import allowed

JOURNAL = "/run/systemd/journal/socket"
_LOG = logging.getLogger("svcctl")
_LONGEST = 32 << 10
"""Characters of a message: the journal's socket takes what fits into one datagram."""
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}
"""What syslog(3) calls them."""


def open_log(settings: Log, command: str) -> None:
    """Log from now on what this command does. Raises nothing: see `close_log`."""
    _LOG.setLevel(settings.level.upper())
    _LOG.propagate = False
    if settings.journal:
        _LOG.addHandler(_Journal(command))
    if settings.file is not None:
        _LOG.addHandler(_File(settings.file, command))


def close_log() -> list[str]:
    """Log nothing any more; what could not be logged, and why."""
    problems = []
    for handler in list(_LOG.handlers):
        if isinstance(handler, _Journal | _File):
            _LOG.removeHandler(handler)
            handler.close()
            if handler.problem is not None:
                problems.append(handler.problem)
    _LOG.propagate = True
    _LOG.setLevel(logging.NOTSET)
    return problems


def say(level: int, message: str, **fields: object) -> None:
    """Log this, if anything is logged. fields: run, service, user, and what else tells it apart."""
    if _LOG.handlers and _LOG.isEnabledFor(level):
        told = {name: str(value) for name, value in fields.items() if value is not None}
        _LOG.log(level, message, extra={"fields": told})


def say_failed(error: BaseException) -> None:
    """Log why a command ended: the error, its hint and what caused it; of a defect all there is."""
    if not _LOG.handlers:
        return
    if not isinstance(error, SvcctlError):
        kind, trace = type(error), error.__traceback__
        say(logging.ERROR, "defect: " + "".join(traceback.format_exception(kind, error, trace)))
        return
    hint = f"; {error.hint}" if error.hint else ""
    lines = [f"{error.message}{hint}", *getattr(error, "problems", ()), *_causes(error)]
    say(logging.ERROR, "\n".join(lines), exit_code=int(error.exit_code))


def _causes(error: BaseException) -> list[str]:
    found = []
    seen = {id(error)}
    cause = _cause(error)
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        found.append(f"caused by {type(cause).__name__}: {cause}")
        cause = _cause(cause)
    return found


def _cause(error: BaseException) -> BaseException | None:
    if error.__cause__ is not None:
        return error.__cause__
    return None if error.__suppress_context__ else error.__context__


def _text(record: logging.LogRecord) -> str:
    """The message without secrets and without what would do something on a terminal."""
    text = record.getMessage()
    if record.exc_info:
        text += "\n" + "".join(traceback.format_exception(*record.exc_info))
    return "\n".join(map(visible, redacted(text, fetched()).rstrip("\n").split("\n")))[:_LONGEST]


def _fields(record: logging.LogRecord) -> dict[str, str]:
    given = getattr(record, "fields", {})
    return {name: visible(redacted(value, fetched())) for name, value in given.items()}


class _Handler(logging.Handler):
    """Notes what went wrong, once, instead of writing it between the answers of the command."""

    command = ""
    where = ""
    problem: str | None = None

    def handleError(self, _record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        error = sys.exc_info()[1]
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        self.problem = self.problem or f"{self.where}: cannot be written: {reason.lower()}"


class _File(_Handler, WatchedFileHandler):
    """A line for each record: moment, level, command, process, what it is about, and the text."""

    def __init__(self, path: Path, command: str) -> None:
        super().__init__(path, delay=True)
        self.command = command
        self.where = str(path)

    def _open(self) -> IO[str]:  # type: ignore[override]
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.fdopen(os.open(self.baseFilename, flags, 0o600), "a", encoding="utf-8")

    def emit(self, record: logging.LogRecord) -> None:
        with allowed():
            try:
                super().emit(record)
            except OSError:
                self.handleError(record)

    def format(self, record: logging.LogRecord) -> str:
        about = [f"{name}={value}" for name, value in _fields(record).items()]
        head = f"{stamp()} {record.levelname.lower()} {self.command}[{record.process}]"
        # What goes on is set in, so that a line that is not begins a record, whoever wrote it.
        return f"{' '.join([head, *about])}: {_text(record)}".replace("\n", "\n  ")

    def close(self) -> None:
        try:
            super().close()
        except OSError:
            self.handleError(logging.makeLogRecord({}))


class _Journal(_Handler):
    """The journal's own protocol, <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>."""

    where = JOURNAL

    def __init__(self, command: str) -> None:
        super().__init__()
        self.command = command

    def emit(self, record: logging.LogRecord) -> None:
        fields = {
            "MESSAGE": _text(record),
            "PRIORITY": str(_PRIORITIES.get(record.levelno, 6)),
            "SYSLOG_IDENTIFIER": "svcctl",
            "SVCCTL_COMMAND": self.command,
            **{f"SVCCTL_{name.upper()}": text for name, text in _fields(record).items()},
        }
        with allowed():
            try:
                self._send(b"".join(_entry(name, text) for name, text in fields.items()))
            except OSError:
                self.handleError(record)

    def _send(self, content: bytes) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as there:
            there.sendto(content, self.where)


def _entry(name: str, text: str) -> bytes:
    value = text.encode(errors="replace")
    if b"\n" not in value:
        return name.encode() + b"=" + value + b"\n"
    return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
