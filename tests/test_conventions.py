"""What every command has in common: exit codes, silence, formats, inert text, variables, TAB."""

import csv
import io
import json
import os
import pty
import re
import runpy
import select
import signal
import sqlite3
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import typer

from svcctl.cli import app, main
from svcctl.errors import ExitCode, gravest
from svcctl.hooks.manager import NewAccount
from svcctl.hooks.sandbox import SandboxManager
from svcctl.locks import service_locks
from tests.support.forks import Forks

if TYPE_CHECKING:
    from tests.conftest import Prepared, Site, Svcctl

BROKEN = Path(__file__).parent / "broken"
BASE = """
default_name_format = "{character_name}"

[directory.sources.people]
type = "csv"
path = "people.csv"

[states.Member]
priority = 100
groups = ["corp"]
"""
PIPELINES = """
[pipelines.join]
steps = ["social_details", "social_uid", "social_user", "get_username", "confirm", "create_user"]

[backends.github]
uid = "id"
details = { username = "login" }
"""


def lab(name: str = "lab", more: str = "", hook: str = "sandbox") -> str:
    return (
        f'[services.{name}]\nhook = "{hook}"\npath = "{name}.sqlite"\ncreate = "auto"\n'
        f'access.states = ["Member"]\n{more}\n'
    )


def rows_of(*people: str) -> str:
    return "id,username,groups,character_name\n" + "".join(f"{row}\n" for row in people)


PEOPLE = [
    f"{number},{name},corp;{'fc' if number % 2 else 'scouts'},{name.title()} A"
    for number, name in enumerate(["ada", "bob", "cyd", "dan", "eve", "fay", "gus", "hal"], 1)
]


@pytest.fixture
def club(made: "Callable[[str], Site]") -> "Site":
    """Eight people with accounts on lab, everything in step."""
    return made(lab())


@pytest.fixture
def made(prepared: "Prepared", svcctl: "Svcctl") -> "Callable[[str], Site]":
    """`made(services)`: eight people with accounts on them, everything in step."""

    def prepare(one: "Site") -> None:
        one.write("people.csv", rows_of(*PEOPLE))
        for words in (["directory", "pull"], ["sync", "--all"]):
            assert svcctl(*words).exit_code == 0

    return lambda services: prepared(BASE + services, prepare)


def lose(club: "Site", svcctl: "Svcctl", *names: str) -> None:
    """These people are no Members any more, and nobody has looked at their accounts yet."""
    for name in names:
        done = svcctl("groups", "remove", "corp", name, "--no-sync")
        assert done.exit_code == 0


def sandbox(folder: Path, name: str = "lab") -> SandboxManager:
    return SandboxManager(folder / f"{name}.sqlite")


def active(folder: Path, name: str = "lab") -> set[str]:
    with closing(sandbox(folder, name)) as manager:
        return {one.name for one in manager.accounts() if one.active}


def everything(folder: Path) -> dict[str, list[str]]:
    """What the database and every service hold."""
    found = {}
    for path in sorted([folder / "svcctl.db", *folder.glob("*.sqlite")]):
        with closing(sqlite3.connect(path)) as connection:
            found[path.name] = list(connection.iterdump())
    return found


# Exit codes


def test_0_in_sync_or_applied(club: "Site", svcctl: "Svcctl") -> None:
    assert svcctl("sync", "--all").exit_code == 0
    lose(club, svcctl, "ada")
    assert svcctl("sync", "--all", "--dry-run").exit_code == 0
    assert svcctl("sync", "--all").exit_code == 0
    assert "ada" not in active(club.folder)


def test_1_some_operations_failed_and_the_rest_was_applied(club: "Site", svcctl: "Svcctl") -> None:
    with closing(sandbox(club.folder)) as manager:
        manager.break_method("set_nickname", "invalid:ada")
    club.configure(BASE.replace("{character_name}", "{username}") + lab())
    done = svcctl("sync", "--all")
    assert done.exit_code == 1
    with closing(sandbox(club.folder)) as manager:
        nicknames = {one.name: one.nickname for one in manager.accounts()}
    assert nicknames == {name: name for name in nicknames} | {"ada": "Ada A"}


