"""From a run to an inbox: a real mail server, and everything that can go wrong on the way."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from svcctl.hooks.sandbox import SandboxManager
from svcctl.store.notifications import add
from tests.support.forks import Fork, Forks

if TYPE_CHECKING:
    from tests.conftest import Prepared, Result, Site, Svcctl

PASSWORD = "correct horse battery staple"
LAB = """
[states.Member]
priority = 100
groups = ["corp"]
[services.lab]
hook = "sandbox"
path = "lab.sqlite"
create = "auto"
url = "https://lab.example.org/"
access.states = ["Member"]
limits.removals = "100%"
[directory.sources.people]
type = "csv"
path = "people.csv"
"""
NOTIFY = """
[notify]
deliver = "mail"
operators = ["ops@example.org", "chief@example.org"]
[notify.mail]
host = "localhost"
port = {port}
username = "svcctl"
password = {{ env = "MAIL_PASSWORD" }}
sender = "svcctl@example.org"
ca_file = "ca.pem"
timeout = "3s"
"""
PEOPLE = ("ada", "bob", "cyd", "zoe")


@dataclass
class Club:
    """People with accounts on lab, a mail server, and runs."""

    site: Any
    svcctl: "Svcctl"
    sink: Any
    names: list[str]
    forks: Forks

    def configure(self, notify: str, **changes: str) -> None:
        text = notify.format(port=self.sink.port)
        for old, new in changes.items():
            text = re.sub(rf"(?m)^{old} = .*$", new, text)
        self.site.configure(LAB + text)

    def lose(self, *names: str) -> None:
        assert self.svcctl("groups", "remove", "corp", *names, "--no-sync").exit_code == 0

    def sync(self) -> "Result":
        return self.svcctl("sync", "--all")

    def start(self, *words: str) -> Fork:
        """A run in a process of its own."""
        return self.forks.begin(self.site.folder, *words)

    def rows(self) -> dict[str, Any]:
        """Notifications by user; the operators' under an empty name."""
        found = self.site.rows(
            "SELECT notifications.*, username FROM notifications"
            " LEFT JOIN users ON users.id = user_id ORDER BY notifications.id"
        )
        return {row["username"] or "": row for row in found}

    def due_again(self) -> None:
        self.site.execute("UPDATE notifications SET next_attempt_at = '2020-01-01T00:00:00Z'")


@pytest.fixture
def build(
    prepared: "Prepared",
    svcctl: "Svcctl",
    sink: Any,
    authority: Any,
    forks: Forks,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Club]:
    def make(emails: dict[str, str] | None = None) -> Club:
        emails = emails or {name: f"{name}@example.org" for name in PEOPLE}
        lines = [f'{n},{name},corp,"{mail}"' for n, (name, mail) in enumerate(emails.items())]

        def prepare(here: "Site") -> None:
            here.write("people.csv", "\n".join(["id,username,groups,email", *lines]) + "\n")
            assert svcctl("directory", "pull").exit_code == 0
            assert svcctl("sync", "--all").exit_code == 0

        here = prepared(LAB, prepare, *lines)
        monkeypatch.setenv("MAIL_PASSWORD", PASSWORD)
        authority.file(here.folder / "ca.pem")
        club = Club(here, svcctl, sink, list(emails), forks)
        club.configure(NOTIFY)
        return club

    return make


@pytest.fixture
def club(build: Callable[..., Club]) -> Club:
    return build()


def assert_no_secret(club: Club, *results: "Result") -> None:
    files = [path for path in club.site.folder.rglob("*") if path.is_file()]
    texts = [result.stdout + result.stderr for result in results]
    texts += [path.read_bytes().decode("utf-8", "replace") for path in files]
    assert len(files) > 3
    assert not any(PASSWORD in text for text in texts)


# How it should be


