"""Links where svcctl writes: what is written whole never goes where one leads.

A log, and what a web server reads, does: there the operator has put the link.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Site, Svcctl

VICTIM = "what somebody else wrote\n"
CONFIG = """
[directory.sources.people]
type = "csv"
path = "people.csv"
[states.Member]
priority = 100
groups = ["corp"]
[services.lab]
hook = "sandbox"
path = "lab.sqlite"
create = "auto"
access.states = ["Member"]
[monitor]
metrics_file = "svcctl.prom"
[log]
file = "svcctl.log"
"""


@pytest.fixture
def victim(site: "Callable[[str], Site]", svcctl: "Svcctl", tmp_path: Path) -> Path:
    """A file next to a site of two, where links are to lead."""
    made = site(CONFIG)
    made.write("people.csv", "id,username,groups\n1,ada,corp\n2,bob,corp\n")
    assert svcctl("directory", "pull").exit_code == 0
    path = tmp_path / "victim"
    path.write_text(VICTIM)
    return path


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("plan.json", ("plan", "--out", "plan.json")),
        ("backup.db", ("db", "backup", "backup.db")),
        ("svcctl.prom", ("sync", "--all")),
        ("other.prom", ("monitor", "--metrics-file", "other.prom")),
    ],
)
@pytest.mark.parametrize("dangling", [False, True])
def test_a_file_that_is_written_whole_never_goes_where_a_link_leads(
    victim: Path, svcctl: "Svcctl", name: str, words: tuple[str, ...], *, dangling: bool
) -> None:
    target = victim.with_name("nowhere") if dangling else victim
    link = victim.with_name(name)
    link.unlink(missing_ok=True)
    link.symlink_to(target)
    done = svcctl(*words)
    assert "Traceback" not in done.stderr
    assert ("is a link" in done.stderr) == (name != "backup.db")
    assert victim.read_text() == VICTIM
    assert not victim.with_name("nowhere").exists()


def test_a_log_goes_where_its_link_leads_and_spoils_nothing_there(
    victim: Path, svcctl: "Svcctl"
) -> None:
    victim.with_name("svcctl.log").unlink()
    victim.with_name("svcctl.log").symlink_to(victim)
    assert svcctl("sync", "--all").exit_code == 0
    before, after = victim.read_text().split("\n", 1)
    assert before + "\n" == VICTIM
    assert "run=1: begun" in after


def test_a_name_is_a_name_and_no_path(victim: Path, svcctl: "Svcctl") -> None:
    """What a source or a command calls somebody is never a part of a path."""
    victim.with_name("people.csv").write_text(
        "id,username,groups\n1,ada,corp\n2,../victim,corp\n3,/etc/passwd,corp\n4,victim,corp\n"
    )
    svcctl("directory", "pull")
    svcctl("sync", "--all")
    for name in ("../victim", "/etc/passwd", "victim"):
        svcctl("users", "show", name)
        svcctl("service", name, "show")
        svcctl("pipeline", "resume", name)
    assert victim.read_text() == VICTIM
