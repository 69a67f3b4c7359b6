"""`--dry-run` of every command: nothing is written, and the exit code is the real run's."""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from engine_world import World, lab, names  # type: ignore[import-not-found]
from typer.main import get_command

from svcctl.cli import app
from svcctl.hooks.manager import NewAccount
from svcctl.store.tables import metadata
from tests.support.ages import age

Build = Callable[..., World]
SIDECARS = ("-wal", "-shm", "-journal")


def with_dry_run(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """The commands that have `--dry-run`, as they are typed."""
    if path == ("service",):  # what hooks bring along is theirs
        return
    if hasattr(command, "list_commands"):
        for name in command.list_commands(None):
            yield from with_dry_run(command.get_command(None, name), (*path, name))
    elif any("--dry-run" in parameter.opts for parameter in command.params):
        yield " ".join(path)


def held(w: World) -> None:
    w.regroup(names(10), out_of="staff")
    assert w.svcctl("validate", "--all").exit_code == 4


def lost(w: World) -> None:
    w.regroup(["user00000"], out_of="staff")


def drifted(w: World) -> None:
    w.sandbox().change_groups(w.remote()["ada"].uid, frozenset(), frozenset({"staff"}))


def renamed(w: World) -> None:
    w.site.execute('UPDATE users SET attributes = \'{"character_name":"Ada L"}\' WHERE id = 1')


def regrouped(w: World) -> None:
    w.svcctl("groups", "add", "fc", "ada", "--no-sync")


def newcomer(w: World) -> None:
    w.people(["eve"], "staff")


def broken(w: World) -> None:
    """Something goes wrong for one and would for the other too."""
    newcomer(w)
    w.people(["Eve "], "staff")
    held(w)


def strange(w: World) -> None:
    newcomer(w)
    w.sandbox().create_account(NewAccount("evelyn", "hers", "pw"))


def alike(w: World) -> None:
    newcomer(w)
    w.sandbox().create_account(NewAccount("eve", "hers", "pw"))


def disabled(w: World) -> None:
    assert w.svcctl("accounts", "disable", "ada").exit_code == 0


def pinned(w: World) -> None:
    assert w.svcctl("accounts", "hold", "ada").exit_code == 0


def saved(w: World) -> None:
    newcomer(w)
    assert w.svcctl("plan", "--out", "plan.json").exit_code == 0


def failed(w: World) -> None:
    newcomer(w)
    w.sandbox().break_method("create_account", "denied@1")
    assert w.svcctl("sync", "eve").exit_code == 1


def created(w: World) -> None:
    newcomer(w)
    assert w.svcctl("sync", "eve").exit_code == 0


def created_many(w: World) -> None:
    w.people(names(12, 100), "staff")
    assert w.svcctl("sync", "--all").exit_code == 0


def paused(w: World) -> None:
    assert w.svcctl("services", "pause", "lab").exit_code == 0


def aged(w: World) -> None:
    age(w.site.database, through=20)


def removed(w: World) -> None:
    assert w.svcctl("users", "remove", "ada").exit_code == 0


def gone(w: World) -> None:
    newcomer(w)


def sourced(w: World) -> None:
    w.site.write("people.csv", "username,groups\nnew,staff\n")


def too_few(w: World) -> None:
    w.site.write("people.csv", "username\n" + "".join(f"{name}\n" for name in names(30, 100)))
    assert w.svcctl("directory", "pull").exit_code == 0
    w.site.write("people.csv", "username\nuser00100\n")


def unset(w: World) -> None:
    w.svcctl("groups", "add", "fc", "ada", "--no-sync")


def old(w: World) -> None:
    with w.site.database.write() as connection:
        metadata.drop_all(connection)
    w.site.execute("DROP TABLE alembic_version")


def joining(w: World) -> None:
    w.site.configure((w.site.folder / "svcctl.toml").read_text() + JOIN)
    w.site.write("me.json", '{"id": 5, "login": "zoe"}')


def waiting(w: World) -> None:
    joining(w)
    assert w.svcctl("pipeline", "run", "join", "-r", "me.json").exit_code == 6


JOIN = """
[pipelines.join]
steps = ["social_details", "social_uid", "social_user", "get_username", "confirm", "create_user",
    "associate_user", "load_extra_data", "assign_state", "activate_services"]
settings = { JOIN_GROUPS = ["staff"] }
[backends.hub]
uid = "id"
details = { username = "login" }
"""
CASES: list[tuple[str, list[str], Callable[[World], None] | None, int]] = [
    ("init", ["--path", "other.toml"], None, 0),
    ("db upgrade", [], old, 0),
    ("directory pull", [], sourced, 0),
    ("directory pull", ["--sync", "--accept-missing", "100"], sourced, 0),
    ("directory pull", [], too_few, 5),
    ("users add", ["joan", "--group", "staff"], None, 0),
    ("users add", ["ada", "--restore"], removed, 0),
    ("users set", ["ada", "--inactive"], None, 0),
    ("users set", ["ada", "character_name=X"], None, 0),
    ("users remove", ["ada"], None, 0),
    ("users remove", names(12), None, 4),
    ("users forget", ["eve"], gone, 0),
    ("groups add", ["fc", "ada"], None, 0),
    ("groups remove", ["staff", "ada"], None, 0),
    ("groups unset", ["fc", "ada"], unset, 0),
    ("groups delete", ["staff"], None, 4),
    ("audit prune", ["--keep", "104w"], aged, 0),
    ("accounts create", ["eve"], newcomer, 0),
    ("accounts enable", ["ada"], disabled, 0),
    ("accounts disable", ["ada"], None, 0),
    ("accounts reset-password", ["ada", "--service", "lab"], None, 0),
    ("accounts set-password", ["ada", "--service", "lab"], None, 0),
    ("accounts link", ["eve", "--service", "lab", "--name", "evelyn"], strange, 0),
    ("accounts unlink", ["ada", "--service", "lab"], None, 0),
    ("adopt", ["lab", "--by", "name", "--yes"], alike, 0),
    ("accounts refresh", ["--all", "--service", "lab"], drifted, 0),
    ("accounts hold", ["ada"], None, 0),
    ("accounts hold", ["ada", "--release"], pinned, 0),
    ("services new", ["guild"], None, 0),
    ("services pause", ["lab"], None, 0),
    ("services resume", ["lab"], paused, 0),
    ("apply", ["plan.json"], saved, 0),
    ("retry", [], failed, 0),
    ("undo", ["2"], created, 0),
    ("undo", ["2"], created_many, 4),
    ("validate", ["--all"], lost, 0),
    ("validate", ["--all"], lambda w: w.regroup(names(10), out_of="staff"), 4),
    ("delete", ["ada", "bob"], None, 0),
    ("sync-nickname", ["--all"], renamed, 0),
    ("update-groups", ["--all"], regrouped, 0),
    ("update-all-groups", [], drifted, 0),
    ("sync", ["--all"], newcomer, 0),
    ("sync", ["--all"], broken, 4),
    (
        "sync",
        ["--all", "--accept-removals", "10"],
        lambda w: w.regroup(names(10), out_of="staff"),
        0,
    ),
    ("pipeline run", ["join", "-r", "me.json"], joining, 6),
    ("pipeline run", ["join", "-r", "me.json", "--set", "confirmed=yes"], joining, 0),
    ("pipeline resume", ["PARTIAL", "--set", "confirmed=yes"], waiting, 0),
    ("pipeline abort", ["PARTIAL"], waiting, 0),
    ("holds approve", ["2"], held, 0),
    ("holds reject", ["2"], held, 0),
]


def test_the_table_has_every_command_with_a_dry_run() -> None:
    assert {command for command, *_ in CASES} == set(with_dry_run(get_command(app)))


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "a folder"
        for path in sorted(folder.rglob("*"))
        if not path.name.endswith(SIDECARS)
    }


