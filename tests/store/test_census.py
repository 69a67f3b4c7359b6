"""What every decision looks at, on SQLite and on PostgreSQL."""

from collections.abc import Iterable
from itertools import islice, product
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select

from svcctl.config.settings import Settings
from svcctl.model import AccountStatus, User, to_json
from svcctl.store import accounts as account_rows
from svcctl.store.census import (
    EVERYBODY,
    AccessRule,
    Selection,
    group_names,
    resolve,
    stream,
    validate_candidates,
)
from svcctl.store.database import Database
from svcctl.store.dossier import as_hooks_see
from svcctl.store.tables import accounts, groups, memberships, users

MOMENT = "2026-01-01T00:00:00Z"
BEFORE = "2025-12-31T23:59:59Z"
AFTER = "2026-01-01T00:00:01Z"


def add_users(connection: Connection, names: Iterable[str], **columns: Any) -> list[int]:
    """Their ids, in the order of the names."""
    rows = [
        {"username": name, "created_at": MOMENT, "updated_at": MOMENT, **columns} for name in names
    ]
    connection.execute(insert(users), rows)
    found = dict(connection.execute(select(users.c.username, users.c.id)).all())
    return [found[row["username"]] for row in rows]


def add_group(
    connection: Connection, name: str, members: Iterable[int], *, out: Iterable[int] = ()
) -> None:
    """A group of members, and of users whom an operator keeps out of it."""
    connection.execute(insert(groups).values(name=name))
    group_id = connection.scalar(select(groups.c.id).where(groups.c.name == name))
    rows = [{"user_id": id_, "group_id": group_id, "present": True} for id_ in members]
    rows += [{"user_id": id_, "group_id": group_id, "present": False} for id_ in out]
    if rows:
        connection.execute(insert(memberships), rows)


def add_accounts(
    connection: Connection, service: str, ids: Iterable[int], **columns: Any
) -> dict[int, int]:
    """Active accounts; their row ids by user."""
    rows = [
        {
            "service": service,
            "user_id": id_,
            "status": "active",
            "uid": f"u{id_}",
            "name": f"n{id_}",
            "created_at": MOMENT,
            "updated_at": MOMENT,
            **columns,
        }
        for id_ in ids
    ]
    if rows:
        connection.execute(insert(accounts), rows)
    return {row.user_id: row.id for row in account_rows.find(connection, service=service) if row.id}


def test_users_come_in_order_with_their_groups_and_accounts(database: Database) -> None:
    count = 4500  # more than two pages of the server's cursor
    with database.write() as connection:
        ids = add_users(connection, (f"user{number}" for number in range(count)))
        add_group(connection, "even", ids[::2], out=ids[1::2])
        add_group(connection, "tenth", ids[::10])
        add_accounts(connection, "chat", ids[::3])
        add_accounts(connection, "wiki", reversed(ids[1::4]))
    with database.read() as connection:
        found = list(stream(connection, None, ("chat", "wiki")))
    assert [user.id for user, _ in found] == ids
    assert ids == sorted(ids)
    for number, (user, rows) in enumerate(found):
        expected = {"even"} if number % 2 == 0 else set()
        expected |= {"tenth"} if number % 10 == 0 else set()
        assert user.groups == expected
        services = ["chat"] if number % 3 == 0 else []
        services += ["wiki"] if number % 4 == 1 else []
        assert [row[1] for row in rows] == services
        assert all(row[0] == user.id for row in rows)


def test_a_user_has_the_types_that_hooks_rely_on(database: Database) -> None:
    with database.write() as connection:
        (ada,) = add_users(
            connection,
            ["ada"],
            state="Member",
            superuser=True,
            attributes=to_json({"email": "ada@x", "level": 3, "tags": ["a", "ü"]}),
        )
        (eve,) = add_users(connection, ["eve"], active=False)
    with database.read() as connection:
        found = [user for user, _ in stream(connection, None, ())]
    about = {"email": "ada@x", "level": 3, "tags": ["a", "ü"]}
    assert found == [
        User(ada, "ada", state="Member", attributes=about, superuser=True),
        User(eve, "eve", active=False),
    ]
    assert [(user.active, user.superuser) for user in found] == [(True, True), (False, False)]
    assert all(type(user.active) is type(user.superuser) is bool for user in found)


