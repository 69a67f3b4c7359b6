"""What svcctl is doing when something happens to it. The list at the end is what matrices take."""

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from chaos import sites
from chaos.moments import Moments
from chaos.processes import run
from chaos.sites import TEN, Site, staff
from chaos.verdict import Line, Step, rows
from svcctl.hooks.manager import NewAccount
from svcctl.hooks.sandbox import SandboxManager
from svcctl.store.database import Database

SYNC: Line = ("sync", "--all")


@dataclass(frozen=True)
class Scenario:
    """A site, the command to which it happens, and what an operator or cron runs afterwards.

    `codes` are the exit codes with which commands may end when they are run again, undisturbed;
    `code` is the one of the undisturbed run.
    """

    name: str
    prepare: Callable[[Path], Site]
    line: Callable[[Path], Line]
    then: Sequence[Step] = (SYNC,)
    codes: frozenset[int] = frozenset({0})
    code: int = 0


def always(*words: str) -> Callable[[Path], Line]:
    return lambda _: words


# Sites


def people(folder: Path) -> Site:
    return sites.settled(folder)


def changed(folder: Path) -> Site:
    """Two come, one is renamed, one changes groups, two lose access, one comes back."""
    site = sites.settled(folder)
    away = [*staff(TEN[:9]), ("id-user9", "user9", "all")]
    site.people(away)
    site.ok("directory", "pull")
    site.ok("sync", "--all")
    site.people(
        [
            *staff(TEN[:5]),
            ("id-user5", "renamed", "staff;all"),
            ("id-user6", "user6", "staff;new"),
            ("id-user7", "user7", "all"),
            *staff(["user8", "user9", "fresh1", "fresh2"]),
        ]
    )
    site.ok("directory", "pull")
    return site


def drifted(folder: Path) -> Site:
    """Somebody was at the groups of both sandboxes by hand."""
    site = sites.settled(folder)
    for name in ("lab", "other"):
        with closing(SandboxManager(folder / f"{name}.sqlite")) as sandbox:
            uids = {account.name: account.uid for account in sandbox.accounts()}
            for number in range(3):
                uid = uids[f"user{number}"]
                sandbox.change_groups(uid, frozenset({"by hand"}), frozenset({"staff"}))
    return site


def held(folder: Path) -> Site:
    """Five of ten are to lose access at once, which no limit allows."""
    site = sites.settled(folder)
    gone = [(f"id-{name}", name, "all") for name in TEN[5:]]
    site.people([*staff(TEN[:5]), *gone])
    site.ok("directory", "pull")
    site.ok("sync", "--all", code=4)
    return site


def to_pull(folder: Path) -> Site:
    """The source says something else than the last time."""
    site = sites.settled(folder)
    site.people(
        [
            *staff(TEN[:6]),
            ("id-user6", "user6", "staff;new"),
            ("id-user7", "renamed", "staff"),
            ("id-user8", "user8", "all"),
            *staff(["fresh1", "fresh2"]),
        ]
    )
    return site


def strangers(folder: Path) -> Site:
    """Accounts that somebody made before svcctl came; one is nobody's."""
    site = sites.found(folder)
    site.people(staff(TEN))
    site.ok("directory", "pull")
    with closing(SandboxManager(folder / "lab.sqlite")) as sandbox:
        for name in ["nobody", *TEN[:6]]:
            sandbox.create_account(NewAccount(name, f"theirs-{name}", "secret"))
    return site


def member(folder: Path) -> Site:
    """Somebody is about to join."""
    site = sites.settled(folder)
    response = {"id": 5, "login": "ada", "email": "ada@example.org", "name": "Ada Lovelace"}
    (folder / "me.json").write_text(json.dumps(response), encoding="utf-8")
    return site


def paused(folder: Path) -> Site:
    """Somebody has joined, and waits to be confirmed."""
    site = member(folder)
    site.ok(*JOIN, code=6)
    return site


def joined(folder: Path) -> Site:
    site = paused(folder)
    site.ok(*resume(folder))
    return site


