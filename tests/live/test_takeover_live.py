"""Taking over real servers, all in the same way: tests/live/takeover.py."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mosquitto_broker import Broker, mosquitto

from tests.live.brokers import MqttService, Road
from tests.live.ldap_servers import PASSWORD, Directory
from tests.live.recipe_servers import SERVERS, recipe, tried
from tests.live.scim_servers import Idp
from tests.live.takeover import Seen, take_over
from tests.live.web_remotes import Remote
from tests.support.ldap_proxy import LdapProxy, ldap_proxied

if TYPE_CHECKING:
    from tests.conftest import Site, Svcctl

pytestmark = pytest.mark.live

DOCS = Path(__file__).parents[2] / "docs"
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


COMMAND = """
[services.radio]
hook = "command"
program = "{folder}/door"
methods = {methods}
settings = {{ file = "{folder}/accounts.json" }}
secrets = {{ key = {{ env = "RADIO_KEY" }} }}
create = "auto"
access.states = ["Member"]
groups.map = {{ staff = "staff", fc = "commanders" }}
"""
METHODS = [
    *("list_accounts", "get_account", "find_account", "create_account", "delete_account"),
    *("enable_account", "disable_account", "set_nickname", "change_groups"),
]
# Somebody with a key gets to the program, as long as it is there.
DOOR = """#!{python}
import json, pathlib, subprocess, sys
request = sys.stdin.read()
asked = json.loads(request)
left = pathlib.Path("{folder}/left")
if asked["secrets"]["key"] != "right key":
    sys.exit(77)
if asked["method"] == "create_account" and left.exists():
    left.write_text(str(int(left.read_text()) - 1))
if left.exists() and int(left.read_text()) < 1:
    sys.exit(75)
sys.exit(subprocess.run([sys.executable, "{folder}/program"], input=request, text=True).returncode)
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


class RecipeService:
    """A server that a recipe is for. It is killed before a run: four accounts are made too fast."""

    mails = False

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._others = set(remote.users())
        self.name = remote.service
        self.nicknames = remote.nicknames
        self.removed = remote.removed
        self.secret = ("RECIPE_SECRET", remote.site.key)
        begin = f"[services.{self.name}]\n"
        text = recipe(remote, (begin, f'{begin}create = "auto"\n'))
        self.table = re.sub(r'\{ file = "\w+\.\w+" \}', '{ env = "RECIPE_SECRET" }', text)
        self.create("stranger", "")
        for group in GROUPS:
            self.join("stranger", group)

    def users(self) -> Seen:
        found = self._remote.users().items()
        return {name: one for name, one in found if name not in self._others}

    def nickname(self, user: str) -> str:
        return self._remote.nickname(user)

    def create(self, user: str, email: str) -> None:
        self._remote.create(user)

    def join(self, user: str, group: str) -> None:
        self._remote.join(user, group)

    def fail_at_create(self, nth: int) -> None:
        self._remote.site.kill()

    def mend(self) -> None:
        self._remote.site.restart()


@pytest.fixture(params=SERVERS)
def remote(request: pytest.FixtureRequest) -> Iterator[Remote]:
    with tried(request.param) as remote:
        yield remote


def test_what_a_recipe_is_for_is_taken_over(
    remote: Remote,
    site: "Callable[[str], Site]",
    svcctl: "Svcctl",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take_over(RecipeService(remote), site, svcctl, monkeypatch)


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


@pytest.fixture
def broker() -> Iterator[Broker]:
    with mosquitto() as broker:
        yield broker


def test_a_broker_is_taken_over(
    broker: Broker,
    site: "Callable[[str], Site]",
    svcctl: "Svcctl",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Road(broker.server.port) as road:
        take_over(MqttService(broker, road), site, svcctl, monkeypatch)
    assert road.left == 0, "it was killed"


class CommandService:
    """The program that the documentation has, and its file."""

    name = "radio"
    mails = False
    nicknames = True
    removed = "disabled"
    secret = ("RADIO_KEY", "right key")

    def __init__(self, folder: Path) -> None:
        self._left = folder / "left"
        self._file = folder / "accounts.json"
        self.table = COMMAND.format(folder=folder, methods=json.dumps(METHODS))
        text = (DOCS / "services-without-python.md").read_text(encoding="utf-8")
        (program,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        (folder / "program").write_text(program, encoding="utf-8")
        door = DOOR.format(python=sys.executable, folder=folder)
        (folder / "door").write_text(door, encoding="utf-8")
        (folder / "door").chmod(0o755)
        self._file.write_text("{}", encoding="utf-8")
        self.create("stranger", "")
        for group in GROUPS:
            self.join("stranger", group)

    def _accounts(self) -> dict[str, Any]:
        return {one["name"]: one for one in self._read().values()}

    def _read(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._file.read_text(encoding="utf-8"))
        return found

    def users(self) -> Seen:
        return {
            name: (one["active"], frozenset(one["groups"]))
            for name, one in self._accounts().items()
        }

    def nickname(self, user: str) -> str:
        return str(self._accounts()[user]["nickname"])

    def create(self, user: str, email: str) -> None:
        accounts = self._read()
        one: dict[str, Any] = {"name": user, "external_id": None, "active": True, "groups": []}
        accounts[str(len(accounts) + 1000)] = one
        self._file.write_text(json.dumps(accounts), encoding="utf-8")

    def join(self, user: str, group: str) -> None:
        accounts = self._read()
        for one in accounts.values():
            if one["name"] == user:
                one["groups"].append(group)
        self._file.write_text(json.dumps(accounts), encoding="utf-8")

    def fail_at_create(self, nth: int) -> None:
        self._left.write_text(str(nth))

    def mend(self) -> None:
        self._left.unlink()


def test_what_a_program_keeps_is_taken_over(
    tmp_path: Path,
    site: "Callable[[str], Site]",
    svcctl: "Svcctl",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "radio"
    folder.mkdir()
    take_over(CommandService(folder), site, svcctl, monkeypatch)