def test_2_the_command_line_is_wrong(club: "Site", svcctl: "Svcctl") -> None:
    before = everything(club.folder)
    for line in (
        "sync",
        "sync --nonsense",
        "syncc",
        "sync --all ada",
        "sync nobody",
        "sync --all --accept-removals all",
        "sync --all --accept-removals -1",
        "history --limit many",
        "users list --format yaml",
        "db",
    ):
        done = svcctl(*line.split(" "))
        assert done.exit_code == 2, line
        assert "Traceback" not in done.stderr
    assert svcctl().exit_code == 2
    assert everything(club.folder) == before


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("directroy pull", "no such command: directroy\nhint: did you mean directory or retry?"),
        ("users lst", "no such command: lst\nhint: did you mean list or set?"),
        ("users frobnicate", "no such command: frobnicate\nhint: svcctl users --help"),
        ("sync --dryrun", "no such option: --dryrun\nhint: did you mean --dry-run?"),
        ("sync --zzz", "no such option: --zzz\nhint: svcctl sync --help"),
        ("sync --all -q", "no such option: -q\nhint: it stands before the command: svcctl -q sync"),
        ("users show", "USER: missing\nhint: svcctl users show --help"),
        ("accounts link ada", "--service / -s: missing\nhint: svcctl accounts link --help"),
        ("users show ada bob", "unexpected: bob\nhint: svcctl users show --help"),
        ("sync --format", "--format: needs a value\nhint: svcctl --help"),
        ("history --limit many", "--limit: must be a whole number\nhint: svcctl history --help"),
        ("holds approve it", "RUN: must be a whole number\nhint: svcctl holds approve --help"),
        (
            "sync --format xml",
            "--format / -f, $SVCCTL_FORMAT: xml is not one of text, json, ndjson, csv\n"
            "hint: svcctl sync --help",
        ),
    ],
)
def test_a_wrong_command_line_is_answered_like_everything_else(
    svcctl: "Svcctl", line: str, said: str
) -> None:
    done = svcctl(*line.split(" "))
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"error: {said}\n")


def test_3_changes_are_pending_for_check_only(club: "Site", svcctl: "Svcctl") -> None:
    assert svcctl("plan", "--check").exit_code == 0
    lose(club, svcctl, "ada")
    assert svcctl("plan").exit_code == 0
    assert svcctl("plan", "--check").exit_code == 3


def test_4_removals_are_held_and_the_rest_was_applied(club: "Site", svcctl: "Svcctl") -> None:
    lose(club, svcctl, "ada", "bob", "cyd")
    club.write("people.csv", rows_of(*PEOPLE, "9,zoe,corp,Zoe Z"))
    assert svcctl("directory", "pull").exit_code == 0
    for words in (["--dry-run"], ["--yes"], []):
        assert svcctl("sync", "--all", *words).exit_code == 4, words
    assert active(club.folder) >= {"ada", "bob", "cyd", "zoe"}


def test_5_a_source_or_a_service_could_not_be_read(club: "Site", svcctl: "Svcctl") -> None:
    with closing(sandbox(club.folder)) as manager:
        manager.break_method("list_accounts", "incomplete")
    assert svcctl("update-all-groups").exit_code == 5
    assert svcctl("sync", "--all").exit_code == 0
    (club.folder / "people.csv").unlink()
    assert svcctl("directory", "pull").exit_code == 5
    assert len(active(club.folder)) == 8


def test_74_the_database_is_unusable(club: "Site", svcctl: "Svcctl") -> None:
    club.database.close()
    (club.folder / "svcctl.db").write_bytes(b"nonsense" * 1000)
    for words in (["sync", "--all"], ["users", "list"], ["history"], ["db", "check"]):
        assert svcctl(*words).exit_code == 74, words


def test_75_another_run_is_at_work_or_the_time_is_up(club: "Site", svcctl: "Svcctl") -> None:
    with service_locks(club.database, ["lab"], timeout=0, holder="sync"):
        begun = time.monotonic()
        assert svcctl("sync", "--all", "--lock-timeout", "1s").exit_code == 75
        assert time.monotonic() - begun >= 1
    lose(club, svcctl, "ada")
    assert svcctl("sync", "--all", "--max-runtime", "0").exit_code == 75
    assert "ada" in active(club.folder)
    assert svcctl("sync", "--all", "--max-runtime", "5m").exit_code == 0
    assert "ada" not in active(club.folder)


def test_78_the_configuration_is_wrong(club: "Site", svcctl: "Svcctl") -> None:
    club.configure(BASE + lab(hook="sandbocks"))
    for words in (["sync", "--all"], ["services", "check"], ["services", "list"]):
        assert svcctl(*words).exit_code == 78, words
    club.configure("nonsense")
    for words in (["sync", "--all"], ["users", "list"], ["config", "check"], ["db", "check"]):
        assert svcctl(*words).exit_code == 78, words


def process(folder: Path, *words: str) -> "subprocess.Popen[str]":
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("SVCCTL_")}
    return subprocess.Popen(
        [sys.executable, "-m", "svcctl", "--config", "svcctl.toml", *words],
        cwd=folder,
        env=inherited,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["130", "143"]
)
def test_130_and_143_interrupted_even_when_the_configuration_is_wrong_too(
    club: "Site", svcctl: "Svcctl", forks: Forks, number: signal.Signals, code: int
) -> None:
    slow = "latency = 0.1\nconcurrency = 1\n"
    changed = BASE.replace("{character_name}", "{username}")
    club.configure(changed + lab(more=slow) + lab("wrong", hook="sandbocks"))
    with closing(sandbox(club.folder)) as manager:
        before = len(manager.calls())
        running = forks.begin(club.folder, "sync", "--all")
        end = time.monotonic() + 30
        while len(manager.calls()) < before + 2 and time.monotonic() < end:
            time.sleep(0.02)
        running.send(number)
        assert running.wait() == code, running.stderr
        assert "Traceback" not in running.stderr
        assert before + 2 <= len(manager.calls()) < before + 8
        club.configure(changed + lab())
        assert svcctl("sync", "--all").exit_code == 0
        assert len(manager.calls()) == before + 8
    assert svcctl("db", "check").exit_code == 0


