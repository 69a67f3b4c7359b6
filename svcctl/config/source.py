"""The settings of directory sources: one class per kind, told apart by `type`."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, field_validator
from pydantic_core import CoreSchema, core_schema

from svcctl.config.http import Remote
from svcctl.config.ldap import Attribute, Filter, LdapTree
from svcctl.config.problems import Problem
from svcctl.config.secrets import Secret
from svcctl.config.service import Duration, Frozen


class AnySource(Frozen):
    """What all kinds of sources have in common."""

    read_ahead: ClassVar[bool] = False
    """True: read to its end before anything is written, because nobody knows how long it takes."""

    @property
    def whence(self) -> str:
        """Where it reads, in a few words and without secrets."""
        raise NotImplementedError

    def problems(self) -> Iterator[Problem]:
        """What is wrong although every value is well-formed; the keys start at the source."""
        yield from ()

    def warnings(self) -> Iterator[Problem]:
        """What is allowed and probably not meant; the keys start at the source."""
        yield from ()


class SourceMapping(AnySource):
    """Which column or key of a source holds what."""

    id: str = Field(
        "id", description="the person's immutable id; where there is none, the username"
    )
    username: str = Field("username", description="the person's unique name")
    groups: str = Field("groups", description="the groups that the person is in")
    active: str = Field(
        "active", description="whether the person is active; where there is none, everybody is"
    )
    attributes: dict[str, str] = Field(
        default_factory=dict,
        description="column -> attribute, where they are not called the same",
    )


class FileSource(SourceMapping):
    """A source that is a file."""

    path: Path = Field(description="the file; a relative path starts at this file's folder")

    @property
    def whence(self) -> str:
        return str(self.path)

    def warnings(self) -> Iterator[Problem]:
        if not self.path.exists():
            yield Problem("path", f"{self.path} does not exist", "`directory pull` needs it")


class CsvSource(FileSource):
    """A table with a header line."""

    type: Literal["csv"] = Field(description="the kind of source")
    encoding: str = Field("utf-8-sig", description="the file's encoding")
    delimiter: str = Field(",", min_length=1, max_length=1, description="between two columns")
    groups_separator: str = Field(";", min_length=1, description="between two groups of a person")

    @field_validator("encoding")
    @classmethod
    def _known(cls, encoding: str) -> str:
        try:
            "".encode(encoding)
        except (LookupError, ValueError):
            raise ValueError("no such encoding; write it like utf-8 or cp1252") from None
        return encoding


class JsonSource(FileSource):
    """A list of objects, or an object with such a list under `users`; groups are a list."""

    type: Literal["json"] = Field(description="the kind of source")


_DRIVERS = {
    "sqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
}
_FORM = re.compile(r"([a-z]+)://([^:/?]*(:[^@]*)?@)?(.*)", re.DOTALL)


class DatabaseUrl(str):
    """A database of a kind that can promise to be read only. It never holds a password."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> "DatabaseUrl":
        """Raises ValueError, which never repeats what was written."""
        form = _FORM.fullmatch(text)
        if form is None or form[1] not in _DRIVERS:
            raise ValueError(
                "must be a URL like mysql://user@host/name, postgresql://user@host/name or "
                "sqlite:///people.db"
            )
        if form[3] or re.search(r"[?&](ssl)?pass(word|wd)?=", form[4]):
            raise ValueError('no password in a URL; write password = { file = "…" } below it')
        if form[1] == "sqlite" and (form[2] or len(form[4]) < 2 or form[4][0] != "/"):
            raise ValueError("must be a file, like sqlite:///people.db or sqlite:////srv/people.db")
        return cls(text)

    @property
    def file(self) -> str | None:
        """The path of a SQLite file, None for a server."""
        kind, _, rest = self.partition("://")
        return rest[1:] if kind == "sqlite" else None

    @property
    def full(self) -> str:
        """With the driver's name, as SQLAlchemy wants it."""
        kind, _, rest = self.partition("://")
        return f"{_DRIVERS[kind]}://{rest}"

    def placed(self, folder: Path, _key: str) -> "DatabaseUrl":
        """The same; a relative SQLite file is taken from `folder`."""
        if self.file is None:
            return self
        path = folder / os.path.expanduser(self.file)  # noqa: PTH111 - never raises
        return DatabaseUrl(f"sqlite:///{path}")

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls.parse, handler(str))


