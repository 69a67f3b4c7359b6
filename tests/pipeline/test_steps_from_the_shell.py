"""The shipped steps through the front door: a life of logins, from the first to the last."""

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Site, Svcctl

CONFIG = """
[directory]
attributes = ["fullname", "first_name", "last_name"]

[notify]
deliver = "file"
file = "mail.ndjson"

[pipelines.join]
steps = [
    "social.pipeline.social_auth.social_details",
    "social_core.pipeline.social_auth.social_names",
    "social_uid", "auth_allowed", "social_user", "get_username", "mail_validation",
    "create_user", "associate_user", "load_extra_data", "user_details",
]

[pipelines.join.settings]
SOCIAL_AUTH_WHITELISTED_DOMAINS = ["example.org"]
GITHUB_FORCE_EMAIL_VALIDATION = true

[pipelines.leave]
kind = "disconnect"

[backends.github]
uid = "id"
details = { username = "login", email = "email", fullname = "name" }
extra_data = ["login", ["plan.name", "plan"], ["absent", "absent", true]]

[backends.discord]
class = "social_core.backends.discord.DiscordOAuth2"
"""
ADA = {
    "id": 1,
    "login": "Ada L.",
    "email": "ada@example.org",
    "name": "Ada Lovelace",
    "plan": {"name": "free"},
}
DISCORD = {"id": "80351110224678912", "username": "ada", "email": "ada@example.org"}


class Shell:
    """svcctl, and people who come from providers."""

    def __init__(self, site: "Site", svcctl: "Svcctl") -> None:
        self.site = site
        self.svcctl = svcctl

    def run(self, *words: str, exit_code: int = 0) -> Any:
        """What a command answers, as JSON."""
        done = self.svcctl("pipeline", *words, "--json")
        assert done.exit_code == exit_code, done.stderr
        return json.loads(done.stdout) if done.stdout else done.stderr

    def join(self, backend: str, response: Any, *more: str, exit_code: int = 0) -> Any:
        """Somebody comes from a provider."""
        self.site.write("me.json", json.dumps(response))
        words = ("run", "join", "--backend", backend, "--response", "me.json", *more)
        return self.run(*words, exit_code=exit_code)

    def code(self) -> str:
        """The code of the newest letter."""
        letters = (self.site.folder / "mail.ndjson").read_text(encoding="utf-8").splitlines()
        found = re.search(r"[0-9a-f]{32}", json.loads(letters[-1])["body"])
        assert found
        return found[0]

    def waiting(self) -> list[str]:
        """The ids of runs that paused."""
        return [row["id"] for row in self.run("partials")["rows"]]

    def users(self) -> list[str]:
        return [row["username"] for row in self.site.rows("SELECT username FROM users")]

    def associations(self) -> list[tuple[str, str]]:
        rows = self.site.rows("SELECT provider, uid FROM associations ORDER BY id")
        return [(row["provider"], row["uid"]) for row in rows]


@pytest.fixture
def shell(site: "Callable[[str], Site]", svcctl: "Svcctl") -> Shell:
    return Shell(site(CONFIG), svcctl)


def test_a_life_of_logins(shell: Shell) -> None:
    shell.join("github", ADA, exit_code=6)
    assert shell.users() == []
    (paused,) = shell.waiting()
    code = shell.code()
    assert (
        "does not show"
        in shell.run("resume", paused, "--set", "verification_code=guess", exit_code=7)["error"]
    )
    assert shell.users() == []
    shell.run("resume", paused, "--set", f"verification_code={code}")
    assert shell.users() == ["AdaL."]
    assert shell.waiting() == []

    shell.join("github", ADA | {"name": "Ada King"})
    assert shell.users() == ["AdaL."]
    (row,) = shell.site.rows("SELECT attributes FROM users")
    assert json.loads(row["attributes"])["fullname"] == "Ada King"

    shell.join("discord", DISCORD, "--user", "AdaL.")
    assert shell.associations() == [("github", "1"), ("discord", "80351110224678912")]

    shell.run("run", "leave", "--backend", "github", "--user", "AdaL.")
    assert shell.associations() == [("discord", "80351110224678912")]
    said = shell.run("run", "leave", "--backend", "discord", "--user", "AdaL.", exit_code=7)
    assert "discord is the last way in" in said["error"]


@pytest.mark.parametrize(
    ("response", "said"),
    [
        ({"login": "bob", "email": "bob@example.org"}, "no uid in the response, id is missing"),
        (ADA | {"email": "ada@elsewhere.example"}, "ada@elsewhere.example is not let in"),
        (ADA | {"email": None}, "Ada L. is not let in"),
        (ADA | {"name": ["Ada"]}, "details.fullname: list instead of text"),
    ],
)
def test_who_is_refused_leaves_nothing_behind(shell: Shell, response: Any, said: str) -> None:
    assert said in shell.join("github", response, exit_code=7)["error"]
    assert shell.users() == []
    assert shell.waiting() == []


def test_a_code_is_for_its_own_run(shell: Shell) -> None:
    shell.join("github", ADA, exit_code=6)
    (adas,), first = shell.waiting(), shell.code()
    shell.join("github", ADA | {"id": 2, "login": "twin"}, exit_code=6)
    (twins,) = set(shell.waiting()) - {adas}
    shell.run("resume", twins, "--set", f"verification_code={first}", exit_code=7)
    assert shell.users() == []
    shell.run("resume", adas, "--set", f"verification_code={first}")
    assert shell.users() == ["AdaL."]
