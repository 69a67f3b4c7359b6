"""The ldap source and two real directories: read whole and never written to, or refused."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import ldap3
import pytest

from tests.live.ldap_servers import PASSWORD, Directory
from tests.support.ldap_proxy import LdapProxy, ldap_proxied

if TYPE_CHECKING:
    from tests.conftest import Site, Svcctl

pytestmark = pytest.mark.live

OPENLDAP = pytest.mark.parametrize("running_directory", ["openldap"], indirect=True)
WINDOWS = pytest.mark.parametrize("running_directory", ["active-directory"], indirect=True)
NAMES = ("ada", "bob", "cyd", "dan", "eve")
CONFIG = """
[directory.sources.dir]
type = "ldap"
server = "{server}"
dialect = "{dialect}"
bind_dn = "{bind}"
bind_password = {{ env = "BIND_PASSWORD" }}
timeout = "2s"
page_size = 2
base = "{people}"
group_base = "{groups}"

[states.Member]
priority = 100
groups = ["corp"]
"""


@pytest.fixture
def proxy(directory: Directory) -> Iterator[LdapProxy]:
    with ldap_proxied(directory.host, directory.port) as proxy:
        yield proxy


@pytest.fixture
def here(
    site: Any, directory: Directory, proxy: LdapProxy, monkeypatch: pytest.MonkeyPatch
) -> "Site":
    """Five people, all in corp, ada and bob in fc as well."""
    monkeypatch.setenv("BIND_PASSWORD", PASSWORD)
    dns = {name: directory.add_person(name, mail=f"{name}@example.org") for name in NAMES}
    directory.add_group("corp", *dns.values())
    directory.add_group("fc", dns["ada"], dns["bob"])
    built: Site = site(configured(directory, proxy.url))
    return built


def configured(directory: Directory, server: str) -> str:
    return CONFIG.format(
        server=server,
        dialect=directory.dialect,
        bind=directory.bind,
        people=directory.people,
        groups=directory.groups,
    )


def people(site: "Site") -> dict[str, tuple[str, bool, set[str]]]:
    """State, whether active, and groups, by username."""
    held: dict[str, set[str]] = {}
    for row in site.rows(
        "SELECT username, name FROM memberships JOIN users ON users.id = user_id "
        "JOIN groups ON groups.id = group_id"
    ):
        held.setdefault(row["username"], set()).add(row["name"])
    return {
        row["username"]: (row["state"], bool(row["active"]), held.get(row["username"], set()))
        for row in site.rows("SELECT * FROM users")
    }


def dn_of(directory: Directory, name: str) -> str:
    return str(directory.accounts()[name]["dn"])


def switch_off(directory: Directory, name: str) -> None:
    dn = dn_of(directory, name)
    if directory.windows:
        directory.change(dn, ldap3.MODIFY_REPLACE, "userAccountControl", "546")
    else:
        directory.change(dn, ldap3.MODIFY_REPLACE, "pwdAccountLockedTime", "000001010000Z")


def refused(site: "Site", svcctl: "Svcctl", *words: str) -> str:
    """A pull that takes nothing over; what it says."""
    before = people(site)
    done = svcctl("directory", "pull")
    assert (done.exit_code, done.stdout) == (5, ""), done.stderr
    for word in words:
        assert word in done.stderr
    assert "hint: " in done.stderr
    assert PASSWORD not in done.stderr
    assert people(site) == before
    return done.stderr


def test_people_come_change_and_vanish_in_two_steps(
    here: "Site", svcctl: "Svcctl", directory: Directory, proxy: LdapProxy
) -> None:
    done = svcctl("directory", "pull")
    assert done.exit_code == 0, done.stderr
    assert people(here) == {
        name: ("Member", True, {"corp", "fc"} if name in ("ada", "bob") else {"corp"})
        for name in NAMES
    }
    (ada,) = here.rows("SELECT attributes FROM users WHERE username = 'ada'")
    assert ada == {"attributes": '{"email":"ada@example.org"}'}
    again = svcctl("directory", "pull")
    assert (again.exit_code, again.stdout, again.stderr) == (0, "", "")

    switch_off(directory, "cyd")
    fc = f"cn=fc,{directory.groups}"
    directory.change(fc, ldap3.MODIFY_ADD, "member", dn_of(directory, "dan"))
    directory.change(fc, ldap3.MODIFY_DELETE, "member", dn_of(directory, "bob"))
    directory.delete(dn_of(directory, "eve"))
    if directory.windows:
        dn = dn_of(directory, "ada")
        directory.change(dn, ldap3.MODIFY_REPLACE, "sAMAccountName", "lovelace")
    else:
        directory.change(fc, ldap3.MODIFY_ADD, "member", f"uid=lovelace,{directory.people}")
        corp = f"cn=corp,{directory.groups}"
        directory.change(corp, ldap3.MODIFY_ADD, "member", f"uid=lovelace,{directory.people}")
        directory.rename(dn_of(directory, "ada"), "uid=lovelace")
    done = svcctl("directory", "pull")
    assert done.exit_code == 0, done.stderr
    assert "lovelace: renamed, was ada" in done.stdout
    now = people(here)
    assert now["cyd"][:2] == ("Guest", False)
    assert now["bob"] == ("Member", True, {"corp"})
    assert now["dan"] == ("Member", True, {"corp", "fc"})
    assert now["lovelace"] == ("Member", True, {"corp", "fc"})
    assert now["eve"] == ("Member", True, {"corp"}), "missing, and still here"
    assert svcctl("directory", "pull").exit_code == 0
    assert people(here)["eve"][1] is False
    assert not proxy.writes


def test_groups_count_through_other_groups_also_in_circles(
    here: "Site", svcctl: "Svcctl", directory: Directory
) -> None:
    outer = directory.add_group("outer", f"cn=fc,{directory.groups}")
    outmost = directory.add_group("outmost", outer)
    directory.change(f"cn=fc,{directory.groups}", ldap3.MODIFY_ADD, "member", outmost)
    assert svcctl("directory", "pull").exit_code == 0
    assert people(here)["ada"][2] == {"corp", "fc", "outer", "outmost"}
    assert people(here)["cyd"][2] == {"corp"}


@OPENLDAP
def test_the_overlay_memberof_says_the_same_as_the_groups(
    here: "Site", svcctl: "Svcctl", directory: Directory, proxy: LdapProxy
) -> None:
    directory.add_group("outer", f"cn=fc,{directory.groups}")
    assert svcctl("directory", "pull").exit_code == 0
    before = people(here)
    assert before["ada"][2] == {"corp", "fc", "outer"}
    config = configured(directory, proxy.url)
    here.configure(config.replace("page_size", 'memberships = "memberOf"\npage_size'))
    assert svcctl("directory", "pull").exit_code == 0
    assert people(here) == before


def test_what_says_who_is_active_may_be_an_attribute(
    here: "Site", svcctl: "Svcctl", directory: Directory, proxy: LdapProxy
) -> None:
    assert svcctl("directory", "pull").exit_code == 0
    for name, word in (("ada", "FALSE"), ("bob", "TRUE")):
        directory.change(dn_of(directory, name), ldap3.MODIFY_REPLACE, "title", word)
    config = configured(directory, proxy.url)
    here.configure(config.replace("page_size", 'active = "title"\npage_size'))
    assert svcctl("directory", "pull").exit_code == 0
    assert [name for name, (_, active, _) in people(here).items() if not active] == ["ada"]
    directory.change(dn_of(directory, "cyd"), ldap3.MODIFY_REPLACE, "title", "boss")
    refused(here, svcctl, "title is neither true nor false")


def test_an_attribute_that_nobody_has_is_fine_and_one_that_does_not_exist_is_not(
    here: "Site", svcctl: "Svcctl", directory: Directory, proxy: LdapProxy
) -> None:
    config = configured(directory, proxy.url)
    several = "{ mail = 'email', telephoneNumber = 'corp_id', pager = 'alliance_id' }"
    here.configure(config.replace("page_size", f"attributes = {several}\npage_size"))
    assert svcctl("directory", "pull").exit_code == 0
    here.configure(config.replace("page_size", "attributes = { mial = 'email' }\npage_size"))
    refused(here, svcctl, "attributes: the server knows no attribute 'mial'")


def test_groups_of_nobody_are_a_mistake(
    here: "Site", svcctl: "Svcctl", directory: Directory, proxy: LdapProxy
) -> None:
    """And two of one name can be anybody's."""
    assert svcctl("directory", "pull").exit_code == 0
    others = f"ou=others,{directory.people}"
    directory.write(lambda connection: connection.add(others, ["organizationalUnit"], {}))
    config = configured(directory, proxy.url)
    stranger = directory.add_person("stranger")
    directory.rename(stranger, stranger.partition(",")[0], below=others)
    here.configure(config.replace(f'base = "{directory.people}"', f'base = "{others}"', 1))
    refused(here, svcctl, "nobody is in any group, and there are groups with members")
    here.configure(config)
    below = f"ou=more,{directory.groups}"
    directory.write(lambda connection: connection.add(below, ["organizationalUnit"], {}))
    kind = "group" if directory.windows else "groupOfNames"
    given = {"member": dn_of(directory, "ada")}
    given |= {"sAMAccountName": "corp2"} if directory.windows else {}
    directory.write(lambda connection: connection.add(f"cn=corp,{below}", [kind], given))
    refused(here, svcctl, "two groups are called 'corp'")


