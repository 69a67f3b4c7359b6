"""Bad input: an exit code, the place, a remedy, no traceback, and nothing is changed."""

import io
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from svcctl.cli import main
from svcctl.hooks.sandbox import SandboxManager
from svcctl.locks import service_locks
from svcctl.store.database import Database
from tests.support.forks import Fork, Forks

if TYPE_CHECKING:
    from tests.conftest import Prepared, Result, Site, Svcctl

BROKEN = Path(__file__).parent / "broken"
BASE = """
default_name_format = "{username}"

[directory.sources.people]
type = "csv"
path = "people.csv"

[states.Member]
priority = 100
groups = ["corp"]
"""
CHAT = """
[services.chat]
hook = "sandbox"
path = "chat.sqlite"
create = "auto"
access = { states = ["Member"] }
"""
FORUM = CHAT.replace("chat", "forum")
WIKI = """
[services.wiki]
hook = "htpasswd"
password_file = "wiki.htpasswd"
group_file = "wiki.groups"
cost = 4
create = "auto"
access = { states = ["Member"] }
"""
PEOPLE = "id,username,groups\n1,ada,corp\n2,bob,corp;fc\n3,eve,corp\n4,dan,corp\n"


class Said(NamedTuple):
    """What a process gave back."""

    exit_code: int
    stdout: str
    stderr: str


@pytest.fixture
def in_step(prepared: "Prepared", svcctl: "Svcctl") -> Callable[[str], "Site"]:
    """`in_step(services)`: four people with accounts on them, everything in step."""

    def prepare(made: "Site") -> None:
        made.write("people.csv", PEOPLE)
        made.write("wiki.htpasswd", "")
        made.write("wiki.groups", "")
        for words in (["directory", "pull"], ["sync", "--all"]):
            assert svcctl(*words).exit_code == 0

    return lambda services: prepared(BASE + services, prepare)


@pytest.fixture
def club(in_step: "Callable[[str], Site]") -> "Site":
    """Two services that can do everything."""
    return in_step(CHAT + FORUM)


@pytest.fixture
def wiki(in_step: "Callable[[str], Site]") -> "Site":
    """One of them, and a password file."""
    return in_step(CHAT + WIKI)


