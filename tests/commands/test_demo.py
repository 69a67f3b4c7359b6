"""The tour: it runs to its end, and what it says of each step is what happened."""

import os
import subprocess
import sys
from pathlib import Path


def demo(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "svcctl", "demo", *arguments],
        cwd=folder,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_the_tour_ends_well_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    # What this shell says of its own svcctl is none of the tour's business.
    done = demo(
        folder=tmp_path,
        TMPDIR=str(tmp_path / "temporary"),
        SVCCTL_CONFIG="/nowhere/svcctl.toml",
        SVCCTL_FORMAT="json",
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    shown = done.stdout
    assert "people: 24 read, 24 added" in shown
    assert "carol: state: Member -> Blue" in shown
    assert shown.count("[exit code 4: removals are held]") == 2
    assert shown.count("[exit code 5: a source could not be believed]") == 1
    assert "wiki: removals are held: 5 of 18 accounts would lose access" in shown
    assert "ada may have an account on wiki: state Member is in access.states" in shown
    assert "carol:{SHA}!svcctl-disabled!$2y$" in shown
    assert list((tmp_path / "temporary").iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["temporary"]


def test_the_folder_can_be_kept_and_is_a_working_site(tmp_path: Path) -> None:
    kept = tmp_path / "tour"
    done = demo("--keep", "tour", folder=tmp_path)
    assert done.returncode == 0
    assert done.stderr == f"the folder is {kept}; go on with: cd {kept}\n"
    assert kept.stat().st_mode & 0o777 == 0o700

    again = subprocess.run(
        [sys.executable, "-m", "svcctl", "sync", "--all"],
        cwd=kept,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")

    done = demo("--keep", "tour", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {kept}: is not empty\nhint: name a folder that does not exist\n"
