"""Result codes (RFC 4511, appendix A) as the errors that svcctl knows; servers differ in them."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

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
from svcctl.text import brief


class Code(IntEnum):
    """The result codes that something here depends on."""

    SUCCESS = 0
    OPERATIONS_ERROR = 1
    TIME_LIMIT_EXCEEDED = 3
    SIZE_LIMIT_EXCEEDED = 4
    AUTH_METHOD_NOT_SUPPORTED = 7
    STRONGER_AUTH_REQUIRED = 8
    REFERRAL = 10
    ADMIN_LIMIT_EXCEEDED = 11
    CONFIDENTIALITY_REQUIRED = 13
    NO_SUCH_ATTRIBUTE = 16
    CONSTRAINT_VIOLATION = 19
    ATTRIBUTE_OR_VALUE_EXISTS = 20
    NO_SUCH_OBJECT = 32
    INAPPROPRIATE_AUTHENTICATION = 48
    INVALID_CREDENTIALS = 49
    INSUFFICIENT_ACCESS_RIGHTS = 50
    BUSY = 51
    UNAVAILABLE = 52
    UNWILLING_TO_PERFORM = 53
    LOOP_DETECT = 54
    OBJECT_CLASS_VIOLATION = 65
    ENTRY_ALREADY_EXISTS = 68
    OTHER = 80
    AUTHORIZATION_DENIED = 123


class Lost(Transient):
    """The connection ended before there was an answer."""


_RIGHTS = "the credentials are good, and do not allow this"
_ENCRYPT = "the server wants an encrypted connection: use ldaps:// or tls.start = true"
_LIMIT = "lift the server's limit for this bind_dn (OpenLDAP: limits … size=unlimited)"
_MEANINGS: Mapping[int, tuple[type[ManagerError], str | None]] = {
    Code.OPERATIONS_ERROR: (Transient, None),
    Code.TIME_LIMIT_EXCEEDED: (Incomplete, "index what the filter asks for, or lift the limit"),
    Code.SIZE_LIMIT_EXCEEDED: (Incomplete, _LIMIT),
    Code.ADMIN_LIMIT_EXCEEDED: (Incomplete, _LIMIT),
    Code.AUTH_METHOD_NOT_SUPPORTED: (Denied, "the server takes no password from us"),
    Code.STRONGER_AUTH_REQUIRED: (Denied, _ENCRYPT),
    Code.CONFIDENTIALITY_REQUIRED: (Denied, _ENCRYPT),
    Code.REFERRAL: (
        Denied,
        "set server to the one that is named there; referrals are not followed",
    ),
    Code.NO_SUCH_OBJECT: (NotFound, None),
    Code.INAPPROPRIATE_AUTHENTICATION: (Denied, "check bind_dn and bind_password"),
    Code.INVALID_CREDENTIALS: (Denied, "check bind_dn and bind_password"),
    Code.INSUFFICIENT_ACCESS_RIGHTS: (Denied, _RIGHTS),
    Code.AUTHORIZATION_DENIED: (Denied, _RIGHTS),
    Code.BUSY: (RateLimited, None),
    Code.UNAVAILABLE: (Transient, None),
    Code.LOOP_DETECT: (Transient, None),
    Code.ENTRY_ALREADY_EXISTS: (Conflict, None),
    Code.OTHER: (Transient, None),
}
# What a server says of a value that another entry has: OpenLDAP's overlay `unique`, Samba, and
# Windows with ERROR_DS_UPN_VALUE_NOT_UNIQUE_IN_FOREST and ERROR_DS_SPN_VALUE_NOT_UNIQUE_IN_FOREST.
_TAKEN = ("not unique", "non-unique", "already in use", "000021C8", "000021C7")
# Windows and Samba to somebody who is not bound (ERROR_DS_OPERATIONS_ERROR, ERROR_NOT_LOGGED_ON).
_NOBODY = ("000004DC", "00002020")


def error(result: Mapping[str, Any], what: str) -> ManagerError:
    """What a result that is not a yes means. what: the request, for the message.

    NotFound is what noSuchObject says; that it is about an account, the caller has to know.
    """
    code, said = int(result["result"]), str(result.get("message") or "")
    kind, hint = _MEANINGS.get(code, (Invalid, None))
    if code == Code.CONSTRAINT_VIOLATION and any(word in said for word in _TAKEN):
        kind = Conflict
    elif code == Code.OPERATIONS_ERROR and said.startswith(_NOBODY):
        kind, hint = Denied, "the server wants bind_dn and bind_password"
    elif said.startswith("0000052D"):
        kind, hint = Invalid, "the domain's password policy does not take this password"
    message = f"{what}: {code} {result.get('description') or '(a code of its own)'}"
    if code == Code.REFERRAL:
        said = " ".join(map(str, result.get("referrals") or ())) or said
    if said := brief(said):
        message += f": {said}"
    return kind(message, hint=hint)
