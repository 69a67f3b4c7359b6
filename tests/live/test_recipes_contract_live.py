"""What every manager promises, kept by the recipes against the servers that they are for."""

import hashlib
import re
import sqlite3
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pymysql
import pytest
import requests
from psycopg.conninfo import make_conninfo

from svcctl.config.load import load
from svcctl.errors import Denied, ManagerError, RateLimited
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.declared import NicknameRule, Rule
from svcctl.hooks.manager import Manager, NewAccount
from svcctl.hooks.registry import build_manager, load_hooks
from svcctl.hooks.testing import (
    Connect,
    Faults,
    HttpFaults,
    LogsIn,
    ManagerContract,
    Proxy,
    Wire,
    WireFaults,
    proxied,
    wired,
    without_last,
)
from svcctl.hooks.testing.manager.subject import Accounts
from tests.live.recipe_servers import FOLDER, recipe, tried
from tests.live.web_remotes import Remote

pytestmark = pytest.mark.live

AROUND = """
[directory]
attributes = ["first_name", "last_name"]

[states.Member]
priority = 100
groups = ["staff"]

"""
GROUPS = ("staff", "commanders", "crew")

Make = Callable[..., Manager]


def named_as_in(name: str) -> type[ServiceHook]:
    """A hook with the name rules of a recipe, where the contract looks for them."""
    text = (FOLDER / f"{name}.toml").read_text(encoding="utf-8")
    (table,) = tomllib.loads(text)["services"].values()

    class Named(ServiceHook):
        username_rule = Rule(**table.get("username_rule", {})).built()
        nickname_rule = NicknameRule(**table.get("nickname_rule", {})).built()
        group_rule = Rule(**table.get("group_rule", {})).built()

    return Named


@pytest.fixture(scope="module")
def remote(request: pytest.FixtureRequest) -> Iterator[Remote]:
    with tried(request.param) as remote:
        yield remote


class Contract(ManagerContract):
    """The manager that a recipe describes, through something that can spoil what is said.

    impatience: the setting for it. edits: what is changed in the recipe, besides the addresses.
    """

    impatience: ClassVar[str]
    edits: ClassVar[tuple[tuple[str, str], ...]] = ()

    @pytest.fixture
    def between(self, remote: Remote) -> Iterator[Any]:
        """What stands between the manager and the server."""
        raise NotImplementedError

    @pytest.fixture
    def make(self, remote: Remote, between: Any, tmp_path: Path) -> Make:
        def make(settings: str = "", key: str = remote.site.key) -> Manager:
            begin = f"[services.{remote.service}]\n"
            port = (str(remote.site.server.port), str(between.port))
            text = recipe(remote, *self.edits, (begin, f"{begin}{settings}\n"), port)
            (secret,) = re.findall(r'file = "(\w+\.\w+)"', text)
            (tmp_path / secret).write_text(key)
            (tmp_path / secret).chmod(0o600)
            (tmp_path / "svcctl.toml").write_text(AROUND + text)
            hooks = load_hooks(load(tmp_path / "svcctl.toml"))
            assert hooks.problems == {}
            return build_manager(hooks.loaded[remote.service])

        return make

    @pytest.fixture
    def connect(self, make: Make) -> Connect:
        return make

    @pytest.fixture
    def impatient(self, make: Make) -> Connect:
        return lambda: make(self.impatience)

    @pytest.fixture
    def denied(self, make: Make) -> Iterator[Manager]:
        with closing(make(key="0123456789abcdef0123456789abcdef01234567")) as manager:
            yield manager

    @pytest.fixture
    def credentials(self, remote: Remote) -> tuple[str, ...]:
        return (remote.site.key,)

    @pytest.fixture
    def groups(self) -> tuple[str, ...]:
        return GROUPS


class HttpContract(Contract):
    """A proxy that answers instead of the service."""

    impatience = 'http.timeout = "2s"'

    @pytest.fixture
    def between(self, remote: Remote) -> Iterator[Proxy]:
        with proxied(remote.site.server.port) as proxy:
            yield proxy

    def short(self) -> Callable[[bytes], bytes] | None:
        """What makes a page of a listing shorter, where the service says how long it is."""
        return None

    @pytest.fixture
    def faults(self, between: Proxy) -> Faults:
        return HttpFaults(between, short=self.short())


class SqlContract(Contract):
    """A connection that breaks; no server says how long it wants to be left."""

    impatience = 'timeout = "1s"'

    @pytest.fixture
    def between(self, remote: Remote) -> Iterator[Wire]:
        with wired(remote.site.server.port) as wire:
            yield wire

    @pytest.fixture
    def faults(self, between: Wire) -> Faults:
        return WireFaults(between)


def person(name: str) -> dict[str, str]:
    """What web applications want to know of everybody; an address that nobody else has."""
    key = hashlib.sha256(name.encode()).hexdigest()[:20]
    return {"email": f"{key}@example.org", "first_name": "Ada", "last_name": "Lovelace"}


