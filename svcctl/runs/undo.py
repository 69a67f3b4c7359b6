"""Undo: what a run really changed becomes the plan of the inverse, or the reason why it cannot.

Newest first within an account. What made an account decides for all that the run did to it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import attrgetter
from typing import Any

from svcctl.errors import ExitCode
from svcctl.hooks.contract import ServiceHook
from svcctl.model import (
    Account,
    Operation,
    OperationStatus,
    RecordVerb,
    Verb,
    effect,
)
from svcctl.runs.plan import Plan, Problem
from svcctl.runs.recover import Verified
from svcctl.store import accounts as account_rows
from svcctl.store import undo as rows
from svcctl.store.database import Connection
from svcctl.store.undo import WHOLE, Deed
from svcctl.tasks.task import Inverse, Task, undo

_BACK = {"active": Verb.ENABLE, "disabled": Verb.DISABLE}
_ACCESS = frozenset({"status", WHOLE})


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which run to undo. accounts: row ids, None for all of the run's; services: likewise."""

    run_id: int
    accounts: frozenset[int] | None = None
    services: frozenset[str] | None = None


@dataclass(slots=True)
class Undoing:
    """What of a run can be undone, by service and user, and what is to be said of the rest.

    first: to be said before anything is done. pins: what an account's pin was before the run that
    set it, by row id.
    """

    inverses: dict[tuple[str, int], tuple[Inverse, ...]] = field(default_factory=dict)
    accounts: set[int] = field(default_factory=set)
    first: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    pins: dict[int, str | None] = field(default_factory=dict)

    def task(self, name: str) -> Task:
        return undo(name, self.inverses)

    def tell(self, plan: Plan) -> None:
        """What is to be said goes into the plan, and the pins of what is undone with their run."""
        plan.first.extend(self.first)
        plan.notes.extend(self.notes)
        for planned in plan.accounts:
            if planned.account.id in self.pins:
                planned.pin = self.pins[planned.account.id]

    @property
    def users(self) -> frozenset[int]:
        return frozenset(user_id for _, user_id in self.inverses)


