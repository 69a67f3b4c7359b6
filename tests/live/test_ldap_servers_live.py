"""What OpenLDAP and Samba do each in their own way, and the ways to reach them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ldap3
import pytest
import trustme

from svcctl.config.ldap import Tls
from svcctl.errors import Conflict, Denied, Incomplete, Invalid, ManagerError, NotFound
from svcctl.hooks.ldap import LdapManager
from svcctl.hooks.manager import GroupChange, NewAccount
from tests.live.ldap_servers import PASSWORD, ROOT_PASSWORD, Directory
from tests.support.ldap_proxy import ldap_proxied

pytestmark = pytest.mark.live

NONE = frozenset[str]()
OPENLDAP = pytest.mark.parametrize("running_directory", ["openldap"], indirect=True)
WINDOWS = pytest.mark.parametrize("running_directory", ["active-directory"], indirect=True)
Make = Callable[..., LdapManager]


@pytest.fixture
def manager(directory: Directory) -> Iterator[Make]:
    """`manager(…)`: as the hook makes it, over TLS, with other settings."""
    made: list[LdapManager] = []

    def make(**settings: Any) -> LdapManager:
        given: dict[str, Any] = {
            "server": directory.ldaps,
            "base": directory.people,
            "group_base": directory.groups,
            "dialect": directory.dialect,
            "bind_dn": directory.bind,
            "bind_password": PASSWORD,
            "tls": Tls(ca_file=directory.ca),
            "page_size": 3,
            "upn_suffix": "svc.test" if directory.windows else None,
            **settings,
        }
        made.append(LdapManager(**given))
        return made[-1]

    yield make
    for one in made:
        one.close()


def new(name: str, number: int = 1, **attributes: Any) -> NewAccount:
    return NewAccount(name, f"svcctl:{number}", f"Pw1-{name}-of-no-importance", attributes)


# Encryption


def test_both_ways_of_encryption(directory: Directory, manager: Make) -> None:
    manager().check()
    manager(server=directory.url, tls=Tls(ca_file=directory.ca, start=True)).check()


@pytest.mark.parametrize("start", [False, True], ids=["ldaps", "starttls"])
def test_a_server_that_nobody_vouches_for_is_not_told_the_password(
    directory: Directory, manager: Make, tmp_path: Path, *, start: bool
) -> None:
    server = directory.url if start else directory.ldaps
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    for tls, words in (
        (Tls(start=start), "issuer|self-signed"),
        (Tls(start=start, ca_file=other), "signature|issuer|self-signed"),
        (Tls(start=start, ca_file=directory.ca, name="dc1.example.org"), "not valid for"),
    ):
        with pytest.raises(Denied, match=f"the certificate is not good: .*({words})") as raised:
            manager(server=server, tls=tls).check()
        assert raised.value.hint
        assert "tls.ca_file" in raised.value.hint
    with pytest.raises(Invalid, match=r"TLS: .*tls.ca_file|TLS: no such file"):
        manager(server=server, tls=Tls(start=start, ca_file=tmp_path / "none.pem")).check()


def test_tls_where_there_is_none_is_said(directory: Directory, manager: Make) -> None:
    with pytest.raises(ManagerError, match="TLS: "):
        manager(server=directory.url.replace("ldap:", "ldaps:")).check()


# What the settings say


def test_settings_that_do_not_fit_the_server(directory: Directory, manager: Make) -> None:
    other = "openldap" if directory.windows else "active-directory"
    with pytest.raises(Invalid, match="not what dialect says"):
        manager(dialect=other).check()
    for wrong in ("base", "group_base"):
        with pytest.raises(Denied, match="is not there, or is not shown to us"):
            manager(**{wrong: f"ou=nowhere,{directory.people}"}).check()
    nowhere = manager(base=f"ou=nowhere,{directory.people}")
    for call in (
        lambda: list(nowhere.list_accounts()),
        lambda: nowhere.find_account("svcctl:1", "ada"),
        lambda: nowhere.create_account(new("ada")),
        lambda: nowhere.get_account("52d7e3f2-7d0e-1041-8e99-197e50001439"),
    ):
        with pytest.raises(Denied, match="no such entry, or it is not shown to us"):
            call()
    with pytest.raises(Invalid, match="filter"):
        list(manager(user_filter="(&(uid=x)&)").list_accounts())


def test_another_attribute_may_keep_our_key(directory: Directory, manager: Make) -> None:
    """Also one with several values, of which others are somebody else's."""
    made = manager(external_id_attribute="description").create_account(new("ada", 7))
    dn = directory.accounts()["ada"]["dn"]
    if not directory.windows:  # where it has one value on people
        directory.change(dn, ldap3.MODIFY_ADD, "description", "a note")
    one = manager(external_id_attribute="description")
    found = one.find_account("svcctl:7", "nobody")
    assert found is not None
    assert (found.uid, found.external_id) == (made.uid, "svcctl:7")
    without = manager(external_ids=False)
    assert not without.stores_external_id
    shown = without.find_account("svcctl:7", "ADA")
    assert shown is not None
    assert (shown.uid, shown.external_id) == (made.uid, None)


