"""A connection to a directory server: opened, encrypted, bound, and bounded in what it takes in.

Of all modules only this one knows ldap3.
"""

import select
import socket
import ssl
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import ldap3
from ldap3.core import exceptions
from ldap3.protocol.rfc4511 import AttributeSelection, LDAPString
from pyasn1.codec.ber.encoder import encode

from svcctl.config.ldap import Tls
from svcctl.errors import Denied, Invalid, ManagerError, Transient
from svcctl.ldap.messages import POST_READ, Change, Control
from svcctl.ldap.results import Lost, error
from svcctl.text import brief

WHOLE = 10
"""So many time-outs long may an answer take in all."""
LARGEST = 256 << 20
"""Bytes of one answer; a page of entries is one."""
_PIECE = 65536
_KINDS = {
    "add": ldap3.MODIFY_ADD,
    "delete": ldap3.MODIFY_DELETE,
    "replace": ldap3.MODIFY_REPLACE,
}
_OURS = (
    exceptions.LDAPInvalidFilterError,
    exceptions.LDAPInvalidDnError,
    exceptions.LDAPInvalidValueError,
    exceptions.LDAPAttributeError,
)
"""What ldap3 refuses to send."""
_ENDED = (
    exceptions.LDAPSocketSendError,
    exceptions.LDAPSocketReceiveError,
    exceptions.LDAPSessionTerminatedByServerError,
)

Answer = tuple[Mapping[str, Any], list[Mapping[str, Any]]]
"""The result and the entries of one request, as ldap3 shows them."""


class Connection:
    """Speaks for one thread at a time. After an error it must be closed.

    what: begins the message of an error. Raises Invalid for what cannot be sent, Lost and
    Transient.
    """

    def __init__(self, inner: ldap3.Connection, seconds: float) -> None:
        self._inner: Any = inner
        self._socket = inner.socket = _Bounded(inner.socket, seconds)
        inner.strategy.socket_size = _PIECE

    def search(
        self,
        what: str,
        base: str,
        filter: str,
        attributes: Collection[str],
        controls: Sequence[Control] = (),
        *,
        below: bool = True,
        page: tuple[int, bytes] | None = None,
    ) -> Answer:
        """below: also what is under `base`. page: its size, and the cookie where it begins."""
        size, cookie = page or (None, b"")
        return self._asked(
            what,
            lambda: self._inner.search(
                base,
                filter,
                search_scope=ldap3.SUBTREE if below else ldap3.BASE,
                dereference_aliases=ldap3.DEREF_NEVER,
                attributes=list(attributes) or [ldap3.NO_ATTRIBUTES],
                controls=list(controls),
                paged_size=size,
                paged_criticality=True,
                paged_cookie=cookie or None,
            ),
        )

    def add(
        self, what: str, dn: str, values: Mapping[str, Sequence[bytes]], show: Sequence[str]
    ) -> Answer:
        """show: what to show of the new entry, by a server that can (RFC 4527, 3.2)."""
        given = {name: list(values[name]) for name in values}
        selection = AttributeSelection()
        for place, name in enumerate(show):
            selection[place] = LDAPString(name)
        controls = [(POST_READ, False, encode(selection))]
        return self._asked(what, lambda: self._inner.add(dn, attributes=given, controls=controls))

    def modify(self, what: str, dn: str, changes: Sequence[Change]) -> Answer:
        wanted: dict[str, list[tuple[str, list[bytes]]]] = {}
        for kind, attribute, values in changes:
            wanted.setdefault(attribute, []).append((_KINDS[kind], list(values)))
        return self._asked(what, lambda: self._inner.modify(dn, wanted))

    def delete(self, what: str, dn: str) -> Answer:
        return self._asked(what, lambda: self._inner.delete(dn))

    def set_password(self, what: str, dn: str, password: bytes) -> Answer:
        """RFC 3062. As octets: ldap3 would put text through SASLprep."""
        extend = self._inner.extend.standard
        return self._asked(what, lambda: extend.modify_password(dn, new_password=password))

    def bind(self, what: str) -> Answer:
        return self._asked(what, lambda: self._inner.bind(read_server_info=False))

    def rested(self) -> bool:
        """Whether it can be used again: its server has not said goodbye in the meantime."""
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        _close(self._inner)

    def _asked(self, what: str, call: Callable[[], object]) -> Answer:
        self._socket.expect()
        try:
            call()
        except _OURS as problem:
            raise Invalid(f"{what}: {brief(str(problem))}") from None
        except exceptions.LDAPException as problem:
            late = isinstance(problem, TimeoutError)
            kind = Transient if late or not isinstance(problem, _ENDED) else Lost
            raise kind(f"{what}: {_reason(problem)}") from None
        except Exception as problem:
            # Whatever ldap3's decoder stumbles on.
            raise Transient(f"{what}: the answer is damaged: {_reason(problem)}") from problem
        response = self._inner.response
        return self._inner.result, response if isinstance(response, list) else []


