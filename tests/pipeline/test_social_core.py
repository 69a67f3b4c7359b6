"""social-core's own default steps and backends, unmodified, on svcctl's engine, strategy and store.

Responses are canned; nothing of it speaks to a provider.
"""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from social_core.pipeline import DEFAULT_AUTH_PIPELINE, DEFAULT_DISCONNECT_PIPELINE

from tests.support.pipelines import pipeline, ran

if TYPE_CHECKING:
    from tests.conftest import Site, Svcctl


def theirs(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names as svcctl takes them for social-core's own functions."""
    return tuple(":".join(name.rsplit(".", 1)) for name in names)


THEIRS = theirs(DEFAULT_AUTH_PIPELINE)
OURS = tuple(name.rsplit(":", 1)[1] for name in THEIRS)
TOKEN = {"access_token": "a-token", "token_type": "bearer", "expires_in": 3600}
BACKENDS: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "github": (
        "social_core.backends.github.GithubOAuth2",
        {"id": 1, "login": "ada", "email": "ada@example.org", "name": "Ada Lovelace"},
        "1",
        "ada",
    ),
    "discord": (
        "social_core.backends.discord.DiscordOAuth2",
        {"id": "80351110224678912", "username": "ada", "email": "ada@example.org"},
        "80351110224678912",
        "ada",
    ),
    "google-oauth2": (
        "social_core.backends.google.GoogleOAuth2",
        {"sub": "10769150350006150715113082367", "email": "ada@example.org", "name": "Ada L"},
        "10769150350006150715113082367",
        "ada",
    ),
    "eveonline": (
        "social_core.backends.eveonline.EVEOnlineOAuth2",
        {"CharacterID": 95465499, "CharacterName": "CCP Bartender", "CharacterOwnerHash": "h"},
        "95465499",
        "CCPBartender",
    ),
}


def configured(
    site: Callable[[str], "Site"], name: str, steps: tuple[str, ...], leave: tuple[str, ...]
) -> "Site":
    backend_class, response, _, _ = BACKENDS[name]
    one = site(
        'directory.attributes = ["fullname", "first_name", "last_name"]\n'
        + pipeline(*steps)
        + pipeline(*leave, kind="disconnect", name="leave", settings="ALLOW_LAST_DISCONNECT = true")
        + f'[backends."{name}"]\nclass = "{backend_class}"\n'
    )
    one.write("me.json", json.dumps({**response, **TOKEN}))
    return one


def outcome(
    site: "Site", svcctl: "Svcctl", monkeypatch: pytest.MonkeyPatch, name: str
) -> dict[str, Any]:
    """What a new login, a returning one and a leave come to."""
    if name == "eveonline":  # it asks its provider who has the token
        from social_core.backends.eveonline import EVEOnlineOAuth2

        answer = BACKENDS[name][1]
        monkeypatch.setattr(EVEOnlineOAuth2, "user_data", lambda *_args, **_kwargs: answer)
    found: dict[str, Any] = {}
    for login in ("new", "returning"):
        done = ran(svcctl, "run", "join", "-r", "me.json")
        context = done["context"]
        found[login] = {
            "user": done["user"],
            "is_new": done["is_new"],
            "context": {key: context[key] for key in ("details", "uid", "username", "social")},
        }
    found["users"] = site.rows("SELECT username, attributes FROM users")
    found["associations"] = site.rows("SELECT provider, uid, id_key FROM associations")
    ran(svcctl, "run", "leave", "--user", found["users"][0]["username"])
    found["left"] = site.rows("SELECT provider FROM associations")
    return found


@pytest.mark.parametrize("name", BACKENDS)
def test_their_steps_and_ours_come_to_the_same_on_svcctl_s_store(
    site: Callable[[str], "Site"],
    svcctl: "Svcctl",
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    leave = theirs(DEFAULT_DISCONNECT_PIPELINE)
    one = configured(site, name, THEIRS, leave)
    by_theirs = outcome(one, svcctl, monkeypatch, name)
    _, _, uid, username = BACKENDS[name]
    assert [row["username"] for row in by_theirs["users"]] == [username]
    assert [row["uid"] for row in by_theirs["associations"]] == [uid]
    assert (by_theirs["new"]["is_new"], by_theirs["returning"]["is_new"]) == (True, False)
    assert by_theirs["left"] == []
    for table in ("users", "runs"):
        one.execute(f"DELETE FROM {table}")
    other = configured(site, name, OURS, tuple(word.rsplit(":", 1)[1] for word in leave))
    assert outcome(other, svcctl, monkeypatch, name) == by_theirs


def test_their_partial_and_mail_validation_run_here_too(
    site: Callable[[str], "Site"], svcctl: "Svcctl", monkeypatch: pytest.MonkeyPatch
) -> None:
    import acme_steps  # type: ignore[import-not-found]

    acme_steps.sent.clear()
    steps = (*THEIRS[:6], "social_core.pipeline.mail:mail_validation", *THEIRS[6:])
    one = configured(site, "github", steps, theirs(DEFAULT_DISCONNECT_PIPELINE))
    text = (one.folder / "svcctl.toml").read_text()
    one.configure(
        text.replace(
            "[pipelines.join.settings]\n",
            "[pipelines.join.settings]\nFORCE_EMAIL_VALIDATION = true\n"
            'EMAIL_VALIDATION_URL = "/sent"\n'
            'EMAIL_VALIDATION_FUNCTION = "acme_steps.send_four"\n',
        )
    )
    id_ = ran(svcctl, "run", "join", "-r", "me.json", code=6)["partial"]["id"]
    (code, address, verified, _token) = acme_steps.sent[0]
    assert (address, verified) == ("ada@example.org", False)
    wrong = ran(svcctl, "resume", id_, "--set", "verification_code=x", code=7)
    assert wrong["code"] == "email_verification_rejected"
    done = ran(svcctl, "resume", id_, "--set", f"verification_code={code}")
    assert done["user"] == "ada"


def test_their_refusals_are_refusals_here_with_their_code(
    site: Callable[[str], "Site"], svcctl: "Svcctl"
) -> None:
    one = configured(site, "github", THEIRS, theirs(DEFAULT_DISCONNECT_PIPELINE))
    text = (one.folder / "svcctl.toml").read_text()
    one.configure(
        text.replace(
            "[pipelines.join.settings]\n",
            '[pipelines.join.settings]\nWHITELISTED_DOMAINS = ["example.com"]\n',
        )
    )
    done = ran(svcctl, "run", "join", "-r", "me.json", code=7)
    assert (done["outcome"], done["code"]) == ("refused", "authentication_disallowed")
    assert "step social_core.pipeline.social_auth:auth_allowed" in done["error"]
