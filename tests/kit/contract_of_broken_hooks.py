"""What `test_the_kit.py` runs: the contract on a good hook and on every broken one."""

import pytest

from svcctl.hooks.testing import HookContract
from tests.kit.broken_hooks import NOTICED
from tests.kit.service import GoodHook


class TestHook(HookContract):
    @pytest.fixture(autouse=True, params=[GoodHook, *NOTICED], ids=lambda hook: hook.__name__)
    def _which(self, request: pytest.FixtureRequest) -> None:
        vars(self)["hook_class"] = request.param
