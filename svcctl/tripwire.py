"""The tripwire: while it is armed, Python code that would act is refused and recorded."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from svcctl.errors import HookError, InterruptedRun

MAX_RECORDS = 100
_LISTED = 5
_LONGEST = 200
# A thread that has done its work needs a moment to be gone.
_PATIENCE = 0.25

HINT = (
    "nothing may act while svcctl decides or in a dry run; "
    "a hook yields operations and its manager carries them out"
)


class TripwireError(HookError):
    """Something would have acted on the outside, or left a thread running, where nothing may.

    `records` has what it was, one short description each.
    """

    def __init__(
        self, message: str, *, hint: str | None = HINT, records: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, hint=hint)
        self.records = records


@dataclass(frozen=True, slots=True, eq=False)
class Trip:
    """An armed tripwire.

    `records` grows by each new thing that was refused, up to MAX_RECORDS.
    """

    purpose: str
    records: list[str] = field(default_factory=list)

    def allowed(self) -> contextlib.AbstractContextManager[None]:
        """The same as the module's `allowed`."""
        return allowed()

    def record(self, would: str) -> None:
        if would not in self.records and len(self.records) < MAX_RECORDS:
            self.records.append(would)

    def error(self) -> TripwireError:
        listed = "; ".join(self.records[:_LISTED])
        more = len(self.records) - _LISTED
        tail = f"; and {more} more" if more > 0 else ""
        return TripwireError(f"{self.purpose}: {listed}{tail}", records=tuple(self.records))


@contextlib.contextmanager
def tripwire(purpose: str) -> Iterator[Trip]:
    """Refuse and record what would act, in every thread of this process, until the block ends.

    Refused are connections and HTTP, mail and FTP sends, new processes and signals,
    changes to files and directories (writing to /dev/null is none), and opening databases other
    than `:memory:`. Reading files and importing modules go on. Tripwires may be nested; each
    records what happens while it is armed, and `allowed` outside a tripwire does not reach into it.

    purpose: what the error starts with, e.g. `services.forum: planning`.
    Raises TripwireError at the refused call, and again when the block ends if anything was refused
    (the first one may have been swallowed) or if a thread that began inside it is still alive.

    It is a tripwire for honest mistakes in Python code, not a sandbox. It sees what the interpreter
    reports to audit hooks (PEP 578), so these are beyond it: sockets, files, databases and pipes
    that were open before; C libraries that connect or write on their own (libpq, libldap, what
    ctypes calls); SQL's ATTACH; `os.mkfifo`, `os.mknod` and the few other calls that CPython does
    not report; work handed to a thread or process that was there before, if it acts later.
    """
    trip = Trip(purpose)
    cause: Exception | None = None
    before = _threads()
    with _watch.armed_with(trip):
        try:
            yield trip
            for name in _left_running(before):
                trip.record(f"would leave the thread {name} running")
        except InterruptedRun:
            raise
        except Exception as error:
            if not trip.records:
                raise
            cause = error
    if trip.records:
        raise trip.error() from cause


@contextlib.contextmanager
def allowed() -> Iterator[None]:
    """Let the current thread act although a tripwire is armed: for the engine's own work.

    Never `yield` to foreign code from inside the block: it would be allowed too.
    """
    _here.depth += 1
    try:
        yield
    finally:
        _here.depth -= 1


def asking(service: str) -> None:
    """Whose hook the current thread asks from now on; what it would do is told of that one."""
    _here.service = service


class _Here(threading.local):
    """How many `allowed` blocks the current thread is in, and whose hook it asks."""

    depth = 0
    service = ""


class _Watch:
    """What is armed in this process, and whether its audit hook is there: once added, it stays."""

    def __init__(self) -> None:
        self.armed: tuple[Trip, ...] = ()
        self._installed = False
        self._dont_write_bytecode = False
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def armed_with(self, trip: Trip) -> Iterator[None]:
        with self._lock:
            if not self._installed:
                # A function: a bound method makes every event three times as slow.
                sys.addaudithook(_audit)
                self._installed = True
            if not self.armed:
                # An import would write its bytecode and trip.
                self._dont_write_bytecode = sys.dont_write_bytecode
                sys.dont_write_bytecode = True
            self.armed = (*self.armed, trip)
        depth, _here.depth = _here.depth, 0
        try:
            yield
        finally:
            _here.depth = depth
            _here.service = ""
            with self._lock:
                self.armed = tuple(other for other in self.armed if other is not trip)
                if not self.armed:
                    sys.dont_write_bytecode = self._dont_write_bytecode


