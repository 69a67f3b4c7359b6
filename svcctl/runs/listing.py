"""What a service lists, in pages: read in the middle of a plan, while the tripwire looks away."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from svcctl.errors import ExitCode, Incomplete, ManagerError, SvcctlError
from svcctl.hooks.manager import Manager, RemoteAccount
from svcctl.runs.plan import Problem
from svcctl.store.chunks import chunks
from svcctl.tripwire import allowed

_PAGE = 2000
"""So many accounts are looked up in the database at once, however long the service's pages are."""


def listed(manager: Manager) -> Iterator[list[RemoteAccount]]:
    """All accounts of the service. Nothing may be concluded before the last page has come.

    Raises a ManagerError; whatever else a manager raises is Incomplete.
    """
    pages: Iterator[list[RemoteAccount]] | None = None
    while True:
        with _reading():
            pages = pages or chunks(manager.list_accounts(), _PAGE)
            page = next(pages, None)
        if page is None:
            return
        yield page


def with_groups(manager: Manager, remotes: Iterable[RemoteAccount]) -> list[RemoteAccount]:
    """The same accounts, each one that was listed without its groups read by itself."""
    with _reading():
        return [
            manager.get_account(remote.uid) if remote.groups is None else remote
            for remote in remotes
        ]


@contextmanager
def _reading() -> Iterator[None]:
    with allowed():
        try:
            yield
        except ManagerError:
            raise
        except Exception as error:
            raise Incomplete(f"{type(error).__name__}: {error}") from error


def unlisted(service: str, error: SvcctlError) -> Problem:
    """A service of which nothing is concluded: its listing broke off, or its hook."""
    if isinstance(error, ManagerError):
        said = f"could not be read completely: {error.message}"
        return Problem(service, said, ExitCode.INCOMPLETE, hint=error.hint)
    return Problem(service, error.message, error.exit_code, hint=error.hint)
