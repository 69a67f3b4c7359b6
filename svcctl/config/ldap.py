"""The settings of everything that is reached over LDAP: which server, who we are, how patient."""

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from svcctl.config.secrets import Secret
from svcctl.config.service import Duration, Frozen
from svcctl.config.tls import Certificates

_LOOPBACK = re.compile(r"localhost|127(\.[0-9]+){3}|::1")
_RDN = r"\s*[A-Za-z][\w.-]*\s*=\s*(?:\\.|[^\\,;<>\"])+"
_DN = re.compile(rf"{_RDN}(,{_RDN})*", re.ASCII)
_ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9-]*")


def _ldap_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - raises for a port that is none
    except ValueError:
        # What Python says of it may be a part of a password.
        raise ValueError("not a URL: its host or its port is none") from None
    if parts.scheme not in ("ldap", "ldaps") or not parts.hostname:
        raise ValueError("must be a URL like ldaps://ldap.example.org")
    if parts.username or parts.password:
        raise ValueError("no user and no password in a URL; there are settings for them")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("must end with host and port; what to look for there has its own settings")
    return value.rstrip("/")


def _dn(value: str) -> str:
    if not _DN.fullmatch(value):
        raise ValueError("must be a distinguished name like ou=people,dc=example,dc=org")
    return value


def _filter(value: str) -> str:
    if not (value.startswith("(") and value.endswith(")") and value.count("(") == value.count(")")):
        raise ValueError("must be a filter in brackets, like (objectClass=person)")
    return value


def _attribute(value: str) -> str:
    if not _ATTRIBUTE.fullmatch(value):
        raise ValueError("must be the name of an attribute, like mail")
    return value


LdapUrl = Annotated[str, AfterValidator(_ldap_url)]
"""An ldap or ldaps URL of a host and, if need be, a port."""
DN = Annotated[str, AfterValidator(_dn)]
"""A distinguished name (RFC 4514)."""
Filter = Annotated[str, AfterValidator(_filter)]
"""A search filter (RFC 4515)."""
Attribute = Annotated[str, AfterValidator(_attribute)]
"""The name of an attribute (RFC 4512, 1.4), without options."""

DialectName = Literal["openldap", "active-directory"]
GroupClass = Literal["groupOfNames", "groupOfUniqueNames", "groupOfMembers", "posixGroup", "group"]


class Tls(Certificates):
    """How a connection to a directory server is encrypted. A ldaps:// one is from the start."""

    start: bool = Field(
        default=False,
        description="true: a ldap:// connection is encrypted before anything else is said "
        "(StartTLS)",
    )
    name: str | None = Field(
        None,
        min_length=1,
        description="the name in the server's certificate, where it is not the one in server",
    )
    plain: bool = Field(
        default=False, description="true: passwords may go to another machine unencrypted"
    )


class LdapServer(Frozen):
    """Where a directory server is, what it is, and who we are there."""

    server: LdapUrl = Field(description="its URL, like ldaps://ldap.example.org")
    dialect: DialectName = Field("openldap", description="what kind of server it is")
    bind_dn: str | None = Field(
        None,
        min_length=1,
        description="who we are: a distinguished name; in Active Directory also name@domain",
    )
    bind_password: Secret | None = Field(None, description="the password that goes with it")
    tls: Tls = Field(Tls(), description="encryption")
    timeout: Duration = Field(
        "30s",  # type: ignore[assignment] # validated
        description="for connecting, and for each silence while an answer is read; an answer may "
        "take ten times as long in all",
    )
    page_size: int = Field(
        500, ge=1, le=100_000, description="entries to ask for at once (RFC 2696)"
    )

    @model_validator(mode="after")
    def _kept_private(self) -> Self:
        if (self.bind_dn is None) != (self.bind_password is None):
            raise ValueError("bind_dn and bind_password go together")
        if self.tls.start and self.server.startswith("ldaps:"):
            raise ValueError("tls.start is for ldap://; a ldaps:// connection is encrypted anyway")
        if self.bind_password is not None and self.exposed and not self.tls.plain:
            raise ValueError(
                f"{self.server} would show passwords to everybody on the way; use ldaps:// or "
                "tls.start = true, or say tls.plain = true"
            )
        return self

    @property
    def exposed(self) -> bool:
        """Whether what is sent can be read on the way."""
        parts = urlsplit(self.server)
        local = _LOOPBACK.fullmatch(parts.hostname or "")
        return parts.scheme == "ldap" and not self.tls.start and not local


class LdapTree(LdapServer):
    """Where in a directory people and groups are."""

    base: DN = Field(description="where people are, also below")
    group_base: DN | None = Field(
        None, description="where groups are, also below; without one, no groups"
    )
    group_class: GroupClass | None = Field(
        None, description="what a group is; default: groupOfNames, in Active Directory group"
    )
    group_name: Attribute = Field("cn", description="the attribute that names a group")

    @model_validator(mode="after")
    def _groups_of_the_dialect(self) -> Self:
        windows = self.dialect == "active-directory"
        if self.group_class is not None and windows != (self.group_class == "group"):
            raise ValueError(f"group_class: no {self.group_class} in dialect = {self.dialect!r}")
        return self
