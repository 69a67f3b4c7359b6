"""Hooks that are each wrong in one way, as hooks really are; and the tests that notice."""

import itertools
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from string import Template
from types import MappingProxyType

from pydantic import ConfigDict

from svcctl.config.service import HookConfig
from svcctl.model import Operation, ServiceRow, User, Verb
from tests.kit.service import GoodHook

# Settings


class AnyConfig(HookConfig):
    model_config = ConfigDict(extra="ignore")


class TakesAnySetting(GoodHook):
    config_class = AnyConfig


class ColourConfig(HookConfig):
    colour: str = "red"


class HasASettingForNobody(GoodHook):
    config_class = ColourConfig


# Decisions


class WritesAFile(GoodHook):
    """A log of its own."""

    def reset_password(self, user: User) -> Iterator[Operation]:
        with tempfile.TemporaryFile("w") as log:
            log.write(user.username)
        yield from super().reset_password(user)


class DropsOperations(GoodHook):
    """As such methods are written first: called, and not iterated."""

    def update_all_groups(self, users: Iterable[User]) -> Iterator[Operation]:
        for user in users:
            self.update_groups(user)
        yield from ()


class CarriesThePassword(GoodHook):
    def set_password(self, user: User) -> Iterator[Operation]:
        for operation in super().set_password(user):
            yield replace(operation, args={"password": "hunter2"})


class GivesNoReason(GoodHook):
    def reset_password(self, user: User) -> Iterator[Operation]:
        for operation in super().reset_password(user):
            yield replace(operation, reason="")


class Counts(GoodHook):
    def reset_password(self, user: User) -> Iterator[Operation]:
        for operation in super().reset_password(user):
            yield replace(operation, reason=f"for the {next(_numbers)}th time")


_numbers = itertools.count(1)


class NeverContent(GoodHook):
    def sync_nickname(self, user: User) -> Iterator[Operation]:
        account = self.account(user)
        if account.active:
            nickname = f"{account.nickname}!"
            yield self.operation(Verb.SET_NICKNAME, user, "louder", nickname=nickname)


# Who may have an account


class ForgetsActive(GoodHook):
    """An inactive user in the right state may."""

    def service_active_for_user(self, user: User) -> bool:
        return user.state in self.config.access.states


class Silent(GoodHook):
    def explain_access(self, user: User) -> str:
        return ""


class NamesBeforeItCreates(GoodHook):
    def create_user(self, user: User) -> Iterator[Operation]:
        if self.account(user).absent:
            nickname = self.nickname_for(user)
            yield self.operation(Verb.SET_NICKNAME, user, "first of all", nickname=nickname)
        yield from super().create_user(user)


class CreatesWhatIsDisabled(GoodHook):
    def create_user(self, user: User) -> Iterator[Operation]:
        if self.account(user).disabled:
            yield self.operation(Verb.CREATE, user, "anew", name=self.username_for(user))
        yield from super().create_user(user)


class CleansUp(GoodHook):
    """Whoever is in no group has no need of the account."""

    def validate_user(self, user: User) -> Iterator[Operation]:
        account = self.account(user)
        if account.active and not account.groups and self.service_active_for_user(user):
            yield self.operation(Verb.DELETE, user, "not needed any more")
        else:
            yield from super().validate_user(user)


class RemovesInSilence(GoodHook):
    def validate_user(self, user: User) -> Iterator[Operation]:
        for operation in super().validate_user(user):
            yield replace(operation, notify=False)


class NeverForgives(GoodHook):
    def validate_user(self, user: User) -> Iterator[Operation]:
        if not (self.account(user).disabled and self.service_active_for_user(user)):
            yield from super().validate_user(user)


class NeverDeletes(GoodHook):
    def validate_user(self, user: User) -> Iterator[Operation]:
        for operation in super().validate_user(user):
            if not (operation.verb is Verb.DELETE and self.account(user).disabled):
                yield operation


class AlwaysTells(GoodHook):
    def delete_user(self, user: User, notify_user: bool = False) -> Iterator[Operation]:  # noqa: FBT001, FBT002
        del notify_user
        yield from super().delete_user(user, notify_user=True)


