"""One run at a time per service: locks that the kernel or the server frees when a process dies."""

import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import quote

from svcctl.clock import stamp
from svcctl.errors import StoreError

DIRECTORY = "@directory"
"""The lock of whoever changes the directory: pulls. No service can have this name."""
NOTIFY = "@notify"
"""The lock of whoever sends messages."""

_POLL_SECONDS = 0.1


class Lockable(Protocol):
    """What locks need of a database: its file, or connections to its server."""

    @property
    def path(self) -> Path | None: ...

    def session(self, name: str) -> AbstractContextManager[Callable[..., list[Any]]]: ...


class Locks:
    """The locks that one process holds, by name: services, and `directory`.

    `timeout` is how many seconds one `acquire` waits in all. `holder` is what this process does
    (its command line), for those who wait.
    """

    def __init__(self, database: Lockable, *, timeout: float, holder: str) -> None:
        self._timeout = timeout
        self._held: set[str] = set()
        self._place: _Files | _Server = (
            _Server(database, holder) if database.path is None else _Files(database.path, holder)
        )

    def acquire(self, names: Iterable[str]) -> tuple[frozenset[str], dict[str, str]]:
        """Which of the names are held now, and who has the others: name -> holder, in words.

        A name that this object holds already stays held. Names are taken in order, so that two
        processes never wait for each other. Raises StoreError when no lock can be taken at all.
        """
        wanted = sorted(set(names))
        deadline = time.monotonic() + self._timeout
        busy: dict[str, str] = {}
        for name in wanted:
            if name in self._held or self._take(name, deadline):
                self._held.add(name)
            else:
                busy[name] = self._place.holder(name) or "another process"
        return frozenset(wanted) - busy.keys(), busy

    def holder(self, name: str) -> str:
        """Who has a lock, in words, as far as can be told without taking it; else nothing."""
        return self._place.at_work(name)

    def release(self) -> None:
        """Give all of them back."""
        self._held.clear()
        self._place.release()

    def _take(self, name: str, deadline: float) -> bool:
        while not self._place.take(name):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(_POLL_SECONDS, left))
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


@contextmanager
def service_locks(
    database: Lockable, names: Iterable[str], *, timeout: float, holder: str
) -> Iterator[tuple[frozenset[str], dict[str, str]]]:
    """Hold what can be had of the locks named; gives what `Locks.acquire` returns."""
    with Locks(database, timeout=timeout, holder=holder) as locks:
        yield locks.acquire(names)


def _words(holder: str, pid: object, host: object, since: object) -> str:
    return f"{holder} (pid {pid} on {host}, since {since})"


class _Files:
    """flock on `locks/<database>.<name>.lock` beside the database; holders write who they are."""

    def __init__(self, database: Path, holder: str) -> None:
        real = database.resolve()
        self._folder = real.parent / "locks"
        self._prefix = real.name
        self._holder = holder
        self._locks: list[tuple[Any, Path]] = []

    def take(self, name: str) -> bool:
        from filelock import FileLock, Timeout

        path = self._path(name)
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            lock = FileLock(path, mode=0o600, thread_local=False)
            lock.acquire(blocking=False)
        except Timeout:
            return False
        except OSError as error:
            raise StoreError(
                f"{path}: cannot be locked: {error.strerror}",
                hint="svcctl must be able to write there; runs with the same user as the others?",
            ) from error
        self._locks.append((lock, path))
        with suppress(OSError):  # the lock holds without it
            path.write_text(self._signature(), encoding="utf-8")
        return True

    def holder(self, name: str) -> str:
        try:
            return _words(*self._written(name))
        except (OSError, ValueError, LookupError, TypeError):
            return ""

    def at_work(self, name: str) -> str:
        """The holder, unless its process is gone: who was killed leaves the words, not the lock."""
        try:
            holder, pid, host, since = self._written(name)
            if host == socket.gethostname():
                os.kill(pid, 0)
        except PermissionError:
            pass  # somebody else's, and alive
        except (OSError, ValueError, LookupError, TypeError, OverflowError):
            return ""
        return _words(holder, pid, host, since)

    def _written(self, name: str) -> tuple[Any, ...]:
        written = json.loads(self._path(name).read_text(encoding="utf-8"))
        return tuple(written[key] for key in ("holder", "pid", "host", "since"))

    def release(self) -> None:
        while self._locks:
            lock, path = self._locks.pop()
            with suppress(OSError):
                os.truncate(path, 0)
            lock.release()

    def _path(self, name: str) -> Path:
        return self._folder / f"{self._prefix}.{quote(name, safe='')}.lock"

    def _signature(self) -> str:
        return json.dumps(
            {
                "holder": self._holder,
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "since": stamp(),
            }
        )


# The server forgets a session whose machine is gone after a minute and a half, not after two hours.
_STAY = """
    SELECT set_config(name, wanted, false) FROM pg_settings NATURAL JOIN (VALUES
        ('idle_session_timeout', '0'),
        ('tcp_keepalives_idle', '60'),
        ('tcp_keepalives_interval', '10'),
        ('tcp_keepalives_count', '3')
    ) AS settings (name, wanted)
"""
_WHO = """
    SELECT application_name, to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND classid::bigint = %s AND objid::bigint = %s
"""


class _Server:
    """PostgreSQL's advisory locks, on a session of their own that lives as long as they do."""

    def __init__(self, database: Lockable, holder: str) -> None:
        self._database = database
        # The server keeps 63 bytes.
        self._name = f"svcctl {os.getpid()}@{socket.gethostname()[:20]} {holder}"
        self._closing = ExitStack()
        self._session: Callable[..., list[Any]] | None = None

    def take(self, name: str) -> bool:
        return bool(self._ask()("SELECT pg_try_advisory_lock(%s)", _key(name))[0][0])

    def holder(self, name: str) -> str:
        key = _key(name) % 2**64
        rows = self._ask()(_WHO, key >> 32, key % 2**32)
        if not rows:
            return ""
        application, since = rows[0]
        _, _, rest = application.partition(" ")
        process, _, holder = rest.partition(" ")
        pid, _, host = process.partition("@")
        return _words(holder or application, pid, host, since)

    def at_work(self, name: str) -> str:
        return self.holder(name)

    def release(self) -> None:
        self._session = None
        self._closing.pop_all().close()

    def _ask(self) -> Callable[..., list[Any]]:
        if self._session is None:
            self._session = self._closing.enter_context(self._database.session(self._name))
            self._session(_STAY)
        return self._session


def _key(name: str) -> int:
    digest = hashlib.sha256(f"svcctl:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
