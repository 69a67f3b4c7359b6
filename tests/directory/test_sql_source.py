"""A query is read completely, or refused with place and remedy; it changes nothing there."""

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from svcctl.config.load import load
from svcctl.config.source import SqlSource
from svcctl.directory import sources, spool
from svcctl.directory.person import Person
from svcctl.directory.sources import open_source
from svcctl.directory.sql_snapshot import Snapshot
from svcctl.errors import ExitCode, SourceError
from svcctl.locks import DIRECTORY, Locks
from svcctl.tasks.directory import open_sources, pull_sources

if TYPE_CHECKING:
    from tests.conftest import Site, Svcctl

KNOWN = {"email", "character_name", "corp_id"}
KEY = "directory.sources.hr"
CONFIG = """
[directory.sources.hr]
type = "sql"
url = "sqlite:///hr.db"
query = "SELECT id, login AS username, enabled AS active, mail AS email FROM people ORDER BY id"
groups_query = "SELECT person, team FROM members"

[states.Member]
priority = 100
groups = ["corp"]
"""
TABLES = """
CREATE TABLE people (id INTEGER PRIMARY KEY, login, enabled, mail);
CREATE TABLE members (person, team);
INSERT INTO people VALUES (1, 'ada', 1, 'ada@example.org'), (2, 'bob', 1, NULL), (3, 'cyd', 0, '');
INSERT INTO members VALUES (1, 'corp'), (1, 'fc'), (2, 'corp'), (9, 'corp');
"""


@pytest.fixture
def hr(site: "Callable[[str], Site]") -> "Site":
    made = site(CONFIG)
    change(made, TABLES)
    return made


def change(site: "Site", script: str) -> None:
    with closing(sqlite3.connect(site.folder / "hr.db")) as connection:
        connection.executescript(script)


def everything(site: "Site") -> list[object]:
    return [
        site.rows(f"SELECT * FROM {table} ORDER BY 1, 2")
        for table in ("users", "groups", "memberships", "states")
    ]


# As cron sees it


def test_the_first_pull_adds_people_and_groups_and_the_second_is_silent(
    hr: "Site", svcctl: "Svcctl"
) -> None:
    before = (hr.folder / "hr.db").read_bytes()
    done = svcctl("directory", "pull")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == "hr: 3 read, 3 added\n  ada: added\n  bob: added\n  cyd: added\n"
    assert [
        tuple(row.values()) for row in hr.rows("SELECT username, active, state FROM users")
    ] == [
        ("ada", 1, "Member"),
        ("bob", 1, "Member"),
        ("cyd", 0, "Guest"),
    ]
    again = svcctl("directory", "pull")
    assert (again.exit_code, again.stdout, again.stderr) == (0, "", "")
    assert (hr.folder / "hr.db").read_bytes() == before
    assert not list(hr.folder.glob("hr.db-*"))


def test_changes_renames_and_memberships_follow_and_who_vanished_goes_in_two_steps(
    hr: "Site", svcctl: "Svcctl"
) -> None:
    svcctl("directory", "pull")
    change(
        hr,
        "UPDATE people SET login = 'ada2', mail = 'new@example.org' WHERE id = 1;"
        "DELETE FROM people WHERE id = 2;"
        "DELETE FROM members WHERE team = 'fc';"
        "INSERT INTO members VALUES (3, 'fc');",
    )
    done = svcctl("directory", "pull")
    assert done.stdout.splitlines() == [
        "hr: 2 read, 1 changed, 1 renamed, 1 missing, 1 joined, 1 left",
        "  ada2: email: ada@example.org -> new@example.org",
        "  ada2: renamed, was ada",
        "  bob: missing; loses access if missing again",
        "  cyd: +fc",
        "  ada2: -fc",
    ]
    assert hr.rows("SELECT active FROM users WHERE username = 'bob'") == [{"active": 1}]
    assert "bob: missing for good, not active any more" in svcctl("directory", "pull").stdout
    assert hr.rows("SELECT active FROM users WHERE username = 'bob'") == [{"active": 0}]