def test_every_exit_code_that_can_happen_is_tested() -> None:
    tested = {
        int(number)
        for name in globals()
        if name.startswith("test_")
        for number in re.findall(r"(?<=_)\d+(?=_)", name)
    }
    # Pipelines come later.
    assert tested == {int(code) for code in ExitCode} - {ExitCode.PAUSED, ExitCode.REFUSED}


def test_of_several_codes_the_gravest_is_given(
    made: "Callable[[str], Site]", svcctl: "Svcctl"
) -> None:
    names = ("broken", "cut", "refusing", "held", "busy", "fine")
    club = made("".join(lab(name) for name in names))
    # What was put into groups there by hand is to be put right, on each in its own way.
    for name in names:
        with closing(sandbox(club.folder, name)) as manager:
            for account in manager.accounts():
                manager.change_groups(account.uid, frozenset(), frozenset({"fc", "scouts"}))
    with closing(sandbox(club.folder, "cut")) as manager:
        manager.break_method("list_accounts", "incomplete")
    with closing(sandbox(club.folder, "refusing")) as manager:
        manager.break_method("change_groups", "invalid:ada")
    tables = {name: lab(name) for name in names}
    tables["broken"] = lab("broken", hook="sandbocks")
    tables["held"] = lab("held", more='groups.map = { nobody = ["corp", "fc", "scouts"] }')
    club.configure(BASE + "".join(tables.values()))
    expected = [
        ExitCode.CONFIG,
        ExitCode.INCOMPLETE,
        ExitCode.FAILED,
        ExitCode.HELD,
        ExitCode.TRY_LATER,
        ExitCode.OK,
    ]
    with service_locks(club.database, ["busy"], timeout=0, holder="another"):
        for number, code in enumerate(expected):
            chosen = [word for name in names[number:] for word in ("--service", name)]
            done = svcctl("update-all-groups", *chosen)
            assert done.exit_code == code, (names[number:], done.stdout, done.stderr)
    assert gravest(expected) == ExitCode.CONFIG


# Silence

CRON = [
    ["directory", "pull"],
    ["validate", "--all"],
    ["sync-nickname", "--all"],
    ["update-groups", "--all"],
    ["update-all-groups"],
    ["sync", "--all"],
]


def test_cron_hears_nothing_when_nothing_changed(club: "Site", svcctl: "Svcctl") -> None:
    for words in CRON:
        done = svcctl(*words)
        assert (done.exit_code, done.stdout, done.stderr) == (0, "", ""), words


def test_cron_hears_nothing_from_the_real_process(club: "Site") -> None:
    running = [process(club.folder, *words) for words in (CRON[0], CRON[-1])]
    for one in running:
        assert one.communicate(timeout=30) == ("", "")
        assert one.returncode == 0


def test_quiet_leaves_the_answer_and_the_errors(club: "Site", svcctl: "Svcctl") -> None:
    assert svcctl("sync", "--all", stdin="").stderr != ""
    assert svcctl("-q", "sync", "--all", stdin="").stderr == ""
    assert svcctl("-q", "directory", "pull", stdin="").stderr == ""
    lose(club, svcctl, "ada")
    done = svcctl("-q", "sync", "--all", "--yes", stdin="")
    assert "ada" in done.stdout
    assert done.stderr == ""
    assert "no such user: nobody" in svcctl("-q", "sync", "nobody").stderr


# Formats

LIVELY = {"svcctl.runs/1", "svcctl.services/1", "svcctl.doctor/1"}
"""These tell of the moment: runs that this test makes, the room that is left on a disk."""

