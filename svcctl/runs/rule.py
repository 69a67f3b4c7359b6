"""Rules by which an account is recognised as a user's: something of both is equal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from svcctl.config.settings import Settings
from svcctl.errors import Invalid, UsageError
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import RemoteAccount
from svcctl.model import User
from svcctl.runs.lane import key_of

MEANING = {
    "external-id": "the external id is svcctl's key, or the id in a directory source",
    "uid": "the service's own id is the id in a directory source",
    "email": "the e-mail address is the attribute email",
    "name": "the name is that which a new account would get",
    "attribute": "the attribute KEY is the attribute KEY",
}
"""What of an account is compared with what of a user."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: `email`, or `external-id:employee_no`.

    field: what of the account is compared. key: the user attribute that it is compared with; None:
    what that field is of a user. Values are compared exactly, except that the domain of an e-mail
    address has no case (RFC 5321, 2.4), and names are compared as the service does.
    """

    field: str
    key: str | None = None

    def __str__(self) -> str:
        return self.field if self.key is None else f"{self.field}:{self.key}"

    def of_account(self, hook: ServiceHook, remote: RemoteAccount) -> Iterator[str]:
        """The values that say whose the account is; none: this rule cannot tell."""
        match self.field:
            case "external-id":
                shown: Any = remote.external_id
            case "uid":
                shown = remote.uid
            case "name":
                shown = remote.name
            case "email":
                shown = remote.attributes.get("email")
            case _:
                shown = remote.attributes.get(self.key or "")
        return self._comparable(hook, shown)

    def of_user(self, hook: ServiceHook, user: User, source_id: str | None) -> Iterator[str]:
        """The values that an account of the user's would have."""
        if self.key is not None:
            return self._comparable(hook, user.attributes.get(self.key))
        match self.field:
            case "external-id":
                own: Any = [key_of(user.id), source_id]
            case "uid":
                own = source_id
            case "name":
                try:
                    own = hook.username_for(user)
                except Invalid:  # no name is this user's there
                    own = None
            case _:
                own = user.attributes.get("email")
        return self._comparable(hook, own)

    def _comparable(self, hook: ServiceHook, value: Any) -> Iterator[str]:
        for text in _texts(value):
            if self.field == "name":
                yield hook.username_rule.key(text)
            elif self.field == "email":
                local, at, domain = text.rpartition("@")
                yield f"{local}{at}{domain.casefold()}"
            else:
                yield text


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str() if value:
            yield value
        case bool() | None:
            return
        case int() | float():
            yield str(value)
        case list() | tuple() | set() | frozenset():
            for one in value:
                yield from _texts(one)


def read_rules(settings: Settings, texts: Sequence[str]) -> list[Rule]:
    """The rules as they were typed, in their order. Raises UsageError."""
    if not texts:
        raise UsageError("how is it to be recognised whose an account is?", hint=_HINT)
    rules = []
    for text in dict.fromkeys(texts):
        field, colon, key = text.partition(":")
        if field not in MEANING:
            raise UsageError(f"--by: no such rule: {text}", hint=_HINT)
        if colon or field == "attribute":
            for problem in settings.check_attributes("--by", [key]):
                hint = problem.remedy or "name a user attribute: attribute:KEY"
                raise UsageError(f"--by {text}: {problem.message}", hint=hint)
        rules.append(Rule(field, key if colon else None))
    return rules


_HINT = "--by external-id, uid, email, name, or attribute:KEY; several are tried in their order"
