"""The kit bites: what is good passes every test, what is broken fails those that it breaks."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from svcctl.hooks.testing import HookContract, ManagerContract
from tests.kit import broken_hooks, broken_managers

HERE = Path(__file__).parent


def failures(pytester: pytest.Pytester, suite: str) -> dict[str, set[str]]:
    """The tests that fail, by the class that is tested."""
    run = pytester.inline_run(HERE / suite, "-q", "--tb=no", "-p", "no:cacheprovider")
    failed: defaultdict[str, set[str]] = defaultdict(set)
    for report in run.getreports("pytest_runtest_logreport"):
        found = re.fullmatch(r".*::(\w+)\[(\w+?)(?:-(\w+))?\]", report.nodeid)
        assert found, report.nodeid
        test, tested, argument = found.groups()
        assert not report.skipped, report.nodeid
        if report.failed:
            failed[tested].add(f"{test}[{argument}]" if argument else test)
    return failed


def named(noticed: Mapping[Any, Iterable[str]]) -> dict[str, set[str]]:
    return {broken.__name__: set(tests) for broken, tests in noticed.items()}


def test_every_broken_manager_is_noticed(pytester: pytest.Pytester) -> None:
    failed = failures(pytester, "contract_of_broken_managers.py")
    assert failed == named(broken_managers.NOTICED)


def test_every_broken_hook_is_noticed(pytester: pytest.Pytester) -> None:
    failed = failures(pytester, "contract_of_broken_hooks.py")
    assert failed == named(broken_hooks.NOTICED)


@pytest.mark.parametrize(
    ("contract", "noticed"),
    [(ManagerContract, broken_managers.NOTICED), (HookContract, broken_hooks.NOTICED)],
)
def test_every_test_is_failed_alone_by_something_broken(
    contract: type, noticed: Mapping[Any, Iterable[str]]
) -> None:
    """Else one would not know of it that it tests anything that others do not."""
    tests = {name for name in dir(contract) if name.startswith("test_")}
    alone = [{name.partition("[")[0] for name in names} for names in noticed.values()]
    shared = tests - {test for one in alone if len(one) == 1 for test in one}
    assert shared <= {"test_disabling_takes_access_away_and_enabling_gives_it_back"}
    assert {name for one in alone for name in one} == tests
