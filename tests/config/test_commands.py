"""`svcctl config check`, `show` and `schema`, as a person types them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tomli

from svcctl.config.load import load

if TYPE_CHECKING:
    from tests.conftest import Svcctl

Module = Callable[[str, str], None]

FORUM = """
from svcctl.config.secrets import Secret
from svcctl.config.service import HookConfig
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import Manager

class Config(HookConfig):
    token: Secret
    legacy_password: str = ""

class ForumManager(Manager):
    def __init__(self, token, legacy_password=""): pass
    def delete_account(self, uid): pass

class ForumHook(ServiceHook):
    config_class = Config
    manager_class = ForumManager
"""

SITE = """
database = "postgresql://me:hunter2@db/x"
[directory.sources.people]
type = "csv"
path = "people.csv"
[services.wiki]
hook = "htpasswd"
password_file = "pw"
removal = { mode = "disable", delete_after = "30d" }
[services.forum]
hook = "forum:ForumHook"
url = "https://bot:hunter2@forum.example.org/"
legacy_password = "hunter2"
"""


@pytest.fixture
def site(folder: Path, module: Module, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOKEN", "hunter2")
    module("forum", FORUM)
    path = folder / "svcctl.toml"
    path.write_text(SITE + 'token = { env = "TOKEN" }\n')
    return path


def test_check_says_what_is_there_and_doubts_the_rest(svcctl: "Svcctl", site: Path) -> None:
    result = svcctl("config", "check")
    assert result.exit_code == 0
    assert result.stdout == f"{site}: ok: 2 services, 1 state, 1 source\n"
    people = site.parent / "people.csv"
    assert result.stderr == (
        f"warning: {site}: database: a password in the configuration; "
        "leave it out and use ~/.pgpass, $PGPASSFILE or peer authentication\n"
        f"warning: {site}: directory.sources.people.path: {people} does not exist; "
        "`directory pull` needs it\n"
    )


def test_check_lists_every_problem_and_exits_78(
    svcctl: "Svcctl", site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOKEN")
    site.write_text(site.read_text().replace("password_file", "pasword_file"))
    result = svcctl("config", "check")
    assert result.exit_code == 78
    assert result.stdout.splitlines() == [
        f"{site}: services.wiki.password_file: missing; "
        "AuthUserFile, or nginx's auth_basic_user_file",
        f"{site}: services.wiki.pasword_file: unknown key; did you mean password_file?",
        f"{site}: services.forum.token: env TOKEN: is not set; "
        "export TOKEN, or use a file or a systemd credential",
    ]


def test_check_answers_in_json(svcctl: "Svcctl", folder: Path) -> None:
    (folder / "svcctl.toml").write_text("databse = 1\n")
    result = svcctl("config", "check", "--json")
    assert result.exit_code == 78
    assert json.loads(result.stdout) == {
        "schema": "svcctl.config.check/1",
        "file": str(folder / "svcctl.toml"),
        "ok": False,
        "problems": [f"{folder}/svcctl.toml: databse: unknown key; did you mean database?"],
        "warnings": [],
    }


def test_check_asks_the_hooks_although_something_else_is_wrong(
    svcctl: "Svcctl", site: Path
) -> None:
    """Whoever mends what is said has mended all of it."""
    broken = site.read_text().replace("password_file", "pasword_file")
    site.write_text(f"databse = 1\n{broken}\n[states.Member]\npriority = 'high'\n")
    result = svcctl("config", "check")
    assert result.exit_code == 78
    assert result.stdout.splitlines() == [
        f"{site}: states.Member.priority: must be a whole number, not text",
        f"{site}: databse: unknown key; did you mean database?",
        f"{site}: services.wiki.password_file: missing; "
        "AuthUserFile, or nginx's auth_basic_user_file",
        f"{site}: services.wiki.pasword_file: unknown key; did you mean password_file?",
    ]


def test_check_without_a_file_says_how_to_make_one(svcctl: "Svcctl", folder: Path) -> None:
    result = svcctl("config", "check")
    assert result.exit_code == 78
    assert result.stdout.startswith("svcctl.toml: no such file; `svcctl init` writes one")


def test_check_fetches_secrets_only_when_told(svcctl: "Svcctl", site: Path) -> None:
    ran = site.parent / "ran"
    text = SITE + f'token = {{ command = ["sh", "-c", "echo hunter2 >{ran}; exit 4"] }}\n'
    site.write_text(text)
    assert svcctl("config", "check").exit_code == 0
    assert not ran.exists()
    result = svcctl("config", "check", "--secrets")
    assert ran.exists()
    assert result.exit_code == 78
    assert result.stdout == (
        f"{site}: services.forum.token: command sh: failed with exit code 4; "
        "run it by hand, as the same user, to see why\n"
    )


def test_check_warns_of_a_public_state_above_others(svcctl: "Svcctl", folder: Path) -> None:
    (folder / "svcctl.toml").write_text("""
        [states.Everybody]
        priority = 9
        public = true
        [states.Member]
        priority = 5
    """)
    result = svcctl("config", "check")
    assert result.exit_code == 0
    assert "states.Everybody.priority: public and above Member" in result.stderr


def test_show_is_what_takes_effect_without_secrets(svcctl: "Svcctl", site: Path) -> None:
    result = svcctl("config", "show")
    assert result.exit_code == 0
    assert result.stderr == f"read from {site}\n"
    assert "hunter2" not in result.stdout
    shown = tomli.loads(result.stdout)
    assert shown["database"] == "postgresql://me:***@db/x"
    assert shown["states"] == {
        "Guest": {"priority": 0, "public": True, "users": [], "groups": [], "attributes": {}}
    }
    assert shown["services"]["wiki"]["password_file"] == str(site.parent / "pw")
    assert shown["services"]["wiki"]["removal"] == {"mode": "disable", "delete_after": "30d"}
    forum = shown["services"]["forum"]
    assert forum["token"] == {"env": "TOKEN"}
    assert forum["legacy_password"] == "***"
    assert forum["url"] == "https://bot:***@forum.example.org/"
    assert "# title = (not set)\n" in result.stdout


@pytest.mark.parametrize("table", ["", 'hook = ""\n', "hook = 1\n"])
def test_a_service_without_a_hook_is_said_once(svcctl: "Svcctl", folder: Path, table: str) -> None:
    (folder / "svcctl.toml").write_text(f'[services.idp]\n{table}base_url = "http://x"\n')
    said = svcctl("config", "check")
    assert said.exit_code == 78
    assert "defect" not in said.stderr
    assert said.stdout.count("services.idp.hook: ") == 1


def test_a_password_with_a_slash_in_a_url_is_not_told(svcctl: "Svcctl", folder: Path) -> None:
    (folder / "svcctl.toml").write_text('database = "postgresql://me:hun/ter2@db/x"\n')
    shown = svcctl("config", "show")
    assert tomli.loads(shown.stdout)["database"] == "postgresql://me:***@db/x"
    for url in ('hook = "scim"\nbase_url = "http://u:hun', 'hook = "ldap"\nserver = "ldap://u:hun'):
        (folder / "svcctl.toml").write_text(f'[services.idp]\n{url}/ter2@host"\nbase = "dc=x"\n')
        for command in ("check", "show"):
            said = svcctl("config", command)
            assert said.exit_code == 78
            assert "not a URL" in said.stdout + said.stderr
            assert "hun" not in said.stdout + said.stderr


def test_what_show_shows_is_a_configuration_again(svcctl: "Svcctl", folder: Path) -> None:
    (folder / "svcctl.toml").write_text("""
        protected = ["root"]
        [directory]
        attributes = ["office"]
        limits = { removals = "15%" }
        sources.people = { type = "csv", path = "p.csv", delimiter = ";" }
        [states.Member]
        priority = 1
        attributes = { office = ["A\\u0007"] }
        [services.wiki]
        hook = "htpasswd"
        password_file = "pw"
        name_formats = { Member = "M {username}" }
        access = { states = ["Member", "Guest"] }
        removal = { mode = "disable", delete_after = "36h" }
        groups = { map = { a = "b", c = ["d", "e"] } }
    """)
    first = svcctl("config", "show").stdout
    (folder / "svcctl.toml").write_text(first)
    assert svcctl("config", "show").stdout == first
    load(Path("svcctl.toml"))


def test_show_answers_in_json(svcctl: "Svcctl", site: Path) -> None:
    result = svcctl("config", "show", "--json")
    document = json.loads(result.stdout)
    assert document["schema"] == "svcctl.config/1"
    assert document["file"] == str(site)
    assert document["settings"]["services"]["forum"]["token"] == {"env": "TOKEN"}
    assert "hunter2" not in result.stdout + result.stderr


def test_show_keeps_the_settings_of_a_broken_service_to_itself(
    svcctl: "Svcctl", site: Path
) -> None:
    site.write_text(SITE + 'token = "hunter2"\n')
    result = svcctl("config", "show")
    assert result.exit_code == 78
    assert tomli.loads(result.stdout)["services"]["forum"] == {"hook": "forum:ForumHook"}
    assert "services.forum.token: a secret has no place in the configuration" in result.stderr
    assert "hunter2" not in result.stdout + result.stderr


def test_a_wrong_file_says_every_problem_on_stderr(svcctl: "Svcctl", folder: Path) -> None:
    (folder / "svcctl.toml").write_text("databse = 1\nprotectd = 2\n")
    result = svcctl("-vv", "config", "show")
    assert result.exit_code == 78
    assert result.stdout == ""
    assert result.stderr.endswith(
        "error: svcctl.toml: 2 problems in the configuration\n"
        "  svcctl.toml: databse: unknown key; did you mean database?\n"
        "  svcctl.toml: protectd: unknown key; did you mean protected?\n"
    )


def test_the_schema_describes_every_hook(svcctl: "Svcctl", site: Path) -> None:
    result = svcctl("config", "schema")
    assert result.exit_code == 0
    schema = json.loads(result.stdout)
    assert schema["title"] == "svcctl.toml"
    assert not schema["additionalProperties"]
    choices = schema["properties"]["services"]["additionalProperties"]["anyOf"]
    named = [choice["allOf"][1]["properties"]["hook"].get("const") for choice in choices]
    # mosquitto: the example is installed next to svcctl, as any package may be.
    installed = ["htpasswd", "http", "ldap", "mosquitto", "sandbox", "scim", "sql"]
    assert named == ["command", "forum:ForumHook", *installed, None]
    assert "legacy_password" in schema["$defs"]["Config"]["properties"]
    references = set(json.dumps(schema).split('"#/$defs/')[1:])
    assert {text.partition('"')[0] for text in references} <= schema["$defs"].keys()


def test_the_schema_needs_no_configuration(svcctl: "Svcctl", folder: Path) -> None:
    result = svcctl("config", "schema")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["properties"]["services"]
    assert result.stderr == (
        "warning: svcctl.toml: no such file; without the hooks that only it names\n"
    )
