"""A whole site on PostgreSQL, through the front door: what commands do, and what they leave."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from svcctl.hooks.manager import NewAccount, RemoteAccount
from svcctl.hooks.sandbox import SandboxManager
from svcctl.store.database import Database
from svcctl.store.tables import metadata

pytestmark = pytest.mark.postgres

CONFIG = """
[directory.sources.people]
type = "csv"
path = "people.csv"

[states.Member]
priority = 100
groups = ["staff"]

[services.lab]
hook = "sandbox"
path = "lab.sqlite"
create = "auto"
access.states = ["Member"]

[services.wiki]
hook = "htpasswd"
password_file = "wiki.passwords"
group_file = "wiki.groups"
cost = 4
create = "auto"
access.states = ["Member"]
"""
HANGING = CONFIG.replace('"lab.sqlite"', '"lab.sqlite"\nfaults = { create_account = "hang:6@1" }')
SLOW = CONFIG.replace('"lab.sqlite"', '"lab.sqlite"\nlatency = 0.05')
_numbers = count(1)


@dataclass
class Site:
    """A folder with a configuration, its database on the server, and commands."""

    folder: Path
    server: Any
    name: str
    svcctl: Callable[..., Any]

    @property
    def url(self) -> str:
        url: str = self.server.url(self.name)
        return url

    def configure(self, config: str) -> None:
        (self.folder / "svcctl.toml").write_text(f'database = "{self.url}"\n{config}')

    def people(self, staff: Sequence[str], guests: Sequence[str] = ()) -> None:
        """What the source says from now on; groups with signs that drivers trip over."""
        rows = [f"id-{name},{name},staff;50% :x,{name}@x" for name in staff]
        rows += [f"id-{name},{name},50% :x,{name}@x" for name in guests]
        text = "\n".join(["id,username,groups,email", *rows, ""])
        (self.folder / "people.csv").write_text(text, encoding="utf-8")

    def pull(self) -> None:
        assert self.ok("directory", "pull")

    def sound(self) -> None:
        assert self.ok("db", "check") == ""
        assert self.ok("audit", "verify").startswith("as it was recorded")

    def run(self, *words: str) -> tuple[int, dict[str, Any]]:
        """A command with --json: its exit code and its document."""
        result = self.svcctl(*words, "--json")
        assert result.stdout, result.stderr
        return result.exit_code, json.loads(result.stdout)

    def ok(self, *words: str) -> str:
        result = self.svcctl(*words)
        assert (result.exit_code, result.stderr) == (0, ""), result
        return str(result.stdout)

    def start(self, *words: str) -> "subprocess.Popen[bytes]":
        """The same in a process of its own."""
        command = [sys.executable, "-m", "svcctl", "--config", "svcctl.toml", *words]
        out = (self.folder / "process.log").open("wb")
        with out:
            return subprocess.Popen(command, cwd=self.folder, stdout=out, stderr=out)

    def rows(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        database = Database(self.url)
        try:
            with database.read() as connection:
                return [tuple(row) for row in connection.execute(text(sql), values)]
        finally:
            database.close()

    def traces(self) -> dict[str, list[Any]]:
        """Every version of every row: what was written again is another version."""
        return {
            table: self.rows(
                f"SELECT t.xmin::text, t.ctid::text, t::text FROM {table} t ORDER BY 2"
            )
            for table in metadata.tables
        }

    def sequences(self) -> list[Any]:
        """How far they are: an insert moves them even if it is rolled back."""
        return self.rows("SELECT sequencename, last_value FROM pg_sequences ORDER BY 1")

    def remote(self) -> dict[str, RemoteAccount]:
        manager = SandboxManager(self.folder / "lab.sqlite")
        try:
            return {account.name: account for account in manager.accounts()}
        finally:
            manager.close()

    def creates(self) -> Counter[str]:
        manager = SandboxManager(self.folder / "lab.sqlite")
        try:
            done = [call for call in manager.calls() if call.method == "create_account"]
        finally:
            manager.close()
        return Counter(call.name for call in done if call.outcome == "done")

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir() if path.is_file()}

    def until(self, sql: str) -> None:
        """Wait until the database says yes."""
        deadline = time.monotonic() + 20
        while not self.rows(sql)[0][0]:
            log = self.folder / "process.log"
            assert time.monotonic() < deadline, log.read_text() if log.exists() else sql
            time.sleep(0.02)

    def whole(self, names: Sequence[str]) -> None:
        """Everybody has an account on each service, once, and svcctl knows it."""
        assert self.remote().keys() == set(names)
        assert self.creates() == Counter(names)
        lines = (self.folder / "wiki.passwords").read_text(encoding="utf-8").splitlines()
        assert sorted(line.split(":")[0] for line in lines) == sorted(names)
        known = self.rows("SELECT service, name, status FROM accounts")
        assert sorted(known) == sorted((s, n, "active") for s in ("lab", "wiki") for n in names)
        still = "status IN ('pending', 'running', 'unknown', 'held')"
        assert self.rows(f"SELECT count(*) FROM operations WHERE {still}") == [(0,)]
        assert self.rows("SELECT count(*) FROM runs WHERE ended_at IS NULL") == [(0,)]
        self.sound()


@pytest.fixture
def bare(
    tmp_path: Path, postgres: Any, svcctl: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Site]]:
    """`bare(template)`: a site and its database, cloned from this one."""
    for name in [name for name in os.environ if name.startswith("SVCCTL_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    made: list[str] = []

    def build(template: str) -> Site:
        made.append(f"site_{next(_numbers)}")
        postgres.ask(f"CREATE DATABASE {made[-1]} TEMPLATE {template}")
        site = Site(tmp_path, postgres, made[-1], svcctl)
        site.configure(CONFIG)
        for file in ("wiki.passwords", "wiki.groups"):
            (tmp_path / file).touch(0o640)
        return site

    yield build
    for name in made:
        postgres.ask(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def site(bare: Callable[[str], Site]) -> Site:
    return bare("template_svcctl")


def names(number: int) -> list[str]:
    return [f"user{index:02}" for index in range(number)]


def test_from_an_empty_database_to_accounts(bare: Callable[[str], Site]) -> None:
    site = bare("template0")
    before = site.svcctl("services", "list")
    assert before.exit_code == 74
    assert "hint: create it with: svcctl db upgrade" in before.stderr
    assert "applied 0001" in site.ok("db", "upgrade")
    site.sound()
    people = [*names(5), "Zoë", "ada"]
    site.people(people, guests=["guest"])
    site.pull()
    code, report = site.run("sync", "--all")
    assert code == 0
    assert {operation["status"] for operation in report["operations"]} == {"done"}
    site.whole(people)
    assert site.remote()["Zoë"].groups == frozenset({"staff", "50% :x"})
    assert "staff: " in (site.folder / "wiki.groups").read_text()
    traces, files = site.traces(), site.files()
    assert site.ok("sync", "--all") == ""
    after = site.traces()
    for table in ("runs", "audit"):
        assert len(after.pop(table)) == len(traces.pop(table)) + 1
    assert after == traces
    assert site.files() == files
    shown = site.run("users", "list")[1]["rows"]
    assert [user["username"] for user in shown] == ["Zoë", "ada", "guest", *names(5)]
    shown = site.run("accounts", "list")[1]["rows"]
    assert [row["user"] for row in shown] == [*["Zoë", "ada", *names(5)] * 2]


def test_who_loses_access_and_why(site: Site) -> None:
    site.people(names(10))
    site.pull()
    site.ok("sync", "--all")
    site.people(names(9), guests=names(10)[9:])
    assert site.run("directory", "pull")[0] == 0
    assert site.run("validate", "--all")[0] == 0
    assert not site.remote()["user09"].active
    assert site.remote()["user08"].active
    why = site.svcctl("why", "user09", "lab")
    assert "may not have an account on lab: state Guest is not in access.states" in why.stdout
    code, history = site.run("history", "user09", "--service", "lab")
    assert code == 0
    verbs = [(row["operation"], row["status"]) for row in history["rows"]]
    assert verbs == [
        ("disable_account", "done"),
        ("set_nickname", "done"),
        ("change_groups", "done"),
        ("create_account", "done"),
    ]
    site.people(names(10))
    site.run("directory", "pull")
    site.run("sync", "--all")
    assert site.remote()["user09"].active
    assert site.creates()["user09"] == 1
    for number in ("1", "2147483648", "9" * 30):
        result = site.svcctl("history", number)
        assert result.exit_code == (0 if number == "1" else 2), result
    assert site.svcctl("holds", "show", "--run", "9" * 30).exit_code == 0
    site.sound()


def test_a_limit_holds_and_a_person_decides(site: Site) -> None:
    site.people(names(10))
    site.pull()
    site.ok("sync", "--all")
    site.people(names(2), guests=names(10)[2:])
    site.pull()
    code, report = site.run("sync", "--all")
    assert code == 4
    assert Counter(operation["status"] for operation in report["operations"]) == {"held": 16}
    assert all(account.active for account in site.remote().values())
    assert site.svcctl("sync", "--all").exit_code == 4
    held = site.run("holds", "list")[1]["rows"]
    assert [(row["service"], row["accounts"]) for row in held] == [("lab", 8), ("wiki", 8)]
    run = str(held[0]["run"])
    traces = site.traces()
    assert site.run("holds", "approve", run, "--service", "lab", "--dry-run")[0] in (0, 3)
    assert site.run("holds", "reject", run, "--service", "wiki", "--dry-run")[0] == 0
    assert site.traces() == traces
    assert site.run("holds", "approve", run, "--service", "lab", "--yes")[0] == 0
    assert site.run("holds", "reject", run, "--service", "wiki")[0] == 0
    assert sum(account.active for account in site.remote().values()) == 2
    assert site.ok("holds", "list", "--format", "csv").count("\n") <= 1
    assert site.run("sync", "--all")[0] == 0
    pins = site.rows("SELECT service, count(*) FROM accounts WHERE pin IS NOT NULL GROUP BY 1")
    assert pins == [("wiki", 8)]
    site.sound()


def test_groups_follow_what_is_really_there(site: Site) -> None:
    site.people(names(4))
    site.pull()
    site.ok("sync", "--all")
    manager = SandboxManager(site.folder / "lab.sqlite")
    accounts = {account.name: account for account in manager.accounts()}
    manager.change_groups(accounts["user01"].uid, frozenset({"by hand"}), frozenset({"staff"}))
    manager.change_groups(accounts["user02"].uid, frozenset(), frozenset({"staff", "50% :x"}))
    manager.close()
    traces = site.traces()
    dry = site.run("update-all-groups", "--dry-run", "--service", "lab")[1]
    assert len(dry["operations"]) == 2
    assert site.traces() == traces
    code, report = site.run("update-all-groups", "--service", "lab")
    assert (code, len(report["operations"])) == (0, 2)
    groups = {name: account.groups for name, account in site.remote().items()}
    both = frozenset({"staff", "50% :x"})
    assert groups == {**dict.fromkeys(names(4), both), "user01": both | {"by hand"}}
    assert site.run("update-all-groups")[1]["operations"] == []
    site.sound()


def test_drift_is_found_and_taken_note_of_and_strangers_are_adopted(site: Site) -> None:
    site.people(names(6))
    site.pull()
    site.ok("sync", "--all")
    manager, accounts = SandboxManager(site.folder / "lab.sqlite"), site.remote()
    manager.disable_account(accounts["user01"].uid)
    manager.drop("user02")
    manager.create_account(NewAccount("stranger", "theirs", "pw", {}))
    manager.close()
    traces = site.traces()
    found = site.run("drift", "lab")[1]
    assert {(one["kind"], one["account"]) for one in found["findings"]} == {
        ("disabled", "user01"),
        ("missing", "user02"),
        ("foreign", "stranger"),
    }
    assert site.svcctl("drift", "--check").exit_code == 3
    assert site.traces() == traces
    site.ok("accounts", "refresh", "user01", "user02", "--service", "lab")
    site.ok("users", "add", "stranger", "--group", "staff", "--no-sync")
    assert site.run("adopt", "lab", "--by", "name", "--dry-run")[1]["counts"]["planned"] == 1
    site.ok("adopt", "lab", "--by", "external-id", "--by", "name", "--yes")
    site.ok("sync", "--all")
    assert site.run("drift", "--check")[1]["findings"] == []
    site.sound()


def test_dry_runs_write_nothing_anywhere(site: Site) -> None:
    site.people(names(6), guests=["guest"])
    site.pull()
    site.ok("sync", "--all")
    # Something to do for every command: people come and go, rules changed, accounts drifted.
    site.people([*names(5), "guest", "new"], guests=["user05"])
    site.pull()
    site.people([*names(4), "guest", "new", "newer"], guests=["user04", "user05"])
    site.configure(CONFIG.replace('["staff"]', '["staff", "other"]'))
    traces, files = site.traces(), site.files()
    for words in (
        ("sync", "--all", "--dry-run"),
        ("sync", "new", "--dry-run"),
        ("plan", "--all"),
        ("validate", "--all", "--dry-run"),
        ("update-groups", "--all", "--dry-run"),
        ("update-all-groups", "--dry-run"),
        ("sync-nickname", "--all", "--dry-run"),
        ("delete", "user00", "--dry-run"),
        ("accounts", "create", "new", "--dry-run"),
        ("accounts", "disable", "user00", "--dry-run"),
        ("accounts", "unlink", "user00", "--service", "lab", "--dry-run"),
        ("accounts", "refresh", "--all", "--service", "lab", "--dry-run"),
        ("adopt", "lab", "--by", "uid", "--dry-run"),
        ("drift",),
        ("accounts", "list"),
        ("services", "list"),
        ("states", "list"),
        ("history",),
        ("why", "new", "lab"),
        ("db", "check"),
        ("doctor",),
        ("audit", "verify"),
        ("audit", "export"),
        ("audit", "prune", "--keep", "30d", "--dry-run"),
        ("db", "upgrade", "--dry-run"),
        ("directory", "pull", "--dry-run"),
        ("users", "add", "eve", "--dry-run"),
        ("users", "set", "user01", "--inactive", "--dry-run"),
        ("users", "remove", "user01", "--dry-run"),
        ("groups", "add", "other", "guest", "--dry-run"),
        ("groups", "remove", "staff", "user02", "--dry-run"),
    ):
        # Changes of local rows are made and rolled back, which a sequence does not follow.
        rolls_back = words[0] in ("directory", "users", "groups") or words[1:2] == ("unlink",)
        sequences = site.sequences()
        result = site.svcctl(*words)
        assert result.exit_code in (0, 3, 4), (words, result)
        assert site.traces() == traces, words
        assert site.files() == files, words
        assert rolls_back or site.sequences() == sequences, words


def test_another_process_holds_a_service(site: Site) -> None:
    site.people(names(8))
    site.pull()
    site.configure(HANGING)
    process = site.start("sync", "--all", "--service", "lab")
    try:
        site.until("SELECT count(*) > 0 FROM operations WHERE status = 'running'")
        locked = site.svcctl("sync", "--all", "--service", "lab")
        assert locked.exit_code == 75
        lines = site.run("doctor", "--offline")[1]["rows"]
        (held,) = [line["message"] for line in lines if line["check"] == "lock"]
        assert held.startswith("held: sync")
        assert f" (pid {process.pid} on " in held
        assert "lab: another run is at work: " in locked.stderr
        assert f"pid {process.pid} on " in locked.stderr
        code, report = site.run("sync", "--all")
        assert code == 75
        assert {operation["service"] for operation in report["operations"]} == {"wiki"}
        assert site.svcctl("sync", "--all", "--dry-run").exit_code in (0, 3)
        waited = site.svcctl("sync", "--all", "--lock-timeout", "30s")
        assert waited.exit_code == 0, waited
        assert process.wait(30) == 0, (site.folder / "process.log").read_text()
    finally:
        process.kill()
        process.wait()
    site.whole(names(8))


def test_killed_in_the_middle_nothing_is_lost_or_done_twice(site: Site) -> None:
    people = names(24)
    site.people(people)
    site.pull()
    site.configure(SLOW)
    for done in (10, 40):
        process = site.start("sync", "--all")
        try:
            site.until(f"SELECT count(*) >= {done} FROM operations WHERE status = 'done'")
        finally:
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
    site.configure(CONFIG)
    assert site.rows("SELECT count(*) FROM runs WHERE ended_at IS NULL") != [(0,)]
    code, report = site.run("sync", "--all", "--lock-timeout", "20s")
    assert (code, report["problems"]) == (0, [])
    site.whole(people)
    died = [run["end"] for run in site.run("history")[1]["rows"]]
    assert died == ["ended", "died", "died"]


def test_a_connection_that_ends_in_the_middle(site: Site) -> None:
    people = names(30)
    site.people(people)
    site.pull()
    site.configure(SLOW)
    process = site.start("sync", "--all")
    try:
        site.until("SELECT count(*) >= 10 FROM operations WHERE status = 'done'")
        site.server.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE datname = '{site.name}' AND pid <> pg_backend_pid()"
        )
        assert process.wait(30) == 74
    finally:
        process.kill()
        process.wait()
    said = (site.folder / "process.log").read_text()
    assert "hint: check that the server runs" in said
    assert "Traceback" not in said
    site.configure(CONFIG)
    code, report = site.run("sync", "--all", "--lock-timeout", "20s")
    assert (code, report["problems"]) == (0, [])
    site.whole(people)


def test_what_no_database_holds_is_refused_in_words(site: Site) -> None:
    site.people(names(1))
    site.pull()
    for words, exit_code in (
        (("users", "add", "a\0b"), 2),
        (("users", "show", "a\0b"), 2),
        (("sync", "a\udcffb"), 2),
        (("groups", "add", "a\0b", "user00"), 2),
        (("groups", "show", "\udcff"), 2),
        (("history", "\0"), 2),
        (("users", "set", "user00", "email=a\0b"), 2),
        (("users", "set", "user00", "email=a\udcffb"), None),
        (("accounts", "list", "--service", "\udcff"), None),
    ):
        result = site.svcctl(*words)
        assert result.exit_code in ((2, 74) if exit_code is None else (exit_code,)), (words, result)
        assert "error: " in result.stderr
        assert "this is a defect" not in result.stderr, (words, result)
    (site.folder / "people.csv").write_bytes(b"id,username,groups,email\n1,a\0b,,\n")
    assert site.svcctl("directory", "pull").exit_code == 5


def test_somebody_joins_with_a_pause_and_leaves(site: Site) -> None:
    site.configure(
        CONFIG
        + """