class Refused(Exception):
    """Why an operation is not undone: the message, and what can be done instead."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Needless(Refused):
    """There is nothing to undo, and nothing wrong with that."""


def survey(
    connection: Connection,
    wanted: Wanted,
    hooks: Mapping[str, ServiceHook],
    configured: Iterable[str],
    verified: Verified,
    unsettled: frozenset[int],
) -> Undoing:
    """Look at everything that the run did. `verified`: what was found that is not written yet.

    Services without a hook that are `configured` were told of already: they are left out here.
    """
    found = Undoing()
    known = frozenset(configured)
    deeds = [
        deed
        for deed in _as_verified(rows.of_run(connection, wanted.run_id), verified)
        if (wanted.accounts is None or deed.account_id in wanted.accounts)
        and (wanted.services is None or deed.service in wanted.services)
        and (deed.service in hooks or deed.service not in known)
    ]
    done = [deed for deed in deeds if deed.done]
    _tell_open(found, wanted, deeds)
    accounts = account_rows.by_id(connection, {deed.account_id for deed in done})
    accounts.update({id_: one for id_, one in verified.accounts.items() if id_ in accounts})
    since = _Since(connection, done)
    order = attrgetter("service", "account_id")
    for (service, id_), some in groupby(sorted(done, key=order), order):
        mine = sorted(some, key=attrgetter("id"), reverse=True)
        if service not in hooks:
            _refuse(found, mine[0], Refused("the service is not configured any more"))
        elif id_ in unsettled:
            _refuse(found, mine[0], Refused("what was last done to it is not known yet"))
        else:
            _Account(found, hooks[service], accounts[id_], mine, since).survey()
    return found


def _as_verified(deeds: Iterable[Deed], verified: Verified) -> Iterator[Deed]:
    done = {row.id: (before, after) for row, before, after in verified.done}
    for deed in deeds:
        if deed.id in done:
            before, after = done[deed.id]
            yield replace(deed, status=OperationStatus.DONE.value, before=before, after=after)
        else:
            yield deed


def _tell_open(found: Undoing, wanted: Wanted, deeds: Iterable[Deed]) -> None:
    held: dict[str, int] = {}
    for deed in deeds:
        if deed.status == OperationStatus.HELD:
            held[deed.service] = held.get(deed.service, 0) + 1
        elif deed.status == OperationStatus.UNKNOWN:
            _refuse(
                found, deed, Refused("whether it was done is not known; a later run looks again")
            )
    for service, number in held.items():
        text = f"{number} operations are held, and stay so"
        hint = f"svcctl holds reject {wanted.run_id}"
        found.notes.append(Problem(service, text, ExitCode.OK, hint=hint))


def _refuse(found: Undoing, deed: Deed, why: Refused) -> None:
    if isinstance(why, Needless):
        note = Problem(deed.service, f"{deed.verb}: {why.message}", ExitCode.OK, deed.username)
        found.notes.append(note)
        return
    text = f"cannot undo {deed.verb}: {why.message}"
    found.first.append(Problem(deed.service, text, ExitCode.FAILED, deed.username, why.hint))


class _Since:
    """What was done to accounts after a run, and what of it was undone again."""

    def __init__(self, connection: Connection, done: Iterable[Deed]) -> None:
        self._by_id = {deed.id: deed for deed in done}
        self._after: dict[int, list[Deed]] = {}
        self._undone: dict[int, list[int]] = {}
        accounts = {deed.account_id for deed in self._by_id.values()}
        first = min(self._by_id, default=0)
        for later in rows.later(connection, accounts, first - 1):
            self._by_id.setdefault(later.id, later)
            self._after.setdefault(later.account_id, []).append(later)
        for deed in self._by_id.values():
            if deed.undo_of is not None:
                self._undone.setdefault(deed.undo_of, []).append(deed.id)

    def undone(self, id_: int) -> Deed | None:
        """What undid the operation, and was not undone itself."""
        for other in reversed(self._undone.get(id_, [])):
            if self.undone(other) is None:
                return self._by_id[other]
        return None

    def changed(self, deed: Deed) -> Deed | None:
        """What another run changed of the same since then, and nobody took back."""
        chains: dict[int, list[Deed]] = {}
        for later in self._after.get(deed.account_id, []):
            touches = bool(later.facets & deed.facets) or WHOLE in later.facets
            if later.id > deed.id and later.run_id != deed.run_id and touches:
                chains.setdefault(self._root(later), []).append(later)
        chains.pop(self._root(deed), None)
        # Of a chain each takes back the one before: an even number of them is nothing.
        standing = [chain[-1] for chain in chains.values() if len(chain) % 2]
        return max(standing, key=attrgetter("id"), default=None)

    def _root(self, deed: Deed) -> int:
        """What the chain of undos began with that the operation is in."""
        id_, before = deed.id, deed.undo_of
        while before is not None:
            id_ = before
            before = self._by_id[id_].undo_of if id_ in self._by_id else None
        return id_


class _Account:
    """One account: what the run did to it, newest first, taken back as far as it still stands."""

    def __init__(
        self,
        found: Undoing,
        hook: ServiceHook,
        account: Account,
        deeds: list[Deed],
        since: _Since,
    ) -> None:
        self.found = found
        self.hook = hook
        self.account = account
        self.deeds = deeds
        self.since = since
        # As it will be after what is taken back already.
        self.view = account

    def survey(self) -> None:
        deciding = next((deed for deed in self.deeds if deed.creates or deed.ends), None)
        inverses: list[Inverse] = []
        for deed in [deciding] if deciding else self.deeds:
            try:
                inverse = self._inverse(deed)
            except Refused as why:
                _refuse(self.found, deed, why)
                continue
            inverses.append(inverse)
            self._fold(inverse)
            if deed.facets & _ACCESS and self._our_pin is not None:
                assert self.account.id is not None
                self.found.pins[self.account.id] = self._our_pin.before["pin"]
        if inverses:
            assert self.account.id is not None
            self.found.inverses[self.hook.name, self.account.user_id] = tuple(inverses)
            self.found.accounts.add(self.account.id)

    @property
    def _our_pin(self) -> Deed | None:
        """What of the run pinned the account as it is pinned now."""
        for deed in self.deeds:
            if "pin" in deed.after and deed.after["pin"] == self.account.pin:
                return deed
        return None

    def _fold(self, inverse: Inverse) -> None:
        if inverse.verb is not None:
            self.view = effect(self.view, Operation(inverse.verb, 0, "", inverse.args))

    def _inverse(self, deed: Deed) -> Inverse:
        """What takes it back. Raises Refused."""
        name = self.hook.name
        if deed.verb in list(RecordVerb):
            raise _record(deed)
        if deed.verb == Verb.SET_PASSWORD:
            hint = f"svcctl accounts reset-password {deed.username} --service {name}"
            raise Refused("the password that was there before is not known", hint)
        if by := self.since.undone(deed.id):
            raise Needless(f"undone by run {by.run_id} already")
        if not deed.facets:
            raise Needless("it changed nothing")
        if deed.ends:
            raise _gone(deed)
        if later := self.since.changed(deed):
            raise _overtaken(deed, later)
        if deed.facets & _ACCESS and self.account.pin is not None and self._our_pin is None:
            raise Refused(
                f"the account is pinned: {self.account.pin}",
                f"svcctl accounts hold {deed.username} --service {name} --release",
            )
        reason = f"undo of {deed.verb} of run {deed.run_id}"
        verb, args = self._taken_back(deed)
        needs = verb or (Verb.DELETE if self.hook.removal.mode == "delete" else Verb.DISABLE)
        if not self.hook.can(needs):
            raise Refused(f"{self.hook.manager_class.__name__} cannot {needs.value}")
        return Inverse(deed.id, reason, verb, args)

    def _taken_back(self, deed: Deed) -> tuple[Verb | None, dict[str, Any]]:
        if deed.creates:
            self._require(self.account.uid == deed.after["uid"], "it is another account now")
            self._require(self.account.active, f"the account is {self.account.status.value}")
            if self.hook.removal.mode == "delete":
                self._warn(deed)
            return None, {}
        if "status" in deed.facets:
            self._require(
                self.view.status.value == deed.after["status"],
                f"the account is {self.view.status.value}",
            )
            verb = _BACK[deed.before["status"]]
            if verb is Verb.ENABLE and deed.user_gone:
                raise Refused("the user was removed from the directory")
            return verb, {}
        self._require(self.view.active, f"the account is {self.view.status.value}")
        if "nickname" in deed.facets:
            now = self.view.nickname
            self._require(now == deed.after["nickname"], f"the nickname is {now!r}")
            return Verb.SET_NICKNAME, {"nickname": deed.before["nickname"]}
        return Verb.CHANGE_GROUPS, self._groups(deed)

    def _groups(self, deed: Deed) -> dict[str, Any]:
        added, removed = deed.groups
        if reserved := sorted((added | removed) & self.hook.config.groups.reserved):
            raise Refused(f"{', '.join(reserved)} is reserved on the service")
        lost, back = sorted(added - self.view.groups), sorted(removed & self.view.groups)
        self._require(not lost, f"it is in {', '.join(lost)} no more")
        self._require(not back, f"it is in {', '.join(back)} again")
        return {"add": sorted(removed), "remove": sorted(added)}

    def _require(self, stands: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as a sentence
        if not stands:
            raise Refused(f"it is not as the run left it: {otherwise}")

    def _warn(self, deed: Deed) -> None:
        text = "the account is deleted for good, with whatever its user put there"
        hint = 'removal = "delete"; an undo of the undo could only create another account'
        self.found.first.append(Problem(self.hook.name, text, ExitCode.OK, deed.username, hint))


def _record(deed: Deed) -> Refused:
    if deed.verb == RecordVerb.LINK:
        hint = f"svcctl accounts unlink {deed.username} --service {deed.service}"
        return Refused("only our record was changed, nothing on the service", hint)
    if deed.verb == RecordVerb.UNLINK:
        uid = deed.before.get("uid")
        hint = f"svcctl accounts link {deed.username} --service {deed.service} --uid {uid}"
        return Refused("only our record was changed, nothing on the service", hint)
    return Needless("what the service showed was taken note of, and nothing changed there")


def _overtaken(deed: Deed, later: Deed) -> Refused:
    """Why there is nothing to take back, or what has to be taken back first."""
    if later.verb in list(RecordVerb):
        return Refused(f"{later.verb} of run {later.run_id} changed it since")
    if later.ends:
        text = f"the account is gone since run {later.run_id}"
        return Needless(text) if deed.creates else Refused(text)
    return Refused(
        f"{later.verb} of run {later.run_id} changed it since",
        f"undo that first: svcctl undo {later.run_id}",
    )


def _gone(deed: Deed) -> Refused:
    return Refused(
        "the account is gone for good; a new one would have another uid and nothing of the old one",
        f"svcctl accounts create {deed.username} --service {deed.service}",
    )
