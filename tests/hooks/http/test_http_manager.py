"""The http service against an API that can be as odd as real ones are."""

from collections.abc import Callable
from typing import Any

import pytest

from svcctl.errors import (
    Conflict,
    Denied,
    Incomplete,
    Invalid,
    ManagerError,
    NotFound,
    RateLimited,
    Transient,
)
from svcctl.hooks.http import HttpManager
from svcctl.hooks.manager import Created, GroupChange, NewAccount
from tests.hooks.http.club import KEY, Answer, Club, Member
from tests.hooks.http.conftest import LOGIN, SET_GROUPS, Built, section

ADA = NewAccount("ada", "svcctl:7", "a-new-password", {"email": "ada@example.org"})
NONE = frozenset[str]()
PAGINGS = {
    "offset": 'paging = { type = "offset", size_parameter = "size", size = 3, total = "total" }',
    "offset to an empty page": 'paging = { type = "offset", size_parameter = "size", size = 3 }',
    "page": 'paging = { type = "page", size_parameter = "size", size = 3, pages.header = "X-Pages" '
    "}",
    "page and total": 'paging = { type = "page", size_parameter = "size", size = 3, '
    'pages.header = "X-Pages", total = "total" }',
    "page to an empty page": 'paging = { type = "page", size_parameter = "size", size = 3 }',
    "cursor": 'paging = { type = "cursor", size_parameter = "size", size = 3, '
    'parameter = "after", next = "next.after" }',
    "cursor in several parameters": 'paging = { type = "cursor", size_parameter = "size", '
    'size = 3, next = "next" }',
    "link": 'paging = { type = "link", size_parameter = "size", size = 3 }',
    "link in the answer": 'paging = { type = "link", size_parameter = "size", size = 3, '
    'next = "url" }',
}


def fill(club: Club, number: int) -> set[str]:
    """So many members in all."""
    for n in range(2, number + 1):
        club.members[n] = Member(n, f"member{n}", "pw")
    return {member.login for member in club.members.values()}


# Lists


@pytest.mark.parametrize("paging", PAGINGS.values(), ids=PAGINGS)
@pytest.mark.parametrize("number", [1, 2, 3, 4, 6, 7])
def test_every_way_of_paging_gives_everybody_once(
    club: Club, built: Built, paging: str, number: int
) -> None:
    everybody = fill(club, number)
    listed = [account.name for account in built(paging=paging).list_accounts()]
    assert sorted(listed) == sorted(everybody)


@pytest.mark.parametrize("paging", PAGINGS.values(), ids=PAGINGS)
def test_a_service_that_gives_the_same_page_again_is_noticed(
    club: Club, built: Built, paging: str
) -> None:
    fill(club, 7)
    club.oddities.add("stuck")
    with pytest.raises(Incomplete):
        list(built(paging=paging).list_accounts())


@pytest.mark.parametrize("kind", ["offset", "page", "page and total"])
def test_a_list_that_ends_early_is_not_the_whole(club: Club, built: Built, kind: str) -> None:
    fill(club, 7)
    club.oddities.add("ends early")
    with pytest.raises(Incomplete, match="ended after 3"):
        list(built(paging=PAGINGS[kind]).list_accounts())


def test_a_list_that_has_a_next_page_is_not_the_whole(club: Club, built: Built) -> None:
    fill(club, 7)
    with pytest.raises(Incomplete, match="names a next one"):
        list(built(paging='query = { size = "3" }').list_accounts())


def test_somebody_who_is_deleted_while_the_list_is_read_hides_nobody(
    club: Club, built: Built
) -> None:
    fill(club, 7)

    def one_goes(_: str, path: str) -> Answer | None:
        if path == "/members" and len(club.log) == 2:
            del club.members[2]
        return None

    club.answer = one_goes
    with pytest.raises(Incomplete, match="fewer items than a moment ago"):
        list(built().list_accounts())


def test_a_next_page_on_another_host_gets_no_credentials(club: Club, built: Built) -> None:
    away = "http://127.0.0.1:1/members"
    club.answer = lambda *_: (200, {"members": [], "url": away}, {})
    with pytest.raises(Denied, match="another host"):
        list(built(paging=PAGINGS["link in the answer"]).list_accounts())