# Incomplete is not a directory


@pytest.mark.parametrize(
    ("code", "words"),
    [(3, "timeLimit"), (4, "sizeLimit"), (11, "adminLimit"), (51, "busy"), (52, "unavailable")],
)
def test_an_answer_that_ends_early_changes_nobody(
    here: "Site", svcctl: "Svcctl", proxy: LdapProxy, directory: Directory, code: int, words: str
) -> None:
    assert svcctl("directory", "pull").exit_code == 0
    switch_off(directory, "ada")
    asked = sum(one.kind == "search" for one in proxy.log)
    for nth in range(1, asked + 1):
        proxy.reset()
        proxy.answer(code, "search", nth=nth)
        refused(here, svcctl, words)


def test_a_lost_connection_changes_nobody(
    here: "Site", svcctl: "Svcctl", proxy: LdapProxy, directory: Directory
) -> None:
    assert svcctl("directory", "pull").exit_code == 0
    asked = sum(one.kind == "search" for one in proxy.log)
    switch_off(directory, "ada")
    for nth in range(1, asked + 1):
        proxy.reset()
        proxy.lose("search", nth=nth)
        refused(here, svcctl, "directory.sources.dir: ldap://")
        proxy.reset()
        proxy.cut_at("search", nth=nth)
        refused(here, svcctl, "directory.sources.dir: ldap://")
    proxy.reset()
    proxy.hang("search", nth=2)
    refused(here, svcctl, "no answer in time")


