"""The manual pages as real readers of them see them, and where an installed svcctl has them."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.live.conftest import Require

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "docs/man/svcctl.1", ROOT / "docs/man/svcctl.toml.5")


def said(*words: str | Path) -> str:
    done = subprocess.run(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        env={"PATH": "/usr/bin:/bin", "MANWIDTH": "100", "LC_ALL": "C.UTF-8"},
        check=False,
    )
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_groff_has_nothing_to_say(require: Require, page: Path) -> None:
    assert said(require("groff", "groff"), "-man", "-ww", "-Tutf8", "-z", page) == ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_mandoc_misses_nothing_but_a_date(require: Require, page: Path) -> None:
    """A page that is made of the code has none: it is as old as the code."""
    told = said(require("mandoc", "mandoc"), "-Tlint", page).splitlines()
    assert [line for line in told if "missing date" not in line] == []


def test_the_wheel_brings_them_and_man_shows_them(require: Require, tmp_path: Path) -> None:
    man = require("man", "man-db")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--wheel-dir", tmp_path, ROOT], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        for name in packed.namelist():
            if re.search(r"[.]data/data/share/man/", name):
                packed.extract(name, tmp_path)
    (folder,) = tmp_path.glob("*.data/data/share/man")
    for page in PAGES:
        assert (folder / f"man{page.suffix[1:]}" / page.name).read_bytes() == page.read_bytes()
    shown = said(man, "-M", folder, "svcctl")
    assert "svcctl sync [OPTIONS] [USER]..." in shown
    assert "--accept-removals N" in shown
    assert "75     another run holds the lock" in shown
    assert "metrics_file" in said(man, "-M", folder, "5", "svcctl.toml")
