"""What is written as TOML is read back as it was."""

from typing import Any

import tomli
from hypothesis import given
from hypothesis import strategies as st

from svcctl.config.toml import to_toml

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
leaves = st.booleans() | st.integers(-(2**63), 2**63 - 1) | texts | st.floats(allow_nan=False)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(texts, values, max_size=4))
def test_every_table_survives(table: dict[str, Any]) -> None:
    assert tomli.loads(to_toml(table)) == table


def test_tables_come_last_and_small_ones_stay_in_a_line() -> None:
    table = {
        "limits": {"removals": None},
        "states": {"Member": {"priority": 1, "users": ["ada"]}},
        "token": {"env": "X"},
        "title": None,
        "empty": {},
    }
    assert to_toml(table) == (
        "limits = {}\n"
        'token = { env = "X" }\n'
        "# title = (not set)\n"
        "empty = {}\n"
        "\n"
        "[states.Member]\n"
        "priority = 1\n"
        'users = ["ada"]\n'
    )
