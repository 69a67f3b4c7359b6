"""What servers answer, as errors of the closed set."""

from typing import Any

import pytest

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
from svcctl.ldap.results import error


def result(code: int, message: str = "", **more: Any) -> dict[str, Any]:
    return {"result": code, "description": "said", "message": message, **more}


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (1, "", Transient),
        (1, "00002020: Operation unavailable without authentication", Denied),
        (1, "000004DC: LdapErr: DSID-0C090A5C, comment: In order to perform this", Denied),
        (2, "", Invalid),
        (3, "", Incomplete),
        (4, "", Incomplete),
        (8, "", Denied),
        (10, "", Denied),
        (11, "", Incomplete),
        (13, "", Denied),
        (19, "some attributes not unique", Conflict),
        (19, "non-unique attributes found with (|(uid=ada))", Conflict),
        (19, "0000202F: samldb: userPrincipalName 'a@x' is already in use", Conflict),
        (19, "000021C8: AtrErr: DSID-03200BBA, #1", Conflict),
        (19, "Password fails quality checking policy", Invalid),
        (19, "0000052D: Constraint violation - check_password_restrictions", Invalid),
        (21, "", Invalid),
        (32, "", NotFound),
        (48, "", Denied),
        (49, "", Denied),
        (50, "", Denied),
        (51, "", RateLimited),
        (52, "", Transient),
        (53, "", Invalid),
        (65, "", Invalid),
        (68, "", Conflict),
        (80, "", Transient),
        (123, "", Denied),
        (4096, "", Invalid),
    ],
)
def test_a_code_is_one_kind_of_error(code: int, message: str, kind: type[ManagerError]) -> None:
    raised = error(result(code, message), "ldap://x: add uid=ada")
    assert type(raised) is kind
    assert raised.message.startswith(f"ldap://x: add uid=ada: {code} said")


def test_remote_text_is_cut_and_shown_on_one_line() -> None:
    raised = error(result(53, "line one\r\nline two\x1b[2J" + "x" * 1000), "what")
    assert raised.message.startswith("what: 53 said: line one line two [2Jxxx")
    assert len(raised.message) < 400


def test_a_referral_says_where_to() -> None:
    raised = error(result(10, referrals=["ldap://provider.example.org/dc=x"]), "what")
    assert raised.message == "what: 10 said: ldap://provider.example.org/dc=x"
    assert raised.hint == "set server to the one that is named there; referrals are not followed"
