"""Managers that are each wrong in one way, as managers really are; and the tests that notice."""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

from svcctl.errors import Conflict, Invalid, NotFound, RateLimited, Transient
from svcctl.hooks.manager import Created, GroupChange, NewAccount, RemoteAccount
from tests.kit.service import ERRORS, GROUPS, PAGE, TOKEN, Broken, GoodManager, Service

NONE = frozenset[str]()

# Reading


class ChecksOnlyAFullService(GoodManager):
    def check(self) -> None:
        if not list(self.list_accounts()):
            raise Invalid("nobody is there")


class ListsTheActive(GoodManager):
    def list_accounts(self) -> Iterator[RemoteAccount]:
        return (one for one in super().list_accounts() if one.active)


class TakesAFullPageForOneMore(GoodManager):
    """Gives the last account again when the last page is full."""

    def list_accounts(self) -> Iterator[RemoteAccount]:
        everybody = list(super().list_accounts())
        yield from everybody
        if everybody and len(everybody) % PAGE == 0:
            yield everybody[-1]


class ListsAnotherNickname(GoodManager):
    def list_accounts(self) -> Iterator[RemoteAccount]:
        return (replace(one, nickname=one.name) for one in super().list_accounts())


class FindsWithATimestamp(GoodManager):
    def find_account(self, external_id: str, name: str) -> RemoteAccount | None:
        found = super().find_account(external_id, name)
        return found and replace(found, data={"read_at": time.perf_counter_ns()})


class Remembers(GoodManager):
    """Has a cache, and empties it when it changes something itself."""

    def __init__(self, service: Service, token: str = TOKEN) -> None:
        super().__init__(service, token)
        self.cache: dict[str, RemoteAccount] = {}

    def get_account(self, uid: str) -> RemoteAccount:
        if uid not in self.cache:
            self.cache[uid] = super().get_account(uid)
        return self.cache[uid]

    def change(self, uid: str, **changes: Any) -> None:
        self.cache.clear()
        super().change(uid, **changes)

    def member(self, uid: str, group: str, *, wanted: bool) -> bool:
        self.cache.clear()
        return super().member(uid, group, wanted=wanted)

    def delete_account(self, uid: str) -> None:
        self.cache.clear()
        super().delete_account(uid)

    def create_account(self, new: NewAccount) -> Created:
        self.cache.clear()
        return super().create_account(new)


class KnowsOnlyUidsThatItSaw(GoodManager):
    """Says of a uid that never was that it is malformed."""

    def have(self, uid: str) -> RemoteAccount:
        if uid not in self.service.accounts and uid == "uid-0":
            raise Invalid(f"{uid} is no uid")
        return super().have(uid)

    def change(self, uid: str, **changes: Any) -> None:
        if uid == "uid-0":
            raise NotFound(uid)
        super().change(uid, **changes)

    def delete_account(self, uid: str) -> None:
        self.change(uid)
        super().delete_account(uid)

    def set_password(self, uid: str, password: str) -> None:
        self.change(uid)
        super().set_password(uid, password)

    def member(self, uid: str, group: str, *, wanted: bool) -> bool:
        self.change(uid)
        return super().member(uid, group, wanted=wanted)


class FindsSomebody(GoodManager):
    """A server that ignores filters gives everybody."""

    def find_account(self, external_id: str, name: str) -> RemoteAccount | None:
        found = super().find_account(external_id, name)
        return found or next(iter(self.service.accounts.values()), None)


class ReadsInTheBackground(GoodManager):
    """A library's own loop, in a thread that ends with the manager."""

    def __init__(self, service: Service, token: str = TOKEN) -> None:
        super().__init__(service, token)
        self.closed = threading.Event()

    def find_account(self, external_id: str, name: str) -> RemoteAccount | None:
        threading.Thread(target=self.closed.wait, daemon=True).start()
        return super().find_account(external_id, name)

    def close(self) -> None:
        self.closed.set()


# The life of an account


class DropsTheExternalId(GoodManager):
    def get_account(self, uid: str) -> RemoteAccount:
        return replace(super().get_account(uid), external_id=None)


