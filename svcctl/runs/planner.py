"""Planning: ask hooks for operations about everybody who is selected.

Nothing is written here, to no service and no database.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from svcctl.clock import stamp
from svcctl.errors import ExitCode, HookError, Incomplete, Invalid, SvcctlError
from svcctl.hooks.contract import ServiceHook, defect, keeps_default
from svcctl.hooks.decide import checked, decide
from svcctl.hooks.manager import Manager, RemoteAccount
from svcctl.model import (
    Account,
    AccountStatus,
    Operation,
    UndoPin,
    User,
    Verb,
    effect,
    names_to_json,
)
from svcctl.runs import pins
from svcctl.runs.listing import listed, unlisted, with_groups
from svcctl.runs.plan import Plan, PlannedAccount, Problem, undecided
from svcctl.runs.sieve import Sieve, Wants, default_policy
from svcctl.store import accounts as account_rows
from svcctl.store.census import AccessRule, group_names, stream, validate_candidates
from svcctl.store.chunks import chunks
from svcctl.store.database import Connection
from svcctl.tasks.task import Task, of_pipelines
from svcctl.tripwire import allowed


class Planner:
    """Plans one task for some users (None: everybody) on some hooks."""

    def __init__(
        self,
        connection: Connection,
        task: Task,
        users: frozenset[int] | None,
        hooks: Mapping[str, ServiceHook],
        *,
        protected: frozenset[str] = frozenset(),
        states: Mapping[int, str] | None = None,
        accounts: Mapping[int, Account] | None = None,
        undo_pins: Mapping[int, UndoPin] | None = None,
        unsettled: frozenset[int] = frozenset(),
        only: frozenset[int] | None = None,
        actor: str = "",
        progress: Callable[[int], None] = lambda _: None,
        shortcuts: bool = True,
    ) -> None:
        """What to look at, besides the database.

        `accounts` and `undo_pins`: what verification found, by row id, for a dry run. `unsettled`:
        nothing may be planned for these (held or unknown). `only`: nothing for others. `states`:
        see `stream`.
        """
        self.connection = connection
        self.task = task
        self.users = users
        self.hooks = hooks
        self.protected = protected
        self.states = states or None
        self.known = accounts or {}
        self.unsettled = unsettled
        self.only = only
        self.actor = actor
        self.progress = progress
        self.shortcuts = shortcuts
        self.verified_pins = undo_pins
        self.pins = pins.Pins()
        moments = [hook.now for hook in hooks.values()]
        self.plan = Plan(task, stamp(max(moments)) if moments else stamp())

    def make(self, managers: Callable[[str], Manager] | None = None) -> Plan:
        """The whole plan. `managers` is asked only for tasks that look at the remote."""
        self.plan.evaluated.update(self.hooks)
        self.pins = pins.look(
            self.connection, self.hooks, self.users, self.states, self.verified_pins
        )
        self.plan.released.update(self.pins.ended)
        streamed: dict[str, ServiceHook] = {}
        for name, hook in self.hooks.items():
            if self.task.remote == "list":
                assert managers is not None
                self._plan_remote(hook, managers)
            elif self._has_candidates(hook):
                self._plan_candidates(hook)
            else:
                streamed[name] = hook
        if streamed:
            self._plan_stream(streamed)
        self._refuse_collisions()
        return self.plan

    # The three ways through the accounts

    def _has_candidates(self, hook: ServiceHook) -> bool:
        return (
            self.shortcuts
            and self.task.sieve == {"validate"}
            and self.users is None
            and self.states is None
            and not self.known
            and default_policy(hook, self.task.sieve)
        )

    def _plan_candidates(self, hook: ServiceHook) -> None:
        access = hook.config.access
        removal = hook.removal
        grace_until = None
        if removal.delete_after is not None:
            with suppress(OverflowError):  # longer ago than the calendar reaches: for ever
                grace_until = stamp(hook.now - removal.delete_after)
        ids = validate_candidates(
            self.connection,
            hook.name,
            AccessRule(access.states, access.groups, access.users),
            grace_until=grace_until,
            graceless=removal.mode == "delete",
        )
        for chunk in chunks(ids, 2000):
            for user, rows in stream(
                self.connection, frozenset(chunk), (hook.name,), states=self.states
            ):
                self._ask(hook, user, rows[0] if rows else None)

    def _plan_stream(self, hooks: Mapping[str, ServiceHook]) -> None:
        sieves = self._sieves(hooks)
        ask_absent = self.task.decides_access
        for count, (user, rows) in enumerate(
            stream(self.connection, self.users, tuple(hooks), states=self.states), 1
        ):
            if count % 5000 == 0:
                self.progress(count)
            wants = Wants(user)
            for row in rows:
                sieve = sieves[row[1]]
                if sieve is None or not sieve.settled(row, wants[sieve]):
                    self._ask(hooks[row[1]], user, row)
            if ask_absent and len(rows) < len(hooks):
                present = {row[1] for row in rows}
                for name, hook in hooks.items():
                    sieve = sieves[name]
                    if name not in present and (
                        sieve is None or not sieve.settled(None, wants[sieve])
                    ):
                        self._ask(hook, user, None)

    def _sieves(self, hooks: Mapping[str, ServiceHook]) -> dict[str, Sieve | None]:
        """A sieve for each hook that keeps the default policy, None for the others."""
        shared: dict[tuple[object, ...], Sieve] = {}
        found: dict[str, Sieve | None] = {}
        for name, hook in hooks.items():
            found[name] = None
            if (
                self.shortcuts
                and self.task.sieve
                and not self.known
                and default_policy(hook, self.task.sieve)
            ):
                sieve = Sieve(hook, self.task.sieve)
                found[name] = shared.setdefault(sieve.shared_with(), sieve)
        return found

    def _plan_remote(self, hook: ServiceHook, managers: Callable[[str], Manager]) -> None:
        """Accounts as the service lists them, page by page, as the base of update_all_groups."""
        seen: set[int] = set()
        observed: dict[int, frozenset[str]] = {}
        managed = managed_groups(self.connection, hook)
        default = keeps_default(hook, "update_all_groups")
        sieve = None
        if self.shortcuts and default and default_policy(hook, self.task.sieve):
            sieve = Sieve(hook, self.task.sieve)
        pairs: list[tuple[User, Account]] = []
        try:
            with allowed():
                manager = managers(hook.name)
            for page in listed(manager):
                pairs.extend(self._matched(hook, manager, page, managed, seen, observed, sieve))
                if default:
                    for user, account in pairs:
                        self._plan_account(hook, user, account, self.task.decide)
                    pairs.clear()
            if pairs:
                self._plan_together(hook, pairs)
        except SvcctlError as error:
            self.plan.drop(hook.name)
            self.plan.problems.append(unlisted(hook.name, error))
            return
        self.plan.observed.update(observed)
        for one in account_rows.live(self.connection, hook.name):
            chosen = self.users is None or one.user_id in self.users
            if chosen and one.status == AccountStatus.ACTIVE and one.id not in seen:
                self.plan.missing.append((hook.name, one.username, one.name))

    def _matched(
        self,
        hook: ServiceHook,
        manager: Manager,
        page: Sequence[RemoteAccount],
        managed: frozenset[str],
        seen: set[int],
        observed: dict[int, frozenset[str]],
        sieve: Sieve | None,
    ) -> Iterator[tuple[User, Account]]:
        """Our accounts with the groups that are there, less those of which the sieve can tell."""
        uids = [remote.uid for remote in page]
        ours = account_rows.rows_by_uid(self.connection, hook.name, uids)
        # Pages shift while they are read: an account may be listed again.
        people = {
            row[0]: row
            for row in ours.values()
            if row[2] not in self.unsettled and row[2] not in seen
        }
        seen.update(row[2] for row in ours.values())
        if not people:
            return
        known = with_groups(manager, [remote for remote in page if remote.uid in ours])
        remotes = {remote.uid: remote for remote in known}
        chosen = frozenset(people) if self.users is None else self.users & frozenset(people)
        for user, _ in stream(self.connection, chosen, (), states=self.states):
            row = people[user.id]
            shown = remotes[row[4]].groups
            if shown is None:
                raise Incomplete(f"{hook.name} does not say who is in which group")
            as_known = sieve is not None and names_to_json(shown & managed) == row[6]
            if sieve and as_known and sieve.settled(row, sieve.wants(user)):
                continue
            account = account_rows.from_row(row)
            real = shown & (managed | account.groups)
            if real != account.groups:
                assert account.id is not None
                observed[account.id] = real
                account = replace(account, groups=real)
            yield user, account

    def _plan_together(self, hook: ServiceHook, pairs: list[tuple[User, Account]]) -> None:
        """An overridden update_all_groups sees all users at once."""
        view = hook._accounts  # noqa: SLF001
        view.clear()
        before = {user.id: account for user, account in pairs}
        names = {user.id: user.username for user, _ in pairs}
        view.update(before)
        found: dict[int, list[Operation]] = {}
        try:
            for operation in checked(hook, hook.update_all_groups([user for user, _ in pairs])):
                view[operation.user_id] = effect(view[operation.user_id], operation)
                found.setdefault(operation.user_id, []).append(operation)
        except KeyError as error:
            raise HookError(
                f"services.{hook.name}: update_all_groups yielded an operation for user {error}",
                hint="only the users given have an account here",
            ) from error
        except SvcctlError:
            raise
        except Exception as error:
            raise defect(hook, error) from error
        finally:
            view.clear()
        for user_id, operations in found.items():
            self._keep(hook, names[user_id], before[user_id], tuple(operations))

    # One account

    def _ask(self, hook: ServiceHook, user: User, row: tuple[Any, ...] | None) -> None:
        if self.only is not None and (row is None or row[2] not in self.only):
            return
        if row is None:
            account = Account(service=hook.name, user_id=user.id)
        else:
            account = account_rows.from_row(row)
            assert account.id is not None
            account = self.known.get(account.id, account)
            if account.id in self.unsettled:
                self.plan.notes.append(
                    Problem(
                        hook.name,
                        "left alone: an earlier operation is held or unknown",
                        ExitCode.OK,
                        user.username,
                    )
                )
                return
        self._plan_account(hook, user, account, self.task.decide)

    def _plan_account(
        self,
        hook: ServiceHook,
        user: User,
        account: Account,
        decision: Callable[[ServiceHook, User], Iterable[Operation]],
    ) -> None:
        try:
            if operations := decide(hook, user, account, decision, at=self.plan.at):
                self._keep(hook, user.username, account, operations, user)
        except Exception as error:  # noqa: BLE001 - a hook is foreign code; one user never stops the rest
            self.plan.problems.append(undecided(hook.name, user.username, error))

    def _keep(
        self,
        hook: ServiceHook,
        username: str,
        account: Account,
        operations: tuple[Operation, ...],
        user: User | None = None,
    ) -> None:
        if not self.task.undoes and (not self.task.on_purpose or self.task.limited):
            operations = self.pins.allowed(account, operations, asked_for=self.task.on_purpose)
            if not operations:
                self._pinned(hook, username, account)
                return
        planned = PlannedAccount(account, username, operations)
        planned.removal = _removes(planned, self.plan.at)
        # An account that is absent and pinned is only created at an operator's word.
        planned.pin = None if operations[0].verb is Verb.CREATE else account.pin
        if planned.removal and username in self.protected | hook.config.protected:
            planned.verdict = "skipped"
            planned.because = "the user is protected here"
            self._spare(hook, planned)
        if self.task.undoes and user is not None:
            self._keep_undone(hook, user, planned)
        elif self.task.on_purpose and user is not None:
            planned.counted = self.task.limited
            if not self.task.limited or of_pipelines(account.pin):
                planned.pin = self._pin(hook, user, planned)
        if planned.undo_pin is None and self.task.on_purpose:
            planned.unpins = account.id in self.pins.standing
        self.plan.accounts.append(planned)

    def _pinned(self, hook: ServiceHook, username: str, account: Account) -> None:
        assert account.id is not None
        by = self.pins.standing[account.id].by
        note = f"left as it was put back: {by}"
        self.plan.notes.append(Problem(hook.name, note, ExitCode.OK, username))

    def _keep_undone(self, hook: ServiceHook, user: User, planned: PlannedAccount) -> None:
        """Pin what is put back where the next run would only do it again."""
        *_, (_, _, left) = planned.steps(self.plan.at)
        if not pins.needed(hook, user, replace(left, pin=None), at=self.plan.at):
            return
        before = self.pins.standing.get(planned.account.id or 0)
        planned.undo_pin = UndoPin(
            f"{self.task.name} by {self.actor}",
            pins.basis(hook, user),
            before.keeps if before else frozenset(),
        )

    def _spare(self, hook: ServiceHook, planned: PlannedAccount) -> None:
        """Say that a removal is not done; to an operator who wants it, as a failure."""
        if not self.task.on_purpose:
            note = Problem(hook.name, planned.because, ExitCode.OK, planned.username)
            self.plan.notes.append(note)
            return
        place = (
            "protected" if planned.username in self.protected else f"services.{hook.name}.protected"
        )
        self.plan.problems.append(
            Problem(
                hook.name,
                f"not done: {planned.because}",
                ExitCode.FAILED,
                planned.username,
                f"if it is meant, take the name out of {place} in the configuration first",
            )
        )

    def _pin(self, hook: ServiceHook, user: User, planned: PlannedAccount) -> str | None:
        """Fix what an operator did where the policy would undo it on the next run."""
        wanted = hook.service_active_for_user(user)
        if planned.removal:
            return f"{self.task.name} by {self.actor}" if wanted else None
        return None if wanted else f"{self.task.name} by {self.actor}"

    # Names

    def _refuse_collisions(self) -> None:
        """Two users whose names come out alike on a service: a conflict, never a takeover."""
        creates: dict[str, dict[str, list[PlannedAccount]]] = {}
        for planned in self.plan.accounts:
            first = planned.operations[0]
            if first.verb is Verb.CREATE:
                rule = self.hooks[planned.account.service].username_rule
                key = rule.key(first.args["name"])
                creates.setdefault(planned.account.service, {}).setdefault(key, []).append(planned)
        refused: dict[int, str] = {}
        for service, by_key in creates.items():
            taken = account_rows.live_names(self.connection, service, by_key)
            for key, group in by_key.items():
                holder = taken.get(key)
                for planned in group:
                    others = [other.username for other in group if other is not planned]
                    if holder is not None:
                        others.append(holder[1])
                    if others:
                        name = planned.operations[0].args["name"]
                        refused[id(planned)] = (
                            f"the name {name!r} would be the same as that of {', '.join(others)}"
                        )
        if not refused:
            return
        for planned in self.plan.accounts:
            if id(planned) in refused:
                self.plan.problems.append(
                    Problem(
                        planned.account.service,
                        refused[id(planned)],
                        ExitCode.FAILED,
                        planned.username,
                        "give one of them another username, or link the account that is meant",
                    )
                )
        self.plan.accounts = [p for p in self.plan.accounts if id(p) not in refused]


def _removes(planned: PlannedAccount, at: str) -> bool:
    for operation, before, after in planned.steps(at):
        if operation.verb in (Verb.DISABLE, Verb.DELETE):
            return True
        if operation.verb is Verb.CHANGE_GROUPS and before.groups and not after.groups:
            return True
    return False


def managed_groups(connection: Connection, hook: ServiceHook) -> frozenset[str]:
    """The remote groups that svcctl may add and remove on the service."""
    sources = set(group_names(connection).values())
    sources.update(hook.config.groups.map)
    if hook.config.groups.state:
        sources.update(hook.config.access.states)
    names: set[str] = set()
    for group in sources:
        with suppress(Invalid):  # a name that the service cannot have stands for none
            names.update(hook.group_names(group))
    return frozenset(names)
