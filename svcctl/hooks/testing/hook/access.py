"""Who may have an account, and how it comes and goes."""

import pytest

from svcctl.hooks.testing.hook.subject import (
    REMOVALS,
    USERS,
    Subject,
    fits,
    require,
    require_removal,
    verbs_of,
)
from svcctl.model import Verb


class Access(Subject):
    """What create_user, validate_user and delete_user promise."""

    def test_only_active_users_with_access_may_have_an_account(self) -> None:
        hook = self.hook()
        may = {who: hook.service_active_for_user(self.user(who)) for who in USERS}
        assert may == {"member": True, "stranger": False, "inactive": False}
        for who in USERS:
            text = hook.explain_access(self.user(who))
            assert text, "explain_access is what `why` shows"
            assert text.isprintable(), "explain_access is one line"

    def test_a_new_account_comes_first_and_has_a_name_that_the_service_takes(self) -> None:
        hook = self.hook()
        require(hook, "create_user")
        first, *others = self.decided_for(hook, "member", "absent", "create_user")
        assert first.verb is Verb.CREATE
        fits(hook.username_rule, first.args["name"])
        assert not {one.verb for one in others} & {Verb.CREATE, *REMOVALS}

    def test_who_has_an_account_gets_no_other(self) -> None:
        hook = self.hook()
        require(hook, "create_user")
        for who, status in self.cases(hook):
            if status != "absent":
                verbs = verbs_of(self.decided_for(hook, who, status, "create_user"))
                assert Verb.CREATE not in verbs

    def test_who_has_access_keeps_the_account(self) -> None:
        verbs = verbs_of(self.decided_for(self.hook(), "member", "active", "validate_user"))
        assert not REMOVALS & set(verbs)

    @pytest.mark.parametrize("mode", ["disable", "delete"])
    def test_who_has_no_access_loses_the_account(self, mode: str) -> None:
        """As `removal` says; nothing else is done to it, and its user is told."""
        hook = self.hook(removal=mode)
        require_removal(hook, mode)
        for who in ("stranger", "inactive"):
            operations = self.decided_for(hook, who, "active", "validate_user")
            assert verbs_of(operations) == [Verb.DISABLE if mode == "disable" else Verb.DELETE]
            assert operations[0].notify, "validate_user says delete_user(notify_user=True)"

    def test_who_has_access_again_gets_the_account_back(self) -> None:
        hook = self.hook()
        require_removal(hook, "disable")
        for status in ("disabled", "disabled long ago"):
            verbs = verbs_of(self.decided_for(hook, "member", status, "validate_user"))
            assert verbs[:1] == [Verb.ENABLE]
            assert not REMOVALS & set(verbs)

    def test_a_disabled_account_goes_when_its_grace_is_over(self) -> None:
        hook = self.hook(removal={"mode": "disable", "delete_after": "30d"})
        require_removal(hook, "disable")
        require_removal(hook, "delete")
        for status, verbs in (("disabled", []), ("disabled long ago", [Verb.DELETE])):
            decided = self.decided_for(hook, "stranger", status, "validate_user")
            assert verbs_of(decided) == verbs, status

    @pytest.mark.parametrize("mode", ["disable", "delete"])
    def test_delete_user_removes_once_and_tells_whom_it_is_told_to(self, mode: str) -> None:
        hook = self.hook(removal=mode)
        require_removal(hook, mode)
        user = self.member
        verb = Verb.DISABLE if mode == "disable" else Verb.DELETE
        for notify in (False, True):
            operations = self.decided(
                hook,
                user,
                self.account(hook, user),
                lambda hook, user, notify=notify: hook.delete_user(user, notify),  # type: ignore[misc]
            )
            assert verbs_of(operations) == [verb]
            assert operations[0].notify == notify
        assert self.decided_for(hook, "member", "absent", "delete_user") == ()
        if mode == "disable":
            assert self.decided_for(hook, "member", "disabled", "delete_user") == ()
