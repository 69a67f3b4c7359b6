"""The ldap hook without a server: its settings, its names, what it says when it cannot begin."""

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from svcctl.errors import Incomplete, NotFound
from svcctl.hooks.ldap import LdapConfig, LdapHook
from svcctl.hooks.testing import HookContract
from svcctl.ldap.dialect import OPENLDAP, WINDOWS, expired
from svcctl.ldap.messages import Entry
from svcctl.model import User

if TYPE_CHECKING:
    from tests.conftest import Svcctl

CONFIG = """
[services.dir]
hook = "ldap"
server = "ldaps://ldap.example.org"
bind_dn = "cn=svcctl,dc=example,dc=org"
bind_password = { env = "LDAP_PASSWORD" }
base = "ou=people,dc=example,dc=org"
"""
UUID = "52d7e3f2-7d0e-1041-8e99-197e50001439"


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LDAP_PASSWORD", "x")


SETTINGS: dict[str, Any] = {
    "server": "ldaps://ldap.example.org",
    "bind_dn": "cn=svcctl,dc=example,dc=org",
    "bind_password": {"env": "LDAP_PASSWORD"},
    "base": "ou=people,dc=example,dc=org",
}


def hook(**settings: Any) -> LdapHook:
    config = LdapConfig.model_validate({"hook": "ldap", **SETTINGS, **settings})
    return LdapHook("dir", config)


class TestOpenLdapHook(HookContract):
    hook_class = LdapHook
    settings = {**SETTINGS, "group_base": "ou=groups,dc=example,dc=org"}


class TestActiveDirectoryHook(HookContract):
    hook_class = LdapHook
    settings = {**SETTINGS, "dialect": "active-directory"}


# Settings


def test_the_least_that_has_to_be_said(site: Any, svcctl: "Svcctl") -> None:
    site(CONFIG)
    done = svcctl("config", "check")
    assert (done.exit_code, done.stderr) == (0, ""), done.stdout


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('server = "https://ldap"', "must be a URL like ldaps://ldap.example.org"),
        ('server = "ldaps://ada:secret@ldap"', "no user and no password in a URL"),
        ('server = "ldaps://ldap/dc=org"', "must end with host and port"),
        ('server = "ldaps://ldap:x"', "not a URL"),
        ('server = "ldap://ldap.example.org"', "would show passwords to everybody on the way"),
        ("tls.start = true", "is encrypted anyway"),
        ('tls.client_key = "key.pem"', "client_key without client_certificate"),
        ('bind_dn = ""', "services.dir.bind_dn"),
        ('bind_password = "secret"', "a secret has no place in the configuration"),
        ('base = "people"', "must be a distinguished name"),
        ('base = "ou=people;dc=x"', "must be a distinguished name"),
        ('user_filter = "objectClass=person"', "must be a filter in brackets"),
        ('user_filter = "(&(uid=a)"', "must be a filter in brackets"),
        ('nickname_attribute = "display name"', "must be the name of an attribute"),
        ('nickname_attribute = "uid"', "uid: svcctl sets it itself"),
        ('paths = { key = "employeeNumber" }', "employeeNumber: svcctl sets it itself"),
        ('paths = { password = "userPassword" }', "userPassword: svcctl sets it itself"),
        ('dialect = "novell"', "services.dir.dialect"),
        ('group_class = "group"', "no group in dialect = 'openldap'"),
        ('upn_suffix = "example.org"', "upn_suffix is not for dialect = 'openldap'"),
        ('dialect = "active-directory"\nppolicy = false', "ppolicy is not for dialect"),
        ('dialect = "active-directory"\nnickname_attribute = "cn"', "cn: svcctl sets it itself"),
        ('dialect = "active-directory"\ngroup_class = "posixGroup"', "no posixGroup in dialect"),
        ('ppolicy = false\nremoval = "disable"', "LdapManager has no disable_account"),
    ],
)
def test_settings_that_cannot_be_meant(site: Any, svcctl: "Svcctl", line: str, words: str) -> None:
    keys = {part.partition(" =")[0] for part in line.splitlines()}
    kept = [part for part in CONFIG.splitlines() if part.partition(" =")[0] not in keys]
    site("\n".join([*kept, line, ""]))
    done = svcctl("config", "check")
    assert done.exit_code == 78
    said = done.stdout + done.stderr
    assert words in said
    assert "secret@" not in said
    assert '"secret"' not in said


