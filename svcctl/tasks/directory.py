"""Pulling the directory sources: each stands or falls by itself."""

from collections.abc import Iterable
from dataclasses import dataclass

from svcctl.config.settings import Settings
from svcctl.directory.sources import read_source
from svcctl.errors import SourceError
from svcctl.store.database import Connection
from svcctl.store.pull import pull
from svcctl.store.pull.diff import PullDiff


@dataclass(frozen=True, slots=True)
class Pulled:
    """What became of one source: a difference that was taken over, or why nothing was."""

    source: str
    diff: PullDiff | None = None
    error: SourceError | None = None


def pull_sources(
    connection: Connection,
    settings: Settings,
    names: Iterable[str],
    *,
    accept_missing: int | None = None,
) -> list[Pulled]:
    """Pull these sources in one transaction, each in a part of it that is undone if it fails."""
    pulled = []
    for name in names:
        persons = read_source(name, settings.directory.sources[name], settings.attributes)
        try:
            with connection.begin_nested():
                diff = pull(connection, settings, name, persons, accept_missing=accept_missing)
        except SourceError as error:
            pulled.append(Pulled(name, error=error))
        else:
            pulled.append(Pulled(name, diff))
    return pulled