LISTINGS = {
    "doctor": "svcctl.doctor/1",
    "users list": "svcctl.users/1",
    "users show ada": "svcctl.user/1",
    "groups list": "svcctl.groups/1",
    "groups show corp": "svcctl.members/1",
    "states list": "svcctl.states/1",
    "states show Member": "svcctl.users/1",
    "states preview": "svcctl.state-preview/1",
    "accounts list": "svcctl.accounts/1",
    "accounts show ada": "svcctl.account/1",
    "services list": "svcctl.services/1",
    "services check": "svcctl.services.check/1",
    "services panel ada": "svcctl.panel/1",
    "holds list": "svcctl.holds/1",
    "holds show": "svcctl.held/1",
    "history": "svcctl.runs/1",
    "history ada": "svcctl.history/1",
    "history --service lab": "svcctl.history/1",
    "db check": "svcctl.findings/1",
    "db upgrade --dry-run": "svcctl.migrations/1",
    "plan": "svcctl.report/1",
    "apply plan.json --dry-run": "svcctl.report/1",
    "retry --dry-run": "svcctl.report/1",
    "undo 2 --dry-run": "svcctl.report/1",
    "sync --all --dry-run": "svcctl.report/1",
    "validate --all --dry-run": "svcctl.report/1",
    "sync-nickname --all --dry-run": "svcctl.report/1",
    "update-groups --all --dry-run": "svcctl.report/1",
    "update-all-groups --dry-run": "svcctl.report/1",
    "delete ada --dry-run": "svcctl.report/1",
    "accounts create --all --dry-run": "svcctl.report/1",
    "accounts enable ada --dry-run": "svcctl.report/1",
    "accounts disable ada --dry-run": "svcctl.report/1",
    "accounts reset-password ada --service lab --dry-run": "svcctl.report/1",
    "accounts set-password ada --service lab --dry-run": "svcctl.report/1",
    "holds approve 2 --dry-run": "svcctl.report/1",
    "holds reject 2 --dry-run": "svcctl.held/1",
    "accounts link zoe --service lab --name visitor --dry-run": "svcctl.linked/1",
    "accounts refresh ada --service lab --dry-run": "svcctl.refreshed/1",
    "drift": "svcctl.drift/1",
    "adopt lab --by name --dry-run": "svcctl.adoption/1",
    "directory pull --dry-run": "svcctl.pull/1",
    "users add joe --no-sync --dry-run": "svcctl.changes/1",
    "users set ada --inactive --no-sync --dry-run": "svcctl.changes/1",
    "users remove ada --dry-run": "svcctl.report/1",
    "users forget zoe --dry-run": "svcctl.changes/1",
    "groups add fc bob --dry-run --no-sync": "svcctl.changes/1",
    "groups remove fc ada --dry-run --no-sync": "svcctl.changes/1",
    "groups unset fc ada --dry-run --no-sync": "svcctl.changes/1",
    "groups delete fc --dry-run --no-sync": "svcctl.changes/1",
}
LISTINGS |= {
    "pipeline list": "svcctl.pipelines/1",
    "pipeline show join": "svcctl.pipeline/1",
    "pipeline check": "svcctl.pipeline-check/1",
    "pipeline partials": "svcctl.partials/1",
    "pipeline run join --response me.json --dry-run": "svcctl.pipeline-run/1",
    "pipeline resume PARTIAL --set confirmed=yes --dry-run": "svcctl.pipeline-run/1",
}
JSON_ONLY = {
    "audit verify": "svcctl.audit-verify/1",
    "audit prune --keep 30d --dry-run": "svcctl.audit-prune/1",
    "pipeline abort PARTIAL --dry-run": "svcctl.pipeline-abort/1",
    "why ada lab": "svcctl.why/1",
    "services show lab": "svcctl.service/1",
    "services pause lab --dry-run": "svcctl.services.pause/1",
    "services resume lab --dry-run": "svcctl.services.pause/1",
    "config show": "svcctl.config/1",
    "config check": "svcctl.config.check/1",
    "db backup copy.db --force": "svcctl.backup/1",
}


def test_a_name_that_is_far_too_long_makes_its_own_row_longer_only(
    site: "Callable[[str], Site]", svcctl: "Svcctl"
) -> None:
    site(BASE)
    for name in ("ada", "n" * 200):
        assert svcctl("users", "add", name).exit_code == 0
    _, ada, other = svcctl("users", "list").stdout.splitlines()
    assert len(ada) < 120
    assert other.startswith("n" * 200 + "  Guest")


def test_every_listing_has_every_format(club: "Site", svcctl: "Svcctl") -> None:
    with closing(sandbox(club.folder)) as manager:
        manager.create_account(NewAccount("visitor", "-", "x" * 20, {}))
    assert svcctl("users", "add", "zoe", "--no-sync").exit_code == 0
    lose(club, svcctl, "fay", "gus", "hal")
    assert svcctl("sync", "--all").exit_code == 4
    assert svcctl("plan", "--out", "plan.json").exit_code == 4
    club.configure(BASE + lab() + PIPELINES)
    club.write("me.json", '{"id": 5, "login": "kim"}')
    paused = json.loads(svcctl("pipeline", "run", "join", "-r", "me.json", "--json").stdout)
    partial = paused["partial"]["id"]
    before = everything(club.folder)
    for line, schema in LISTINGS.items():
        words = line.replace("PARTIAL", partial).split(" ")
        told = {form: svcctl(*words, "--format", form).stdout for form in ("json", "ndjson", "csv")}
        assert told["json"], line
        document = json.loads(told["json"])
        assert document["schema"] == schema, line
        lines = [json.loads(each) for each in told["ndjson"].splitlines()]
        assert all(isinstance(each, dict) for each in lines), line
        table = list(csv.reader(io.StringIO(told["csv"])))
        assert table, line
        assert {len(row) for row in table} == {len(table[0])}, line
        if "changes" in document:
            assert len(table) == len(lines) + 1 == len(document["changes"]) + 1, line
        if "rows" in document:
            assert lines == document["rows"] or schema in LIVELY
            assert len(table) == len(lines) + 1, line
        if "operations" in document:
            assert len(table) == len(document["operations"]) + 1, line
            assert [each for each in lines if each["event"] == "operation"] == [
                {"event": "operation", **row} for row in document["operations"]
            ], line
        if line == "users list":
            assert svcctl(*words, "--json").stdout == told["json"]
            assert svcctl(*words, "--format", "text").stdout == svcctl(*words).stdout
    for line, schema in JSON_ONLY.items():
        words = line.replace("PARTIAL", partial).split(" ")
        assert json.loads(svcctl(*words, "--json").stdout)["schema"] == schema
    assert everything(club.folder) == before


