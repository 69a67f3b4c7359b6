"""Names: kept as they are or refused, never taken over, never changed without a word."""

import pytest

from svcctl.errors import Conflict, Invalid
from svcctl.hooks.manager import Manager
from svcctl.hooks.testing.manager.subject import Accounts, LogsIn, Subject, needs, refusal
from svcctl.hooks.testing.names import LONG, UNUSUAL


class Naming(Subject):
    """What names promise."""

    @needs("create_account")
    def test_a_taken_name_is_a_conflict_and_nobody_is_taken_over(
        self, manager: Manager, accounts: Accounts
    ) -> None:
        made = accounts.new("ada")
        before = accounts.look(made.uid)
        refusal(
            "create_account with a taken name",
            lambda: manager.create_account(accounts.ask_for(made.name)),
            Conflict,
        )
        assert accounts.look(made.uid) == before, "create_account changed the account of another"

    @needs("create_account")
    def test_a_conflict_leaves_the_password_alone(
        self, manager: Manager, accounts: Accounts, logs_in: LogsIn
    ) -> None:
        made = accounts.new("ada")
        again = accounts.ask_for(made.name)
        refusal("create_account of a taken name", lambda: manager.create_account(again), Conflict)
        assert logs_in(made.name, made.asked.password), "the password of the first does not work"
        assert not logs_in(made.name, again.password), "the password of the second works"

    @needs("create_account")
    def test_names_that_differ_by_case_follow_the_name_rule(
        self, manager: Manager, accounts: Accounts
    ) -> None:
        """One account where the rule says `case_sensitive=False`, else two."""
        rule = self.hook_class.username_rule
        made = accounts.new("ada")
        other = made.name.upper() if made.name != made.name.upper() else made.name.lower()
        if self.fit(other) != other:
            pytest.skip("the name rule makes both spellings the same")
        asked = accounts.ask_for(other)
        if not rule.case_sensitive:
            refusal(
                "create_account with a taken name in another case",
                lambda: manager.create_account(asked),
                Conflict,
            )
            if self.can(manager, "find_account"):
                found = manager.find_account(asked.external_id, other)
                assert found is not None, f"find_account does not find {made.name} as {other}"
                assert found.uid == made.uid
            return
        second = accounts.make(asked)
        assert second.uid != made.uid
        assert accounts.look(made.uid).name == made.name
        assert accounts.look(second.uid).name == other

    @needs("create_account")
    def test_unusual_names_are_kept(self, manager: Manager, accounts: Accounts) -> None:
        """As the name rule lets them through; each is shown and found as it was given."""
        made = [accounts.new(text) for text in UNUSUAL.values()]
        shown = {one.name: accounts.look(one.uid).name for one in made}
        assert shown == {name: name for name in shown}
        if self.can(manager, "find_account"):
            for one in made:
                found = manager.find_account("svcctl:0", one.name)
                assert found is not None, f"find_account does not find {one.name!r}"
                assert found.uid == one.uid, f"find_account finds another as {one.name!r}"

    @needs("create_account")
    def test_the_longest_name_is_kept_whole(self, manager: Manager, accounts: Accounts) -> None:
        """The longest that the name rule lets through; a rule without a length: 1,000 letters."""
        rule = self.hook_class.username_rule
        limited = rule.max_length is not None or rule.max_bytes is not None
        asked = accounts.ask(LONG)
        try:
            uid = manager.create_account(asked).uid
        except Invalid:
            assert not limited, "refused, though the rule allows it"
            return
        accounts.remember(uid)
        assert accounts.look(uid).name == asked.name, "the name is cut off: set max_length"

    @needs("create_account")
    def test_a_name_that_the_service_changes_is_noticed(
        self, manager: Manager, accounts: Accounts
    ) -> None:
        """Names beyond the name rule: refused, or `Created.name` is what the service made of it."""
        plain = accounts.ask("ada").name
        for name in (f"{plain}X", f"{plain} ", f" {plain}", f"{plain}e\u0301", f"{plain}{LONG}"):
            try:
                created = manager.create_account(accounts.ask_for(name))
            except (Conflict, Invalid):
                continue
            accounts.remember(created.uid)
            shown = accounts.look(created.uid).name
            assert created.name == shown, (
                f"asked for {name!r}, the service has {shown!r}, and Created says {created.name!r}"
            )

    @needs("create_account", "set_nickname")
    def test_unusual_nicknames_are_kept(self, manager: Manager, accounts: Accounts) -> None:
        uid = accounts.new("ada").uid
        for text in UNUSUAL.values():
            nickname = self.hook_class.nickname_rule.apply(text)
            manager.set_nickname(uid, nickname)
            assert accounts.nickname(uid) == nickname
