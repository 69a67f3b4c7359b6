"""One run of a pipeline from end to end: steps, then everything or nothing is kept, then outside.

What leaves svcctl (mail, services, other people's senders) does so after the commit.
"""

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from svcctl.config.settings import Settings
from svcctl.errors import ExitCode, LockedError, PipelineError, Refused, SvcctlError, UsageError
from svcctl.hooks.registry import Hooks
from svcctl.locks import Locks
from svcctl.pipeline import backend as backends
from svcctl.pipeline import engine, saved
from svcctl.pipeline.definition import Definition, definition
from svcctl.pipeline.outcome import Kind, Outcome
from svcctl.pipeline.partial import EXTERNAL, Pause
from svcctl.pipeline.settings import Lookup
from svcctl.pipeline.step import SURROUNDINGS, Step
from svcctl.pipeline.strategy import Page, Redirect, Strategy
from svcctl.pipeline.unit import UnitOfWork
from svcctl.runs.deliver import deliver
from svcctl.runs.engine import Options, Site, current_actor
from svcctl.runs.engine import run as run_task
from svcctl.runs.link import link
from svcctl.runs.promise import promise
from svcctl.store import accounts as account_rows
from svcctl.store import partials
from svcctl.store import runs as run_rows
from svcctl.store.census import Selection
from svcctl.store.database import Connection, Database, Row
from svcctl.tasks import task as tasks
from svcctl.tripwire import TripwireError, tripwire

RESERVED = SURROUNDINGS | {"user", "social", "user_storage", "current_partial", "is_new"}
"""What `--set` cannot give."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a run begins with. values: what `--set` says; they are the request data, too."""

    pipeline: str
    backend: str | None = None
    response: Mapping[str, Any] = field(default_factory=dict)
    username: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    until: str | None = None


