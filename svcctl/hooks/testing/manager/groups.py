"""Groups: exactly those that are named, and the answer is what really changed."""

import secrets

import pytest

from svcctl.errors import ManagerError, NotFound
from svcctl.hooks.manager import GroupChange, Manager
from svcctl.hooks.testing.manager.subject import Accounts, Subject, needs, refusal

NONE = frozenset[str]()


class Groups(Subject):
    """What change_groups promises."""

    @needs("create_account", "change_groups")
    def test_groups_become_as_asked(
        self, manager: Manager, accounts: Accounts, groups: tuple[str, ...]
    ) -> None:
        first, second, third = groups[:3]
        made = accounts.new("ada")
        manager.change_groups(made.uid, frozenset({first, second}), NONE)
        assert accounts.groups(made.uid) >= {first, second}
        manager.change_groups(made.uid, frozenset({third}), frozenset({first}))
        assert third in accounts.groups(made.uid)
        assert first not in accounts.groups(made.uid)

    @needs("create_account", "change_groups")
    def test_the_answer_is_what_really_changed(
        self, manager: Manager, accounts: Accounts, groups: tuple[str, ...]
    ) -> None:
        first, second, third = groups[:3]
        uid = accounts.new("ada").uid
        added = manager.change_groups(uid, frozenset({first}), frozenset({third}))
        assert added == GroupChange(frozenset({first}), NONE), "was in neither group"
        both = manager.change_groups(uid, frozenset({first, second}), frozenset({third}))
        assert both == GroupChange(frozenset({second}), NONE), f"was in {first} already"
        left = manager.change_groups(uid, frozenset({second}), frozenset({first, third}))
        assert left == GroupChange(NONE, frozenset({first})), f"was in {second}, never in {third}"

    @needs("create_account", "change_groups")
    def test_the_same_change_again_changes_nothing(
        self, manager: Manager, accounts: Accounts, groups: tuple[str, ...]
    ) -> None:
        first, second = groups[:2]
        uid = accounts.new("ada").uid
        manager.change_groups(uid, frozenset({second}), NONE)
        change = frozenset({first}), frozenset({second})
        manager.change_groups(uid, *change)
        before = accounts.groups(uid)
        again = manager.change_groups(uid, *change)
        assert again == GroupChange(), f"nothing was to change, and the answer is {again}"
        assert accounts.groups(uid) == before

    @needs("create_account", "change_groups")
    def test_groups_that_are_not_named_stay(
        self, manager: Manager, accounts: Accounts, groups: tuple[str, ...]
    ) -> None:
        """Above all a group that somebody put the account into by hand."""
        by_hand, first, second = groups[:3]
        uid = accounts.new("ada").uid
        manager.change_groups(uid, frozenset({by_hand}), NONE)
        manager.change_groups(uid, frozenset({first}), NONE)
        assert by_hand in accounts.groups(uid), f"joining {first} cost {by_hand}"
        manager.change_groups(uid, frozenset({second}), frozenset({first}))
        assert by_hand in accounts.groups(uid), f"changing {first} and {second} cost {by_hand}"

    @needs("create_account", "change_groups")
    def test_other_members_stay(
        self, manager: Manager, accounts: Accounts, groups: tuple[str, ...]
    ) -> None:
        first = frozenset({groups[0]})
        ada, bob = accounts.new("ada"), accounts.new("bob")
        manager.change_groups(bob.uid, first, NONE)
        manager.change_groups(ada.uid, first, NONE)
        assert first <= accounts.groups(bob.uid), "a new member took the place of another"
        manager.change_groups(ada.uid, NONE, first)
        assert first <= accounts.groups(bob.uid), "a member who left took another along"

    @needs("change_groups")
    def test_who_is_not_there_joins_nothing(
        self, manager: Manager, absent_uid: str, groups: tuple[str, ...]
    ) -> None:
        """Some services take any text for a member."""
        refusal(
            "change_groups of an account that is not there",
            lambda: manager.change_groups(absent_uid, frozenset(groups[:1]), NONE),
            NotFound,
        )

    @pytest.mark.usefixtures("groups")
    @needs("create_account", "change_groups")
    def test_a_group_that_does_not_exist_is_made_or_refused(
        self, manager: Manager, accounts: Accounts
    ) -> None:
        """Never a yes that means nothing, and never NotFound: that is said of accounts."""
        uid = accounts.new("ada").uid
        name = self.hook_class.group_rule.apply(f"g{secrets.token_hex(4)}")
        left = manager.change_groups(uid, NONE, frozenset({name}))
        assert left == GroupChange(), "nobody can leave a group that does not exist"
        try:
            change = manager.change_groups(uid, frozenset({name}), NONE)
        except NotFound as error:
            raise AssertionError(
                f"{name}: NotFound is said of accounts; a group that is not there is Invalid"
            ) from error
        except ManagerError:
            return
        assert change.added == {name}, f"{name} was neither joined nor refused"
        assert name in accounts.groups(uid), f"{name} was said to be joined, and is not"
        manager.change_groups(uid, NONE, frozenset({name}))

    @needs("create_account", "change_groups", "list_groups")
    def test_list_groups_has_every_group_that_is_used(
        self, manager: Manager, accounts: Accounts, groups: tuple[str, ...]
    ) -> None:
        manager.change_groups(accounts.new("ada").uid, frozenset(groups), NONE)
        listed = list(manager.list_groups())
        assert len(listed) == len(set(listed)), "list_groups gives a group twice"
        assert set(groups) <= set(listed), f"list_groups leaves out {set(groups) - set(listed)}"
