"""One trial: commands in a world whose ways fail, and what no fault may lead to."""

import io
import json
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import text

from chaos import far
from chaos.club import GROUPS, Club
from chaos.far import Truth
from chaos.trouble import Trouble
from svcctl.cli import main
from svcctl.errors import ExitCode
from svcctl.store.database import Database

LONG_AGO = "2020-01-01T00:00:00Z"
SETTLE = 4
"""So many runs may pass after the faults until everything is as it should be."""
COMMANDS = {
    ("sync", "--all"): 8,
    ("validate", "--all"): 4,
    ("update-all-groups",): 4,
    ("directory", "pull", "--sync"): 3,
    ("update-groups", "--all"): 2,
    ("sync-nickname", "--all"): 2,
    ("retry",): 2,
    ("drift",): 1,
    ("accounts", "refresh", "--all", "--service", "far"): 1,
}


@dataclass
class Tally:
    """What a matrix came to."""

    trials: int = 0
    runs: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    rounds: Counter[int] = field(default_factory=Counter)
    unknown: int = 0
    lost: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        self.trials += other.trials
        self.runs += other.runs
        self.unknown += other.unknown
        self.faults.update(other.faults)
        self.codes.update(other.codes)
        self.rounds.update(other.rounds)
        self.lost += other.lost