@pytest.mark.parametrize("remote", ["wordpress"], indirect=True)
class TestWordPress(HttpContract):
    """WordPress 6.1."""

    hook_class = named_as_in("wordpress")
    page_size = 3
    edits = (('"per_page"', '"per_page"\npaging.size = 3'),)
    # WordPress looks whether a name is free and then takes it, with nothing in its database that
    # keeps others from doing the same meanwhile. The recipe says so.
    test_of_many_who_want_one_name_one_gets_it = None  # type: ignore[assignment]

    def short(self) -> Callable[[bytes], bytes]:
        return without_last()

    def attributes(self, name: str) -> Mapping[str, Any]:
        return {"email": person(name)["email"]}

    @pytest.fixture
    def logs_in(self, remote: Remote) -> LogsIn:
        def logs_in(name: str, password: str) -> bool:
            form = {"log": name, "pwd": password}
            url = f"{remote.site.url}/wp-login.php"
            answer = requests.post(url, form, allow_redirects=False, timeout=30)
            assert answer.status_code in (200, 302)
            return any(cookie.name.startswith("wordpress_logged") for cookie in answer.cookies)

        return logs_in


@pytest.mark.parametrize("remote", ["mediawiki"], indirect=True)
class TestMediaWiki(HttpContract):
    """MediaWiki 1.39."""

    hook_class = named_as_in("mediawiki")
    page_size = 3
    edits = (("paging.size = 500", "paging.size = 3"),)

    @pytest.fixture
    def absent_uid(self) -> str:
        return "987654321"

    @pytest.fixture
    def logs_in(self, remote: Remote) -> LogsIn:
        url = f"{remote.site.url}/api.php"

        def logs_in(name: str, password: str) -> bool:
            with requests.Session() as session:
                query = {"action": "query", "meta": "tokens", "type": "login", "format": "json"}
                token = session.get(url, params=query, timeout=30).json()
                form = {"action": "clientlogin", "username": name, "password": password}
                form["logintoken"] = token["query"]["tokens"]["logintoken"]
                form |= {"loginreturnurl": "https://wiki.example.org/", "format": "json"}
                status = session.post(url, form, timeout=30).json()["clientlogin"]["status"]
            return bool(status == "PASS")

        return logs_in

    def test_a_throttled_login_is_no_wrong_password(self, make: Make, remote: Remote) -> None:
        """After so many wrong ones it refuses the right one as well, for a while."""
        told: list[ManagerError] = []
        while not told or (isinstance(told[-1], Denied) and len(told) < 50):
            with closing(make(key="0" * 32)) as one, pytest.raises(ManagerError) as refusal:
                one.check()
            told.append(refusal.value)
        assert isinstance(told[-1], RateLimited)
        assert isinstance(told[0], Denied)
        cache = remote.site.folder / "data" / "wikicache.sqlite"
        with closing(sqlite3.connect(cache, timeout=20)) as link, link:
            gone = link.execute("DELETE FROM objectcache WHERE keyname LIKE '%throttler%'")
        assert gone.rowcount
        with closing(make()) as one:
            one.check()

    def test_it_speaks_english_whatever_the_language_of_the_wiki(self, make: Make) -> None:
        asked = NewAccount("No#body", "svcctl:1", "Pw1-never-used", {})
        with (
            closing(make()) as one,
            pytest.raises(ManagerError, match="a valid username"),
        ):
            one.create_account(asked)


@pytest.mark.parametrize("remote", ["redmine"], indirect=True)
class TestRedmine(HttpContract):
    """Redmine 5.0."""

    hook_class = named_as_in("redmine")
    page_size = 3
    edits = (('size_parameter = "limit"', 'size_parameter = "limit", size = 3'),)

    def short(self) -> Callable[[bytes], bytes]:
        return without_last("users")

    def attributes(self, name: str) -> Mapping[str, Any]:
        return person(name)

    @pytest.fixture
    def logs_in(self, remote: Remote) -> LogsIn:
        def logs_in(name: str, password: str) -> bool:
            url = f"{remote.site.url}/users/current.json"
            answer = requests.get(url, auth=(name, password), timeout=30)
            assert answer.status_code in (200, 401)
            return answer.ok

        return logs_in

    def test_who_has_a_wrong_key_is_not_told_that_a_locked_account_is_absent(
        self, manager: Manager, denied: Manager, accounts: Accounts
    ) -> None:
        """Redmine says so to strangers: a removal would be taken for done."""
        uid = accounts.new("ada").uid
        manager.disable_account(uid)
        for change in (denied.get_account, denied.delete_account, denied.enable_account):
            with pytest.raises(Denied):
                change(uid)


@pytest.mark.parametrize("remote", ["postgresql"], indirect=True)
class TestPostgresql(SqlContract):
    """PostgreSQL 15."""

    hook_class = named_as_in("postgresql")

    @pytest.fixture
    def logs_in(self, remote: Remote) -> LogsIn:
        server = make_conninfo(host="127.0.0.1", port=remote.site.server.port, dbname="postgres")

        def logs_in(name: str, password: str) -> bool:
            try:
                psycopg.connect(server, user=name, password=password).close()
            except psycopg.OperationalError:
                return False
            return True

        return logs_in


@pytest.mark.parametrize("remote", ["mariadb"], indirect=True)
class TestMariadb(SqlContract):
    """MariaDB 10.11."""

    hook_class = named_as_in("mariadb")

    @pytest.fixture
    def logs_in(self, remote: Remote) -> LogsIn:
        def logs_in(name: str, password: str) -> bool:
            port = remote.site.server.port
            try:
                pymysql.connect(host="127.0.0.1", port=port, user=name, password=password).close()
            except pymysql.OperationalError:
                return False
            return True

        return logs_in