def content(folder: Path) -> dict[str, Any]:
    """Every file: of a database its rows, the log of calls among them; of others their bytes."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() or name.startswith("locks/") or name.endswith(("-wal", "-shm")):
            continue
        found[name] = path.read_bytes()
        if found[name].startswith(b"SQLite format 3\0"):
            with closing(sqlite3.connect(path)) as connection:
                found[name] = list(connection.iterdump())
    return found


def remote(folder: Path, service: str = "chat") -> dict[str, tuple[str, ...]]:
    """The accounts on a sandbox, with their groups."""
    with closing(SandboxManager(folder / f"{service}.sqlite")) as manager:
        return {one.name: tuple(sorted(one.groups or ())) for one in manager.accounts()}


def calls(folder: Path, service: str = "chat") -> list[tuple[str, str, str]]:
    with closing(SandboxManager(folder / f"{service}.sqlite")) as manager:
        return [(call.method, call.name, call.outcome) for call in manager.calls()]


def complains(result: "Result | Said | Fork", exit_code: int, *words: str) -> None:
    """It failed so, said so, and did not fall over."""
    given = result.exit_code
    said = result.stdout + result.stderr
    assert given == exit_code, said
    assert "Traceback" not in said
    assert "defect in svcctl" not in said
    for word in words:
        assert word in said
    assert "hint: " in result.stderr or "; " in result.stderr  # the remedy of a problem


# The configuration


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("priority = 100", "priority = = 100", ["svcctl.toml:9:12: ", "hint: text needs quotes"]),
        ("priority = 100", "priorty = 100", ["states.Member.priorty: unknown key; did you mean "]),
        ("[states.Member]", "colour = 1\n[states.Member]", ["sources.people.colour: unknown key"]),
        (
            "{username}",
            "{usrname}",
            ["default_name_format: {usrname}: ", "did you mean {username}?"],
        ),
        ("{username}", "{username.__class__}", ["default_name_format: ", "allowed: a name alone"]),
        (
            "[services.forum]",
            "[services.Forum]",
            ["services.Forum: not a name for a service", "write it like wiki"],
        ),
        ('states = ["Member"]', 'states = ["Membr"]', ["access.states", "did you mean Member?"]),
        ('"csv"', '"cvs"', ["directory.sources.people.type: unknown; did you mean csv?"]),
    ],
)
@pytest.mark.parametrize("command", [["sync", "--all"], ["directory", "pull"]])
def test_a_wrong_configuration_stops_everything_and_names_the_place(
    club: "Site", svcctl: "Svcctl", command: list[str], old: str, new: str, words: list[str]
) -> None:
    club.write("people.csv", PEOPLE.replace("fc", "corp"))
    club.configure((BASE + CHAT + FORUM).replace(old, new))
    before = content(club.folder)
    complains(svcctl(*command), 78, "svcctl.toml", *words)
    assert content(club.folder) == before


def test_a_configuration_that_is_not_there_is_said_with_the_command_that_makes_one(
    club: "Site", svcctl: "Svcctl"
) -> None:
    (club.folder / "svcctl.toml").unlink()
    before = content(club.folder)
    complains(svcctl("sync", "--all"), 78, "svcctl.toml: no such file", "hint: `svcctl init`")
    assert content(club.folder) == before


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"hook": "sandbocks"}, ["services.forum.hook: no hook is called sandbocks", "sandbox"]),
        (
            {"hook": "does_not_import:Hook"},
            [
                "services.forum.hook: does_not_import cannot be imported: ",
                "RuntimeError: the library of this service is not installed",
                "-c 'import does_not_import'",
            ],
        ),
        ({"hook": "not_there:Hook"}, ["no module named not_there", "hint: install the package"]),
        ({"hook": "troublesome_hooks:Gone"}, ["troublesome_hooks has no Gone"]),
        ({"pth": "elsewhere"}, ["services.forum.pth: unknown key", "hint: did you mean path?"]),
        (
            {"hook": "troublesome_hooks:SecretiveHook", "token": {"env": "FORUM_TOKEN"}},
            ["services.forum.token: env FORUM_TOKEN: is not set", "hint: export FORUM_TOKEN"],
        ),
        (
            {"hook": "troublesome_hooks:SecretiveHook", "token": "hunter2"},
            ["services.forum.token: ", "{ env = "],
        ),
    ],
)
def test_a_service_that_cannot_be_used_stops_only_itself(
    club: "Site",
    svcctl: "Svcctl",
    monkeypatch: pytest.MonkeyPatch,
    table: dict[str, Any],
    words: list[str],
) -> None:
    monkeypatch.syspath_prepend(BROKEN)
    club.write("people.csv", PEOPLE + "5,zoe,corp\n")
    assert svcctl("directory", "pull").exit_code == 0
    forum = FORUM
    for key, value in table.items():
        given = '{ env = "FORUM_TOKEN" }' if isinstance(value, dict) else f'"{value}"'
        forum = forum.replace('hook = "sandbox"\n', "") if key == "hook" else forum
        forum += f"{key} = {given}\n"
    club.configure(BASE + CHAT + forum)
    before = calls(club.folder, "forum")
    done = svcctl("sync", "--all")
    complains(done, 78, "forum: ", *words)
    assert "hunter2" not in done.stdout + done.stderr
    assert calls(club.folder, "forum") == before
    assert "zoe" not in remote(club.folder, "forum")
    assert "zoe" in remote(club.folder, "chat")
    assert club.rows("SELECT DISTINCT service FROM operations WHERE run_id > 1") == [
        {"service": "chat"}
    ] or club.rows("SELECT DISTINCT status FROM operations WHERE service = 'forum'") == [
        {"status": "done"},
        {"status": "pending"},
    ]
    # Once it is mended, what was missed is made up for.
    club.configure(BASE + CHAT + FORUM)
    assert svcctl("sync", "--all").exit_code == 0
    assert "zoe" in remote(club.folder, "forum")


# Services


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("denied", ["create_account is broken on purpose: denied"]),
        ("transient", ["create_account is broken on purpose: transient"]),
        ("invalid:zoe", ["create_account is broken on purpose: invalid for zoe"]),
    ],
)
def test_a_service_that_refuses_is_named_with_the_user_and_the_others_go_on(
    club: "Site",
    svcctl: "Svcctl",
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    words: list[str],
) -> None:
    monkeypatch.setattr("svcctl.runs.lane.FIRST_PAUSE", 0.01)
    club.write("people.csv", PEOPLE + "5,zoe,corp\n")
    assert svcctl("directory", "pull").exit_code == 0
    with closing(SandboxManager(club.folder / "forum.sqlite")) as forum:
        forum.break_method("create_account", fault)
    before = remote(club.folder, "forum")
    done = svcctl("sync", "--all")
    assert done.exit_code == 1
    assert "Traceback" not in done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("forum ")]
    assert lines
    assert all("zoe" in line for line in lines)
    for word in words:
        assert word in lines[0]
    assert remote(club.folder, "forum") == before
    assert "zoe" in remote(club.folder, "chat")
    assert svcctl("service", "forum", "heal").exit_code == 0
    assert svcctl("sync", "zoe").exit_code == 0
    assert "zoe" in remote(club.folder, "forum")


def test_a_listing_that_ends_early_changes_nobody(club: "Site", svcctl: "Svcctl") -> None:
    with closing(SandboxManager(club.folder / "forum.sqlite")) as forum:
        bob = next(one for one in forum.accounts() if one.name == "bob")
        forum.change_groups(bob.uid, frozenset(), frozenset({"fc"}))
        forum.break_method("list_accounts", "incomplete")
    before = content(club.folder)
    done = svcctl("update-all-groups")
    complains(done, 5, "forum: could not be read completely: ", "hint: nothing was changed")
    after = content(club.folder)
    assert after["forum.sqlite"] == before["forum.sqlite"]
    assert after["chat.sqlite"] == before["chat.sqlite"]
    assert svcctl("service", "forum", "heal").exit_code == 0
    assert svcctl("update-all-groups").exit_code == 0
    assert remote(club.folder, "forum")["bob"] == ("corp", "fc")


def gone(folder: Path) -> None:
    (folder / "wiki.htpasswd").unlink()


def a_folder(folder: Path) -> None:
    gone(folder)
    (folder / "wiki.htpasswd").mkdir()


@pytest.mark.parametrize(
    ("damage", "message", "hint"),
    [
        (gone, "wiki.htpasswd: no such file", "touch "),
        (a_folder, "wiki.htpasswd: not a regular file", "name a file"),
    ],
)
def test_a_password_file_that_is_not_one_takes_nothing_from_anybody(
    wiki: "Site",
    svcctl: "Svcctl",
    damage: Callable[[Path], None],
    message: str,
    hint: str,
) -> None:
    wiki.write("people.csv", PEOPLE.replace("2,bob,corp;fc", "2,bob,fc"))
    assert svcctl("directory", "pull").exit_code == 0
    damage(wiki.folder)
    before = content(wiki.folder)
    done = svcctl("sync", "--all")
    complains(done, 1, message, f"hint: {hint}", "bob")
    after = content(wiki.folder)
    assert after["wiki.groups"] == before["wiki.groups"]
    assert wiki.rows("SELECT DISTINCT status FROM accounts WHERE service = 'wiki'") == [
        {"status": "active"}
    ]
    checked = svcctl("services", "check", "wiki")
    assert checked.exit_code == 5
    assert message in checked.stdout + checked.stderr


def test_names_that_become_one_name_get_no_account_and_both_are_named(
    wiki: "Site", svcctl: "Svcctl"
) -> None:
    wiki.write("people.csv", PEOPLE + "5,jo doe,corp\n6,jo_doe,corp\n7,zoe,corp\n")
    assert svcctl("directory", "pull").exit_code == 0
    done = svcctl("sync", "--all", "--service", "wiki")
    complains(done, 1, "jo doe", "jo_doe")
    assert "jo_doe" not in (wiki.folder / "wiki.htpasswd").read_text()
    assert "zoe:" in (wiki.folder / "wiki.htpasswd").read_text()


# Sources


@pytest.mark.parametrize(
    ("damaged", "words"),
    [
        (None, ["people.csv: cannot be read: no such file", "hint: check the source's path"]),
        (b"", ["people.csv: empty, without even a header", "hint: the export has failed"]),
        (b"id,username,groups\n", ["people: 4 of 4 users have vanished", "--accept-missing 4"]),
        (
            b"id,username,groups\n1,ada,corp\n2,bo",
            ["people.csv:3: 2 cells, but the header has 3", "hint: the row is cut off"],
        ),
        (
            b'id,username,groups\n1,ada,"corp\n2,bob,corp\n',
            ["people.csv:2: a quote opened in this row", "hint: the file is cut off"],
        ),
        (
            PEOPLE.encode() + "5,jürgen,corp\n".encode("cp1252"),
            ["people.csv:6: not utf-8: ", "hint: set the source's encoding"],
        ),
        (PEOPLE.encode("utf-16"), ["people.csv:1: ", "utf-16"]),
        (
            PEOPLE.encode() + b"5,ada,\n",
            ["people.csv:6: the username 'ada' was already at ", "people.csv:2", "hint: every"],
        ),
        (
            PEOPLE.encode() + b"5," + b"x" * 50_000_000 + b",\n",
            ["people.csv:6: a line longer than 4,194,304 characters", "hint: "],
        ),
        (
            PEOPLE.encode() + b'5,"' + b"x\n" * 1_000_000 + b'",\n',
            ["people.csv:6: a cell longer than 1,048,576 characters", "hint: "],
        ),
        (
            PEOPLE.encode() + b"5,zo\x1b[31me,\n",
            ["people.csv:6: username: ", "U+001B", "hint: correct the row"],
        ),
        (b"\0" * 100, ["people.csv:1: a NUL byte", "hint: the file is damaged"]),
    ],
    ids=lambda value: None if isinstance(value, list) else repr(value)[:30],
)
def test_a_source_that_is_wrong_changes_nothing(
    club: "Site", svcctl: "Svcctl", damaged: bytes | None, words: list[str]
) -> None:
    if damaged is None:
        (club.folder / "people.csv").unlink()
    else:
        club.write("people.csv", damaged)
    before = content(club.folder)
    done = svcctl("directory", "pull", "--sync")
    complains(done, 5, *words)
    assert done.stdout == ""
    assert len(done.stderr) < 1000
    assert content(club.folder) == before
    remotes = before["chat.sqlite"], before["forum.sqlite"]
    assert svcctl("validate", "--all").exit_code == 0
    after = content(club.folder)
    assert (after["chat.sqlite"], after["forum.sqlite"]) == remotes


# The command line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sync", "adda"], ["no such user: adda", "hint: did you mean ada?"]),
        (["delete", "ada", "bbo"], ["no such user: bbo", "hint: did you mean bob?"]),
        (["users", "remove", "bobb"], ["no such user: bobb", "hint: did you mean bob?"]),
        (["why", "eev", "chat"], ["no such user: eev", "hint: did you mean eve?"]),
        (["sync", "--all", "--service", "caht"], ["no service 'caht'", "hint: configured: chat"]),
        (["validate", "--state", "Membr"], ["no such state: Membr", "hint: did you mean Member?"]),
        (["update-groups", "--group", "crop"], ["no such group: crop", "did you mean corp?"]),
        (["users", "list", "--state", "Membr"], ["no such state: Membr", "did you mean Member?"]),
        (["states", "preview", "--group", "crop"], ["no such group: crop", "mean corp?"]),
        (["delete", "@nobody.txt"], ["nobody.txt: cannot be read: no such file", "hint: a text"]),
        (["delete", "@people.latin"], ["people.latin: cannot be read: not utf-8", "hint: a text"]),
        (["delete", "@people.list"], ["no such user: bbo", "hint: did you mean bob?"]),
        (["directory", "pull", "--source", "peple"], ["no such source", "did you mean people?"]),
        (["holds", "approve", "99"], ["run 99 holds nothing", "hint: see: svcctl holds list"]),
        (["services", "pause", "caht"], ["caht", "did you mean chat?"]),
        (["sync", "--all", "--max-runtime", "5"], ["--max-runtime: not a duration", "like 90s"]),
        (["users", "show", "\udcff"], ["an argument is not UTF-8 text", "hint: "]),
        (["users", "set", "ada", "email=\udcff"], ["an argument is not UTF-8 text", "hint: "]),
    ],
    ids=" ".join,
)
def test_what_does_not_exist_is_said_with_what_is_close(
    club: "Site", svcctl: "Svcctl", words: list[str], said: list[str]
) -> None:
    club.write("people.latin", "jürgen\n".encode("cp1252"))
    club.write("people.list", "ada\nbbo\n")
    before = content(club.folder)
    done = svcctl(*words)
    if not any(word.startswith("--max") for word in words):
        complains(done, 2, *said)
    assert (done.exit_code, done.stdout) == (2, "")
    assert all(word in done.stderr for word in said)
    assert content(club.folder) == before


def test_an_empty_list_of_users_is_nobody_and_not_everybody(club: "Site", svcctl: "Svcctl") -> None:
    club.write("nobody.txt", "\n  \n")
    club.write("people.csv", PEOPLE + "5,zoe,corp\n")
    assert svcctl("directory", "pull").exit_code == 0
    before = remote(club.folder)
    for command in (["delete"], ["sync"], ["accounts", "disable"], ["users", "remove"]):
        done = svcctl(*command, "@nobody.txt")
        assert (done.exit_code, done.stdout) == (0, ""), command
    assert remote(club.folder) == before
    assert svcctl("users", "list", "@nobody.txt").stdout == ""


def test_a_list_of_users_may_come_from_windows(club: "Site", svcctl: "Svcctl") -> None:
    club.write("some.txt", "\ufeffada\r\n\r\n bob \r\n")
    done = svcctl("users", "list", "@some.txt", "--format", "csv")
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == ["username", "ada", "bob"]


# The database


def test_another_schema_and_another_file_are_refused(club: "Site", svcctl: "Svcctl") -> None:
    club.write("people.csv", PEOPLE + "5,zoe,corp\n")
    club.execute("UPDATE alembic_version SET version_num = '9999'")
    before = content(club.folder)
    for words in (["sync", "--all"], ["directory", "pull"], ["db", "upgrade"]):
        complains(svcctl(*words), 78, "svcctl.db: schema 9999 is newer than", "upgrade svcctl")
    assert content(club.folder) == before
    club.database.close()
    for path in club.folder.glob("svcctl.db*"):
        path.unlink()
    complains(svcctl("sync", "--all"), 74, "svcctl.db: no database yet", "svcctl db upgrade")
    club.write("svcctl.db", "a letter to my aunt " * 100)
    before = content(club.folder)
    for words in (["sync", "--all"], ["directory", "pull"], ["db", "upgrade"]):
        complains(svcctl(*words), 74, "svcctl.db: file is not a database", "hint: the path in")
    assert content(club.folder) == before


def test_a_locked_database_means_try_later_and_nothing_was_done(
    club: "Site", svcctl: "Svcctl", monkeypatch: pytest.MonkeyPatch
) -> None:
    defaults = Database.__init__.__kwdefaults__
    assert defaults
    monkeypatch.setitem(defaults, "busy", 0.3)  # instead of ten seconds
    club.write("people.csv", PEOPLE + "5,zoe,corp\n")
    club.execute("UPDATE users SET enabled = 0, active = 0 WHERE username = 'ada'")
    club.execute("UPDATE users SET state = 'Guest' WHERE username = 'ada'")
    before = content(club.folder)
    with closing(sqlite3.connect(club.folder / "svcctl.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        reading = svcctl("users", "list", "--format", "csv")
        assert reading.exit_code == 0
        assert "ada" in reading.stdout
        for words in (["sync", "--all"], ["directory", "pull"], ["users", "add", "joe"]):
            complains(svcctl(*words), 75, "svcctl.db: ", "lock", "hint: ")
        other.rollback()
    assert content(club.folder) == before


def test_a_service_at_work_elsewhere_is_left_out_and_its_holder_named(
    club: "Site", svcctl: "Svcctl"
) -> None:
    club.write("people.csv", PEOPLE + "5,zoe,corp\n")
    assert svcctl("directory", "pull").exit_code == 0
    before = content(club.folder)["forum.sqlite"]
    with service_locks(club.database, ["forum"], timeout=0, holder="sync"):
        done = svcctl("sync", "--all")
        complains(done, 75, f"forum: another run is at work: sync (pid {os.getpid()} on ")
        assert "hint: wait for it, or give --lock-timeout" in done.stderr
        assert content(club.folder)["forum.sqlite"] == before
        assert "zoe" in remote(club.folder, "chat")
    assert svcctl("sync", "--all").exit_code == 0
    assert "zoe" in remote(club.folder, "forum")


NOBODY = 65534


@pytest.fixture
def theirs() -> Iterator[Path]:
    """A folder that somebody who is not root can enter."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    for place in (Path(sys.prefix), *Path(sys.prefix).parents):
        if not place.stat().st_mode & 0o001:
            pytest.skip(f"somebody else cannot import svcctl: {place} may not be entered")
    folder = Path(tempfile.mkdtemp(prefix="svcctl-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def own(folder: Path, mode: int, user: int, *names: str) -> None:
    for name in names:
        os.chown(folder / name, user, user)
        (folder / name).chmod(mode)


def test_files_that_may_only_be_read_are_said_and_stay_as_they_are(
    wiki: "Site", theirs: Path, forks: Forks
) -> None:
    wiki.execute("UPDATE users SET state = 'Guest' WHERE username = 'bob'")
    wiki.write("people.csv", PEOPLE + "5,zoe,corp\n")
    wiki.database.close()
    shutil.copytree(wiki.folder, theirs, dirs_exist_ok=True)
    files = ["svcctl.toml", "svcctl.db", "people.csv", "wiki.htpasswd", "wiki.groups"]
    locks = [str(path.relative_to(theirs)) for path in (theirs / "locks").iterdir()]
    own(theirs, 0o644, 0, *files, "chat.sqlite", *locks)
    before = content(theirs)
    # First the database may not be written, then nothing.
    for owner in (NOBODY, 0):
        own(theirs, 0o755, owner, ".", "locks")
        own(theirs, 0o600, owner, *locks)
        for words in (["sync", "--all"], ["directory", "pull"]):
            done = forks.begin(theirs, *words, user=NOBODY)
            complains(done, 74, "svcctl.db: ", "readonly", "hint: the file, its folder or the")
        listed = forks.begin(theirs, "users", "list", user=NOBODY)
        assert (listed.exit_code, "bob" in listed.stdout) == (0, True)
        assert content(theirs) == before
    # The database may be written and the password file may not: the other service goes on.
    (theirs / "state").mkdir()
    shutil.move(theirs / "svcctl.db", theirs / "state")
    shutil.move(theirs / "chat.sqlite", theirs / "state")
    text = (theirs / "svcctl.toml").read_text().replace('"chat.sqlite"', '"state/chat.sqlite"')
    (theirs / "svcctl.toml").write_text('database = "state/svcctl.db"\n' + text)
    own(theirs, 0o755, NOBODY, "state")
    own(theirs, 0o600, NOBODY, "state/svcctl.db", "state/chat.sqlite")
    before = content(theirs)
    done = forks.begin(theirs, "sync", "--all", user=NOBODY)
    complains(done, 1, "wiki", "bob", "permission denied", "hint: ")
    assert content(theirs)["wiki.htpasswd"] == before["wiki.htpasswd"]
    with closing(SandboxManager(theirs / "state/chat.sqlite")) as chat:
        assert {one.name for one in chat.accounts() if not one.active} == {"bob"}


# The disk


@contextmanager
def disk(folder: Path, kilobytes: int) -> Iterator[None]:
    """A file system of its own; skips where there is no permission to mount one."""
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small disk")
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("left", [0, 400])
def test_a_full_disk_ends_the_run_and_with_space_the_next_one_finishes(
    site: "Callable[[str], Site]", svcctl: "Svcctl", forks: Forks, tmp_path: Path, left: int
) -> None:
    count = 300
    rows = "".join(f"{number},user{number:04},corp\n" for number in range(count))
    chat = CHAT.replace("chat.sqlite", f"{tmp_path}/chat.sqlite")
    with disk(tmp_path / "disk", 16384):
        made = site(f'database = "disk/svcctl.db"\n{BASE}{chat}')
        made.write("people.csv", f"id,username,groups\n{rows}")
        assert svcctl("directory", "pull").exit_code == 0
        made.database.close()
        status = os.statvfs(tmp_path / "disk")
        free = status.f_bavail * status.f_frsize
        ballast = tmp_path / "disk" / "ballast"
        ballast.write_bytes(b"x" * (free - left * 1024))
        done = forks.begin(tmp_path, "sync", "--all")
        complains(done, 74, "hint: ")
        assert "disk" in done.stderr
        assert len(remote(tmp_path)) < count
        ballast.unlink()
        checked = svcctl("db", "check")
        assert (checked.exit_code, checked.stdout) == (0, "")
        assert svcctl("sync", "--all").exit_code == 0
        assert remote(tmp_path) == {f"user{number:04}": ("corp",) for number in range(count)}
        outcomes = [one for one in calls(tmp_path) if one[0] == "create_account"]
        assert len(outcomes) == count
        assert {outcome for _, _, outcome in outcomes} == {"done"}
        checked = svcctl("db", "check")
        assert (checked.exit_code, checked.stdout) == (0, "")
        made.database.close()


# The streams


@pytest.fixture
def crowd(site: "Callable[[str], Site]", svcctl: "Svcctl") -> "Site":
    """A hundred and fifty people who have no accounts yet: more output than a pipe holds."""
    made = site(BASE + CHAT)
    rows = "".join(f"{number},user{number:04},corp\n" for number in range(150))
    made.write("people.csv", f"id,username,groups\n{rows}")
    assert svcctl("directory", "pull").exit_code == 0
    return made


SVCCTL = f"{sys.executable} -m svcctl --config svcctl.toml"


def shell(folder: Path, line: str) -> Said:
    """A line of bash; it ends as its first command does."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("SVCCTL_")}
    done = subprocess.run(
        ["bash", "-c", f"{line}; exit ${{PIPESTATUS[0]}}"],
        cwd=folder,
        env=inherited,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("form", ["text", "ndjson"])
def test_a_reader_that_leaves_does_not_stop_a_run(
    crowd: "Site", svcctl: "Svcctl", form: str
) -> None:
    done = shell(crowd.folder, f"{SVCCTL} sync --all --format {form} | head -1")
    assert (done.exit_code, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1
    assert len(remote(crowd.folder)) == 150
    assert svcctl("plan", "--check").exit_code == 0
    if form == "text":
        listed = shell(crowd.folder, f"{SVCCTL} history 1 --limit 1000 | head -0")
        assert (listed.exit_code, listed.stderr, listed.stdout) == (0, "", "")


def test_streams_that_are_closed_or_full_do_not_stop_a_run(club: "Site", svcctl: "Svcctl") -> None:
    def zoe(number: int, line: str) -> Said:
        rows = [f"{10 + each},zoe{each},corp\n" for each in range(number)]
        club.write("people.csv", PEOPLE + "".join(rows))
        assert svcctl("directory", "pull").exit_code == 0
        done = shell(club.folder, f"{SVCCTL} {line}")
        assert "Traceback" not in done.stderr
        assert "defect" not in done.stderr
        assert f"zoe{number - 1}" in remote(club.folder)
        return done

    for number, line in enumerate(["sync --all >&-", "sync --all <&- >&- 2>&-"], 1):
        assert zoe(number, line).exit_code == 0
    full = zoe(3, "sync --all --format ndjson >/dev/full")
    complains(full, 74, "standard output: cannot be written: no space left on device")
    assert "hint: the command ran to its end" in full.stderr
    assert club.rows("SELECT exit_code FROM runs ORDER BY id DESC LIMIT 1") == [{"exit_code": 0}]


@pytest.mark.parametrize(
    ("encoding", "written"), [("ascii", "zoë€"), ("latin-1", "zoë\\u20ac"), ("utf-8", "zoë€")]
)
@pytest.mark.parametrize("form", ["text", "csv", "json"])
def test_any_name_can_be_written_in_any_locale(
    club: "Site",
    svcctl: "Svcctl",
    monkeypatch: pytest.MonkeyPatch,
    encoding: str,
    written: str,
    form: str,
) -> None:
    assert svcctl("users", "add", "zoë€", "--no-sync").exit_code == 0
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    assert main(["--config", "svcctl.toml", "users", "list", "--format", form]) == 0
    assert written in raw.getvalue().decode("latin-1" if encoding == "latin-1" else "utf-8")


@pytest.mark.parametrize(
    "said", ["Traceback (most recent call last):\nhint: x", "error: it did not work"]
)
def test_the_check_itself_notices_a_traceback_and_a_missing_remedy(said: str) -> None:
    with pytest.raises(AssertionError):
        complains(Said(1, "", said), 1)
