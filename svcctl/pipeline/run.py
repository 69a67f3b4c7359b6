"""One run of a pipeline from end to end: steps, then everything or nothing is kept, then outside.

What leaves svcctl (mail, services, other people's senders) does so after the commit.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from svcctl.config.settings import Settings
from svcctl.errors import LockedError, Refused, SvcctlError, UsageError
from svcctl.hooks.registry import Hooks
from svcctl.locks import Locks
from svcctl.pipeline import backend as backends
from svcctl.pipeline import engine, saved
from svcctl.pipeline.attempt import Attempt
from svcctl.pipeline.check import require_sound
from svcctl.pipeline.definition import Definition, definition
from svcctl.pipeline.ending import Ending
from svcctl.pipeline.outbox import Outbox, not_done
from svcctl.pipeline.outcome import Outcome
from svcctl.pipeline.settings import Lookup
from svcctl.pipeline.step import SURROUNDINGS, Step
from svcctl.pipeline.strategy import Strategy
from svcctl.pipeline.unit import UnitOfWork
from svcctl.pipeline.user import PipelineUser
from svcctl.runs.engine import current_actor
from svcctl.store import associations, partials
from svcctl.store.database import Database, Row
from svcctl.tripwire import TripwireError, allowed, tripwire
from svcctl.vault import Vault

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
        actor = current_actor()
        self._watch = watch
        self._ask = ask
        self._command = command
        self._outbox = Outbox(settings, database, hooks)
        self._ending = Ending(
            settings,
            database,
            hooks,
            self._outbox,
            actor=actor,
            command=command,
            run_id=run_id,
        )
        self._definitions: dict[str, Definition] = {}
        self._lookups: dict[str, Lookup] = {}
        self._sound: set[tuple[str, frozenset[str]]] = set()
        self._vault = Vault(settings, in_use=self._sealed, read_only=dry_run)

    def definition(self, name: str) -> Definition:
        """The pipeline of this name, resolved once. Raises as `definition` does."""
        if name not in self._definitions:
            self._definitions[name] = definition(self.settings, name)
        return self._definitions[name]

    def run(self, start: Start) -> Outcome:
        """Run a pipeline from its first step. Raises UsageError and ConfigError before that."""
        pipeline = self.definition(start.pipeline)
        _refuse_reserved(start.values)
        until = None
        if start.until is not None:
            until = pipeline.index_of(start.until)
            if until is None:
                raise UsageError(
                    f"{start.until} is not a step of {start.pipeline}",
                    hint=f"its steps: {', '.join(pipeline.fingerprint)}",
                )
        unit = self._unit(pipeline, rehearsal=until is not None)
        strategy = self._strategy(pipeline, unit, start.values)
        backend = backends.build(self.settings, self._backend(start), strategy)
        context = self._context(pipeline, start, strategy, backend)
        sound = pipeline.name, frozenset(start.values)
        if sound not in self._sound:
            require_sound(pipeline, self.settings, given=start.values)
            self._sound.add(sound)
        return self._go(
            Attempt(pipeline, unit, strategy, backend, context, unit.dry_run, until=until)
        )

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
                Attempt(
                    pipeline,
                    unit,
                    strategy,
                    backend,
                    context,
                    self.dry_run,
                    start=index,
                    resumed=row,
                )
            )

    def abort(self, word: str) -> Row[Any]:
        """Give a paused run up. Raises UsageError where there is none."""
        row, _ = saved.find(self.database, word)
        with self._alone(row.id), self.database.write(keep=not self.dry_run) as connection:
            if not partials.remove(connection, row.id):
                raise UsageError(f"partial {row.id} is gone", hint="somebody was faster")
        return row

    # Before the first step

    def _sealed(self) -> bool:
        with allowed(), self.database.read() as connection:
            return associations.any_there(connection) or partials.any_there(connection)

    def _unit(self, pipeline: Definition, *, rehearsal: bool = False) -> UnitOfWork:
        return UnitOfWork(
            self.database,
            self.settings,
            self._vault,
            origin=f"pipeline:{pipeline.name}",
            dry_run=self.dry_run or rehearsal,
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
        lookup = self._lookups.get(pipeline.name)
        if lookup is None:
            lookup = Lookup(pipeline.name, pipeline.pipeline, self.settings.backends)
            self._lookups[pipeline.name] = lookup
        return Strategy(
            unit,
            lookup,
            request=values,
            session=session,
            resumed=resumed,
            ask=(lambda _: None) if unit.dry_run else self._ask,
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
            user = _person(strategy.unit, start.username)
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
        mine = _person(unit, username)
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
        with Locks(self.database, timeout=0, holder=f"{self._command} {id_}") as locks:
            # A lock is a file that stays: there are 256 of them, not one for each run ever paused.
            _, busy = locks.acquire([f"@partial-{id_[:2]}"])
            if busy:
                raise LockedError(
                    f"partial {id_} is being resumed: {next(iter(busy.values()))}",
                    hint="only one can go on; look at what became of it, or try again",
                )
            yield

    # The steps, and what becomes of them

    def _go(self, one: Attempt) -> Outcome:
        outcome = one.outcome()
        try:
            self._run_steps(one, outcome)
        except engine.StepError as error:
            outcome.trace = error.trace
            outcome.step = error.step.name
            if error.svcctl_error.__cause__ is None and error.svcctl_error is not error.__cause__:
                error.svcctl_error.__cause__ = error.__cause__
            self._ending.fail(one, outcome, error.svcctl_error)
        except SvcctlError as error:
            self._ending.fail(one, outcome, error)
        else:
            if outcome.kind in ("done", "paused") and not one.rehearsal:
                self._outbox.send(one, outcome)
        outcome.notes = [*one.unit.kept_back, *outcome.notes]
        if one.rehearsal:
            outcome.would = not_done(one, outcome)
        return outcome

    def _run_steps(self, one: Attempt, outcome: Outcome) -> None:
        ended = engine.run(
            one.pipeline.steps,
            one.context,
            start=one.start,
            until=one.until,
            consulted=one.strategy.consulted,
            guard=_guarded if one.rehearsal else None,
            following=self._watch,
        )
        outcome.trace = ended.trace
        if ended.step is not None:
            outcome.step = ended.step.name
            outcome.response = ended.response
        keeping = self._ending.pausing(one, ended, outcome)
        if one.until is not None and outcome.kind == "done":
            outcome.kind = "stopped"
            outcome.step = one.pipeline.steps[one.until].name
        if outcome.kind == "done" and one.pipeline.kind == "auth":
            _finish_login(one)
        if outcome.kind in ("done", "paused"):
            self._ending.keep(one, outcome, keeping)


def _person(unit: UnitOfWork, username: str) -> PipelineUser:
    """The user that the command line names. Raises UsageError."""
    user = unit.named(username)
    if user is None:
        raise UsageError(f"no such user: {username}", hint="see: svcctl users list")
    return user


def _finish_login(one: Attempt) -> None:
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
