"""1,000 people on OpenLDAP and on a Samba domain, against a loop of ldap3 with the same writes.

The loop knows every DN and looks at nothing. Both are real servers, started here; whoever does not
have them (or for Samba is not root) is told so, and nothing is measured.
"""

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ldap3
import pytest

from benchmarks.measure import Row, in_turn
from benchmarks.site import GROUPS, build, of
from svcctl.config.load import load
from svcctl.hooks.registry import load_hooks
from svcctl.ldap import connection as connections
from svcctl.runs.engine import Options, Site
from svcctl.runs.engine import run as run_task
from svcctl.store.census import EVERYBODY
from svcctl.store.database import Database
from svcctl.tasks.task import SYNC, UPDATE_ALL_GROUPS, Task
from tests.live.ldap_servers import PASSWORD, SERVERS, Directory

PEOPLE = 1000
PER_USER = 2
SETTINGS = """
server = "{server}"
dialect = "{dialect}"
bind_dn = "{bind}"
bind_password = {{ file = "password" }}
tls = {{ ca_file = "{ca}" }}
base = "{people}"
group_base = "{groups}"
name_format = "Member {{username}}"
"""


def openldap(folder: Path) -> list[Row]:
    return _measured("openldap", folder, 2.5, rounds=3)


def samba(folder: Path) -> list[Row]:
    return _measured("active-directory", folder, 1.5, rounds=1)


def _measured(name: str, folder: Path, budget: float, *, rounds: int) -> list[Row]:
    try:
        with SERVERS[name]() as directory:
            return _rows(directory, folder, budget, rounds)
    except pytest.skip.Exception as reason:
        _say(f"{name}: {reason}")
        return []


def _rows(directory: Directory, folder: Path, budget: float, rounds: int) -> list[Row]:
    places = (folder / str(number) for number in range(rounds))
    loop, ours = in_turn(
        lambda: _loop(directory), lambda: _applied(directory, next(places)), rounds=rounds
    )
    what = f"ldap, {directory.dialect}, {PEOPLE} people: create, groups, nickname"
    return [Row(f"{what} / bare ldap3", ours, loop, budget)]


def _empty(directory: Directory) -> None:
    directory.clear()
    for group in range(GROUPS):
        directory.add_group(f"g{group}", *([] if directory.windows else ["cn=nobody"]))


def _applied(directory: Directory, folder: Path) -> float:
    """What svcctl takes for everybody, from the plan to the end; says what it asked for."""
    _empty(directory)
    site, database = _site(directory, folder)
    with _counted() as asked:
        elapsed = _run(site, SYNC)[1]
    reads, bound = asked["search"], asked["bind"]
    _say(
        f"{directory.dialect}: {PEOPLE} people in {elapsed:.1f} s, with "
        f"{asked.total() - reads - bound} writes and {reads} reads over {bound} connections"
    )
    with _counted() as asked:
        listed = _run(site, UPDATE_ALL_GROUPS)[0]
    _say(f"update-all-groups: {asked.total()} requests, {listed:.2f} s")
    _say(f"sync with nothing to do: {_run(site, SYNC)[0]:.2f} s")
    database.close()
    return elapsed


def _say(what: str) -> None:
    print(what, file=sys.stderr)


def _loop(directory: Directory) -> float:
    """What ldap3 takes for the same changes over one connection."""
    _empty(directory)
    server = ldap3.Server(directory.ldaps, tls=ldap3.Tls(), get_info=ldap3.NONE)
    raw: Any = ldap3.Connection(server, directory.bind, PASSWORD, check_names=False)
    raw.bind()

    def done() -> None:
        assert raw.result["result"] == 0, raw.result

    begun = time.perf_counter()
    for number in range(1, PEOPLE + 1):
        name, password = f"user{number}", f"Pw1-{number}-of-no-importance"
        if directory.windows:
            dn = f"CN={name},{directory.people}"
            given: dict[str, Any] = {
                "sAMAccountName": name,
                "userPrincipalName": f"{name}@svc.test",
                "userAccountControl": "512",
                "unicodePwd": f'"{password}"'.encode("utf-16-le"),
                "employeeNumber": f"svcctl:{number}",
            }
            raw.add(dn, ["top", "person", "organizationalPerson", "user"], given)
        else:
            dn = f"uid={name},{directory.people}"
            given = {"uid": name, "cn": name, "sn": name, "employeeNumber": f"svcctl:{number}"}
            raw.add(dn, ["inetOrgPerson"], given)
            done()
            raw.extend.standard.modify_password(dn, new_password=password)
        done()
        for group in of(number, PER_USER):
            change = {"member": [(ldap3.MODIFY_ADD, [dn])]}
            raw.modify(f"cn=g{group},{directory.groups}", change)
            done()
        raw.modify(dn, {"displayName": [(ldap3.MODIFY_REPLACE, [f"Member {name}"])]})
        done()
    elapsed = time.perf_counter() - begun
    raw.unbind()
    _say(f"{directory.dialect}: {PEOPLE} people in {elapsed:.1f} s by a bare loop")
    return elapsed


def _site(directory: Directory, folder: Path) -> tuple[Site, Database]:
    folder.mkdir(parents=True, exist_ok=True)
    secret = folder / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o600)
    settings = SETTINGS.format(
        server=directory.ldaps,
        dialect=directory.dialect,
        bind=directory.bind,
        ca=directory.ca,
        people=directory.people,
        groups=directory.groups,
    )
    database = build(
        folder, PEOPLE, services=1, per_user=PER_USER, hook="ldap", linked=False, more=settings
    )
    loaded = load(folder / "svcctl.toml")
    return Site(loaded, database, load_hooks(loaded)), database


def _run(site: Site, task: Task) -> tuple[float, float]:
    """Seconds in all, and from the plan to the end."""
    begun = [time.perf_counter()]
    report = run_task(
        site,
        task,
        EVERYBODY,
        options=Options(applying=lambda _: begun.append(time.perf_counter())),
    )
    assert report.exit_code == 0, (report.problems, report.applied[-1:])
    end = time.perf_counter()
    return end - begun[0], end - begun[-1]


@contextmanager
def _counted() -> Iterator[Counter[str]]:
    """What is asked of a server in the block, by kind."""
    asked: Counter[str] = Counter()
    lock = threading.Lock()
    names = ("search", "add", "modify", "delete", "set_password", "bind")
    kept = {name: getattr(connections.Connection, name) for name in names}

    def counting(name: str) -> Any:
        def method(self: Any, *words: Any, **more: Any) -> Any:
            with lock:
                asked[name] += 1
            return kept[name](self, *words, **more)

        return method

    for name in names:
        setattr(connections.Connection, name, counting(name))
    try:
        yield asked
    finally:
        for name in names:
            setattr(connections.Connection, name, kept[name])
