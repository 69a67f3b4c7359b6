"""The guide, done as it is written: its commands, its roster, its HTTP API, its server."""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kit.guide import GUIDE, POLICY, ROSTER, ROSTER_TESTS, SERVER

if TYPE_CHECKING:
    from tests.conftest import Svcctl

HERE = Path(__file__).parent


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to stand in; packages of the guide are imported anew."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith(("svcctl_", "test_"))]:
        monkeypatch.delitem(sys.modules, name)


def outcomes(pytester: pytest.Pytester, *arguments: str | Path) -> dict[str, str]:
    """The tests that ran: passed, skipped, or what the error says."""
    run = pytester.inline_run(*arguments, "-q", "-p", "no:cacheprovider")
    found: dict[str, str] = {}
    for report in run.getreports("pytest_runtest_logreport"):
        name = report.nodeid.partition("::")[2]
        if report.failed:
            found[name] = str(report.longreprtext)
        else:
            found.setdefault(name, report.outcome)
            if report.skipped:
                found[name] = "skipped"
    return found


@pytest.fixture
def skeleton(here: Path, svcctl: "Svcctl", monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `svcctl services new roster` writes, importable as if it were installed."""
    done = svcctl("services", "new", "roster")
    assert done.exit_code == 0, done.stderr
    monkeypatch.syspath_prepend(here / "svcctl-roster" / "src")
    return here / "svcctl-roster"


def test_the_skeleton_says_what_is_to_be_written(skeleton: Path, pytester: pytest.Pytester) -> None:
    results = outcomes(pytester, skeleton)
    manager = {name: text for name, text in results.items() if "Manager" in name}
    assert len(manager) > 50
    said = [re.search(r"NotImplementedError: (\w+): ", text) for text in manager.values()]
    assert all(said), "each says what is to be written"
    assert {match[1] for match in said if match} >= {"connect"}
    assert all("write this first" in text for text in manager.values() if "connect: " in text)
    assert {text for name, text in results.items() if "Hook" in name} == {"passed"}


def test_with_a_service_to_test_with_it_asks_for_one_method_after_the_other(
    skeleton: Path, pytester: pytest.Pytester
) -> None:
    tests = skeleton / "tests" / "test_roster.py"
    text = tests.read_text()
    begin = text.index('        raise NotImplementedError(\n            "connect:')
    end = text.index("    @pytest.fixture\n    def groups")
    tests.write_text(text[:begin] + '        return lambda: RosterManager("", "")\n\n' + text[end:])
    tests.write_text(
        tests.read_text().replace("import RosterHook", "import RosterHook, RosterManager")
    )
    results = outcomes(pytester, skeleton)
    asked = {
        match[1]: name
        for name, text in results.items()
        if "Manager" in name and (match := re.search(r"NotImplementedError: (\w+): ", text))
    }
    assert len([name for name in results if "Manager" in name]) > 50
    assert {text for name, text in results.items() if "Manager" in name} & {"passed"} == set()
    assert next(iter(asked)) == "check", "what is easy comes first"
    assert asked.keys() >= {"check", "create_account", "groups", "logs_in", "denied", "faults"}


def test_the_roster_of_the_guide_keeps_the_contract(
    skeleton: Path, pytester: pytest.Pytester
) -> None:
    (skeleton / "src" / "svcctl_roster" / "__init__.py").write_text(ROSTER)
    (skeleton / "tests" / "test_roster.py").write_text(ROSTER_TESTS)
    results = outcomes(pytester, skeleton)
    assert {name: text for name, text in results.items() if text not in ("passed", "skipped")} == {}
    assert len([text for text in results.values() if text == "passed"]) > 60


def test_the_http_api_of_the_guide_keeps_the_contract(
    pytester: pytest.Pytester,
) -> None:
    results = outcomes(pytester, HERE / "contract_of_the_guide.py")
    assert {name: text for name, text in results.items() if text not in ("passed", "skipped")} == {}
    assert len([text for text in results.values() if text == "passed"]) > 60


def test_what_the_guide_has_typed_works(skeleton: Path, here: Path, svcctl: "Svcctl") -> None:
    (skeleton / "src" / "svcctl_roster" / "__init__.py").write_text(ROSTER)
    section = GUIDE.partition("## Try it")[2]
    config, commands = re.findall(r"^```\w+\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)[:2]
    (here / "svcctl.toml").write_text(config.replace('"roster"', '"svcctl_roster:RosterHook"'))
    players = here / "players.json"
    players.write_text("{}")
    for line in commands.splitlines():
        done = svcctl(*shlex.split(line)[2:])
        assert done.exit_code == 0, (line, done.stdout, done.stderr)
    assert '"name": "ada"' in players.read_text()


def test_the_policy_and_the_server_of_the_guide_work(here: Path, pytester: pytest.Pytester) -> None:
    (here / "test_policy.py").write_text(
        f"{POLICY}\n\n"
        "from svcctl.hooks.testing import HookContract\n\n"
        "class TestOfficersHook(HookContract):\n"
        "    hook_class = OfficersHook\n\n"
        "    def hook(self, **settings):\n"
        "        hook = super().hook(**settings)\n"
        "        hook._capabilities = frozenset({'create_account', 'delete_account'})\n"
        "        hook.manager_arguments = dict\n"
        "        return hook\n"
    )
    (here / "test_server.py").write_text(
        f"{SERVER}\n\n"
        "def test_it(server):\n"
        "    assert requests.get(server.url, timeout=5).text == 'it works'\n"
    )
    results = outcomes(pytester, "-c", "/dev/null", "--rootdir", here, here)
    assert {name: text for name, text in results.items() if text not in ("passed", "skipped")} == {}
    assert len(results) > 15