_watch = _Watch()


# The interpreter empties this module before it has ended: what is asked every time is bound here.
def _audit(event: str, args: tuple[Any, ...], watch: _Watch = _watch) -> None:
    if not (armed := watch.armed):
        return
    describe = _WATCHED.get(event) or _FAMILIES.get(event.partition(".")[0])
    if describe is None or _here.depth:
        return
    would = _describe(describe, event, args)
    if would is None:
        return
    if _here.service:
        would = f"services.{_here.service} {would}"
    for trip in armed:
        trip.record(would)
    raise TripwireError(f"{armed[-1].purpose}: {would}", records=(would,))


def _threads() -> dict[int, threading.Thread | None]:
    """The live threads by identity; None for one that the threading module does not know."""
    known = {thread.ident: thread for thread in threading.enumerate()}
    return {ident: known.get(ident) for ident in sys._current_frames()}  # noqa: SLF001 - documented


def _left_running(before: Mapping[int, threading.Thread | None]) -> list[str]:
    """The names of threads that are alive and were not `before`."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        # An identity may have passed from a thread that ended to one that began.
        left = [
            thread.name if thread else str(ident)
            for ident, thread in _threads().items()
            if ident not in before or (before[ident] is not None and before[ident] is not thread)
        ]
        if not left or time.monotonic() > deadline:
            return sorted(left)
        time.sleep(0.005)


# What the events say. An argument may hold a secret: of a command only the first word is shown, of
# a URL only scheme, host and path, of what is sent nothing.

_Describe = Callable[[str, tuple[Any, ...]], str | None]


def _describe(describe: _Describe, event: str, args: tuple[Any, ...]) -> str | None:
    try:
        act = describe(event, args)
    except Exception:  # noqa: BLE001 - whatever the arguments are, the call is refused
        act = f"call {event}"
    return act and f"would {_shorten(act)}"


def _shorten(text: str) -> str:
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _path(value: Any) -> str:
    return f"descriptor {value}" if isinstance(value, int) else os.fsdecode(value)


def _writes(_event: str, args: tuple[Any, ...]) -> str | None:
    path, mode, flags = args
    # CPython's own fopen() says the mode and no flags, os.open() the flags and no mode.
    writing = flags & _WRITING or not {"w", "a", "x", "+"}.isdisjoint(mode or "")
    # An int is a descriptor that is open already.
    if not writing or isinstance(path, int) or _path(path) == os.devnull:
        return None
    return f"write {_path(path)}"


_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _changes(phrase: str) -> _Describe:
    """A phrase with one {} for each of the paths that the event's arguments begin with."""
    paths = phrase.count("{}")
    return lambda _event, args: phrase.format(*map(_path, args[:paths]))