class Runner:
    """Runs pipelines of one configuration on one database.

    hooks: loads them when a step wants something on services. watch: told of each step before it
    runs. ask: a question to whoever sits at the terminal, None where nobody does. run_id: the run
    that everything belongs to, for a batch; else each run has its own.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        hooks: Callable[[], Hooks],
        *,
        dry_run: bool = False,
        watch: Callable[[Step], None] | None = None,
        ask: Callable[[str], bool | None] = lambda _: None,
        run_id: int | None = None,
        command: str = "pipeline run",
    ) -> None:
        self.settings = settings
        self.database = database
        self.dry_run = dry_run
        self.actor = current_actor()
        self._hooks = hooks
        self._watch = watch
        self._ask = ask
        self._run_id = run_id
        self._command = command
        self._definitions: dict[str, Definition] = {}

    def definition(self, name: str) -> Definition:
        """The pipeline of this name, resolved once. Raises as `definition` does."""
        if name not in self._definitions:
            self._definitions[name] = definition(self.settings, name)
        return self._definitions[name]

    def run(self, start: Start) -> Outcome:
        """Run a pipeline from its first step. Raises UsageError and ConfigError before that."""
        pipeline = self.definition(start.pipeline)
        _refuse_reserved(start.values)
        unit = self._unit(pipeline)
        strategy = self._strategy(pipeline, unit, start.values)
        backend = backends.build(self.settings, self._backend(start), strategy)
        context = self._context(pipeline, start, strategy, backend)
        until = None
        if start.until is not None:
            until = pipeline.index_of(start.until)
            if until is None:
                raise UsageError(
                    f"{start.until} is not a step of {start.pipeline}",
                    hint=f"its steps: {', '.join(pipeline.fingerprint)}",
                )
        pipeline.require_inputs(start.values)
        return self._go(_Run(pipeline, unit, strategy, backend, context, until=until))

    def resume(
        self,
        word: str,
        values: Mapping[str, Any],
        *,
        username: str | None = None,
        accept_changes: bool = False,
        confirm: Callable[[Row[Any]], bool] = lambda _: True,
    ) -> Outcome:
        """Go on with a paused run, at the step that paused, which runs again.

        word: its public id; or the token that somebody outside was given: then the run must be
        meant for that, and `confirm` is asked. username: who says so; another user than the run's
        is refused. Raises UsageError, Refused, PipelineError, ConfigError.
        """
        _refuse_reserved(values)
        row, by_token = saved.find(self.database, word)
        if by_token and not row.external:
            raise Refused(
                "a token does not go on with this run: it is the operator's",
                hint="resume it by its id; see: svcctl pipeline partials",
                code="resume_disallowed",
            )
        pipeline = self.definition(row.pipeline)
        if pipeline.kind != row.kind:
            raise Refused(
                f"pipeline {row.pipeline} was of the kind {row.kind} when the run paused",
                hint=f"svcctl pipeline abort {row.id}, and run it from the start",
                code="pipeline_changed",
            )
        with self._alone(row.id):
            unit = self._unit(pipeline)
            index = saved.start_of(pipeline, row, accept_changes=accept_changes)
            context, session = saved.load(unit, row)
            self._refuse_other(unit, context, username)
            if by_token and not confirm(row):
                raise Refused("not confirmed, nothing was done", code="resume_disallowed")
            strategy = self._strategy(pipeline, unit, values, session=session, resumed=row.id)
            backend = backends.build(self.settings, row.backend, strategy)
            context.update(self._surroundings(pipeline, strategy, backend))
            context.update(values)
            return self._go(
                _Run(pipeline, unit, strategy, backend, context, start=index, resumed=row)
            )

    def abort(self, word: str) -> Row[Any]:
        """Give a paused run up. Raises UsageError where there is none."""
        row, _ = saved.find(self.database, word)
        with self._alone(row.id), self.database.write(keep=not self.dry_run) as connection:
            if not partials.remove(connection, row.id):
                raise UsageError(f"partial {row.id} is gone", hint="somebody was faster")
        return row

    # Before the first step

    def _unit(self, pipeline: Definition) -> UnitOfWork:
        return UnitOfWork(
            self.database,
            self.settings,
            origin=f"pipeline:{pipeline.name}",
            dry_run=self.dry_run,
        )

    def _strategy(
        self,
        pipeline: Definition,
        unit: UnitOfWork,
        values: Mapping[str, Any],
        *,
        session: dict[str, Any] | None = None,
        resumed: str | None = None,
    ) -> Strategy:
        lookup = Lookup(pipeline.name, pipeline.pipeline, self.settings.backends)
        return Strategy(
            unit,
            lookup,
            request=values,
            session=session,
            resumed=resumed,
            ask=(lambda _: None) if self.dry_run else self._ask,
        )

    def _backend(self, start: Start) -> str:
        if start.backend is not None:
            return start.backend
        names = list(self.settings.backends)
        if len(names) == 1:
            return names[0]
        raise UsageError(
            "no backend is named" if names else "no backend is configured",
            hint=f"give --backend: {', '.join(names)}" if names else "add one as [backends.<name>]",
        )

    def _surroundings(
        self, pipeline: Definition, strategy: Strategy, backend: Any
    ) -> dict[str, Any]:
        found = {
            "strategy": strategy,
            "backend": backend,
            "storage": strategy.storage,
            "request": strategy.request_data(),
        }
        if pipeline.kind == "disconnect":
            found |= {"name": backend.name, "user_storage": strategy.storage.user}
        return found

    def _context(
        self, pipeline: Definition, start: Start, strategy: Strategy, backend: Any
    ) -> dict[str, Any]:
        user = None
        if start.username is not None:
            user = strategy.unit.named(start.username)
            if user is None:
                raise UsageError(f"no such user: {start.username}", hint="see: svcctl users list")
        elif pipeline.kind == "disconnect":
            raise UsageError("a disconnect pipeline needs somebody", hint="give --user NAME")
        context: dict[str, Any] = {
            "details": {},
            "response": dict(start.response),
            "user": user,
            "is_new": False,
        }
        return {**context, **start.values, **self._surroundings(pipeline, strategy, backend)}

    @staticmethod
    def _refuse_other(unit: UnitOfWork, context: Mapping[str, Any], username: str | None) -> None:
        if username is None:
            return
        mine = unit.named(username)
        if mine is None:
            raise UsageError(f"no such user: {username}", hint="see: svcctl users list")
        theirs = context.get("user")
        if theirs is not None and theirs != mine:
            raise Refused(
                f"this run is about {theirs.username}, not about {username}",
                hint="nobody goes on for somebody else",
                code="user_mismatch",
            )

    @contextmanager
    def _alone(self, id_: str) -> Iterator[None]:
        """Nobody else resumes or aborts it meanwhile; the kernel frees the lock of who dies."""
        if self.dry_run:
            yield
            return
        with Locks(self.database, timeout=0, holder=self._command) as locks:
            _, busy = locks.acquire([f"@partial-{id_}"])
            if busy:
                raise LockedError(
                    f"partial {id_} is being resumed: {next(iter(busy.values()))}",
                    hint="only one can go on; look at what became of it",
                )
            yield

    # The steps, and what becomes of them

    def _go(self, one: "_Run") -> Outcome:
        outcome = one.outcome("done", self.dry_run)
        guard = _guarded if self.dry_run or one.until is not None else None
        try:
            ended = engine.run(
                one.pipeline.steps,
                one.context,
                start=one.start,
                until=one.until,
                consulted=one.strategy.consulted,
                guard=guard,
                following=self._watch,
            )
            outcome.trace = ended.trace
            if ended.step is not None:
                outcome.step = ended.step.name
                outcome.response = ended.response
            keeping = self._pausing(one, ended, outcome)
            if one.until is not None and outcome.kind == "done":
                outcome.kind = "stopped"
                outcome.step = one.pipeline.steps[one.until].name
            if outcome.kind == "done" and one.pipeline.kind == "auth":
                self._finish_login(one)
            if outcome.kind in ("done", "paused"):
                self._keep(one, outcome, keeping)
        except engine.StepError as error:
            outcome.trace = error.trace
            outcome.step = error.step.name
            self._record_failure(one, outcome, error.svcctl_error, error.__cause__)
        except SvcctlError as error:
            self._record_failure(one, outcome, error, None)
        else:
            if outcome.kind in ("done", "paused") and not self.dry_run:
                self._act(one, outcome)
        outcome.notes = [*one.unit.kept_back, *outcome.notes]
        outcome.would = [*self._would(one, outcome), *outcome.would]
        return outcome

    def _pausing(self, one: "_Run", ended: engine.Ended, outcome: Outcome) -> saved.Saved | None:
        """The run as it is to be saved, if its response is one that pauses it."""
        if ended.step is None:
            return None
        stored = one.strategy.storage.partial.stored
        pause = ended.response if isinstance(ended.response, Pause) else None
        if stored is None and pause is None:
            outcome.kind = "answered"
            return None
        outcome.kind = "paused"
        step = ended.step
        if stored is not None and stored.next_step < len(one.pipeline.steps):
            step = one.pipeline.steps[stored.next_step]
        declared = step.declaration
        one.strategy.session["partial_pipeline"] = {
            "backend": one.backend.name,
            "pipeline": one.pipeline.name,
            "step": step.name,
        }
        if stored is None:
            stored = one.strategy.storage.partial.prepare(one.backend.name, 0, {})
        keeping = saved.save(
            one.unit,
            one.pipeline,
            backend=one.backend.name,
            step=step.name,
            context=one.context,
            session=one.strategy.session,
            token=stored.token,
            why=pause.why if pause else _why(one.strategy, ended.response),
            needs=pause.needs if pause else declared.needs if declared else (),
            external=pause.external if pause else bool(stored.data.get(EXTERNAL)),
            actor=self.actor,
        )
        outcome.step = step.name
        outcome.partial = keeping.paused
        return keeping

    def _finish_login(self, one: "_Run") -> None:
        """What social-core does after the last step: the user is theirs, and must be active."""
        user = one.context.get("user")
        if user is None:
            return
        if not user.is_active and not one.strategy.setting(
            "ALLOW_INACTIVE_USERS_LOGIN", default=False, backend=one.backend
        ):
            raise Refused(
                f"{user.username} is not active",
                hint="ALLOW_INACTIVE_USERS_LOGIN = true lets such a run end well",
                code="inactive_user",
            )
        user.social_user = one.context.get("social")
        user.is_new = bool(one.context.get("is_new"))

    def _keep(self, one: "_Run", outcome: Outcome, keeping: saved.Saved | None) -> None:
        """One transaction: what the steps wrote, the pause, and what is promised on services."""
        wishes = self._wishes(one)
        hooks = self._loaded(wishes, outcome)
        with self.database.write(durable=True, keep=not self.dry_run) as connection:
            if one.resumed is not None and not partials.remove(connection, one.resumed.id):
                raise Refused(
                    f"partial {one.resumed.id} was resumed by somebody else",
                    hint="only one can go on; look at what became of it",
                    code="resume_disallowed",
                )
            one.unit.commit(connection, partial_id=None if keeping is None else keeping.paused.id)
            if keeping is not None:
                keeping.write(connection)
            if self.dry_run:
                self._rehearse(one, outcome, wishes, connection)
                return
            outcome.run_id = self._run_id or self._begin(connection, one)
            for user_id, by_service in wishes.items():
                promise(
                    connection,
                    tasks.pipeline(one.pipeline.name, by_service),
                    frozenset({user_id}),
                    {name: hook for name, hook in hooks.items() if name in by_service},
                    protected=self.settings.protected,
                    run_id=outcome.run_id,
                    actor=self.actor,
                )
            if self._run_id is None:
                run_rows.end(
                    connection,
                    outcome.run_id,
                    exit_code=int(outcome.exit_code),
                    summary=outcome.summary(),
                )

    def _begin(self, connection: Connection, one: "_Run") -> int:
        return run_rows.begin(
            connection,
            command=f"{self._command} {one.pipeline.name}",
            actor=self.actor,
            host=socket.gethostname(),
            pid=os.getpid(),
        )

    def _record_failure(
        self, one: "_Run", outcome: Outcome, error: SvcctlError, cause: BaseException | None
    ) -> None:
        """Nothing of the run is kept but that it failed."""
        kind: Kind = "refused" if isinstance(error, Refused) else "failed"
        outcome.kind, outcome.error, outcome.partial = kind, error, None
        error.message = outcome.told(error.message)
        error.hint = None if error.hint is None else outcome.told(error.hint)
        if error.__cause__ is None and cause is not None:
            error.__cause__ = cause
        if self.dry_run or error.exit_code is ExitCode.DATABASE:
            return
        with self.database.write() as connection:
            if one.resumed is not None:
                partials.count_attempt(connection, one.resumed.id)
            if self._run_id is None:
                outcome.run_id = self._begin(connection, one)
                run_rows.end(
                    connection,
                    outcome.run_id,
                    exit_code=int(outcome.exit_code),
                    summary=outcome.summary(),
                )

    # Services

    def _wishes(self, one: "_Run") -> dict[int, dict[str, frozenset[str]]]:
        """By user and service, what the steps wished; a service that is not named is any."""
        found: dict[int, dict[str, set[str]]] = {}
        for wish in one.unit.wishes:
            services = self.settings.services if wish.services is None else wish.services
            for service in services:
                found.setdefault(wish.user.id, {}).setdefault(service, set()).add(wish.what)
        return {
            user_id: {service: frozenset(words) for service, words in by_service.items()}
            for user_id, by_service in found.items()
        }

    def _loaded(
        self,
        wishes: Mapping[int, Mapping[str, frozenset[str]]],
        outcome: Outcome,
    ) -> dict[str, Any]:
        if not any(wishes.values()):
            return {}
        hooks = self._hooks()
        named = {service for by_service in wishes.values() for service in by_service}
        for service in sorted(named & hooks.failed.keys()):
            outcome.problems.append(hooks.failed[service])
        return {name: hook for name, hook in hooks.loaded.items() if name in named}

    def _rehearse(
        self,
        one: "_Run",
        outcome: Outcome,
        wishes: Mapping[int, Mapping[str, frozenset[str]]],
        connection: Connection,
    ) -> None:
        site = self._site() if wishes else None
        for user_id, by_service in wishes.items():
            assert site is not None
            services = [name for name in by_service if name in site.hooks.loaded]
            if services:
                outcome.report = run_task(
                    site,
                    tasks.pipeline(one.pipeline.name, by_service),
                    Selection(frozenset({user_id})),
                    services,
                    Options(dry_run=True, command=f"pipeline {one.pipeline.name}", force=True),
                    connection=connection,
                )

    def _site(self) -> Site:
        return Site(self.settings, self.database, self._hooks())

    def _act(self, one: "_Run", outcome: Outcome) -> None:
        """What leaves svcctl. By now everything is kept, so whatever fails is tried again."""
        for call in one.strategy.calls:
            try:
                call.send()
            except Exception as error:  # noqa: BLE001 - a function of somebody else
                told = (
                    error
                    if isinstance(error, SvcctlError)
                    else PipelineError(f"{call.name}: {type(error).__name__}: {error}")
                )
                told.message = outcome.told(f"no code was sent to {call.email}: {told.message}")
                told.hint = "resume the run without a code: it sends another one"
                outcome.problems.append(told)
        wishes = self._wishes(one)
        if one.unit.links or wishes:
            site = self._site()
            self._link(one, site, outcome)
            for user_id, by_service in wishes.items():
                services = [name for name in by_service if name in site.hooks.loaded]
                if not services:
                    continue
                outcome.report = run_task(
                    site,
                    tasks.pipeline(one.pipeline.name, by_service),
                    Selection(frozenset({user_id})),
                    services,
                    Options(command=f"pipeline {one.pipeline.name}", force=True),
                )
        elif one.unit.messages:
            problem = deliver(Site(self.settings, self.database, Hooks({}, {}, {})))
            if problem is not None:
                outcome.notes.append(f"{problem.service}: {problem.message}")

    def _link(self, one: "_Run", site: Site, outcome: Outcome) -> None:
        for wanted in one.unit.links:
            with self.database.read() as connection:
                mine = account_rows.find(connection, service=wanted.service, user_id=wanted.user.id)
            if mine and not mine[0].absent:
                if mine[0].uid != wanted.uid:
                    outcome.notes.append(
                        f"{wanted.service}: {wanted.user.username} has the account "
                        f"{mine[0].name} there already"
                    )
                continue
            try:
                link(
                    site,
                    wanted.user.username,
                    wanted.service,
                    uid=wanted.uid,
                    name=wanted.name,
                    dry_run=False,
                )
            except SvcctlError as error:
                error.message = f"{wanted.service}: not linked: {error.message}"
                outcome.problems.append(error)

    def _would(self, one: "_Run", outcome: Outcome) -> list[str]:
        """What a dry run has not done."""
        if not self.dry_run and one.until is None:
            return []
        told = [f"step {trace.step}: {act}" for trace in outcome.trace for act in trace.would]
        if outcome.kind not in ("done", "paused", "stopped"):
            return told
        unit = one.unit
        told += [f"would add the user {user.username}" for user in unit.added]
        told += [
            f"would change {user.username}: {', '.join(sorted(changes))}"
            for user, changes in unit.changed_users().items()
        ]
        told += [f"would put {user.username} into {name}" for user, name in unit.memberships]
        told += [f"would associate {new.provider} {new.uid}" for new in unit.linked]
        told += [f"would remove the association {old.provider} {old.uid}" for old in unit.unlinked]
        told += [f"would tell {message.to}: {message.title}" for message in unit.messages]
        told += [f"would call {call.name} for {call.email}" for call in one.strategy.calls]
        told += [
            f"would link {wanted.service} {wanted.uid} to {wanted.user.username}"
            for wanted in unit.links
        ]
        if outcome.partial is not None:
            told.append("would save the paused run")
        return told


@dataclass(slots=True)
class _Run:
    """One run on its way."""

    pipeline: Definition
    unit: UnitOfWork
    strategy: Strategy
    backend: Any
    context: dict[str, Any]
    start: int = 0
    until: int | None = None
    resumed: Row[Any] | None = None

    def outcome(self, kind: Kind, dry_run: bool) -> Outcome:  # noqa: FBT001
        return Outcome(
            kind,
            self.pipeline.name,
            self.backend.name,
            dry_run=dry_run or self.until is not None,
            context=self.context,
        )


@contextmanager
def _guarded(step: Step) -> Iterator[list[str]]:
    """A step of a dry run: what would act is refused and listed."""
    would: list[str] = []
    try:
        with tripwire(f"step {step.name}") as trip:
            yield would
    except TripwireError as error:
        would.extend(dict.fromkeys([*trip.records, *error.records]))


def _refuse_reserved(values: Mapping[str, Any]) -> None:
    for name in values:
        if name in RESERVED:
            hint = "name a user with --user" if name == "user" else "the run itself gives it"
            raise UsageError(f"--set {name}: is not to be given", hint=hint)


def _why(strategy: Strategy, response: Any) -> str:
    address = strategy.session.get("email_validation_address")
    if address:
        return f"a code was sent to {address}"
    if isinstance(response, Redirect):
        return f"would send a browser to {response.url}" if response.url else "it waits"
    if isinstance(response, Page):
        return "would show a page"
    return "the step wants to be run again"
