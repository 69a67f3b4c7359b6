"""What TAB offers; whatever is wrong, it offers nothing and says nothing."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from svcctl.cli import main

if TYPE_CHECKING:
    from tests.conftest import Site, Svcctl

CONFIG = """
[directory.sources.people]
type = "csv"
path = "people.csv"

[states.Member]
priority = 100
groups = ["corp"]

[services.chat]
hook = "sandbox"
path = "chat.db"
"""


def offered(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> list[str]:
    monkeypatch.setenv("_SVCCTL_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    assert main([]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out.split()


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("svcctl users show a", ["ada", "adam"]),
        ("svcctl users show 100%", []),
        ("svcctl groups show c", ["corp"]),
        ("svcctl states show M", ["Member"]),
        ("svcctl users list --state G", ["Guest"]),
        ("svcctl directory pull --source p", ["people"]),
        ("svcctl sync --service c", ["chat"]),
    ],
)
def test_names_are_offered_from_database_and_configuration(
    site: "Callable[[str], Site]",
    svcctl: "Svcctl",
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    names: list[str],
) -> None:
    site(CONFIG)
    for user in ("ada", "adam", "bob"):
        assert svcctl("users", "add", user, "--group", "corp", "--no-sync").exit_code == 0
    assert offered(words, monkeypatch, capsys) == names


def test_nothing_is_offered_where_nothing_can_be_read(
    site: "Callable[[str], Site]",
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = site("")
    made.write("svcctl.db", "not a database at all, whatever it is called")
    assert offered("svcctl users show a", monkeypatch, capsys) == []
    made.configure("broken =")
    assert offered("svcctl users show a", monkeypatch, capsys) == []
    assert offered("svcctl states show a", monkeypatch, capsys) == []
