"""The short ways through the accounts decide as the hooks do.

SQL pre-selects for `validate`, a sieve for the other tasks; here each random world is planned both
with them and by asking the hooks about everybody. SVCCTL_EXAMPLES gives the number of worlds.
"""

import os
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, insert

from svcctl.clock import now, stamp
from svcctl.config.service import HookConfig
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import VERBS, Manager
from svcctl.model import to_json
from svcctl.names import NameRule
from svcctl.runs.planner import Planner
from svcctl.store.database import Database
from svcctl.store.tables import accounts, groups, memberships, metadata, users
from svcctl.tasks.task import SYNC, SYNC_NICKNAME, UPDATE_GROUPS, VALIDATE, Task

TASKS = (VALIDATE, SYNC, UPDATE_GROUPS, SYNC_NICKNAME)
USERS = ("ada", "bob", "root", "Eve")
GROUPS = ("staff", "pilots", "x", "fc")
STATES = ("", "Member", "Blue", "Guest")
MAPPED = ("Staff", "Pilots", "kept", "Member", *GROUPS)
NOW = now().replace(microsecond=0)
MOMENTS = tuple(stamp(NOW - timedelta(days=days)) for days in (-1, 0, 10, 30, 400))


def manager_of(*lacking: str) -> type[Manager]:
    """A manager that defines every verb but these."""

    def act(*_: Any) -> Any:
        raise AssertionError("planning acts on nothing")

    verbs = dict.fromkeys(VERBS - set(lacking), act)
    return type("AnyManager", (Manager,), verbs)


class EverythingHook(ServiceHook):
    manager_class = manager_of()


class NeitherNamesNorGroupsHook(ServiceHook):
    manager_class = manager_of("set_nickname", "change_groups")


class DeleteOnlyHook(ServiceHook):
    manager_class = manager_of("disable_account", "enable_account")


class UncreatableHook(ServiceHook):
    manager_class = manager_of("create_account")


class PickyHook(ServiceHook):
    """Rules that refuse some names."""

    manager_class = manager_of()
    username_rule = NameRule(case_sensitive=False, min_length=3, lower=True)
    nickname_rule = NameRule(min_length=0, reserved=frozenset({"root", "X"}))
    group_rule = NameRule(min_length=2, replace={"f": "F"})
    name_format = "{character_name}"


HOOKS = (EverythingHook, NeitherNamesNorGroupsHook, DeleteOnlyHook, UncreatableHook, PickyHook)


def some(words: tuple[str, ...]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(words), unique=True, max_size=len(words))


REMOVALS = st.sampled_from(
    [
        None,
        "disable",
        "delete",
        {"mode": "disable", "delete_after": "30d"},
        {"mode": "disable", "delete_after": "0s"},
        # longer than any calendar reaches back
        {"mode": "disable", "delete_after": "900000d"},
    ]
)
FORMATS = st.sampled_from(
    [None, "{character_name}", "[{corp_ticker}] {username}", "{alliance_or_corp_ticker}", "X"]
)
GROUP_TABLES = st.fixed_dictionaries(
    {},
    optional={
        "map": st.dictionaries(
            st.sampled_from((*GROUPS, *STATES[1:])),
            st.one_of(st.sampled_from(MAPPED), some(MAPPED).map(tuple)),
            max_size=3,
        ),
        "include": some(GROUPS),
        "exclude": some(GROUPS),
        "reserved": some(MAPPED),
        "state": st.booleans(),
        "enabled": st.booleans(),
    },
)
SERVICES = st.tuples(
    st.sampled_from(HOOKS),
    st.fixed_dictionaries(
        {
            "access": st.fixed_dictionaries(
                {},
                optional={
                    "states": some(STATES[1:]),
                    "groups": some(GROUPS),
                    "users": st.sampled_from([["ada"], ["bob", "root"]]),
                },
            ),
            "removal": REMOVALS,
            "create": st.sampled_from(["auto", "manual"]),
            "groups": GROUP_TABLES,
            "name_format": FORMATS,
            "name_formats": st.dictionaries(
                st.sampled_from(STATES[1:]), FORMATS.filter(bool), max_size=2
            ),
            "default_to_username": st.booleans(),
            "sync_names": st.booleans(),
        }
    ),
)
ACCOUNTS = st.fixed_dictionaries(
    {
        "status": st.sampled_from(["active", "active", "disabled", "absent"]),
        "disabled_at": st.sampled_from((None, *MOMENTS)),
        "pin": st.sampled_from([None, None, None, "held by ada"]),
        "groups": some(MAPPED),
        "nickname": st.sampled_from(["", "ada", "Ada L", "X", "[GEAR] bob"]),
    }
)
PEOPLE = st.fixed_dictionaries(
    {
        "active": st.sampled_from([True, True, False]),
        "removed": st.sampled_from([False, False, False, True]),
        "missing": st.sampled_from([0, 0, 1, 2]),
        "state": st.sampled_from(STATES),
        "groups": st.dictionaries(st.sampled_from(GROUPS), st.booleans(), max_size=4),
        "attributes": st.fixed_dictionaries(
            {},
            optional={
                "character_name": st.sampled_from(["Ada L", "X", "root", "", "  "]),
                "corp_ticker": st.sampled_from(["GEAR", "", 7, None]),
                "alliance_ticker": st.sampled_from(["ALL", None]),
            },
        ),
        "accounts": st.tuples(ACCOUNTS, st.none() | ACCOUNTS),
    }
)
WORLDS = st.tuples(
    st.lists(SERVICES, min_size=1, max_size=2),
    st.lists(PEOPLE, min_size=2, max_size=len(USERS)),
    st.sampled_from([None, None, None, {1: "Blue", 2: "Member"}]),
)