def test_killed_while_it_is_read_and_back(
    here: "Site", svcctl: "Svcctl", proxy: LdapProxy, directory: Directory
) -> None:
    assert svcctl("directory", "pull").exit_code == 0
    proxy.call(directory.kill, "search", nth=3)
    try:
        refused(here, svcctl, "directory.sources.dir: ldap://")
        refused(here, svcctl, "directory.sources.dir: ldap://")
    finally:
        directory.start_again()
    assert svcctl("directory", "pull").exit_code == 0


def test_wrong_credentials_change_nobody(
    here: "Site", svcctl: "Svcctl", monkeypatch: pytest.MonkeyPatch
) -> None:
    assert svcctl("directory", "pull").exit_code == 0
    monkeypatch.setenv("BIND_PASSWORD", "not-the-password")
    said = refused(here, svcctl, "49 invalidCredentials", "check bind_dn and bind_password")
    assert "not-the-password" not in said
    monkeypatch.delenv("BIND_PASSWORD")
    refused(here, svcctl, "BIND_PASSWORD: is not set")


def test_a_base_that_is_not_there_changes_nobody(
    here: "Site", svcctl: "Svcctl", directory: Directory, proxy: LdapProxy
) -> None:
    assert svcctl("directory", "pull").exit_code == 0
    config = configured(directory, proxy.url)
    for base in (directory.people, directory.groups):
        here.configure(config.replace(f'"{base}"', f'"ou=nowhere,{base}"'))
        refused(here, svcctl, "there is no such entry, or it is not shown to us")


# Servers in their own way


