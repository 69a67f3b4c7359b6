"""The ldap source without a server: its settings, and what it says when it cannot begin."""

import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Svcctl

CONFIG = """
[directory.sources.staff]
type = "ldap"
server = "ldaps://ldap.example.org"
base = "ou=people,dc=example,dc=org"
"""


def test_nobody_may_read_as_nobody(site: Any, svcctl: "Svcctl") -> None:
    site(CONFIG)
    done = svcctl("config", "check")
    assert done.exit_code == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('server = "ldap"', "must be a URL like ldaps://ldap.example.org"),
        ('base = "people"', "must be a distinguished name"),
        ('filter = "uid=*"', "must be a filter in brackets"),
        ('bind_dn = "cn=svcctl,dc=org"', "bind_dn and bind_password go together"),
        ('username = "user name"', "must be the name of an attribute"),
        ('attributes = { "mail;lang" = "email" }', "must be the name of an attribute"),
        ('memberships = "both"', "directory.sources.staff.memberships"),
        ('group_class = "group"', "no group in dialect"),
        ('groups = "memberOf"', "directory.sources.staff.groups"),
    ],
)
def test_settings_that_cannot_be_meant(site: Any, svcctl: "Svcctl", line: str, words: str) -> None:
    key = line.partition(" =")[0]
    kept = [part for part in CONFIG.splitlines() if part.partition(" =")[0] != key]
    site().configure("\n".join([*kept, line, ""]))
    done = svcctl("config", "check")
    assert done.exit_code == 78
    assert words in done.stdout + done.stderr


def test_a_server_that_is_not_there_changes_nobody(site: Any, svcctl: "Svcctl") -> None:
    here = site(CONFIG.replace("ldaps://ldap.example.org", "ldap://127.0.0.1:9"))
    done = svcctl("directory", "pull")
    assert (done.exit_code, done.stdout) == (5, "")
    assert "directory.sources.staff: ldap://127.0.0.1:9: cannot connect: connection" in done.stderr
    assert here.rows("SELECT * FROM users") == []


def test_without_ldap3_it_says_what_to_install(
    site: Any, svcctl: "Svcctl", monkeypatch: pytest.MonkeyPatch
) -> None:
    site(CONFIG)
    monkeypatch.delitem(sys.modules, "svcctl.ldap.connection", raising=False)
    monkeypatch.setitem(sys.modules, "ldap3", None)
    done = svcctl("directory", "pull")
    assert done.exit_code == 5
    assert "ldap3: not installed" in done.stderr
    assert "pip install 'svcctl[ldap]'" in done.stderr