def test_who_loses_an_account_gets_a_mail(club: Club) -> None:
    club.sink.start()
    club.lose("ada", "bob")
    result = club.sync()
    assert (result.exit_code, result.stderr) == (0, "")
    assert club.sink.to() == ["ada@example.org", "bob@example.org"]
    assert club.sink.connections == 1
    mail = next(mail for mail in club.sink.mails if mail.to == ("ada@example.org",))
    assert mail.sender == "svcctl@example.org"
    assert mail.subject == "[svcctl] Your Lab account was disabled"
    assert mail.body == (
        "Your Lab account was disabled.\n\n"
        "Account: ada\n"
        "Reason: lost access: state Guest is not in access.states\n"
        "Service: https://lab.example.org/\n\n"
        "This message was sent by a program. Answer it if you think that it is a mistake.\n"
    )
    assert mail.message["To"] == "ada@example.org"
    assert mail.message["From"] == "svcctl@example.org"
    assert mail.message["Auto-Submitted"] == "auto-generated"
    assert mail.message.get_content_type() == "text/plain"
    assert mail.message["Date"].datetime
    assert mail.message["Message-ID"] == f"<{club.rows()['ada']['key']}@example.org>"
    assert all(row["sent_at"] for row in club.rows().values())
    assert club.sync().exit_code == 0
    assert len(club.sink.mails) == 2
    assert_no_secret(club, result)


def test_operators_get_one_mail_together(club: Club) -> None:
    club.sink.start()
    with closing(SandboxManager(club.site.folder / "lab.sqlite")) as manager:
        manager.break_method("disable_account", "invalid:ada")
    club.lose("ada")
    assert club.sync().exit_code == 1
    (mail,) = club.sink.mails
    assert mail.to == ("ops@example.org", "chief@example.org")
    assert mail.message["To"] == "ops@example.org, chief@example.org"
    assert mail.subject == "[svcctl] sync: lab: failed"
    assert "    ada: disable_account: " in mail.body


def test_a_dry_run_sends_nothing(club: Club) -> None:
    club.sink.start()
    club.lose("ada")
    with club.site.database.write() as connection:
        connection.exec_driver_sql(
            'INSERT INTO notifications (level, title, message, "key", created_at, attempts)'
            " VALUES ('info', 't', 'm', 'k', '2026-01-01T00:00:00Z', 0)"
        )
    before = club.rows()
    assert club.svcctl("sync", "--all", "--dry-run").exit_code == 0
    assert club.svcctl("plan").exit_code == 0
    assert (club.sink.mails, club.sink.connections) == ([], 0)
    assert club.rows() == before


