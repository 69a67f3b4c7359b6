"""`svcctl doctor`: each thing that can be wrong is said, with what to do, and the rest as well."""

import json
import socket
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from svcctl.locks import Locks
from svcctl.store.database import SCHEMA
from svcctl.vault import Vault

if TYPE_CHECKING:
    from tests.conftest import Prepared, Site, Svcctl

LAB = """
[services.lab]
hook = "sandbox"
path = "lab.db"
create = "auto"
access.states = ["Guest"]
"""
TOP = """
notify = { deliver = "file", file = "notices.ndjson", operators = ["ops@example.org"] }
[directory.sources.people]
type = "csv"
path = "people.csv"
"""
SLOW = """
import threading
from svcctl.errors import Denied
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import Manager

class Slow(Manager):
    def check(self):
        threading.Event().wait()

class Strange(Manager):
    def check(self):
        raise RuntimeError("hunter2")

class Mute(Manager):
    def delete_account(self, uid): ...

class SlowHook(ServiceHook):
    manager_class = Slow

class StrangeHook(ServiceHook):
    manager_class = Strange

class MuteHook(ServiceHook):
    manager_class = Mute
"""


@pytest.fixture
def club(prepared: "Prepared", svcctl: "Svcctl") -> "Site":
    """kim and lou come from a file, and have accounts."""

    def prepare(site: "Site") -> None:
        site.write("people.csv", "username\nkim\nlou\n")
        assert svcctl("directory", "pull").exit_code == 0
        assert svcctl("sync", "--all").exit_code == 0

    return prepared(TOP + LAB, prepare)


Examined = Callable[..., list[str]]


@pytest.fixture
def examined(svcctl: "Svcctl") -> Examined:
    """`examined(5)`: the lines that are not ok; all of them with `every`."""

    def run(code: int = 0, *words: str, every: bool = False) -> list[str]:
        done = svcctl("doctor", *words, "--json")
        assert done.exit_code == code, done
        assert "Traceback" not in done.stdout + done.stderr
        rows = json.loads(done.stdout)["rows"]
        return [
            f"{row['result']} {row['check']} {row['subject']}: {row['message']}; {row['remedy']}"
            for row in rows
            if every or row["result"] != "ok"
        ]

    return run


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_sound_site_has_one_line_for_everything(club: "Site", examined: Examined) -> None:
    club.database.close()
    before = everything(club.folder)
    lines = examined(every=True)
    assert [line for line in lines if not line.startswith("ok ")] == []
    assert [line.split()[1].rstrip(":") for line in lines] == [
        *("svcctl", "configuration", "hook", "database", "disk", "messages", "clock", "vault"),
        *("lock", "operations", "directory", "run", "record", "service", "source"),
    ]
    assert any("readable to its end: 2 users" in line for line in lines)
    after = everything(club.folder)
    assert {name for name in after if after[name] != before.get(name)} == set()


def test_nobody_is_asked_offline(club: "Site", examined: Examined) -> None:
    (club.folder / "people.csv").unlink()
    assert not any(" source " in line for line in examined(0, "--offline", every=True))


def test_it_is_a_table_for_people(club: "Site", svcctl: "Svcctl") -> None:
    (club.folder / "people.csv").unlink()
    done = svcctl("doctor")
    assert done.exit_code == 5
    assert done.stdout.splitlines()[0].split() == [
        "result",
        "check",
        "subject",
        "message",
        "remedy",
    ]
    assert any(line.startswith("fail    source ") for line in done.stdout.splitlines())


# The configuration


def test_a_file_that_is_no_toml_is_said_with_its_place(club: "Site", examined: Examined) -> None:
    club.configure("[services\n")
    first, second = examined(78)
    assert first.startswith("fail configuration svcctl.toml: svcctl.toml:1:")
    assert second.startswith("fail database")


def test_what_is_wrong_with_one_service_hides_no_other(club: "Site", examined: Examined) -> None:
    club.configure(TOP + LAB + '[services.chat]\nhook = "nosuch"\n' + "colour = 1\n")
    lines = examined(78, every=True)
    assert any(
        line.startswith("fail configuration services.chat.hook: no hook is called nosuch; known")
        for line in lines
    )
    assert "ok service lab: answers, and takes the credentials; None" in lines


def test_secrets_that_cannot_be_had_are_said(club: "Site", examined: Examined) -> None:
    (club.folder / "open.key").write_text("x")
    (club.folder / "open.key").chmod(0o644)
    club.configure(
        'vault_key = { file = "open.key" }\nmonitor.ping = { env = "NO_SUCH_URL" }\n' + TOP + LAB
    )
    lines = examined(78)
    assert any(
        line.startswith("fail configuration monitor.ping: env NO_SUCH_URL: is not set; export")
        for line in lines
    ), lines
    assert any(line.startswith("warn configuration vault_key: ") for line in lines), lines


# The database


