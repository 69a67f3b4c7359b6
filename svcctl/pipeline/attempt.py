"""One run on its way: what it began with, and what it wishes for on services."""

from dataclasses import dataclass
from typing import Any

from svcctl.pipeline.definition import Definition
from svcctl.pipeline.outcome import Outcome
from svcctl.pipeline.strategy import Strategy
from svcctl.pipeline.unit import UnitOfWork
from svcctl.store.database import Row

Wishes = dict[int, dict[str, frozenset[str]]]
"""By user id and service, what steps wished for there: some of `svcctl.tasks.task.WISHES`."""


@dataclass(slots=True)
class Attempt:
    """A pipeline, its surroundings and its context.

    start and until: places of steps. resumed: the partial that it goes on from. rehearsal: nothing
    of it will be kept.
    """

    pipeline: Definition
    unit: UnitOfWork
    strategy: Strategy
    backend: Any
    context: dict[str, Any]
    rehearsal: bool
    start: int = 0
    until: int | None = None
    resumed: Row[Any] | None = None

    def outcome(self) -> Outcome:
        """How it stands before anything has gone wrong."""
        return Outcome(
            "done",
            self.pipeline.name,
            self.backend.name,
            dry_run=self.rehearsal,
            context=self.context,
            initial=frozenset(self.context),
        )

    def wishes(self) -> Wishes:
        """A wish that names no service is for each of them."""
        found: dict[int, dict[str, set[str]]] = {}
        for wish in self.unit.wishes:
            everywhere = tuple(self.unit.settings.services)
            for service in everywhere if wish.services is None else wish.services:
                found.setdefault(wish.user.id, {}).setdefault(service, set()).add(wish.what)
        return {
            user_id: {service: frozenset(words) for service, words in by_service.items()}
            for user_id, by_service in found.items()
        }
