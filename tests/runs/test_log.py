"""The log: what stands in the file, what the journal gets, and what neither ever does."""

import json
import logging
import re
import socket
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_world import World, lab, names  # type: ignore[import-not-found]

from svcctl import log
from svcctl.config.log import Log
from svcctl.config.secrets import Secret
from svcctl.tripwire import tripwire

Build = Callable[..., World]

LOG = '[log]\nfile = "logs/svcctl.log"\n'
PEOPLE = '[directory.sources.people]\ntype = "csv"\npath = "people.csv"\n'
HEAD = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (\w+) ([a-z -]+)\[\d+\](.*)")


@pytest.fixture
def w(world: Build, quick: None) -> World:
    """Twelve people with accounts on lab, and a folder for the log."""
    made = world(lab(), top=LOG + PEOPLE)
    made.people(names(12), "staff")
    (made.site.folder / "logs").mkdir()
    return made


def path(w: World) -> Path:
    found: Path = w.site.folder / "logs" / "svcctl.log"
    return found


def lines(w: World) -> list[str]:
    """What is new: level, command and the rest, without moment and process."""
    found = []
    for line in path(w).read_text(encoding="utf-8").splitlines():
        head = HEAD.fullmatch(line)
        found.append(f"{head[1]} {head[2]}{head[3]}" if head else line)
    path(w).unlink()
    return found


def test_a_run_leaves_every_operation_with_its_run_and_service(w: World) -> None:
    assert w.svcctl("sync", "user00003").stderr == ""
    assert stat.S_IMODE(path(w).stat().st_mode) == 0o600
    actor = w.rows("SELECT actor FROM runs")[0]["actor"]
    assert lines(w) == [
        f"info sync run=1: begun by {actor}: 3 operations",
        "info sync run=1 service=lab user=user00003 operation=1: "
        "create_account done: may have an account: state Member is in access.states",
        "info sync run=1 service=lab user=user00003 operation=2: "
        "change_groups done: the user's groups map to others",
        "info sync run=1 service=lab user=user00003 operation=3: "
        "set_nickname done: the name format gives another name",
        "info sync run=1 exit_code=0: ended with exit code 0: lab 3 done",
    ]


def test_trouble_is_graver_and_the_level_says_what_is_written(w: World) -> None:
    assert w.svcctl("sync", "--all").exit_code == 0
    path(w).unlink()
    text = (w.site.folder / "svcctl.toml").read_text()
    w.site.configure(text.replace(LOG, f'{LOG}level = "warning"\n'))
    w.sandbox().break_method("disable_account", "invalid:user00003")
    w.regroup(["user00003"], out_of="staff")
    assert w.svcctl("sync", "--all").exit_code == 1
    assert lines(w) == [
        "error sync run=2 service=lab user=user00003 operation=37: disable_account failed: "
        "sandbox: disable_account is broken on purpose: invalid for user00003"
    ]
    w.regroup(names(10), out_of="staff")
    assert w.svcctl("sync", "--all").exit_code == 1
    assert lines(w) == [
        "warning sync run=3 service=lab: removals are held: "
        "10 of 12 accounts would lose access; 2 allowed"
    ]


def test_pulls_are_logged_with_what_they_brought(w: World) -> None:
    w.site.write("people.csv", "username\nada\nbob\n")
    assert w.svcctl("directory", "pull").exit_code == 0
    w.site.write("people.csv", "username\nada\nada\n")
    assert w.svcctl("directory", "pull").exit_code == 5
    first, second = lines(w)
    assert first == "info directory pull source=people: 2 read, 2 added"
    assert second.startswith("error directory pull source=people: ")


def test_a_dry_run_and_what_only_looks_log_nothing(w: World) -> None:
    for words in (
        ["plan"],
        ["sync", "--all", "--dry-run"],
        ["directory", "pull", "--dry-run"],
        ["users", "list"],
        ["users", "set", "user00001", "email=a@example.org", "--dry-run"],
        ["users", "set", "nobody", "email=a@example.org", "--dry-run"],
        ["monitor", "--metrics-file", "-"],
        ["history"],
    ):
        w.svcctl(*words)
        assert not path(w).exists(), words


def test_an_error_has_its_causes_and_a_defect_its_traceback(
    w: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    w.site.execute("CREATE TRIGGER t BEFORE INSERT ON runs BEGIN SELECT RAISE(ABORT, 'no'); END")
    done = w.svcctl("sync", "--all")
    assert done.exit_code == 74
    assert "caused by" not in done.stderr
    first, *causes = lines(w)
    assert first.startswith("error sync exit_code=74: ")
    assert any(line.startswith("  caused by IntegrityError: ") for line in causes)

    def defect(*_: object, **__: object) -> None:
        raise RuntimeError("all is lost")

    monkeypatch.setattr("svcctl.runs.engine.guard", defect)
    assert w.svcctl("sync", "--all").exit_code == 1
    found = lines(w)
    assert found[0] == "error sync: defect: Traceback (most recent call last):"
    assert found[-1] == "  RuntimeError: all is lost"
    assert all(line.startswith("  ") for line in found[1:])


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("/dev/full", "/dev/full: cannot be written: no space left on device"),
        ("nowhere/svcctl.log", "nowhere/svcctl.log: cannot be written: no such file or directory"),
        ("logs", "logs: cannot be written: is a directory"),
    ],
)
def test_a_log_that_cannot_be_written_is_said_once_and_stops_nothing(
    w: World, file: str, said: str
) -> None:
    text = (w.site.folder / "svcctl.toml").read_text()
    w.site.configure(text.replace("logs/svcctl.log", file))
    done = w.svcctl("sync", "--all")
    assert done.exit_code == 0
    assert done.stderr.startswith("log: ")
    assert done.stderr.endswith(f"{said}\n")
    assert done.stderr.count("\n") == 1
    assert len(w.remote()) == 12