def test_without_a_database_the_rest_is_looked_at(club: "Site", examined: Examined) -> None:
    club.database.close()
    for path in club.folder.glob("svcctl.db*"):
        path.unlink()
    lines = examined(74, every=True)
    assert (
        f"fail database {club.folder}/svcctl.db: no database yet; "
        "create it with: svcctl db upgrade" in lines
    )
    assert "ok service lab: answers, and takes the credentials; None" in lines
    assert not (club.folder / "svcctl.db").exists()


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (lambda path: path.chmod(0o644), 74, "mode is 0644; run: chmod 600"),
        (lambda path: path.write_bytes(b"SQLite format 3\0" + b"x" * 5000), 74, "; "),
        (lambda path: path.write_bytes(b"not a database" * 100), 74, "file is not a database"),
        (
            lambda path: version(path, "0002"),
            78,
            f"is older than this svcctl ({SCHEMA}); run: svcctl",
        ),
        (lambda path: version(path, "9999"), 78, "is newer than this svcctl"),
        (lambda path: version(path, "abc"), 74, "is not one of svcctl's"),
    ],
)
def test_what_is_wrong_with_the_database_is_said(
    club: "Site", examined: Examined, change: Callable[[Path], Any], code: int, said: str
) -> None:
    club.database.close()
    change(club.folder / "svcctl.db")
    lines = examined(code, every=True)
    assert [line for line in lines if line.startswith("fail database") and said in line], lines
    assert "ok service lab: answers, and takes the credentials; None" in lines


def version(path: Path, schema: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (schema,))
    connection.close()


@pytest.mark.parametrize(
    ("statement", "line"),
    [
        (
            "UPDATE operations SET status = 'held' WHERE id = 1",
            "warn operations lab: 1 held by a limit; svcctl holds list; then approve or reject",
        ),
        (
            "UPDATE operations SET status = 'unknown' WHERE id = 1",
            "warn operations lab: 1 nobody knows whether done; svcctl history --status unknown; ",
        ),
        (
            "UPDATE operations SET status = 'failed', next_attempt_at = 'x' WHERE id = 1",
            "warn operations lab: 1 failed, and wait for another try; svcctl retry",
        ),
        (
            "UPDATE users SET missing_pulls = 1 WHERE id = 1",
            "warn directory people: 1 users are missing from the last pull",
        ),
        (
            "UPDATE runs SET ended_at = '2020-01-01T00:00:00Z'",
            "warn run lab: the last one, sync, ended 2",
        ),
        (
            """UPDATE runs SET summary = '{"services": {"lab": 5}}'""",
            "warn run lab: the last one, sync, ended ",
        ),
        ("UPDATE runs SET summary = '{}'", "warn run lab: there was none for everybody"),
        (
            "INSERT INTO paused_services VALUES ('lab', 'today', '', 'olga')",
            "warn service lab: paused since today by olga; svcctl services resume lab",
        ),
        ("DELETE FROM audit", "fail record : its chain is gone; svcctl audit verify"),
        (
            "UPDATE runs SET started_at = '2999-01-01T00:00:00Z'",
            "fail clock : went back: it is 2",
        ),
        ("UPDATE runs SET summary = 'x'", "fail run : a row makes no sense: JSONDecodeError; sv"),
    ],
)
def test_what_waits_and_what_makes_no_sense_is_said(
    club: "Site", svcctl: "Svcctl", statement: str, line: str
) -> None:
    club.execute(statement)
    done = svcctl("doctor", "--offline", "--json")
    lines = [
        f"{row['result']} {row['check']} {row['subject']}: {row['message']}; {row['remedy']}"
        for row in json.loads(done.stdout)["rows"]
    ]
    assert any(one.startswith(line) for one in lines), lines
    assert (done.exit_code == 0) == (not any(one.startswith("fail") for one in lines))


def test_a_pull_that_is_long_ago_is_said(club: "Site", examined: Examined) -> None:
    assert any(
        line.startswith("ok directory people: 2 users came from it; the last pull was ")
        for line in examined(0, "--offline", every=True)
    )
    club.execute("UPDATE pulls SET at = '2020-01-01T00:00:00Z'")
    (line,) = examined(0, "--offline")
    assert line.startswith("warn directory people: 2 users came from it; the last pull was 2")
    assert " days ago; svcctl directory pull says what is wrong" in line


def test_who_holds_a_lock_is_said_and_who_is_dead_holds_none(
    club: "Site", examined: Examined
) -> None:
    with Locks(club.database, timeout=0, holder="sync --all") as locks:
        locks.acquire(["lab"])
        assert any(
            line.startswith("ok lock lab: held: sync --all (pid ")
            for line in examined(0, "--offline", every=True)
        )
    (file,) = (club.folder / "locks").glob("*lab.lock")
    dead = {"holder": "x", "pid": 2**22 + 1, "host": socket.gethostname(), "since": "y"}
    file.write_text(json.dumps(dead))
    assert any(
        line.startswith("ok lock : nobody is at work")
        for line in examined(0, "--offline", every=True)
    )


