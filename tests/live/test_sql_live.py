"""The sql source and real servers: one moment, nothing written, nothing half taken over."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from svcctl.config.secrets import Secret
from svcctl.config.source import DatabaseUrl, SqlSource
from svcctl.directory.sql_snapshot import Snapshot
from svcctl.errors import SourceError
from svcctl.hooks.testing.server import Server, running
from tests.live.databases import connect, mariadb, postgresql

if TYPE_CHECKING:
    from tests.conftest import Site, Svcctl

pytestmark = pytest.mark.live

KEY = "directory.sources.hr"
PASSWORD = "o'ne:t@w/o%2F"
CONFIG = """
[directory]
attributes = ["born", "pay"]

[directory.sources.hr]
type = "sql"
url = "{url}"
password = {{ file = "hr.password" }}
timeout = "5s"
query = '''SELECT id, login AS username, enabled AS active, born, pay FROM people ORDER BY id'''
groups_query = '''SELECT person, team FROM members WHERE ('a%s:b' LIKE 'a%b')'''

[states.Member]
priority = 100
groups = ["corp"]
"""
TABLES = """
CREATE TABLE people (
    id integer PRIMARY KEY, login varchar(300), enabled {boolean}, born date, pay numeric(9, 2)
);
CREATE TABLE members (person integer, team varchar(300));
INSERT INTO people VALUES
    (1, 'ada', {true}, '1815-12-10', 12.50),
    (2, 'jürgen 😀', {true}, NULL, 7),
    (3, 'cyd', {false}, NULL, NULL);
