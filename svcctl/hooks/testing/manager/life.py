"""The life of an account: every verb does what it says, also twice, and to nobody else."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import pytest

from svcctl.errors import Conflict, NotFound
from svcctl.hooks.manager import Manager
from svcctl.hooks.testing.manager.subject import Accounts, LogsIn, Subject, needs, refusal

NONE = frozenset[str]()
VERBS: Mapping[str, Callable[[Manager, str], object]] = MappingProxyType(
    {
        "disable_account": lambda manager, uid: manager.disable_account(uid),
        "enable_account": lambda manager, uid: manager.enable_account(uid),
        "delete_account": lambda manager, uid: manager.delete_account(uid),
        "set_password": lambda manager, uid: manager.set_password(uid, "Pw1-never-used"),
        "set_nickname": lambda manager, uid: manager.set_nickname(uid, "Ada L"),
    }
)
"""One call of each verb on an account that exists; change_groups has tests of its own."""


class Life(Subject):
    """What happens to one account."""

    @needs("create_account")
    def test_a_new_account_is_there_as_it_was_asked_for(
        self, manager: Manager, accounts: Accounts
    ) -> None:
        asked = accounts.ask("ada")
        created = manager.create_account(asked)
        accounts.remember(created.uid)
        assert isinstance(created.uid, str), "Created.uid must be text"
        assert created.uid, "Created.uid must not be empty"
        shown = accounts.look(created.uid)
        assert (shown.uid, shown.name, created.name) == (created.uid, asked.name, asked.name)
        assert shown.active, "a new account must be active"
        if manager.stores_external_id:
            assert shown.external_id == asked.external_id, "stores_external_id is promised"

    @needs("create_account", "find_account")
    def test_what_was_created_is_found_again(self, manager: Manager, accounts: Accounts) -> None:
        made = accounts.new("ada")
        other, free = "svcctl:0", accounts.ask("free").name
        by_name = manager.find_account(other, made.name)
        assert by_name is not None, "find_account does not find by name"
        assert by_name.uid == made.uid
        if manager.stores_external_id:
            by_key = manager.find_account(made.asked.external_id, free)
            assert by_key is not None, "find_account does not find by external id"
            assert by_key.uid == made.uid

    @needs("find_account")
    def test_the_external_id_counts_more_than_the_name(
        self, manager: Manager, accounts: Accounts
    ) -> None:
        """Our account is found also where somebody else has the name by now."""
        if not manager.stores_external_id:
            pytest.skip(f"{type(manager).__name__} does not promise stores_external_id")
        ours, stranger = accounts.new("ada"), accounts.new("bob")
        found = manager.find_account(ours.asked.external_id, stranger.name)
        assert found is not None
        assert found.uid == ours.uid, "find_account prefers the name to our external id"

    @needs("create_account", "delete_account")
    def test_a_deleted_account_is_gone(self, manager: Manager, accounts: Accounts) -> None:
        made = accounts.new("ada")
        manager.delete_account(made.uid)
        assert accounts.gone(made.uid)
        if self.can(manager, "find_account"):
            assert manager.find_account(made.asked.external_id, made.name) is None
        if self.can(manager, "list_accounts"):
            assert made.uid not in accounts.listed()

    def test_a_verb_for_an_account_that_is_not_there_is_not_found(
        self, manager: Manager, absent_uid: str
    ) -> None:
        verbs = [verb for verb in VERBS if self.can(manager, verb)]
        if not verbs:
            pytest.skip(f"{type(manager).__name__} has none of {', '.join(VERBS)}")
        for verb in verbs:
            refusal(f"{verb} of no account", partial(VERBS[verb], manager, absent_uid), NotFound)

    @needs("create_account", "disable_account", "enable_account")
    def test_disabling_takes_access_away_and_enabling_gives_it_back(
        self, manager: Manager, accounts: Accounts
    ) -> None:
        made = accounts.new("ada")
        manager.disable_account(made.uid)
        assert not accounts.look(made.uid).active, "disable_account leaves the account active"
        manager.enable_account(made.uid)
        assert accounts.look(made.uid).active, "enable_account leaves the account disabled"

    @needs("create_account", "disable_account", "enable_account")
    def test_disabling_and_enabling_keep_everything_else(
        self, manager: Manager, accounts: Accounts, request: pytest.FixtureRequest
    ) -> None:
        made = accounts.new("ada")
        if self.can(manager, "set_nickname"):
            manager.set_nickname(made.uid, "Ada L")
        groups: tuple[str, ...] = ()
        if self.can(manager, "change_groups"):
            groups = request.getfixturevalue("groups")
            manager.change_groups(made.uid, frozenset(groups[:1]), NONE)
        before = accounts.look(made.uid)
        manager.disable_account(made.uid)
        manager.enable_account(made.uid)
        after = accounts.look(made.uid)
        for field in ("name", "external_id", "groups", "nickname"):
            assert getattr(after, field) == getattr(before, field), f"{field} got lost"
        if groups:
            manager.change_groups(made.uid, NONE, frozenset(groups[1:2]))
            again = manager.change_groups(made.uid, frozenset(groups[:1]), NONE)
            assert not again.added, f"the account has lost the group {groups[0]}"

    @pytest.mark.parametrize("verb", ["disable_account", "enable_account"])
    def test_disabling_and_enabling_may_be_repeated(
        self, manager: Manager, accounts: Accounts, verb: str
    ) -> None:
        self.require(manager, verb)
        made = accounts.new("ada")
        VERBS[verb](manager, made.uid)
        once = accounts.look(made.uid)
        VERBS[verb](manager, made.uid)
        assert accounts.look(made.uid) == once, f"a second {verb} changes more than the first"

    @needs("create_account", "disable_account")
    def test_a_disabled_account_is_still_there(self, manager: Manager, accounts: Accounts) -> None:
        """Its name stays taken, and nobody takes it over by creating it again."""
        made = accounts.new("ada")
        manager.disable_account(made.uid)
        refusal(
            "create_account with the name of a disabled account",
            lambda: manager.create_account(accounts.ask_for(made.name)),
            Conflict,
        )
        assert not accounts.look(made.uid).active, "creating the name again enabled the account"
        if self.can(manager, "find_account"):
            found = manager.find_account(made.asked.external_id, made.name)
            assert found is not None, "find_account does not find a disabled account"

    @needs("create_account", "set_nickname")
    def test_the_nickname_is_set_and_taken_away(self, manager: Manager, accounts: Accounts) -> None:
        """Where the nickname rule says that there is always one, it is not taken away."""
        made = accounts.new("ada")
        none = () if self.hook_class.nickname_rule.min_length else ("", "")
        for nickname in ("Ada L", "Ada L", "Countess", *none):
            manager.set_nickname(made.uid, nickname)
            assert accounts.nickname(made.uid) == nickname

    @needs("create_account", "set_password")
    def test_a_new_password_replaces_the_old_one(
        self, manager: Manager, accounts: Accounts, logs_in: LogsIn
    ) -> None:
        made = accounts.new("ada")
        old, new = made.asked.password, accounts.ask().password
        for _ in range(2):
            manager.set_password(made.uid, new)
            assert logs_in(made.name, new), "the new password is not let in"
            assert not logs_in(made.name, old), "the old password is still let in"

    @needs("create_account", "disable_account", "enable_account")
    def test_who_is_disabled_does_not_log_in(
        self, manager: Manager, accounts: Accounts, logs_in: LogsIn
    ) -> None:
        """And after enable_account the password is the one that it was."""
        made = accounts.new("ada")
        assert logs_in(made.name, made.asked.password), "a new account cannot log in"
        manager.disable_account(made.uid)
        assert not logs_in(made.name, made.asked.password), "a disabled account logs in"
        manager.enable_account(made.uid)
        assert logs_in(made.name, made.asked.password), "enable_account lost the password"

    @needs("create_account")
    def test_no_verb_reaches_another_account(
        self, manager: Manager, accounts: Accounts, request: pytest.FixtureRequest
    ) -> None:
        ada, bob = accounts.new("ada"), accounts.new("bob")
        if self.can(manager, "change_groups"):
            groups = frozenset(request.getfixturevalue("groups"))
            manager.change_groups(bob.uid, groups, NONE)
        before = accounts.look(bob.uid)
        verbs = [verb for verb in VERBS if self.can(manager, verb)]
        if not verbs:
            pytest.skip(f"{type(manager).__name__} has none of {', '.join(VERBS)}")
        for verb in sorted(verbs, key=lambda verb: verb == "delete_account"):
            VERBS[verb](manager, ada.uid)
            assert accounts.look(bob.uid) == before, f"{verb} of one account changed another"
