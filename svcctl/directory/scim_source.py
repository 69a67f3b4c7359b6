"""People from an identity provider that speaks SCIM 2.0."""

import math
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from typing import Any, NoReturn

from svcctl.config.source import ScimSource
from svcctl.directory.person import FLAGS, Entries, Person, name_problem, text_problem, tidy
from svcctl.errors import ConfigError, ManagerError, SourceError
from svcctl.http.connect import connect
from svcctl.http.scim.client import HEADERS, ScimClient
from svcctl.http.scim.membership import Memberships, nested
from svcctl.http.scim.resource import Resource, at


def place(_source: ScimSource, key: str, number: int) -> str:
    """`directory.sources.idp: user 17`."""
    return f"{key}: user {number}"


def read(source: ScimSource, key: str, _known: Collection[str]) -> Entries:
    """Each person with the place in the list of users, after all groups were read.

    Memory holds the memberships. Raises SourceError, also where the list ended early.
    """
    with _explained(key), closing(_scim(source)) as scim:
        groups = None
        if source.read_groups:
            groups = nested(scim, lambda group: _group(source, key, group))
        for number, user in enumerate(scim.resources("Users"), start=1):
            yield number, _person(source, place(source, key, number), user, groups)


def _scim(source: ScimSource) -> ScimClient:
    client = connect(
        source.base_url,
        token=None if source.token is None else source.token.reveal(),
        basic=source.basic,
        oauth=source.oauth,
        http=source.http,
        headers=HEADERS,
    )
    return ScimClient(client, page_size=source.page_size)


@contextmanager
def _explained(key: str) -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        raise SourceError(error.message, hint=error.hint) from error
    except ManagerError as error:
        hint = error.hint or "nothing of this source was taken over; the next pull tries again"
        raise SourceError(f"{key}: {error.message}", hint=hint) from error


def _group(source: ScimSource, key: str, group: Resource) -> str:
    return _name(f"{key}: /Groups/{group['id']}", source.groups, at(group, source.groups))


def _person(
    source: ScimSource, where: str, user: Resource, memberships: Memberships | None
) -> Person:
    """The user as the source's settings have it; `where` begins what is wrong with it."""
    where = f"{where}: /Users/{user['id']}"
    return Person(
        source_id=_name(where, source.id, at(user, source.id)),
        username=_name(where, source.username, at(user, source.username)),
        active=_flag(where, source.active, at(user, source.active)),
        groups=None if memberships is None else memberships.of(user),
        attributes={
            attribute: _simple(where, path, at(user, path))
            for path, attribute in source.attributes.items()
        },
    )


def _name(where: str, path: str, value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is None:
        value = ""
    if not isinstance(value, str):
        _refuse(where, f"{path} is not text")
    name = tidy(value)
    if problem := name_problem(name):
        _refuse(where, f"{path} {problem}")
    return name


def _flag(where: str, path: str, value: Any) -> bool | None:
    """None where nothing is said: what that means is the server's business (RFC 7643, 4.1.1)."""
    if value is None or isinstance(value, bool):
        return value
    flag = FLAGS.get(value.strip().lower()) if isinstance(value, str) and value.strip() else None
    if flag is None:
        _refuse(where, f"{path} is neither true nor false")
    return flag


def _simple(where: str, path: str, value: Any) -> Any:
    """One text, number or flag; of several values the primary one, else the first."""
    if isinstance(value, list):
        tables = (one for one in value if isinstance(one, dict))
        first = next((one for one in tables if one.get("primary") is True), next(iter(value), None))
        value = first.get("value") if isinstance(first, dict) else first
    match value:
        case str():
            if problem := text_problem(value):
                _refuse(where, f"{path}: {problem}")
            return value.strip() or None
        case float() if not math.isfinite(value):
            _refuse(where, f"{path} is not a number")
        case list() | dict():
            _refuse(where, f"{path} has several parts", "name one, like name.familyName")
    return value


def _refuse(where: str, problem: str, hint: str = "correct it on the server") -> NoReturn:
    raise SourceError(f"{where}: {problem}", hint=hint)