def test_a_query_that_fails_in_its_third_row_changes_nothing(hr: "Site", svcctl: "Svcctl") -> None:
    svcctl("directory", "pull")
    before = everything(hr)
    change(hr, "UPDATE people SET login = 'renamed' WHERE id = 1;")
    overflow = "abs(CASE id WHEN 3 THEN -9223372036854775807 - 1 ELSE id END) AS id"
    hr.configure(CONFIG.replace("SELECT id,", f"SELECT {overflow},"))
    done = svcctl("directory", "pull")
    assert (done.exit_code, done.stdout) == (5, "")
    assert f"error: {KEY}.query: integer overflow\nhint: try the query" in done.stderr
    assert everything(hr) == before


def test_a_dry_run_writes_nothing_and_takes_no_lock(hr: "Site", svcctl: "Svcctl") -> None:
    before = everything(hr)
    dry = svcctl("directory", "pull", "--dry-run")
    assert everything(hr) == before
    assert dry.stdout == svcctl("directory", "pull").stdout


def test_one_pull_at_a_time(hr: "Site", svcctl: "Svcctl", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("svcctl.store.database.BUSY_SECONDS", 0)
    with Locks(hr.database, timeout=0, holder="directory pull") as locks:
        locks.acquire([DIRECTORY])
        done = svcctl("directory", "pull")
        assert (done.exit_code, done.stdout) == (75, "")
        assert f"error: another pull is at work: directory pull (pid {os.getpid()}" in done.stderr
        assert svcctl("directory", "pull", "--dry-run").exit_code == 0
    assert svcctl("directory", "pull").exit_code == 0


def test_the_source_has_been_read_before_anything_is_written(hr: "Site") -> None:
    settings = load(hr.folder / "svcctl.toml")
    with open_sources(settings, ["hr"]) as opened:
        (hr.folder / "hr.db").unlink()
        with hr.database.write() as connection:
            (pulled,) = pull_sources(connection, settings, opened)
    assert pulled.diff
    assert pulled.diff.added.count == 3


def test_others_may_write_while_a_slow_source_is_read(hr: "Site") -> None:
    with closing(sqlite3.connect(hr.folder / "hr.db", isolation_level=None)) as slow:
        slow.execute("BEGIN EXCLUSIVE")
        pull = subprocess.Popen(
            [sys.executable, "-m", "svcctl", "directory", "pull"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=hr.folder,
            text=True,
        )
        lock = hr.folder / "locks" / f"svcctl.db.{DIRECTORY.replace('@', '%40')}.lock"
        deadline = time.monotonic() + 20
        while not (lock.exists() and lock.read_text()) and time.monotonic() < deadline:
            time.sleep(0.01)
        begun = time.monotonic()
        hr.execute("INSERT INTO groups (name, origin) VALUES ('meanwhile', 'operator')")
        assert time.monotonic() - begun < 5
        assert pull.poll() is None
        slow.execute("ROLLBACK")
        stdout, stderr = pull.communicate(timeout=20)
    assert (pull.returncode, stderr) == (0, "")
    assert stdout.startswith("hr: 3 read, 3 added")


# What is wrong


def refusal(hr: "Site", svcctl: "Svcctl", **options: str) -> str:
    """What is said when the source has these options, in one line, and nothing is written."""
    before = everything(hr)
    lines = [line for line in CONFIG.splitlines() if line.partition(" =")[0] not in options]
    at = lines.index('type = "sql"') + 1
    lines[at:at] = [f"{name} = '''{value}'''" for name, value in options.items()]
    hr.configure("\n".join(lines))
    done = svcctl("directory", "pull")
    assert (done.exit_code, done.stdout) == (5, "")
    assert everything(hr) == before
    (error, hint) = done.stderr.splitlines()
    assert hint.startswith("hint: ")
    return error.removeprefix(f"error: {KEY}.")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT", "query: incomplete input"),
        ("SELECT * FROM nowhere", "query: no such table: nowhere"),
        ("SELECT id FROM people", "query: no column 'username', which the source's username names"),
        (
            "SELECT login AS username, mail AS username FROM people",
            "query: two columns are called 'username'",
        ),
        (
            "SELECT p.id, login AS username FROM people p JOIN members ON person = p.id ORDER BY 1",
            "query: row 2: the username 'ada' was already at directory.sources.hr.query: row 1",
        ),
        (
            "SELECT 1 AS id, login AS username FROM people ORDER BY 2",
            "query: row 2: the id '1' was already at directory.sources.hr.query: row 1",
        ),
        ("SELECT NULL AS id, 'ada' AS username", "query: row 1: the id is empty"),
        ("SELECT NULL AS username", "query: row 1: the username is empty"),
        (
            "SELECT 1.5 AS username",
            "query: row 1: the username is a float, not text or a whole number",
        ),
        (
            "SELECT x'00' AS username",
            "query: row 1: the username is a bytes, not text or a whole number",
        ),
        (
            "SELECT 7 AS id, 'ada' AS username, 2 AS active",
            "query: row 1 (id '7'): active is neither true nor false: '2'",
        ),
        (
            "SELECT 7 AS id, 'ada' AS username, x'00' AS email",
            "query: row 1 (id '7'): email: a bytes cannot be an attribute",
        ),
        (
            "SELECT 7 AS id, 'ada' AS username, 9e999 AS email",
            "query: row 1 (id '7'): email: not a number",
        ),
        (
            "DELETE FROM people",
            "query: would change the database: attempt to write a readonly database",
        ),
        (
            "DELETE FROM people RETURNING login AS username",
            "query: would change the database: attempt to write a readonly database",
        ),
        (
            "SELECT login AS username FROM people; DELETE FROM people",
            "query: You can only execute one statement at a time.",
        ),
        ("ATTACH 'other.db' AS other", "query: too many attached databases - max 0"),
        ("PRAGMA query_only=OFF", "query: gives no rows"),
    ],
)
def test_the_first_thing_that_is_wrong_is_named(
    hr: "Site", svcctl: "Svcctl", query: str, message: str
) -> None:
    before = (hr.folder / "hr.db").read_bytes()
    assert refusal(hr, svcctl, query=query) == message
    assert (hr.folder / "hr.db").read_bytes() == before
    assert not (hr.folder / "other.db").exists()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT person FROM members", "1 columns, not two"),
        ("SELECT person, team, 1 FROM members", "3 columns, not two"),
        ("SELECT person, NULL FROM members", "row 1: the group's name is empty"),
        ("SELECT NULL, team FROM members", "row 1: the id is empty"),
        (
            "SELECT 'p' || person, team FROM members",
            "no id in it is that of a person of query, like 'p1'",
        ),
        ("DROP TABLE members", "would change the database: attempt to write a readonly database"),
        ("SELECT person, team FROM teams", "no such table: teams"),
    ],
)
def test_so_it_is_in_the_query_of_groups(
    hr: "Site", svcctl: "Svcctl", query: str, message: str
) -> None:
    assert refusal(hr, svcctl, groups_query=query) == f"groups_query: {message}"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("char(97, 27, 98)", "contains the control or invisible character U+001B"),
        ("char(97, 0, 98)", "contains the control or invisible character U+0000"),
        ("char(97, 8238, 98)", "contains the control or invisible character U+202E"),
        ("replace(hex(zeroblob(128)), '00', 'aa')", "is longer than 255 characters"),
    ],
)
def test_hostile_names_are_refused(hr: "Site", svcctl: "Svcctl", name: str, problem: str) -> None:
    said = refusal(hr, svcctl, query=f"SELECT 7 AS id, {name} AS username")
    assert said == f"query: row 1: the username {problem}"
    said = refusal(hr, svcctl, groups_query=f"SELECT 1, {name}")
    assert said == f"groups_query: row 1: the group's name {problem}"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("char(97, 0)", "contains a NUL character"),
        ("replace(hex(zeroblob(524289)), '00', 'aa')", "longer than 1,048,576 characters"),
    ],
)
def test_hostile_attributes_are_refused(
    hr: "Site", svcctl: "Svcctl", value: str, problem: str
) -> None:
    said = refusal(hr, svcctl, query=f"SELECT 7 AS id, 'ada' AS username, {value} AS email")
    assert said == f"query: row 1 (id '7'): email: {problem}"