@OPENLDAP
def test_limits_and_parts_elsewhere_of_a_real_server(
    here: "Site", svcctl: "Svcctl", directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        directory.add_person(f"p{number}")
    ada = dn_of(directory, "ada")
    directory.change(ada, ldap3.MODIFY_REPLACE, "userPassword", PASSWORD)
    config = configured(directory, directory.url)
    here.configure(config.replace(directory.bind, ada))
    refused(here, svcctl, "4 sizeLimitExceeded", "lift the server's limit")
    here.configure(config)
    assert svcctl("directory", "pull").exit_code == 0
    elsewhere = f"ou=branch,{directory.people}"
    given = {"ou": "branch", "ref": "ldap://branch.example.org/ou=people,dc=branch"}
    directory.write(
        lambda connection: connection.add(elsewhere, ["referral", "extensibleObject"], given)
    )
    try:
        refused(here, svcctl, "a part of it is on another server: ldap://branch.example.org")
    finally:
        manage = [("2.16.840.1.113730.3.4.2", True, None)]
        directory.write(lambda connection: connection.delete(elsewhere, controls=manage))


@OPENLDAP
def test_posix_groups_name_people_by_their_names(
    here: "Site", svcctl: "Svcctl", directory: Directory, proxy: LdapProxy
) -> None:
    wheel, given = f"cn=wheel,{directory.groups}", {"gidNumber": "10", "memberUid": ["ada", "bob"]}
    directory.write(lambda connection: connection.add(wheel, ["posixGroup"], given))
    config = configured(directory, proxy.url)
    here.configure(config.replace("page_size", 'group_class = "posixGroup"\npage_size'))
    assert svcctl("directory", "pull").exit_code == 0
    assert {name: groups for name, (_, _, groups) in people(here).items()} == {
        **{name: set() for name in NAMES},
        "ada": {"wheel"},
        "bob": {"wheel"},
    }
    wrong = 'group_class = "posixGroup"\nmemberships = "memberOf"\npage_size'
    here.configure(config.replace("page_size", wrong))
    refused(here, svcctl, "nobody is in any group", "whether bind_dn may read memberOf")


@OPENLDAP
def test_a_name_that_is_missing_twice_or_not_text_is_refused_with_its_place(
    here: "Site", svcctl: "Svcctl", directory: Directory, proxy: LdapProxy
) -> None:
    config = configured(directory, proxy.url)
    ada = dn_of(directory, "ada")
    here.configure(config.replace("page_size", 'username = "title"\npage_size'))
    refused(here, svcctl, "title is empty", ": person ")
    for name in NAMES:
        directory.change(dn_of(directory, name), ldap3.MODIFY_REPLACE, "title", "same")
    refused(here, svcctl, "'same' was already at directory.sources.dir: person 1")
    directory.change(ada, ldap3.MODIFY_ADD, "title", "other")
    assert "2 values" not in refused(here, svcctl)
    here.configure(config.replace("page_size", 'id = "title"\npage_size'))
    refused(here, svcctl, f"{ada}: has 2 values of title")
    directory.change(ada, ldap3.MODIFY_ADD, "uid", "lovelace")
    here.configure(config)
    assert svcctl("directory", "pull").exit_code == 0
    assert people(here).keys() == set(NAMES)
    photo = "attributes = { jpegPhoto = 'email' }\npage_size"
    here.configure(config.replace("page_size", photo))
    octets: Any = b"\xff\xd8\xff"
    directory.change(ada, ldap3.MODIFY_REPLACE, "jpegPhoto", octets)
    refused(here, svcctl, f"{ada}: jpegPhoto is not text")


@WINDOWS
def test_whose_last_day_is_over_is_not_active(
    here: "Site", svcctl: "Svcctl", directory: Directory
) -> None:
    for name, ticks in (("ada", "131592384000000000"), ("bob", "9223372036854775807")):
        directory.change(dn_of(directory, name), ldap3.MODIFY_REPLACE, "accountExpires", ticks)
    assert svcctl("directory", "pull").exit_code == 0
    assert [name for name, (_, active, _) in people(here).items() if not active] == ["ada"]


@WINDOWS
def test_the_whole_domain_may_be_read(
    here: "Site", svcctl: "Svcctl", directory: Directory, proxy: LdapProxy
) -> None:
    config = configured(directory, proxy.url)
    here.configure(config.replace(f'base = "{directory.people}"', 'base = "DC=svc,DC=test"', 1))
    assert svcctl("directory", "pull").exit_code == 0
    assert {"Administrator", "Guest", *NAMES} <= people(here).keys()
    assert people(here)["Guest"][1] is False
