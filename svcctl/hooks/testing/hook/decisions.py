"""Decisions: pure, repeatable, and done once."""

import json
from inspect import signature

import pytest
from pydantic import ValidationError

from svcctl.clock import stamp
from svcctl.hooks.testing.hook.subject import (
    CONVERGING,
    DECISIONS,
    Subject,
    require,
)
from svcctl.model import effect


class Decisions(Subject):
    """What every decision promises."""

    def test_the_settings_are_checked(self) -> None:
        self.hook()
        with pytest.raises(ValidationError):
            self.hook(no_such_setting=1)

    def test_the_manager_takes_the_settings_of_the_hook(self) -> None:
        """The fields that config_class adds are the keyword arguments of manager_class."""
        hook = self.hook()
        try:
            signature(hook.manager_class).bind(**hook.manager_arguments())
        except TypeError as error:
            given = ", ".join(hook.manager_arguments()) or "nothing"
            raise AssertionError(
                f"{hook.manager_class.__name__} is given {given}: {error}; a setting with the name "
                "of one that every service has (url, title, groups, …) does not reach the manager"
            ) from error

    @pytest.mark.parametrize("decision", DECISIONS)
    def test_a_decision_decides_and_does_nothing(self, decision: str) -> None:
        """And its operations are such as can be kept, shown and carried out."""
        hook = self.hook()
        require(hook, decision)
        for who, status in self.cases(hook):
            for operation in self.decided_for(hook, who, status, decision):
                case = f"{decision} for {who}, {status} account: {operation.verb}"
                assert operation.user_id == self.user(who).id, case
                assert operation.reason, f"{case} without a reason"
                assert operation.reason.isprintable(), f"{case}: a reason is one line"
                args = dict(operation.args)
                assert json.loads(json.dumps(args)) == args, f"{case}: args are not JSON"
                assert "password" not in args, f"{case}: a password is in no operation"

    @pytest.mark.parametrize("decision", DECISIONS)
    def test_the_same_question_has_the_same_answer(self, decision: str) -> None:
        """Asked again, and asked of another instance: a plan is made anew before it is applied."""
        hook, other = self.hook(), self.hook()
        other.now = hook.now
        require(hook, decision)
        for who, status in self.cases(hook):
            first = self.decided_for(hook, who, status, decision)
            assert self.decided_for(hook, who, status, decision) == first
            assert self.decided_for(other, who, status, decision) == first

    @pytest.mark.parametrize("decision", CONVERGING)
    def test_once_it_is_done_nothing_is_left(self, decision: str) -> None:
        hook = self.hook()
        require(hook, decision)
        for who, status in self.cases(hook):
            user = self.user(who)
            account = self.account(hook, user, status)
            for operation in self.decided(hook, user, account, DECISIONS[decision]):
                account = effect(account, operation, at=stamp(hook.now))
            left = self.decided(hook, user, account, DECISIONS[decision])
            assert left == (), f"{decision} for {who}, {status} account, has no end"