def test_text_that_is_not_utf_8_is_refused(hr: "Site", svcctl: "Svcctl") -> None:
    for broken in ("x'ff'", "x'eda080'"):
        said = refusal(
            hr, svcctl, query=f"SELECT 'ada' AS username, CAST({broken} AS TEXT) AS email"
        )
        assert said.startswith("query: Could not decode to UTF-8 column 'email'")


def test_what_a_shell_a_spreadsheet_or_a_terminal_would_obey_is_only_text(
    hr: "Site", svcctl: "Svcctl"
) -> None:
    hr.configure(CONFIG.replace("mail AS email", "'=1+1|' || char(27) || '[31m%s{x}' AS email"))
    done = svcctl("directory", "pull")
    assert (done.exit_code, "\x1b" in done.stdout) == (0, False)
    assert "=1+1|" in svcctl("users", "show", "ada").stdout
    bad = refusal(hr, svcctl, query='SELECT 1 AS "\x09[31mx"'.replace("\x09", "\t"))
    assert "\x1b" not in bad


def test_a_file_that_is_not_there_or_no_database_is_named(hr: "Site", svcctl: "Svcctl") -> None:
    said = refusal(hr, svcctl, url="sqlite:///none.db")
    assert said == "url: cannot connect: unable to open database file"
    assert not (hr.folder / "none.db").exists()
    hr.write("text.db", "nonsense" * 1000)
    assert "file is not a database" in refusal(hr, svcctl, url="sqlite:///text.db")


