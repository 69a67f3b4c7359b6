"""One scenario for every service: an organisation takes over a server that it has been using.

Two of its people have accounts there already, a stranger has one as well, and some groups were
given by hand. It needs of a service what `Service` says, and nothing else.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from svcctl.http import client as http
from svcctl.runs import lane

if TYPE_CHECKING:
    from tests.conftest import Result, Site, Svcctl

Seen = dict[str, tuple[bool, frozenset[str]]]
"""Name -> whether it is active, and which of staff, commanders and theirs it is in."""

AROUND = """
[directory]
attributes = ["first_name", "last_name"]

[directory.sources.people]
type = "csv"
path = "people.csv"

[states.Member]
priority = 100
groups = ["staff"]
"""
STAFF, BOTH = frozenset({"staff"}), frozenset({"staff", "commanders"})
NEW = ("cyd", "dan", "eve", "fay")
LONG_AGO = "2020-01-01T00:00:00Z"


class Service(Protocol):
    """A service, and a way to look at it and to act on it that owes nothing to svcctl.

    name, table: the key of its table, and the table. secret: the environment variable that the
    table takes its credentials from, and what is in it; None: it has none, and instead of refusing
    it is not there. mails: whether it shows e-mail addresses.
    nicknames: whether it can be told one. removed: what losing access does, "disabled" or
    "deleted". In the beginning a stranger is there, in the groups staff, commanders and theirs.
    """

    name: str
    table: str
    mails: bool
    nicknames: bool
    removed: str

    @property
    def secret(self) -> tuple[str, str] | None: ...

    def users(self) -> Seen: ...

    def nickname(self, user: str) -> str: ...

    def create(self, user: str, email: str) -> None:
        """By hand."""

    def join(self, user: str, group: str) -> None:
        """By hand."""

    def fail_at_create(self, nth: int) -> None:
        """From that one on nobody is answered."""

    def mend(self) -> None:
        """Answer again."""


@dataclass
class Organisation:
    """The people, and what they do at the shell."""

    site: "Site"
    svcctl: "Svcctl"
    service: Service
    others: set[tuple[str, str]] = field(default_factory=set)

    def ok(self, *words: str) -> "Result":
        done = self.svcctl(*words)
        assert done.exit_code == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def told(self, *words: str, code: int = 0) -> dict[str, Any]:
        done = self.svcctl(*words, "--json")
        assert done.exit_code == code, f"{words}: {done.stdout}{done.stderr}"
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def drift(self) -> set[tuple[str, str]]:
        """(kind, account) of everything that is not as it should be, and of strangers."""
        findings = self.told("drift")["findings"]
        return {(one["kind"], one["account"].lower()) for one in findings} - self.others

    def later(self) -> None:
        """As if back-off and grace were over."""
        for table, column in (
            ("operations", "next_attempt_at"),
            ("operations", "ended_at"),
            ("accounts", "disabled_at"),
        ):
            self.site.execute(
                f"UPDATE {table} SET {column} = :ago WHERE {column} IS NOT NULL", ago=LONG_AGO
            )


def _let_in(service: Service, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """The secret, in its place."""
    if service.secret is None:
        return None
    monkeypatch.setenv(*service.secret)
    return service.secret[1]


def take_over(
    service: Service,
    site: "Callable[[str], Site]",
    svcctl: "Svcctl",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The whole scenario; it ends with a service that is as it should be."""
    # Retries that do not wait.
    monkeypatch.setattr(lane, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(http, "FIRST_PAUSE", 0.01)
    secret = _let_in(service, monkeypatch)
    ada = "countess" if service.mails else "ada"
    service.create(ada, "ada@example.org")
    service.create("bob", "robert@example.net")
    for user, group in ((ada, "staff"), (ada, "theirs"), ("bob", "commanders")):
        service.join(user, group)
    there = {
        ada: (True, STAFF | {"theirs"}),
        "bob": (True, frozenset({"commanders"})),
        "stranger": (True, BOTH | {"theirs"}),
    }
    assert service.users() == there

    here = site(AROUND + service.table)
    o = Organisation(here, svcctl, service)
    head = "id,username,groups,character_name,email,first_name,last_name"
    rows = [f"1,ada,staff;fc,Ada,ada@{'Example.ORG' if service.mails else 'example.org'},A,L"]
    rows += [
        f"{number},{name},staff,{name.title()},{name}@example.org,{name},Smith"
        for number, name in enumerate(("bob", *NEW), 2)
    ]
    here.write("people.csv", "\n".join([head, *rows, ""]))
    o.ok("directory", "pull")

    # Nobody is let in, and nothing happens.
    if service.secret is None:
        service.fail_at_create(1)
    else:
        monkeypatch.setenv(service.secret[0], "wrong")
    rules = ("--by", "external-id", "--by", "email", "--by", "name")
    for words in (
        ("drift", service.name),
        ("adopt", service.name, *rules, "--yes"),
        ("sync", "--all"),
    ):
        done = svcctl(*words)
        assert done.exit_code in (1, 5, 78), (words, done)
        assert secret is None or secret not in done.stdout + done.stderr
    if service.secret is None:
        service.mend()
    assert service.users() == there
    _let_in(service, monkeypatch)
    o.later()

    # Two are adopted, and nothing changes there.
    found = o.drift()
    assert found >= {("foreign", name) for name in (ada, "bob", "stranger")}
    # The service's own accounts, such as its administrator.
    o.others = found - {("foreign", name) for name in there}
    assert {kind for kind, _ in o.others} <= {"foreign"}
    adopted = o.told("adopt", service.name, *rules, "--yes")
    assert {(one["account"].lower(), one["user"]) for one in adopted["accounts"]} == {
        (ada, "ada"),
        ("bob", "bob"),
    }
    assert adopted["counts"]["strangers"] == 1 + len(o.others)
    assert service.users() == there
    wanted = {one["operation"] for one in o.told("plan", "ada", "bob")["operations"]}
    assert wanted <= {"change_groups", "set_nickname"}

    # The rest is created, although it breaks off in the middle.
    service.fail_at_create(2)
    done = svcctl("sync", "--all")
    assert done.exit_code in (1, 5), done.stdout + done.stderr
    service.mend()
    for _ in range(2):
        o.later()
        svcctl("retry")
    o.later()
    o.ok("sync", "--all")
    there |= dict.fromkeys(NEW, (True, STAFF))
    there |= {ada: (True, BOTH | {"theirs"}), "bob": (True, BOTH)}
    assert service.users() == there, "a group that was given by hand is not taken away"
    if service.nicknames:
        assert [service.nickname(name) for name in (ada, "cyd")] == ["Ada", "Cyd"]
    found = o.drift()
    assert found == {("foreign", "stranger"), ("groups", "bob")}, o.told("drift")
    o.ok("update-all-groups")
    there["bob"] = (True, STAFF)
    assert service.users() == there
    o.ok("drift", "--check")

    # Names and groups change.
    o.ok("users", "set", "cyd", "character_name=Baroness")
    o.ok("groups", "remove", "fc", "ada")
    o.ok("groups", "add", "fc", "cyd")
    there |= {ada: (True, STAFF | {"theirs"}), "cyd": (True, BOTH)}
    assert service.users() == there
    assert not service.nicknames or service.nickname("cyd") == "Baroness"

    # Somebody leaves, and comes back.
    o.ok("groups", "remove", "staff", "cyd")
    seen = service.users()
    if service.removed == "deleted":
        assert seen == {name: one for name, one in there.items() if name != "cyd"}
    else:
        assert seen.pop("cyd")[0] is False
        assert seen == {name: one for name, one in there.items() if name != "cyd"}
    o.ok("drift", "--check")
    o.ok("groups", "add", "staff", "cyd")
    o.ok("sync", "--all")
    assert service.users() == there

    # Somebody's hand gives a group, and another creates an account with a name that is ours.
    service.join("dan", "commanders")
    service.join("eve", "theirs")
    assert o.drift() == {("foreign", "stranger"), ("groups", "dan")}
    assert svcctl("drift", "--check").exit_code == 3
    o.ok("update-all-groups")
    there["eve"] = (True, STAFF | {"theirs"})
    assert service.users() == there
    service.create("gus", "gus@example.net")
    o.ok("users", "add", "gus", "--group", "staff", "--no-sync")
    done = svcctl("sync", "--all")
    assert done.exit_code == 1, "nobody takes over an account by its name"
    assert service.users()["gus"] == (True, frozenset())
    o.ok("adopt", service.name, "--by", "name", "--yes")
    o.later()
    o.ok("sync", "--all")
    there["gus"] = (True, STAFF)
    assert service.users() == there

    # And all is well.
    o.ok("drift", "--check")
    assert o.drift() == {("foreign", "stranger")}
    assert o.told("plan")["operations"] == []
    o.ok("db", "check")
