"""The recipes are configurations that load, and can do what their table says."""

import re
from pathlib import Path

import pytest

from svcctl.config.load import load
from svcctl.hooks.registry import load_hooks
from svcctl.model import Verb

RECIPES = Path(__file__).parents[2] / "docs" / "recipes"
VERBS = (
    Verb.CREATE,
    Verb.DISABLE,
    Verb.DELETE,
    Verb.SET_PASSWORD,
    Verb.SET_NICKNAME,
    Verb.CHANGE_GROUPS,
)
AROUND = """
[directory]
attributes = ["first_name", "last_name"]

[states.Member]
priority = 100
groups = ["staff"]

"""


def table() -> dict[str, list[str]]:
    """The rows of the table: file -> cells."""
    rows = {}
    for line in (RECIPES / "README.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        if found := re.search(r"\]\((\w+\.toml)\)", cells[0]):
            rows[found[1]] = cells
    return rows


def test_the_table_has_every_recipe() -> None:
    assert sorted(table()) == sorted(path.name for path in RECIPES.glob("*.toml"))


@pytest.mark.parametrize("name", sorted(table()))
def test_a_recipe_loads_and_can_do_what_the_table_says(name: str, tmp_path: Path) -> None:
    text = (RECIPES / name).read_text(encoding="utf-8")
    (tmp_path / "svcctl.toml").write_text(AROUND + text, encoding="utf-8")
    hooks = load_hooks(load(tmp_path / "svcctl.toml"))
    assert hooks.problems == {}
    (hook,) = hooks.loaded.values()
    said = ["no" if cell == "no" else "yes" for cell in table()[name][2:]]
    assert said == ["yes" if hook.can(verb) else "no" for verb in VERBS]


@pytest.mark.parametrize("name", sorted(table()))
def test_a_recipe_says_whether_it_was_tried(name: str) -> None:
    """As the table does."""
    text = (RECIPES / name).read_text(encoding="utf-8")
    never = "Never tried against a server" in text
    assert never != ("Tried against a server" in text)
    assert never == (table()[name][1] == "never")