def test_an_answer_that_takes_too_long_is_cut_off(hr: "Site", svcctl: "Svcctl") -> None:
    endless = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
        " SELECT {} AS username FROM n"
    )
    for column in ("max(i)", "i"):  # without a row, and with more and more of them
        said = refusal(hr, svcctl, query=endless.format(column), timeout="1s")
        assert said == "query: not read within 1 s"


def test_too_many_rows_are_refused(
    hr: "Site", svcctl: "Svcctl", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "ROWS", 2)
    before = everything(hr)
    done = svcctl("directory", "pull")
    assert (done.exit_code, everything(hr)) == (5, before)
    assert "hr: more than 2 users" in done.stderr


def test_a_driver_that_is_missing_is_named_with_the_line_that_installs_it(
    hr: "Site", svcctl: "Svcctl", monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, module, name in (
        ("mysql", "pymysql", "MySQL and MariaDB"),
        ("postgresql", "psycopg", "PostgreSQL"),
    ):
        monkeypatch.setitem(sys.modules, module, None)
        extra = module.replace("pymysql", "mysql").replace("psycopg", "postgres")
        said = refusal(hr, svcctl, url=f"{kind}://me@127.0.0.1:1/x")
        assert said == f"url: the driver for {name} is not installed"
        done = svcctl("directory", "pull")
        assert done.stderr.endswith(f"hint: install it with: pip install 'svcctl[{extra}]'\n")


def test_a_secret_that_cannot_be_fetched_leaves_the_other_sources_alone(
    hr: "Site", svcctl: "Svcctl"
) -> None:
    secret = 'url = "mysql://me@127.0.0.1:1/x"\npassword = { env = "HR_PASSWORD" }'
    guests = '\n[directory.sources.guests]\ntype = "csv"\npath = "guests.csv"\n'
    hr.configure(CONFIG.replace('url = "sqlite:///hr.db"', secret) + guests)
    hr.write("guests.csv", "username\neve\n")
    done = svcctl("directory", "pull")
    assert (done.exit_code, done.stdout) == (5, "guests: 1 read, 1 added\n  eve: added\n")
    assert f"error: {KEY}.password: env HR_PASSWORD: is not set" in done.stderr


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("mysql://me:geheim@db/x", "no password in a URL"),
        ("mysql://:geheim@db/x", "no password in a URL"),
        ("mysql://me:ge/he@im@db/x", "no password in a URL"),
        ("postgresql://me@db/x?sslmode=require&password=geheim", "no password in a URL"),
        ("mysql://me@db/x?passwd=geheim", "no password in a URL"),
        ("oracle://me@db/x", "must be a URL like mysql://user@host/name"),
        ("hr.db", "must be a URL like mysql://user@host/name"),
        ("sqlite://", "must be a file, like sqlite:///people.db"),
    ],
)
def test_a_url_with_a_password_or_of_another_kind_is_refused_unseen(
    hr: "Site", svcctl: "Svcctl", url: str, problem: str
) -> None:
    hr.configure(CONFIG.replace("sqlite:///hr.db", url))
    done = svcctl("directory", "pull")
    assert done.exit_code == 78
    assert f"{KEY}.url: {problem}" in done.stderr
    assert "geheim" not in done.stderr
    assert "he@im" not in done.stderr


