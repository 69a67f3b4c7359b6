"""`adopt` links accounts that exist already, where there is no doubt whose they are."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from engine_world import World, lab  # type: ignore[import-not-found]

from svcctl.hooks.manager import NewAccount
from svcctl.runs.engine import current_actor

Build = Callable[..., World]
MAPPED = 'groups.map = { staff = "staff", fc = "commanders" }\npage_size = 3\n'


def there(w: World, name: str, key: str = "", **attributes: Any) -> str:
    """An account that exists already; its uid."""
    new = NewAccount(name, key or f"theirs: {name}", "pw", attributes)
    return str(w.sandbox().create_account(new).uid)


def put_in(w: World, name: str, *groups: str) -> None:
    w.sandbox().change_groups(w.remote()[name].uid, frozenset(groups), frozenset())


def adopted(w: World, *words: str, code: int = 0) -> dict[str, Any]:
    """What adopt says, while nothing is changed on the service; all formats say the same."""
    calls = w.calls()
    preview = w.svcctl("adopt", "lab", *words, "--dry-run", "--format", "csv")
    exit_code, document = w.run("adopt", "lab", *words)
    assert isinstance(document, dict)
    assert exit_code == code, document
    assert len(preview.stdout.splitlines()) == 1 + len(document["accounts"])
    assert w.calls() == calls
    return document


def told(document: dict[str, Any]) -> dict[str, tuple[str | None, str, str]]:
    return {
        one["account"]: (one["user"], one["result"], one["reason"]) for one in document["accounts"]
    }


@pytest.fixture
def club(world: Build) -> World:
    """People without accounts, and accounts without people."""
    w = world(lab(more=MAPPED))
    for name in ("ada", "bob", "cyd", "dan", "eve"):
        w.people([name], "staff", attributes={"email": f"{name}@Example.org"})
    return w


# By rules


def test_it_shows_then_links_and_records_and_nothing_is_left_to_do(club: World) -> None:
    w = club
    there(w, "countess", email="ada@example.ORG")
    there(w, "bob")
    there(w, "stranger", email="zoe@example.org")
    for name in ("countess", "bob"):
        put_in(w, name, "staff", "vip")
        w.sandbox().set_nickname(w.remote()[name].uid, {"countess": "ada"}.get(name, name))
    before = w.rows("SELECT * FROM accounts")
    words = ("adopt", "lab", "--by", "email", "--by", "name")

    shown = w.svcctl(*words)
    assert (shown.exit_code, w.rows("SELECT * FROM accounts")) == (2, before)
    assert [line.split() for line in shown.stdout.splitlines()] == [
        ["account", "user", "by", "result", "reason"],
        ["countess", "ada", "email", "planned"],
        ["bob", "bob", "name", "planned"],
    ]
    assert "--yes" in shown.stderr

    document = adopted(w, *words[2:], "--yes")
    assert document["counts"] == {
        "linked": 2,
        "planned": 0,
        "left": 0,
        "before": 0,
        "strangers": 1,
    }
    assert {name: row["name"] for name, row in w.accounts().items()} == {
        "ada": "countess",
        "bob": "bob",
    }
    assert w.accounts()["ada"]["groups"] == '["staff"]'
    assert w.rows("SELECT command, actor, exit_code FROM runs")[-1] == {
        "command": "adopt lab --by email --by name",
        "actor": current_actor(),
        "exit_code": 0,
    }
    history = w.run("history", "ada")[1]["rows"]
    assert [(one["operation"], one["status"], one["reason"]) for one in history] == [
        ("link_account", "done", "adopted: recognised by email")
    ]
    code, plan = w.run("plan", "ada", "bob")
    assert (code, plan["operations"]) == (0, [])
    assert w.svcctl("drift", "lab", "--check").exit_code == 0
    assert adopted(w, *words[2:], "--yes")["counts"]["before"] == 2
    w.sound()


def test_a_person_is_asked_on_a_terminal(club: World, monkeypatch: pytest.MonkeyPatch) -> None:
    w = club
    monkeypatch.setenv("NO_COLOR", "1")
    there(w, "ada")
    no = w.svcctl("adopt", "lab", "--by", "name", stdin="n\n")
    assert (no.exit_code, w.accounts()) == (1, {})
    assert "nothing was linked" in no.stderr
    yes = w.svcctl("adopt", "lab", "--by", "name", stdin="y\n")
    assert yes.exit_code == 0, yes.stderr
    assert "lab: 1 accounts were linked" in yes.stderr
    assert w.status()["ada"] == "active"


@pytest.mark.parametrize(
    ("rule", "account"),
    [
        ("external-id", {"key": "svcctl:1"}),
        ("external-id", {"key": "hr-17"}),
        ("external-id:desk", {"key": "D4"}),
        ("uid:sandbox_uid", {}),
        ("name:login", {"name": "lovelace"}),
        ("name", {"name": "ada"}),
        ("email", {"email": ["x@example.org", "ada@EXAMPLE.org"]}),
        ("attribute:desk", {"desk": "D4"}),
    ],
)
def test_every_rule_recognises_exactly_its_user(
    world: Build, rule: str, account: dict[str, Any]
) -> None:
    top = 'directory.attributes = ["desk", "login", "sandbox_uid"]\n'
    w = world(lab(more=MAPPED), top=top)
    mine = {"email": "ada@example.org", "desk": "D4", "login": "lovelace"}
    w.people(["ada"], "staff", attributes={**mine, "sandbox_uid": "sb-000001"}, source_id="hr-17")
    w.people(["bob"], "staff", attributes={"email": "Ada@example.org", "desk": "d4"})
    there(w, **{"name": "somebody", "key": "else", **account})
    there(w, "nobody", "hr-170", email="ada@example.com", desk="D40")
    document = adopted(w, "--by", rule, "--yes")
    assert [(one["user"], one["uid"]) for one in document["accounts"]] == [("ada", "sb-000001")]
    assert w.status() == {"ada": "active"}


@pytest.mark.parametrize("rule", ["mail", "attribute", "attribute:", "attribute:shoe", "email:x"])
def test_a_rule_that_is_none_is_refused(club: World, rule: str) -> None:
    done = club.svcctl("adopt", "lab", "--by", rule)
    assert done.exit_code == 2
    assert "--by" in done.stderr
    assert club.svcctl("adopt", "lab").exit_code == 2


def test_a_rule_that_the_service_cannot_tell_is_said(club: World) -> None:
    there(club, "ada")
    done = club.svcctl("adopt", "lab", "--by", "email", "--dry-run")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "lab: no account shows what email compares" in done.stderr


# Where there is doubt


def test_what_is_doubtful_is_left_alone_with_the_reason(world: Build) -> None:
    w = world(lab(more=MAPPED))
    mail = {"email": "team@example.org"}
    w.people(["ada", "bob"], "staff", attributes=mail)
    w.people(["cyd", "dan", "eve", "fay", "gus"], "staff")
    w.people(["hal"])
    assert w.svcctl("accounts", "create", "fay", "--service", "lab").exit_code == 0
    there(w, "team", email="team@example.org")
    for name, key in (("cyd", "x"), ("cyd 2", f"svcctl:{_id(w, 'cyd')}")):
        there(w, name, key)
    for name in ("ada", "hal", "eve"):
        there(w, name)
    there(w, "fay too", f"svcctl:{_id(w, 'fay')} ")
    there(w, "dan 1", email=["dan@example.org"])
    there(w, "dan 2", email=["dan@example.org"])
    w.site.execute("""UPDATE users SET attributes = '{"email":"dan@example.org"}' WHERE id = 4""")
    w.site.execute("""UPDATE users SET attributes = '{"email":"fay@example.org"}' WHERE id = 6""")
    there(w, "faye", email="fay@example.org")
    w.site.execute(
        "INSERT INTO accounts (user_id, service, status, pin, created_at, updated_at)"
        " VALUES (5, 'lab', 'absent', 'unlinked by root', '', '')"
    )
    document = adopted(w, "--by", "external-id", "--by", "email", "--by", "name", "--yes")
    assert told(document) == {
        "cyd 2": ("cyd", "linked", ""),
        "cyd": ("cyd", "left", "by external-id that of cyd is cyd 2"),
        "team": (None, "left", "by email it is that of ada, bob"),
        "ada": ("ada", "left", "by email that of ada is team"),
        "dan 1": ("dan", "left", "by email dan has several: dan 1, dan 2"),
        "dan 2": ("dan", "left", "by email dan has several: dan 1, dan 2"),
        "eve": ("eve", "left", "eve is to have none: unlinked by root"),
        "faye": ("fay", "left", "fay has the account fay already"),
        "hal": ("hal", "left", "hal may not have one: state Guest is not in access.states"),
    }
    assert document["counts"]["strangers"] == 1
    assert {name for name, status in w.status().items() if status == "active"} == {"cyd", "fay"}
    w.sound()


def _id(w: World, name: str) -> int:
    (row,) = w.rows("SELECT id FROM users WHERE username = :name", name=name)
    return int(row["id"])


def test_an_account_of_somebody_else_is_said_and_stays_theirs(club: World) -> None:
    w = club
    there(w, "countess", email="ada@example.org")
    uid = w.remote()["countess"].uid
    done = w.svcctl("accounts", "link", "bob", "--service", "lab", "--uid", uid)
    assert done.exit_code == 0, done.stderr
    document = adopted(w, "--by", "email", "--yes")
    assert told(document) == {"countess": ("ada", "left", "is linked to bob")}


def test_names_that_differ_in_case_only_are_not_told_apart(world: Build) -> None:
    w = world(lab(hook="engine_hooks:CaselessHook"))
    w.people(["Ada", "Bob"], "staff", attributes={})
    w.people(["cyd"], "staff", attributes={"email": "cyd@example.org"})
    w.people(["dan"], "staff", attributes={"email": "dan@example.org"})
    there(w, "ADA")
    there(w, "bob")
    there(w, "BOB")
    there(w, "X", email="cyd@example.org")
    there(w, "x", email="dan@example.org")
    document = adopted(w, "--by", "email", "--by", "name", "--yes")
    assert told(document) == {
        "ADA": ("Ada", "linked", ""),
        "bob": ("Bob", "left", "by name Bob has several: BOB, bob"),
        "BOB": ("Bob", "left", "by name Bob has several: BOB, bob"),
        "X": ("cyd", "left", "its name is the same as that of x"),
        "x": ("dan", "left", "its name is the same as that of X"),
    }
    w.people(["ada "], "staff", attributes={"email": "ada2@example.org"})
    there(w, "aDa", email="ada2@example.org")
    document = adopted(w, "--by", "email", "--yes")
    assert told(document)["aDa"] == (
        "ada ",
        "left",
        "its name is the same as that of Ada's account",
    )


def test_a_removed_user_is_recognised_in_nothing(club: World) -> None:
    w = club
    there(w, "ada")
    assert w.svcctl("users", "remove", "ada").exit_code == 0
    assert adopted(w, "--by", "name", "--yes")["counts"]["strangers"] == 1


# What is found there


def test_groups_that_were_given_by_hand_stay_and_a_disabled_account_stays_so(club: World) -> None:
    w = club
    for name in ("ada", "bob", "cyd"):
        there(w, name)
        put_in(w, name, "staff", "commanders", "vip")
    w.sandbox().disable_account(w.remote()["bob"].uid)
    document = adopted(w, "--by", "name", "--yes")
    excess = "in commanders as well, which update-all-groups would end"
    assert told(document) == {
        "ada": ("ada", "linked", excess),
        "cyd": ("cyd", "linked", excess),
        "bob": (
            "bob",
            "linked",
            f"disabled there: stays so until it is enabled here; {excess}",
        ),
    }
    assert w.run("sync", "--all")[0] == 0
    remote = w.remote()
    for name in ("ada", "bob", "cyd"):
        assert remote[name].groups == {"staff", "commanders", "vip"}
    assert [remote[name].active for name in ("ada", "bob", "cyd")] == [True, False, True]
    assert w.svcctl("accounts", "enable", "bob").exit_code == 0
    assert w.remote()["bob"].active
    assert w.run("update-all-groups")[0] == 0
    assert w.remote()["ada"].groups == {"staff", "vip"}
    assert w.svcctl("drift", "--check").exit_code == 0


def test_groups_that_are_not_listed_are_read_one_by_one(world: Build) -> None:
    w = world(lab(hook="engine_hooks:SlowListHook", more=MAPPED))
    w.people(["ada"], "staff")
    there(w, "ada")
    there(w, "stranger")
    put_in(w, "ada", "staff")
    assert told(adopted(w, "--by", "name", "--yes")) == {"ada": ("ada", "linked", "")}
    assert w.accounts()["ada"]["groups"] == '["staff"]'


# When something is wrong


@pytest.mark.parametrize("fault", ["incomplete@2", "transient", "denied"])
def test_a_listing_that_breaks_off_recognises_nobody(club: World, fault: str) -> None:
    w = club
    for name in ("ada", "bob", "cyd", "dan", "eve", "stranger", "other"):
        there(w, name)
    w.sandbox().break_method("list_accounts", fault)
    done = w.svcctl("adopt", "lab", "--by", "name", "--yes")
    assert (done.exit_code, done.stdout) == (5 if "incomplete" in fault else 1, "")
    assert w.accounts() == {}
    assert w.rows("SELECT * FROM runs") == []


def test_killed_in_the_middle_nobody_is_adopted_and_the_next_time_everybody(club: World) -> None:
    w = club
    for name in ("ada", "bob"):
        there(w, name)
    words = ("adopt", "lab", "--by", "name", "--yes")
    assert w.start(*words, code=DIES).wait() == -9
    assert (w.accounts(), w.rows("SELECT * FROM runs")) == ({}, [])
    assert w.svcctl(*words).exit_code == 0
    assert set(w.status()) == {"ada", "bob"}
    w.sound()


DIES = """
import signal
from svcctl.store import runs
runs.end = lambda *_, **__: signal.raise_signal(signal.SIGKILL)
"""


def test_what_changed_while_somebody_thought_about_it_is_not_linked(
    club: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = club
    for name in ("ada", "bob", "cyd", "dan"):
        there(w, name)
    remote = w.remote()

    def meanwhile(_question: str) -> bool:
        link = ("accounts", "link", "eve", "--service", "lab", "--uid")
        assert w.svcctl(*link, remote["ada"].uid).exit_code == 0
        w.regroup(["bob"], out_of="staff")
        assert w.svcctl("accounts", "create", "cyd", "--service", "lab").exit_code == 1
        return True

    monkeypatch.setattr("svcctl.commands.adopt.ask", meanwhile)
    monkeypatch.setenv("NO_COLOR", "1")
    done = w.svcctl("adopt", "lab", "--by", "name", stdin="")
    assert done.exit_code == 0, done.stderr
    assert "2 accounts were linked" in done.stderr
    assert "bob was left alone: bob may not have one: " in done.stderr
    assert {n: row["name"] for n, row in w.accounts().items() if row["status"] == "active"} == {
        "eve": "ada",
        "cyd": "cyd",
        "dan": "dan",
    }
    w.sound()


def test_a_hook_that_fails_for_one_user_stops_nobody_else(world: Build) -> None:
    w = world(lab(hook="engine_hooks:MoodyHook", more=MAPPED))
    w.people(["ada", "bob"], "staff")
    there(w, "ada")
    there(w, "bob")
    document = adopted(w, "--by", "name", "--yes", code=1)
    assert told(document) == {
        "ada": ("ada", "linked", ""),
        "bob": ("bob", "left", "the hook could not decide about the user"),
    }
    assert "no main character" in document["problems"][0]["message"]


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (("adopt", "plain", "--by", "name"), 2, "NoPasswordManager cannot list accounts"),
        (("adopt", "none", "--by", "name"), 2, "no service 'none'"),
        (("adopt", "lab", "--by", "name"), 2, "lab: paused since"),
    ],
)
def test_a_service_that_cannot_be_adopted_from(
    world: Build, command: tuple[str, ...], code: int, said: str
) -> None:
    w = world(lab(), lab("plain", hook="engine_hooks:OverreachingHook", create="manual"))
    assert w.svcctl("services", "pause", "lab").exit_code == 0
    done = w.svcctl(*command)
    assert (done.exit_code, done.stdout) == (code, "")
    assert said in done.stderr


# Any site


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_there_the_next_plan_does_only_what_the_rules_justify(
    world: Build, seed: int
) -> None:
    """People and accounts at random; who may be linked is told by a simpler, slower way."""
    dice = random.Random(seed)
    w = world(lab(more=MAPPED))
    pool = [f"{name}@example.org" for name in "abcdef"]
    people = {}
    for number in range(12):
        mail = dice.choice([*pool, None])
        name = f"p{number}"
        people[name] = mail
        member = dice.choice([("staff",), ("staff", "fc"), ()])
        w.people([name], *member, attributes={"email": mail} if mail else {})
    made = dice.sample(list(people), 3)
    w.svcctl("accounts", "create", *made, "--service", "lab")
    had = {one.uid for one in w.remote().values()}
    for number in range(12):
        name = dice.choice([f"p{number}", f"x{number}"])
        if name in w.remote():
            continue
        mails = dice.sample(pool, dice.choice([0, 1, 1, 2]))
        uid = there(w, name, "", **({"email": mails} if mails else {}))
        put_in(w, name, *dice.sample(["staff", "commanders", "vip"], dice.randrange(4)))
        w.sandbox().set_nickname(uid, name)
        if dice.random() < 0.2:
            w.sandbox().disable_account(uid)
    rules = dice.choice([["email"], ["name"], ["email", "name"], ["name", "email"]])
    words = [word for rule in rules for word in ("--by", rule)]
    before = w.run("plan")[1]["operations"]
    accounts = w.accounts()
    remote = w.remote()

    document = adopted(w, *words, "--yes")
    linked = {
        name: row["uid"]
        for name, row in w.accounts().items()
        if row["uid"] and row["uid"] not in had
    }
    foreign = {one.uid: one for one in remote.values() if one.uid not in had}

    def says(rule: str, person: str, uid: str) -> bool:
        account = foreign[uid]
        if rule == "name":
            return bool(account.name == person)
        return people[person] in account.attributes.get("email", ())

    for person, uid in linked.items():
        rule = next(rule for rule in rules if any(says(rule, one, uid) for one in people))
        assert [one for one in people if says(rule, one, uid)] == [person]
        earlier = rules[: rules.index(rule) + 1]
        assert [
            other for other in foreign if any(says(each, person, other) for each in earlier)
        ] == [uid]
        assert person not in made
    counts = document["counts"]
    assert counts["linked"] == len(linked)
    assert counts["linked"] + counts["left"] + counts["strangers"] == len(foreign)

    now = w.accounts()
    assert {n: row for n, row in now.items() if n not in linked} == accounts
    after = w.run("plan")[1]["operations"]
    # Whoever would have got a name that is taken now gets none.
    taken = {foreign[uid].name for uid in linked.values()}
    others = [one for one in before if one["user"] not in {*linked, *taken}]
    assert [one for one in after if one["user"] not in linked] == others
    for one in after:
        if one["user"] in linked:
            assert one["operation"] in ("change_groups", "set_nickname"), one
            assert not one["args"].get("remove"), one
    assert w.run("sync", "--all")[0] in (0, 1)
    for uid in linked.values():
        account = {one.uid: one for one in w.remote().values()}[uid]
        assert account.active == foreign[uid].active
        assert (account.groups or set()) >= (foreign[uid].groups or set())
    w.sound()