# Groups, names, what is shown


class TakesReservedGroups(GoodHook):
    def update_groups(self, user: User) -> Iterator[Operation]:
        account = self.account(user)
        add, remove = (
            self.groups_for(user) - account.groups,
            account.groups - self.groups_for(user),
        )
        if account.active and (add or remove):
            yield self.operation(
                Verb.CHANGE_GROUPS, user, "all of them", add=sorted(add), remove=sorted(remove)
            )


class ReadsNoMap(GoodHook):
    def group_names(self, group: str) -> tuple[str, ...]:
        return (self.group_rule.apply(group),)


class GivesPasswordsToNobody(GoodHook):
    def set_password(self, user: User) -> Iterator[Operation]:
        yield self.operation(Verb.SET_PASSWORD, user, "set by an operator")


class StopsAfterOne(GoodHook):
    def update_all_groups(self, users: Iterable[User]) -> Iterator[Operation]:
        yield from self.update_groups(next(iter(users)))


class TakesAnyNickname(GoodHook):
    def nickname_for(self, user: User) -> str | None:
        return str(user.attributes["character_name"])


class ShowsMarkup(GoodHook):
    def render_html(self, row: ServiceRow) -> str:
        return Template("<td>$username</td>").substitute(username=row.username)


NOTICED: Mapping[type[GoodHook], frozenset[str]] = MappingProxyType(
    {
        hook: frozenset(tests)
        for hook, *tests in (
            (TakesAnySetting, "test_the_settings_are_checked"),
            (HasASettingForNobody, "test_the_manager_takes_the_settings_of_the_hook"),
            (
                WritesAFile,
                "test_a_decision_decides_and_does_nothing[reset_password]",
                "test_the_same_question_has_the_same_answer[reset_password]",
            ),
            (
                DropsOperations,
                "test_a_decision_decides_and_does_nothing[update_all_groups]",
                "test_the_same_question_has_the_same_answer[update_all_groups]",
                "test_update_all_groups_asks_for_each",
            ),
            (CarriesThePassword, "test_a_decision_decides_and_does_nothing[set_password]"),
            (GivesNoReason, "test_a_decision_decides_and_does_nothing[reset_password]"),
            (Counts, "test_the_same_question_has_the_same_answer[reset_password]"),
            (NeverContent, "test_once_it_is_done_nothing_is_left[sync_nickname]"),
            (
                ForgetsActive,
                "test_only_active_users_with_access_may_have_an_account",
                "test_who_has_no_access_loses_the_account[disable]",
                "test_who_has_no_access_loses_the_account[delete]",
            ),
            (Silent, "test_only_active_users_with_access_may_have_an_account"),
            (
                NamesBeforeItCreates,
                "test_a_new_account_comes_first_and_has_a_name_that_the_service_takes",
            ),
            (CreatesWhatIsDisabled, "test_who_has_an_account_gets_no_other"),
            (CleansUp, "test_who_has_access_keeps_the_account"),
            (
                RemovesInSilence,
                "test_who_has_no_access_loses_the_account[disable]",
                "test_who_has_no_access_loses_the_account[delete]",
            ),
            (NeverForgives, "test_who_has_access_again_gets_the_account_back"),
            (NeverDeletes, "test_a_disabled_account_goes_when_its_grace_is_over"),
            (
                AlwaysTells,
                "test_delete_user_removes_once_and_tells_whom_it_is_told_to[disable]",
                "test_delete_user_removes_once_and_tells_whom_it_is_told_to[delete]",
            ),
            (TakesReservedGroups, "test_groups_change_only_where_they_are_managed"),
            (ReadsNoMap, "test_the_map_says_which_groups"),
            (GivesPasswordsToNobody, "test_what_is_not_active_is_left_alone[set_password]"),
            (StopsAfterOne, "test_update_all_groups_asks_for_each"),
            (TakesAnyNickname, "test_every_name_fits_or_is_refused"),
            (ShowsMarkup, "test_the_services_page_shows_text_as_text"),
        )
    }
)
"""Each with the tests that fail."""
