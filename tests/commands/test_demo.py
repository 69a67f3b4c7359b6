"""The tour: it runs to its end, and what it says of each step is what happened."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Tour:
    """A tour that was taken, and the folder in which it was taken."""

    folder: Path
    done: subprocess.CompletedProcess[str]


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


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Tour:
    folder = tmp_path_factory.mktemp("tour")
    (folder / "temporary").mkdir()
    # What this shell says of its own svcctl is none of the tour's business.
    done = demo(
        folder=folder,
        TMPDIR=str(folder / "temporary"),
        SVCCTL_CONFIG="/nowhere/svcctl.toml",
        SVCCTL_FORMAT="json",
    )
    return Tour(folder, done)


def test_the_tour_ends_well_and_leaves_nothing_behind(tour: Tour) -> None:
    assert (tour.done.returncode, tour.done.stderr) == (0, "")
    assert "\x1b" not in tour.done.stdout
    assert [str(path.relative_to(tour.folder)) for path in tour.folder.rglob("*")] == ["temporary"]


def test_each_step_shows_what_happened(tour: Tour) -> None:
    shown = tour.done.stdout
    assert "people: 24 read, 24 added" in shown
    assert "carol: state: Member -> Blue" in shown
    assert shown.count("[exit code 4: removals are held]") == 2
    assert shown.count("[exit code 5: a source could not be believed]") == 1
    assert "wiki: removals are held: 5 of 18 accounts would lose access" in shown
    assert "ada may have an account on wiki: state Member is in access.states" in shown
    assert "carol:{SHA}!svcctl-disabled!$2y$" in shown


def test_the_excerpt_in_the_readme_is_what_the_tour_shows(tour: Tour) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    excerpt = readme.split("An excerpt:\n\n```text\n")[1].split("```")[0]
    shown = iter(tour.done.stdout.splitlines())
    assert all(line in shown for line in excerpt.splitlines())


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