def test_any_number_of_chosen_users_comes_in_order(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("svcctl.store.census._FETCH", 20)
    with database.write() as connection:
        ids = add_users(connection, (f"user{number:03}" for number in range(120)))
        add_group(connection, "all", ids)
        add_accounts(connection, "chat", ids)
    with database.read() as connection:
        for count in (0, 1, 19, 20, 21, 40, 41, 100):
            chosen = ids[5 : 5 + count]
            found = list(stream(connection, frozenset(chosen), ("chat",)))
            assert [user.id for user, _ in found] == chosen
            assert [row[0] for _, rows in found for row in rows] == chosen
            assert all(user.groups == {"all"} for user, _ in found)


def test_chosen_users_of_more_than_one_page(database: Database) -> None:
    with database.write() as connection:
        ids = add_users(connection, (f"user{number:04}" for number in range(2100)))
        add_group(connection, "even", ids[::2])
    with database.read() as connection:
        found = list(stream(connection, frozenset(ids[20:]), ("chat",)))
    assert [user.id for user, _ in found] == ids[20:]
    assert [bool(user.groups) for user, _ in found] == [True, False] * 1040


def test_only_the_accounts_of_the_services_asked_for_come_along(database: Database) -> None:
    with database.write() as connection:
        ada, bob = add_users(connection, ["ada", "bob"])
        for service in ("chat", "lab", "wiki"):
            add_accounts(connection, service, [ada])
        add_accounts(connection, "wiki", [bob], status="absent", uid=None)

    def services(*asked: str) -> list[list[str]]:
        with database.read() as connection:
            return [[row[1] for row in rows] for _, rows in stream(connection, None, asked)]

    assert services("chat", "wiki") == [["chat", "wiki"], ["wiki"]]
    assert services("lab") == [["lab"], []]
    assert services("other") == [[], []]
    assert services() == [[], []]


def test_a_row_is_an_account(database: Database) -> None:
    with database.write() as connection:
        (ada,) = add_users(connection, ["ada"])
        ids = add_accounts(
            connection,
            "chat",
            [ada],
            status="disabled",
            groups='["a","ü"]',
            nickname="[X] Ada",
            data='{"n":1}',
            disabled_at=MOMENT,
            pin="by hand",
        )
    with database.read() as connection:
        ((_, (row,)),) = stream(connection, None, ("chat",))
        account = account_rows.from_row(row)
    assert account.id == ids[ada]
    assert (account.status, account.disabled_at) == (AccountStatus.DISABLED, MOMENT)
    assert account.groups == {"a", "ü"}
    assert account.nickname == "[X] Ada"
    assert (account.uid, account.data, account.pin) == (f"u{ada}", {"n": 1}, "by hand")


def test_states_of_changed_rules_override_the_stored_ones(database: Database) -> None:
    with database.write() as connection:
        ada, bob = add_users(connection, ["ada", "bob"], state="Guest")
    with database.read() as connection:
        found = {
            user.id: user.state for user, _ in stream(connection, None, (), states={ada: "Member"})
        }
        members = resolve(connection, Selection(state="Member"), states={ada: "Member"})
        guests = resolve(connection, Selection(state="Guest"), states={ada: "Member"})
    assert found == {ada: "Member", bob: "Guest"}
    assert members == frozenset({ada})
    assert guests == frozenset({bob})


def test_more_combinations_of_groups_than_are_remembered(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("svcctl.store.census._REMEMBERED", 2)
    with database.write() as connection:
        ids = add_users(connection, (f"user{number}" for number in range(16)))
        for bit in range(4):
            add_group(connection, f"g{bit}", [id_ for id_ in ids if (id_ - ids[0]) >> bit & 1])
    with database.read() as connection:
        found = [user.groups for user, _ in stream(connection, None, ())]
    assert found == [{f"g{bit}" for bit in range(4) if n >> bit & 1} for n in range(16)]


def test_a_stream_can_be_left_and_begun_anew(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("svcctl.store.census._FETCH", 20)
    with database.write() as connection:
        ids = add_users(connection, (f"user{number:04}" for number in range(50)))
        add_group(connection, "all", ids)
        add_accounts(connection, "chat", ids)
    with database.read() as connection:
        for _ in range(3):
            left = stream(connection, None, ("chat",))
            assert [user.id for user, _ in islice(left, 3)] == ids[:3]
            left.close()  # type: ignore[attr-defined]
        first, second = stream(connection, None, ("chat",)), stream(connection, None, ())
        assert [(one[0].id, two[0].id) for one, two in zip(first, second, strict=True)] == [
            (id_, id_) for id_ in ids
        ]


def test_a_stream_sees_the_moment_at_which_reading_began(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("svcctl.store.census._FETCH", 20)
    with database.write() as connection:
        ids = add_users(connection, (f"user{number:04}" for number in range(50)))
    with database.read() as connection:
        found = stream(connection, None, ("chat",))
        next(found)
        with database.write() as other:
            (late,) = add_users(other, ["late"])
            add_accounts(other, "chat", [*ids, late])
        rest = list(found)
    assert [user.id for user, _ in rest] == ids[1:]
    assert not any(rows for _, rows in rest)


def test_a_selection_narrows_by_everything_it_names(database: Database) -> None:
    with database.write() as connection:
        ada, bob, eve = add_users(connection, ["ada", "bob", "eve"], state="Member")
        (gus,) = add_users(connection, ["gus"], state="Guest")
        add_group(connection, "staff", [ada, gus], out=[bob])
        add_group(connection, "empty", [])
    everyone = frozenset({ada, bob, eve, gus})
    cases: list[tuple[Selection, set[int] | None]] = [
        (EVERYBODY, None),
        (Selection(user_ids=frozenset()), set()),
        (Selection(user_ids=frozenset({ada})), {ada}),
        (Selection(user_ids=frozenset({ada, gus}), state="Member"), {ada}),
        (Selection(state="Member"), {ada, bob, eve}),
        (Selection(state="Nobody"), set()),
        (Selection(group="staff"), {ada, gus}),
        (Selection(group="empty"), set()),
        (Selection(group="unknown"), set()),
        (Selection(state="Member", group="staff"), {ada}),
        (Selection(user_ids=frozenset({gus, eve}), group="staff"), {gus}),
        (Selection(user_ids=everyone, state="Guest", group="staff"), {gus}),
    ]
    with database.read() as connection:
        assert [resolve(connection, selection) for selection, _ in cases] == [
            expected for _, expected in cases
        ]


def test_all_names_of_groups(database: Database) -> None:
    with database.write() as connection:
        for name in ("b", "ä", "A"):
            add_group(connection, name, [])
    with database.read() as connection:
        assert set(group_names(connection).values()) == {"A", "b", "ä"}


RULES = {
    "nobody": AccessRule(frozenset(), frozenset(), frozenset()),
    "states": AccessRule(frozenset({"Member", "Blue"}), frozenset(), frozenset()),
    "groups": AccessRule(frozenset(), frozenset({"staff", "unknown"}), frozenset()),
    "users": AccessRule(
        frozenset(), frozenset(), frozenset(f"user{number}" for number in range(0, 480, 3))
    ),
}
RULES["all ways"] = AccessRule(
    RULES["states"].states, RULES["groups"].groups, frozenset({"user0", "user7", "user299"})
)
GRACE = {"for ever": (None, False), "over at a moment": (MOMENT, False), "none": (MOMENT, True)}


CASES = list(
    product(
        (True, False),
        ("Member", "Guest"),
        ("in", "out", "no row"),
        (
            ("active", None),
            ("disabled", BEFORE),
            ("disabled", MOMENT),
            ("disabled", AFTER),
            ("disabled", None),
            ("absent", None),
            ("no account", None),
        ),
        (None, "by hand"),
    )
)


def add_cases(connection: Connection) -> list[int]:
    """Users `user0`, `user1`, … as the cases say; everybody has an account elsewhere as well."""
    moments = {"created_at": MOMENT, "updated_at": MOMENT}
    connection.execute(
        insert(users),
        [
            {"username": f"user{number}", "active": active, "state": state, **moments}
            for number, (active, state, *_) in enumerate(CASES)
        ],
    )
    ids = list(connection.scalars(select(users.c.id).order_by(users.c.id)))
    members = {
        way: [id_ for id_, case in zip(ids, CASES, strict=True) if case[2] == way]
        for way in ("in", "out")
    }
    add_group(connection, "staff", members["in"], out=members["out"])
    add_group(connection, "others", ids)
    add_accounts(connection, "elsewhere", ids)
    connection.execute(
        insert(accounts),
        [
            {
                "service": "chat",
                "user_id": id_,
                "status": status,
                "disabled_at": since,
                "pin": pin,
                "uid": None if status == "absent" else f"u{id_}",
                **moments,
            }
            for id_, (*_, (status, since), pin) in zip(ids, CASES, strict=True)
            if status != "no account"
        ],
    )
    return ids


@pytest.fixture
def cases(database: Database) -> list[int]:
    with database.write() as connection:
        return add_cases(connection)


def test_candidates_are_those_whose_access_and_account_disagree(
    database: Database, cases: list[int]
) -> None:
    for (way, rule), (grace, (grace_until, graceless)) in product(RULES.items(), GRACE.items()):
        expected = []
        for number, (active, state, member, (status, since), pin) in enumerate(CASES):
            allowed = active and (
                state in rule.states
                or f"user{number}" in rule.users
                or (member == "in" and "staff" in rule.groups)
            )
            over = graceless or (
                grace_until is not None and since is not None and since <= grace_until
            )
            if pin is None and (
                (status == "active" and not allowed) or (status == "disabled" and (allowed or over))
            ):
                expected.append(cases[number])
        with database.read() as connection:
            found = validate_candidates(
                connection, "chat", rule, grace_until=grace_until, graceless=graceless
            )
        assert (way, grace, found) == (way, grace, expected)
        assert expected


def test_candidates_of_a_service_that_nobody_uses(database: Database) -> None:
    with database.write() as connection:
        add_users(connection, ["ada"])
    with database.read() as connection:
        found = [
            validate_candidates(connection, "new", rule, grace_until=MOMENT, graceless=graceless)
            for rule in RULES.values()
            for graceless in (True, False)
        ]
    assert found == [[]] * len(found)


def test_a_dossier_is_by_the_rules_of_this_moment(database: Database) -> None:
    rules = Settings.model_validate(
        {"states": {"Member": {"priority": 9, "groups": ["staff"]}}}
    ).state_rules()
    with database.write() as connection:
        ada, bob = add_users(connection, ["ada", "bob"], state="Old")
        add_group(connection, "staff", [ada], out=[bob])
    with database.read() as connection:
        found = [as_hooks_see(connection, id_, rules) for id_ in (ada, bob)]
    assert [user.state for user in found] == ["Member", "Guest"]
    assert [user.groups for user in found] == [{"staff"}, set()]