def test_attributes_are_given_and_shown(directory: Directory, manager: Make) -> None:
    one = manager()
    email = ["a@example.org", "b@example.org"] if not directory.windows else "a@example.org"
    uid = one.create_account(
        new("ada", email=email, given_name="Ada", family_name="Løvelace", title="", l=None)
    ).uid
    shown = one.get_account(uid).attributes
    assert shown["family_name"] == "Løvelace"
    assert shown["email"] == (tuple(email) if isinstance(email, list) else email)
    with pytest.raises(Invalid, match=r"16 |17 |21 "):
        one.create_account(new("bob", 2, no_such_attribute="x"))
    assert "bob" not in directory.accounts()


# Names and places


def test_a_key_or_a_name_that_is_taken_anywhere_below_the_base(
    directory: Directory, manager: Make
) -> None:
    one = manager()
    below = f"ou=former,{directory.people}"
    directory.write(lambda connection: connection.add(below, ["organizationalUnit"], {}))
    one.create_account(new("ada", 1))
    directory.rename(directory.accounts()["ada"]["dn"], rdn_of(directory, "ada"), below=below)
    with pytest.raises(Conflict, match="has this name already"):
        one.create_account(new("ADA", 2))
    with pytest.raises(Conflict, match="has this external id already"):
        one.create_account(new("bob", 1))
    assert directory.accounts().keys() == {"ada"}


def rdn_of(directory: Directory, name: str) -> str:
    return f"CN={name}" if directory.windows else f"uid={name}"


def test_an_entry_outside_the_base_is_nobody(directory: Directory, manager: Make) -> None:
    one = manager()
    made = one.create_account(new("ada"))
    directory.rename(
        directory.accounts()["ada"]["dn"], rdn_of(directory, "ada"), below=directory.groups
    )
    with pytest.raises(NotFound):
        one.get_account(made.uid)
    with pytest.raises(NotFound):
        one.disable_account(made.uid)
    with pytest.raises(NotFound):
        one.get_account("not a uid)(objectClass=*")
    assert one.find_account("svcctl:1", "ada") is None


def test_two_groups_of_one_name_are_no_group_to_join(directory: Directory, manager: Make) -> None:
    one = manager()
    uid = one.create_account(new("ada")).uid
    stranger = directory.add_person("stranger")
    directory.add_group("staff", stranger)
    below = f"ou=more,{directory.groups}"
    directory.write(lambda connection: connection.add(below, ["organizationalUnit"], {}))
    classes = "group" if directory.windows else "groupOfNames"
    more = {"sAMAccountName": "staff2"} if directory.windows else {"member": stranger}
    directory.write(lambda connection: connection.add(f"cn=staff,{below}", [classes], more))
    with pytest.raises(Conflict, match="two groups are called 'staff'"):
        one.change_groups(uid, frozenset({"staff"}), NONE)
    assert one.list_groups() == ["staff"]
    assert len(list(one.list_accounts())) == 2


def test_a_group_that_was_renamed_meanwhile(directory: Directory, manager: Make) -> None:
    one = manager()
    uid = one.create_account(new("ada")).uid
    stranger = directory.add_person("stranger")
    dn = directory.add_group("staff", stranger)
    staff = frozenset({"staff"})
    assert one.change_groups(uid, staff, NONE) == GroupChange(staff, NONE)
    directory.rename(dn, "cn=crew")
    if directory.windows:
        crew = f"cn=crew,{directory.groups}"
        directory.change(crew, ldap3.MODIFY_REPLACE, "sAMAccountName", "crew")
    with pytest.raises(Invalid, match="no group 'staff'"):
        one.change_groups(uid, staff, NONE)
    assert one.change_groups(uid, NONE, staff) == GroupChange()
    directory.add_group("staff", stranger)
    assert one.change_groups(uid, staff, NONE) == GroupChange(staff, NONE)
    assert directory.members() == {"staff": {"stranger", "ada"}, "crew": {"stranger", "ada"}}


# OpenLDAP


