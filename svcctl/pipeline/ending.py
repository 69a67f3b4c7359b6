"""How a run ends: everything is kept in one transaction, or nothing but that it was tried."""

import os
import socket
from collections.abc import Callable
from typing import Any

from svcctl.config.settings import Settings
from svcctl.errors import ExitCode, Refused, SvcctlError
from svcctl.hooks.registry import Hooks
from svcctl.pipeline import saved
from svcctl.pipeline.attempt import Attempt, Wishes
from svcctl.pipeline.commit import commit
from svcctl.pipeline.engine import Ended
from svcctl.pipeline.outbox import Outbox
from svcctl.pipeline.outcome import Outcome
from svcctl.pipeline.partial import EXTERNAL, Pause
from svcctl.pipeline.strategy import Page, Redirect, Strategy
from svcctl.runs.promise import promise
from svcctl.store import partials
from svcctl.store import runs as run_rows
from svcctl.store.database import Connection, Database
from svcctl.tasks import task as tasks


class Ending:
    """Keeps runs, or the fact that they failed. run_id: see `Runner`."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        hooks: Callable[[], Hooks],
        outbox: Outbox,
        *,
        actor: str,
        command: str,
        run_id: int | None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._hooks = hooks
        self._outbox = outbox
        self._actor = actor
        self._command = command
        self._run_id = run_id

    def pausing(self, one: Attempt, ended: Ended, outcome: Outcome) -> saved.Saved | None:
        """The run as it is to be saved, if its response is one that pauses it.

        Raises PipelineError for a context that cannot be saved.
        """
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
            actor=self._actor,
        )
        outcome.step = step.name
        outcome.partial = keeping.paused
        return keeping

    def keep(self, one: Attempt, outcome: Outcome, keeping: saved.Saved | None) -> None:
        """One transaction: what the steps wrote, the pause, and what is promised on services.

        Raises Refused where somebody else has used the partial up, and as `commit` does.
        """
        wishes = one.wishes()
        hooks = self._loaded(wishes, outcome)
        with self._database.write(durable=True, keep=not one.rehearsal) as connection:
            if one.resumed is not None and not partials.remove(connection, one.resumed.id):
                raise Refused(
                    f"partial {one.resumed.id} was resumed by somebody else",
                    hint="only one can go on; look at what became of it",
                    code="resume_disallowed",
                )
            commit(one.unit, connection, partial_id=None if keeping is None else keeping.paused.id)
            if keeping is not None:
                keeping.write(connection)
            if one.rehearsal:
                self._outbox.rehearse(one, outcome, connection)
                return
            outcome.run_id = self._run_id or self._record(connection, one, outcome)
            for user_id, by_service in wishes.items():
                promise(
                    connection,
                    tasks.pipeline(one.pipeline.name, by_service),
                    frozenset({user_id}),
                    {name: hook for name, hook in hooks.items() if name in by_service},
                    protected=self._settings.protected,
                    run_id=outcome.run_id,
                    actor=self._actor,
                )

    def fail(self, one: Attempt, outcome: Outcome, error: SvcctlError) -> None:
        """Nothing of the run is kept but that it failed, and why, without secrets."""
        outcome.kind = "refused" if isinstance(error, Refused) else "failed"
        outcome.error, outcome.partial = error, None
        error.message = outcome.told(error.message)
        error.hint = None if error.hint is None else outcome.told(error.hint)
        if one.rehearsal or error.exit_code is ExitCode.DATABASE:
            return
        with self._database.write() as connection:
            if one.resumed is not None:
                partials.count_attempt(connection, one.resumed.id)
            if self._run_id is None:
                outcome.run_id = self._record(connection, one, outcome)

    def _loaded(self, wishes: Wishes, outcome: Outcome) -> dict[str, Any]:
        named = {service for by_service in wishes.values() for service in by_service}
        if not named:
            return {}
        hooks = self._hooks()
        outcome.problems.extend(hooks.failed[name] for name in sorted(named & hooks.failed.keys()))
        return {name: hook for name, hook in hooks.loaded.items() if name in named}

    def _record(self, connection: Connection, one: Attempt, outcome: Outcome) -> int:
        return run_rows.record(
            connection,
            command=f"{self._command} {one.pipeline.name}",
            actor=self._actor,
            host=socket.gethostname(),
            pid=os.getpid(),
            exit_code=int(outcome.exit_code),
            summary=outcome.summary(),
        )


def _why(strategy: Strategy, response: Any) -> str:
    address = strategy.session.get("email_validation_address")
    if address:
        return f"waits for the code mailed to {address}"
    if isinstance(response, Redirect):
        return f"would send a browser to {response.url}" if response.url else "it waits"
    if isinstance(response, Page):
        return "would show a page"
    return "the step wants to be run again"
