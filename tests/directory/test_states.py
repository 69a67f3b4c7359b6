"""Alliance Auth's state table, rows 13 to 17, and what svcctl adds."""

from typing import Any

import pytest

from svcctl.config.settings import Settings
from svcctl.directory.states import Rules, choose, explain


def rules(**states: dict[str, Any]) -> Rules:
    return Settings.model_validate({"states": states}).state_rules()


STANDARD = rules(
    Member={"priority": 100, "groups": ["corp"], "attributes": {"corp_id": ["2001"]}},
    Blue={"priority": 50, "users": ["bob"]},
    Guest={"priority": 0, "public": True},
)


def standing(rules: Rules, username: str = "ada", **about: Any) -> tuple[str, str]:
    about = {"active": True, **about}
    return choose(rules, username=username, **about), explain(rules, username=username, **about)


def test_somebody_whom_no_rule_names_is_a_guest() -> None:
    assert standing(STANDARD) == (
        "Guest",
        "may be Guest as everybody may and no state of higher priority matches",
    )


def test_without_any_public_state_there_is_still_a_guest() -> None:
    assert choose(rules(Member={"priority": 5}), username="ada", active=True) == "Guest"


def test_of_two_states_that_match_the_higher_priority_counts() -> None:
    both = rules(
        TestMember={"priority": 150, "users": ["ada"]}, Higher={"priority": 200, "users": ["ada"]}
    )
    assert standing(both) == ("Higher", "is named in states.Higher.users")
    without = rules(TestMember={"priority": 150, "users": ["ada"]}, Higher={"priority": 200})
    assert choose(without, username="ada", active=True) == "TestMember"


def test_an_inactive_user_is_in_the_lowest_public_state_whatever_matches() -> None:
    assert standing(STANDARD, active=False, groups={"corp"}) == (
        "Guest",
        "is not active, so Guest",
    )
    public = rules(Everybody={"priority": 10, "public": True}, Gone={"priority": 1, "public": True})
    assert choose(public, username="ada", active=False) == "Gone"
    assert choose(public, username="ada", active=True) == "Everybody"


def test_a_group_a_name_or_an_attribute_is_enough() -> None:
    assert standing(STANDARD, groups={"corp", "x"}) == (
        "Member",
        "is in group corp, which is in states.Member.groups",
    )
    assert standing(STANDARD, "bob")[0] == "Blue"
    assert standing(STANDARD, attributes={"corp_id": "2001"}) == (
        "Member",
        "has a corp_id that is in states.Member.attributes.corp_id",
    )


@pytest.mark.parametrize("value", [2001, "2001", [1, 2001], ["2001"]])
def test_attribute_values_are_compared_as_text_and_any_of_a_list_counts(value: object) -> None:
    assert choose(STANDARD, username="ada", active=True, attributes={"corp_id": value}) == "Member"


@pytest.mark.parametrize("value", [None, "", [], 20010, "2001 ", {"2001": 1}, [None]])
def test_other_values_do_not_match(value: object) -> None:
    assert choose(STANDARD, username="ada", active=True, attributes={"corp_id": value}) == "Guest"


def test_yes_and_no_are_written_as_in_toml() -> None:
    staff = rules(Staff={"priority": 1, "attributes": {"email": ["true"]}})
    assert choose(staff, username="ada", active=True, attributes={"email": True}) == "Staff"