@OPENLDAP
def test_a_lock_that_the_policy_does_not_heed_is_no_yes(
    directory: Directory, manager: Make
) -> None:
    one = manager()
    uid = one.create_account(new("ada")).uid
    password = new("ada").password
    policy = "cn=default,ou=policies,dc=svc,dc=test"
    directory.change(policy, ldap3.MODIFY_REPLACE, "pwdLockout", "FALSE")
    try:
        with pytest.raises(Invalid, match="does not heed a lock") as raised:
            one.disable_account(uid)
        assert raised.value.hint
        assert "pwdLockout: TRUE" in raised.value.hint
        assert directory.lets_in("ada", password)
        assert one.get_account(uid).active
    finally:
        directory.change(policy, ldap3.MODIFY_REPLACE, "pwdLockout", "TRUE")
    one.disable_account(uid)
    assert not directory.lets_in("ada", password)


@OPENLDAP
def test_a_new_password_does_not_unlock(directory: Directory, manager: Make) -> None:
    one = manager()
    uid = one.create_account(new("ada")).uid
    one.disable_account(uid)
    one.set_password(uid, "another-Password-1")
    assert not one.get_account(uid).active
    assert not directory.lets_in("ada", "another-Password-1")
    one.enable_account(uid)
    assert directory.lets_in("ada", "another-Password-1")


@OPENLDAP
def test_passwords_are_hashed_and_one_that_is_refused_leaves_nobody(
    directory: Directory, manager: Make
) -> None:
    one = manager()
    one.create_account(new("ada"))
    assert directory.accounts()["ada"]["userPassword"][0].startswith("{SSHA}")
    policy = "cn=default,ou=policies,dc=svc,dc=test"
    directory.change(policy, ldap3.MODIFY_REPLACE, "pwdMinLength", "99")
    directory.change(policy, ldap3.MODIFY_REPLACE, "pwdCheckQuality", "2")
    try:
        with pytest.raises(Invalid, match="19 constraintViolation: Password"):
            one.create_account(new("bob", 2))
    finally:
        directory.change(policy, ldap3.MODIFY_REPLACE, "pwdMinLength")
        directory.change(policy, ldap3.MODIFY_REPLACE, "pwdCheckQuality")
    assert directory.accounts().keys() == {"ada"}


@OPENLDAP
@pytest.mark.parametrize("group_class", ["posixGroup", "groupOfUniqueNames"])
def test_other_kinds_of_groups(directory: Directory, manager: Make, group_class: str) -> None:
    stranger = directory.add_person("stranger")
    member, given = "uniqueMember", {"uniqueMember": stranger}
    if group_class == "posixGroup":
        member, given = "memberUid", {"gidNumber": "1000", "memberUid": "stranger"}
    dn = f"cn=staff,{directory.groups}"
    directory.write(lambda connection: connection.add(dn, [group_class], given))
    one = manager(group_class=group_class)
    uid = one.create_account(new("ada")).uid
    staff = frozenset({"staff"})
    assert one.change_groups(uid, staff, NONE) == GroupChange(staff, NONE)
    assert one.change_groups(uid, staff, NONE) == GroupChange()
    assert one.get_account(uid).groups == staff
    assert {account.name: account.groups for account in one.list_accounts()} == {
        "ada": staff,
        "stranger": staff,
    }
    directory.change(dn, ldap3.MODIFY_DELETE, member, next(iter(given[member].splitlines())))
    assert one.change_groups(uid, NONE, staff) == GroupChange(NONE, staff)
    assert one.change_groups(uid, NONE, staff) == GroupChange()
    shown = directory.search(dn)[dn].get(member, [])
    assert shown == ([] if group_class == "posixGroup" else ["cn=nobody"])
    one.change_groups(uid, staff, NONE)
    one.delete_account(uid)
    assert "ada" not in str(directory.search(dn))


@OPENLDAP
def test_nobody_is_created_into_a_group_that_means_somebody_else(
    directory: Directory, manager: Make
) -> None:
    directory.add_group("admins", f"uid=ada,{directory.people}")
    one = manager()
    with pytest.raises(Conflict, match="as a member, who is not there"):
        one.create_account(new("ada"))
    assert directory.accounts() == {}
    one.create_account(new("bob"))


@OPENLDAP
def test_a_real_limit_of_the_server_ends_a_listing_as_incomplete(
    directory: Directory, manager: Make
) -> None:
    """Whoever is not exempt gets 50 entries, page by page or not."""
    one = manager()
    for number in range(52):
        directory.add_person(f"p{number}")
    ada = one.create_account(new("ada"))
    one.set_password(ada.uid, "ordinary-Person-1")
    ordinary = manager(
        bind_dn=f"uid=ada,{directory.people}", bind_password="ordinary-Person-1", page_size=20
    )
    with pytest.raises(Incomplete, match="4 sizeLimitExceeded") as raised:
        list(ordinary.list_accounts())
    assert raised.value.hint
    assert "limit" in raised.value.hint
    assert len(list(one.list_accounts())) == 53
    with pytest.raises(Denied, match="50 insufficientAccessRights"):
        ordinary.set_nickname(ada.uid, "x")
    with pytest.raises(Denied, match="50 insufficientAccessRights"):
        ordinary.delete_account(ada.uid)