class SqlSource(SourceMapping):
    """A query to a database: MySQL, MariaDB, PostgreSQL or SQLite. It is only ever read.

    Of `query` each row is a person, and its columns are named like those of a CSV file.
    """

    read_ahead = True

    type: Literal["sql"] = Field(description="the kind of source")
    url: DatabaseUrl = Field(
        description="the database, like mysql://user@host/name, without a password; a relative "
        "SQLite file starts at this file's folder"
    )
    password: Secret | None = Field(None, description="the password of the user in the URL")
    query: str = Field(min_length=1, description="a SELECT that gives one row per person")
    groups_query: str | None = Field(
        None,
        min_length=1,
        description="a SELECT of two columns, a person's id and the name of a group; besides the "
        "column of groups, if query has one",
    )
    groups_separator: str = Field(
        ";", min_length=1, description="between two groups of a person in the column of groups"
    )
    timeout: Duration = Field(
        "60s",  # type: ignore[assignment] # validated
        description="how long connecting and all reading together may take",
    )

    @property
    def whence(self) -> str:
        return str(self.url)

    @field_validator("timeout")
    @classmethod
    def _some(cls, timeout: Any) -> Any:
        if timeout.total_seconds() < 1:
            raise ValueError("must be 1s or more")
        return timeout

    def problems(self) -> Iterator[Problem]:
        if self.url.file is not None and self.password is not None:
            yield Problem("password", "a SQLite file has none", "leave it out")

    def warnings(self) -> Iterator[Problem]:
        if self.url.file is not None and not Path(self.url.file).exists():
            yield Problem("url", f"{self.url.file} does not exist", "`directory pull` needs it")


_PATH = re.compile(r"(urn:[\w.:-]+:)?[A-Za-z]\w*(\.[A-Za-z]\w*)?", re.ASCII)


def _path(text: str) -> str:
    if not _PATH.fullmatch(text):
        raise ValueError(
            "must be a SCIM attribute like title, name.formatted, or with the schema of an "
            "extension before it, urn:…:User:department"
        )
    return text


ScimPath = Annotated[str, AfterValidator(_path)]
"""A SCIM attribute (RFC 7644, 3.10): `title`, `name.formatted`, `urn:…:User:department`."""


class ScimSource(Remote, SourceMapping):
    """The users and groups of an identity provider that speaks SCIM 2.0 (RFC 7643, 7644).

    Of an attribute with several values the primary one counts, else the first.
    """

    read_ahead = True

    type: Literal["scim"] = Field(description="the kind of source")
    id: ScimPath = Field("id", description="the person's immutable id")
    username: ScimPath = Field("userName", description="the person's unique name")
    groups: ScimPath = Field("displayName", description="what a group is called, in the group")
    active: ScimPath = Field(
        "active", description="whether the person is active; who has none stays as before"
    )
    attributes: dict[ScimPath, str] = Field(
        default_factory=lambda: {"emails": "email", "displayName": "character_name"},
        description="SCIM attribute -> attribute; no others are read",
    )
    read_groups: bool = Field(
        default=True, description="false: the groups are not read, and memberships stay"
    )
    page_size: int = Field(100, ge=1, le=10_000, description="users to ask for at once")

    @property
    def whence(self) -> str:
        return self.base_url


class LdapSource(LdapTree, AnySource):
    """The people and groups of an OpenLDAP server or an Active Directory. It is only ever read.

    An attribute with several values becomes a list of them.
    """

    read_ahead = True

    type: Literal["ldap"] = Field(description="the kind of source")
    filter: Filter | None = Field(
        None, description="who is a person; default: inetOrgPerson, in Active Directory user"
    )
    id: Attribute | None = Field(
        None,
        description="the person's immutable id; default: entryUUID, in Active Directory objectGUID",
    )
    username: Attribute | None = Field(
        None,
        description="the person's unique name; default: uid, in Active Directory sAMAccountName",
    )
    active: Attribute | None = Field(
        None,
        description="whether the person is active, TRUE or FALSE; who has none stays as before; "
        "default: not locked by an administrator, in Active Directory neither disabled nor expired",
    )
    attributes: dict[Attribute, str] = Field(
        default_factory=lambda: {"mail": "email"},
        description="LDAP attribute -> attribute; no others are read",
    )
    memberships: Literal["members", "memberOf"] | None = Field(
        None,
        description="where it stands who is in a group: with the groups, or with the people; "
        "default: members, in Active Directory memberOf",
    )

    @property
    def whence(self) -> str:
        return f"{self.server} {self.base}"


Source = Annotated[
    CsvSource | JsonSource | SqlSource | ScimSource | LdapSource, Field(discriminator="type")
]
"""Where users, groups and attributes come from; `type` tells the kinds apart."""
