"""The http manager keeps the contract, on an API that is plain and on two that are not."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest

from svcctl.config.http import Http
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.http import HttpHook
from svcctl.hooks.manager import Manager
from svcctl.hooks.registry import build_manager
from svcctl.hooks.testing import (
    Connect,
    Faults,
    HookContract,
    HttpFaults,
    LogsIn,
    ManagerContract,
    Proxy,
    proxied,
    without_last,
)
from svcctl.hooks.testing.faults import KINDS
from tests.hooks.http.club import KEY, Club
from tests.hooks.http.conftest import LOGIN, SET_GROUPS, Configured, section

Edits = tuple[tuple[str, str], ...]


class TestHttpManager(ManagerContract):
    """Errors by status, groups one by one."""

    hook_class = HttpHook
    page_size = 3
    patience = 3.0
    edits: ClassVar[Edits] = ()
    more: ClassVar[str] = ""
    oddities: ClassVar[frozenset[str]] = frozenset()
    broken: ClassVar[frozenset[str]] = frozenset(KINDS) - {"timeout", "refused", "cut", "limited"}

    @pytest.fixture
    def proxy(self, club: Club) -> Iterator[Proxy]:
        port = urlsplit(club.url).port
        assert port
        with proxied(port) as proxy:
            yield proxy

    @pytest.fixture
    def make(
        self, configured: Configured, club: Club, proxy: Proxy, tmp_path: Path
    ) -> Callable[..., Manager]:
        club.oddities |= self.oddities
        edits = ((club.url, proxy.url), *self.edits)
        hook: Any = configured(*edits, more=self.more).loaded["club"]

        def manager(*, seconds: float = 10, key: str = KEY) -> Manager:
            (tmp_path / "key").write_text(key)
            settings = configured(*edits, more=self.more, key=key).loaded["club"]
            patient = {"http": Http(timeout=timedelta(seconds=seconds))}
            settings.config = settings.config.model_copy(update=patient)
            return build_manager(settings)

        assert isinstance(hook, HttpHook)
        return manager

    @pytest.fixture
    def connect(self, make: Callable[..., Manager]) -> Connect:
        return make

    @pytest.fixture
    def impatient(self, make: Callable[..., Manager]) -> Connect:
        return lambda: make(seconds=0.2)

    @pytest.fixture
    def groups(self) -> tuple[str, ...]:
        return ("staff", "commanders", "theirs")

    @pytest.fixture
    def faults(self, proxy: Proxy) -> Faults:
        faults = HttpFaults(proxy, short=_shorter)
        faults.kinds &= self.broken
        return faults

    @pytest.fixture
    def denied(self, make: Callable[..., Manager]) -> Manager:
        return make(key="a-key-of-somebody-else")

    @pytest.fixture
    def credentials(self) -> tuple[str, ...]:
        return (KEY,)

    @pytest.fixture
    def logs_in(self, club: Club) -> LogsIn:
        def logs_in(name: str, password: str) -> bool:
            member = club.by_login(name)
            return member.active and member.password == password

        return logs_in


def _shorter(body: bytes) -> bytes:
    """A page of the members or of the teams without the last of them."""
    return without_last("teams")(without_last("members")(body))


@pytest.mark.live
class TestSlowly(TestHttpManager):
    """With the faults, too, that take their time."""

    broken = frozenset(KINDS)


@pytest.mark.live
class TestErrorsThatAreAnswers(TestHttpManager):
    """As MediaWiki has it: a login, a token for writes, and status 200 for everything."""

    edits = (('headers = { X-Key = "{key}" }', 'headers = { X-CSRF = "{csrf}" }'),)
    more = LOGIN
    oddities = frozenset({"sessions", "errors are 200"})


@pytest.mark.live
class TestGroupsAllAtOnce(TestHttpManager):
    """As WordPress has it; and the list shows too little."""

    edits = (
        ('groups = "teams[].name"', 'group_ids = "teams[].id"'),
        (section("add_to_group"), SET_GROUPS),
        (section("remove_from_group"), ""),
        ('items = "members"', 'items = "members"\neach = true'),
        ('item = "@"', ""),
    )
    oddities = frozenset({"short list", "says nothing"})


class TestHttpHook(HookContract):
    hook_class: ClassVar[type[ServiceHook]] = HttpHook
    settings = {
        "base_url": "https://club.example.org",
        "account": {"uid": "id", "name": "login", "active": "active", "groups": "teams"},
        "requests": {
            "list_accounts": {"path": "/members"},
            "get_account": {
                "path": "/members/{uid}",
                "errors": [{"status": 404, "kind": "not_found"}],
            },
            "find_account": {"path": "/members"},
            "create_account": {"method": "POST", "path": "/members", "item": "@"},
            "enable_account": {"method": "PUT", "path": "/members/{uid}"},
            "disable_account": {"method": "PUT", "path": "/members/{uid}"},
            "delete_account": {"method": "DELETE", "path": "/members/{uid}"},
            "set_password": {"method": "PUT", "path": "/members/{uid}"},
            "set_nickname": {"method": "PUT", "path": "/members/{uid}"},
            "set_groups": {"method": "PUT", "path": "/members/{uid}"},
        },
    }
