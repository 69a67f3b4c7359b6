"""What asks a program of the administrator's: one process, one request, one answer per call."""

import os
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from svcctl.config.values import redacted
from svcctl.errors import (
    Conflict,
    Denied,
    Incomplete,
    Invalid,
    ManagerError,
    NotFound,
    RateLimited,
    Transient,
)
from svcctl.hooks.command.process import Done, run
from svcctl.hooks.manager import Created, GroupChange, Manager, NewAccount, RemoteAccount
from svcctl.model import to_json
from svcctl.text import brief

PROTOCOL = 1
PASSED = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER")
"""Variables that a program gets in any case; others hold what is none of its business."""


class Exit(IntEnum):
    """What an exit code says; the numbers are those of BSD's sysexits.h. Any other is Transient."""

    DONE = 0
    INVALID = 65
    NOT_FOUND = 67
    RATE_LIMITED = 69
    CONFLICT = 73
    INCOMPLETE = 74
    TRANSIENT = 75
    DENIED = 77


KINDS: Mapping[int, type[ManagerError]] = {
    Exit.INVALID: Invalid,
    Exit.NOT_FOUND: NotFound,
    Exit.RATE_LIMITED: RateLimited,
    Exit.CONFLICT: Conflict,
    Exit.INCOMPLETE: Incomplete,
    Exit.TRANSIENT: Transient,
    Exit.DENIED: Denied,
}


class _Answer(BaseModel):
    """What a program prints as JSON; a key that is not known is a mistake in it."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class Nothing(_Answer):
    """To what needs no answer."""


class Refusal(_Answer):
    """With an exit code that is not 0."""

    message: str = ""
    hint: str | None = None
    retry_after: float | None = Field(None, ge=0, allow_inf_nan=False)


_Text = Annotated[str, Field(min_length=1)]


class Account(_Answer):
    """An account; `groups` and `nickname` are left out where the program does not know them."""

    uid: _Text
    name: _Text
    active: bool = True
    external_id: str | None = None
    groups: frozenset[_Text] | None = None
    nickname: str | None = None
    attributes: dict[str, Any] = Field(default_factory=dict)

    def shown(self) -> RemoteAccount:
        attributes = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in self.attributes.items()
        }
        return RemoteAccount(**{**dict(self), "attributes": attributes})


class Accounts(_Answer):
    accounts: list[Account]


class Found(_Answer):
    account: Account | None


class Groups(_Answer):
    groups: list[_Text]


class Made(_Answer):
    uid: _Text
    name: _Text


class Changed(_Answer):
    added: frozenset[_Text]
    removed: frozenset[_Text]


_Kind = TypeVar("_Kind", bound=_Answer)


class CommandManager(Manager):
    """Accounts of whatever a program of the administrator's speaks to.

    The program knows the service; what it says is taken as it says it. The protocol is in
    docs/services-without-python.md.
    """

    def __init__(
        self,
        program: Path,
        arguments: Sequence[str] = (),
        *,
        settings: Mapping[str, Any] | None = None,
        secrets: Mapping[str, str] | None = None,
        environment: Sequence[str] = (),
        timeout: float = 60.0,
        largest_answer: int = 32 << 20,
        external_ids: bool = False,
    ) -> None:
        """environment: names of variables to pass on, besides PASSED. timeout: seconds."""
        self._program = program
        self._arguments = tuple(arguments)
        self._settings = settings or {}
        self._secrets = secrets or {}
        names = (*PASSED, *environment)
        self._environment = {name: os.environ[name] for name in names if name in os.environ}
        self._seconds = timeout
        self._largest = largest_answer
        self.stores_external_id = external_ids

    # Reading

    def check(self) -> None:
        self._ask("check", Nothing)

    def list_accounts(self) -> Iterator[RemoteAccount]:
        for account in self._ask("list_accounts", Accounts).accounts:
            yield account.shown()

    def get_account(self, uid: str) -> RemoteAccount:
        found = self._ask("get_account", Account, uid=uid)
        if found.uid != uid:
            raise Incomplete(f"{self._program}: asked for account {uid}, it shows {found.uid}")
        return found.shown()

    def find_account(self, external_id: str, name: str) -> RemoteAccount | None:
        found = self._ask("find_account", Found, external_id=external_id, name=name).account
        return found.shown() if found is not None else None

    def list_groups(self) -> list[str]:
        return self._ask("list_groups", Groups).groups

    # Accounts

    def create_account(self, new: NewAccount) -> Created:
        made = self._ask(
            "create_account",
            Made,
            name=new.name,
            external_id=new.external_id,
            password=new.password,
            attributes=dict(new.attributes),
        )
        return Created(made.uid, made.name)

    def enable_account(self, uid: str) -> None:
        self._ask("enable_account", Nothing, uid=uid)

    def disable_account(self, uid: str) -> None:
        self._ask("disable_account", Nothing, uid=uid)

    def delete_account(self, uid: str) -> None:
        self._ask("delete_account", Nothing, uid=uid)

    def set_password(self, uid: str, password: str) -> None:
        self._ask("set_password", Nothing, uid=uid, password=password)

    def set_nickname(self, uid: str, nickname: str) -> None:
        self._ask("set_nickname", Nothing, uid=uid, nickname=nickname)

    def change_groups(self, uid: str, add: frozenset[str], remove: frozenset[str]) -> GroupChange:
        """Raises Invalid for an answer that names a group which was not asked for."""
        changed = self._ask("change_groups", Changed, uid=uid, add=add, remove=remove)
        if other := sorted((changed.added - add) | (changed.removed - remove)):
            raise Invalid(f"{self._program}: changed {', '.join(other)}, which nobody asked for")
        return GroupChange(changed.added, changed.removed)

    # The protocol

    def _ask(self, method: str, kind: type[_Kind], **arguments: Any) -> _Kind:
        request = {
            "protocol": PROTOCOL,
            "method": method,
            "arguments": arguments,
            "settings": self._settings,
            "secrets": self._secrets,
        }
        done = run(
            self._program,
            self._arguments,
            to_json(request).encode(errors="surrogatepass") + b"\n",
            environment=self._environment,
            seconds=self._seconds,
            largest=self._largest,
        )
        private = [*self._secrets.values(), str(arguments.get("password", ""))]
        if done.code != Exit.DONE:
            raise self._refused(method, done, private)
        try:
            return kind.model_validate_json(done.stdout.strip() or b"{}")
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            place = ".".join(map(str, first["loc"]))
            problem = f"{place}: {first['msg']}" if place else first["msg"]
        what = Incomplete if method == "list_accounts" else Transient
        raise what(
            f"{self._program} {method}: exit code 0, but no such answer: "
            f"{brief(redacted(problem, private))}",
            hint="see docs/services-without-python.md for what it must print",
        )

    def _refused(self, method: str, done: Done, private: Sequence[str]) -> ManagerError:
        kind = KINDS.get(done.code, Transient)
        try:
            said = Refusal.model_validate_json(done.stdout.strip() or b"{}")
        except ValidationError:
            said = Refusal()
        text = said.message or _last_line(done.stderr)
        how = f"exit code {done.code}" if done.code >= 0 else f"ended by signal {-done.code}"
        message = f"{self._program} {method}: {how}"
        if text:
            message += f": {brief(redacted(text, private))}"
        hint = said.hint and brief(redacted(said.hint, private))
        return kind(message, retry_after=said.retry_after, hint=hint)


def _last_line(noise: bytes) -> str:
    lines = noise.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
