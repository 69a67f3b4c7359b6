"""One service against our records of it: every account that it lists, and every one that it lacks.

The hook decides as in any run, about the account as the service shows it. What it would do is what
is wrong.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from svcctl.errors import ExitCode
from svcctl.hooks.contract import ServiceHook, keeps_default
from svcctl.hooks.decide import decide
from svcctl.hooks.manager import Manager, RemoteAccount
from svcctl.model import Account, AccountStatus, User, Verb, difference, effect, to_json
from svcctl.runs import pins
from svcctl.runs.finding import Finding, Kind
from svcctl.runs.lane import user_of
from svcctl.runs.listing import listed, with_groups
from svcctl.runs.plan import Problem, undecided
from svcctl.runs.planner import managed_groups
from svcctl.runs.records import as_shown
from svcctl.runs.sieve import Sieve, default_policy
from svcctl.store import accounts as account_rows
from svcctl.store.census import stream
from svcctl.store.database import Connection
from svcctl.store.people import names_of
from svcctl.tasks.task import AFTER_CHANGE

_SIEVED = frozenset({"validate", "groups", "nickname"})
_REMOVALS = frozenset({Verb.DISABLE, Verb.DELETE})


class Comparison:
    """The findings of one service, and how many accounts it listed and how many are linked.

    protected: users who never lose an account. states: see `stream`. at: the moment of the look.
    `problems` are users about whom the hook could not decide; `notes` what was not compared.
    """

    def __init__(
        self,
        connection: Connection,
        hook: ServiceHook,
        *,
        protected: frozenset[str],
        states: Mapping[int, str] | None,
        at: str,
    ) -> None:
        self.listed = 0
        self.linked = 0
        self.problems: list[Problem] = []
        self.notes: list[Problem] = []
        self._connection = connection
        self._hook = hook
        self._protected = protected | hook.config.protected
        self._states = states or None
        self._at = at
        self._managed = managed_groups(connection, hook)
        self._pins = pins.look(connection, {hook.name: hook}, None, states)
        self._sieve = Sieve(hook, _SIEVED) if default_policy(hook, _SIEVED) else None
        self._compares_groups = keeps_default(hook, "update_all_groups")
        if not self._compares_groups:
            self._note("groups are decided for everybody at once: svcctl update-all-groups -n")
        self._seen: set[int] = set()
        self._foreign: set[str] = set()

    def findings(self, manager: Manager) -> Iterator[Finding]:
        """Those of the listing first, then what it lacks. Raises ManagerError: believe none."""
        for page in listed(manager):
            uids = [remote.uid for remote in page]
            ours = account_rows.rows_by_uid(self._connection, self._hook.name, uids)
            yield from self._linked(manager, page, ours)
            yield from self._strange([remote for remote in page if remote.uid not in ours])
        yield from self._missing()

    # Accounts that are ours

    def _linked(
        self, manager: Manager, page: Sequence[RemoteAccount], ours: Mapping[str, Any]
    ) -> Iterator[Finding]:
        # Pages shift while they are read: an account may be listed again.
        known = {row[0]: row for row in ours.values() if row[2] not in self._seen}
        self._seen.update(row[2] for row in known.values())
        self.listed += len(known)
        self.linked += len(known)
        there = [remote for remote in page if remote.uid in ours]
        if self._compares_groups:
            there = with_groups(manager, there)
            if any(remote.groups is None for remote in there) and not self.notes:
                self._note("it does not say who is in which group: groups were not compared")
        remotes = {remote.uid: remote for remote in there}
        for user, _ in stream(self._connection, frozenset(known), (), states=self._states):
            row = known[user.id]
            remote = remotes[row[4]]
            try:
                if not self._settled(user, row, remote):
                    yield from self._compared(user, account_rows.from_row(row), remote)
            except Exception as error:  # noqa: BLE001 - a hook is foreign code; one user never stops the rest
                self.problems.append(undecided(self._hook.name, user.username, error))

    def _settled(self, user: User, row: Any, remote: RemoteAccount) -> bool:
        """Whether the service shows what we know, and it can be told unasked that this is right."""
        groups = nickname = None
        if self._compares_groups and remote.groups is not None:
            groups = to_json(remote.groups & self._managed)
        if remote.nickname is not None:
            nickname = remote.nickname
        return (
            self._sieve is not None
            and remote.active
            and row[3] == AccountStatus.ACTIVE
            and row[5] == remote.name
            and groups in (None, row[6])
            and nickname in (None, row[7])
            and self._sieve.settled(row, self._sieve.wants(user))
        )

    def _compared(self, user: User, account: Account, remote: RemoteAccount) -> list[Finding]:
        found = []
        # MediaWiki shows Ada where it was told ada: the same name, by the service's own rule.
        key = self._hook.username_rule.key
        if key(remote.name) != key(account.name):
            facets = ({"name": account.name}, {"name": remote.name})
            found.append(self._of(Kind.RENAMED, user, account, *facets))
        shown = as_shown(account, remote, self._managed, self._at)
        if account.disabled and shown.disabled:
            return found
        operations = self._pins.allowed(
            account, decide(self._hook, user, shown, AFTER_CHANGE.decide, at=self._at)
        )
        removal = next((one for one in operations if one.verb in _REMOVALS), None)
        intended = shown
        for operation in operations:
            intended = effect(intended, operation, at=self._at)
        intended = self._pins.as_kept(account, intended)
        if account.status is not shown.status:
            kind = Kind.ENABLED if shown.active else Kind.DISABLED
            reason = account.pin or (removal.reason if removal else "")
            found.append(self._of(kind, user, account, *_facet("status", account, shown), reason))
        elif removal is not None and user.username not in self._protected:
            facets = _facet("status", intended, shown)
            found.append(self._of(Kind.ORPHANED, user, account, *facets, removal.reason))
        if removal is not None:
            return found
        told = [Kind.GROUPS] if self._compares_groups and remote.groups is not None else []
        told += [Kind.NICKNAME] if remote.nickname is not None else []
        found += [
            self._of(kind, user, account, *_facet(kind, intended, shown))
            for kind in told
            if getattr(intended, kind) != getattr(shown, kind)
        ]
        return found

    # Accounts that are not linked

    def _strange(self, remotes: Iterable[RemoteAccount]) -> Iterator[Finding]:
        fresh = {remote.uid: remote for remote in remotes if remote.uid not in self._foreign}
        self._foreign.update(fresh)
        self.listed += len(fresh)
        keyed = {
            uid: user_id
            for uid, remote in fresh.items()
            if (user_id := user_of(remote.external_id)) is not None
        }
        names = names_of(self._connection, set(keyed.values()))
        where = {"service": self._hook.name, "user_id": sorted(names)}
        records = account_rows.find(self._connection, **where) if names else []
        mine = {account.user_id: account for account in records}
        for uid, remote in fresh.items():
            user = names.get(keyed.get(uid, 0))
            account = mine.get(keyed.get(uid, 0))
            kind, reason = Kind.FOREIGN, "" if remote.active else "disabled there"
            if user and account and not account.absent:
                reason = f"has svcctl's key of {user}, whose account is {account.name}"
            elif user and account and account.pin:
                reason = f"has svcctl's key of {user}: {account.pin}"
            elif user:
                kind, reason = Kind.UNLINKED, ""
            shown = {"status": "active" if remote.active else "disabled"}
            if remote.external_id:
                shown["external_id"] = remote.external_id
            yield Finding(self._hook.name, kind, user, remote.name, uid, found=shown, reason=reason)

    def _missing(self) -> Iterator[Finding]:
        for one in account_rows.live(self._connection, self._hook.name):
            if one.id not in self._seen:
                expected = {"status": one.status}
                yield Finding(
                    self._hook.name, Kind.MISSING, one.username, one.name, one.uid, expected
                )

    def _of(
        self,
        kind: Kind,
        user: User,
        account: Account,
        expected: dict[str, Any],
        found: dict[str, Any],
        reason: str = "",
    ) -> Finding:
        return Finding(
            self._hook.name,
            kind,
            user.username,
            account.name,
            account.uid,
            expected,
            found,
            reason,
            account.pin is not None,
        )

    def _note(self, message: str) -> None:
        self.notes.append(Problem(self._hook.name, message, ExitCode.OK))


def _facet(name: str, expected: Account, found: Account) -> tuple[dict[str, Any], dict[str, Any]]:
    """One field of both, in JSON's types."""
    wanted, there = difference(expected, found)
    return {name: wanted[name]}, {name: there[name]}
