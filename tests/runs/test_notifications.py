"""What users are to be told when they lose an account."""

from typing import Any

import pytest

CONFIG = """
[states.Member]
priority = 100
groups = ["corp"]
[services.lab]
hook = "sandbox"
path = "lab.db"
create = "auto"
access.states = ["Member"]
limits.removals = "100%"
"""


@pytest.mark.parametrize(("setting", "told"), [("", 1), ("notify = false\n", 0)])
def test_who_loses_an_account_is_told_unless_the_service_says_otherwise(
    site: Any, svcctl: Any, setting: str, told: int
) -> None:
    here = site(CONFIG + setting)
    for name in ("ada", "bob"):
        svcctl("users", "add", name, "--no-sync")
    svcctl("groups", "add", "corp", "ada", "bob", "--no-sync")
    assert svcctl("sync", "--all").exit_code == 0
    svcctl("groups", "remove", "corp", "ada", "--no-sync")
    assert svcctl("validate", "--all").exit_code == 0
    rows = here.rows("SELECT title, message FROM notifications")
    assert len(rows) == told
    if told:
        assert rows[0]["title"] == "Your Lab account was disabled"
        assert "state Guest is not in access.states" in rows[0]["message"]
