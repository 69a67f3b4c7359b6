"""Pings, as a real HTTP server gets them: when a run begins, and how it ended."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from svcctl.config.secrets import Secret
from svcctl.notify import ping as pings
from svcctl.tripwire import tripwire
from tests.support.posts import Posts

if TYPE_CHECKING:
    from tests.conftest import Site, Svcctl

CONFIG = """
[monitor]
ping = { env = "PING_URL" }
pings = { "directory pull" = { env = "PULL_URL" } }
[directory.sources.people]
type = "csv"
path = "people.csv"
[states.Member]
priority = 100
groups = ["staff"]
[services.lab]
hook = "sandbox"
path = "lab.db"
create = "auto"
access.states = ["Member"]
"""


@pytest.fixture
def monitor(posts: Posts, monkeypatch: pytest.MonkeyPatch) -> Posts:
    monkeypatch.setenv("PING_URL", f"http://{posts.place}/ping/secret-uuid")
    monkeypatch.setenv("PULL_URL", f"http://{posts.place}/pull?create=1")
    monkeypatch.setattr(pings, "PAUSE", 0.01)
    monkeypatch.setattr(pings, "SECONDS", 0.5)
    return posts


@pytest.fixture
def club(site: "Callable[[str], Site]", svcctl: "Svcctl", monitor: Posts) -> "Site":
    made = site(CONFIG)
    made.write("people.csv", "username,groups\nada,staff\nbob,staff\n")
    assert svcctl("directory", "pull").exit_code == 0
    monitor.got.clear()
    return made


def test_a_run_says_that_it_begins_and_that_it_went_well(
    club: "Site", svcctl: "Svcctl", monitor: Posts
) -> None:
    for _ in range(2):
        done = svcctl("sync", "--all")
        assert (done.exit_code, done.stderr) == (0, "")
        assert monitor.got == [
            ("/ping/secret-uuid/start", "svcctl sync: begins\n"),
            ("/ping/secret-uuid", "svcctl sync: exit code 0\n"),
        ]
        monitor.got.clear()
    assert svcctl("directory", "pull").exit_code == 0
    assert monitor.paths == ["/pull/start?create=1", "/pull?create=1"]


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        ("UPDATE accounts SET status = 'gone'", 74),
        ("CREATE TRIGGER t BEFORE INSERT ON runs BEGIN SELECT RAISE(ABORT, 'no'); END", 74),
    ],
)
def test_a_run_that_ends_with_an_error_says_with_which(
    club: "Site", svcctl: "Svcctl", monitor: Posts, spoil: str, code: int
) -> None:
    assert svcctl("sync", "--all").exit_code == 0
    if "TRIGGER" in spoil:
        club.execute(spoil)
    else:
        club.database.close()
        club.write("svcctl.db", "nonsense" * 1000)
    monitor.got.clear()
    assert svcctl("sync", "--all").exit_code == code
    assert monitor.paths == ["/ping/secret-uuid/start", f"/ping/secret-uuid/{code}"]


def test_what_failed_and_what_was_left_undone(
    club: "Site", svcctl: "Svcctl", monitor: Posts
) -> None:
    club.write("people.csv", "username,groups\nada,staff\nada,staff\n")
    assert svcctl("directory", "pull").exit_code == 5
    assert monitor.got[-1] == ("/pull/5?create=1", "svcctl directory pull: exit code 5\n")
    assert svcctl("sync", "--all", "--max-runtime", "0").exit_code == 75
    assert monitor.paths[-2:] == ["/ping/secret-uuid/start", "/ping/secret-uuid"]
    assert svcctl("sync", "--all", "--service", "nowhere").exit_code == 2
    assert monitor.paths[-1] == "/ping/secret-uuid/2"


def test_nobody_is_told_of_what_cron_does_not_do(
    club: "Site", svcctl: "Svcctl", monitor: Posts
) -> None:
    for words in (
        ["sync", "--all", "--dry-run"],
        ["plan"],
        ["sync", "ada"],
        ["validate", "--all"],
        ["directory", "pull", "--dry-run"],
        ["directory", "pull", "--source", "people"],
    ):
        assert svcctl(*words).exit_code == 0, words
    assert svcctl("sync", "--all", stdin="").exit_code == 0
    assert monitor.got == []


def test_a_monitor_in_trouble_is_asked_again_and_changes_nothing(
    club: "Site", svcctl: "Svcctl", monitor: Posts
) -> None:
    monitor.answers = [503, 200, 500, 502, 200]
    done = svcctl("sync", "--all")
    assert (done.exit_code, done.stderr) == (0, "")
    assert monitor.paths == ["/ping/secret-uuid/start"] * 2 + ["/ping/secret-uuid"] * 3
    for answers, said in (
        ([200, 404, 404, 404], "answered 404"),
        ([200, 302, 302, 302], "answered 302"),
        ([200, None, None, None], "no answer within 0s"),
    ):
        monitor.answers = list(answers)
        done = svcctl("sync", "--all")
        assert (done.exit_code, done.stdout) == (0, "")
        assert done.stderr == (
            f"monitor: the ping was not sent: 127.0.0.1: {said}\n"
            "hint: check monitor.ping, and the monitor\n"
        )


def test_a_monitor_that_does_not_answer_delays_no_run(
    club: "Site", svcctl: "Svcctl", monitor: Posts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run has ended before the first ping is given up."""
    monkeypatch.setattr(pings, "SECONDS", 3.0)
    monitor.answers = [None]
    begun = time.monotonic()
    done: list[int] = []
    run = threading.Thread(target=lambda: done.append(svcctl("sync", "--all").exit_code))
    run.start()
    while not club.rows("SELECT id FROM runs WHERE ended_at IS NOT NULL"):
        assert time.monotonic() < begun + 30
    assert monitor.paths == ["/ping/secret-uuid/start"]
    run.join()
    assert done == [0]
    assert monitor.paths == ["/ping/secret-uuid/start"] * 2 + ["/ping/secret-uuid"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:{closed}/secret-uuid", "127.0.0.1: cannot be reached"),
        ("ftp://hc.example.org/secret-uuid", "not a URL"),
        ("secret-uuid", "not a URL"),
        ("http://[secret-uuid", "not a URL"),
        (None, "monitor.ping: env PING_URL: is not set"),
    ],
)
def test_a_url_that_leads_nowhere_is_a_warning_and_never_shown(
    club: "Site",
    svcctl: "Svcctl",
    monkeypatch: pytest.MonkeyPatch,
    url: str | None,
    said: str,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = free.getsockname()[1]
    if url is None:
        monkeypatch.delenv("PING_URL")
    else:
        monkeypatch.setenv("PING_URL", url.format(closed=closed))
    done = svcctl("sync", "--all")
    assert done.exit_code == 0
    assert f"monitor: the ping was not sent: {said}\n" in done.stderr
    assert "secret-uuid" not in done.stdout + done.stderr


def test_a_command_that_cron_does_not_run_is_refused(
    site: "Callable[[str], Site]", svcctl: "Svcctl"
) -> None:
    site("").configure('[monitor.pings]\nvalidat = { env = "X" }\nsync = { env = "X" }\n')
    done = svcctl("config", "check")
    assert done.exit_code == 78
    assert "monitor.pings.validat: never runs from cron; did you mean validate?" in done.stdout
    assert "monitor.pings.sync: is monitor.ping; move it there" in done.stdout


def test_a_run_of_cron_that_is_ended_says_so(club: "Site", monitor: Posts) -> None:
    """In a process of its own, as cron starts it; SIGTERM while the service is slow."""
    text = (club.folder / "svcctl.toml").read_text()
    club.configure(text.replace('path = "lab.db"', 'path = "lab.db"\nlatency = 1'))
    process = subprocess.Popen(
        [sys.executable, "-m", "svcctl", "sync", "--all"],
        cwd=club.folder,
        env=dict(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 30
    while not club.rows("SELECT id FROM operations WHERE status = 'running'"):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.terminate()
    assert process.wait(timeout=30) == 143
    process.communicate()
    assert monitor.paths == ["/ping/secret-uuid/start", "/ping/secret-uuid/143"]


def test_planning_forbids_connections_but_not_this_one(monitor: Posts) -> None:
    ping = pings.Ping(Secret("env", "PING_URL"), "sync")
    with tripwire("planning"):
        ping.begin()
        while not monitor.got and ping.problem is None:
            time.sleep(0.005)
    ping.end(0)
    assert ping.problem is None
    assert monitor.paths == ["/ping/secret-uuid/start", "/ping/secret-uuid"]
