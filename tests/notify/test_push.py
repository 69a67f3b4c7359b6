"""Operators told by Apprise, seen in what a real HTTP server got of it."""

import json
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from svcctl.hooks.sandbox import SandboxManager
from tests.support.posts import Posts

if TYPE_CHECKING:
    from tests.conftest import Site, Svcctl

CONFIG = """
[notify]
deliver = "file"
file = "{file}"
operators = ["ops@example.org"]
[notify.apprise]
chat = {{ env = "CHAT_URL" }}
{more}
[states.Member]
priority = 100
groups = ["staff"]
[services.lab]
hook = "sandbox"
path = "lab.db"
create = "auto"
access.states = ["Member"]
limits.removals = 1
"""
LAST_YEAR = "2025-01-01T00:00:00Z"


@pytest.fixture
def club(
    site: "Callable[[str], Site]",
    svcctl: "Svcctl",
    posts: Posts,
    monkeypatch: pytest.MonkeyPatch,
) -> "Site":
    made = site(CONFIG.format(file="notices.ndjson", more=""))
    monkeypatch.setenv("CHAT_URL", f"json://{posts.place}/secret-token")
    for name in ("ada", "bob", "cyd"):
        assert svcctl("users", "add", name, "email=who@example.org", "--no-sync").exit_code == 0
    svcctl("groups", "add", "staff", "ada", "bob", "cyd", "--no-sync")
    assert svcctl("sync", "--all").exit_code == 0
    assert posts.got == []
    return made


def break_(club: "Site") -> SandboxManager:
    manager = SandboxManager(club.folder / "lab.db")
    manager.break_method("set_nickname", "invalid:ada")
    return manager


def rename(svcctl: "Svcctl", name: str) -> None:
    assert svcctl("users", "set", "ada", f"character_name={name}", "--no-sync").exit_code == 0


def titles(posts: Posts) -> list[tuple[str, str]]:
    told = [json.loads(body) for _, body in posts.got]
    return [(one["type"], one["title"]) for one in told]


def in_file(club: "Site") -> list[str]:
    path = club.folder / "notices.ndjson"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line)["subject"] for line in lines]


def test_failure_hold_and_recovery_each_once(club: "Site", svcctl: "Svcctl", posts: Posts) -> None:
    manager = break_(club)
    rename(svcctl, "Ada L")
    for _ in range(2):
        assert svcctl("sync", "--all").exit_code == 1
    assert titles(posts) == [("failure", "[svcctl] sync: lab: failed")]
    assert "ada: set_nickname: sandbox: set_nickname is broken on purpose" in posts.got[0][1]
    svcctl("groups", "remove", "staff", "bob", "cyd", "--no-sync")
    assert svcctl("sync", "--all").exit_code == 1
    assert titles(posts)[1:] == [("failure", "[svcctl] sync: lab: removals are held, lab: failed")]
    manager.heal()
    svcctl("groups", "add", "staff", "bob", "cyd", "--no-sync")
    club.execute(f"UPDATE operations SET next_attempt_at = '{LAST_YEAR}' WHERE next_attempt_at > 0")
    for _ in range(2):
        assert svcctl("sync", "--all").exit_code == 0
    assert titles(posts)[2:] == [("success", "[svcctl] sync: all in order again")]
    # Whoever reads the file hears the same.
    assert in_file(club) == [title for _, title in titles(posts)]
    assert club.rows("SELECT * FROM notifications WHERE sent_at IS NULL") == []
    manager.close()


def test_a_chat_that_is_down_loses_nothing_and_keeps_nobody_back(
    club: "Site", svcctl: "Svcctl", posts: Posts
) -> None:
    posts.answers = [503]
    manager = break_(club)
    rename(svcctl, "Ada L")
    done = svcctl("sync", "--all")
    assert done.exit_code == 1
    assert "notify: 1 message put off: notify.apprise.chat: Failed to send JSON " in done.stderr
    assert "secret-token" not in done.stderr
    assert in_file(club) == ["[svcctl] sync: lab: failed"]
    manager.heal()
    club.execute(f"UPDATE operations SET next_attempt_at = '{LAST_YEAR}' WHERE next_attempt_at > 0")
    club.execute(f"UPDATE notifications SET next_attempt_at = '{LAST_YEAR}' WHERE sent_at IS NULL")
    assert svcctl("sync", "--all").exit_code == 0
    assert titles(posts)[1:] == [
        ("failure", "[svcctl] sync: lab: failed"),
        ("success", "[svcctl] sync: all in order again"),
    ] or titles(posts)[1:] == [
        ("success", "[svcctl] sync: all in order again"),
        ("failure", "[svcctl] sync: lab: failed"),
    ]
    manager.close()


def test_a_file_that_takes_nothing_keeps_nobody_from_the_chat(
    club: "Site", svcctl: "Svcctl", posts: Posts
) -> None:
    club.configure(CONFIG.format(file="/dev/full", more=""))
    break_(club).close()
    rename(svcctl, "Ada L")
    done = svcctl("sync", "--all")
    assert "notify: 1 message is kept, not sent: /dev/full: " in done.stderr
    assert titles(posts) == [("failure", "[svcctl] sync: lab: failed")]
    club.configure(CONFIG.format(file="notices.ndjson", more=""))
    svcctl("sync", "--all")
    assert in_file(club) == ["[svcctl] sync: lab: failed"]
    assert len(posts.got) == 1