@OPENLDAP
def test_a_part_of_the_tree_on_another_server_makes_a_listing_incomplete(
    directory: Directory, manager: Make
) -> None:
    one = manager()
    one.create_account(new("ada"))
    elsewhere = f"ou=branch,{directory.people}"
    given = {"ou": "branch", "ref": "ldap://branch.example.org/ou=people,dc=branch"}
    directory.write(
        lambda connection: connection.add(elsewhere, ["referral", "extensibleObject"], given)
    )
    try:
        for call in (
            lambda: list(one.list_accounts()),
            lambda: one.find_account("svcctl:1", "ada"),
        ):
            with pytest.raises(Incomplete, match=r"another server: ldap://branch"):
                call()
    finally:
        manage = [("2.16.840.1.113730.3.4.2", True, None)]
        directory.write(lambda connection: connection.delete(elsewhere, controls=manage))


# Active Directory


@WINDOWS
def test_the_other_flags_of_an_account_stay(directory: Directory, manager: Make) -> None:
    one = manager()
    uid = one.create_account(new("ada")).uid
    dn = directory.accounts()["ada"]["dn"]
    directory.change(dn, ldap3.MODIFY_REPLACE, "userAccountControl", str(0x10200))
    for call, flags in ((one.disable_account, 0x10202), (one.enable_account, 0x10200)):
        for _ in range(2):
            call(uid)
            assert directory.accounts()["ada"]["userAccountControl"] == [str(flags)]


@WINDOWS
def test_a_password_that_the_domain_refuses_leaves_nobody(
    directory: Directory, manager: Make
) -> None:
    one = manager()
    with pytest.raises(Invalid, match="0000052D") as raised:
        one.create_account(NewAccount("ada", "svcctl:1", "short"))
    assert raised.value.hint == "the domain's password policy does not take this password"
    assert directory.accounts() == {}
    uid = one.create_account(new("ada")).uid
    with pytest.raises(Invalid, match="0000052D"):
        one.set_password(uid, "alllowercase")
    assert directory.lets_in("ada", new("ada").password)


@WINDOWS
def test_a_primary_group_is_no_matter_of_members(directory: Directory, manager: Make) -> None:
    uid = manager().create_account(new("ada")).uid
    domain = manager(
        group_base="CN=Users,DC=svc,DC=test",
        bind_dn=directory.root,
        bind_password=ROOT_PASSWORD,
    )
    users = frozenset({"Domain Users"})
    with pytest.raises(Invalid, match=r"will not have .* added \(68\)") as raised:
        domain.change_groups(uid, users, NONE)
    assert raised.value.hint
    assert "primary group" in raised.value.hint
    assert domain.change_groups(uid, NONE, users) == GroupChange()
    assert "Domain Users" in domain.list_groups()


@WINDOWS
def test_a_principal_name_that_is_taken_is_a_conflict(directory: Directory, manager: Make) -> None:
    directory.add_person("stranger", userPrincipalName="ada@svc.test")
    with pytest.raises(Conflict, match="already in use"):
        manager().create_account(new("ada"))
    assert directory.accounts().keys() == {"stranger"}


@WINDOWS
def test_the_base_may_be_the_whole_domain(directory: Directory, manager: Make) -> None:
    """What other partitions of the forest hold is no part of it, and no reason to refuse."""
    one = manager(base="DC=svc,DC=test")
    assert {"Administrator", "krbtgt", "svcctl"} <= {each.name for each in one.list_accounts()}


# The connection


def test_a_connection_that_the_server_ended_meanwhile_is_made_anew(
    directory: Directory, manager: Make
) -> None:
    with ldap_proxied(directory.host, directory.port) as proxy:
        one = manager(server=proxy.url, tls=Tls())
        uid = one.create_account(new("ada")).uid
        proxy.drop()
        assert one.get_account(uid).name == "ada"
        assert [each.kind for each in proxy.log].count("bind") == 2


def test_an_answer_that_is_too_long_is_no_answer(
    directory: Directory, manager: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("svcctl.ldap.connection.LARGEST", 300)
    one = manager()
    for number in range(5):
        one.create_account(new(f"p{number}", number))
    with pytest.raises(ManagerError, match="longer than 300 bytes"):
        list(manager(page_size=100).list_accounts())