def in_step(w: World) -> None:
    w.people(["ada", "bob", *names(20)], "staff")
    assert w.svcctl("sync", "--all").exit_code == 0


def settle(w: World) -> None:
    """Into the files with everything, as when nobody has them open."""
    w.site.database.close()
    for manager in w._opened:
        manager.close()
    for name in ("svcctl.db", "lab.sqlite", "other.sqlite"):
        if (w.site.folder / name).exists():
            with closing(sqlite3.connect(w.site.folder / name)) as file:
                file.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@pytest.mark.parametrize(
    ("command", "arguments", "prepare", "code"),
    CASES,
    ids=[f"{command}-{code}-{number}" for number, (command, _, _, code) in enumerate(CASES)],
)
def test_a_dry_run_writes_nothing_and_exits_as_the_real_run_does(
    world: Build,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    arguments: list[str],
    prepare: Callable[[World], None] | None,
    code: int,
) -> None:
    w = world(
        lab(),
        lab("other", create="manual"),
        top='[directory.sources.people]\ntype = "csv"\npath = "people.csv"\n',
        people=in_step,
    )
    if prepare is not None:
        prepare(w)
    arguments = [
        w.rows("SELECT id FROM partials")[0]["id"] if word == "PARTIAL" else word
        for word in arguments
    ]
    settle(w)
    before = contents(w.site.folder)

    dry = w.svcctl(*command.split(), *arguments, "--dry-run", stdin=None)
    assert dry.exit_code == code, dry.stderr
    settle(w)
    assert contents(w.site.folder) == before

    if command == "accounts set-password":
        monkeypatch.setattr(
            "svcctl.commands.accounts.password._read_password", lambda: "correct horse battery"
        )
    real = w.svcctl(*command.split(), *arguments)
    assert real.exit_code == code, real.stderr
    settle(w)
    # A source that is not believed changes nothing in earnest either.
    assert (contents(w.site.folder) == before) == (code == 5)


def test_a_dry_run_that_fails_exits_as_the_real_run_does(world: Build) -> None:
    """Names that collide, a listing that breaks off, a lock that nobody needs for looking."""
    w = world(lab(hook="engine_hooks:CaselessHook"), lab("other"))
    w.people(["Ada", "ada", "bob"], "staff")
    assert w.svcctl("sync", "--all", "--dry-run").exit_code == 1
    assert w.svcctl("sync", "--all").exit_code == 1
    w.sandbox("other").break_method("list_accounts", "incomplete")
    assert w.svcctl("update-all-groups", "--dry-run").exit_code == 5
    assert w.svcctl("update-all-groups").exit_code == 5


def test_a_dry_run_knows_what_is_not_due_yet(world: Build) -> None:
    w = world(lab(more='faults = { set_nickname = "denied" }'))
    w.people(["ada"], "staff")
    assert w.svcctl("sync", "--all").exit_code == 1
    code, dry = w.run("sync", "--all", "--dry-run")
    calls = len(w.calls())
    real_code, real = w.run("sync", "--all")
    assert len(w.calls()) == calls
    assert (code, [op["status"] for op in dry["operations"]]) == (1, ["deferred"])
    assert (real_code, [op["status"] for op in real["operations"]]) == (1, ["deferred"])
    code, dry = w.run("sync", "ada", "--dry-run")
    assert [op["status"] for op in dry["operations"]] == ["planned"]
