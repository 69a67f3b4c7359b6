"""`svcctl pipeline check`, and what becomes of people on a site by each list that it looks at."""

import json
import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from svcctl.config.load import load
from svcctl.errors import Refused, SvcctlError
from svcctl.hooks.registry import Hooks
from svcctl.pipeline.definition import DEFAULT_STEPS
from svcctl.pipeline.run import Runner, Start

if TYPE_CHECKING:
    from tests.conftest import Site, Svcctl

USUAL = DEFAULT_STEPS["auth"]
SITE = """
directory.attributes = ["fullname", "first_name", "last_name"]

[backends.github]
uid = "id"
details = { username = "login", email = "email", fullname = "name" }
extra_data = ["login", "access_token"]
"""
ADA = {
    "id": 5,
    "login": "Ada Lovelace!",
    "email": "ada@example.org",
    "name": "Ada Lovelace",
    "access_token": "one",
}
ADA_AGAIN = ADA | {"name": "Ada King", "access_token": "two"}
EVE = ADA | {"id": 6, "name": "Eve Moneypenny"}
MALLORY = ADA | {"id": 7, "email": "mallory@example.com"}


def lists() -> Mapping[str, tuple[str, ...]]:
    """The usual list, without each of its steps, and with each two neighbours swapped."""
    without = {f"without-{name}": tuple(step for step in USUAL if step != name) for name in USUAL}
    swapped = {}
    for place, (first, second) in enumerate(pairwise(USUAL)):
        steps = (*USUAL[:place], second, first, *USUAL[place + 2 :])
        swapped[f"{second}-before-{first}"] = steps
    return {"usual": USUAL, **without, **swapped}


def configuration() -> str:
    tables = [
        f"[pipelines.{name}]\nsteps = {json.dumps(steps)}\n"
        f'[pipelines.{name}.settings]\nWHITELISTED_DOMAINS = ["example.org"]\n'
        for name, steps in lists().items()
    ]
    return "\n".join([SITE, *tables])


def became(site: "Site", name: str) -> Any:
    """Of Ada, who comes twice, of Eve, who has her address, and of Mallory, who is kept out."""
    runner = Runner(load(site.folder / "svcctl.toml"), site.database, lambda: Hooks({}, {}, {}))
    told = []
    for response in (ADA, ADA_AGAIN, EVE, MALLORY):
        try:
            outcome = runner.run(Start(name, "github", response))
        except SvcctlError as error:  # before the first step
            return str(error)
        code = outcome.error.code if isinstance(outcome.error, Refused) else ""
        context = outcome.context if outcome.kind == "done" else {}
        social = context.get("social")
        extra = dict(social.extra_data) if social else {}
        extra.pop("auth_time", None)
        kept = ("uid", "username", "is_new", "new_association", "details")
        told.append((outcome.kind, code, extra, {key: context.get(key) for key in kept}))
    people = site.rows("SELECT username, attributes FROM users ORDER BY id")
    known = site.rows(
        "SELECT username, provider, uid FROM associations JOIN users ON users.id = user_id"
        " ORDER BY associations.id"
    )
    for table in ("associations", "users", "runs"):
        site.execute(f"DELETE FROM {table}")
    return re.sub(r"[0-9a-f]{16,}", "HEX", repr((told, people, known)))


def test_it_finds_what_changes_what_becomes_of_people_and_nothing_else(
    site: "Callable[[str], Site]", svcctl: "Svcctl"
) -> None:
    one = site(configuration())
    usual = became(one, "usual")
    assert "Ada" in usual
    changes = {name for name in lists() if became(one, name) != usual}
    assert len(changes) == 10 + 5
    checked = svcctl("pipeline", "check", "--json")
    assert {row["pipeline"] for row in json.loads(checked.stdout)["rows"]} == changes
