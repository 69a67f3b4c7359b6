"""The settings of `[notify]`: where what people and operators are to be told goes."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from svcctl.config.problems import Problem, dotted
from svcctl.config.secrets import Secret
from svcctl.config.service import SERVICE_NAME, Duration, Frozen

# A dot-atom before the @ (RFC 5322, 3.2.3) and a host name after it: what every server takes, and
# nothing that has a meaning in a header.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"(?=[^@]{{1,64}}@){_ATOM}(\.{_ATOM})*@{_LABEL}(\.{_LABEL})*")
_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_HERE = ("localhost", "127.0.0.1", "::1")


def is_address(text: str) -> bool:
    """Whether this is one plain e-mail address, `ada@example.org`, and nothing besides."""
    return len(text) <= 254 and _ADDRESS.fullmatch(text) is not None


def _address(text: str) -> str:
    if not is_address(text):
        raise ValueError("not an e-mail address; write it like ops@example.org")
    return text


def _host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._:-]{1,253}", text):
        raise ValueError("not a host; write it like mail.example.org")
    return text


def _prefix(text: str) -> str:
    if not text.isprintable() or len(text) > 60:
        raise ValueError("must be at most 60 printable characters")
    return text


def _timeout(value: timedelta) -> timedelta:
    if not timedelta(seconds=1) <= value <= timedelta(minutes=10):
        raise ValueError("must be from 1s to 10m")
    return value


Address = Annotated[str, AfterValidator(_address)]


class Mail(Frozen):
    """The mail server that takes the messages."""

    host: Annotated[str, AfterValidator(_host)] = Field(description="the server's name")
    port: int | None = Field(
        None, ge=1, le=65535, description="default: 587 with starttls, 465 with tls, else 25"
    )
    security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="none: in the clear, for a server on the same machine"
    )
    username: str | None = Field(None, min_length=1, description="if the server wants a login")
    password: Secret | None = Field(None, description="and the password for it")
    sender: Address = Field(description="the address that messages come from")
    ca_file: Path | None = Field(
        None, description="PEM file of certificates to trust instead of the system's"
    )
    timeout: Annotated[Duration, AfterValidator(_timeout)] = Field(
        timedelta(seconds=20), description="how long each answer of the server is waited for"
    )

    @property
    def effective_port(self) -> int:
        return self.port or _PORTS[self.security]

    def problems(self) -> Iterator[Problem]:
        key = "notify.mail"
        if self.username and self.password is None:
            yield Problem(
                f"{key}.password", "missing", 'say where it is: { env = "MAIL_PASSWORD" }'
            )
        if self.password is not None and self.username is None:
            yield Problem(f"{key}.username", "missing", "a password needs one")
        if self.username and self.security == "none" and self.host not in _HERE:
            yield Problem(
                f"{key}.security",
                "the password would be readable on its way",
                'write "starttls" or "tls"',
            )


class Notify(Frozen):
    """Where messages to users and operators go. Without this table nothing is sent."""

    deliver: Literal["mail", "file"] = Field(
        description="mail: by the server in notify.mail; file: one JSON object per line in `file`"
    )
    operators: tuple[Address, ...] = Field(
        (), description="who is told of failures and held removals"
    )
    subject_prefix: Annotated[str, AfterValidator(_prefix)] = Field(
        "[svcctl] ", description="what the subject of every message begins with"
    )
    file: Path | None = Field(
        None, description='the file to append to, with deliver = "file"; made with mode 0600'
    )
    apprise: dict[str, Secret] = Field(
        default_factory=dict,
        description="where operators are told besides, by Apprise: a name of yours -> the URL of a "
        "chat, a phone and the like, a secret",
    )
    mail: Mail | None = Field(None, description='the mail server, with deliver = "mail"')

    def problems(self) -> Iterator[Problem]:
        """What is wrong although every single value is well-formed."""
        if self.deliver == "mail" and self.mail is None:
            yield Problem("notify.mail", "missing", "it needs at least host and sender")
        if self.deliver == "file" and self.file is None:
            yield Problem("notify.file", "missing", 'name a file, like "notices.ndjson"')
        for name in self.apprise:
            if not re.fullmatch(SERVICE_NAME, name):
                key = dotted((name,), "notify.apprise")
                yield Problem(key, "not a name", "write it like chat or on-call")
        if self.mail is not None:
            yield from self.mail.problems()

    def warnings(self) -> Iterator[Problem]:
        """What is allowed and probably not meant."""
        if not self.operators and not self.apprise and self.deliver == "mail":
            yield Problem(
                "notify.operators",
                "nobody is told when a run fails or removals are held",
                'name somebody, like ["ops@example.org"]',
            )
        certificates = self.mail.ca_file if self.mail and self.deliver == "mail" else None
        if certificates and not certificates.exists():
            yield Problem("notify.mail.ca_file", f"{certificates} does not exist", "mail needs it")
