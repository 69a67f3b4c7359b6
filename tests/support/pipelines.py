"""A site with pipelines, somebody's response, and what became of them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.conftest import Site, Svcctl

ASSETS = Path(__file__).parents[1] / "assets"
TOKEN = "gho_16C7e42F292c6912E7710c838347Ae178B4a"
ME = {
    "id": 5,
    "login": "ada",
    "email": "ada@example.org",
    "name": "Ada Lovelace",
    "access_token": TOKEN,
    "expires_in": 3600,
}
BASE = """
directory.attributes = ["fullname"]
states.Member = { priority = 100, groups = ["staff"] }

[services.lab]
hook = "sandbox"
path = "lab.sqlite"
access = { states = ["Member"] }

[backends.github]
uid = "id"
details = { username = "login", email = "email", fullname = "name" }
extra_data = ["access_token", ["expires_in", "expires"]]
"""
STEPS = (
    "social_details",
    "social_names",
    "social_uid",
    "auth_allowed",
    "social_user",
    "get_username",
    "create_user",
    "associate_user",
    "load_extra_data",
    "user_details",
)


def pipeline(*steps: str, settings: str = "", kind: str = "auth", name: str = "join") -> str:
    listed = json.dumps(list(steps))
    return (
        f'[pipelines.{name}]\nkind = "{kind}"\nsteps = {listed}\n'
        f"[pipelines.{name}.settings]\n{settings}\n"
    )


def ran(svcctl: "Svcctl", *words: str, code: int = 0) -> dict[str, Any]:
    done = svcctl("pipeline", *words, "--json")
    assert done.exit_code == code, done
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def kept(site: "Site") -> dict[str, list[dict[str, Any]]]:
    """What pipelines keep, besides that they were run."""
    return {
        table: site.rows(f"SELECT * FROM {table}")
        for table in ("users", "associations", "partials", "codes", "notifications", "operations")
    }


NOTHING: dict[str, list[dict[str, Any]]] = {
    table: []
    for table in ("users", "associations", "partials", "codes", "notifications", "operations")
}
