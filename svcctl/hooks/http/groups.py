"""The groups that exist on a service, by name and by id."""

import threading
from typing import Any

from svcctl.errors import Conflict, Incomplete, Invalid
from svcctl.hooks.http.api import Api
from svcctl.hooks.http.expression import Expression
from svcctl.hooks.http.settings import GroupItems


class GroupList:
    """Read when it is first needed, and again for what is not in it. request None: nobody knows.

    A group without an id goes by its name, one that is not listed by its id.
    """

    def __init__(self, api: Api, request: GroupItems | None) -> None:
        self._api = api
        self._request = request
        self._known: list[tuple[str, str]] | None = None
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        return sorted({name for name, _ in self._read(anew=True)})

    def id_of(self, name: str) -> str:
        """Raises Invalid where there is no such group, Conflict where there are several."""
        if self._request is None:
            return name
        for anew in (False, True):
            ids = {id_ for known, id_ in self._read(anew=anew) if known == name}
            if len(ids) == 1:
                return ids.pop()
            if ids:
                raise Conflict(
                    f"{len(ids)} groups are called {name!r} on the service",
                    hint="rename all but one of them there",
                )
        raise Invalid(f"no group {name!r} on the service", hint="create it there, or map another")

    def names_of(self, ids: list[str]) -> frozenset[str]:
        names = {id_: name for name, id_ in self._read()}
        if not set(ids) <= names.keys():
            names = {id_: name for name, id_ in self._read(anew=True)}
        return frozenset(names.get(id_, id_) for id_ in ids)

    def _read(self, *, anew: bool = False) -> list[tuple[str, str]]:
        request = self._request
        assert request is not None
        with self._lock:
            if self._known is None or anew:
                items = [item for page in self._api.items(request, {}) for item in page]
                names = texts([request.name.of(item) for item in items], request.name)
                path = request.id or request.name
                ids = texts([path.of(item) for item in items], path)
                self._known = list(zip(names, ids, strict=True))
            return self._known


def texts(found: Any, path: Expression) -> list[str]:
    """A list of names or ids, numbers as text. Raises Incomplete for anything else."""
    if not isinstance(found, list) or not all(
        isinstance(one, (str, int)) and not isinstance(one, bool) and one != "" for one in found
    ):
        raise Incomplete(
            f"{path} gives no list of names or ids", hint="compare it with what the service sends"
        )
    return [str(one) for one in found]