def test_a_key_that_is_gone_is_missed_as_soon_as_something_needs_it(
    club: "Site", examined: Examined
) -> None:
    from svcctl.config.load import load

    sealed = Vault(load(club.folder / "svcctl.toml"), in_use=lambda: False).seal("x", "y")
    club.execute(
        "INSERT INTO associations (user_id, provider, uid, extra_data, created_at, updated_at)"
        " VALUES (1, 'github', '7', :sealed, '', '')",
        sealed=sealed,
    )
    key = club.folder / "svcctl.key"
    assert "ok vault vault_key: the key is there, for its owner only; None" in examined(
        0, "--offline", every=True
    )
    key.chmod(0o644)
    assert any(line.startswith("fail vault vault_key") for line in examined(78, "--offline"))
    key.unlink()
    assert any("is missing, and the database has" in line for line in examined(78, "--offline"))


# Services, sources, messages


@pytest.fixture
def plugin(club: "Site", monkeypatch: pytest.MonkeyPatch) -> Iterator["Site"]:
    monkeypatch.syspath_prepend(club.folder)
    club.write("slow.py", SLOW)
    yield club
    sys.modules.pop("slow", None)


def test_a_service_that_hangs_or_breaks_keeps_no_other_back(
    plugin: "Site", examined: Examined
) -> None:
    plugin.configure(
        TOP
        + "".join(
            f'[services.{name.lower()}]\nhook = "slow:{name}Hook"\n'
            for name in ("Slow", "Strange", "Mute")
        )
        + LAB
        + 'faults = { check = "denied" }\n'
    )
    lines = [line for line in examined(5, "--timeout", "1s", every=True) if " service " in line]
    assert lines == [
        "fail service slow: no answer within 1 s; check that it runs and can be reached, or give "
        "--timeout more",
        "fail service strange: services.strange: Strange failed: RuntimeError; this is a defect in "
        "the manager: errors of a service are ManagerErrors",
        "warn service mute: cannot be asked: Mute has no check; svcctl plan shows whether it "
        "answers",
        "fail service lab: sandbox: check is broken on purpose: denied; svcctl service NAME heal",
    ]


@pytest.fixture
def old_server() -> Iterator[str]:
    """A web server whose clock stands still."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(403)
            self.end_headers()

        def date_time_string(self, timestamp: Any = None) -> str:
            return "Mon, 06 Jan 2020 10:00:00 GMT"

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_service_whose_clock_is_another_is_said(
    club: "Site", examined: Examined, old_server: str
) -> None:
    club.configure(TOP + LAB + f'url = "{old_server}"\n')
    (line,) = examined()
    assert line.startswith("warn clock lab: its clock is ")
    assert " s behind ours; synchronise" in line


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        ("username\nkim\nkim\n", 5, "fail source people: "),
        ("name\nkim\n", 5, "fail source people: "),
        ("username\n", 0, "warn source people: readable, and has nobody"),
    ],
)
def test_a_source_is_read_to_its_end(
    club: "Site", examined: Examined, content: str, code: int, said: str
) -> None:
    club.write("people.csv", content)
    assert any(line.startswith(said) for line in examined(code))


def test_messages_that_cannot_go_are_said(club: "Site", examined: Examined) -> None:
    club.configure(LAB)
    assert any(line.startswith("warn messages : nobody is told") for line in examined(0))
    club.configure('notify = { deliver = "file", file = "no/such/file" }\n' + LAB)
    assert any("no/such/file: cannot be written by" in line for line in examined(1, "--offline"))
    club.configure(
        '[notify]\ndeliver = "mail"\noperators = ["ops@example.org"]\n'
        'apprise = { chat = { file = "chat.url" } }\n'
        '[notify.mail]\nhost = "127.0.0.1"\nport = 1\nsecurity = "none"\n'
        'sender = "svcctl@example.org"\n' + LAB
    )
    club.write("chat.url", "nosuch://hunter2").chmod(0o600)
    mail, chat = [line for line in examined(1) if " messages " in line]
    assert mail.startswith("fail messages 127.0.0.1:1: connection refused; check ")
    assert chat.startswith("fail messages chat: notify.apprise.chat: not a URL that Apprise knows")
    assert "hunter2" not in chat


def test_metrics_that_cannot_be_written_are_said(club: "Site", examined: Examined) -> None:
    club.configure('monitor.metrics_file = "no/such/svcctl.prom"\n' + TOP + LAB)
    (line,) = examined(1)
    assert line.startswith(f"fail metrics {club.folder}/no/such/svcctl.prom: cannot be replaced")


def test_a_duration_that_is_none_is_a_mistake(club: "Site", svcctl: "Svcctl") -> None:
    done = svcctl("doctor", "--timeout", "soon")
    assert (done.exit_code, done.stderr.splitlines()[0]) == (
        2,
        "error: --timeout: not a duration: 'soon'; write it like 90s, 13m, 2h, 30d or 1h30m",
    )
