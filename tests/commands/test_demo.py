"""The tour: it runs to its end, and what it says of each step is what happened."""

import os
import subprocess
import sys
from pathlib import Path

from svcctl.commands.demo import working_folder


def svcctl(*words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "svcctl", *words],
        cwd=folder,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


# One test, because a tour takes its time.
def test_the_tour_shows_what_happens_as_the_readme_says_and_leaves_a_working_site(
    tmp_path: Path,
) -> None:
    kept = tmp_path / "tour"
    # What this shell says of its own svcctl is none of the tour's business.
    done = svcctl(
        "demo",
        "--keep",
        "tour",
        folder=tmp_path,
        SVCCTL_CONFIG="/nowhere/svcctl.toml",
        SVCCTL_JSON="true",
    )
    assert done.stderr == f"the folder is {kept}; go on with: cd {kept}\n"
    assert done.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["tour"]
    assert kept.stat().st_mode & 0o777 == 0o700

    shown = done.stdout
    assert "\x1b" not in shown
    assert "people: 24 read, 24 added" in shown
    assert "carol: state: Member -> Blue" in shown
    assert shown.count("[exit code 4: removals are held]") == 3
    assert shown.count("[exit code 5: a source could not be believed]") == 1
    assert "wiki: removals are held: 5 of 18 accounts would lose access" in shown
    assert "ada may have an account on wiki: state Member is in access.states" in shown
    assert (
        "join (hub): paused at mail_validation: waits for the code mailed to vera@example.org"
        in shown
    )
    assert "join (hub): done: vera, a new user" in shown
    assert shown.count("[exit code 6: the run waits]") == 2
    assert "leave (hub): done: vera" in shown
    assert "vera:{SHA}!svcctl-disabled!$2y$" in shown
    assert "carol:{SHA}!svcctl-disabled!$2y$" in shown

    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    excerpt = readme.split("An excerpt:\n\n```text\n")[1].split("```")[0]
    lines = iter(shown.splitlines())
    assert all(line in lines for line in excerpt.splitlines())

    again = svcctl("sync", "--all", folder=kept)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine", encoding="utf-8")
    done = svcctl("demo", "--keep", ".", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: {tmp_path}: is not empty\nhint: name a folder that does not exist\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_without_keep_nothing_is_left_behind() -> None:
    with working_folder(None) as folder:
        (folder / "svcctl.db").write_text("", encoding="utf-8")
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()
