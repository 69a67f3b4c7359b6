"""Where OpenLDAP and Active Directory differ: what accounts are, and how one is switched off.

Sources: slapo-ppolicy(5) and draft-behera-ldap-password-policy-10 for OpenLDAP; MS-ADTS 2.2.16 and
3.1.1.3.1.5 for Active Directory, as Windows documents it and Samba does it.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from svcctl.config.ldap import DialectName, GroupClass
from svcctl.errors import Incomplete, NotFound
from svcctl.ldap.messages import Control, Entry
from svcctl.ldap.names import equals, first_value

LOCKED_TIME = "pwdAccountLockedTime"
LOCKED_FOR_GOOD = b"000001010000Z"
"""An account that an administrator has locked, not one with too many wrong passwords."""
ACCOUNT_CONTROL = "userAccountControl"
NORMAL_ACCOUNT = 0x200
ACCOUNT_DISABLE = 0x2
EXPIRES = "accountExpires"
ACTIVE_DIRECTORY = "1.2.840.113556.1.4.800"
"""What a server announces in supportedCapabilities that is one (MS-ADTS 3.1.1.3.4.3)."""
DOMAIN_SCOPE: Control = ("1.2.840.113556.1.4.1339", True, None)
"""Only this domain, without references to the rest of the forest (MS-ADTS 3.1.1.3.4.1.4)."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one kind of server names things.

    uid: the attribute that never changes. name: the one that people log in with. rdn: the one that
    the name of a new entry begins with. people: the filter for people. shown: what has to be asked
    for to know whether an account is active. longest: octets of a name; more, OpenLDAP's database
    answers with no better reason than `other` (80).
    """

    uid: str
    name: str
    rdn: str
    people: str
    classes: tuple[str, ...]
    group_class: GroupClass
    shown: str
    longest: int
    search_controls: Sequence[Control] = ()

    def uid_of(self, entry: Entry) -> str:
        """The uid as text. Raises Incomplete for an entry that shows none."""
        raw = entry.raw(self.uid)
        try:
            if raw is not None:
                windows = self.uid == "objectGUID"
                return str(uuid.UUID(bytes_le=raw) if windows else uuid.UUID(raw.decode()))
        except ValueError:
            pass
        raise Incomplete(
            f"{entry.dn}: shows no {self.uid}", hint="let bind_dn read it; is the dialect right?"
        )

    def uid_filter(self, uid: str) -> str:
        """The filter for the entry with this uid. Raises NotFound for what cannot be one."""
        try:
            known = uuid.UUID(uid)
        except ValueError:
            raise NotFound(f"{uid!r} is no {self.uid}") from None
        return equals(self.uid, known.bytes_le if self.uid == "objectGUID" else str(known))

    def name_of(self, entry: Entry, attribute: str | None = None) -> str:
        """What the account is called; of several values the one that the entry is named by."""
        names = entry.texts(attribute or self.name)
        first = first_value(entry.dn)
        return first if not names or first in names else names[0]

    def active(self, entry: Entry) -> bool:
        """Whether the account is not switched off. Raises Incomplete where that is not shown."""
        if self.shown == LOCKED_TIME:
            return entry.raw(LOCKED_TIME) != LOCKED_FOR_GOOD
        return not account_control(entry) & ACCOUNT_DISABLE


OPENLDAP = Dialect(
    uid="entryUUID",
    name="uid",
    rdn="uid",
    people="(objectClass=inetOrgPerson)",
    classes=("inetOrgPerson",),
    group_class="groupOfNames",
    shown=LOCKED_TIME,
    longest=240,
)
WINDOWS = Dialect(
    uid="objectGUID",
    name="sAMAccountName",
    rdn="cn",
    people="(&(objectCategory=person)(objectClass=user))",
    classes=("top", "person", "organizationalPerson", "user"),
    group_class="group",
    shown=ACCOUNT_CONTROL,
    longest=256,
    search_controls=(DOMAIN_SCOPE,),
)
DIALECTS: Mapping[DialectName, Dialect] = MappingProxyType(
    {"openldap": OPENLDAP, "active-directory": WINDOWS}
)


def account_control(entry: Entry) -> int:
    """The flags of an account (MS-ADTS 2.2.16)."""
    shown = entry.text(ACCOUNT_CONTROL)
    if shown is None or not shown.removeprefix("-").isdecimal():
        raise Incomplete(f"{entry.dn}: shows no {ACCOUNT_CONTROL}", hint="let bind_dn read it")
    return int(shown)


def expired(entry: Entry, moment: datetime) -> bool:
    """Whether the account's last day is over (MS-ADA1 2.1).

    It is counted in 100 ns since 1601; 0 and the largest number mean: never. OpenLDAP has none.
    """
    shown = entry.text(EXPIRES)
    ticks = int(shown) if shown is not None and shown.isdecimal() else 0
    return 0 < ticks <= (moment - _EPOCH) // timedelta(microseconds=1) * 10


_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
