"""The configuration of docs/alliance-auth.md, run as it stands there but for the URL."""

import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Site, Svcctl

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "tests" / "assets" / "alliance_auth.sql"


@pytest.fixture
def auth(site: "Callable[[str], Site]") -> "Site":
    page = (ROOT / "docs" / "alliance-auth.md").read_text(encoding="utf-8")
    (config,) = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    config = re.sub(r"^url = .*$", 'url = "sqlite:///auth.db"', config, flags=re.MULTILINE)
    made = site(re.sub(r"^password = .*\n", "", config, flags=re.MULTILINE))
    change(made, SCHEMA.read_text(encoding="utf-8"))
    return made


def change(site: "Site", script: str) -> None:
    with closing(sqlite3.connect(site.folder / "auth.db")) as connection:
        connection.executescript(script)


def user(svcctl: "Svcctl", name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(svcctl("users", "show", name, "--json").stdout)
    return found


def test_users_states_groups_and_main_characters_are_taken_over(
    auth: "Site", svcctl: "Svcctl"
) -> None:
    done = svcctl("directory", "pull")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("auth: 4 read, 4 added\n")
    rows = auth.rows("SELECT source_id, username, active, state FROM users ORDER BY id")
    assert [tuple(row.values()) for row in rows] == [
        ("1", "Ada_Prime", 1, "Member"),
        ("2", "Bob", 1, "Blue"),
        ("3", "dan", 0, "Guest"),
        ("4", "root_admin", 1, "Guest"),
    ]
    members = auth.rows(
        "SELECT u.username, g.name FROM memberships m JOIN users u ON u.id = m.user_id"
        " JOIN groups g ON g.id = m.group_id ORDER BY 1, 2"
    )
    assert [tuple(row.values()) for row in members] == [
        ("Ada_Prime", "Fleet Commanders"),
        ("Ada_Prime", "Pilots"),
        ("Bob", "Häuptlinge 😀"),
        ("dan", "Pilots"),
    ]
    attributes = auth.rows("SELECT username, attributes FROM users ORDER BY id")
    found = {row["username"]: json.loads(row["attributes"]) for row in attributes}
    assert found["Ada_Prime"] == {
        "auth_state": "Member",
        "auth_superuser": "no",
        "email": "ada@example.org",
        "character_id": 1001,
        "character_name": "Ada Prime",
        "corp_id": 2001,
        "corp_name": "Gear Works",
        "corp_ticker": "GWRK",
        "alliance_id": 3001,
        "alliance_name": "Gear Pact",
        "alliance_ticker": "GEAR",
    }
    assert (found["Bob"]["faction_id"], found["Bob"]["faction_name"]) == (500001, "Caldari State")
    assert found["root_admin"] == {
        "auth_state": "Guest",
        "auth_superuser": "yes",
        "email": "root@example.org",
    }


def test_what_changes_there_changes_here(auth: "Site", svcctl: "Svcctl") -> None:
    svcctl("directory", "pull")
    change(
        auth,
        """
        UPDATE auth_user SET username = 'Bobby' WHERE id = 2;
        UPDATE auth_user SET is_active = 1 WHERE id = 3;
        UPDATE authentication_userprofile SET state_id = 3 WHERE user_id = 2;
        DELETE FROM auth_user_groups WHERE user_id = 1 AND group_id = 1;
        DELETE FROM authentication_userprofile WHERE user_id = 4;
        DELETE FROM auth_user WHERE id = 4;
        """,
    )
    done = svcctl("directory", "pull")
    assert (done.exit_code, done.stdout.splitlines()) == (
        0,
        [
            "auth: 3 read, 2 changed, 1 renamed, 1 missing, 1 left, 2 in another state",
            "  Bobby: auth_state: Blue -> Member",
            "  dan: active: false -> true",
            "  Bobby: renamed, was Bob",
            "  root_admin: missing; loses access if missing again",
            "  Ada_Prime: -Fleet Commanders",
            "  Bobby: state: Blue -> Member",
            "  dan: state: Guest -> Member",
        ],
    )
    done = svcctl("directory", "pull")
    assert done.stdout.splitlines()[1:] == ["  root_admin: missing for good, not active any more"]
