"""Proving an address by a code: over real SMTP, once, for this run and no other."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.notify.conftest import PASSWORD, USERNAME, Authority, Sink, authority, sink
from tests.support.pipelines import ME, STEPS, ran

if TYPE_CHECKING:
    from tests.conftest import Site, Svcctl

__all__ = ["authority", "sink"]

VALIDATED = (*STEPS[:6], "mail_validation", *STEPS[6:])
FORCED = "FORCE_EMAIL_VALIDATION = true\n"


@pytest.fixture
def mailing(
    club: "Callable[..., Site]",
    sink: Sink,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> "Callable[..., Site]":
    """`mailing(settings)`: a site whose new users prove their address, and a mail server."""

    def build(settings: str = FORCED, *, notify: bool = True) -> "Site":
        authority.file(tmp_path / "ca.pem")
        more = f"""
        [notify]
        deliver = "mail"
        operators = ["ops@example.org"]
        [notify.mail]
        host = "localhost"
        port = {sink.port}
        ca_file = "ca.pem"
        username = "{USERNAME}"
        password = {{ env = "MAIL_PASSWORD" }}
        sender = "svcctl@example.org"
        """
        one = club(*VALIDATED, settings=settings, more=more if notify else "")
        monkeypatch.setenv("MAIL_PASSWORD", PASSWORD)
        return one

    return build


def code_in(body: str) -> str:
    found = re.search(r"\b[0-9a-f]{32}\b", body)
    assert found
    return found[0]


def paused(svcctl: "Svcctl") -> str:
    done = ran(svcctl, "run", "join", "-r", "me.json", code=6)
    assert done["partial"]["needs"] == ["verification_code"]
    id_: str = done["partial"]["id"]
    return id_


def test_a_code_is_mailed_and_who_has_it_comes_in(
    mailing: "Callable[..., Site]",
    svcctl: "Svcctl",
    sink: Sink,
) -> None:
    one = mailing()
    sink.start()
    id_ = paused(svcctl)
    (mail,) = sink.mails
    assert (mail.to, mail.subject) == (
        ("ada@example.org",),
        "[svcctl] your code to prove your address",
    )
    code = code_in(mail.body)
    # The code stands nowhere any more, and nobody is a user yet.
    one.database.close()
    for path in one.folder.iterdir():
        if path.is_file():
            assert code.encode() not in path.read_bytes(), path
    assert one.rows("SELECT * FROM users") == []
    done = ran(svcctl, "resume", id_, "--set", f"verification_code={code}")
    assert (done["outcome"], done["user"]) == ("done", "ada")
    (kept,) = one.rows("SELECT email, verified_at FROM codes")
    assert kept["verified_at"]
    assert ran(svcctl, "run", "join", "-r", "me.json")["user"] == "ada"
    assert len(sink.mails) == 1


def test_a_wrong_code_is_refused_and_the_run_can_still_go_on(
    mailing: "Callable[..., Site]",
    svcctl: "Svcctl",
    sink: Sink,
) -> None:
    one = mailing()
    sink.start()
    id_ = paused(svcctl)
    done = ran(svcctl, "resume", id_, "--set", "verification_code=" + "0" * 32, code=7)
    assert done["code"] == "email_verification_rejected"
    assert one.rows("SELECT attempts FROM partials") == [{"attempts": 1}]
    code = code_in(sink.mails[0].body)
    ran(svcctl, "resume", id_, "--set", f"verification_code={code}")


def test_a_code_counts_once_for_its_address_and_its_run_and_not_for_ever(
    mailing: "Callable[..., Site]",
    svcctl: "Svcctl",
    sink: Sink,
) -> None:
    one = mailing()
    sink.start()
    first, second = paused(svcctl), paused(svcctl)
    codes = [code_in(mail.body) for mail in sink.mails]
    # One that was made for another run of the same person.
    assert ran(svcctl, "resume", first, "--set", f"verification_code={codes[1]}", code=7)
    one.execute("UPDATE codes SET email = 'Ada@example.org'")
    assert ran(svcctl, "resume", first, "--set", f"verification_code={codes[0]}", code=7)
    one.execute("UPDATE codes SET email = 'ada@example.org', created_at = '2020-01-01T00:00:00Z'")
    assert ran(svcctl, "resume", first, "--set", f"verification_code={codes[0]}", code=7)
    one.execute("UPDATE codes SET created_at = '2999-01-01T00:00:00Z'")
    ran(svcctl, "resume", first, "--set", f"verification_code={codes[0]}")
    one.execute("UPDATE codes SET partial_id = :id", id=second)
    done = ran(svcctl, "resume", second, "--set", f"verification_code={codes[0]}", code=7)
    assert done["code"] == "email_verification_rejected"


def test_without_a_code_another_one_is_sent(
    mailing: "Callable[..., Site]",
    svcctl: "Svcctl",
    sink: Sink,
) -> None:
    mailing()
    sink.start()
    id_ = ran(svcctl, "resume", paused(svcctl), code=6)["partial"]["id"]
    codes = [code_in(mail.body) for mail in sink.mails]
    assert len(set(codes)) == 2
    ran(svcctl, "resume", id_, "--set", f"verification_code={codes[1]}")


def test_an_outage_of_the_mail_server_loses_no_code_and_it_waits_encrypted(
    mailing: "Callable[..., Site]",
    svcctl: "Svcctl",
    sink: Sink,
) -> None:
    one = mailing()
    done = svcctl("pipeline", "run", "join", "-r", "me.json")
    assert done.exit_code == 6
    assert "note: notify: 1 message is kept, not sent" in done.stderr
    (row,) = one.rows("SELECT message, sealed, address FROM notifications")
    assert row["address"] == "ada@example.org"
    assert not re.search(r"[0-9a-f]{32}", row["message"])
    sink.start()
    assert svcctl("retry").exit_code == 0
    assert code_in(sink.mails[0].body)
    assert one.rows("SELECT sealed FROM notifications") == [{"sealed": None}]


def test_a_code_whose_key_is_gone_waits_and_keeps_no_other_message_back(
    mailing: "Callable[..., Site]",
    svcctl: "Svcctl",
    sink: Sink,
) -> None:
    one = mailing()
    paused(svcctl)
    one.execute(
        "INSERT INTO notifications (title, message, key, created_at, attempts)"
        " VALUES ('news', 'something', 'k', '2026-01-01T00:00:00Z', 0)"
    )
    (one.folder / "svcctl.key").rename(one.folder / "elsewhere.key")
    sink.start()
    done = svcctl("retry")
    assert done.exit_code == 0, done
    assert "vault_key" in done.stderr
    assert [mail.subject for mail in sink.mails] == ["[svcctl] news"]
    (one.folder / "elsewhere.key").rename(one.folder / "svcctl.key")
    one.execute("UPDATE notifications SET next_attempt_at = NULL")
    assert svcctl("retry").exit_code == 0
    assert code_in(sink.mails[1].body)


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        (FORCED, True),
        ("GITHUB_FORCE_EMAIL_VALIDATION = true", True),
        ("SOCIAL_AUTH_GITHUB_FORCE_EMAIL_VALIDATION = true", True),
        ("GITLAB_FORCE_EMAIL_VALIDATION = true", False),
        ("", False),
    ],
)
def test_it_is_forced_for_all_backends_or_for_one(
    mailing: "Callable[..., Site]",
    svcctl: "Svcctl",
    settings: str,
    asked: bool,  # noqa: FBT001
) -> None:
    one = mailing(settings)
    one.configure((one.folder / "svcctl.toml").read_text() + '[backends.gitlab]\nuid = "id"\n')
    done = svcctl("pipeline", "run", "join", "-b", "github", "-r", "me.json", "--dry-run")
    assert done.exit_code == (6 if asked else 0), done


def test_the_custom_function_is_called_after_all_is_kept_with_three_or_four_arguments(
    mailing: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    import acme_steps  # type: ignore[import-not-found]

    url = 'EMAIL_VALIDATION_URL = "https://example.org/sent"\n'
    for number, name in enumerate(("send_three", "send_four")):
        acme_steps.sent.clear()
        function = f'EMAIL_VALIDATION_FUNCTION = "acme_steps.{name}"\n'
        one = mailing(FORCED + url + function, notify=False)
        one.write("me.json", json.dumps({**ME, "id": number, "login": f"user{number}"}))
        dry = ran(svcctl, "run", "join", "-r", "me.json", "--dry-run", code=6)
        assert f"would call acme_steps.{name} for ada@example.org" in dry["would"]
        assert acme_steps.sent == []
        done = ran(svcctl, "run", "join", "-r", "me.json", code=6)
        assert done["response"] == "redirect to https://example.org/sent"
        (given,) = acme_steps.sent
        if name == "send_three":
            assert given[:2] == ("https://example.org/sent", "github")
            code, words = given[2], [done["partial"]["id"]]
        else:
            code, words = given[0], [given[3], "--yes"]
            assert given[1:3] == ("ada@example.org", False)
        again = ran(svcctl, "resume", *words, "--set", f"verification_code={code}")
        assert again["user"] == f"user{number}"


def test_a_sender_that_fails_is_told_and_the_run_waits(
    mailing: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    one = mailing(f'{FORCED}EMAIL_VALIDATION_FUNCTION = "acme_steps.send_nothing"\n', notify=False)
    done: dict[str, Any] = ran(svcctl, "run", "join", "-r", "me.json", code=1)
    assert done["outcome"] == "paused"
    assert "no code was sent to ada@example.org" in done["problems"][0]["message"]
    assert len(one.rows("SELECT * FROM partials")) == 1


def test_no_way_to_send_is_a_mistake_in_the_configuration(
    mailing: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    one = mailing(notify=False)
    done = svcctl("pipeline", "run", "join", "-r", "me.json")
    assert (done.exit_code, "mail_validation: has no way to send its codes" in done.stderr) == (
        78,
        True,
    )
    assert one.rows("SELECT * FROM runs") == []
