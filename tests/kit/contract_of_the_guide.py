"""What `test_guide.py` runs: the contract on the guide's manager for an HTTP API."""

from collections.abc import Iterator
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest

from svcctl.config.http import Http
from svcctl.hooks.manager import Manager
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
from tests.hooks.http.club import KEY, Club, serving
from tests.kit.guide import CLUB

MODULE: Any = ModuleType("club")
exec(CLUB, vars(MODULE))


class TestClubHook(HookContract):
    hook_class = MODULE.ClubHook
    settings = {"base_url": "https://club.example.org/api", "token": {"env": "TOKEN"}}


class TestClubManager(ManagerContract):
    hook_class = MODULE.ClubHook
    page_size = 3

    @pytest.fixture(scope="session")
    @staticmethod
    def serving_club() -> Iterator[Club]:
        MODULE.PAGE = 3
        with serving() as club:
            yield club

    @pytest.fixture
    def club(self, serving_club: Club) -> Club:
        serving_club.reset()
        serving_club.oddities.add("says conflict")
        return serving_club

    @pytest.fixture
    def proxy(self, club: Club) -> Iterator[Proxy]:
        with proxied(int(club.url.rpartition(":")[2])) as proxy:
            yield proxy

    @pytest.fixture
    def connect(self, proxy: Proxy) -> Connect:
        return lambda: MODULE.ClubManager(proxy.url, token=KEY)

    @pytest.fixture
    def impatient(self, proxy: Proxy) -> Connect:
        http = Http(timeout=timedelta(seconds=0.2))
        return lambda: MODULE.ClubManager(proxy.url, token=KEY, http=http)

    @pytest.fixture
    def faults(self, proxy: Proxy) -> Faults:
        return HttpFaults(proxy, short=without_last("members"))

    @pytest.fixture
    def denied(self, proxy: Proxy) -> Manager:
        manager: Manager = MODULE.ClubManager(proxy.url, token="another")
        return manager

    @pytest.fixture
    def credentials(self) -> tuple[str, ...]:
        return (KEY,)

    @pytest.fixture
    def logs_in(self, club: Club) -> LogsIn:
        def logs_in(name: str, password: str) -> bool:
            member = club.by_login(name)
            return member.active and member.password == password

        return logs_in