[pipelines.join]
steps = ["social_details", "social_uid", "social_user", "get_username", "confirm", "create_user",
    "associate_user", "load_extra_data", "user_details", "assign_state", "activate_services"]
settings = { JOIN_GROUPS = ["staff"] }
[pipelines.leave]
kind = "disconnect"
settings = { ALLOW_LAST_DISCONNECT = true }
[backends.github]
uid = "id"
details = { username = "login", email = "email" }
"""
    )
    site.people(["ada"])
    site.pull()
    response = '{"id": 5, "login": "zoe", "email": "zoe@example.org"}'
    (site.folder / "zoe.json").write_text(response)
    code, done = site.run("pipeline", "run", "join", "-r", "zoe.json")
    assert (code, done["outcome"]) == (6, "paused")
    words = ("pipeline", "resume", done["partial"]["id"], "--set", "confirmed=yes")
    assert site.run(*words, "--dry-run")[0] == 0
    code, done = site.run(*words)
    assert (code, done["user"], done["is_new"]) == (0, "zoe", True)
    assert done["report"]["counts"] == {"lab": {"done": 3}, "wiki": {"done": 2}}
    assert site.svcctl(*words).exit_code == 2
    code, done = site.run("pipeline", "run", "join", "-r", "zoe.json", "--set", "confirmed=yes")
    assert (code, done["is_new"]) == (0, False)
    assert site.run("pipeline", "run", "leave", "--user", "zoe")[0] == 0
    assert site.rows("SELECT count(*) FROM associations") == [(0,)]
    site.ok("users", "add", "yan", "--no-sync")  # the id is one that nobody was given
    site.sound()


def test_a_server_that_is_not_there(site: Site) -> None:
    site.configure(CONFIG)
    path = site.folder / "svcctl.toml"
    path.write_text(path.read_text().replace(site.name, "nowhere"))
    result = site.svcctl("sync", "--all")
    assert result.exit_code == 74
    assert 'database "nowhere" does not exist' in result.stderr
    assert "check that the server runs" in result.stderr