def test_an_account_of_which_the_list_shows_too_little_is_asked_for(
    club: Club, built: Built
) -> None:
    fill(club, 4)
    club.members[3].active = False
    club.members[3].teams = {11}
    club.oddities.add("short list")
    with pytest.raises(Incomplete, match="neither true nor false"):
        list(built().list_accounts())
    club.oddities.clear()
    (third,) = [one for one in built(paging="each = true").list_accounts() if one.uid == "3"]
    assert (third.active, third.groups) == (False, frozenset({"staff"}))
    assert [target for _, target, _ in club.log[-4:]] == [f"/members/{n}" for n in (1, 2, 3, 4)]


# Accounts


def test_an_account_is_made_found_changed_and_deleted(club: Club, built: Built) -> None:
    manager = built()
    manager.check()
    assert manager.create_account(ADA) == Created("2", "ada")
    ada = club.members[2]
    assert (ada.login, ada.password, ada.key) == ("ada", "a-new-password", "svcctl:7")
    found = manager.find_account("svcctl:7", "somebody")
    assert found is not None
    assert (found.uid, found.active, found.attributes) == ("2", True, {"email": "ada@example.org"})
    assert manager.find_account("svcctl:0", "ada") == found
    assert manager.find_account("svcctl:0", "ad") is None
    manager.set_nickname("2", "Countess")
    manager.set_password("2", "another-password")
    manager.disable_account("2")
    assert (ada.display, ada.password, ada.active) == ("Countess", "another-password", False)
    manager.enable_account("2")
    assert manager.get_account("2").active
    manager.delete_account("2")
    with pytest.raises(NotFound):
        manager.delete_account("2")


def test_what_is_so_already_is_not_sent_again(club: Club, built: Built) -> None:
    manager = built()
    manager.create_account(ADA)
    club.log.clear()
    manager.enable_account("2")
    manager.set_nickname("2", "")
    manager.change_groups("2", NONE, frozenset({"staff"}))
    assert {method for method, _, _ in club.log} == {"GET"}


def test_groups_are_added_and_removed_one_by_one(club: Club, built: Built) -> None:
    manager = built()
    manager.create_account(ADA)
    club.members[2].teams = {13}
    both = frozenset({"staff", "commanders"})
    assert manager.change_groups("2", both, frozenset({"none"})) == GroupChange(both, NONE)
    assert club.members[2].teams == {11, 12, 13}
    change = manager.change_groups("2", both, frozenset({"theirs"}))
    assert change == GroupChange(NONE, frozenset({"theirs"}))
    assert club.members[2].teams == {11, 12}
    assert manager.list_groups() == ["commanders", "staff", "theirs"]


def test_groups_are_set_all_at_once_and_what_is_not_ours_stays(club: Club, built: Built) -> None:
    """Also where two groups have one name, of which the other is not ours."""
    club.teams[14] = "theirs"
    manager = built(
        ('groups = "teams[].name"', 'group_ids = "teams[].id"'),
        (section("add_to_group"), SET_GROUPS),
        (section("remove_from_group"), ""),
    )
    manager.create_account(ADA)
    club.members[2].teams = {12, 14}
    change = manager.change_groups("2", frozenset({"staff"}), frozenset({"commanders"}))
    assert change == GroupChange(frozenset({"staff"}), frozenset({"commanders"}))
    assert club.members[2].teams == {11, 14}
    manager.change_groups("2", NONE, frozenset({"staff"}))
    assert club.members[2].teams == {14}


def test_a_group_that_does_not_exist_is_refused_before_anything_changes(
    club: Club, built: Built
) -> None:
    manager = built()
    manager.create_account(ADA)
    with pytest.raises(Invalid, match="no group 'nobodies'"):
        manager.change_groups("2", frozenset({"nobodies", "staff"}), NONE)
    assert not club.members[2].teams


def test_two_groups_of_one_name_are_refused(club: Club, built: Built) -> None:
    club.teams[14] = "staff"
    manager = built()
    manager.create_account(ADA)
    with pytest.raises(Conflict, match="2 groups are called 'staff'"):
        manager.change_groups("2", frozenset({"staff"}), NONE)


# What a service says, and what it does