def _address(address: Any) -> str:
    if isinstance(address, tuple):
        host, port = os.fsdecode(address[0]), address[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return os.fsdecode(address) or "an unnamed socket"


def _socket(act: str) -> _Describe:
    return lambda _event, args: (
        f"{act} a connected socket" if args[1] is None else f"{act} {_address(args[1])}"
    )


def _looks_up(_event: str, args: tuple[Any, ...]) -> str | None:
    """The look-up before a connection: it knows the host's name, and may fail before the rest."""
    host, port = args[:2]
    return f"connect to {_address((host, port))}" if host and port else None


def _connects(_event: str, args: tuple[Any, ...]) -> str:
    return f"connect to {_address(args[1:3])}"


def _sends(event: str, args: tuple[Any, ...]) -> str:
    host = getattr(args[0], "host", None)
    port = getattr(args[0], "port", None)
    return f"send to {host}:{port}" if host else f"send by {event.partition('.')[0]}"


def _requests(_event: str, args: tuple[Any, ...]) -> str | None:
    from urllib.parse import urlsplit

    url = urlsplit(args[0])
    if url.scheme in {"file", "data"}:
        return None
    return f"request {args[3]} {url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"


def _starts(command: int) -> _Describe:
    """`command`: which of the event's arguments is the command."""
    return lambda _event, args: f"start {_command(args[command])}"


def _command(command: Any) -> str:
    if isinstance(command, (str, bytes, os.PathLike)):
        words = os.fsdecode(command).split()
    else:
        words = [os.fsdecode(word) for word in command]
        if words[1:2] == ["-c"] and words[2:]:
            # The command is what the shell is told to run.
            words = words[2].split()
    first = next((word for word in words if "=" not in word), "")
    return f"[{first!r}, …]" if len(words) > 1 else f"[{first!r}]"


def _signals(_event: str, args: tuple[Any, ...]) -> str | None:
    # Signal 0 only asks whether the process is there.
    return f"send signal {args[1]} to process {args[0]}" if args[1] else None


def _opens_database(_event: str, args: tuple[Any, ...]) -> str | None:
    path = os.fsdecode(args[0])
    return None if path == ":memory:" else f"open the database {path}"


def _calls(event: str, _args: tuple[Any, ...]) -> str:
    return f"call {event}"


# https://docs.python.org/3/library/audit_events.html
_WATCHED: dict[str, _Describe] = {
    "socket.connect": _socket("connect to"),
    "socket.bind": _socket("listen on"),
    "socket.sendto": _socket("send to"),
    "socket.sendmsg": _socket("send to"),
    "socket.getaddrinfo": _looks_up,
    "http.client.connect": _connects,
    "http.client.send": _sends,
    "urllib.Request": _requests,
    "smtplib.connect": _connects,
    "smtplib.send": _sends,
    "ftplib.connect": _connects,
    "ftplib.sendcmd": _sends,
    "subprocess.Popen": _starts(1),
    "os.system": _starts(0),
    "os.exec": _starts(1),
    "os.posix_spawn": _starts(1),
    "os.spawn": _starts(2),
    "pty.spawn": _starts(0),
    "os.fork": lambda _event, _args: "fork this process",
    "os.forkpty": lambda _event, _args: "fork this process",
    "os.kill": _signals,
    "os.killpg": _signals,
    "open": _writes,
    "os.remove": _changes("delete {}"),
    "os.rename": _changes("rename {} to {}"),
    "os.mkdir": _changes("make the directory {}"),
    "os.rmdir": _changes("delete the directory {}"),
    "os.link": _changes("link {} to {}"),
    "os.symlink": _changes("link {} to {}"),
    "os.truncate": _changes("truncate {}"),
    "os.chmod": _changes("change the mode of {}"),
    "os.chown": _changes("change the owner of {}"),
    "os.chflags": _changes("change the flags of {}"),
    "os.utime": _changes("change the times of {}"),
    "os.setxattr": _changes("change the attributes of {}"),
    "os.removexattr": _changes("change the attributes of {}"),
    "shutil.copyfile": _changes("copy {} to {}"),
    "shutil.copytree": _changes("copy {} to {}"),
    "shutil.copymode": _changes("copy the mode of {} to {}"),
    "shutil.copystat": _changes("copy the mode of {} to {}"),
    "shutil.chown": _changes("change the owner of {}"),
    "shutil.move": _changes("move {} to {}"),
    "shutil.rmtree": _changes("delete the directory {}"),
    "shutil.make_archive": _changes("write the archive {}"),
    "shutil.unpack_archive": _changes("unpack the archive {}"),
    "tempfile.mkstemp": _changes("write {}"),
    "tempfile.mkdtemp": _changes("make the directory {}"),
    "sqlite3.connect": _opens_database,
}

_FAMILIES: dict[str, _Describe] = dict.fromkeys(
    ("shutil", "tempfile", "smtplib", "ftplib", "imaplib", "poplib", "nntplib", "telnetlib"), _calls
)

_here = _Here()
