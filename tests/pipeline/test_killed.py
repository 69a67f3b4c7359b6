"""kill -9 between steps, inside them, and around every commit: the whole effect or none."""

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.pipelines import ASSETS, STEPS, ran

if TYPE_CHECKING:
    from tests.conftest import Site, Svcctl

KILLED = Path(__file__).parents[1] / "support" / "killed.py"
JOIN = (*STEPS, "assign_state", "acme_steps:pause", "activate_services")


def kill(site: "Site", copies: Path, *arguments: str) -> list[dict[str, Any]]:
    site.database.close()
    done = subprocess.run(
        [sys.executable, "-W", "error", str(KILLED), str(site.folder), str(copies), *arguments],
        env={"PYTHONPATH": str(ASSETS), "PATH": "/usr/bin:/bin", "HOME": str(copies)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def state_of(folder: Path) -> dict[str, Any]:
    with closing(sqlite3.connect(folder / "svcctl.db")) as connection:

        def ask(statement: str) -> list[Any]:
            return [row[0] for row in connection.execute(statement)]

        return {
            "users": ask("SELECT username FROM users"),
            "state": ask("SELECT state FROM users"),
            "associations": ask("SELECT uid FROM associations"),
            "partials": len(ask("SELECT id FROM partials")),
            "promised": len(ask("SELECT id FROM operations")),
        }


NOTHING = {"users": [], "state": [], "associations": [], "partials": 0, "promised": 0}
PAUSED = {
    "users": ["ada"],
    "state": ["Member"],
    "associations": ["5"],
    "partials": 1,
    "promised": 0,
}


def test_a_run_that_pauses_is_kept_whole_or_not_at_all(
    club: "Callable[..., Site]", tmp_path_factory: pytest.TempPathFactory
) -> None:
    one = club(*JOIN, settings='JOIN_GROUPS = ["staff"]')
    copies = tmp_path_factory.mktemp("killed")
    kills = kill(one, copies, "pipeline", "run", "join", "-r", "me.json")
    assert kills[-1]["moment"] is None
    moments = [kill["moment"] for kill in kills]
    assert moments.count("after a step") == len(JOIN) - 1
    assert {"before a commit", "after a commit"} <= set(moments)
    found = [state_of(Path(kill["copy"])) for kill in kills]
    assert all(state in (NOTHING, PAUSED) for state in found)
    assert (found[0], found[-1]) == (NOTHING, PAUSED)
    shutil.rmtree(copies)


def test_a_resume_is_kept_whole_with_what_it_promised_or_the_partial_is_still_there(
    club: "Callable[..., Site]",
    svcctl: "Svcctl",
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = club(*JOIN, settings='JOIN_GROUPS = ["staff"]')
    id_ = ran(svcctl, "run", "join", "-r", "me.json", code=6)["partial"]["id"]
    copies = tmp_path_factory.mktemp("killed")
    words = ("pipeline", "resume", id_, "--set", "confirmed_by=bob")
    kills = kill(one, copies, *words)
    assert kills[-1]["moment"] is None
    for number, killed in enumerate(kills):
        folder = Path(killed["copy"])
        state = state_of(folder)
        if state["partials"]:
            assert state == PAUSED, killed
        else:
            assert state["promised"] >= 3, killed
        # Whoever comes next brings it to its end, and nothing is done twice.
        if number % 4 == 0:
            monkeypatch.chdir(folder)
            if state["partials"]:
                ran(svcctl, *words[1:])
            assert svcctl("retry").exit_code == 0
            with closing(sqlite3.connect(folder / "lab.sqlite")) as service:
                created = service.execute("SELECT count(*) FROM accounts").fetchone()
            assert created == (1,), killed
            assert svcctl("db", "check").exit_code == 0
    shutil.rmtree(copies)
