"""The settings of `hook = "sql"`, and what can be wrong with them as a whole."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from svcctl.config.problems import Problem, suggest
from svcctl.config.secrets import Secret
from svcctl.config.service import Duration, Frozen
from svcctl.config.source import DatabaseUrl
from svcctl.hooks.declared import DeclaredConfig
from svcctl.hooks.manager import READS, VERBS
from svcctl.model import Verb

_UID = frozenset({"uid"})
_NEW = frozenset({"name", "external_id", "password", "password_hash"})
_GROUP = frozenset({"uid", "group"})
_KNOWN: Mapping[str, frozenset[str]] = {
    "check": frozenset(),
    "list_accounts": frozenset(),
    "list_memberships": frozenset(),
    "list_groups": frozenset(),
    "get_account": _UID,
    "groups_of": _UID,
    "find_account": frozenset({"name"}),
    "find_by_external_id": frozenset({"external_id"}),
    "create_account": _NEW,
    "enable_account": _UID,
    "disable_account": _UID,
    "delete_account": _UID,
    "set_password": frozenset({"uid", "password", "password_hash"}),
    "set_nickname": frozenset({"uid", "nickname"}),
    "add_to_group": _GROUP,
    "remove_from_group": _GROUP,
}
"""The parameters of each statement."""
_PARAMETER = re.compile(r"(?<![:\w\\]):(\w+)(?!:)")
"""As SQLAlchemy reads them; a colon that is none is written `\\:`."""


class SqlUrl(DatabaseUrl):
    """A database of any kind that SQLAlchemy has a driver for. It never holds a password."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> "SqlUrl":
        """Raises ValueError, which never repeats what was written."""
        form = re.fullmatch(r"([a-z][a-z0-9_]*)\+[a-z0-9_]+://([^:/?]*(:[^@]*)?@)?(.*)", text)
        if form is None:
            return cls(super().parse(text))
        if form[3] or re.search(r"[?&](ssl)?pass(word|wd)?=", form[4], re.IGNORECASE):
            raise ValueError('no password in a URL; write password = { file = "…" } below it')
        return cls(text)


class Statement(Frozen):
    """One SQL statement with parameters like :uid."""

    sql: str = Field(min_length=1, description="the statement")
    rows: int | None = Field(
        None, ge=0, description="how many rows it must change, or all of the verb is taken back"
    )


def _as_list(value: Any) -> Any:
    listed = value if isinstance(value, (list, tuple)) else [value]
    return [{"sql": one} if isinstance(one, str) else one for one in listed]


Steps = Annotated[
    tuple[Statement, ...],
    BeforeValidator(_as_list, json_schema_input_type=str | list[str | Statement]),
    Field(min_length=1),
]
"""Statements of one transaction; one alone may be a text."""
Query = Annotated[str, Field(min_length=1)]


class Statements(Frozen):
    """What the service can do: it can do that for which statements stand here.

    A query for accounts gives the columns uid and name, and where there are such active, nickname
    and external_id; each other column is an attribute of the person.
    """

    check: Query | None = Field(None, description="a query that fails where something is missing")
    list_accounts: Query | None = Field(None, description="all accounts")
    list_memberships: Query | None = Field(
        None, description="two columns, uid and group: all memberships"
    )
    get_account: Query | None = Field(None, description="one account: :uid")
    find_account: Query | None = Field(
        None, description="accounts among which is the one of this name: :name"
    )
    find_by_external_id: Query | None = Field(
        None, description="the account with svcctl's key: :external_id"
    )
    list_groups: Query | None = Field(None, description="one column: the names of all groups")
    groups_of: Query | None = Field(
        None, description="one column: the names of the groups of an account: :uid"
    )
    create_account: Steps | None = Field(
        None,
        description=":name, :external_id, :password or :password_hash, and the service's "
        "`attributes`",
    )
    enable_account: Steps | None = Field(None, description=":uid")
    disable_account: Steps | None = Field(None, description=":uid")
    delete_account: Steps | None = Field(None, description=":uid")
    set_password: Steps | None = Field(None, description=":uid, :password or :password_hash")
    set_nickname: Steps | None = Field(None, description=":uid, :nickname")
    add_to_group: Steps | None = Field(None, description=":uid, :group")
    remove_from_group: Steps | None = Field(None, description=":uid, :group")

    def steps(self, name: str) -> tuple[Statement, ...]:
        """The statements of one of them; a query is one."""
        found: str | tuple[Statement, ...] | None = getattr(self, name)
        if isinstance(found, str):
            return (Statement(sql=found),)
        return found or ()