def removed(folder: Path) -> Site:
    """Somebody was removed who never had an account."""
    site = sites.settled(folder)
    site.ok("users", "add", "eve", "--group", "all", "fullname=Eve", "--no-sync")
    site.ok("users", "remove", "eve", "--no-sync")
    return site


def failed(folder: Path) -> Site:
    """A service was out of order for some."""
    site = changed(folder)
    for name in ("lab", "other"):
        with closing(SandboxManager(folder / f"{name}.sqlite")) as sandbox:
            sandbox.break_method("create_account", "denied")
            sandbox.break_method("change_groups", "denied")
    site.ok("sync", "--all", code=1)
    for name in ("lab", "other"):
        with closing(SandboxManager(folder / f"{name}.sqlite")) as sandbox:
            sandbox.heal()
    return site


def to_regret(folder: Path) -> Site:
    """What is to be done is a mistake."""
    site = sites.settled(folder)
    site.people(
        [
            *staff(TEN[:5]),
            ("id-user5", "renamed", "staff;all"),
            ("id-user6", "user6", "staff;new"),
            ("id-user7", "user7", "all"),
            *staff(["user8", "user9", "fresh"]),
        ]
    )
    site.ok(*PULL)
    return site


def regretted(folder: Path) -> Site:
    """It was done."""
    site = to_regret(folder)
    site.ok(*SYNC)
    return site


def half_done(folder: Path) -> Site:
    """It was begun, and killed on its way."""
    site = to_regret(folder)
    run(folder, *SYNC, first=Moments(folder.with_name("half.moments"), 30).watch)
    return site


def blind(folder: Path) -> Site:
    """One of the services cannot be searched, and more people are to come."""
    lab = '[services.lab]\nhook = "sandbox"'
    config = sites.CONFIG.replace(lab, lab.replace("sandbox", "chaos.blind:BlindHook"))
    site = sites.settled(folder, TEN[:4], config)
    site.people(staff(TEN))
    site.ok(*PULL)
    return site


def empty(folder: Path) -> Site:
    """No database yet."""
    site = sites.bare(folder)
    site.people(staff(TEN))
    return site


def of_old(folder: Path) -> Site:
    """A database of the first schema, with people of whom some have accounts."""
    site = sites.bare(folder)
    site.people(staff(TEN))
    # Any command will do: what is called before it makes the database.
    run(folder, "config", "check", first=_first_schema)
    with closing(SandboxManager(folder / "lab.sqlite")) as sandbox:
        made = [
            sandbox.create_account(NewAccount(name, f"svcctl:{id_}", "secret"))
            for id_, name in enumerate(TEN[:4], 1)
        ]
    with closing(sqlite3.connect(folder / "svcctl.db")) as connection, connection:
        connection.executemany(
            "INSERT INTO users (username, source, source_id, enabled, active, superuser,"
            " missing_pulls, created_at, updated_at) VALUES (?, 'people', ?, 1, 1, 0, 0, '', '')",
            [(name, f"id-{name}") for name in TEN],
        )
        connection.executemany(
            "INSERT INTO accounts (user_id, service, status, uid, name, name_key, created_at,"
            " updated_at) VALUES (?, 'lab', 'active', ?, ?, ?, '', '')",
            [(id_, one.uid, one.name, one.name) for id_, one in enumerate(made, 1)],
        )
    return site


def _first_schema() -> None:
    from alembic import command

    from svcctl.store.migrate import SCRIPTS, _config

    database = Database("sqlite:///svcctl.db")
    database.create_file()
    config = _config(SCRIPTS)
    with database.rebuild() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    database.close()


# Lines

PULL: Line = ("directory", "pull")
JOIN: Line = ("pipeline", "run", "join", "-r", "me.json")


def apply(folder: Path) -> Line:
    """A plan binds the configuration, and with it the folder."""
    Site(folder).ok("plan", "--all", "--out", "plan.json")
    return ("apply", "plan.json", "--yes")