def test_the_configuration_is_checked_beyond_single_values(hr: "Site", svcctl: "Svcctl") -> None:
    hr.configure(CONFIG.replace("query =", 'password = { env = "X" }\nquery =', 1))
    assert f"{KEY}.password: a SQLite file has none" in svcctl("config", "check").stdout
    hr.configure(CONFIG.replace("hr.db", "none.db"))
    done = svcctl("config", "check")
    assert (done.exit_code, f"{KEY}.url: {hr.folder}/none.db does not exist" in done.stderr) == (
        0,
        True,
    )
    hr.configure(CONFIG.replace("query =", 'timeout = "0s"\nquery =', 1))
    assert f"{KEY}.timeout: must be 1s or more" in svcctl("config", "check").stdout


# Values and columns


def people(tmp_path: Path, query: str, **settings: Any) -> list[Person]:
    path = tmp_path / "x.db"
    sqlite3.connect(path).close()
    source = SqlSource(type="sql", url=f"sqlite:///{path}", query=query, **settings)
    with open_source("hr", source, KNOWN) as found:
        return list(found)


def test_what_the_query_has_no_column_for_is_unknown_not_absent(tmp_path: Path) -> None:
    assert people(tmp_path, "SELECT ' ada ' AS username;") == [Person("ada", "ada", None, None, {})]


def test_columns_are_named_in_the_source_or_called_like_their_attribute(tmp_path: Path) -> None:
    (found,) = people(
        tmp_path,
        "SELECT 7 AS nr, 'ada' AS login, 'no' AS enabled, 'corp|fc| ' AS teams, 98 AS corp_id,"
        " 'Ada P' AS \"p.name\", 5 AS other",
        id="nr",
        username="login",
        active="enabled",
        groups="teams",
        groups_separator="|",
        attributes={"p.name": "character_name"},
    )
    assert found == Person(
        "7",
        "ada",
        active=False,
        groups=frozenset({"corp", "fc"}),
        attributes={"corp_id": 98, "character_name": "Ada P"},
    )


def test_a_column_that_is_configured_and_not_there_is_an_error(tmp_path: Path) -> None:
    for option in ("id", "active", "groups"):
        with pytest.raises(SourceError, match=f"no column 'x', which the source's {option} names"):
            people(tmp_path, "SELECT 'ada' AS username", **{option: "x"})


def test_groups_of_both_kinds_are_added_up(tmp_path: Path) -> None:
    (found,) = people(
        tmp_path,
        "SELECT 7 AS id, 'ada' AS username, 'a;b' AS groups",
        groups_query="SELECT '7', 'b' UNION SELECT 7, 'c'",
    )
    assert found.groups == frozenset({"a", "b", "c"})


def test_percent_and_colon_are_themselves(tmp_path: Path) -> None:
    (found,) = people(tmp_path, "SELECT 'a:b' AS username WHERE 'x%s' LIKE 'x%'")
    assert found.username == "a:b"


def test_both_queries_see_the_same_moment(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("CREATE TABLE t (x)")
        source = SqlSource(type="sql", url=f"sqlite:///{path}", query="x")
        with Snapshot(source, KEY).opened() as snapshot:
            assert list(snapshot.select("query", "SELECT count(*) FROM t")[1]) == [(0,)]
            writer.execute("INSERT INTO t VALUES (1)")
            assert list(snapshot.select("query", "SELECT count(*) FROM t")[1]) == [(0,)]


def crowd(count: int) -> Iterator[tuple[int, Person]]:
    for number in range(count):
        yield number, Person(f"id-{number}", f"user{number}", None, frozenset({"a"}), {"x": "ü\n"})


def test_the_spool_gives_back_what_was_put_in_also_from_the_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("svcctl.spool._IN_MEMORY", 1000)
    with spool.Spool() as kept:
        recording = kept.record(crowd(100))  # type: ignore[arg-type]
        first = [next(recording) for _ in range(50)]
        assert next(kept.entries()) == first[0]
        first += recording
        assert list(kept.entries()) == first == list(crowd(100))


def test_a_full_disk_is_an_error_of_the_source(tmp_path: Path) -> None:
    class Full:
        def write(self, _line: bytes) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None: ...

    others = threading.active_count()
    with spool.Spool() as kept:
        kept._kept._file.close()
        kept._kept._file = Full()  # type: ignore[assignment]
        with pytest.raises(SourceError, match="no space left on device") as caught:
            list(kept.record(crowd(1)))  # type: ignore[arg-type]
    assert caught.value.exit_code is ExitCode.INCOMPLETE
    assert threading.active_count() <= others
