"""What `test_the_kit.py` runs: the contract on a good manager and on every broken one."""

from collections.abc import Callable

import pytest

from svcctl.hooks.manager import Manager
from svcctl.hooks.testing import Connect, Faults, LogsIn, ManagerContract
from tests.kit.broken_managers import NOTICED
from tests.kit.service import GROUPS, PAGE, TOKEN, GoodHook, GoodManager, Service, ServiceFaults


class TestManager(ManagerContract):
    hook_class = GoodHook
    page_size = PAGE

    @pytest.fixture(params=[GoodManager, *NOTICED], ids=lambda manager: manager.__name__)
    def make(self, request: pytest.FixtureRequest) -> Callable[..., Manager]:
        maker: Callable[..., Manager] = request.param
        return maker

    @pytest.fixture
    def service(self) -> Service:
        return Service()

    @pytest.fixture
    def connect(self, make: Callable[..., Manager], service: Service) -> Connect:
        return lambda: make(service)

    @pytest.fixture
    def absent_uid(self) -> str:
        return "uid-0"

    @pytest.fixture
    def groups(self) -> tuple[str, ...]:
        return GROUPS

    @pytest.fixture
    def faults(self, service: Service) -> Faults:
        return ServiceFaults(service)

    @pytest.fixture
    def denied(self, make: Callable[..., Manager], service: Service) -> Manager:
        return make(service, "another-token")

    @pytest.fixture
    def credentials(self) -> tuple[str, ...]:
        return (TOKEN,)

    @pytest.fixture
    def logs_in(self, service: Service) -> LogsIn:
        return service.logs_in
