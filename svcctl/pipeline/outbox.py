"""What leaves svcctl once a run is kept: codes, accounts on services, messages."""

from collections.abc import Callable

from svcctl.config.settings import Settings
from svcctl.errors import PipelineError, SvcctlError
from svcctl.hooks.registry import Hooks
from svcctl.pipeline.attempt import Attempt
from svcctl.pipeline.outcome import Outcome
from svcctl.pipeline.strategy import Call
from svcctl.pipeline.unit import Link
from svcctl.runs.deliver import deliver
from svcctl.runs.engine import Options, Site
from svcctl.runs.engine import run as run_task
from svcctl.runs.link import link
from svcctl.store import accounts as account_rows
from svcctl.store.census import Selection
from svcctl.store.database import Connection, Database
from svcctl.tasks import task as tasks


class Outbox:
    """What it sends was promised in the run's transaction, or is sent again by whoever resumes."""

    def __init__(self, settings: Settings, database: Database, hooks: Callable[[], Hooks]) -> None:
        self._settings = settings
        self._database = database
        self._hooks = hooks

    def send(self, one: Attempt, outcome: Outcome) -> None:
        """Everything, one after the other; what goes wrong is told, and stops nothing else."""
        for call in one.strategy.calls:
            self._call(call, outcome)
        wishes = one.wishes()
        if one.unit.links or wishes:
            site = Site(self._settings, self._database, self._hooks())
            for wanted in one.unit.links:
                self._link(site, wanted, outcome)
            self._serve(site, one, outcome)
        elif one.unit.messages:
            problem = deliver(Site(self._settings, self._database, Hooks({}, {}, {})))
            if problem is not None:
                outcome.notes.append(f"{problem.service}: {problem.message}")

    def rehearse(self, one: Attempt, outcome: Outcome, connection: Connection) -> None:
        """What would be done on services, in the transaction that is going to be rolled back."""
        if one.unit.wishes:
            site = Site(self._settings, self._database, self._hooks())
            self._serve(site, one, outcome, connection=connection)

    def _serve(
        self,
        site: Site,
        one: Attempt,
        outcome: Outcome,
        *,
        connection: Connection | None = None,
    ) -> None:
        name = one.pipeline.name
        for user_id, by_service in one.wishes().items():
            services = [service for service in by_service if service in site.hooks.loaded]
            if services:
                outcome.report = run_task(
                    site,
                    tasks.pipeline(name, by_service),
                    Selection(frozenset({user_id})),
                    services,
                    Options(dry_run=connection is not None, command=f"pipeline {name}", force=True),
                    connection=connection,
                )

    @staticmethod
    def _call(call: Call, outcome: Outcome) -> None:
        try:
            call.send()
        except Exception as error:  # noqa: BLE001 - a function of somebody else
            message = error.message if isinstance(error, SvcctlError) else repr(error)
            outcome.problems.append(
                PipelineError(
                    outcome.told(f"{call.name}: no code was sent to {call.email}: {message}"),
                    hint="resume the run without a code: it sends another one",
                )
            )

    def _link(self, site: Site, wanted: Link, outcome: Outcome) -> None:
        username = wanted.user.username
        with self._database.read() as connection:
            mine = account_rows.find(connection, service=wanted.service, user_id=wanted.user.id)
        if mine and not mine[0].absent:
            if mine[0].uid != wanted.uid:
                outcome.notes.append(
                    f"{wanted.service}: {username} has the account {mine[0].name} there already"
                )
            return
        try:
            link(site, username, wanted.service, uid=wanted.uid, name=wanted.name, dry_run=False)
        except SvcctlError as error:
            error.message = f"{wanted.service}: not linked: {error.message}"
            outcome.problems.append(error)


def not_done(one: Attempt, outcome: Outcome) -> list[str]:
    """What a rehearsal has not done, in sentences."""
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
