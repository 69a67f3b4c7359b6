"""The recipes against the servers that they are for, through the front door."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from svcctl.http import client as http
from svcctl.runs import lane
from svcctl.tripwire import allowed
from tests.live.recipe_servers import SERVERS, recipe, tried
from tests.live.web_remotes import Remote

if TYPE_CHECKING:
    from tests.conftest import Result, Site, Svcctl

pytestmark = pytest.mark.live

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
BOTH = frozenset({"staff", "commanders"})
STAFF = frozenset({"staff"})


@dataclass
class Club:
    """People in the directory, and a service that the recipe is for, with a stranger in it."""

    site: "Site"
    svcctl: "Svcctl"
    remote: Remote
    secret: Path
    mark: str

    def name(self, name: str) -> str:
        """Somebody's name, which no other test has used on this server."""
        return f"{name}{self.mark}"

    def ok(self, *words: str) -> "Result":
        done = self.svcctl(*words)
        assert done.exit_code == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def people(self, groups: dict[str, str]) -> None:
        """What the directory has: name -> groups."""
        lines = ["id,username,groups,character_name,email,first_name,last_name"]
        for number, (name, member) in enumerate(groups.items()):
            login = self.name(name)
            lines.append(f"{number},{login},{member},{login} X,{login}@example.org,{name},Smith")
        self.site.write("people.csv", "\n".join([*lines, ""]))
        self.ok("directory", "pull")

    def shown(self) -> dict[str, tuple[bool, frozenset[str]]]:
        """The accounts of this test, without the mark."""
        ours = {name: one for name, one in self.remote.users().items() if name.endswith(self.mark)}
        return {name.removesuffix(self.mark): one for name, one in ours.items()}


@pytest.fixture(scope="module", params=SERVERS)
def remote(request: pytest.FixtureRequest) -> Iterator[Remote]:
    with tried(request.param) as remote:
        yield remote


@pytest.fixture
def club(
    remote: Remote,
    site: "Callable[[str], Site]",
    svcctl: "Svcctl",
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Club:
    begin = f"[services.{remote.service}]\n"
    text = recipe(remote, (begin, f'{begin}create = "auto"\nlimits.removals = 20\n'))
    made = site(AROUND + text)
    (secret,) = re.findall(r'file = "(\w+\.\w+)"', text)
    made.write(secret, remote.site.key).chmod(0o600)
    # Retries that do not wait.
    monkeypatch.setattr(lane, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(http, "FIRST_PAUSE", 0.05)
    mark = re.sub(r"[^a-z]", "", request.function.__name__)[4:16]
    return Club(made, svcctl, remote, made.folder / secret, mark)


def test_accounts_come_change_go_and_come_back(club: Club) -> None:
    c, remote = club, club.remote
    remote.create(c.name("stranger"))
    remote.join(c.name("stranger"), "staff")
    remote.join(c.name("stranger"), "theirs")
    c.ok("services", "check")
    c.people({"ada": "staff;fc", "bob": "staff", "cyd": "staff", "dan": "", "stranger": ""})
    c.ok("sync", "--all")
    everybody = {
        "ada": (True, BOTH),
        "bob": (True, STAFF),
        "cyd": (True, STAFF),
        "stranger": (True, STAFF | {"theirs"}),
    }
    assert c.shown() == everybody
    if remote.nicknames:
        assert remote.nickname(c.name("ada")) == f"{c.name('ada')} X"
    assert c.svcctl("plan", "--check").exit_code == 0, "nothing is left to do"

    remote.join(c.name("ada"), "theirs")
    c.ok("groups", "remove", "fc", c.name("ada"))
    c.ok("groups", "add", "fc", c.name("bob"))
    everybody |= {"ada": (True, STAFF | {"theirs"}), "bob": (True, BOTH)}
    assert c.shown() == everybody

    c.ok("groups", "remove", "staff", c.name("bob"))
    if remote.removed == "deleted":
        del everybody["bob"]
    else:
        everybody["bob"] = (False, BOTH)
    assert c.shown() == everybody
    c.ok("groups", "add", "staff", c.name("bob"))
    c.ok("sync", "--all")
    everybody["bob"] = (True, BOTH)
    assert c.shown() == everybody

    c.ok("update-all-groups")
    assert c.shown() == everybody
    c.ok("db", "check")


def test_what_others_took_away_is_given_back(club: Club) -> None:
    """And somebody who has the name already is not taken over."""
    c = club
    c.remote.create(c.name("eve"))
    c.people({"ada": "staff", "eve": "staff"})
    done = c.svcctl("sync", "--all")
    assert done.exit_code == 1
    assert "that svcctl did not create" in done.stdout + done.stderr
    assert c.shown() == {"ada": (True, STAFF), "eve": (True, frozenset())}
    c.ok("accounts", "link", c.name("eve"), "--service", c.remote.service, "--name", c.name("eve"))
    c.ok("update-all-groups")
    assert c.shown()["eve"] == (True, STAFF)


def test_wrong_credentials_change_nobody(club: Club) -> None:
    c = club
    c.people({"ada": "staff", "bob": "staff"})
    c.ok("sync", "--all")
    before = c.shown()
    right = c.secret.read_text()
    c.secret.write_text("0123456789abcdef0123456789abcdef01234567")
    assert c.svcctl("services", "check").exit_code != 0
    c.people({"ada": "", "bob": "staff;fc", "cyd": "staff"})
    done = c.svcctl("sync", "--all")
    assert done.exit_code == 1
    assert "01234567" not in done.stdout + done.stderr
    assert c.shown() == before
    c.secret.write_text(right)
    c.ok("retry")
    shown = c.shown()
    assert shown["bob"] == (True, BOTH)
    assert shown["cyd"] == (True, STAFF)
    assert shown.get("ada", (False, STAFF))[0] is False


def test_a_server_that_dies_in_the_middle_of_a_run(club: Club) -> None:
    """Each account is made once, and the next run finishes."""
    c, remote = club, club.remote
    names = [f"ada{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(remote.crowd)]
    c.people(dict.fromkeys(names, "staff;fc"))
    stop = threading.Event()

    def strike() -> None:
        deadline = time.monotonic() + 30
        # The tripwire watches every thread while the run plans; this one is no part of it.
        with allowed():
            while not stop.is_set() and time.monotonic() < deadline:
                if len(c.shown()) >= 3:
                    remote.site.kill()
                    return
                time.sleep(0.02)

    striker = threading.Thread(target=strike)
    striker.start()
    try:
        done = c.svcctl("sync", "--all")
    finally:
        stop.set()
        striker.join()
    assert done.exit_code in (1, 5), done.stdout + done.stderr
    assert c.svcctl("services", "check").exit_code != 0
    remote.site.restart()
    c.ok("services", "check")
    for _ in range(2):
        c.svcctl("retry")
    c.ok("sync", "--all")
    assert c.shown() == dict.fromkeys(names, (True, BOTH))
    rows = c.site.rows("SELECT status, count(*) AS n FROM accounts GROUP BY status")
    assert [(row["status"], row["n"]) for row in rows] == [("active", len(names))]