class FindsByNameFirst(GoodManager):
    """And gives up where nobody has the name."""

    def find_account(self, external_id: str, name: str) -> RemoteAccount | None:
        named = self.ask(lambda: self.service.named(name))
        return named and super().find_account(external_id, name)


class PrefersTheName(GoodManager):
    def find_account(self, external_id: str, name: str) -> RemoteAccount | None:
        return self.ask(lambda: self.service.named(name) or self.by_key(external_id))


class FindsTheDeleted(GoodManager):
    """Deleting only hides: the search still has it."""

    def delete_account(self, uid: str) -> None:
        gone = self.get_account(uid)
        super().delete_account(uid)
        self.service.__dict__.setdefault("bin", []).append(gone)

    def by_key(self, external_id: str) -> RemoteAccount | None:
        binned = self.service.__dict__.get("bin", [])
        hidden = next((one for one in binned if one.external_id == external_id), None)
        return super().by_key(external_id) or hidden


class RenamesNobody(GoodManager):
    """Says nothing when there is nobody to rename: an UPDATE of no row."""

    def set_nickname(self, uid: str, nickname: str) -> None:
        try:
            super().set_nickname(uid, nickname)
        except NotFound:
            return


class NeverEnables(GoodManager):
    """The password works again, but the account goes on being shown as disabled."""

    def enable_account(self, uid: str) -> None:
        super().enable_account(uid)
        self.service.__dict__.setdefault("stuck", set()).add(uid)

    def get_account(self, uid: str) -> RemoteAccount:
        account = super().get_account(uid)
        return replace(account, active=uid not in self.service.__dict__.get("stuck", ()))

    def disable_account(self, uid: str) -> None:
        super().disable_account(uid)
        self.service.__dict__.setdefault("stuck", set()).add(uid)


class DisablesWithoutGroups(GoodManager):
    def disable_account(self, uid: str) -> None:
        self.change(uid, active=False, groups=NONE)


class CountsDisables(GoodManager):
    """Writes a comment at each call."""

    def disable_account(self, uid: str) -> None:
        times = self.get_account(uid).data.get("disabled", 0)
        self.change(uid, active=False, data={"disabled": times + 1})


class RevivesTheDisabled(GoodManager):
    def create(self, new: NewAccount) -> Created:
        there = self.service.named(new.name)
        if there and not there.active:
            self.service.change(there.uid, active=True)
            return Created(there.uid, there.name)
        return super().create(new)


class KeepsTheNickname(GoodManager):
    """Takes an empty nickname for no answer."""

    def set_nickname(self, uid: str, nickname: str) -> None:
        if nickname:
            super().set_nickname(uid, nickname)
        else:
            self.get_account(uid)


class IgnoresPasswords(GoodManager):
    def set_password(self, uid: str, password: str) -> None:
        self.get_account(uid)


class DisablesForShow(GoodManager):
    """The service lets in whoever has the password."""

    def disable_account(self, uid: str) -> None:
        super().disable_account(uid)
        self.service.lax = True


class DeletesGroupsOfOthers(GoodManager):
    """Empties the groups in which the deleted account might have been."""

    def delete_account(self, uid: str) -> None:
        super().delete_account(uid)
        for other in list(self.service.accounts):
            self.service.change(other, groups=NONE)


# Names


class UpdatesBeforeItRefuses(GoodManager):
    def create(self, new: NewAccount) -> Created:
        if there := self.service.named(new.name):
            self.service.change(there.uid, external_id=new.external_id)
        return super().create(new)


class SetsThePasswordBeforeItRefuses(GoodManager):
    def create(self, new: NewAccount) -> Created:
        if there := self.service.named(new.name):
            self.service.passwords[there.uid] = new.password
        return super().create(new)


class KnowsCase(GoodManager):
    def create(self, new: NewAccount) -> Created:
        everybody = self.service.accounts.values()
        if self.service.named(new.name) and new.name not in {one.name for one in everybody}:
            account = self.service.add(new)
            return Created(account.uid, account.name)
        return super().create(new)


