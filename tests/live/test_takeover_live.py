"""Taking over real servers, all in the same way: tests/live/takeover.py."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from tests.live.ldap_servers import PASSWORD, Directory
from tests.live.scim_servers import Idp
from tests.live.takeover import Seen, take_over
from tests.support.ldap_proxy import LdapProxy, ldap_proxied

if TYPE_CHECKING:
    from tests.conftest import Site, Svcctl

pytestmark = pytest.mark.live

GROUPS = ("staff", "commanders", "theirs")
SCIM = """
[services.idp]
hook = "scim"
base_url = "{base}"
token = {{ env = "SCIM_TOKEN" }}
create = "auto"
attributes = ["email"]
access.states = ["Member"]
groups.map = {{ staff = "staff", fc = "commanders" }}
sync_names = {names}
page_size = 3
{settings}
"""
LDAP = """
[services.dir]
hook = "ldap"
server = "{url}"
dialect = "{dialect}"
bind_dn = "{bind}"
bind_password = {{ env = "BIND_PASSWORD" }}
timeout = "5s"
page_size = 3
base = "{people}"
group_base = "{groups}"
create = "auto"
attributes = ["email"]
access.states = ["Member"]
groups.map = {{ staff = "staff", fc = "commanders" }}
"""


class ScimService:
    """Any of the SCIM servers; breaking off is the proxy's part."""

    name = "idp"
    mails = True
    removed = "disabled"

    def __init__(self, idp: Idp) -> None:
        self._idp = idp
        self.nicknames = idp.names
        self.secret = ("SCIM_TOKEN", idp.token)
        names = str(idp.names).lower()
        self.table = SCIM.format(base=idp.base, names=names, settings=idp.settings)
        idp.remote.create_user("stranger")
        for group in GROUPS:
            idp.remote.create_group(group, "stranger")

    def users(self) -> Seen:
        groups = self._idp.remote.groups()
        return {
            name: (
                one["active"],
                frozenset(group for group in GROUPS if name in groups[group]),
            )
            for name, one in self._idp.remote.users().items()
        }

    def nickname(self, user: str) -> str:
        return str(self._idp.remote.user(user)["displayName"])

    def create(self, user: str, email: str) -> None:
        self._idp.remote.create_user(user, emails=[{"value": email}])

    def join(self, user: str, group: str) -> None:
        members = self._idp.remote.groups()[group]
        self._idp.remote.set_members(group, *members, user)

    def fail_at_create(self, nth: int) -> None:
        self._idp.proxy.cut_at("POST", "/Users$", nth=nth)

    def mend(self) -> None:
        self._idp.proxy.restore()


class LdapService:
    """OpenLDAP or Active Directory, which are really killed."""

    name = "dir"
    mails = True
    nicknames = True
    removed = "disabled"
    secret = ("BIND_PASSWORD", PASSWORD)

    def __init__(self, directory: Directory, proxy: LdapProxy) -> None:
        self._directory = directory
        self._proxy = proxy
        self.table = LDAP.format(
            url=proxy.url,
            dialect=directory.dialect,
            bind=directory.bind,
            people=directory.people,
            groups=directory.groups,
        )
        stranger = directory.add_person("stranger", mail="zoe@example.org")
        for group in GROUPS:
            directory.add_group(group, stranger)

    def users(self) -> Seen:
        groups = self._directory.members()
        return {
            name: (
                self._directory.active(name),
                frozenset(group for group in GROUPS if name in groups[group]),
            )
            for name in self._directory.accounts()
        }

    def nickname(self, user: str) -> str:
        return str(self._directory.accounts()[user]["displayName"][0])

    def create(self, user: str, email: str) -> None:
        self._directory.add_person(user, mail=email)

    def join(self, user: str, group: str) -> None:
        dn = self._directory.accounts()[user]["dn"]
        self._directory.change(f"cn={group},{self._directory.groups}", "MODIFY_ADD", "member", dn)

    def fail_at_create(self, nth: int) -> None:
        self._proxy.call(self._directory.kill, "add", nth=nth)

    def mend(self) -> None:
        self._directory.start_again()


def test_a_scim_server_is_taken_over(
    idp: Idp,
    site: "Callable[[str], Site]",
    svcctl: "Svcctl",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take_over(ScimService(idp), site, svcctl, monkeypatch)


@pytest.fixture
def proxy(directory: Directory) -> Iterator[LdapProxy]:
    with ldap_proxied(directory.host, directory.port) as proxy:
        yield proxy


def test_a_directory_server_is_taken_over(
    directory: Directory,
    proxy: LdapProxy,
    site: "Callable[[str], Site]",
    svcctl: "Svcctl",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take_over(LdapService(directory, proxy), site, svcctl, monkeypatch)
