"""`svcctl accounts` and `delete`: what an operator is told of those for whom nothing was done."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Prepared, Site, Svcctl

CONFIG = """
[states.Member]
priority = 100
groups = ["corp"]
""" + "".join(
    f'[services.{name}]\nhook = "sandbox"\npath = "{name}.db"\naccess.states = ["Member"]\n'
    for name in ("chat", "wiki")
)


@pytest.fixture
def club(prepared: "Prepared", svcctl: "Svcctl") -> "Site":
    """ada has two accounts, of which one is disabled; eve is a guest."""

    def prepare(_: "Site") -> None:
        svcctl("users", "add", "ada", "--group", "corp")
        svcctl("users", "add", "eve")
        assert svcctl("accounts", "create", "ada").exit_code == 0
        assert svcctl("accounts", "disable", "ada", "--service", "wiki").exit_code == 0

    return prepared(CONFIG, prepare)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["accounts", "create", "ada"],
            "chat: ada has one: ada is active\n"
            "wiki: ada has one: ada is disabled\n"
            "hint: svcctl accounts enable ada --service wiki\n",
        ),
        (
            ["accounts", "create", "eve", "--service", "chat"],
            "chat: eve may not have one: state Guest is not in access.states\n",
        ),
        (["accounts", "create", "--group", "corp"], ""),
        (["accounts", "disable", "ada", "-s", "wiki"], "wiki: ada: ada is disabled already\n"),
        (["accounts", "enable", "ada", "-s", "chat"], "chat: ada: ada is active already\n"),
        (["accounts", "enable", "eve"], "eve has no account\n"),
        (["delete", "eve"], "eve has no account\n"),
        (["delete", "ada", "-s", "wiki"], "wiki: ada: ada is disabled already\n"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["", "dry"])
def test_who_was_named_and_needs_nothing_is_told_of(
    club: "Site", svcctl: "Svcctl", words: list[str], said: str, dry: list[str]
) -> None:
    done = svcctl(*words, *dry)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", said)


def test_of_those_for_whom_something_was_done_nothing_more_is_said(
    club: "Site", svcctl: "Svcctl"
) -> None:
    for words in (["accounts", "enable", "ada"], ["delete", "ada"]):
        done = svcctl(*words)
        assert (done.exit_code, done.stderr) == (0, "")
        assert "ada" in done.stdout
