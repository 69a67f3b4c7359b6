"""The units of `svcctl init --systemd`, started by a real systemd as they are."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from svcctl.cli import main
from tests.live.systemd import SITE, UNITS, Systemd, systemd

pytestmark = pytest.mark.live

EXPOSURE = 20
"""In tenths, of 100: what systemd-analyze calls OK ends at 50."""
SVCCTL = Path(sys.executable).with_name("svcctl")
CONFIG = """
database = "/var/lib/svcctl/svcctl.db"
[directory.sources.people]
type = "csv"
path = "/srv/people.csv"
[states.Member]
priority = 100
groups = ["staff"]
[services.lab]
hook = "sandbox"
path = "/var/lib/svcctl/lab.sqlite"
create = "auto"
access.states = ["Member"]
[notify]
deliver = "mail"
[notify.mail]
host = "127.0.0.1"
sender = "svcctl@example.org"
username = "svcctl"
password = { credential = "mail.password" }
"""


@pytest.fixture(scope="module")
def host() -> Iterator[Systemd]:
    with systemd() as host:
        yield host


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `init --systemd` writes for a configuration with a secret in a credential."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SVCCTL_CONFIG", raising=False)
    (tmp_path / "svcctl.toml").write_text(CONFIG)
    (tmp_path / "mail.password").write_text("secret")
    assert main(["init", "--systemd", "units"]) == 0
    return tmp_path / "units"


def analyze(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is missing: apt-get install systemd")
    return subprocess.run(
        ["systemd-analyze", *words],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_systemd_accepts_the_units(units: Path) -> None:
    done = analyze(units, "verify", "--man=no", "./svcctl.service", "./svcctl.timer")
    assert (done.returncode, done.stderr) == (0, "")


def test_little_is_left_to_the_unit(units: Path) -> None:
    limit = f"--threshold={EXPOSURE}"
    done = analyze(units, "security", "--offline=yes", "--no-pager", limit, "./svcctl.service")
    assert done.returncode == 0, done.stdout


def test_the_unit_does_its_work_as_a_user_of_its_own(units: Path, host: Systemd) -> None:
    """With a first start that fails, as whoever forgets the database will see."""
    for name in ("svcctl.toml", "mail.password"):
        host.write(SITE / name, (units.parent / name).read_text(), 0o600)
    host.write(SITE / "people.csv", "username,groups\nada,staff\nbob,staff\n")
    for name in ("svcctl.service", "svcctl.timer"):
        text = (units / name).read_text().replace(str(units.parent), str(SITE))
        host.write(UNITS / name, text)
    host.run("systemctl", "daemon-reload")

    assert host.run("systemctl", "start", "svcctl.service").returncode != 0
    said = host.journal("--unit=svcctl.service", "--output=cat")
    assert "hint: create it with: svcctl db upgrade" in said

    by_hand = (SVCCTL, "--config", SITE / "svcctl.toml")
    done = host.run(*by_hand, "db", "upgrade")
    assert done.returncode == 0, done.stderr
    started = host.run("systemctl", "start", "svcctl.service")
    said = host.journal("--unit=svcctl.service", "--output=cat")
    assert started.returncode == 0, said
    listed = json.loads(host.run(*by_hand, "accounts", "list", "--json").stdout)
    assert [(row["user"], row["status"]) for row in listed["rows"]] == [
        ("ada", "active"),
        ("bob", "active"),
    ]
    (run,) = json.loads(host.run(*by_hand, "history", "--json").stdout)["rows"]
    assert (run["command"], run["actor"], run["exit_code"]) == ("sync", "svcctl", 0)
    owners = host.run("find", "/var/lib/svcctl/", "-printf", "%U\n").stdout.split()
    assert "0" not in owners
    assert len(set(owners)) == 1

    done = host.run("systemctl", "start", "svcctl.timer")
    assert done.returncode == 0, done.stderr
    assert host.run("systemctl", "is-active", "svcctl.timer").stdout == "active\n"

    # With a log, the journal can be asked for a service and a person.
    config = CONFIG + "[log]\njournal = true\n"
    host.write(SITE / "svcctl.toml", config.replace("/srv/people.csv", "/srv/more.csv"), 0o600)
    host.write(SITE / "more.csv", "username,groups\nada,staff\nbob,staff\ncyd,staff\n")
    started = host.run("systemctl", "start", "svcctl.service")
    assert started.returncode == 0, host.journal("--unit=svcctl.service", "--output=cat")
    told = host.journal("SVCCTL_SERVICE=lab", "SVCCTL_USER=cyd", "--output=json")
    (first, *_) = map(json.loads, told.splitlines())
    assert first["MESSAGE"].startswith("create_account done: ")
    assert (first["SVCCTL_RUN"], first["PRIORITY"]) == ("2", "6")
    assert first["_SYSTEMD_UNIT"] == "svcctl.service"
