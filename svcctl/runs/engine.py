"""One run from end to end: lock, verify, plan, guard, journal, apply, report."""

import getpass
import os
import queue
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Self

from svcctl.clock import stamp
from svcctl.config.settings import Settings
from svcctl.errors import ExitCode, ManagerError, SvcctlError, UsageError
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import Manager
from svcctl.hooks.registry import Hooks, build_manager
from svcctl.locks import Locks
from svcctl.model import OperationStatus
from svcctl.runs import journal as journals
from svcctl.runs import logbook, metrics, notices, recover
from svcctl.runs.apply import Applied, Writer
from svcctl.runs.binding import Binding, bind, moved, moved_hooks, moved_site, versions
from svcctl.runs.guard import Held, guard
from svcctl.runs.lane import Lane, Result, Stop
from svcctl.runs.look import look
from svcctl.runs.plan import Plan, Problem
from svcctl.runs.planner import Planner
from svcctl.runs.report import Report
from svcctl.runs.unchanged import leave_changed
from svcctl.runs.undo import Wanted, survey
from svcctl.store import operations as operation_rows
from svcctl.store import runs as run_rows
from svcctl.store.census import Selection, resolve
from svcctl.store.database import Connection, Database
from svcctl.store.standing import refresh_states, stale_states, stored_rules
from svcctl.tasks.task import Task
from svcctl.tripwire import allowed, tripwire


@dataclass(frozen=True, slots=True)
class Site:
    """What a run is about: the settings, the database and the hooks that were loaded."""

    settings: Settings
    database: Database
    hooks: Hooks


def current_actor() -> str:
    """Who is at work: the login name, and who used sudo to become it."""
    try:
        login = getpass.getuser()
    except (KeyError, OSError):
        login = f"uid {os.getuid()}"
    before = os.environ.get("SUDO_USER")
    return f"{before} as {login}" if before and before != login else login


@dataclass(frozen=True, slots=True)
class Options:
    """How a run is to go.

    max_runtime and lock_timeout are in seconds. accept_removals: see `guard`. approved: account
    row ids. only: nothing is planned for accounts with other row ids. force: earlier failures'
    back-off does not count. passwords: (service, username) -> new password, in memory only.
    confirm: asked when the plan is complete, before anything is written. look: ask the services
    what they show of the planned accounts, for a plan that is to bind. bound: what such a plan
    binds; when anything is different now, nothing is done. undo: the run whose operations are to be
    taken back; the task is made of them, and the selection does not matter. first: told what is to
    be known before anything is done, also in a dry run.
    """

    dry_run: bool = False
    command: str = ""
    actor: str = field(default_factory=current_actor)
    accept_removals: int = 0
    approved: frozenset[int] = frozenset()
    only: frozenset[int] | None = None
    max_runtime: float | None = None
    lock_timeout: float = 0.0
    force: bool = False
    look: bool = False
    bound: Binding | None = None
    undo: Wanted | None = None
    passwords: Mapping[tuple[str, str], str] = field(default_factory=dict, repr=False)
    first: Callable[[list[Problem]], None] = lambda _: None
    confirm: Callable[[Plan], bool] = lambda _: True
    planning: Callable[[int], None] = lambda _: None
    applying: Callable[[int], None] = lambda _: None
    progress: Callable[[Applied], None] = lambda _: None
    shortcuts: bool = True


def run(
    site: Site,
    task: Task,
    selection: Selection,
    services: Iterable[str] | None = None,
    options: Options | None = None,
    *,
    connection: Connection | None = None,
) -> Report:
    """Plan the task for the selection, and unless it is a dry run, apply it.

    services: their names; None for all that are configured. connection: a transaction to plan in,
    for the dry run of a directory change that is rolled back afterwards.
    Raises UsageError for services that do not exist or cannot do what is asked.
    """
    options = options or Options()
    try:
        with _Run(site, task, selection, options) as one:
            outdated = one.outdated(services)
            if options.dry_run:
                return outdated or one.rehearse(connection)
            report = outdated or one.perform()
    except SvcctlError as error:
        if not options.dry_run:
            notices.tell_stopped(site, options.command or task.name, error)
            metrics.refresh(site.settings, site.database)
        raise
    # The locks are free by now: a slow mail server keeps no other run waiting.
    with until_signal(one.stop):
        notices.tell(site, report, everybody=one.everybody, stop=one.stop)
        problem = metrics.refresh(site.settings, site.database)
    if problem is not None:
        report.problems.append(problem)
    logbook.ended(report)
    return report


