"""The engine against a model: what people may have, whatever was done before, and in which order.

Two sandboxes, a file of people, a clock that is moved, an operator, and whoever works on the
services behind svcctl's back. After every command it is looked at what is really there.
"""

import io
import json
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from svcctl.cli import main
from svcctl.errors import ExitCode
from svcctl.hooks.manager import NewAccount, RemoteAccount
from svcctl.hooks.sandbox import SandboxManager
from svcctl.limits import allowance
from svcctl.runs import apply, due, guard, lane, notices
from svcctl.store.database import Database
from svcctl.store.migrate import upgrade

BEGINNING = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAMES = ("ada", "bob", "cyd", "dan", "eve", "fay", "gus", "hal")
PROTECTED = "ada"
SERVICES = ("lab", "other")
GROUPS = {"corp": "corp", "fc": "fc"}
CONFIG = f"""
default_name_format = "{{character_name}}"
protected = ["{PROTECTED}"]
directory.limits.removals = "50%"

[directory.sources.people]
type = "csv"
path = "people.csv"

[states.Member]
priority = 100
groups = ["corp"]

[services.lab]
hook = "sandbox"
path = "lab.sqlite"
create = "auto"
access.states = ["Member"]
removal = {{ mode = "disable", delete_after = "10d" }}
groups.map = {{ corp = "corp", fc = "fc" }}

[services.other]
hook = "sandbox"
path = "other.sqlite"
create = "auto"
external_ids = false
access.states = ["Member"]
removal = "delete"
limits.removals = 2
groups.map = {{ corp = "corp", fc = "fc" }}
"""
RUNS = (
    ("sync", "--all"),
    ("validate", "--all"),
    ("update-groups", "--all"),
    ("update-all-groups",),
    ("sync-nickname", "--all"),
    ("retry",),
)
NAME = st.sampled_from(NAMES)
SERVICE = st.sampled_from(SERVICES)
FAULT = st.sampled_from(("transient", "denied", "lost", "lost:0.4", "transient:0.4", "denied:0.4"))
CROWD = st.sets(NAME, min_size=1, max_size=5)
MEANT_ONE = st.sampled_from(("corp", "fc", "logi"))
MEANT = st.sampled_from((frozenset({"corp"}), frozenset({"corp", "fc"}), frozenset({"logi"})))
VERB = st.sampled_from(
    (
        "create_account",
        "enable_account",
        "disable_account",
        "delete_account",
        "set_nickname",
        "change_groups",
    )
)
_CLOCKED = (guard, due, apply, notices)


class Broken(AssertionError):
    """A promise that was not kept, with all that was done before."""


@dataclass(frozen=True)
class Person:
    """As the file of people has it."""

    groups: frozenset[str]
    title: str
    missing: int = 0

    @property
    def member(self) -> bool:
        return "corp" in self.groups and self.missing < 2


@dataclass
class Site:
    """A folder in which svcctl is at home, its clock, and what it was asked and said."""

    folder: Path
    moment: datetime = BEGINNING
    said: list[str] = field(default_factory=list)
    runs: int = 0

    def run(self, *words: str) -> tuple[int, str]:
        stdout, stderr = io.StringIO(), io.StringIO()
        with redirect_stdout(stdout), redirect_stderr(stderr):
            code = main(["--config", str(self.folder / "svcctl.toml"), *words])
        out, err = stdout.getvalue(), stderr.getvalue()
        asked = f"{self.moment:%d. %H:%M} $ svcctl {' '.join(words)}"
        self.said.append(f"{asked} -> {code}\n{out}{err}")
        self.runs += 1
        self.demand(code in set(ExitCode), f"exit code {code}")
        self.demand("Traceback" not in err + out, "a traceback")
        self.demand("defect in svcctl" not in err + out, "a defect")
        return code, out

    def demand(self, kept: Any, promise: str) -> None:
        if not kept:
            raise Broken("\n".join([*self.said[-12:], f"NOT KEPT: {promise}"]))