class SpeaksAscii(GoodManager):
    def create(self, new: NewAccount) -> Created:
        name = new.name.encode("ascii", "ignore").decode()
        return super().create(replace(new, name=name))


class CutsLongNames(GoodManager):
    def create(self, new: NewAccount) -> Created:
        return super().create(replace(new, name=new.name[:32]))


class StripsInSilence(GoodManager):
    """The service strips blanks, and the manager answers with what it was asked for."""

    def create(self, new: NewAccount) -> Created:
        created = super().create(replace(new, name=new.name.strip()))
        return Created(created.uid, new.name)


class EscapesNicknames(GoodManager):
    def set_nickname(self, uid: str, nickname: str) -> None:
        super().set_nickname(uid, nickname.replace("<", "&lt;"))


# Groups


class JoinsOneOfTwo(GoodManager):
    def change_groups(self, uid: str, add: frozenset[str], remove: frozenset[str]) -> GroupChange:
        new = add - (self.get_account(uid).groups or NONE)
        change = super().change_groups(uid, frozenset(sorted(new)[:1]), remove)
        return GroupChange(new, change.removed)


class AnswersWithTheQuestion(GoodManager):
    """Where anything is new, all is."""

    def change_groups(self, uid: str, add: frozenset[str], remove: frozenset[str]) -> GroupChange:
        change = super().change_groups(uid, add, remove)
        return GroupChange(add if change.added else NONE, change.removed)


class AnswersFromMemory(GoodManager):
    """The same question, the same answer."""

    def __init__(self, service: Service, token: str = TOKEN) -> None:
        super().__init__(service, token)
        self.last: tuple[Any, GroupChange] | None = None

    def change_groups(self, uid: str, add: frozenset[str], remove: frozenset[str]) -> GroupChange:
        if self.last and self.last[0] == (uid, add, remove):
            return self.last[1]
        change = super().change_groups(uid, add, remove)
        self.last = (uid, add, remove), change
        return change


class ReplacesGroups(GoodManager):
    """PUT of the groups that were named."""

    def change_groups(self, uid: str, add: frozenset[str], remove: frozenset[str]) -> GroupChange:
        change = super().change_groups(uid, add, remove)
        if change.added:
            self.change(uid, groups=add)
        return change


class LeavesWithOthers(GoodManager):
    """The group of whoever leaves is deleted."""

    def member(self, uid: str, group: str, *, wanted: bool) -> bool:
        changed = super().member(uid, group, wanted=wanted)
        if changed and not wanted:
            for other in self.service.accounts.values():
                self.service.change(other.uid, groups=(other.groups or NONE) - {group})
        return changed


class AddsGhosts(GoodManager):
    """LDAP and SCIM servers take any text for a member."""

    def change_groups(self, uid: str, add: frozenset[str], remove: frozenset[str]) -> GroupChange:
        try:
            return super().change_groups(uid, add, remove)
        except NotFound:
            return GroupChange(add, NONE)


class JoinsNothing(GoodManager):
    def change_groups(self, uid: str, add: frozenset[str], remove: frozenset[str]) -> GroupChange:
        change = super().change_groups(uid, add & set(GROUPS), remove)
        return GroupChange(change.added | (add - set(GROUPS)), change.removed)


class ListsOneGroup(GoodManager):
    def list_groups(self) -> list[str]:
        return super().list_groups()[:1]


# Failures


class FindsNobodyInTheDark(GoodManager):
    def find_account(self, external_id: str, name: str) -> RemoteAccount | None:
        try:
            return super().find_account(external_id, name)
        except Transient:
            return None


class ReadsNotFoundIntoErrors(GoodManager):
    def get_account(self, uid: str) -> RemoteAccount:
        try:
            return super().get_account(uid)
        except Transient:
            raise NotFound(uid) from None


class ListsUpToTheError(GoodManager):
    def list_accounts(self) -> Iterator[RemoteAccount]:
        try:
            yield from super().list_accounts()
        except Transient:
            return


class ForgetsHowLongToWait(GoodManager):
    def list_groups(self) -> list[str]:
        try:
            return super().list_groups()
        except RateLimited:
            raise RateLimited("429") from None


