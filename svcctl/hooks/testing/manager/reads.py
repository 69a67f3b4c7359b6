"""Reading: complete, repeatable, of one mind, and NotFound only for what is not there."""

from collections.abc import Callable

import pytest

from svcctl.errors import NotFound
from svcctl.hooks.manager import Manager
from svcctl.hooks.testing.manager.subject import Accounts, Connect, Subject, needs, refusal
from svcctl.tripwire import allowed, tripwire


class Reads(Subject):
    """What every read promises."""

    @needs("check")
    def test_check_accepts_a_service_that_works(self, manager: Manager) -> None:
        manager.check()

    @needs("list_accounts")
    def test_every_account_is_listed_once(self, manager: Manager, accounts: Accounts) -> None:
        made = [accounts.new(name) for name in ("ada", "bob", "cyd")]
        if self.can(manager, "disable_account"):
            manager.disable_account(made[-1].uid)
        listed = [account.uid for account in manager.list_accounts()]
        assert len(listed) == len(set(listed)), "list_accounts gives an account twice"
        missing = {one.uid for one in made} - set(listed)
        assert not missing, f"list_accounts leaves out {missing}"

    @needs("list_accounts", "create_account")
    def test_paging_is_complete_at_the_borders_of_pages(
        self, manager: Manager, accounts: Accounts
    ) -> None:
        """One account after the other, so that a page is once full, once one short or over."""
        if self.page_size is None:
            pytest.skip("no page_size: how many accounts a page of the listing has")
        made = set[str]()
        for number in range(self.page_size + 1):
            made.add(accounts.new(f"page{number}").uid)
            listed = [account.uid for account in manager.list_accounts()]
            there = f"of {len(listed)} accounts in pages of {self.page_size}"
            assert not made - set(listed), f"{there}, list_accounts leaves out {made - set(listed)}"
            assert len(listed) == len(set(listed)), f"{there}, list_accounts gives one twice"

    @needs("list_accounts", "get_account")
    def test_all_reads_agree(self, manager: Manager, accounts: Accounts) -> None:
        """A read may leave groups or nickname open (None), and never says something else."""
        made = accounts.new("ada")
        if self.can(manager, "set_nickname"):
            manager.set_nickname(made.uid, "Ada L")
        reads = {
            "get_account": manager.get_account(made.uid),
            "list_accounts": accounts.listed()[made.uid],
        }
        if self.can(manager, "find_account"):
            found = manager.find_account(made.asked.external_id, made.name)
            assert found is not None, f"find_account does not find {made.name}"
            reads["find_account"] = found
        for field in ("uid", "name", "active", "external_id", "groups", "nickname"):
            said = {name: getattr(read, field) for name, read in reads.items()}
            values = {value for value in said.values() if value is not None}
            assert len(values) <= 1, f"the reads disagree about {field}: {said}"

    @needs("create_account")
    def test_a_second_read_equals_the_first(self, manager: Manager, accounts: Accounts) -> None:
        made = accounts.new("ada")
        assert accounts.look(made.uid) == accounts.look(made.uid)
        if self.can(manager, "list_accounts"):
            assert accounts.listed().get(made.uid) == accounts.listed().get(made.uid)
        if self.can(manager, "find_account"):
            key = made.asked.external_id, made.name
            assert manager.find_account(*key) == manager.find_account(*key)

    @needs("create_account", "delete_account")
    def test_nothing_is_remembered_of_the_service(
        self, manager: Manager, opened: Connect, accounts: Accounts
    ) -> None:
        """What somebody else does there, by another connection, is seen by the next read."""
        other = opened()
        made = accounts.new("ada")
        accounts.look(made.uid)
        if self.can(manager, "find_account"):
            manager.find_account(made.asked.external_id, made.name)
        if self.can(other, "disable_account"):
            other.disable_account(made.uid)
            assert not accounts.look(made.uid).active, "somebody disabled it, and it is not seen"
        other.delete_account(made.uid)
        assert accounts.gone(made.uid), "somebody deleted it, and it is not seen"

    @needs("get_account")
    def test_an_account_that_is_not_there_is_not_found(
        self, manager: Manager, absent_uid: str
    ) -> None:
        refusal("get_account of no account", lambda: manager.get_account(absent_uid), NotFound)

    @needs("find_account")
    def test_nobody_is_found_under_a_free_name(self, manager: Manager, accounts: Accounts) -> None:
        if self.can(manager, "create_account"):
            accounts.new("ada")
        asked = accounts.ask("free")
        found = manager.find_account(asked.external_id, asked.name)
        assert found is None, f"find_account of a free name must be None, and is {found}"

    @needs("create_account")
    def test_reading_leaves_all_to_the_thread_that_reads(
        self, manager: Manager, opened: Connect, accounts: Accounts
    ) -> None:
        """It is read while a run plans: what other threads do then is refused."""
        made = accounts.new("ada")
        reads: dict[str, Callable[[Manager], object]] = {
            "list_accounts": lambda one: list(one.list_accounts()),
            "get_account": lambda one: one.get_account(made.uid),
            "find_account": lambda one: one.find_account(made.asked.external_id, made.name),
            "list_groups": lambda one: list(one.list_groups()),
        }
        wanted = [read for read in reads if self.can(manager, read)]
        if not wanted:
            pytest.skip(f"{type(manager).__name__} has none of {', '.join(reads)}")
        for read in wanted:
            with tripwire(f"{read} while a run plans"), allowed():
                reads[read](opened())
