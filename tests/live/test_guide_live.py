"""The guide's commands, typed into a new environment: what a stranger has who installs svcctl."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.guide import GUIDE, ROSTER, ROSTER_TESTS
from tests.live.environments import PIP

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]


def shell(lines: str, folder: Path, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", lines],
        check=False,
        cwd=folder,
        env={"PATH": f"{path}:/usr/bin:/bin", "HOME": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_the_guide_leads_from_an_empty_environment_to_a_green_contract(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    binaries = tmp_path / "venv" / "bin"
    # Not as it lies here: what does not come with the wheel is not there.
    subprocess.run([binaries / "python", *PIP, ROOT], check=True, timeout=600)
    section = GUIDE.partition("## Begin")[2]
    new, begin = re.findall(r"^```\w+\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)[:2]
    done = shell(new.removeprefix("$ "), tmp_path, binaries)
    assert done.returncode == 0, done.stderr
    assert f"{binaries}/python -m pip install -e " in done.stderr

    done = shell(f"set -e\n{begin}", tmp_path, binaries)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "connect: write this first" in done.stdout
    assert "1 error" in done.stdout, "one at a time"

    package = tmp_path / "svcctl-roster"
    (package / "src" / "svcctl_roster" / "__init__.py").write_text(ROSTER)
    (package / "tests" / "test_roster.py").write_text(ROSTER_TESTS)
    done = shell("python -m pytest -x", package, binaries)
    assert done.returncode == 0, done.stdout + done.stderr

    section = GUIDE.partition("## Try it")[2]
    config, typed = re.findall(r"^```\w+\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)[:2]
    (tmp_path / "svcctl.toml").write_text(config)
    (tmp_path / "players.json").write_text("{}")
    for line in typed.splitlines():
        done = shell(line.removeprefix("$ "), tmp_path, binaries)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
    assert '"name": "ada"' in (tmp_path / "players.json").read_text()