class LetsStrangeErrorsOut(GoodManager):
    def check(self) -> None:
        try:
            self.service.ask(self.token, lambda: None)
        except Broken as broken:
            if str(broken) == "refused":
                raise ConnectionRefusedError from None
            error = ERRORS[str(broken)]()
            raise error from None


class SwallowsErrors(GoodManager):
    def set_nickname(self, uid: str, nickname: str) -> None:
        try:
            super().set_nickname(uid, nickname)
        except Transient:
            logging.getLogger(__name__).warning("will try later")


class CannotDisableTwice(GoodManager):
    def disable_account(self, uid: str) -> None:
        if not self.get_account(uid).active:
            raise Conflict("disabled already")
        super().disable_account(uid)


class WritesOurKeyLater(GoodManager):
    """Two exchanges, and nobody finds again what was created in the first."""

    def create_account(self, new: NewAccount) -> Created:
        created = super().create_account(replace(new, external_id=""))
        self.change(created.uid, external_id=new.external_id)
        return created


class BelievesShortPages(GoodManager):
    def list_accounts(self) -> Iterator[RemoteAccount]:
        start = 0
        while page := self.ask(partial(self.service.page, start))[0]:
            yield from page
            start += PAGE


class SeesNothingWithoutCredentials(GoodManager):
    def get_account(self, uid: str) -> RemoteAccount:
        if self.token != TOKEN:
            raise NotFound(uid)
        return super().get_account(uid)


# Secrets


class LogsPasswords(GoodManager):
    def set_password(self, uid: str, password: str) -> None:
        super().set_password(uid, password)
        logging.getLogger(__name__).debug("PUT /users/%s {'password': '%s'}", uid, password)


class QuotesWhatItSent(GoodManager):
    def create_account(self, new: NewAccount) -> Created:
        try:
            return super().create_account(new)
        except Transient as error:
            raise Transient(f"POST /users {new.name} {new.password}: {error}") from None


class ShowsItself(GoodManager):
    def __repr__(self) -> str:
        return f"{type(self).__name__}(token={self.token!r})"


# Threads


class KeepsItsPlaceInItself(GoodManager):
    new: NewAccount

    def create_account(self, new: NewAccount) -> Created:
        self.new = new
        time.sleep(0.002)
        return super().create_account(self.new)


class ReadsChangesWrites(GoodManager):
    """The members of a group in one list, read and written whole."""

    def member(self, uid: str, group: str, *, wanted: bool) -> bool:
        groups = self.get_account(uid).groups or NONE
        before = {one.uid: one.groups or NONE for one in list(self.service.accounts.values())}
        time.sleep(0.002)
        for other, held in before.items():
            if other in self.service.accounts:
                self.service.change(other, groups=held)
        changed = super().member(uid, group, wanted=wanted)
        return changed and (group in groups) != wanted


class LooksBeforeItCreates(GoodManager):
    """And leaves it at that."""

    def create_account(self, new: NewAccount) -> Created:
        if self.find_account("", new.name):
            raise Conflict(f"{new.name} is taken")
        time.sleep(0.01)
        account = self.ask(lambda: self.service.add(new))
        return Created(account.uid, account.name)