CHANGES: dict[str, Callable[[Any], Any]] = {
    "disable": lambda manager: manager.disable_account("2"),
    "nickname": lambda manager: manager.set_nickname("2", "Countess"),
    "groups": lambda manager: manager.change_groups("2", frozenset({"staff"}), NONE),
    "delete": lambda manager: manager.delete_account("2"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_yes_to_which_nothing_happens_is_noticed(
    club: Club, built: Built, change: Callable[[Any], Any]
) -> None:
    manager = built()
    manager.create_account(ADA)
    club.oddities.add("does nothing")
    with pytest.raises(Invalid, match="although the service said yes"):
        change(manager)


def test_an_expectation_compares_the_answer_with_the_request(club: Club, built: Built) -> None:
    """Like MediaWiki's, which says yes and adds nobody."""
    put = 'method = "PUT"\n'
    manager = built((put, put + 'expect = { "added[0]" = "{group_id}" }\n'))
    manager.create_account(ADA)
    assert manager.change_groups("2", frozenset({"staff"}), NONE).added == {"staff"}
    club.oddities.add("does nothing")
    with pytest.raises(Invalid, match=r"added\[0\] is None, not '12'"):
        manager.change_groups("2", frozenset({"commanders"}), NONE)


def test_every_right_that_the_credentials_lack_is_named(club: Club, built: Built) -> None:
    expect = '{ "can.make" = true, "can.see" = true, "can.end" = true }'
    manager = built(paging=f'[services.club.requests.check]\npath = "/me"\nexpect = {expect}')
    club.answer = lambda *_: (200, {"can": {"make": False, "see": True}}, {})
    with pytest.raises(Invalid, match=r"can\.make is False, not True, can\.end is None, not True"):
        manager.check()
    club.answer = lambda *_: (200, {"can": {"make": True, "see": True, "end": True}}, {})
    manager.check()


def test_an_answer_that_cannot_be_read_is_no_refusal(club: Club, built: Built) -> None:
    """The change may have been made: that it is not as expected, nobody has said."""
    put = 'method = "PUT"\n'
    manager = built((put, put + 'expect = { "added[0]" = "{group_id}" }\n'))
    manager.create_account(ADA)
    bodies = iter(("", '{"added": ["1', "<html>gone</html>"))
    club.answer = lambda method, _: (200, next(bodies), {}) if method == "PUT" else None
    for _ in range(3):
        with pytest.raises(Transient):
            manager.change_groups("2", frozenset({"staff"}), NONE)


def test_a_taken_name_is_a_conflict(club: Club, built: Built) -> None:
    manager = built()
    manager.create_account(ADA)
    with pytest.raises(Conflict, match="'ada' \\(uid 2\\) exists already"):
        manager.create_account(ADA)
    club.answer = lambda _, path: (200, [], {}) if path == "/search" else None
    with pytest.raises(Conflict, match="500 Internal Server Error: ada is taken"):
        manager.create_account(ADA)


def test_a_service_that_would_take_accounts_over_is_not_let(club: Club, built: Built) -> None:
    club.members[2] = Member(2, "ada", "her-own-password")
    club.oddities.add("takes over")
    with pytest.raises(Conflict):
        built().create_account(ADA)
    assert club.members[2].password == "her-own-password"


def test_the_name_that_was_really_given_is_told(club: Club, built: Built) -> None:
    club.oddities.add("renames")
    assert built().create_account(ADA) == Created("2", "ada 0")


def test_a_create_that_shows_no_account_is_looked_for_or_unknown(club: Club, built: Built) -> None:
    club.oddities.add("says nothing")
    with pytest.raises(Transient, match="shows no account"):
        built().create_account(ADA)
    again = NewAccount("bob", "svcctl:8", "pw", {})
    assert built(('item = "@"', "")).create_account(again) == Created("3", "bob")


def test_another_account_than_the_one_that_was_asked_for_is_no_answer(
    club: Club, built: Built
) -> None:
    club.answer = lambda *_: (200, club.shown(club.members[1]), {})
    with pytest.raises(Incomplete, match="shows account 1, not 9"):
        built().get_account("9")


# Errors


@pytest.mark.parametrize("uid", ["..", "../1", "1/..", "", "a\\..\\b"])
def test_no_value_climbs_out_of_its_place_in_a_path(club: Club, built: Built, uid: str) -> None:
    manager = built()
    with pytest.raises(Invalid, match="cannot stand in the path"):
        manager.get_account(uid)
    assert not club.log


def test_values_are_escaped_for_their_place(club: Club, built: Built) -> None:
    name = 'a&login=admin#"{uid}/%2e\n'
    manager = built()
    manager.create_account(NewAccount(name, "svcctl:1", '"}\\', {"email": "{password}"}))
    made = club.members[2]
    assert (made.login, made.password, made.email) == (name, '"}\\', "{password}")
    assert manager.find_account("", name) is not None
    with pytest.raises(Invalid):
        manager.get_account("2?x=1&y/z")
    assert club.log[-1][1] == "/members/2%3Fx%3D1%26y%2Fz"


def test_a_form_says_that_no_group_is_left(club: Club, built: Built) -> None:
    """PHP takes a list that is not there for one that shall stay as it is."""
    manager = built(
        (section("add_to_group"), SET_GROUPS.replace("body.teams", 'form."teams[]"')),
        (section("remove_from_group"), ""),
    )
    manager.create_account(ADA)
    club.members[2].teams = {11}
    club.answer = lambda method, _: (204, None, {}) if method == "PATCH" else None
    for add, remove, sent in (
        ({"commanders"}, set[str](), {"teams[]": ["11", "12"]}),
        (set[str](), {"staff"}, {"teams": [""]}),
    ):
        with pytest.raises(Invalid, match="although the service said yes"):
            manager.change_groups("2", frozenset(add), frozenset(remove))
        assert [body for method, _, body in club.log if method == "PATCH"][-1] == sent


def test_a_user_without_the_attribute_has_no_such_key(club: Club, built: Built) -> None:
    built().create_account(NewAccount("ada", "svcctl:7", "pw"))
    assert "email" not in club.log[-1][2]


def test_a_page_of_a_web_server_does_not_say_that_an_account_is_absent(
    club: Club, built: Built
) -> None:
    """A 404 of the API does, where the configuration says so."""
    manager = built(("when = \"code == 'no-member' || error.code == 'no-member'\"", "status = 404"))
    with pytest.raises(NotFound):
        manager.get_account("9")
    club.answer = lambda *_: (404, "<h1>Not found</h1>", {"Content-Type": "text/html"})
    with pytest.raises(Invalid) as caught:
        manager.get_account("9")
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("check path")


def test_that_an_account_is_absent_is_believed_of_who_is_let_in(club: Club, built: Built) -> None:
    """Redmine says it of a locked account to everybody whose key is wrong."""
    check = '[services.club.requests.check]\npath = "/session/user"\n'
    manager = built(more=check)
    key = {"status": 401}

    def answer(_: str, path: str) -> Answer | None:
        if path == "/session/user":
            return key["status"], {"message": "who are you"}, {}
        return (404, {"code": "no-member"}, {}) if path == "/members/1" else None

    club.answer = answer
    changes: list[Callable[[], object]] = [
        lambda: manager.get_account("1"),
        lambda: manager.delete_account("1"),
        lambda: manager.change_groups("1", frozenset({"staff"}), NONE),
    ]
    for change in changes:
        with pytest.raises(Denied, match="who are you"):
            change()
    key["status"] = 200
    for change in changes:
        with pytest.raises(NotFound):
            change()


def test_a_404_that_nobody_declared_does_not_either(club: Club, built: Built) -> None:
    club.answer = lambda *_: (404, {"code": "no-route", "message": "no such route"}, {})
    with pytest.raises(Invalid, match="no such route"):
        built().get_account("1")


def test_errors_with_status_200_are_errors(club: Club, built: Built) -> None:
    rule = '[[services.club.errors]]\nwhen = "error.code == \'login\'"\nkind = "denied"\n'
    manager = built(more=rule)
    club.oddities.add("errors are 200")
    with pytest.raises(NotFound, match="200 OK: there is no such member"):
        manager.get_account("9")
    club.oddities.add("sessions")
    with pytest.raises(Denied, match="log in first"):
        manager.get_account("1")


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (401, {}, Denied),
        (403, {}, Denied),
        (409, {}, Conflict),
        (422, {}, Invalid),
        (429, {"Retry-After": "3600"}, RateLimited),
        (500, {}, Transient),
        (503, {}, Transient),
    ],
)
def test_a_status_means_what_it_means_everywhere(
    club: Club, built: Built, status: int, headers: dict[str, str], kind: type[ManagerError]
) -> None:
    club.answer = lambda *_: (status, {"message": "no"}, headers)
    with pytest.raises(kind, match="no"):
        built().disable_account("1")