INSERT INTO members VALUES (1, 'corp'), (1, 'fc'), (2, 'corp');
"""


@dataclass
class Foreign:
    """A server of one kind, with a database `hr` and a user svcctl who may do anything there."""

    kind: str
    server: Server
    admin: Callable[[str], Any]

    @property
    def url(self) -> str:
        return f"{self.kind}://svcctl@127.0.0.1:{self.server.port}/hr"

    def run(self, script: str, database: str = "hr") -> None:
        with closing(self.admin(database)) as connection, connection.cursor() as cursor:
            for statement in filter(None, map(str.strip, script.split(";"))):
                cursor.execute(statement)

    def rows(self, statement: str) -> list[Any]:
        with closing(self.admin("hr")) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    @property
    def endless(self) -> str:
        """More and more rows, each a person, until somebody stops it."""
        return (
            "SELECT 'u' || generate_series(1, 1000000000) AS username"
            if self.kind == "postgresql"
            else "SELECT concat('u', seq) AS username FROM seq_1_to_1000000000"
        )


@pytest.fixture(params=["postgresql", "mysql"])
def foreign(request: pytest.FixtureRequest) -> Iterator[Foreign]:
    start = {"postgresql": postgresql, "mysql": mariadb}[request.param]
    with running(start()) as server:
        one = Foreign(request.param, server, lambda name: connect(request.param, server, name))
        if one.kind == "mysql":
            one.run(
                "CREATE DATABASE hr CHARACTER SET utf8mb4;"
                f'CREATE USER svcctl@"127.0.0.1" IDENTIFIED BY "{PASSWORD}";'
                'GRANT ALL ON hr.* TO svcctl@"127.0.0.1"',
                "mysql",
            )
            one.run(TABLES.format(boolean="tinyint(1)", true=1, false=0))
        else:
            quoted = PASSWORD.replace("'", "''")
            one.run(f"CREATE ROLE svcctl SUPERUSER LOGIN PASSWORD '{quoted}'", "postgres")
            one.run("CREATE DATABASE hr OWNER svcctl", "postgres")
            one.run(TABLES.format(boolean="boolean", true=True, false=False))
        yield one


@pytest.fixture
def hr(foreign: Foreign, site: "Callable[[str], Site]") -> "Site":
    made = site(CONFIG.format(url=foreign.url))
    made.write("hr.password", PASSWORD + "\n").chmod(0o600)
    return made


def everything(site: "Site") -> list[object]:
    return [
        site.rows(f"SELECT * FROM {table} ORDER BY 1, 2")
        for table in ("users", "groups", "memberships", "states")
    ]


def test_the_whole_way(foreign: Foreign, hr: "Site", svcctl: "Svcctl") -> None:
    done = svcctl("directory", "pull")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == "hr: 3 read, 3 added\n  ada: added\n  jürgen 😀: added\n  cyd: added\n"
    rows = hr.rows("SELECT username, active, state, attributes FROM users ORDER BY id")
    assert [tuple(row.values()) for row in rows] == [
        ("ada", 1, "Member", '{"born":"1815-12-10","pay":"12.50"}'),
        ("jürgen 😀", 1, "Member", '{"pay":7}'),
        ("cyd", 0, "Guest", "{}"),
    ]
    assert svcctl("directory", "pull").stdout == ""
    foreign.run(
        "UPDATE people SET login = 'ada2' WHERE id = 1; DELETE FROM people WHERE id = 2;"
        "DELETE FROM members WHERE team = 'fc'; INSERT INTO members VALUES (3, 'fc')"
    )
    assert svcctl("directory", "pull").stdout.splitlines() == [
        "hr: 2 read, 1 renamed, 1 missing, 1 joined, 1 left",
        "  ada2: renamed, was ada",
        "  jürgen 😀: missing; loses access if missing again",
        "  cyd: +fc",
        "  ada2: -fc",
    ]
    assert "missing for good" in svcctl("directory", "pull").stdout

    failing(foreign, hr, svcctl)


def failing(foreign: Foreign, hr: "Site", svcctl: "Svcctl") -> None:
    """What goes wrong, one thing after the other on the same server."""
    config = CONFIG.format(url=foreign.url)
    before = everything(hr)
    there = foreign.rows("SELECT * FROM people ORDER BY id")

    def refused(**options: str) -> str:
        lines = [line for line in config.splitlines() if line.partition(" =")[0] not in options]
        at = lines.index('type = "sql"') + 1
        lines[at:at] = [f"{name} = '''{value}'''" for name, value in options.items()]
        hr.configure("\n".join(lines))
        done = svcctl("directory", "pull")
        assert (done.exit_code, done.stdout) == (5, "")
        assert everything(hr) == before
        assert foreign.rows("SELECT * FROM people ORDER BY id") == there
        assert PASSWORD not in done.stderr
        (error, hint) = done.stderr.splitlines()
        assert hint.startswith("hint: ")
        return error.removeprefix(f"error: {KEY}.")

    postgres = foreign.kind == "postgresql"
    nap = "pg_sleep(30)" if postgres else "SLEEP(30)"
    # Reading only, whatever the user may do otherwise.
    for write in (
        "UPDATE people SET login = 'x' RETURNING login AS username",
        "DELETE FROM people",
        "DROP TABLE members",
        "CREATE TABLE x (y integer)",
        "SELECT 1 AS username; COMMIT; DROP TABLE members",
        "SELECT 1 AS username; ROLLBACK; DROP TABLE members",
        "COMMIT; DROP TABLE members",
    ):
        assert refused(query=write).startswith("query: "), write
        assert refused(groups_query=write).startswith("groups_query: "), write
    if postgres:
        foreign.run("CREATE SEQUENCE counter")
        written = "SELECT nextval('counter') AS username"
        assert refused(query=written).startswith("query: would change the database")
    else:
        said = refused(query="DELETE FROM people")
        assert said.startswith("query: would change the database: Cannot execute statement")
    # Too slow, or too much.
    assert refused(query=f"SELECT {nap} AS username", timeout="1s") == "query: not read within 1 s"
    assert refused(query=foreign.endless, timeout="1s") == "query: not read within 1 s"
    # A row that fails.
    third = "1 / (3 - id)" if postgres else "(SELECT 1 UNION SELECT 2 WHERE people.id = 3)"
    query = f"SELECT id, login AS username, {third} AS pay FROM people ORDER BY id"
    assert refused(query=query).startswith(
        "query: division by zero" if postgres else "query: Subquery returns more than 1 row"
    )
    # Rows left unread.
    twice = foreign.endless.replace("AS username", "AS username, 2 AS username")
    assert refused(query=twice) == "query: two columns are called 'username'"
    # Who gets in.
    hr.write("hr.password", "wrong\n").chmod(0o600)
    assert refused().startswith("url: cannot connect: ")
    hr.write("hr.password", PASSWORD).chmod(0o600)
    assert refused(url=foreign.url + "x").startswith("url: cannot connect: ")
    assert refused(query="SELECT x FROM nowhere").startswith("query: ")
    assert refused(query="SELECT").startswith("query: ")
    # A lost connection, in the middle of the rows and before the end.
    if postgres:
        end = "pg_terminate_backend(pg_backend_pid())"
        query = (
            f"SELECT n AS username, CASE n WHEN 5000 THEN {end} END FROM generate_series(1, 9999) n"
        )
        assert refused(query=query).startswith("query: the connection was lost while reading: ")
    foreign.server.process.send_signal(signal.SIGKILL)
    foreign.server.process.wait()


def source_of(foreign: Foreign, site: "Site") -> SqlSource:
    password = Secret.parse({"file": str(site.folder / "hr.password")})
    return SqlSource(type="sql", url=DatabaseUrl(foreign.url), password=password, query="x")


def test_both_queries_see_one_moment_and_a_dead_server_is_noticed(
    foreign: Foreign, hr: "Site", svcctl: "Svcctl"
) -> None:
    with Snapshot(source_of(foreign, hr), KEY).opened() as snapshot:
        assert len(list(snapshot.select("query", "SELECT * FROM members")[1])) == 3
        foreign.run("INSERT INTO people VALUES (4, 'new', NULL, NULL, NULL); DELETE FROM members")
        assert len(list(snapshot.select("query", "SELECT * FROM people")[1])) == 3
        assert len(list(snapshot.select("query", "SELECT * FROM members")[1])) == 3
    with Snapshot(source_of(foreign, hr), KEY).opened() as snapshot:
        assert len(list(snapshot.select("query", "SELECT * FROM people")[1])) == 4

        _, rows = snapshot.select("query", foreign.endless)
        for _ in range(3):
            next(rows)
        end(foreign.server)
        with pytest.raises(SourceError, match="query: the connection was lost while reading: "):
            for _ in rows:
                pass
    before = everything(hr)
    done = svcctl("directory", "pull")
    assert (done.exit_code, done.stdout) == (5, "")
    assert f"error: {KEY}.url: cannot connect: " in done.stderr
    assert everything(hr) == before


def end(server: Server) -> None:
    """Kill the server and all that it started, at once."""
    os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait()