NOTICED: Mapping[type[GoodManager], frozenset[str]] = MappingProxyType(
    {
        manager: frozenset(tests)
        for manager, *tests in (
            (ChecksOnlyAFullService, "test_check_accepts_a_service_that_works"),
            (ListsTheActive, "test_every_account_is_listed_once"),
            (TakesAFullPageForOneMore, "test_paging_is_complete_at_the_borders_of_pages"),
            (ListsAnotherNickname, "test_all_reads_agree"),
            (FindsWithATimestamp, "test_a_second_read_equals_the_first"),
            (Remembers, "test_nothing_is_remembered_of_the_service"),
            (KnowsOnlyUidsThatItSaw, "test_an_account_that_is_not_there_is_not_found"),
            (FindsSomebody, "test_nobody_is_found_under_a_free_name"),
            (ReadsInTheBackground, "test_reading_leaves_all_to_the_thread_that_reads"),
            (DropsTheExternalId, "test_a_new_account_is_there_as_it_was_asked_for"),
            (FindsByNameFirst, "test_what_was_created_is_found_again"),
            (PrefersTheName, "test_the_external_id_counts_more_than_the_name"),
            (FindsTheDeleted, "test_a_deleted_account_is_gone"),
            (RenamesNobody, "test_a_verb_for_an_account_that_is_not_there_is_not_found"),
            (
                NeverEnables,
                "test_disabling_takes_access_away_and_enabling_gives_it_back",
                "test_what_was_not_done_is_never_a_yes[enable_account]",
            ),
            (DisablesWithoutGroups, "test_disabling_and_enabling_keep_everything_else"),
            (CountsDisables, "test_disabling_and_enabling_may_be_repeated[disable_account]"),
            (RevivesTheDisabled, "test_a_disabled_account_is_still_there"),
            (KeepsTheNickname, "test_the_nickname_is_set_and_taken_away"),
            (IgnoresPasswords, "test_a_new_password_replaces_the_old_one"),
            (DisablesForShow, "test_who_is_disabled_does_not_log_in"),
            (DeletesGroupsOfOthers, "test_no_verb_reaches_another_account"),
            (UpdatesBeforeItRefuses, "test_a_taken_name_is_a_conflict_and_nobody_is_taken_over"),
            (SetsThePasswordBeforeItRefuses, "test_a_conflict_leaves_the_password_alone"),
            (KnowsCase, "test_names_that_differ_by_case_follow_the_name_rule"),
            (SpeaksAscii, "test_unusual_names_are_kept"),
            (CutsLongNames, "test_the_longest_name_is_kept_whole"),
            (StripsInSilence, "test_a_name_that_the_service_changes_is_noticed"),
            (EscapesNicknames, "test_unusual_nicknames_are_kept"),
            (JoinsOneOfTwo, "test_groups_become_as_asked"),
            (AnswersWithTheQuestion, "test_the_answer_is_what_really_changed"),
            (AnswersFromMemory, "test_the_same_change_again_changes_nothing"),
            (ReplacesGroups, "test_groups_that_are_not_named_stay"),
            (LeavesWithOthers, "test_other_members_stay"),
            (AddsGhosts, "test_who_is_not_there_joins_nothing"),
            (JoinsNothing, "test_a_group_that_does_not_exist_is_made_or_refused"),
            (ListsOneGroup, "test_list_groups_has_every_group_that_is_used"),
            (FindsNobodyInTheDark, "test_unknown_is_not_absent[find_account]"),
            (ReadsNotFoundIntoErrors, "test_unknown_is_not_absent[get_account]"),
            (ListsUpToTheError, "test_unknown_is_not_absent[list_accounts]"),
            (ForgetsHowLongToWait, "test_unknown_is_not_absent[list_groups]"),
            (LetsStrangeErrorsOut, "test_unknown_is_not_absent[check]"),
            (SwallowsErrors, "test_what_was_not_done_is_never_a_yes[set_nickname]"),
            (
                CannotDisableTwice,
                "test_what_was_not_done_is_never_a_yes[disable_account]",
                "test_disabling_and_enabling_may_be_repeated[disable_account]",
            ),
            (WritesOurKeyLater, "test_a_create_whose_answer_is_lost_is_found_again"),
            (BelievesShortPages, "test_a_short_page_is_not_the_whole[list_accounts]"),
            (SeesNothingWithoutCredentials, "test_wrong_credentials_are_denied"),
            (LogsPasswords, "test_a_password_is_told_to_nobody"),
            (QuotesWhatItSent, "test_a_password_is_told_to_nobody_when_something_fails"),
            (ShowsItself, "test_credentials_are_told_to_nobody"),
            (KeepsItsPlaceInItself, "test_threads_do_not_mix_accounts_up"),
            (ReadsChangesWrites, "test_threads_lose_no_member_of_a_group"),
            (LooksBeforeItCreates, "test_of_many_who_want_one_name_one_gets_it"),
        )
    }
)
"""Each with the tests that fail: one, unless what is broken is what another test stands on."""
