"""Unknown is not absent: what a manager says while the way to its service is broken."""

from functools import partial

import pytest

from svcctl.errors import Denied, RateLimited, Transient
from svcctl.hooks.manager import READS, VERBS, Manager
from svcctl.hooks.testing.faults import DONE, KINDS, Faults
from svcctl.hooks.testing.manager.attempts import NONE, doing, everywhere, reading
from svcctl.hooks.testing.manager.subject import Accounts, Connect, Subject, needs, refusal
from svcctl.http import client as http


class Failures(Subject):
    """What holds while something is wrong."""

    @pytest.fixture(autouse=True)
    def _hurry(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The HTTP client tries again what fails in passing, here without long pauses."""
        monkeypatch.setattr(http, "FIRST_PAUSE", 0.01)

    @pytest.mark.parametrize("read", sorted(READS))
    @needs("create_account")
    def test_unknown_is_not_absent(
        self,
        manager: Manager,
        hurried: Connect,
        accounts: Accounts,
        faults: Faults,
        read: str,
    ) -> None:
        """Whatever goes wrong in a read: a fitting error, or the right answer all the same."""
        self.require(manager, read)
        attempt = reading(read, manager, accounts)
        everywhere(
            read,
            faults.kinds - DONE - {"short"},
            lambda kind, nth: attempt.fails_well(hurried, faults, kind, nth, self.patience),
        )

    @pytest.mark.parametrize("verb", sorted(VERBS))
    @needs("create_account")
    def test_what_was_not_done_is_never_a_yes(
        self,
        manager: Manager,
        hurried: Connect,
        accounts: Accounts,
        faults: Faults,
        verb: str,
        request: pytest.FixtureRequest,
    ) -> None:
        """Whatever goes wrong in a verb: a fitting error, and the verb may be repeated."""
        self.require(manager, verb)
        groups: tuple[str, ...] = ()
        if verb == "change_groups":
            groups = request.getfixturevalue("groups")

        def strikes(kind: str, nth: int) -> bool:
            attempt = doing(verb, self, manager, accounts, groups)
            struck = attempt.fails_well(hurried, faults, kind, nth, self.patience)
            if struck:
                attempt.again(manager, kind, nth)
            attempt.undo()
            accounts.clear()
            return struck

        everywhere(verb, faults.kinds - {"short"}, strikes)

    @needs("create_account", "find_account")
    def test_a_create_whose_answer_is_lost_is_found_again(
        self, manager: Manager, hurried: Connect, accounts: Accounts, faults: Faults
    ) -> None:
        """Wherever the answer gets lost: one look tells whether there is an account.

        The engine looks by find_account before it creates again.
        """
        kinds = faults.kinds & DONE
        if not kinds:
            pytest.skip(f"{type(faults).__name__} cannot lose an answer")
        lost: list[str] = []

        def strikes(kind: str, nth: int) -> bool:
            asked = accounts.ask("lost")
            one = hurried()
            uid = None
            with faults.strike(kind, nth) as strike:
                try:
                    uid = one.create_account(asked).uid
                except (Transient, RateLimited):
                    lost.append(asked.name)
            found = manager.find_account(asked.external_id, asked.name)
            if found is None:
                assert uid is None, "create_account returned an account that nobody finds"
                lost.pop()
            else:
                accounts.remember(found.uid)
                assert uid in (None, found.uid), "another account is found than was created"
                assert found.name == asked.name
                if manager.stores_external_id:
                    assert found.external_id == asked.external_id
            accounts.clear()
            return strike.happened

        everywhere("create_account", kinds, strikes)
        assert lost, "no lost answer left an account: does `faults` let the request through?"

    @pytest.mark.parametrize("read", ["list_accounts", "list_groups"])
    @needs("create_account")
    def test_a_short_page_is_not_the_whole(
        self,
        manager: Manager,
        accounts: Accounts,
        faults: Faults,
        read: str,
        request: pytest.FixtureRequest,
    ) -> None:
        """A listing that shows less than there is raises Incomplete (or Transient)."""
        self.require(manager, read)
        if "short" not in faults.kinds:
            pytest.skip(f"{type(faults).__name__} has no short pages")
        uids = [accounts.new(name).uid for name in ("ada", "bob", "cyd")]
        if read == "list_groups" and self.can(manager, "change_groups"):
            manager.change_groups(uids[0], frozenset(request.getfixturevalue("groups")), NONE)
        with faults.strike("short") as strike:
            try:
                listed = len(list(getattr(manager, read)()))
            except KINDS["short"]:
                listed = None
        if not strike.happened:
            pytest.skip(f"nothing of what {read} reads could be made shorter")
        assert listed is None, f"{read} took a page that ended early for all there is"

    def test_wrong_credentials_are_denied(
        self,
        manager: Manager,
        accounts: Accounts,
        denied: Manager,
        request: pytest.FixtureRequest,
    ) -> None:
        """Not found is what only those may say who were allowed to look."""
        for method in sorted(READS | VERBS):
            if not self.can(manager, method):
                continue
            groups: tuple[str, ...] = ()
            if method == "change_groups":
                groups = request.getfixturevalue("groups")
            if method in VERBS:
                attempt = doing(method, self, manager, accounts, groups)
            else:
                attempt = reading(method, manager, accounts)
            what = f"{method} with wrong credentials"
            error = refusal(what, partial(attempt.call, denied), Denied)
            if method == "check":
                assert error.hint, "what check raises says in `hint` what to do about it"