def test_a_log_that_leads_nowhere_is_refused(site: Any, svcctl: Any) -> None:
    site().configure('[log]\nlevel = "info"\n')
    done = svcctl("config", "check")
    assert done.exit_code == 78
    assert 'log: leads nowhere; say where to: file = "svcctl.log", or journal = true' in done.stdout


# The handlers by themselves


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Path]:
    target = tmp_path / "own.log"
    log.open_log(Log(file=target), "sync")
    yield target
    assert log.close_log() == []


def test_what_logrotate_moves_away_is_left_there(opened: Path) -> None:
    """Also while planning forbids to write files."""
    log.say(logging.INFO, "before")
    moved = opened.rename(opened.with_suffix(".1"))
    with tripwire("planning"):
        log.say(logging.INFO, "after")
    assert moved.read_text().endswith(": before\n")
    assert opened.read_text().endswith(": after\n")
    assert opened.read_text().count("\n") == 1
    assert stat.S_IMODE(opened.stat().st_mode) == 0o600


def test_nobody_forges_a_line_or_moves_the_cursor(opened: Path) -> None:
    hostile = "no\n2026-01-01T00:00:00Z info sync[1]: all is well\x1b[2J\u202e\r"
    log.say(logging.ERROR, hostile, user=f"ada{hostile}")
    first, *rest = opened.read_text(encoding="utf-8").split("\n")
    assert HEAD.fullmatch(first)
    assert rest[0].startswith("  2026-01-01T00:00:00Z info")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", opened.read_text(encoding="utf-8"))


def test_what_a_secret_stands_for_is_never_written(
    opened: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", 'geh"eim/ne token')
    Secret("env", "TOKEN").reveal()
    log.say(logging.ERROR, 'refused: geh"eim/ne token', user='geh"eim/ne token')
    log.say(logging.ERROR, f"answered {json.dumps('geh' + chr(34) + 'eim/ne token')}")
    log.say(logging.ERROR, "GET /?key=geh%22eim%2Fne%20token")
    log.say_failed(RuntimeError('in geh"eim/ne token'))
    assert "eim/ne" not in opened.read_text()
    assert "eim%2F" not in opened.read_text()
    assert opened.read_text().count("***") == 5


def test_without_a_log_nothing_is_said_anywhere(capfd: pytest.CaptureFixture[str]) -> None:
    log.say(logging.ERROR, "nobody hears")
    log.say_failed(RuntimeError("nobody hears"))
    assert capfd.readouterr() == ("", "")


def fields(content: bytes) -> dict[str, str]:
    """What the journal's protocol says that these bytes are."""
    found, rest = {}, content
    while rest:
        name, separator, rest = rest.partition(b"\n")
        if b"=" in name:
            name, _, value = name.partition(b"=")
        else:
            (size,) = struct.unpack("<Q", rest[:8])
            value, rest = rest[8 : 8 + size], rest[9 + size :]
        assert separator
        found[name.decode()] = value.decode()
    return found


def test_the_journal_gets_fields(w: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log._Journal, "where", str(tmp_path / "socket"))
    text = (w.site.folder / "svcctl.toml").read_text()
    w.site.configure(text.replace(LOG, "[log]\njournal = true\n"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "socket"))
        assert w.svcctl("sync", "user00003").stderr == ""
        got = [fields(journal.recv(65536)) for _ in range(5)]
    assert got[1] == {
        "MESSAGE": "create_account done: may have an account: state Member is in access.states",
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "svcctl",
        "SVCCTL_COMMAND": "sync",
        "SVCCTL_RUN": "1",
        "SVCCTL_SERVICE": "lab",
        "SVCCTL_USER": "user00003",
        "SVCCTL_OPERATION": "1",
    }
    # Nobody listens any more.
    done = w.svcctl("sync", "--all")
    assert done.exit_code == 0
    assert done.stderr == f"log: {tmp_path}/socket: cannot be written: connection refused\n"


def test_several_lines_are_one_entry_of_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log._Journal, "where", str(tmp_path / "socket"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "socket"))
        log.open_log(Log(journal=True), "sync")
        log.say(logging.WARNING, "one\nPRIORITY=0\ntwo")
        log.say(logging.ERROR, "x" * 10**6)
        assert log.close_log() == []
        first, second = (fields(journal.recv(1 << 20)) for _ in range(2))
    assert (first["MESSAGE"], first["PRIORITY"]) == ("one\nPRIORITY=0\ntwo", "4")
    assert len(second["MESSAGE"]) == 32 << 10