def test_nobody_writes_as_nobody(site: Any, svcctl: "Svcctl") -> None:
    site("\n".join(line for line in CONFIG.splitlines() if not line.startswith("bind")))
    done = svcctl("config", "check")
    assert done.exit_code == 78
    assert "bind_dn and bind_password are needed" in done.stdout + done.stderr


def test_passwords_may_go_unencrypted_only_where_that_is_said(site: Any, svcctl: "Svcctl") -> None:
    here = site()
    for server, more in (
        ("ldap://ldap.example.org", "tls.start = true"),
        ("ldap://ldap.example.org", "tls.plain = true"),
        ("ldap://127.0.0.1:1389", ""),
        ("ldap://[::1]", ""),
    ):
        here.configure(CONFIG.replace("ldaps://ldap.example.org", server) + more)
        assert svcctl("config", "check").exit_code == 0, server


def test_what_the_settings_leave_out_cannot_be_done() -> None:
    assert hook(group_base="ou=groups,dc=x").can("change_groups")
    assert not hook().can("change_groups")
    assert not hook().can("list_groups")
    assert hook().removal.mode == "disable"
    assert not hook(ppolicy=False).can("disable_account")
    assert hook(ppolicy=False).removal.mode == "delete"


def test_without_ldap3_it_says_what_to_install(
    site: Any, svcctl: "Svcctl", monkeypatch: pytest.MonkeyPatch
) -> None:
    site(CONFIG)
    monkeypatch.delitem(sys.modules, "svcctl.ldap.connection", raising=False)
    monkeypatch.setitem(sys.modules, "ldap3", None)
    done = svcctl("services", "check", "dir")
    assert done.exit_code != 0
    assert "ldap3: not installed" in done.stdout + done.stderr
    assert "pip install 'svcctl[ldap]'" in done.stdout + done.stderr


def test_a_server_that_is_not_there_is_said_with_its_url(site: Any, svcctl: "Svcctl") -> None:
    here = site()
    for server, words in (
        ("ldap://127.0.0.1:9", "ldap://127.0.0.1:9: cannot connect: connection refused"),
        ("ldaps://nowhere.invalid", "ldaps://nowhere.invalid: the name of the server"),
    ):
        here.configure(CONFIG.replace("ldaps://ldap.example.org", server))
        done = svcctl("services", "check", "dir")
        assert done.exit_code != 0
        assert words in done.stdout + done.stderr
        assert "hint" in done.stdout + done.stderr


# Names


@pytest.mark.parametrize(
    ("username", "name"),
    [
        ("ada", "ada"),
        ("Ada Lovelace, countess of everything", "Ada Lovelace countes"),
        ("jürgen.", "jürgen"),
        ('a@b:c|d=e,f+g*h?<i>;"[]/\\', "abcdefghi"),
    ],
)
def test_names_in_an_active_directory_are_what_windows_takes(username: str, name: str) -> None:
    windows = hook(dialect="active-directory")
    assert windows.username_for(User(1, username)) == name


def test_names_in_openldap_are_kept() -> None:
    assert hook().username_for(User(1, "Ada, *(née) +x")) == "Ada, *(née) +x"
    assert hook().username_rule.key("ADA") == hook().username_rule.key("ada")


def test_the_domain_of_a_principal_name_is_that_of_the_base() -> None:
    settings = {"dialect": "active-directory", "base": "OU=a,DC=corp,DC=example,DC=org"}
    assert hook(**settings).manager_arguments()["upn_suffix"] == "corp.example.org"
    given = hook(**settings, upn_suffix="example.com").manager_arguments()["upn_suffix"]
    assert given == "example.com"


# Dialects


def entry(**values: bytes) -> Entry:
    shown = {name.lower(): [value] for name, value in values.items()}
    return Entry("uid=ada,ou=people,dc=x", shown, {})


