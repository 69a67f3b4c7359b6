"""What every manager promises, kept against OpenLDAP and an Active Directory."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from svcctl.hooks.ldap import WINDOWS_NAMES, LdapHook, LdapManager
from svcctl.hooks.testing import Connect, LogsIn, ManagerContract
from tests.live.ldap_servers import PASSWORD, Directory
from tests.support.ldap_faults import LdapFaults
from tests.support.ldap_proxy import LdapProxy, ldap_proxied

pytestmark = pytest.mark.live

Make = Callable[..., LdapManager]


class Contract(ManagerContract):
    """Through a proxy that can spoil what is said."""

    hook_class = LdapHook
    page_size = 3

    @pytest.fixture
    def proxy(self, directory: Directory) -> Iterator[LdapProxy]:
        with ldap_proxied(directory.host, directory.port) as proxy:
            yield proxy

    @pytest.fixture
    def make(self, directory: Directory, proxy: LdapProxy) -> Make:
        def make(**settings: Any) -> LdapManager:
            given: dict[str, Any] = {
                "server": proxy.url,
                "base": directory.people,
                "group_base": directory.groups,
                "dialect": directory.dialect,
                "bind_dn": directory.bind,
                "bind_password": PASSWORD,
                "page_size": self.page_size,
                "upn_suffix": "svc.test" if directory.windows else None,
                **settings,
            }
            return LdapManager(**given)

        return make

    @pytest.fixture
    def connect(self, make: Make) -> Connect:
        return make

    @pytest.fixture
    def impatient(self, make: Make) -> Connect:
        return lambda: make(timeout=timedelta(seconds=1))

    @pytest.fixture
    def denied(self, make: Make) -> Iterator[LdapManager]:
        manager = make(bind_password="not-the-password")
        yield manager
        manager.close()

    @pytest.fixture
    def credentials(self) -> tuple[str, ...]:
        return (PASSWORD,)

    @pytest.fixture
    def faults(self, proxy: LdapProxy) -> LdapFaults:
        return LdapFaults(proxy)

    @pytest.fixture
    def groups(self, directory: Directory) -> tuple[str, ...]:
        names = ("staff", "crew of the *", "fc, (red)")
        for name in names:
            directory.add_group(name, *([] if directory.windows else ["cn=nobody"]))
        return names

    @pytest.fixture
    def logs_in(self, directory: Directory) -> LogsIn:
        return directory.lets_in


@pytest.mark.parametrize("running_directory", ["openldap"], indirect=True)
class TestOpenLdap(Contract):
    """slapd 2.5."""


class WindowsHook(LdapHook):
    """As it is with `dialect = "active-directory"`."""

    username_rule = WINDOWS_NAMES


@pytest.mark.parametrize("running_directory", ["active-directory"], indirect=True)
class TestActiveDirectory(Contract):
    """A domain controller of Samba."""

    hook_class = WindowsHook