class _Run:
    def __init__(self, site: Site, task: Task, selection: Selection, options: Options) -> None:
        self.site = site
        self.task = task
        self.selection = selection
        self.options = options
        self.only = options.only
        self.hooks: dict[str, ServiceHook] = {}
        self.chosen: dict[str, ServiceHook] = {}
        self.users: frozenset[int] | None = None
        self.problems: list[Problem] = []
        self.notes: list[Problem] = []
        self.managers: dict[str, Manager] = {}
        deadline = None
        if options.max_runtime is not None:
            deadline = time.monotonic() + options.max_runtime
        self.stop = Stop(deadline)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for manager in self.managers.values():
            with suppress(Exception):  # foreign code, and everything is recorded by now
                manager.close()
        self._stack.close()

    @property
    def everybody(self) -> bool:
        return self.selection.everybody and self.options.only is None

    def manager(self, service: str) -> Manager:
        """The service's manager, built when first asked for."""
        if service not in self.managers:
            self.managers[service] = build_manager(self.hooks[service])
        return self.managers[service]

    def choose(self, services: Iterable[str] | None) -> None:
        configured = self.site.settings.services
        asked = None if services is None else list(dict.fromkeys(services))
        for name in asked or ():
            if name not in configured:
                known = ", ".join(sorted(configured)) or "none"
                raise UsageError(f"no service {name!r}", hint=f"configured: {known}")
        for name in configured if asked is None else asked:
            if name in self.site.hooks.failed:
                error = self.site.hooks.failed[name]
                self.problems.append(Problem(name, error.message, ExitCode.CONFIG, hint=error.hint))
                continue
            hook = self.site.hooks.loaded[name]
            lacking = next((verb for verb in self.task.needs if not hook.can(verb)), None)
            if self.task.remote == "list" and not hook.can("list_accounts"):
                lacking = lacking or "list_accounts"  # type: ignore[assignment]
            if lacking is None:
                self.hooks[name] = hook
            elif asked is not None:
                raise UsageError(
                    f"services.{name}: {hook.manager_class.__name__} cannot {lacking}",
                    hint=f"{self.task.name} needs it; see: svcctl services list",
                )

    # A plan that binds

    def outdated(self, services: Iterable[str] | None) -> Report | None:
        """Choose the services; a report if a plan that binds was made under other rules."""
        bound = self.options.bound
        differences = moved_site(bound, self.site.settings.fingerprint()) if bound else []
        if not differences:
            self.choose(services)
            self.chosen = dict(self.hooks)
            differences = moved_hooks(bound, versions(self.hooks)) if bound else []
        if not differences:
            return None
        report = self._report(Plan(self.task, stamp()), [])
        report.differences = differences
        report.declined = True
        return report

    def _bind(self, report: Report) -> None:
        """Look at the planned accounts, and decline what is not as a plan that binds says."""
        if not self.options.look:
            return
        shown, unseen = look(report.plan, self.hooks, self.manager, self.stop)
        known = (*report.problems, *report.plan.problems)
        report.problems.extend(unseen)
        if unseen or self.stop.asked():
            report.declined = True
            return
        report.binding = now = bind(
            self.site.settings.fingerprint(), self.chosen, report.plan, shown, known
        )
        bound = self.options.bound
        if bound is None:
            return
        if now.troubled - bound.troubled:
            report.declined = True
            return
        report.differences = moved(bound, now, (*known, *report.notes))
        report.declined = bool(report.differences)

    # A dry run

    def rehearse(self, connection: Connection | None) -> Report:
        with ExitStack() as stack:
            if connection is None:
                connection = stack.enter_context(self.site.database.read())
            self._leave_out_paused(connection)
            unfinished = operation_rows.unfinished(connection, self.hooks)
            with tripwire("a dry run"):
                with allowed():
                    verified = recover.verify(
                        connection, unfinished, self.hooks, self.manager, self.stop
                    )
                states = stale_states(connection, self.site.settings.state_rules())
                plan = self._plan(connection, unfinished, verified, states)
            self._look_back(plan)
            held = self._guard(connection, plan)
        report = self._report(plan, held)
        report.deferred = journals.not_due(
            plan, verified.rest(unfinished), force=self.options.force
        )
        report.problems = [*self.problems, *verified.problems]
        report.notes = [*self.notes, *plan.notes]
        report.verified = _told(verified)
        self._bind(report)
        if self.stop.asked():
            report.stopped = self.stop.code
        return report

    def _report(self, plan: Plan, held: list[Held]) -> Report:
        command = self.options.command or self.task.name
        return Report(command, dry_run=self.options.dry_run, plan=plan, held=held)

    # The real thing

    def perform(self) -> Report:
        with until_signal(self.stop):
            self._lock()
            unfinished, verified = self._verify()
            states = None
            if self.options.bound is None:
                self._refresh_states()
            with self.site.database.read() as connection:
                if verified:
                    unfinished = operation_rows.unfinished(connection, self.hooks)
                if self.options.bound is not None:
                    states = stale_states(connection, self.site.settings.state_rules())
                with tripwire("planning"):
                    plan = self._plan(connection, unfinished, verified, states)
                self._look_back(plan)
                held = self._guard(connection, plan)
            report = self._report(plan, held)
            report.problems = [*self.problems, *verified.problems]
            report.notes = [*self.notes, *plan.notes]
            report.verified = _told(verified)
            self._bind(report)
            if self.stop.asked():
                report.stopped = self.stop.code
                report.declined = True
            elif not report.declined and not self.options.confirm(plan):
                report.declined = report.refused = True
            if report.declined:
                return report
            if self.options.bound is not None:
                self._refresh_states()
            self._apply(report, unfinished, verified)
        return report

    def _lock(self) -> None:
        locks = self._stack.enter_context(
            Locks(
                self.site.database,
                timeout=self.options.lock_timeout,
                holder=self.options.command or self.task.name,
            )
        )
        _, busy = locks.acquire(sorted(self.hooks))
        for name, holder in busy.items():
            del self.hooks[name]
            self.problems.append(
                Problem(
                    name,
                    f"another run is at work: {holder}",
                    ExitCode.TRY_LATER,
                    hint="wait for it, or give --lock-timeout",
                )
            )
        with self.site.database.read() as connection:
            self._leave_out_paused(connection)

    def _leave_out_paused(self, connection: Connection) -> None:
        for name, row in run_rows.paused(connection).items():
            if self.hooks.pop(name, None) is not None:
                self.notes.append(
                    Problem(
                        name,
                        f"paused since {row['since']} by {row['actor']}",
                        ExitCode.OK,
                        hint=f"svcctl services resume {name}",
                    )
                )

    def _refresh_states(self) -> None:
        """Sort users into states anew when the rules have changed since they were sorted."""
        rules = self.site.settings.state_rules()
        with self.site.database.read() as connection:
            if stored_rules(connection) == tuple(rules):
                return
        with self.site.database.write() as connection:
            refresh_states(connection, rules)

    def _verify(self) -> tuple[list[operation_rows.Recorded], recover.Verified]:
        with self.site.database.read() as connection:
            unfinished = operation_rows.unfinished(connection, self.hooks)
            verified = recover.verify(connection, unfinished, self.hooks, self.manager, self.stop)
        if verified:
            with self.site.database.write(durable=True) as connection:
                recover.write(connection, verified, self.hooks)
        return unfinished, verified

    def _plan(
        self,
        connection: Connection,
        unfinished: list[operation_rows.Recorded],
        verified: recover.Verified,
        states: dict[int, str] | None,
    ) -> Plan:
        unsettled = self._unsettled(unfinished, verified)
        self.users = resolve(connection, self.selection, states=states)
        undoing = None
        if self.options.undo is not None:
            undoing = survey(
                connection,
                self.options.undo,
                self.hooks,
                self.site.settings.services,
                verified,
                unsettled,
            )
            self.task = undoing.task(self.task.name)
            self.users, self.only = undoing.users, frozenset(undoing.accounts)
        plan = Planner(
            connection,
            self.task,
            self.users,
            self.hooks,
            protected=self.site.settings.protected,
            states=states,
            accounts=verified.accounts,
            undo_pins=verified.undo_pins(connection),
            unsettled=unsettled,
            only=self.only,
            actor=self.options.actor,
            progress=self.options.planning,
            shortcuts=self.options.shortcuts,
        ).make(self.manager)
        if undoing is not None:
            undoing.tell(plan)
        return plan

    def _look_back(self, plan: Plan) -> None:
        """What is to be undone is undone only where the services still show it."""
        if self.options.undo is not None:
            leave_changed(plan, self.hooks, self.manager, self.stop)
            self.options.first(plan.first)

    def _unsettled(
        self, unfinished: list[operation_rows.Recorded], verified: recover.Verified
    ) -> frozenset[int]:
        left = verified.rest(unfinished)
        waiting = {row.account_id for row in left if row.status is OperationStatus.UNKNOWN}
        if not self.task.decides_access:
            first: dict[int, operation_rows.Recorded] = {}
            for row in left:
                if row.status is OperationStatus.HELD:
                    first.setdefault(row.account_id, row)
            waiting.update(id_ for id_, row in first.items() if row.verb not in self.task.decides)
        return frozenset(verified.unsettled | waiting)

    def _guard(self, connection: Connection, plan: Plan) -> list[Held]:
        return guard(
            connection,
            plan,
            self.hooks,
            accept_removals=self.options.accept_removals,
            approved=self.options.approved,
        )

    def _apply(
        self,
        report: Report,
        unfinished: list[operation_rows.Recorded],
        verified: recover.Verified,
    ) -> None:
        database, plan = self.site.database, report.plan
        with database.write(durable=True) as connection:
            report.run_id = run_rows.begin(
                connection,
                command=report.command,
                actor=self.options.actor,
                host=socket.gethostname(),
                pid=os.getpid(),
            )
            journal = journals.write(
                connection,
                plan,
                self.hooks,
                unfinished,
                run_id=report.run_id,
                actor=self.options.actor,
                users=self.users,
                only=self.only,
                left_alone=self._unsettled(unfinished, verified),
                force=self.options.force,
            )
            died = verified.unended_runs
            run_rows.close_unended(connection, died - operation_rows.underway(connection, died))
            run_rows.close_dead(connection, self.hooks, before=report.run_id)
        report.held_accounts = list(journal.held)
        report.deferred = journal.deferred
        total = sum(len(job.steps) for jobs in journal.jobs.values() for job in jobs)
        logbook.began(report, self.options.actor, total)
        self.options.applying(total)

        def progress(applied: Applied) -> None:
            logbook.ended_operation(report.run_id, applied)
            self.options.progress(applied)

        results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        lanes = []
        for service, jobs in journal.jobs.items():
            try:
                manager = self.manager(service)
            except SvcctlError as error:
                report.problems.append(_unusable(service, error))
                report.left[service] = len(jobs)
                continue
            lanes.append(
                Lane(
                    self.hooks[service],
                    manager,
                    jobs,
                    stop=self.stop,
                    results=results,
                    passwords=self._password,
                    suspicious=service in verified.suspicious,
                )
            )
        try:
            tally = Writer(database, lanes, results, self.stop, progress=progress).run()
        except SvcctlError as error:
            error.hint = error.hint or "what was done is recorded; the next run verifies the rest"
            raise
        report.applied = tally.applied
        report.left.update(tally.left)
        report.gave_up = tally.gave_up
        report.passwords = tally.passwords
        report.stopped = self.stop.code
        if tally.abandoned:
            return
        with database.write() as connection:
            run_rows.end(
                connection,
                report.run_id,
                exit_code=int(report.exit_code),
                summary=report.summary(everybody=self.everybody),
            )

    def _password(self, job: journals.Job) -> str | None:
        return self.options.passwords.get((job.account.service, job.username))


def _told(verified: recover.Verified) -> list[tuple[str, str, str]]:
    told = [(row.service, row.verb.value, "had been done") for row, _, _ in verified.done]
    told.extend((row.service, row.verb.value, text) for row, _, text in verified.settled)
    return told


def _unusable(service: str, error: SvcctlError) -> Problem:
    """The service's manager could not be built; the other services go on."""
    code = ExitCode.FAILED if isinstance(error, ManagerError) else error.exit_code
    return Problem(service, error.message, code, hint=error.hint)


@contextmanager
def until_signal(stop: Stop) -> Iterator[None]:
    """SIGINT and SIGTERM end the run between operations; a second one ends it at once."""

    def ask(number: int, _frame: object) -> None:
        if stop.code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
            raise KeyboardInterrupt
        stop.now(ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.TERMINATED)

    try:
        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