database = Database("sqlite://")
with database.write() as _connection:
    metadata.create_all(_connection)


def build(connection: Connection, people: list[dict[str, Any]], services: list[str]) -> None:
    for table in (accounts, memberships, users, groups):
        connection.execute(delete(table))
    connection.execute(insert(groups), [{"id": n, "name": g} for n, g in enumerate(GROUPS, 1)])
    moments = {"created_at": MOMENTS[-1], "updated_at": MOMENTS[-1]}
    for id_, person in enumerate(people, 1):
        gone = person["removed"] or person["missing"] == 2
        connection.execute(
            insert(users).values(
                id=id_,
                username=USERS[id_ - 1],
                enabled=person["active"],
                active=person["active"] and not gone,
                missing_pulls=person["missing"],
                removed_at=MOMENTS[-1] if person["removed"] else None,
                state=person["state"],
                attributes=to_json(person["attributes"]),
                **moments,
            )
        )
        for name, present in person["groups"].items():
            connection.execute(
                insert(memberships).values(
                    user_id=id_, group_id=GROUPS.index(name) + 1, present=present
                )
            )
        for service, account in zip(services, person["accounts"], strict=False):
            if account is not None:
                live = account["status"] != "absent"
                connection.execute(
                    insert(accounts).values(
                        user_id=id_,
                        service=service,
                        status=account["status"],
                        uid=f"{service}-{id_}" if live else None,
                        name=USERS[id_ - 1],
                        name_key=USERS[id_ - 1].lower(),
                        groups=to_json(set(account["groups"])),
                        nickname=account["nickname"],
                        disabled_at=account["disabled_at"]
                        if account["status"] == "disabled"
                        else None,
                        pin=account["pin"],
                        **moments,
                    )
                )


def planned(
    connection: Connection,
    task: Task,
    hooks: dict[str, ServiceHook],
    states: dict[int, str] | None,
    *,
    shortcuts: bool,
) -> dict[str, Any]:
    able = {
        name: hook for name, hook in hooks.items() if all(hook.can(verb) for verb in task.needs)
    }
    planner = Planner(connection, task, None, able, states=states, shortcuts=shortcuts)
    planner.plan.at = stamp(NOW)
    plan = planner.make()
    return {
        "accounts": sorted(
            (one.account.service, one.username, one.account.id or 0, repr(one.operations))
            for one in plan.accounts
        ),
        "removals": sorted(
            (one.account.service, one.username) for one in plan.accounts if one.removal
        ),
        "problems": sorted(repr(problem) for problem in plan.problems),
    }


NOBODY: dict[str, Any] = {
    "active": True,
    "removed": False,
    "missing": 0,
    "state": "",
    "groups": {},
    "attributes": {},
    "accounts": [None, None],
}
DISABLED: dict[str, Any] = {
    "status": "disabled",
    "disabled_at": None,
    "pin": None,
    "groups": [],
    "nickname": "",
}
ACTIVE = {**DISABLED, "status": "active"}


@settings(
    max_examples=int(os.environ.get("SVCCTL_EXAMPLES", "200")),
    deadline=None,
    derandomize="SVCCTL_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(world=WORLDS)
@example(
    # an operator keeps the user out of the group that would grant access
    world=(
        [(EverythingHook, {"access": {"groups": ["staff"]}})],
        [{**NOBODY, "groups": {"staff": False}, "accounts": [ACTIVE, None]}],
        None,
    )
)
@example(
    # named, and not active
    world=(
        [(EverythingHook, {"access": {"users": ["ada"], "groups": ["staff"]}})],
        [{**NOBODY, "active": False, "groups": {"staff": True}, "accounts": [ACTIVE, None]}],
        None,
    )
)
@example(
    # disabled at a moment that nobody knows, on a service that has learnt to delete since
    world=(
        [(EverythingHook, {"removal": "delete"})],
        [{**NOBODY, "accounts": [DISABLED, None]}],
        None,
    )
)
@example(
    # disabled by a clock that was fast
    world=(
        [(EverythingHook, {"removal": "delete"})],
        [{**NOBODY, "accounts": [{**DISABLED, "disabled_at": MOMENTS[0]}, None]}],
        None,
    )
)
@example(
    world=(
        [(EverythingHook, {"removal": {"mode": "disable", "delete_after": "900000d"}})],
        [{**NOBODY, "accounts": [{**DISABLED, "disabled_at": MOMENTS[-1]}, None]}],
        None,
    )
)
def test_short_ways_and_decisions_give_the_same_operations(world: Any) -> None:
    services, people, states = world
    hooks: dict[str, ServiceHook] = {}
    for number, (hook, table) in enumerate(services):
        name = f"s{number}"
        hooks[name] = hook(name, HookConfig.model_validate({"hook": "any", **table}))
        hooks[name].now = NOW
    with database.write() as connection:
        build(connection, people, list(hooks))
        for task in TASKS:
            short = planned(connection, task, hooks, states, shortcuts=True)
            long = planned(connection, task, hooks, states, shortcuts=False)
            assert short == long, task.name