def test_only_an_administrators_lock_makes_somebody_inactive() -> None:
    assert OPENLDAP.active(entry())
    assert not OPENLDAP.active(entry(pwdAccountLockedTime=b"000001010000Z"))
    assert OPENLDAP.active(entry(pwdAccountLockedTime=b"20261122120000Z"))


def test_the_disabled_bit_counts_among_all_others() -> None:
    assert WINDOWS.active(entry(userAccountControl=b"512"))
    assert WINDOWS.active(entry(userAccountControl=b"66048"))
    assert not WINDOWS.active(entry(userAccountControl=b"66050"))
    for shown in ({}, {"userAccountControl": b"x"}):
        with pytest.raises(Incomplete, match="shows no userAccountControl"):
            WINDOWS.active(entry(**shown))


def test_an_account_is_over_at_the_end_of_its_last_day() -> None:
    moment = datetime(2026, 11, 25, tzinfo=UTC)
    for ticks, over in (
        (b"0", False),
        (b"9223372036854775807", False),
        (b"9223372036854775806", False),
        (b"131592384000000000", True),  # 2018-01-01
        (b"134398656000000000", True),  # 2026-11-23
        (b"134403840000000000", False),  # 2026-11-29
        (b"x", False),
    ):
        assert expired(entry(accountExpires=ticks), moment) == over, ticks
    assert not expired(entry(), moment)


def test_a_uid_is_a_uuid_in_either_dialect() -> None:
    assert OPENLDAP.uid_of(entry(entryUUID=UUID.encode())) == UUID
    assert OPENLDAP.uid_filter(UUID) == f"(entryUUID={UUID})"
    octets = bytes.fromhex("f2e3d752 0e7d 4110 8e99 197e50001439".replace(" ", ""))
    assert WINDOWS.uid_of(entry(objectGUID=octets)) == UUID
    assert WINDOWS.uid_filter(UUID).startswith(r"(objectGUID=\f2\e3\d7R\0e\7dA")
    for dialect in (OPENLDAP, WINDOWS):
        with pytest.raises(NotFound):
            dialect.uid_filter("ada)(uid=*")
        with pytest.raises(Incomplete, match=f"shows no {dialect.uid}"):
            dialect.uid_of(entry())


def test_of_several_names_the_one_that_the_entry_is_named_by_counts() -> None:
    several = Entry("uid=ada,dc=x", {"uid": [b"lovelace", b"ada"]}, {})
    assert OPENLDAP.name_of(several) == "ada"
    assert OPENLDAP.name_of(Entry("cn=x,dc=x", {"uid": [b"lovelace"]}, {})) == "lovelace"
    assert OPENLDAP.name_of(Entry(r"cn=Ada\2c L,dc=x", {}, {})) == "Ada, L"


def test_an_account_that_cannot_be_enabled_any_more_is_said_with_what_to_do(
    site: Any, svcctl: "Svcctl"
) -> None:
    """It was disabled while there was the overlay ppolicy; now its user may have access again."""
    more = 'access.groups = ["staff"]\nppolicy = false\n'
    here = site(CONFIG + more)
    for name in ("ada", "bob"):
        svcctl("users", "add", name, "--group", "staff", "--no-sync")
    here.execute(
        "INSERT INTO accounts (user_id, service, status, uid, name, name_key, created_at, "
        "updated_at) SELECT id, 'dir', CASE username WHEN 'ada' THEN 'disabled' ELSE 'active' END, "
        "username, username, username, created_at, created_at FROM users"
    )
    done = svcctl("plan", "--json")
    assert done.exit_code == 1
    document = json.loads(done.stdout)
    (problem,) = document["problems"]
    assert problem["user"] == "ada"
    assert problem["message"] == "the account is disabled, and LdapManager has no enable_account"
    assert problem["hint"] == (
        "enable it on the service, then: svcctl accounts refresh ada --service dir"
    )
    here.configure(CONFIG + more.replace("staff", "nobody"))
    plan = json.loads(svcctl("plan", "--json").stdout)
    verbs = [(one["user"], one["operation"]) for one in plan["operations"]]
    assert verbs == [("ada", "delete_account"), ("bob", "delete_account")]
