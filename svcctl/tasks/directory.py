"""Pulling the directory sources: each stands or falls by itself."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from svcctl.config.settings import Settings
from svcctl.directory.person import Person
from svcctl.directory.sources import open_source
from svcctl.errors import SourceError
from svcctl.store.chain.append import append
from svcctl.store.database import Connection
from svcctl.store.pull import pull
from svcctl.store.pull.diff import PullDiff


@dataclass(frozen=True, slots=True)
class Pulled:
    """What became of one source: a difference that was taken over, or why nothing was."""

    source: str
    diff: PullDiff | None = None
    error: SourceError | None = None


Opened = Mapping[str, Iterator[Person] | SourceError]
"""The people of each source, by its name, or why it cannot be read."""


@contextmanager
def open_sources(settings: Settings, names: Iterable[str]) -> Iterator[Opened]:
    """These sources; what may take long is read to its end here, outside of any transaction."""
    with ExitStack() as stack:
        opened: dict[str, Iterator[Person] | SourceError] = {}
        for name in names:
            source = settings.directory.sources[name]
            try:
                opened[name] = stack.enter_context(open_source(name, source, settings.attributes))
            except SourceError as error:
                opened[name] = error
        yield opened


def pull_sources(
    connection: Connection,
    settings: Settings,
    sources: Opened,
    *,
    accept_missing: int | None = None,
) -> list[Pulled]:
    """Pull these sources in one transaction, each in a part of it that is undone if it fails."""
    pulled = []
    for name, persons in sources.items():
        if isinstance(persons, SourceError):
            pulled.append(Pulled(name, error=persons))
            continue
        try:
            with connection.begin_nested():
                diff = pull(connection, settings, name, persons, accept_missing=accept_missing)
        except SourceError as error:
            pulled.append(Pulled(name, error=error))
        else:
            pulled.append(Pulled(name, diff))
    return pulled


def record(connection: Connection, pulled: Iterable[Pulled], *, actor: str) -> None:
    """Put into the chain what was taken over, in numbers. To be called last in the transaction."""
    told = {
        part.source: {"read": part.diff.read, "changes": len(set(part.diff.everyone()))}
        for part in pulled
        if part.diff is not None
    }
    if told:
        append(connection, {"pulled": {"actor": actor, "sources": told}})