class PasswordHash(Frozen):
    """How :password_hash is made from a password, by libpass."""

    scheme: Literal[
        "argon2",
        "bcrypt",
        "bcrypt_sha256",
        "django_pbkdf2_sha256",
        "ldap_salted_sha1",
        "ldap_salted_sha512",
        "mysql41",
        "pbkdf2_sha256",
        "pbkdf2_sha512",
        "phpass",
        "scrypt",
        "sha256_crypt",
        "sha512_crypt",
    ] = Field(description="libpass's name of the hash")
    options: dict[str, int | str] = Field(
        default_factory=dict,
        description='libpass\'s settings of it, like { rounds = 12, ident = "2y" }',
    )
    before: Literal["name", "lower_name"] | None = Field(
        None, description="the account's name, hashed with the password that it stands before"
    )


class SqlConfig(DeclaredConfig):
    """The settings of a service whose accounts are in a database. Each verb is one transaction."""

    database: SqlUrl = Field(
        description="the database, like mysql://user@host/name, without a password; any URL of "
        "SQLAlchemy with its driver; a relative SQLite file starts at this file's folder"
    )
    password: Secret | None = Field(None, description="the password of the user in the URL")
    statements: Statements = Field(Statements(), description="what the service can do, and how")
    password_hash: PasswordHash | None = Field(
        None, description="how :password_hash is made; without it there is only :password"
    )
    timeout: Duration = Field(
        "30s",  # type: ignore[assignment] # validated
        description="how long connecting, a lock and a statement may take",
    )

    def offered(self) -> Iterable[str]:
        given = self._given()
        if "add_to_group" in given:
            given.add(Verb.CHANGE_GROUPS)
        return {"check", *given} & (READS | VERBS)

    def _given(self) -> set[str]:
        return {name for name in _KNOWN if getattr(self.statements, name) is not None}

    def problems(self) -> Iterator[Problem]:
        if self.database.file is not None and self.password is not None:
            yield Problem("password", "a SQLite file has none", "leave it out")
        given = self._given()
        hashed = False
        for name in sorted(given):
            known = set(_KNOWN[name])
            known.update(self.attributes if name == "create_account" else ())
            for step in self.statements.steps(name):
                named = set(_PARAMETER.findall(step.sql))
                hashed = hashed or "password_hash" in named
                for parameter in sorted(named - known):
                    yield Problem(
                        f"statements.{name}",
                        f":{parameter} is no parameter of it",
                        suggest(parameter, known) or "it has none; a colon is written \\:",
                    )
        if hashed and self.password_hash is None:
            yield Problem("password_hash", "missing", ":password_hash needs it")
        if self.password_hash is not None:
            yield from _hash_problems(self.password_hash)
        yield from self._missing(given)

    def _missing(self, given: set[str]) -> Iterator[Problem]:
        """What one statement needs of another."""

        def needed(*names: str) -> list[str]:
            return [name for name in names if name in given]

        looking = sorted(name for name in given if "uid" in _KNOWN[name] and name != "get_account")
        needs: Mapping[str, list[str]] = {
            "get_account": looking,
            "find_account": needed("create_account", "find_by_external_id"),
            "groups_of": needed("add_to_group", "remove_from_group"),
            "add_to_group": needed("remove_from_group"),
            "remove_from_group": needed("add_to_group"),
            "list_accounts": needed("list_memberships"),
        }
        for name, wanting in needs.items():
            if wanting and name not in given:
                yield Problem(f"statements.{name}", "missing", f"{wanting[0]} needs it")


def _hash_problems(wanted: PasswordHash) -> Iterator[Problem]:
    from svcctl.errors import Invalid
    from svcctl.hooks.sql.passwords import hasher

    try:
        hasher(wanted.scheme, wanted.options)
    except Invalid as error:
        yield Problem("password_hash", error.message, error.hint or "")