def test_a_page_is_no_yes(club: Club, built: Built) -> None:
    """A login page answers everything with 200."""
    manager = built()
    manager.create_account(ADA)
    page = (200, "<form>log in</form>", {"Content-Type": "text/html"})
    club.answer = lambda method, _: page if method == "PATCH" else None
    with pytest.raises(Transient, match="not JSON"):
        manager.set_password("2", "a-third-password")


def test_wrong_credentials_are_denied(club: Club, built: Built) -> None:
    with pytest.raises(Denied, match="log in first"):
        built(key="wrong").check()


def test_secrets_that_a_service_repeats_are_not_shown(club: Club, built: Built) -> None:
    club.oddities.add("echoes")
    manager = built()
    with pytest.raises(Invalid, match="bad member") as caught:
        manager.create_account(NewAccount("ada", "svcctl:7", 'hush"hush'))
    assert "hush" not in str(caught.value)
    club.answer = lambda *_: (500, {"message": f"your key {KEY} is fine"}, {})
    with pytest.raises(Transient, match=r"your key \*\*\* is fine"):
        manager.disable_account("1")


# Logging in


def member_area(club: Club, built: Built, key: str = KEY) -> HttpManager:
    """With a cookie, and for writes a token."""
    club.oddities.add("sessions")
    edit = ('headers = { X-Key = "{key}" }', 'headers = { X-CSRF = "{csrf}" }')
    return built(edit, more=LOGIN, key=key)


