"""The LDAP client of managers and sources: pooled, bounded, and plain about what is wrong.

Every failure comes out as a `ManagerError`. **Unknown is not absent**: a page that is missing, a
limit that was reached, a part of the tree that another server has make a listing Incomplete.
Aliases and referrals are never followed.
"""

import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from svcctl.config.ldap import Tls
from svcctl.errors import Denied, Incomplete, Invalid, ManagerError, Transient
from svcctl.ldap.messages import PAGED, POST_READ, Change, Control, Entry
from svcctl.ldap.results import Code, Lost, error
from svcctl.text import brief

if TYPE_CHECKING:
    from svcctl.ldap.connection import Answer, Connection

ANYTHING = "(objectClass=*)"
_SCHEMA = "(objectClass=subschema)"


class LdapClient:
    """One directory server; for several threads, each of which gets a connection of its own.

    The arguments are the settings of `config.ldap.LdapServer`, the secret revealed.
    search_controls: sent along with every search.
    """

    def __init__(
        self,
        url: str,
        *,
        bind_dn: str | None = None,
        bind_password: str | None = None,
        tls: Tls | None = None,
        timeout: timedelta = timedelta(seconds=30),
        page_size: int = 500,
        search_controls: Sequence[Control] = (),
    ) -> None:
        try:
            from svcctl.ldap.connection import Opener
        except ModuleNotFoundError as missing:
            if missing.name != "ldap3":
                raise
            raise Invalid("ldap3: not installed", hint="pip install 'svcctl[ldap]'") from None
        self.url = url
        self._opener = Opener(
            url, bind_dn=bind_dn, bind_password=bind_password, tls=tls, timeout=timeout
        )
        self._page_size = page_size
        self._controls = list(search_controls)
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []
        self._lock = threading.Lock()

    def close(self) -> None:
        """Also what a listing that nobody reads to its end has left open."""
        with self._lock:
            left = list(self._open)
            self._open.clear()
            self._idle.clear()
        for connection in left:
            connection.close()

    # Reading

    def root(self, *attributes: str) -> Entry:
        """The server's own entry (RFC 4512, 5.1)."""
        entry = self.read("", attributes)
        if entry is None:
            raise Transient(f"{self.url}: shows nothing of itself", hint="check the URL")
        return entry

    def attribute_names(self) -> frozenset[str]:
        """All that the schema knows (RFC 4512, 4.2), in lower case; empty: it is not shown."""
        where = self.root("subschemaSubentry").text("subschemaSubentry")
        schema = self.read(where, ["attributeTypes"], filter=_SCHEMA) if where else None
        said = " ".join(schema.texts("attributeTypes")) if schema else ""
        return frozenset(
            name.lower()
            for names in re.findall(r"NAME \(? ?((?:'[^']+' ?)+)", said)
            for name in re.findall(r"'([^']+)'", names)
        )

    def read(
        self,
        dn: str,
        attributes: Collection[str],
        *,
        filter: str = ANYTHING,
        controls: Sequence[Control] = (),
    ) -> Entry | None:
        """One entry by its name; None where there is none, or the filter does not fit."""
        what = f"{self.url}: read {dn or 'the root'}"
        result, entries = self._search(what, dn, filter, attributes, controls, below=False)
        if result["result"] == Code.NO_SUCH_OBJECT:
            return None
        self._require(result, what)
        return entries[0] if entries else None

    def find(
        self, base: str, filter: str, attributes: Collection[str], controls: Sequence[Control] = ()
    ) -> list[Entry]:
        """All entries at and below `base` that the filter fits; for filters that fit few."""
        what = f"{self.url}: search {base}"
        result, entries = self._search(what, base, filter, attributes, controls)
        self._require_base(result, what)
        return entries

    def entries(self, base: str, filter: str, attributes: Collection[str]) -> Iterator[Entry]:
        """The same, each as it comes, with one page in memory (RFC 2696).

        It keeps a connection of its own until it is read to its end: cookies belong to one.
        Raises Incomplete unless the server says that there is no more.
        """
        what = f"{self.url}: search {base}"
        cookie = b""
        with self._taken() as connection:
            while True:
                answer = connection.search(
                    what, base, filter, attributes, self._controls, page=(self._page_size, cookie)
                )
                result, entries = _read(answer, what)
                self._require_base(result, what)
                yield from entries
                cookie = _cookie(result)
                if not cookie:
                    return

    def _search(
        self,
        what: str,
        base: str,
        filter: str,
        attributes: Collection[str],
        controls: Sequence[Control],
        *,
        below: bool = True,
    ) -> tuple[Mapping[str, Any], list[Entry]]:
        controls = [*self._controls, *controls]

        def search(connection: "Connection") -> "Answer":
            return connection.search(what, base, filter, attributes, controls, below=below)

        return _read(self._asked(search), what)

    def _asked(self, call: "Callable[[Connection], Answer]") -> "Answer":
        """For reads: once more where the server gave up the connection while nobody used it."""
        if (connection := self._rested()) is not None:
            with suppress(Lost), self._taken(connection):
                return call(connection)
        with self._taken(self._fresh()) as connection:
            return call(connection)

    def _require_base(self, result: Mapping[str, Any], what: str) -> None:
        """A base that is not there says nothing about what is below it."""
        if result["result"] == Code.NO_SUCH_OBJECT:
            raise Denied(
                f"{what}: there is no such entry, or it is not shown to us",
                hint="check the base, and what bind_dn may see",
            )
        self._require(result, what)

    def _require(self, result: Mapping[str, Any], what: str) -> None:
        if result["result"] != Code.SUCCESS:
            raise self._error(result, what)

    # Writing

    def add(
        self, dn: str, values: Mapping[str, Sequence[bytes]], show: Sequence[str]
    ) -> Entry | None:
        """A new entry. Raises Conflict where there is one.

        Returns what `show` names of it, in the same moment; None where a server cannot do that.
        """
        what = f"{self.url}: add {dn}"
        with self._taken() as connection:
            result, _ = connection.add(what, dn, values, show)
        self._require_base(result, what)
        shown = result.get("controls", {}).get(POST_READ)
        if shown is None:
            return None
        found = shown["value"]["result"]
        return Entry(dn, {name.lower(): _octets(found[name]) for name in found}, {})

    def modify(self, dn: str, *changes: Change, expect: Collection[int] = ()) -> int:
        """All of the changes, or none. expect: codes that are answers, not errors; the code."""
        what = f"{self.url}: change {dn}"
        return self._write(what, lambda connection: connection.modify(what, dn, changes), expect)

    def delete(self, dn: str) -> None:
        """Raises NotFound when it is gone already."""
        what = f"{self.url}: delete {dn}"
        self._write(what, lambda connection: connection.delete(what, dn))

    def set_password(self, dn: str, password: str) -> None:
        """By the password modify operation (RFC 3062): the server keeps it as it is set up to."""
        what = f"{self.url}: set the password of {dn}"
        secret = password.encode()
        self._write(what, lambda connection: connection.set_password(what, dn, secret))

    def _write(
        self, what: str, call: "Callable[[Connection], Answer]", expect: Collection[int] = ()
    ) -> int:
        with self._taken() as connection:
            result, _ = call(connection)
        code = int(result["result"])
        if code != Code.SUCCESS and code not in expect:
            raise self._error(result, what)
        return code

    # Connections

    @contextmanager
    def _taken(self, connection: "Connection | None" = None) -> "Iterator[Connection]":
        """A connection for this thread alone; after a failure it is not used again."""
        connection = connection or self._rested() or self._fresh()
        try:
            yield connection
        except BaseException:
            self._end(connection)
            raise
        with self._lock:
            if connection in self._open:
                self._idle.append(connection)

    def _fresh(self) -> "Connection":
        connection = self._opener.open()
        with self._lock:
            self._open.add(connection)
        return connection

    def _rested(self) -> "Connection | None":
        """One from before."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if connection.rested():
                return connection
            self._end(connection)

    def _end(self, connection: "Connection") -> None:
        with self._lock:
            self._open.discard(connection)
        connection.close()

    def _error(self, result: Mapping[str, Any], what: str) -> ManagerError:
        said = self._opener.redacted(str(result.get("message") or ""))
        return error({**result, "message": said}, what)


def _entry(found: Mapping[str, Any], what: str) -> Entry:
    if found["type"] != "searchResEntry":
        where = " ".join(map(str, found.get("uri") or ()))
        raise Incomplete(
            f"{what}: a part of it is on another server: {brief(where)}",
            hint="referrals are not followed; choose a base that one server has as a whole",
        )
    values = {name.lower(): list(octets) for name, octets in found["raw_attributes"].items()}
    for name in values:
        if ";range=" in name:
            raise Incomplete(f"{found['dn']}: the server shows only a part of {name}")
    controls = {oid: control["value"] for oid, control in found.get("controls", {}).items()}
    return Entry(found["dn"], values, controls)


def _read(answer: "Answer", what: str) -> tuple[Mapping[str, Any], list[Entry]]:
    result, response = answer
    return result, [_entry(one, what) for one in response]


def _octets(values: Sequence[str | bytes]) -> list[bytes]:
    return [value.encode() if isinstance(value, str) else value for value in values]


def _cookie(result: Mapping[str, Any]) -> bytes:
    """Where the next page begins; empty: there is none."""
    paged = result.get("controls", {}).get(PAGED)
    return bytes(paged["value"]["cookie"]) if paged else b""