def undo(folder: Path) -> Line:
    """What comes from cron by and by is not what is to be undone."""
    (latest,) = rows(folder, "SELECT max(id) FROM runs WHERE command = 'sync'")[0]
    return ("undo", str(latest), "--yes")


def decide(folder: Path) -> list[Line]:
    """What an operator does who looks at the service."""
    unknown = rows(
        folder,
        "SELECT username FROM operations JOIN users ON users.id = user_id"
        " WHERE status = 'unknown' AND verb = 'create_account'",
    )
    with closing(SandboxManager(folder / "lab.sqlite")) as sandbox:
        uids = {account.name: account.uid for account in sandbox.accounts()}
    lines: list[Line] = []
    for (name,) in unknown:
        if name in uids:
            lines.append(("accounts", "link", name, "--service", "lab", "--uid", uids[name]))
        else:
            lines.append(("accounts", "unlink", name, "--service", "lab"))
            lines.append(("accounts", "create", name, "--service", "lab"))
    return lines


def resume(folder: Path) -> Line:
    found = rows(folder, "SELECT id FROM partials")
    id_ = found[0][0] if found else "gone"
    return ("pipeline", "resume", id_, "--set", "confirmed_by=bob")


def resume_what_waits(folder: Path) -> list[Line]:
    return [resume(folder)] if rows(folder, "SELECT id FROM partials") else []


def approve(folder: Path) -> Line:
    (run,) = rows(folder, "SELECT max(run_id) FROM operations WHERE status = 'held'")[0]
    return ("holds", "approve", str(run or 1), "--yes")


def approve_what_is_held(folder: Path) -> list[Line]:
    return (
        [approve(folder)] if rows(folder, "SELECT id FROM operations WHERE status='held'") else []
    )


def codes(*numbers: int) -> frozenset[int]:
    return frozenset(numbers)


SCENARIOS = [
    Scenario("sync", changed, always(*SYNC)),
    Scenario("sync, unsearchable", blind, always(*SYNC), (SYNC, decide, SYNC), codes(0, 1)),
    Scenario("update-all-groups", drifted, always("update-all-groups")),
    Scenario("apply FILE", changed, apply, codes=codes(0, 1)),
    Scenario("holds approve", held, approve, (SYNC, approve_what_is_held, SYNC), codes(0, 2, 4)),
    # Who vanished loses access at the second pull in a row, and whether one counted depends.
    Scenario("directory pull", to_pull, always(*PULL), (PULL, PULL, SYNC)),
    Scenario("directory pull --sync", to_pull, always(*PULL, "--sync"), (PULL, PULL, SYNC)),
    Scenario("users set, and what follows", people, always("users", "set", "user3", "--inactive")),
    Scenario(
        "users add, and what follows",
        people,
        always("users", "add", "ada", "--group", "staff"),
        codes=codes(0, 2),
    ),
    Scenario(
        "users remove, and what follows",
        people,
        always("users", "remove", "user4"),
        codes=codes(0, 2),
    ),
    Scenario("users forget", removed, always("users", "forget", "eve", "--yes"), codes=codes(0, 2)),
    Scenario("adopt", strangers, always("adopt", "lab", "--by", "name", "--yes")),
    Scenario("pipeline run", member, always(*JOIN), (resume_what_waits, SYNC), codes(0, 6), 6),
    Scenario("pipeline resume", paused, resume, (resume_what_waits, SYNC), codes(0, 2)),
    Scenario("pipeline run, leaving", joined, always("pipeline", "run", "leave", "--user", "ada")),
    Scenario("retry", failed, always("retry")),
    # What was deleted for good is said, and the exit code is 1.
    Scenario("undo RUN", regretted, undo, (SYNC,), codes(0, 1, 2), 1),
    Scenario("undo RUN, of one that was killed", half_done, undo, (SYNC,), codes(0, 1, 2), 1),
    Scenario("db upgrade, of nothing", empty, always("db", "upgrade"), (PULL, SYNC)),
    Scenario("db upgrade, of the first schema", of_old, always("db", "upgrade"), (PULL, SYNC)),
]