@dataclass
class Trial:
    """One world. model: what is known of people; before: what was there before a command."""

    kind: str
    seed: int
    folder: Path
    database: Database
    service: far.Service
    source: far.Source
    club: Club
    trouble: Trouble
    removal: str
    tally: Tally
    strangers: frozenset[str] = frozenset()
    hand: list[tuple[str, str, str]] = field(default_factory=list)
    conflicts: frozenset[str] = frozenset()
    said: list[str] = field(default_factory=list)

    # Commands

    def run(self, *words: str) -> tuple[int, str, str]:
        """A command, and what it says; everything is looked at before and after."""
        before = self.service.truth()
        struck = self.trouble.count
        stdout, stderr = io.StringIO(), io.StringIO()
        with redirect_stdout(stdout), redirect_stderr(stderr):
            code = main(["--config", str(self.folder / "svcctl.toml"), *words])
        self.tally.runs += 1
        self.tally.codes[code] += 1
        out, err = stdout.getvalue(), stderr.getvalue()
        self.said.append(f"$ svcctl {' '.join(words)} -> {code}\n{out}{err}")
        after = self.service.truth()
        if "Traceback" in out + err or "defect in svcctl" in out + err:
            self.lose("fell over", f"{words}: {err[-2000:]}")
        if code not in set(ExitCode):
            self.lose("exit code", f"{words}: {code}")
        if "pull" in words:
            self._pulled(code, whole="--sync" not in words)
        self._compare(words, before, after)
        if code == 0 and words[:2] == ("sync", "--all"):
            for problem in self.differences(after):
                self.lose("said 0", f"{words}: {problem}")
        if code and not (self.trouble.count - struck or self._was_open()):
            self.lose("said no", f"{words}: {code} although nothing went wrong\n{out}{err}")
        return code, out, err

    def lose(self, what: str, how: str) -> None:
        again = f"python -m chaos faults --seed {self.seed} --runs 5"
        self.tally.lost.append(f"{self.kind}: {what}: {how} ({again})")

    def age(self) -> None:
        """As if every back-off were over."""
        with self.database.write() as connection:
            connection.execute(
                text(
                    "UPDATE operations SET next_attempt_at = :ago WHERE next_attempt_at IS NOT NULL"
                ),
                {"ago": LONG_AGO},
            )

    def rows(self, statement: str) -> list[dict[str, Any]]:
        with self.database.read() as connection:
            return [dict(row) for row in connection.execute(text(statement)).mappings()]

    def _was_open(self) -> bool:
        """Whether something that failed earlier explains another code than 0."""
        return bool(
            self.conflicts
            or self.rows(
                "SELECT id FROM operations WHERE status NOT IN ('done', 'superseded') LIMIT 1"
            )
        )

    # What is known

    def people(self) -> dict[str, tuple[str, int, frozenset[str], str | None]]:
        """By username, as svcctl has them: id, pulls without them, groups, title."""
        groups: dict[int, set[str]] = {}
        for row in self.rows(
            "SELECT user_id, name FROM memberships JOIN groups ON groups.id = group_id"
        ):
            groups.setdefault(row["user_id"], set()).add(row["name"])
        return {
            row["username"]: (
                row["source_id"],
                min(row["missing_pulls"], 2),
                frozenset(groups.get(row["id"], ())),
                json.loads(row["attributes"]).get("character_name"),
            )
            for row in self.rows("SELECT * FROM users")
        }

    def _pulled(self, code: int, *, whole: bool) -> None:
        """A pull takes over everything or nothing, and says which."""
        new, old = self.club.pulled(), self.club.known
        found = self.people()

        def told(known: Any) -> dict[str, tuple[str, int, frozenset[str], str | None]]:
            return {
                name: (person.id, missing, person.groups, person.title)
                for name, (person, missing) in known.items()
            }

        if found == told(new) and (code == 0 or not whole or told(new) == told(old)):
            self.club.known = new
        elif found != told(old) or code == 0:
            self.lose("half a pull", f"code {code}\nhas {found}\nold {told(old)}\nnew {told(new)}")
            self.club.known = new if code == 0 else old

    # What may not happen

    def _compare(self, words: tuple[str, ...], before: Truth, after: Truth) -> None:
        wanted = self.club.wanted()
        for name in self.strangers:
            if before.accounts[name].rest != getattr(after.accounts.get(name), "rest", None):
                self.lose("a stranger", f"{words}: {name} was {before.accounts[name].rest}")
            if before.groups_of(name) != after.groups_of(name):
                self.lose("a stranger", f"{words}: {name} was in {before.groups_of(name)}")
        for given in list(self.hand):
            uid, name, group = given
            there = after.accounts.get(name)
            if there is None or there.uid != uid or group in after.groups_of(name):
                continue
            self.hand.remove(given)
            # OpenLDAP would leave memberships behind: they go first, and a delete may end there.
            if self.removal != "delete" or name in wanted:
                self.lose("by hand", f"{words}: {name} is not in {group} any more")
        for name, was in before.accounts.items():
            if name in self.strangers:
                continue
            there = after.accounts.get(name)
            if name in wanted and was.active and (there is None or not there.active):
                self.lose("a removal", f"{words}: {name} lost the account")
            if there is None and self.removal == "disable":
                self.lose("a removal", f"{words}: {name} was deleted")
            if there is not None and there.uid != was.uid and name in wanted:
                self.lose("a removal", f"{words}: {name} has another account")
            if name in wanted and there is not None:
                gone = before.groups_of(name) - after.groups_of(name)
                if gone & wanted[name].groups:
                    self.lose("a removal", f"{words}: {name} left {sorted(gone)}")
        for name, there in after.accounts.items():
            if name in self.strangers:
                continue
            if name not in before.accounts and name not in wanted:
                self.lose("a create", f"{words}: {name} got an account")
            if there.nickname not in {None, "", name, *self.club.titles.get(name, ())}:
                self.lose("a nickname", f"{words}: {name} is called {there.nickname}")
        keys = Counter(one.key for one in after.accounts.values() if one.key)
        if twice := [key for key, count in keys.items() if count > 1]:
            self.lose("twice", f"{words}: {twice}")
        self._records(words, after)

    def _records(self, words: tuple[str, ...], after: Truth) -> None:
        """Whose account is whose is never mistaken."""
        rows = self.rows(
            "SELECT accounts.*, username FROM accounts JOIN users ON users.id = user_id"
            " WHERE uid IS NOT NULL"
        )
        by_uid = {one.uid: (name, one) for name, one in after.accounts.items()}
        for uid, count in Counter(row["uid"] for row in rows).items():
            if count > 1:
                self.lose("taken over", f"{words}: {count} users have {uid}")
        for row in rows:
            name, there = by_uid.get(row["uid"], (None, None))
            if there is None or name is None:
                continue
            if name != row["username"] or name in self.strangers:
                self.lose("taken over", f"{words}: {row['username']} has {name}")
            if there.key not in (None, f"svcctl:{row['user_id']}"):
                self.lose("taken over", f"{words}: {row['username']} has {there.key}")

    def differences(self, truth: Truth) -> Iterator[str]:
        """Where what is there is not what is wanted."""
        wanted = self.club.wanted()
        for name, want in wanted.items():
            if name in self.conflicts:
                continue
            there = truth.accounts.get(name)
            if there is None or not there.active:
                yield f"{name} has no account"
                continue
            if truth.groups_of(name) & set(GROUPS.values()) != want.groups:
                yield f"{name} is in {sorted(truth.groups_of(name))}, not in {sorted(want.groups)}"
            if there.nickname != want.nickname:
                yield f"{name} is called {there.nickname}, not {want.nickname}"
        for name, there in truth.accounts.items():
            if name not in wanted and name not in self.strangers:
                if self.removal == "delete":
                    yield f"{name} has an account still"
                elif there.active:
                    yield f"{name} is active still"

    # A trial

    def live(self, dice: random.Random) -> None:
        """Rounds with faults."""
        for _ in range(dice.randint(2, 4)):
            self.club.live()
            self.source.tell(self.club.present.values())
            self._by_hand(dice)
            self.trouble.chance = dice.choice((0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.9))
            if isinstance(self.source, far.CsvSource) or dice.random() < 0.7:
                self.run("directory", "pull")
            for _ in range(dice.randint(1, 3)):
                if dice.random() < 0.6:
                    self.age()
                self.run(*dice.choices(list(COMMANDS), list(COMMANDS.values()))[0])

    def _by_hand(self, dice: random.Random) -> None:
        """An administrator gives a group of the service's own to somebody of ours."""
        truth = self.service.truth()
        ours = sorted(truth.accounts.keys() - self.strangers)
        if ours and dice.random() < 0.5:
            name = dice.choice(ours)
            if name not in truth.groups.get("theirs", ()):
                self.service.give(name, "theirs")
                self.hand.append((truth.accounts[name].uid, name, "theirs"))

    def settle(self) -> None:
        """The faults are over: everything is to come right."""
        self.trouble.chance = 0.0
        syncs, settled = 0, False
        while not settled and syncs < SETTLE:
            syncs += 1
            self.age()
            self.run("directory", "pull")
            code, out, err = self.run("sync", "--all", "--json")
            report: Any = json.loads(out) if out else {"operations": [], "problems": [err]}
            left = [one for one in report["operations"] if one["user"] not in self.conflicts]
            settled = not left and code == (1 if self._in_conflict() else 0)
        self.tally.rounds[syncs] += 1
        truth = self.service.truth()
        unknown = self.rows(
            "SELECT username FROM operations JOIN users ON users.id = user_id"
            " WHERE status = 'unknown'"
        )
        self.tally.unknown += len(unknown)
        doubtful = {row["username"] for row in unknown}
        for problem in self.differences(truth):
            if problem.split()[0] not in doubtful:
                self.lose("did not settle", problem)
        if not settled:
            self.lose("did not settle", f"{code} {left}")
        checked, out, err = self.run("db", "check")
        if checked:
            self.lose("db check", out + err)

    def _in_conflict(self) -> bool:
        return bool(self.conflicts & self.club.wanted().keys())