def test_without_anything_to_send_nothing_connects_or_is_imported(club: Club) -> None:
    code = (
        "import sys; from svcctl.cli import main\n"
        "code = main(['--config', 'svcctl.toml', 'sync', '--all'])\n"
        "assert 'svcctl.notify' in sys.modules\n"
        "sys.exit(code or 'smtplib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=club.site.folder, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("security", ["tls", "none"])
def test_other_ways_to_connect(club: Club, security: str) -> None:
    club.sink.implicit_tls, club.sink.starttls = security == "tls", False
    club.sink.login = False
    sender = f'security = "{security}"\nsender = "a@example.org"'
    club.configure(NOTIFY, username="", password="", sender=sender)
    club.sink.start()
    club.lose("ada")
    assert club.sync().stderr == ""
    assert club.sink.to() == ["ada@example.org"]


# Outages


def test_a_server_that_is_down_loses_nothing(club: Club) -> None:
    club.lose("ada", "bob")
    down = club.sync()
    assert down.exit_code == 0
    assert down.stderr == (
        f"notify: 2 messages are kept, not sent: localhost:{club.sink.port}: connection refused\n"
        "hint: check notify.mail.host and port, and that the server runs\n"
    )
    assert [row["sent_at"] for row in club.rows().values()] == [None, None]
    again = club.svcctl("sync", "--all", "--json")
    assert again.exit_code == 0
    assert '"service": "notify"' in again.stdout
    club.sink.start()
    assert club.sync().stderr == ""
    assert club.sink.to() == ["ada@example.org", "bob@example.org"]
    assert_no_secret(club, down, again)


def test_the_doctor_says_whether_the_server_takes_mail_and_sends_none(
    club: Club, monkeypatch: pytest.MonkeyPatch
) -> None:
    def line() -> str:
        done = club.svcctl("doctor", "--format", "ndjson")
        assert_no_secret(club, done)
        return next(one for one in done.stdout.splitlines() if '"check":"messages"' in one)

    assert '"result":"fail"' in line()
    assert "connection refused" in line()
    club.sink.start()
    assert '"result":"ok"' in line()
    monkeypatch.setenv("MAIL_PASSWORD", "hunter2-is-wrong")
    assert "refused the login (535)" in line()
    assert club.sink.to() == []


def test_a_wrong_password_is_said_and_never_shown(
    club: Club, monkeypatch: pytest.MonkeyPatch
) -> None:
    club.sink.start()
    monkeypatch.setenv("MAIL_PASSWORD", "hunter2-is-wrong")
    club.lose("ada")
    result = club.sync()
    assert result.exit_code == 0
    assert "refused the login (535)\nhint: check notify.mail.username and password" in result.stderr
    assert "hunter2" not in result.stderr + result.stdout + str(club.rows())
    assert (club.sink.logins[-1], club.sink.mails) == (False, [])
    monkeypatch.setenv("MAIL_PASSWORD", "pässwörd")
    result = club.sync()
    assert "not ASCII" in result.stderr
    assert "pässwörd" not in result.stderr
    monkeypatch.delenv("MAIL_PASSWORD")
    assert "notify.mail.password: env MAIL_PASSWORD" in club.sync().stderr
    monkeypatch.setenv("MAIL_PASSWORD", PASSWORD)
    assert club.sync().stderr == ""
    assert club.sink.to() == ["ada@example.org"]


@pytest.mark.parametrize(
    ("certificate", "ca_file", "said"),
    [
        ({"expired": True}, "ca.pem", "certificate has expired"),
        ({"name": "mail.example.net"}, "ca.pem", "Hostname mismatch"),
        ({}, "", "certificate is not trusted"),
        ({}, "nowhere.pem", "nowhere.pem: no certificates can be read from it"),
        ({}, "svcctl.toml", "svcctl.toml: no certificates can be read from it"),
    ],
)
def test_a_certificate_that_is_not_right_gets_no_password(
    club: Club, authority: Any, certificate: dict[str, Any], ca_file: str, said: str
) -> None:
    club.sink.tls = authority.context(**certificate)
    club.sink.start()
    club.configure(NOTIFY, ca_file=f'ca_file = "{ca_file}"' if ca_file else "")
    club.lose("ada")
    result = club.sync()
    assert result.exit_code == 0
    assert said in result.stderr
    assert (club.sink.logins, club.sink.mails) == ([], [])
    assert club.rows()["ada"]["sent_at"] is None


def test_a_server_without_what_is_wanted_gets_no_password(club: Club) -> None:
    club.sink.starttls = club.sink.login = False
    club.sink.start()
    club.lose("ada")
    result = club.sync()
    assert "STARTTLS extension not supported" in result.stderr
    assert 'hint: check notify.mail.port and security: 587 is "starttls"' in result.stderr
    club.configure(NOTIFY, sender='security = "tls"\nsender = "a@example.org"')
    assert "no TLS" in club.sync().stderr
    assert (club.sink.logins, club.sink.mails) == ([], [])


def test_a_silent_server_is_not_waited_for_long(club: Club) -> None:
    club.configure(NOTIFY, timeout='timeout = "1s"')
    with socket.create_server(("127.0.0.1", club.sink.port)):
        club.lose("ada")
        result = club.sync()
    assert result.exit_code == 0
    assert f"localhost:{club.sink.port}: no answer within 1s\nhint: " in result.stderr
    club.sink.start()
    assert club.sync().stderr == ""
    assert club.sink.to() == ["ada@example.org"]


def test_a_message_that_gets_no_answer_is_put_off_and_the_next_ones_are_sent(club: Club) -> None:
    club.configure(NOTIFY, timeout='timeout = "1s"')
    released = threading.Event()

    def slow(mail: Any) -> str:
        if mail.to == ("ada@example.org",):
            released.wait(30)
        return "250 OK"

    club.sink.after_data = slow
    club.sink.start()
    club.lose("ada", "bob")
    result = club.sync()
    released.set()
    assert result.exit_code == 0
    assert "notify: 1 message put off: " in result.stderr
    rows = club.rows()
    assert (rows["ada"]["sent_at"], rows["ada"]["attempts"]) == (None, 1)
    assert rows["ada"]["next_attempt_at"] > rows["ada"]["created_at"]
    assert rows["bob"]["sent_at"]
    club.sink.after_data = lambda _: "250 OK"
    assert club.sync().stderr == ""
    assert club.rows()["ada"]["sent_at"] is None
    club.due_again()
    assert club.sync().stderr == ""
    first, second = (mail for mail in club.sink.mails if mail.to == ("ada@example.org",))
    assert first.message["Message-ID"] == second.message["Message-ID"]


def test_a_server_that_wants_few_messages_at_once_is_connected_to_again(club: Club) -> None:
    club.sink.start()
    answered: list[str] = []

    def closing_time(mail: Any) -> str:
        answered.extend(mail.to)
        return "250 OK"

    club.sink.after_data = closing_time
    handle_mail = club.sink.__class__.handle_RCPT
    full = threading.Event()

    async def busy(server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if len(answered) == 1 and not full.is_set():
            full.set()
            return "421 4.7.0 too many messages on this connection"
        said: str = await handle_mail(club.sink, server, session, envelope, address, options)
        return said

    club.sink.handle_RCPT = busy
    club.lose("ada", "bob", "cyd")
    assert club.sync().stderr == ""
    assert sorted(answered) == ["ada@example.org", "bob@example.org", "cyd@example.org"]
    assert club.sink.connections == 2


def test_a_server_that_refuses_our_sender_keeps_everything_waiting(club: Club) -> None:
    async def strict(server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        return "553 5.7.1 you are not svcctl"

    club.sink.handle_MAIL = strict
    club.sink.start()
    club.lose("ada", "bob")
    result = club.sync()
    assert "2 messages are kept, not sent: " in result.stderr
    assert "refused the sender svcctl@example.org: 553 5.7.1 you are not svcctl" in result.stderr
    assert [row["refused_at"] for row in club.rows().values()] == [None, None]


# Recipients


def test_one_recipient_that_is_refused_stops_nobody_and_the_operators_hear_of_it(
    club: Club,
) -> None:
    club.sink.refuse["ada@example.org"] = "550 5.1.1 no such user \x1b[2Jhere"
    club.sink.start()
    club.lose("ada", "bob")
    result = club.sync()
    assert (result.exit_code, result.stderr) == (0, "")
    assert club.sink.to() == ["bob@example.org", "chief@example.org", "ops@example.org"]
    mail = club.sink.mails[-1]
    assert mail.subject == "[svcctl] 1 message could not be delivered"
    assert "  ada: Your Lab account was disabled: 550 5.1.1 no such user" in mail.body
    assert "\x1b" not in mail.body
    row = club.rows()["ada"]
    assert row["refused_at"]
    assert row["error"].startswith("550 5.1.1 no such user")
    assert club.sync().stderr == ""
    assert (len(club.sink.mails), club.sink.recipients.count("ada@example.org")) == (2, 1)


def test_a_recipient_who_is_put_off_is_tried_again_later_and_not_for_ever(club: Club) -> None:
    club.sink.refuse["ada@example.org"] = "450 4.2.0 greylisted"
    club.sink.start()
    club.lose("ada", "bob")
    result = club.sync()
    assert result.exit_code == 0
    assert result.stderr == (
        "notify: 1 message put off: 450 4.2.0 greylisted\nhint: later runs try again\n"
    )
    assert club.sink.to() == ["bob@example.org"]
    assert club.sync().stderr == ""
    assert club.sink.recipients.count("ada@example.org") == 1
    for attempt in range(2, 13):
        club.due_again()
        club.sync()
        assert club.rows()["ada"]["attempts"] == min(attempt, 11)
    row = club.rows()["ada"]
    assert (row["sent_at"], row["refused_at"] is None) == (None, False)
    assert club.sink.mails[-1].subject == "[svcctl] 1 message could not be delivered"


@pytest.mark.parametrize(
    "answer", ["450 4.3.0 come back", "550 5.7.1 relaying denied", "530 5.7.0 log in first"]
)
def test_a_server_that_takes_nobody_is_left_in_peace(
    build: Callable[..., Club], answer: str
) -> None:
    names = [f"user{n}" for n in range(9)]
    club = build({name: f"{name}@example.org" for name in names})
    club.sink.refuse.update({f"{name}@example.org": answer for name in names})
    club.sink.start()
    club.lose(*names[:8])
    result = club.sync()
    assert result.exit_code == 0
    assert f"put off again and again: {answer}" in result.stderr
    assert len(club.sink.recipients) == 5
    assert [row["refused_at"] for row in club.rows().values()] == [None] * 8
    club.sink.refuse.clear()
    assert club.sync().stderr == ""
    assert len(club.sink.mails) == 3
    club.due_again()
    assert club.sync().stderr == ""
    assert club.sink.to() == sorted(f"{name}@example.org" for name in names[:8])


def test_an_operator_whose_address_is_wrong_keeps_nothing_from_the_others(club: Club) -> None:
    club.sink.refuse["ops@example.org"] = "550 5.1.1 no such user"
    club.sink.start()
    with closing(SandboxManager(club.site.folder / "lab.sqlite")) as manager:
        manager.break_method("disable_account", "invalid:ada")
    club.lose("ada")
    result = club.sync()
    assert result.exit_code == 1
    assert "notify: not sent to every operator: ops@example.org: 550 5.1.1" in result.stderr
    assert club.sink.to() == ["chief@example.org"]
    club.sink.refuse["chief@example.org"] = "550 5.1.1 no such user"
    club.site.execute("DELETE FROM notifications")
    again = club.sync()
    assert "notify: the operators cannot be told: 550 5.1.1 no such user" in again.stderr
    assert club.sync().exit_code == 1
    assert len(club.sink.mails) == 1


HOSTILE = {
    "ada": "ada@example.org\r\nBcc: victim@example.org",
    "bob": "bob@example.org, victim@example.org",
    "cyd": "",
    "dan": "<dan@example.org>",
    "eve": "eve victim@example.org",
    "fay": "fay@exämple.org",
    "gus": "gus@example.org> SIZE=1 <",
    "zoe": "zoe@example.org",
}


def test_addresses_that_are_none_are_never_given_to_a_server(build: Callable[..., Club]) -> None:
    club = build({**HOSTILE, "root": ""})
    club.sink.start()
    club.lose(*HOSTILE)
    result = club.sync()
    assert (result.exit_code, result.stderr) == (0, "")
    operators = {"ops@example.org", "chief@example.org"}
    assert set(club.sink.recipients) == {"zoe@example.org"} | operators
    rows = club.rows()
    assert rows["cyd"]["error"] == "no e-mail address (attribute email)"
    assert rows["bob"]["error"].startswith("not an e-mail address: bob@")
    mail = club.sink.mails[-1]
    assert mail.subject == "[svcctl] 7 messages could not be delivered"
    assert [name for name in HOSTILE if f"  {name}: " in mail.body] == list(HOSTILE)[:-1]
    assert mail.message["Bcc"] is None
    assert len(club.sink.mails) == 2


def test_nothing_that_others_wrote_becomes_a_header(club: Club) -> None:
    club.sink.start()
    text = (
        "x\r\nBcc: victim@example.org\r\n\r\n.\r\nMAIL FROM:<evil@example.org>\n\u202e\x00 ünï " * 9
    )
    with club.site.database.write() as connection:
        (ada,) = connection.exec_driver_sql("SELECT id FROM users WHERE username = 'ada'").one()
        add(connection, [{"user_id": ada, "operation_id": None, "title": text, "message": text}])
    assert club.sync().stderr == ""
    (mail,) = club.sink.mails
    assert (mail.sender, mail.to) == ("svcctl@example.org", ("ada@example.org",))
    assert mail.message["Bcc"] is None
    assert set(mail.message.keys()) == {
        "Subject",
        "From",
        "To",
        "Date",
        "Message-ID",
        "Auto-Submitted",
        "Content-Type",
        "Content-Transfer-Encoding",
        "MIME-Version",
    }
    assert len(mail.subject) <= 200
    assert "ünï" in mail.body
    assert "\n.\n" not in mail.subject
    assert mail.body.count("Bcc: victim@example.org") >= 9
    assert not re.search("[\u202e\x00]", mail.body + mail.subject)


# Crashes, and two at once


def test_killed_after_the_server_said_yes_and_one_mail_comes_twice_at_most(club: Club) -> None:
    club.lose("ada", "bob", "cyd")
    assert club.sync().exit_code == 0
    child: list[Fork] = []
    begun = threading.Event()

    def kill(mail: Any) -> str:
        begun.wait(30)
        if len(club.sink.mails) == 2:
            child[0].send(signal.SIGKILL)
            child[0].wait()
        return "250 OK"

    club.sink.after_data = kill
    club.sink.start()
    child.append(club.start("sync", "--all"))
    begun.set()
    assert child[0].wait() == -signal.SIGKILL
    assert sum(row["sent_at"] is not None for row in club.rows().values()) == 1
    assert club.sync().stderr == ""
    assert len(club.sink.mails) == 4
    assert set(club.sink.to()) == {"ada@example.org", "bob@example.org", "cyd@example.org"}
    assert len({mail.message["Message-ID"] for mail in club.sink.mails}) == 3
    assert all(row["sent_at"] for row in club.rows().values())


def test_two_runs_at_once_send_each_mail_once(club: Club) -> None:
    club.lose("ada", "bob")
    assert club.sync().exit_code == 0
    sending, go_on = threading.Event(), threading.Event()

    def wait(mail: Any) -> str:
        sending.set()
        go_on.wait(30)
        return "250 OK"

    club.configure(NOTIFY, timeout='timeout = "1m"')
    club.sink.after_data = wait
    club.sink.start()
    first = club.start("sync", "--all")
    assert sending.wait(30)
    second = club.sync()
    assert (second.exit_code, second.stderr, len(club.sink.mails)) == (0, "", 1)
    go_on.set()
    assert first.wait() == 0
    assert (first.stdout, first.stderr) == ("", "")
    assert club.sink.to() == ["ada@example.org", "bob@example.org"]


def test_a_signal_ends_the_sending_after_the_message_at_hand(club: Club) -> None:
    club.lose("ada", "bob")
    assert club.sync().exit_code == 0
    child: list[Fork] = []
    begun = threading.Event()

    def interrupt(mail: Any) -> str:
        begun.wait(30)
        child[0].send(signal.SIGTERM)
        return "250 OK"

    club.sink.after_data = interrupt
    club.sink.start()
    child.append(club.start("sync", "--all"))
    begun.set()
    assert (child[0].wait(), len(club.sink.mails)) == (0, 1)
    assert "Traceback" not in child[0].stderr
    assert sorted(row["sent_at"] is None for row in club.rows().values()) == [False, True]


def test_the_password_can_be_checked_without_a_mail(
    club: Club, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert club.svcctl("config", "check", "--secrets").exit_code == 0
    monkeypatch.delenv("MAIL_PASSWORD")
    result = club.svcctl("config", "check")
    assert result.exit_code == 78
    assert "notify.mail.password: env MAIL_PASSWORD" in result.stdout
    shown = club.svcctl("config", "show")
    assert PASSWORD not in shown.stdout
    assert os.environ.get("MAIL_PASSWORD") is None
    assert Path("svcctl.toml").exists()