@contextmanager
def clock_of(site: Site) -> Iterator[None]:
    """In the block it is `site.moment` everywhere, and nobody waits."""
    from svcctl import clock
    from svcctl.hooks import contract

    def now() -> datetime:
        return site.moment

    with ExitStack() as stack:
        for module, name in (
            (clock, "now"),
            (contract, "clock_now"),
            *((module, "now") for module in _CLOCKED),
        ):
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, now)
        stack.callback(setattr, lane, "FIRST_PAUSE", lane.FIRST_PAUSE)
        lane.FIRST_PAUSE = 0.001
        yield


_templates: list[Path] = []


def _template() -> Path:
    """An empty database that was migrated once, to be copied."""
    if not _templates:
        path = Path(tempfile.mkdtemp(prefix="svcctl-model-")) / "svcctl.db"
        database = Database(f"sqlite:///{path}")
        upgrade(database)
        database.close()
        _templates.append(path)
    return _templates[0]


class Engine(RuleBasedStateMachine):
    """People, two services and an operator.

    file: what the source says; people: what svcctl knows since the last pull. word: accounts about
    which an operator said something, or whose record is no more: what they are to have is open.
    """

    steps = 0

    strangers = Bundle("strangers")

    @initialize(members=st.sets(NAME, min_size=3))
    def found(self, members: set[str]) -> None:
        self._stack = ExitStack()
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="model-")))
        self.site = Site(folder)
        (folder / "svcctl.toml").write_text(CONFIG)
        shutil.copyfile(_template(), folder / "svcctl.db")
        (folder / "svcctl.db").chmod(0o600)
        self._stack.enter_context(clock_of(self.site))
        self.managers = {name: SandboxManager(folder / f"{name}.sqlite") for name in SERVICES}
        for manager in self.managers.values():
            self._stack.callback(manager.close)
            manager.create_account(NewAccount("stranger", "theirs", "theirs"))
            self._give(manager, "stranger", "corp", "fc")
        self.file: dict[str, Person] = {}
        self.people: dict[str, Person] = {}
        self.word: set[tuple[str, str]] = set()
        self.broken: set[str] = set()
        self.paused: set[str] = set()
        self.taken: set[str] = set()
        self.hand: dict[str, set[tuple[str, str]]] = defaultdict(set)
        self.titles: dict[str, set[str]] = defaultdict(set)
        self.lost: dict[str, list[datetime]] = defaultdict(list)
        for name in sorted(members | {PROTECTED}):
            self._write(name, frozenset({"corp"}), f"{name.title()} the First")
        self.pull(accept=False)
        self.apply(("sync", "--all"))

    def teardown(self) -> None:
        if not hasattr(self, "site"):
            return
        try:
            code, out = self.site.run("db", "check")
            self.site.demand(code == 0, f"db check: {out}")
        finally:
            self._stack.close()
            type(self).steps += self.site.runs

    # What happens to people

    def _write(self, name: str, groups: frozenset[str], title: str) -> None:
        self.file[name] = Person(groups, title)
        self.titles[name].add(title)

    @rule(name=NAME, groups=st.frozensets(MEANT_ONE), number=st.integers(1, 3))
    def say(self, name: str, groups: frozenset[str], number: int) -> None:
        self._write(name, groups, f"{name.title()} {number}")

    @rule(names=CROWD, groups=MEANT, words=st.sampled_from(RUNS[:4]), accept=st.integers(0, 3))
    def turn(
        self, names: set[str], groups: frozenset[str], words: tuple[str, ...], accept: int
    ) -> None:
        """Some people are in these groups from now on, and a run follows."""
        for name in sorted(names):
            self._write(name, groups, f"{name.title()} the First")
        self.pull(accept=False)
        self.apply(words, accept)

    @rule(names=CROWD)
    def leave(self, names: set[str]) -> None:
        """They are not in the source any more, and somebody says that this is right."""
        for name in names:
            self.file.pop(name, None)
        self.pull(accept=True, sync=True)

    @rule(service=SERVICE, verb=VERB, fault=FAULT, names=CROWD, there=MEANT, back=MEANT)
    def turn_in_trouble(
        self,
        service: str,
        verb: str,
        fault: str,
        names: set[str],
        there: frozenset[str],
        back: frozenset[str],
    ) -> None:
        """A run in which something fails; then people are to have something else, and all works."""
        self.break_(service, verb, fault)
        self.turn(names, there, ("sync", "--all"), 0)
        self.turn(names, back, ("sync", "--all"), 0)
        self.heal()

    @rule(accept=st.booleans(), sync=st.booleans())
    def pull(self, accept: bool, sync: bool = False) -> None:  # noqa: FBT001, FBT002 - drawn
        rows = [
            f"{name},{name},{';'.join(sorted(one.groups))},{one.title}"
            for name, one in sorted(self.file.items())
        ]
        text = "\n".join(["id,username,groups,character_name", *rows, ""])
        (self.site.folder / "people.csv").write_text(text)
        known = [one for one in self.people.values() if one.missing == 0]
        vanished = [n for n, one in self.people.items() if not one.missing and n not in self.file]
        words = ["directory", "pull", *(["--accept-missing", "9"] if accept else [])]
        code, _ = self.site.run(*words)
        if not accept and len(vanished) > allowance(len(known), "50%"):
            gone = f"{len(vanished)} of {len(known)} vanished"
            self.site.demand(code == 5, f"{gone}, and it said {code}")
            return
        self.site.demand(code == 0, "a pull that is in order")
        more = 2 if accept else 1
        for name, one in self.people.items():
            if name not in self.file:
                missing = one.missing + (1 if one.missing else more)
                self.people[name] = replace(one, missing=min(2, missing))
        self.people.update(self.file)
        if sync:
            self.apply(("sync", "--all"))

    # What runs do

    @rule(words=st.sampled_from(RUNS), accept=st.integers(0, 3))
    def apply(self, words: tuple[str, ...], accept: int = 0) -> None:
        """A run, and what it must not do."""
        limited = words[0] in ("sync", "validate")
        more = ("--accept-removals", str(accept)) if accept and limited else ()
        plan = self._plan() if words == ("sync", "--all") and not more else None
        before = self._there()
        calls = {name: len(manager.calls()) for name, manager in self.managers.items()}
        code, out = self.site.run(*words, "--json", *more)
        self.site.demand(out, "an answer in JSON")
        report = json.loads(out)
        after = self._there()
        self._compare(before, after, accepted=accept if more else 0, report=report)
        for name in self.paused:
            self.site.demand(len(self.managers[name].calls()) == calls[name], f"{name} is paused")
        if plan is not None and not self.broken:
            done = _keys(report["operations"])
            self.site.demand(plan == done, f"the plan was {plan}, done was {done}")
        if words == ("sync", "--all") and not self.broken and code == 0:
            self._in_step(after)
            calls = {name: len(manager.calls()) for name, manager in self.managers.items()}
            again, out = self.site.run("sync", "--all", "--json")
            self.site.demand(
                (again, json.loads(out)["operations"]) == (0, []), "a second sync does nothing"
            )
            same = {name: len(manager.calls()) for name, manager in self.managers.items()}
            self.site.demand(same == calls, "a second sync asks for nothing")

    def _plan(self) -> list[str]:
        """Of what comes after a dry run nothing was done."""
        before = self._there()
        _, out = self.site.run("plan", "--json")
        self.site.demand(out, "a plan in JSON")
        self.site.demand(self._there() == before, "a plan changes nothing")
        return _keys(json.loads(out)["operations"])

    @rule(user=NAME, words=st.sampled_from((("sync",), ("validate",), ("update-groups",))))
    def apply_to(self, user: str, words: tuple[str, ...]) -> None:
        if user in self.people:
            before = self._there()
            self.site.run(*words, user)
            self._compare(before, self._there())

    # What an operator says

    @rule(approve=st.booleans())
    def decide(self, approve: bool) -> None:  # noqa: FBT001
        _, out = self.site.run("holds", "list", "--json")
        self.site.demand(out, "holds in JSON")
        for run in sorted({row["run"] for row in json.loads(out)["rows"]}):
            before = self._there()
            _, shown = self.site.run("holds", "show", str(run), "--json")
            # What was said about one run may have settled what another one held.
            rows = json.loads(shown)["rows"] if shown else []
            held = [(row["service"], row["user"]) for row in rows]
            if approve:
                self.site.run("holds", "approve", str(run), "--yes")
            else:
                self.site.run("holds", "reject", str(run))
                self.word |= set(held)
            approved = frozenset(held) if approve else frozenset()
            self._compare(before, self._there(), approved=approved)

    @rule(
        user=NAME,
        service=SERVICE,
        verb=st.sampled_from(("create", "enable", "disable", "hold", "release", "unlink", "link")),
    )
    def instruct(self, user: str, service: str, verb: str) -> None:
        if user not in self.people:
            return
        before = self._there()
        words = {
            "hold": ("accounts", "hold", user, "--service", service),
            "release": ("accounts", "hold", user, "--service", service, "--release"),
            "unlink": ("accounts", "unlink", user, "--service", service),
            "link": ("accounts", "link", user, "--service", service, "--name", user),
        }.get(verb, ("accounts", verb, user, "--service", service))
        self.site.run(*words, *["--yes"] * (verb == "disable"))
        self.word.add((service, user))
        self._compare(before, self._there(), approved=frozenset({(service, user)}))

    @rule(service=SERVICE, pause=st.booleans())
    def pause(self, service: str, pause: bool) -> None:  # noqa: FBT001
        code, _ = self.site.run("services", "pause" if pause else "resume", service)
        if code == 0:
            (self.paused.add if pause else self.paused.discard)(service)

    @rule(hours=st.sampled_from((1, 6, 25, 24 * 11)))
    def wait(self, hours: int) -> None:
        self.site.moment += timedelta(hours=hours)

    # What happens on the services

    @rule(service=SERVICE, verb=VERB, fault=FAULT)
    def break_(self, service: str, verb: str, fault: str) -> None:
        self.managers[service].break_method(verb, fault)
        self.broken.add(service)

    @rule(service=SERVICE, read=st.sampled_from(("find_account", "get_account", "list_accounts")))
    def blind(self, service: str, read: str) -> None:
        self.managers[service].break_method(read, "transient")
        self.broken.add(service)

    @rule()
    def heal(self) -> None:
        """And every back-off is over."""
        for manager in self.managers.values():
            manager.heal()
        self.broken.clear()
        self.site.moment += timedelta(hours=25)
        for words in (("retry",), ("sync", "--all")):
            self.apply(words)

    @rule(service=SERVICE, name=NAME)
    def give(self, service: str, name: str) -> None:
        """A group of the service's own, by hand."""
        if name in self._there()[service]:
            uid = self._give(self.managers[service], name, "theirs")
            self.hand[service].add((uid, name))

    def _give(self, manager: SandboxManager, name: str, *groups: str) -> str:
        # Behind svcctl's back also means past the faults.
        uid = next(one.uid for one in manager.accounts() if one.name == name)
        with manager._file.transaction(write=True) as db:
            for group in groups:
                db.execute("INSERT OR IGNORE INTO groups (name) VALUES (?)", (group,))
                number = "SELECT number, ? FROM accounts WHERE uid = ?"
                db.execute(f"INSERT OR IGNORE INTO memberships {number}", (group, uid))
        return uid

    # What must hold

    def _there(self) -> dict[str, dict[str, RemoteAccount]]:
        return {
            name: {one.name: one for one in manager.accounts()}
            for name, manager in self.managers.items()
        }

    def _compare(
        self,
        before: dict[str, dict[str, RemoteAccount]],
        after: dict[str, dict[str, RemoteAccount]],
        *,
        accepted: int = 0,
        approved: frozenset[tuple[str, str]] = frozenset(),
        report: Any = None,
    ) -> None:
        demand = self.site.demand
        removed = 0
        for service in SERVICES:
            was, now = before[service], after[service]
            demand(was["stranger"] == now.get("stranger"), f"{service}: the stranger is as before")
            for uid, name in self.hand[service]:
                there = now.get(name)
                if there and there.uid == uid:
                    demand("theirs" in (there.groups or ()), f"{service}: {name} stays in theirs")
            gone = {
                name
                for name, one in was.items()
                if one.active and not (name in now and now[name].active)
            }
            for name in sorted(gone):
                person = self.people.get(name)
                spoken = (service, name) in approved
                demand(
                    spoken or person is None or not person.member,
                    f"{service}: {name} lost the account, and may have it",
                )
                demand(name != PROTECTED, f"{service}: {name} is protected")
                if (service, name) in self.word and not spoken:
                    pinned = self._pinned(service, name)
                    demand(not pinned, f"{service}: {name} is pinned, and was removed")
            for name, one in was.items():
                person = self.people.get(name)
                there = now.get(name)
                if person and person.member and there and (service, name) not in approved:
                    left = (one.groups or frozenset()) - (there.groups or frozenset())
                    demand(not left & person.groups, f"{service}: {name} left {sorted(left)}")
            for name in now.keys() - was.keys():
                person = self.people.get(name)
                demand(person and person.member, f"{service}: {name} was created, and is no member")
            counted = {name for name in gone if (service, name) not in approved}
            self._limited(service, was, counted, accepted - removed)
            removed += len(counted)
            names = [one.external_id for one in now.values() if one.external_id]
            demand(len(names) == len(set(names)), f"{service}: two accounts of one user")
            for name, one in now.items():
                known = {"", None, name, *self.titles[name]}
                demand(one.nickname in known, f"{service}: {name} is called {one.nickname}")

    def _limited(
        self, service: str, was: dict[str, RemoteAccount], gone: set[str], accepted: int
    ) -> None:
        """Not more than the limit within 24 hours, unless somebody accepted them."""
        since = self.site.moment - timedelta(hours=24)
        recent = [moment for moment in self.lost[service] if moment >= since]
        active = sum(one.active for name, one in was.items() if name != "stranger")
        override = 2 if service == "other" else None
        allowed = allowance(active + len(recent), override)
        over = len(gone) + len(recent) > allowed
        self.site.demand(
            not (gone and over) or len(gone) <= accepted,
            f"{service}: {len(gone)} lost access, {len(recent)} in the last day, {allowed} may",
        )
        if not (gone and over):
            self.lost[service] += [self.site.moment] * len(gone)

    def _pinned(self, service: str, name: str) -> bool:
        _, out = self.site.run("accounts", "show", name, "--service", service, "--json")
        return '"pin": "' in out

    def _in_step(self, after: dict[str, dict[str, RemoteAccount]]) -> None:
        """After a sync that said 0, all is as it should be."""
        for service in set(SERVICES) - self.paused:
            there = after[service]
            for name, person in self.people.items():
                if (service, name) in self.word or name == PROTECTED:
                    continue
                one = there.get(name)
                if not person.member:
                    self.site.demand(one is None or not one.active, f"{service}: {name} has access")
                    continue
                self.site.demand(one and one.active, f"{service}: {name} has no account")
                assert one is not None
                want = person.groups & GROUPS.keys()
                has = (one.groups or frozenset()) & GROUPS.keys()
                self.site.demand(has == want, f"{service}: {name} is in {has}, not in {want}")
                named = one.nickname == person.title
                self.site.demand(named, f"{service}: {name} is called {one.nickname}")

    @invariant()
    def records_are_nobody_elses(self) -> None:
        """No two users have one account, and none has the stranger's."""
        if not hasattr(self, "site"):
            return
        import sqlite3
        from contextlib import closing

        there = {name: {one.uid: one for one in m.accounts()} for name, m in self.managers.items()}
        with closing(sqlite3.connect(self.site.folder / "svcctl.db")) as db:
            rows = db.execute(
                "SELECT service, uid, username, user_id FROM accounts"
                " JOIN users ON users.id = user_id WHERE uid IS NOT NULL"
            ).fetchall()
        self.site.demand(len({row[:2] for row in rows}) == len(rows), "an account of two users")
        for service, uid, username, _ in rows:
            one = there[service].get(uid)
            self.site.demand(one is None or one.name == username, f"{username} has {one}")


def _keys(operations: list[dict[str, Any]]) -> list[str]:
    return sorted(
        " ".join((one["service"], one["user"], one["operation"], json.dumps(one["args"])))
        for one in operations
        if one["status"] != "deferred"
    )