class Command(NamedTuple):
    """A command as it would be typed, and what it takes."""

    words: tuple[str, ...]
    command: Any
    context: Any


def commands() -> Iterator[Command]:
    """Every command and group of commands, the ones of hooks left out."""

    def walk(words: tuple[str, ...], command: Any, context: Any) -> Iterator[Command]:
        yield Command(words, command, context)
        if hasattr(command, "list_commands") and words != ("service",):
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                below = type(context)(inner, info_name=name, parent=context)
                yield from walk((*words, name), inner, below)

    root: Any = typer.main.get_command(app)
    yield from walk((), root, typer.Context(root, info_name="svcctl", auto_envvar_prefix="SVCCTL"))


ALL = list(commands())


def test_no_listing_is_left_out_above() -> None:
    tabular = {
        " ".join(words)
        for words, command, _ in ALL
        if any("--format" in option.opts for option in command.params)
    }
    only_json = {
        " ".join(words)
        for words, command, _ in ALL
        if any("--json" in option.opts for option in command.params)
    }
    for names, listed in ((tabular, LISTINGS), (only_json - tabular, JSON_ONLY)):
        left_out = {
            name for name in names if not any(f"{line} ".startswith(f"{name} ") for line in listed)
        }
        assert left_out == set()


def test_cells_that_a_spreadsheet_would_execute_are_defused(club: "Site", svcctl: "Svcctl") -> None:
    evil = ["=1+1", "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0"]
    for name in evil:
        assert svcctl("groups", "add", "--no-sync", "--", name, "ada").exit_code == 0
        assert svcctl("users", "add", "--no-sync", "--", f"{name}u").exit_code == 0
    listed = list(csv.reader(io.StringIO(svcctl("groups", "list", "--format", "csv").stdout)))
    names = [row[0] for row in listed]
    assert {f"'{name}" for name in evil} <= set(names)
    for line in ("users list", "groups list", "accounts list", "history", "history ada", "plan"):
        told = svcctl(*line.split(" "), "--format", "csv").stdout
        for row in csv.reader(io.StringIO(told)):
            assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row), row


def test_numbers_stay_numbers_in_csv(club: "Site", svcctl: "Svcctl") -> None:
    club.configure(BASE + "[states.Last]\npriority = -5\npublic = true\n" + lab())
    assert "Last,-5,yes," in svcctl("states", "list", "--format", "csv").stdout


# Inert text

HOSTILE: str = runpy.run_path(str(BROKEN / "troublesome_hooks.py"))["HOSTILE"]
UNFIT = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def inert(text: str) -> bool:
    return all(char == "\n" or unicodedata.category(char) not in UNFIT for char in text)


@pytest.fixture
def hostile(
    site: "Callable[[str], Site]", svcctl: "Svcctl", monkeypatch: pytest.MonkeyPatch
) -> "Site":
    """Attributes, remote accounts and errors that would write all over a terminal."""
    monkeypatch.syspath_prepend(BROKEN)
    one = site(BASE + lab(hook="troublesome_hooks:RudeHook"))
    quoted = f'"{HOSTILE}"'
    one.write("people.csv", rows_of(*PEOPLE).replace("Ada A", quoted).replace("Cyd A", quoted))
    assert svcctl("directory", "pull").exit_code == 0
    with closing(sandbox(one.folder)) as manager:
        new = manager.create_account(NewAccount("visitor", "-", "x" * 20, {}))
        manager.set_nickname(new.uid, HOSTILE)
        manager.change_groups(new.uid, frozenset({HOSTILE, "[red]reds[/red]"}), frozenset())
    return one


