"""A real mail server on a free port of this machine, with STARTTLS, a login, and a will of its own.

The certificate authority is made for the session and trusted only by whoever reads its file.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from tests.support.posts import Posts, posts

USERNAME, PASSWORD = "svcctl", "correct horse battery staple"


@dataclass(frozen=True)
class Received:
    """A message, and who it was handed over for."""

    sender: str
    to: tuple[str, ...]
    message: EmailMessage

    @property
    def subject(self) -> str:
        return str(self.message["Subject"])

    @property
    def body(self) -> str:
        return str(self.message.get_content()).replace("\r\n", "\n")


@dataclass
class Sink:
    """What it got; `refuse` answers a recipient, `after_data` a message, instead of OK."""

    port: int
    tls: ssl.SSLContext
    login: bool = True
    starttls: bool = True
    implicit_tls: bool = False
    mails: list[Received] = field(default_factory=list)
    refuse: dict[str, str] = field(default_factory=dict)
    recipients: list[str] = field(default_factory=list)
    connections: int = 0
    logins: list[bool] = field(default_factory=list)
    after_data: Callable[[Received], str] = lambda _: "250 OK"
    _controller: Controller | None = None

    def start(self) -> None:
        options: dict[str, Any] = {}
        if self.implicit_tls:
            options["ssl_context"] = self.tls
        elif self.starttls:
            options.update(tls_context=self.tls, require_starttls=True)
        if self.login:
            options.update(authenticator=self._authenticate, auth_required=True)
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, **options)
        self._controller.start()
        self.connections = 0

    def stop(self) -> None:
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    def to(self) -> list[str]:
        return sorted(address for mail in self.mails for address in mail.to)

    def _authenticate(self, server: Any, session: Any, envelope: Any, way: str, data: Any) -> Any:
        given = (data.login, data.password) if isinstance(data, LoginPassword) else None
        right = given == (USERNAME.encode(), PASSWORD.encode())
        self.logins.append(right)
        return AuthResult(success=right, handled=right)

    async def handle_EHLO(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        if not self.starttls or session.ssl is not None:
            self.connections += 1
        return responses

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        self.recipients.append(address)
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        mail = Received(envelope.mail_from, tuple(envelope.rcpt_tos), message)
        self.mails.append(mail)
        return await asyncio.get_running_loop().run_in_executor(None, self.after_data, mail)


@dataclass(frozen=True)
class Authority:
    """Whom clients trust, and certificates that are right, for another name, or out of date."""

    ca: trustme.CA

    def file(self, path: Path) -> Path:
        self.ca.cert_pem.write_to_path(str(path))
        return path

    def context(self, name: str = "localhost", *, expired: bool = False) -> ssl.SSLContext:
        until = datetime(2020, 1, 2, tzinfo=UTC) if expired else None
        since = datetime(2020, 1, 1, tzinfo=UTC) if expired else None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(name, not_before=since, not_after=until).configure_cert(context)
        return context


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority(trustme.CA())


@pytest.fixture
def sink(authority: Authority) -> Iterator[Sink]:
    """Not yet started: `sink.start()`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Sink(port, authority.context())
    yield server
    server.stop()


@pytest.fixture(name="posts")
def posted() -> Iterator[Posts]:
    """A server that keeps what is posted to it."""
    with posts() as it:
        yield it