def logins(club: Club) -> int:
    return [target for _, target, _ in club.log].count("/session")


def test_a_login_gives_a_cookie_and_a_token(club: Club, built: Built) -> None:
    manager = member_area(club, built)
    manager.create_account(ADA)
    manager.set_nickname("2", "Countess")
    assert club.members[2].display == "Countess"
    assert logins(club) == 1


@pytest.mark.parametrize("oddities", [{"sessions"}, {"sessions", "errors are 200"}])
def test_a_login_that_is_over_is_renewed_once(club: Club, built: Built, oddities: set[str]) -> None:
    manager = member_area(club, built)
    manager.create_account(ADA)
    club.oddities |= oddities
    club.sessions.clear()
    manager.disable_account("2")
    assert not club.members[2].active
    assert logins(club) == 2
    club.answer = lambda _, path: None if path == "/session" else (401, {"message": "no"}, {})
    with pytest.raises(Denied, match="no"):
        manager.get_account("2")
    assert logins(club) == 3


def test_a_login_that_is_refused_is_denied(club: Club, built: Built) -> None:
    with pytest.raises(Denied, match="wrong password"):
        member_area(club, built, key="another").check()
    assert [target for _, target, _ in club.log] == ["/session"]


def test_a_service_with_a_login_is_asked_one_thing_at_a_time(club: Club, built: Built) -> None:
    """Sessions and their tokens do not stand several requests at once; whoever has none does."""
    assert built().concurrency > 1
    assert member_area(club, built).concurrency == 1


def test_many_threads_log_in_once(club: Club, built: Built) -> None:
    """Should somebody's own manager promise more."""
    from concurrent.futures import ThreadPoolExecutor

    manager = member_area(club, built)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: manager.get_account("1"), range(8)))
    assert logins(club) == 1
    club.sessions.clear()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: manager.get_account("1"), range(8)))
    assert logins(club) == 2


def test_a_request_may_need_another_one_first(club: Club, built: Built) -> None:
    """And what that one must give, and does not, is nothing to go on with."""
    first = 'first = [{ path = "/session/token", take = { token = "token" } }]\n'
    patch = section("set_nickname")
    manager = built((patch, patch.replace("{nickname}", "{nickname} {token}") + "\n" + first))
    manager.create_account(ADA)
    club.answer = lambda _, path: (200, {"token": "t-1"}, {}) if "token" in path else None
    with pytest.raises(Invalid, match="is called 'Countess t-1'"):
        manager.set_nickname("2", "Countess")
    club.answer = lambda _, path: (200, {}, {}) if "token" in path else None
    with pytest.raises(Transient, match="has nothing for token"):
        manager.set_nickname("2", "Baroness")
