"""Groups, names, and what is shown."""

from contextlib import suppress
from dataclasses import replace

import pytest

from svcctl.errors import Invalid
from svcctl.hooks.decide import checked
from svcctl.hooks.testing.hook.subject import ACCOUNTS, DECISIONS, Subject, fits, require
from svcctl.hooks.testing.names import LONG, UNUSUAL
from svcctl.model import Verb
from svcctl.tripwire import tripwire


class Details(Subject):
    """What holds for an account that is there."""

    def test_groups_change_only_where_they_are_managed(self) -> None:
        """What is asked for is what groups_for says; reserved groups are never named."""
        hook = self.hook(groups={"reserved": ["admins"]})
        require(hook, "update_groups")
        wanted = hook.groups_for(self.member)
        assert "admins" not in wanted
        account = replace(
            self.account(hook, self.member), groups=frozenset({"left-over", "admins"})
        )
        (one,) = self.decided(hook, self.member, account, DECISIONS["update_groups"])
        assert one.verb is Verb.CHANGE_GROUPS
        assert set(one.args["add"]) == wanted - account.groups
        assert set(one.args["remove"]) == {"left-over"} - wanted

    def test_the_map_says_which_groups(self) -> None:
        hook = self.hook(groups={"map": {"staff": "remote-staff", "nobody": "remote-nobody"}})
        require(hook, "update_groups")
        account = self.account(hook, self.member)
        decided = self.decided(hook, self.member, account, DECISIONS["update_groups"])
        assert [(one.args["add"], one.args["remove"]) for one in decided] == [
            (["remote-staff"], [])
        ]

    @pytest.mark.parametrize("decision", ["update_groups", "sync_nickname", "set_password"])
    def test_what_is_not_active_is_left_alone(self, decision: str) -> None:
        hook = self.hook()
        require(hook, decision)
        for status in ("absent", "disabled"):
            assert self.decided_for(hook, "member", status, decision) == ()

    def test_update_all_groups_asks_for_each(self) -> None:
        hook = self.hook()
        require(hook, "update_groups")
        users = [self.member, replace(self.member, id=3, username="bob", groups=frozenset())]
        accounts = {
            user.id: replace(self.account(hook, user), groups=frozenset({"left-over"}))
            for user in users
        }
        single = [
            one
            for user in users
            for one in self.decided(hook, user, accounts[user.id], DECISIONS["update_groups"])
        ]
        hook._accounts.update(accounts)  # noqa: SLF001 - as the engine fills it
        with tripwire(f"{self.hook_class.__name__} decides"):
            together = list(checked(hook, hook.update_all_groups(users)))
        assert sorted(map(repr, together)) == sorted(map(repr, single))

    def test_every_name_fits_or_is_refused(self) -> None:
        """Whatever people are called; the name rules say what the service takes."""
        hook = self.hook()
        for text in (*UNUSUAL.values(), LONG, "{username.__class__}"):
            user = replace(
                self.member,
                username=text,
                groups=frozenset({text}),
                attributes={**self.member.attributes, "character_name": text},
            )
            with suppress(Invalid):
                fits(hook.username_rule, hook.username_for(user))
            with suppress(Invalid):
                fits(hook.nickname_rule, hook.nickname_for(user) or "")
            with suppress(Invalid):
                for group in hook.groups_for(user):
                    fits(hook.group_rule, group)

    def test_the_services_page_shows_text_as_text(self) -> None:
        hook = self.hook(title="<b>Forum</b>")
        for status in ACCOUNTS:
            account = replace(self.account(hook, self.member, status), name="<script>")
            hook._accounts[self.member.id] = account  # noqa: SLF001
            with tripwire(f"{self.hook_class.__name__} renders"):
                row = hook.render_service_ctrl(self.member)
                html = hook.render_html(row)
            assert row.service == hook.name
            assert "<script>" not in html
            assert "<b>" not in html