class Opener:
    """Makes connections to one server, all of them to the same of its addresses while that works.

    Names of domains stand for several controllers, which learn of changes from each other late.
    """

    def __init__(
        self,
        url: str,
        *,
        bind_dn: str | None = None,
        bind_password: str | None = None,
        tls: Tls | None = None,
        timeout: timedelta = timedelta(seconds=30),
    ) -> None:
        parts = urlsplit(url)
        self.url = url
        self._host = parts.hostname or ""
        self._ssl = parts.scheme == "ldaps"
        self._port = parts.port or (636 if self._ssl else 389)
        self._user = bind_dn
        self._password = bind_password
        self._tls = tls or Tls()
        self._seconds = timeout.total_seconds()
        self._works: str | None = None

    def open(self) -> Connection:
        """A connection that is ready for requests. Raises Denied, Invalid and Transient."""
        reason = "no address"
        for address in self._addresses():
            tls = self._encryption()
            inner = self._connection(address, tls)
            try:
                inner.open(read_server_info=False)
                if self._tls.start:
                    inner.start_tls(read_server_info=False)
            except exceptions.LDAPException as problem:
                _close(inner)
                if tls is not None and tls.refusal is not None:
                    raise self._untrusted(tls.refusal) from None
                if isinstance(problem, exceptions.LDAPStartTLSError):
                    raise Denied(
                        f"{self.url}: {brief(str(problem))}",
                        hint="the server offers no StartTLS; use ldaps://",
                    ) from None
                self._works, reason = None, _reason(problem)
                continue
            self._works = address
            return self._bound(Connection(inner, self._seconds))
        raise Transient(
            f"{self.url}: cannot connect: {reason}",
            hint="check the URL and whether the server is up",
        )

    def redacted(self, text: str) -> str:
        """Remote text without our password, which a remote may repeat."""
        return text.replace(self._password, "***") if self._password else text

    def _addresses(self) -> Iterator[str]:
        if self._works is not None:
            yield self._works
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as problem:
            raise Transient(
                f"{self.url}: the name of the server is not known: {_reason(problem)}",
                hint="check the URL, and the name server",
            ) from None
        yield from dict.fromkeys(str(address[4][0]) for address in found)

    def _connection(self, address: str, tls: "_Encryption | None") -> ldap3.Connection:
        server = ldap3.Server(
            address,
            port=self._port,
            use_ssl=self._ssl,
            tls=tls,
            get_info=ldap3.NONE,
            connect_timeout=self._seconds,
        )
        return ldap3.Connection(
            server,
            user=self._user,
            password=self._password,
            authentication=ldap3.ANONYMOUS if self._user is None else ldap3.SIMPLE,
            receive_timeout=max(1, round(self._seconds)),
            auto_referrals=False,
            auto_range=False,
            auto_escape=False,
            auto_encode=False,
            check_names=False,
            return_empty_attributes=False,
        )

    def _encryption(self) -> "_Encryption | None":
        if not self._ssl and not self._tls.start:
            return None
        try:
            context = ssl.create_default_context(cafile=self._tls.ca_file)
            if self._tls.client_certificate is not None:
                context.load_cert_chain(self._tls.client_certificate, self._tls.client_key)
        except OSError as problem:  # ssl.SSLError is one
            raise Invalid(
                f"{self.url}: TLS: {_reason(problem)}",
                hint="check tls.ca_file, tls.client_certificate and tls.client_key",
            ) from None
        return _Encryption(context, self._tls.name or self._host)

    def _untrusted(self, refusal: Exception) -> Denied | Transient:
        if isinstance(refusal, ssl.SSLCertVerificationError):
            return Denied(
                f"{self.url}: TLS: the certificate is not good: {refusal.verify_message}",
                hint="tls.ca_file names who vouches for it, tls.name the name that is in it",
            )
        return Transient(
            f"{self.url}: TLS: {_reason(refusal)}",
            hint="check the URL: the port may not be one of TLS",
        )

    def _bound(self, connection: Connection) -> Connection:
        try:
            what = f"{self.url}: bind as {self._user or 'nobody'}"
            result, _ = connection.bind(what)
            if result["result"] != 0:
                raise error(result, what)
        except ManagerError:
            connection.close()
            raise
        return connection


class _Encryption(ldap3.Tls):
    """TLS as Python's ssl does it: ldap3 compares names on its own, and knows no SNI by itself."""

    def __init__(self, context: ssl.SSLContext, name: str) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        self._context = context
        self._name = name
        self.refusal: Exception | None = None

    def wrap_socket(self, connection: ldap3.Connection, do_handshake: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - ldap3's signature
        try:
            connection.socket = self._context.wrap_socket(
                connection.socket, server_hostname=self._name
            )
        except (OSError, ValueError) as problem:
            self.refusal = problem
            raise


class _Bounded:
    """A socket of which one answer may neither be too long nor take too long."""

    def __init__(self, inner: socket.socket, seconds: float) -> None:
        self._inner = inner
        self._seconds = seconds
        self.expect()

    def expect(self) -> None:
        """From here on another answer is read."""
        self._left = LARGEST
        self._deadline = time.monotonic() + WHOLE * self._seconds

    def recv(self, size: int) -> bytes:
        if time.monotonic() > self._deadline:
            raise TimeoutError(f"the answer was not complete after {WHOLE} time-outs")
        data = self._inner.recv(size)
        self._left -= len(data)
        if self._left < 0:
            raise OSError(f"the answer is longer than {LARGEST:,} bytes")
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def _close(inner: ldap3.Connection) -> None:
    """Let go of it, whatever state it is in."""
    held = inner.socket
    inner.strategy.close()
    if held is not None:
        held.close()


def _reason(problem: BaseException) -> str:
    """What is at the bottom of it: `connection refused`."""
    if isinstance(problem, TimeoutError):
        return "no answer in time"
    text = brief(str(problem) or type(problem).__name__)
    text = text.rpartition("[Errno ")[2].partition("] ")[2] or text
    return text[:1].lower() + text[1:]
