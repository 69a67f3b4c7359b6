import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from svcctl.errors import StoreError
from svcctl.locks import DIRECTORY, Locks, service_locks
from svcctl.store.database import Database

Holding = Callable[..., "Holder"]

PROGRAM = """
import sys, time
from svcctl.locks import Locks
from svcctl.store.database import Database
database = Database(sys.argv[1])
locks = Locks(database, timeout=0, holder="sync --all")
print(*sorted(locks.acquire(sys.argv[3:])[0]), flush=True)
time.sleep(float(sys.argv[2]))
locks.release()
database.close()
"""


class Holder(NamedTuple):
    process: "subprocess.Popen[str]"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def all_of(*names: str) -> tuple[frozenset[str], dict[str, str]]:
    return frozenset(names), {}


@pytest.fixture
def holding(database: Database) -> Iterator[Holding]:
    """`holding("forum", seconds=60)`: another process that has these locks, and says so."""
    started: list[Holder] = []

    def start(*names: str, seconds: float = 60) -> Holder:
        url = f"sqlite:///{database.path}" if database.path else database.public_url
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PROGRAM, url, str(seconds), *names],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        assert process.stdout.readline().split() == sorted(names)
        started.append(Holder(process))
        return started[-1]

    yield start
    for holder in started:
        holder.kill()
        assert holder.process.stdout
        holder.process.stdout.close()


def test_locks_are_per_name(database: Database) -> None:
    with (
        Locks(database, timeout=0, holder="one") as one,
        Locks(database, timeout=0, holder="two") as two,
    ):
        assert one.acquire(["forum", "wiki"]) == all_of("forum", "wiki")
        acquired, busy = two.acquire(["wiki", "chat", DIRECTORY])
        assert acquired == {"chat", DIRECTORY}
        assert list(busy) == ["wiki"]
        assert one.acquire(["wiki"]) == all_of("wiki")
    with Locks(database, timeout=0, holder="three") as three:
        assert three.acquire(["forum", "wiki", "chat"]) == all_of("forum", "wiki", "chat")


def test_the_loser_is_told_who_has_the_lock(database: Database, holding: Holding) -> None:
    holder = holding("forum")
    with service_locks(database, ["forum"], timeout=0, holder="me") as (acquired, busy):
        assert acquired == frozenset()
        host = socket.gethostname()[:20]
        said = re.sub(r"since \S+Z\)", "since NOW)", busy["forum"])
        assert said == f"sync --all (pid {holder.process.pid} on {host}, since NOW)"


def test_a_lock_is_free_as_soon_as_its_holder_is_killed(
    database: Database, holding: Holding
) -> None:
    holder = holding("forum", "wiki")
    with Locks(database, timeout=0, holder="me") as locks:
        assert locks.acquire(["forum"])[0] == frozenset()
        holder.kill()
        # A server notices the closed socket a moment later.
        patient = 0 if database.sqlite else 5
        with Locks(database, timeout=patient, holder="me") as others:
            assert others.acquire(["forum", "wiki"]) == all_of("forum", "wiki")


def test_waiting_ends_when_the_holder_does(database: Database, holding: Holding) -> None:
    holding("forum", seconds=0.5)
    started = time.monotonic()
    with Locks(database, timeout=20, holder="me") as locks:
        assert locks.acquire(["forum"]) == all_of("forum")
    assert time.monotonic() - started < 10


def test_the_timeout_is_for_all_names_together(database: Database, holding: Holding) -> None:
    holding("chat", "forum", "wiki")
    started = time.monotonic()
    with Locks(database, timeout=0.3, holder="me") as locks:
        acquired, busy = locks.acquire(["chat", "forum", "mail", "wiki"])
    assert acquired == {"mail"}
    assert sorted(busy) == ["chat", "forum", "wiki"]
    assert 0.3 <= time.monotonic() - started < 2


def test_only_one_of_many_gets_a_lock(database: Database, holding: Holding) -> None:
    contenders = [Locks(database, timeout=0, holder=f"{number}") for number in range(5)]
    won = [bool(contender.acquire(["forum"])[0]) for contender in contenders]
    assert won == [True, False, False, False, False]
    for contender in contenders:
        contender.release()
        contender.release()


def test_lock_files_are_for_their_owner_and_lie_beside_the_database(sqlite: Database) -> None:
    assert sqlite.path
    folder = sqlite.path.parent / "locks"
    before = os.umask(0)
    try:
        with Locks(sqlite, timeout=0, holder="sync") as locks:
            locks.acquire(["forum", "../../evil"])
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
            said = json.loads((folder / "svcctl.db.forum.lock").read_text())
    finally:
        os.umask(before)
    assert modes == {
        "svcctl.db.forum.lock": 0o600,
        "svcctl.db...%2F..%2Fevil.lock": 0o600,
    }
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert said["pid"] == os.getpid()
    assert (folder / "svcctl.db.forum.lock").read_text() == ""


def test_two_paths_to_one_database_share_its_locks(sqlite: Database, tmp_path: Path) -> None:
    assert sqlite.path
    link = tmp_path / "link.db"
    link.symlink_to(sqlite.path)
    with (
        Locks(sqlite, timeout=0, holder="one") as one,
        Locks(Database(f"sqlite:///{link}"), timeout=0, holder="two") as two,
    ):
        one.acquire(["forum"])
        assert two.acquire(["forum"])[0] == frozenset()


def test_a_holder_that_left_no_name_is_another_process(sqlite: Database) -> None:
    assert sqlite.path
    with (
        Locks(sqlite, timeout=0, holder="one") as one,
        Locks(sqlite, timeout=0, holder="two") as two,
    ):
        one.acquire(["forum"])
        for written in ("", "{", "[]", '{"pid": 1}'):
            (sqlite.path.parent / "locks" / "svcctl.db.forum.lock").write_text(written)
            assert two.acquire(["forum"])[1] == {"forum": "another process"}


def test_a_folder_that_takes_no_locks_is_said(sqlite: Database) -> None:
    assert sqlite.path
    (sqlite.path.parent / "locks").write_text("not a folder")
    with (
        Locks(sqlite, timeout=0, holder="me") as locks,
        pytest.raises(StoreError, match=r"svcctl\.db\.forum\.lock: cannot be locked") as caught,
    ):
        locks.acquire(["forum"])
    assert caught.value.hint


@pytest.mark.postgres
@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_locks_on_a_server_that_is_gone_are_a_store_error(database: Database) -> None:
    gone = Database("postgresql://svcctl@127.0.0.1:1/svcctl")
    with Locks(gone, timeout=0, holder="me") as locks, pytest.raises(StoreError):
        locks.acquire(["forum"])


@pytest.mark.postgres
@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_a_server_that_dropped_the_session_is_said_when_locks_are_used(database: Database) -> None:
    with Locks(database, timeout=0, holder="me") as locks:
        locks.acquire(["forum"])
        with database.write() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
            )
        with pytest.raises(StoreError, match=r"terminat|closed"):
            locks.acquire(["wiki"])