def test_each_way_is_told_by_itself_and_users_are_told_by_none_of_them(
    club: "Site", svcctl: "Svcctl", posts: Posts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHONE_URL", f"json://{posts.place}/phone")
    club.configure(CONFIG.format(file="notices.ndjson", more='phone = { env = "PHONE_URL" }'))
    svcctl("groups", "remove", "staff", "bob", "--no-sync")
    assert svcctl("sync", "--all").exit_code == 0
    assert posts.got == []
    break_(club).close()
    rename(svcctl, "Ada L")
    posts.answers = [500, 200]
    assert svcctl("sync", "--all").exit_code == 1
    assert sorted(posts.paths) == ["/phone", "/secret-token"]
    club.execute(f"UPDATE notifications SET next_attempt_at = '{LAST_YEAR}' WHERE sent_at IS NULL")
    svcctl("sync", "--all")
    assert len(posts.got) == 3
    assert posts.paths[2] == posts.paths[0]


def test_a_way_that_is_not_configured_any_more_is_given_up(
    club: "Site", svcctl: "Svcctl", posts: Posts
) -> None:
    posts.answers = [503]
    break_(club).close()
    rename(svcctl, "Ada L")
    svcctl("sync", "--all")
    config = CONFIG.format(file="notices.ndjson", more="")
    club.configure(config.replace("chat =", "other ="))
    club.execute(f"UPDATE notifications SET next_attempt_at = '{LAST_YEAR}' WHERE sent_at IS NULL")
    done = svcctl("sync", "--all")
    assert (
        "notify: the operators cannot be told: notify.apprise.chat is not configured any more"
        in done.stderr
    )
    assert svcctl("sync", "--all").stderr.count("notify") == 0
    assert len(posts.got) == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nowhere://secret-token", "notify.apprise.chat: not a URL that Apprise knows"),
        ("secret-token", "notify.apprise.chat: not a URL that Apprise knows"),
        (None, "notify.apprise.chat: env CHAT_URL: is not set"),
    ],
)
def test_what_cannot_be_used_is_said_without_the_url(
    club: "Site",
    svcctl: "Svcctl",
    monkeypatch: pytest.MonkeyPatch,
    url: str | None,
    said: str,
) -> None:
    if url is None:
        monkeypatch.delenv("CHAT_URL")
    else:
        monkeypatch.setenv("CHAT_URL", url)
    break_(club).close()
    rename(svcctl, "Ada L")
    done = svcctl("sync", "--all")
    assert done.exit_code == 1
    assert f"notify: 1 message is kept, not sent: {said}\n" in done.stderr
    assert "secret-token" not in done.stdout + done.stderr
    assert "secret-token" not in str(club.rows("SELECT * FROM notifications"))
    assert in_file(club) == ["[svcctl] sync: lab: failed"]


def test_what_apprise_says_is_repeated_without_any_part_of_the_url(
    club: "Site", svcctl: "Svcctl", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a host has its place in a URL, some services have a token."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        monkeypatch.setenv("CHAT_URL", f"json://127.0.0.1:{free.getsockname()[1]}/secret-token")
    break_(club).close()
    rename(svcctl, "Ada L")
    done = svcctl("sync", "--all")
    assert "notify: 1 message put off: notify.apprise.chat: A Connection error" in done.stderr
    assert "***" in done.stderr
    assert "127.0.0.1" not in done.stderr
    assert "127.0.0.1" not in str(club.rows("SELECT error FROM notifications"))


def test_a_plugin_that_fails_in_ways_of_its_own_spoils_no_run(
    club: "Site", svcctl: "Svcctl", monkeypatch: pytest.MonkeyPatch
) -> None:
    from apprise.plugins.custom_json import NotifyJSON

    def send(*_: object, **__: object) -> bool:
        raise RuntimeError("secret-token")

    monkeypatch.setattr(NotifyJSON, "send", send)
    monkeypatch.setattr(NotifyJSON, "notify", send)
    break_(club).close()
    rename(svcctl, "Ada L")
    done = svcctl("sync", "--all")
    assert done.exit_code == 1
    assert "notify: 1 message put off: notify.apprise.chat: " in done.stderr
    assert "secret-token" not in done.stderr
    assert in_file(club) == ["[svcctl] sync: lab: failed"]


def test_without_the_library_the_command_that_installs_it_is_said(
    club: "Site", svcctl: "Svcctl", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    break_(club).close()
    rename(svcctl, "Ada L")
    done = svcctl("sync", "--all")
    assert (
        "notify: 1 message is kept, not sent: apprise is not installed\n"
        "hint: pip install 'svcctl[apprise]'\n" in done.stderr
    )


def test_a_name_that_is_none_is_refused(site: "Callable[[str], Site]", svcctl: "Svcctl") -> None:
    site("").configure(
        '[notify]\ndeliver = "file"\nfile = "f"\n[notify.apprise]\n"a b" = { env = "X" }\n'
    )
    done = svcctl("config", "check")
    assert done.exit_code == 78
    assert 'notify.apprise."a b": not a name; write it like chat or on-call' in done.stdout
