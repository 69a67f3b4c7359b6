"""The scim manager keeps the contract, on scim2-server."""

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from svcctl.config.http import Http
from svcctl.hooks.manager import Manager
from svcctl.hooks.scim import ScimHook, ScimManager
from svcctl.hooks.testing import Connect, Faults, HttpFaults, ManagerContract, without_last
from svcctl.http import client as http

if TYPE_CHECKING:
    from tests.scim.conftest import Idp

PAGE = 3


@pytest.fixture(autouse=True)
def _briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads that are tried again do not wait for it."""
    monkeypatch.setattr(http, "FIRST_PAUSE", 0.01)


class TestScimManager(ManagerContract):
    hook_class = ScimHook
    page_size = PAGE
    patience = 3.0

    @pytest.fixture
    def connect(self, idp: "Idp") -> Connect:
        return lambda: manager(idp, idp.token)

    @pytest.fixture
    def impatient(self, idp: "Idp") -> Connect:
        return lambda: manager(idp, idp.token, seconds=0.3)

    @pytest.fixture
    def groups(self) -> tuple[str, ...]:
        return ("staff", "officers", "guests")

    @pytest.fixture
    def faults(self, idp: "Idp") -> Faults:
        return HttpFaults(idp.proxy, short=without_last("Resources"))

    @pytest.fixture
    def denied(self, idp: "Idp") -> Manager:
        return manager(idp, "a-token-of-somebody-else")

    @pytest.fixture
    def credentials(self, idp: "Idp") -> tuple[str, ...]:
        return (idp.token,)


def manager(idp: "Idp", token: str, *, seconds: float = 10) -> ScimManager:
    return ScimManager(
        idp.base,
        token=token,
        http=Http(timeout=timedelta(seconds=seconds)),
        create_groups=True,
        page_size=PAGE,
    )
