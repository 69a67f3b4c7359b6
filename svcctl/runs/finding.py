"""A finding: one way in which a service is not as it should be, and the command that mends it."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from svcctl.model import NOTHING


class Kind(StrEnum):
    """What is different between a service and our records.

    MISSING: linked here, and not there. ORPHANED: linked, and the user may not have it. DISABLED:
    disabled there, active here; ENABLED: the other way round. GROUPS, NICKNAME: not what they
    should be. RENAMED: has another name than we know. UNLINKED: has svcctl's key of a user who has
    no account here. FOREIGN: nobody's here. UNMANAGED: of a service that left the configuration.
    """

    MISSING = "missing"
    ORPHANED = "orphaned"
    DISABLED = "disabled"
    ENABLED = "enabled"
    GROUPS = "groups"
    NICKNAME = "nickname"
    RENAMED = "renamed"
    UNLINKED = "unlinked"
    FOREIGN = "foreign"
    UNMANAGED = "unmanaged"


DRIFT = frozenset(Kind) - {Kind.FOREIGN, Kind.UNMANAGED}
"""What somebody should do something about; the rest is not ours, and is left alone."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One account that is not as it should be, in one respect.

    expected, found: the fields that differ, as they should be and as the service shows them, in
    JSON's types. reason: why, where a hook or a look at the account says so. pinned: an operator
    fixed the status, so that no run brings it about again.
    """

    service: str
    kind: Kind
    user: str | None
    account: str
    uid: str | None
    expected: Mapping[str, Any] = NOTHING
    found: Mapping[str, Any] = NOTHING
    reason: str = ""
    pinned: bool = False

    @property
    def sentence(self) -> str:
        """What is wrong, for people."""
        match self.kind:
            case Kind.MISSING:
                return "not on the service"
            case Kind.DISABLED:
                return _joined("disabled there, active here", self.reason)
            case Kind.ENABLED:
                return _joined("active there, disabled here", self.reason)
            case Kind.GROUPS:
                return _groups(set(self.expected["groups"]), set(self.found["groups"]))
            case Kind.NICKNAME:
                return f"is {self.found['nickname']!r}, should be {self.expected['nickname']!r}"
            case Kind.RENAMED:
                return f"was {self.expected['name']!r}, is {self.found['name']!r}"
            case Kind.UNLINKED:
                return "has svcctl's key of this user, who has no account here"
            case Kind.UNMANAGED:
                return "the service is not in the configuration"
        return self.reason

    @property
    def repair(self) -> str:
        """The command, or commands, that mend it."""
        mend = _REPAIRS[self.kind]
        if self.pinned:
            mend = _REPAIRS_OF_PINNED.get(self.kind, mend)
        user = shlex.quote(self.user) if self.user else "USER"
        uid = shlex.quote(self.uid or "")
        return mend.format(service=self.service, users=user, uid=uid)


_REFRESH = "svcctl accounts refresh {users} --service {service}"
_SYNC = "svcctl sync {users} --service {service}"
_REPAIRS = {
    Kind.MISSING: f"{_REFRESH}; {_SYNC}",
    Kind.ORPHANED: "svcctl validate {users} --service {service}",
    Kind.DISABLED: f"{_REFRESH}; {_SYNC}",
    Kind.ENABLED: f"{_REFRESH}; {_SYNC}",
    Kind.GROUPS: "svcctl update-all-groups --service {service}",
    Kind.NICKNAME: f"{_REFRESH}; {_SYNC}",
    Kind.RENAMED: _REFRESH,
    Kind.UNLINKED: "svcctl accounts link {users} --service {service} --uid {uid}",
    Kind.FOREIGN: "svcctl accounts link {users} --service {service} --uid {uid}",
    Kind.UNMANAGED: "put [services.{service}] back into the configuration",
}
_REPAIRS_OF_PINNED = {
    Kind.DISABLED: f"{_REFRESH}; svcctl accounts enable {{users}} --service {{service}}",
    Kind.ENABLED: f"{_REFRESH}; svcctl accounts disable {{users}} --service {{service}}",
}
_ALL = {
    Kind.UNLINKED: "svcctl adopt {service} --by external-id",
    Kind.FOREIGN: "svcctl adopt {service} --by email --by name",
}
_MORE = {
    Kind.FOREIGN: ", if they are somebody's here; others are left alone",
    Kind.UNMANAGED: "; until then they are left alone",
}


def advice(service: str, kind: Kind) -> str:
    """How all findings of this kind on a service are mended."""
    # That one is gone is believed of users who are named.
    users = "USER" if kind is Kind.MISSING else "--all"
    mend = _ALL.get(kind, _REPAIRS[kind]).format(service=service, users=users)
    return f"{kind.value}: {mend}{_MORE.get(kind, '')}"


def _joined(*parts: str) -> str:
    return ": ".join(filter(None, parts))


def _groups(expected: set[str], found: set[str]) -> str:
    lacking, excess = ", ".join(sorted(expected - found)), ", ".join(sorted(found - expected))
    said = (f"lacks {lacking}" if lacking else "", f"should not be in {excess}" if excess else "")
    return "; ".join(filter(None, said))