@pytest.mark.parametrize("stdin", [None, "y\n"], ids=["piped", "terminal"])
def test_what_others_wrote_is_never_obeyed(
    hostile: "Site", svcctl: "Svcctl", monkeypatch: pytest.MonkeyPatch, stdin: str | None
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert svcctl("users", "add", "zoe", "--no-sync").exit_code == 0
    commands = [
        "sync --all",
        "accounts link zoe --service lab --name visitor",
        "accounts list",
        "accounts show zoe",
        "users show ada",
        "users list",
        "groups list",
        "states preview",
        "history",
        "history bob",
        "history zoe",
        "why ada lab",
        "why zoe lab",
        "why bob lab",
        "why eve lab",
        "services panel zoe",
        "service lab show",
        "service lab calls",
        "drift",
        "adopt lab --by name --by attribute:character_name --yes",
        "update-all-groups",
        "accounts refresh --all --service lab",
        "sync --all --failed",
        "plan",
        "delete zoe",
        "directory pull",
    ]
    seen = ""
    for line in commands:
        for form in ("text", "csv", "ndjson", "json"):
            words = line.split(" ")
            if form != "text" and words[0] in ("why", "service"):
                continue
            more = [] if words[0] in ("why", "service") else ["--format", form]
            done = svcctl(*words, *more, stdin=stdin)
            assert "Traceback" not in done.stderr, line
            assert inert(done.stdout), (line, form, done.stdout)
            assert inert(done.stderr), (line, form, done.stderr)
            assert not any(row.startswith("ERROR") for row in done.stdout.splitlines())
            seen += done.stdout + done.stderr
    # It was there, as text.
    for part in ("[bold]loud[/bold]", "[red]reds[/red]", "all is lost", "[31mred"):
        assert part in seen
    assert not inert(HOSTILE)


def test_json_gives_back_what_was_written(hostile: "Site", svcctl: "Svcctl") -> None:
    told = json.loads(svcctl("users", "show", "ada", "--json").stdout)
    assert told["user"]["attributes"]["character_name"].strip() == HOSTILE.strip()


@pytest.mark.parametrize(
    ("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb"), ("CI", "true"), ("", "")]
)
def test_colour_and_progress_only_where_they_are_wanted(
    club: "Site", svcctl: "Svcctl", monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    for each in ("NO_COLOR", "CI", "FORCE_COLOR"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    if name:
        monkeypatch.setenv(name, value)
    lose(club, svcctl, "ada")
    done = svcctl("sync", "--all", "--yes", stdin="")
    assert ("\x1b" in done.stderr) == (not name)
    assert ("planning" in done.stderr) == (not name)
    assert "\x1b" not in done.stdout
    assert "\x1b" not in svcctl("--help", stdin="").stdout
    assert "\x1b" not in svcctl("sync", "nobody", stdin="").stderr


# Variables


def test_an_option_may_stand_in_a_variable(
    club: "Site", svcctl: "Svcctl", monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(club.folder)
    for name, value, line, code, said in (
        ("FORMAT", "csv", "states list", 0, "name,priority,public,users\n"),
        ("JSON", "1", "states list", 0, '"schema": "svcctl.states/1"'),
        ("STATE", "Gest", "users list", 2, "no such state: Gest"),
        ("GROUP", "fcc", "users list", 2, "no such group: fcc"),
        ("SERVICE", "nolab", "sync --all", 2, "no service 'nolab'"),
        ("SERVICE", "lab nolab", "sync --all", 2, "no service 'nolab'"),
        ("MAX_RUNTIME", "soon", "sync --all", 2, "--max-runtime: not a duration"),
        ("LOCK_TIMEOUT", "soon", "sync --all", 2, "--lock-timeout: not a duration"),
        ("DRY_RUN", "1", "users remove ada", 0, "dry run: nothing was written"),
        ("DRY_RUN", "maybe", "users remove ada", 2, "SVCCTL_DRY_RUN"),
        ("VERBOSE", "2", "users show nobody", 2, "Traceback"),
        ("HISTORY_LIMIT", "many", "history", 2, "--limit: must be a whole number"),
        ("SYNC_FAILED", "1", "sync ada --json", 0, '"operations": []'),
    ):
        words = line.split(" ")
        with monkeypatch.context() as patch:
            patch.setenv(f"SVCCTL_{name}", value)
            done = svcctl(*words)
        assert done.exit_code == code, (name, done)
        assert said in done.stdout + done.stderr, name
    assert everything(club.folder)["lab.sqlite"] == before["lab.sqlite"]


def test_the_configuration_may_stand_in_a_variable(
    club: "Site", monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    club.write("other.toml", '[states.Other]\npriority = 1\ngroups = ["corp"]\n')
    monkeypatch.setenv("SVCCTL_CONFIG", "other.toml")
    assert main(["states", "list"]) == 0
    assert "Other" in capsys.readouterr().out


def test_quiet_may_stand_in_a_variable(
    club: "Site", svcctl: "Svcctl", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SVCCTL_QUIET", "1")
    assert svcctl("sync", "--all", stdin="").stderr == ""


FORBIDDEN = ("--yes", "--all", "--accept-removals", "--accept-missing")


def test_no_variable_says_yes_or_everybody() -> None:
    found = set()
    for words, command, context in ALL:
        for option in command.params:
            names = [name for name in option.opts if name in FORBIDDEN]
            if names:
                found.update(names)
                assert option.envvar is None, (words, names)
                assert not option.allow_from_autoenv, (words, names)
            elif option.param_type_name == "argument":
                assert option.envvar is None, words
            assert context.auto_envvar_prefix
    assert found == set(FORBIDDEN)


def test_such_variables_are_not_heeded(
    club: "Site", svcctl: "Svcctl", monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in FORBIDDEN:
        bare = name.strip("-").replace("-", "_").upper()
        for prefix in ("SVCCTL_", "SVCCTL_SYNC_", "SVCCTL_DIRECTORY_PULL_"):
            monkeypatch.setenv(f"{prefix}{bare}", "8" if "ACCEPT" in bare else "1")
    assert svcctl("sync").exit_code == 2
    lose(club, svcctl, "ada")
    asked = svcctl("sync", "--all", stdin="n\n")
    assert "Take access away from 1 accounts? [y/N]" in asked.stderr
    lose(club, svcctl, "bob", "cyd")
    assert svcctl("sync", "--all").exit_code == 4
    club.write("people.csv", rows_of(*PEOPLE[:2]))
    assert svcctl("directory", "pull").exit_code == 5
    assert len(active(club.folder)) == 8


# Yes and no


def test_yes_does_not_lift_the_limits(club: "Site", svcctl: "Svcctl") -> None:
    lose(club, svcctl, "ada", "bob", "cyd")
    for words in (["sync", "--all"], ["validate", "--all"]):
        for stdin in (None, "y\n"):
            done = svcctl(*words, "--yes", stdin=stdin)
            assert done.exit_code == 4
            assert "lab: removals are held" in done.stderr
            assert len(active(club.folder)) == 8
    assert svcctl("sync", "--all", "--yes", "--accept-removals", "2").exit_code == 4
    assert svcctl("sync", "--all", "--yes", "--accept-removals", "3").exit_code == 0
    assert len(active(club.folder)) == 5


@pytest.mark.parametrize("answer", ["n\n", "\n"])
def test_a_no_leaves_everything_as_it_was(club: "Site", svcctl: "Svcctl", answer: str) -> None:
    lose(club, svcctl, "ada")
    before = everything(club.folder)
    for line in ("sync --all", "validate --all", "delete bob", "accounts disable bob"):
        done = svcctl(*line.split(" "), stdin=answer)
        assert "Take access away from 1 accounts? [y/N]: " in done.stderr
        assert "nothing was done" in done.stderr
        assert done.stdout.startswith("service  user  ")
        assert done.exit_code == 1
        assert everything(club.folder) == before, line
    for line in ("users remove bob", "groups delete corp", "users forget hal"):
        done = svcctl(*line.split(" "), stdin=answer)
        assert "[y/N]: nothing was done" in done.stderr
        assert done.stdout == ""
        assert done.exit_code == 1
        assert everything(club.folder) == before, line


def test_without_a_terminal_or_with_yes_nobody_is_asked(club: "Site", svcctl: "Svcctl") -> None:
    lose(club, svcctl, "ada")
    done = svcctl("sync", "--all", "--yes", stdin="")
    assert "[y/N]" not in done.stderr
    assert active(club.folder).isdisjoint({"ada"})
    assert svcctl("users", "remove", "bob", "--no-sync").exit_code == 0


def typed(folder: Path, answer: str, *words: str) -> tuple[int, str]:
    """The real command on a real terminal, where `answer` is typed at the question."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.environ["NO_COLOR"] = "1"
        command = [sys.executable, "-m", "svcctl", "--config", "svcctl.toml", *words]
        os.execv(sys.executable, command)
    said, end = b"", time.monotonic() + 30
    while time.monotonic() < end:
        if not select.select([terminal], [], [], 0.1)[0]:
            continue
        try:
            part = os.read(terminal, 65536)
        except OSError:
            break
        said += part
        if b"[y/N]" in part:
            time.sleep(0.1)
            os.write(terminal, answer.encode())
    else:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), said.decode().replace("\r\n", "\n")


def test_on_a_real_terminal_ctrl_c_ends_it_no_keeps_and_yes_removes(
    club: "Site", svcctl: "Svcctl"
) -> None:
    lose(club, svcctl, "ada")
    before = everything(club.folder)
    code, said = typed(club.folder, "\x03", "sync", "--all")
    assert (code, everything(club.folder)) == (130, before), said
    assert said.endswith("[y/N]: ^Cinterrupted\n")
    code, said = typed(club.folder, "n\n", "sync", "--all")
    assert (code, everything(club.folder)) == (1, before), said
    assert "lab  ada  disable_account  lost access: " in said
    assert said.endswith("nothing was done\n")
    code, said = typed(club.folder, "y\n", "sync", "--all")
    assert code == 0, said
    assert said.endswith("1 done\n")
    assert "ada" not in active(club.folder)


# Selections


def test_users_may_stand_in_a_file(club: "Site", svcctl: "Svcctl") -> None:
    lose(club, svcctl, "ada")
    club.write("some.txt", "ada\n\n   bob\n")
    done = svcctl("validate", "@some.txt", "cyd", "--json")
    assert [row["user"] for row in json.loads(done.stdout)["operations"]] == ["ada"]
    listed = svcctl("users", "list", "@some.txt", "cyd", "--format", "csv").stdout
    assert [row.split(",")[0] for row in listed.splitlines()[1:]] == ["ada", "bob", "cyd"]
    unknown = svcctl("validate", "@nowhere.txt")
    assert unknown.exit_code == 2
    assert unknown.stderr == (
        "error: nowhere.txt: cannot be read: no such file or directory\n"
        "hint: a text file with one username a line\n"
    )


# Errors


def test_a_traceback_is_for_those_who_ask_twice(club: "Site", svcctl: "Svcctl") -> None:
    for flags in ([], ["-v"], ["-vv"], ["-v", "-v"], ["-vvv"], ["--verbose"], ["--verbose", "-v"]):
        done = svcctl(*flags, "users", "show", "nobody")
        asked = sum(1 if flag == "--verbose" else flag.count("v") for flag in flags)
        assert ("Traceback" in done.stderr) == (asked >= 2), flags
        assert done.stderr.endswith(
            "error: no such user: nobody\nhint: svcctl users list shows everybody\n"
        )
        assert done.exit_code == 2


def test_a_defect_is_one_line_without_control_characters(
    club: "Site", svcctl: "Svcctl", monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(*_: object, **__: object) -> None:
        raise RuntimeError(HOSTILE)

    monkeypatch.setattr("svcctl.store.people.listing", defect)
    done = svcctl("users", "list")
    assert done.exit_code == 1
    assert inert(done.stderr)
    first, hint = done.stderr.splitlines()
    assert first.startswith("error: RuntimeError: ")
    assert hint.startswith("hint: this is a defect in svcctl; run again with -vv")
    with pytest.raises(RuntimeError, match="all is lost"):
        svcctl("-vv", "users", "list")


# Completion


def offered(folder: Path, words: str) -> list[str]:
    """What bash would offer after a blank, by the script that svcctl gives it."""
    program = folder / "bin" / "svcctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m svcctl "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(_SVCCTL_COMPLETE=source_bash svcctl)"\n'
        f"COMP_WORDS=({words} '')\n"
        "COMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n"
        "_svcctl_completion svcctl\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("SVCCTL_")}
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=inherited | {"PATH": f"{program.parent}:{inherited['PATH']}"},
        capture_output=True,
        encoding="utf-8",
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_the_shell_itself_completes_names(club: "Site") -> None:
    assert offered(club.folder, "svcctl users show") == [row.split(",")[1] for row in PEOPLE]


OFFERS = {
    "svcctl sync a": "ada",
    "svcctl delete b": "bob",
    "svcctl sync --service l": "lab",
    "svcctl service l": "lab",
    "svcctl services check l": "lab",
    "svcctl drift l": "lab",
    "svcctl adopt l": "lab",
    "svcctl adopt lab --by ext": "external-id",
    "svcctl history 1": "1",
    "svcctl history a": "ada",
    "svcctl holds approve ": "1",
    "svcctl why ada l": "lab",
    "svcctl sync-": "sync-nickname",
    "svcctl -c svcctl.toml users show a": "ada",
}


@pytest.mark.parametrize("state", ["whole", "without database", "damaged", "unconfigured"])
def test_values_are_completed_and_nothing_ever_fails(
    club: "Site",
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    state: str,
) -> None:
    club.database.close()
    known = {"sync-nickname"} | ({"lab", "external-id"} if state != "unconfigured" else set())
    if state == "whole":
        known |= {"ada", "bob", "1"}
    else:
        (club.folder / "svcctl.db").unlink()
    if state == "damaged":
        club.write("svcctl.db", "nonsense" * 1000)
    if state == "unconfigured":
        (club.folder / "svcctl.toml").unlink()
        for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS"):
            monkeypatch.setenv(name, str(club.folder / "none"))
    before = sorted(path.name for path in club.folder.iterdir())
    monkeypatch.setenv("_SVCCTL_COMPLETE", "complete_bash")
    for words, name in OFFERS.items():
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
        assert main([]) == 0
        told = capsys.readouterr()
        assert told.err == ""
        assert told.out.split() == ([name] if name in known else []), words
    assert sorted(path.name for path in club.folder.iterdir()) == before


# Help


@pytest.mark.parametrize("words", [one.words for one in ALL], ids=" ".join)
def test_every_command_explains_itself(
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for flag in ("--help", "-h"):
        assert main([*words, flag]) == 0
        told = capsys.readouterr()
        assert told.err == ""
        assert told.out.startswith(f"Usage: {' '.join(('svcctl', *words))} ")
        assert "Traceback" not in told.out
    command = next(one.command for one in ALL if one.words == words)
    assert command.help or words == ()
    assert [option.opts for option in command.params if not getattr(option, "help", None)] == []
    assert list(tmp_path.iterdir()) == []
