"""`svcctl services`: what is configured, what it can do, whether it works, and pausing it."""

import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from svcctl.hooks.registry import available

KNOWN = f"known: {', '.join(sorted(available()))}"
CHAT = """
[services.chat]
hook = "sandbox"
path = "chat.db"
create = "auto"
url = "https://chat.example"
access.states = ["Member"]
"""
WEB = """
[services.web]
hook = "htpasswd"
password_file = "passwords"
access.users = ["bob"]
removal = { mode = "disable", delete_after = "30d" }
limits.removals = "50%"
rate = "5/s"
"""
BROKEN = """
[services.broken]
hook = "nosuch"
"""
MEMBER = """
[states.Member]
priority = 10
groups = ["corp"]
"""
ALL_VERBS = {
    "change_groups",
    "check",
    "create_account",
    "delete_account",
    "disable_account",
    "enable_account",
    "find_account",
    "get_account",
    "list_accounts",
    "list_groups",
    "set_nickname",
    "set_password",
}
WEB_VERBS = sorted(ALL_VERBS - {"change_groups", "list_groups", "set_nickname"})
VERSION = version("svcctl")

SHOP = """
from svcctl.config.secrets import Secret
from svcctl.config.service import HookConfig
from svcctl.errors import Denied
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import Manager, RateLimit
from svcctl.model import ServiceRow


class ShopConfig(HookConfig):
    token: Secret


class Shop(Manager):
    rate = RateLimit(250, 60.0)

    def __init__(self, token):
        self.token = token

    def delete_account(self, uid):
        pass


class Careless(Shop):
    def check(self):
        raise RuntimeError(f"connection with {self.token} refused")


class ShopHook(ServiceHook):
    config_class = ShopConfig
    manager_class = Shop
    version = "7"

    def render_service_ctrl(self, user):
        return ServiceRow(self.name, "<b>Shop</b>", "x&y", "", "absent", ("buy", "sell"))


class CarelessHook(ShopHook):
    manager_class = Careless

    def render_service_ctrl(self, user):
        raise LookupError("no such shelf")


class TornHook(ShopHook):
    service_ctrl_template = "<tr>$nonsense</tr>"
"""


@pytest.fixture(autouse=True)
def _moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime(2026, 11, 22, 20, 40, 22, tzinfo=UTC)
    monkeypatch.setattr("svcctl.clock.now", lambda: moment)
    monkeypatch.setenv("LOGNAME", "olga")
    monkeypatch.delenv("SUDO_USER", raising=False)


@pytest.fixture
def shop(site: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """`shop("ShopHook")`: a site with a service of a module of its own."""

    def build(hook: str) -> Any:
        monkeypatch.setenv("SHOP_TOKEN", "hunter2")
        table = f'hook = "shop:{hook}"\ntoken = {{ env = "SHOP_TOKEN" }}\naccess.users = ["ada"]'
        built = site(f"{MEMBER}{CHAT}\n[services.shop]\n{table}\n")
        monkeypatch.syspath_prepend(built.folder)
        built.write("shop.py", SHOP)
        return built

    yield build
    sys.modules.pop("shop", None)


def document(result: Any, exit_code: int = 0) -> Any:
    assert result.exit_code == exit_code, result.stderr
    return json.loads(result.stdout)


def people(svcctl: Any) -> None:
    for arguments in (("ada", "--group", "corp"), ("bob",), ("sue", "--superuser")):
        assert svcctl("users", "add", *arguments, "--no-sync").exit_code == 0


# list


def test_every_service_is_listed_also_the_broken_and_the_unmanaged_one(
    site: Any, svcctl: Any
) -> None:
    here = site(f"{MEMBER}{CHAT}")
    people(svcctl)
    assert svcctl("sync", "--all").exit_code == 0
    here.configure(f"{MEMBER}{WEB}{BROKEN}")
    here.write("passwords", "")
    assert svcctl("services", "pause", "web", "--reason", "moving").exit_code == 0
    result = svcctl("services", "list", "--json")
    nothing: dict[str, Any] = {
        "title": None,
        "package": None,
        "version": None,
        "create": None,
        "capabilities": [],
    }
    assert document(result, 78) == {
        "schema": "svcctl.services/1",
        "rows": [
            {
                "service": "web",
                "title": "Web",
                "hook": "htpasswd",
                "package": "svcctl",
                "version": VERSION,
                "create": "manual",
                "capabilities": WEB_VERBS,
                "status": "ok",
                "error": None,
                "hint": None,
                "accounts": {},
                "paused": {"since": "2026-11-22T20:40:22Z", "actor": "olga", "reason": "moving"},
            },
            {
                **nothing,
                "service": "broken",
                "hook": "nosuch",
                "status": "failed",
                "error": "services.broken.hook: no hook is called nosuch",
                "hint": KNOWN,
                "accounts": {},
                "paused": None,
            },
            {
                **nothing,
                "service": "chat",
                "hook": None,
                "status": "unmanaged",
                "error": None,
                "hint": None,
                "accounts": {"active": 1},
                "paused": None,
            },
        ],
    }
    assert result.stderr == (
        f"error: services.broken.hook: no hook is called nosuch\nhint: {KNOWN}\n"
    )


def test_the_table_says_in_short_words_what_a_service_can_do(site: Any, svcctl: Any) -> None:
    here = site(f"{MEMBER}{CHAT}{WEB}")
    people(svcctl)
    svcctl("sync", "--all", "--service", "chat")
    here.execute("UPDATE accounts SET status = 'disabled'")
    svcctl("services", "pause", "web")
    result = svcctl("services", "list", "--format", "csv")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "service,title,hook,package,version,create,can,accounts,status",
        f"chat,Chat,sandbox,svcctl,{VERSION},auto,"
        "list create enable disable delete password groups nickname,1 disabled,ok",
        f"web,Web,htpasswd,svcctl,{VERSION},manual,"
        "list create enable disable delete password,,paused since 2026-11-22T20:40:22Z",
    ]


def test_a_deleted_account_does_not_keep_a_service_in_the_list(site: Any, svcctl: Any) -> None:
    here = site(f"{MEMBER}{CHAT}")
    people(svcctl)
    svcctl("sync", "--all")
    here.execute("UPDATE accounts SET status = 'absent', uid = NULL")
    here.configure(MEMBER)
    assert document(svcctl("services", "list", "--json"))["rows"] == []


# show


def test_show_tells_settings_abilities_rules_and_what_the_limits_mean_now(
    site: Any, svcctl: Any
) -> None:
    here = site(f"{MEMBER}{WEB}")
    here.write("passwords", "")
    people(svcctl)
    for user in ("ada", "sue"):
        svcctl("groups", "add", "corp", user, "--no-sync")
    here.configure(MEMBER + WEB.replace('access.users = ["bob"]', 'access.states = ["Member"]'))
    assert svcctl("accounts", "create", "--all", "--service", "web").exit_code == 0
    found = document(svcctl("services", "show", "web", "--json"))
    settings = found.pop("settings")
    assert settings["password_file"] == str(here.folder / "passwords")
    assert settings["removal"] == {"mode": "disable", "delete_after": "30d"}
    active = len(here.rows("SELECT 1 FROM accounts WHERE status = 'active'"))
    assert found == {
        "schema": "svcctl.service/1",
        "service": "web",
        "title": "Web",
        "hook": "htpasswd",
        "package": "svcctl",
        "version": VERSION,
        "create": "manual",
        "status": "ok",
        "class": "svcctl.hooks.htpasswd:HtpasswdHook",
        "manager": "svcctl.hooks.htpasswd:HtpasswdManager",
        "policy_version": "1",
        "commands": None,
        "accounts": {"active": active},
        "paused": None,
        "capabilities": {verb: verb in WEB_VERBS for verb in ALL_VERBS},
        "names": {
            "username": {"replace": {" ": "_"}, "characters": r"\w.@+-", "max_bytes": 255},
            "nickname": {"min_length": 0},
            "group": {"replace": {" ": "_"}, "characters": r"\w.@+-", "max_bytes": 255},
        },
        "removal": {"mode": "disable", "delete_after": "30d"},
        "limits": {
            "removals": "50%",
            "of": active,
            "allowed": active // 2,
            "recent": 0,
            "left": active // 2,
        },
        "rate": {"calls": 5.0, "per_seconds": 1.0},
        "concurrency": 1,
    }


def test_show_counts_who_lost_access_today(site: Any, svcctl: Any) -> None:
    site(f"{MEMBER}{CHAT}")
    for number in range(10):
        svcctl("users", "add", f"user{number}", "--group", "corp", "--no-sync")
    svcctl("sync", "--all")
    svcctl("groups", "remove", "corp", "user3")
    limits = document(svcctl("services", "show", "chat", "--json"))["limits"]
    assert limits == {"removals": None, "of": 10, "allowed": 2, "recent": 1, "left": 1}
    text = svcctl("services", "show", "chat").stdout
    assert "the default: 2 of 10 accounts in 24 hours; 1 lost access, 1 more may" in text


def test_show_masks_secrets_and_names_what_is_not_supported(shop: Any, svcctl: Any) -> None:
    shop("ShopHook")
    text = svcctl("services", "show", "shop").stdout
    assert "hunter2" not in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "hook shop:ShopHook" in lines
    assert "create_account not supported" in lines
    assert "delete_account yes" in lines
    assert "removal delete" in lines
    assert "rate 250 per 60 s" in lines
    found = document(svcctl("services", "show", "shop", "--json"))
    assert found["package"] is None
    assert found["policy_version"] == "7"
    assert "hunter2" not in str(found)


def test_show_of_an_unknown_service_names_the_close_one(site: Any, svcctl: Any) -> None:
    site(f"{MEMBER}{CHAT}{BROKEN}")
    result = svcctl("services", "show", "caht")
    assert (result.exit_code, result.stderr) == (
        2,
        "error: no such service: caht\nhint: did you mean chat?\n",
    )
    assert svcctl("services", "show", "broken").exit_code == 78


# check


def test_check_asks_every_service_and_a_failure_does_not_stop_the_others(
    site: Any, svcctl: Any
) -> None:
    here = site(f'{CHAT.replace("Member", "Guest")}faults = {{ check = "denied" }}\n{WEB}')
    assert document(svcctl("services", "check", "--json"), 5) == {
        "schema": "svcctl.services.check/1",
        "rows": [
            {
                "service": "chat",
                "result": "failed",
                "error": "sandbox: check is broken on purpose: denied",
                "hint": "svcctl service NAME heal",
            },
            {
                "service": "web",
                "result": "failed",
                "error": f"{here.folder}/passwords: no such file",
                "hint": f"touch {here.folder}/passwords && chmod 640 {here.folder}/passwords, "
                "readable by the web server",
            },
        ],
    }
    here.write("passwords", "")
    assert svcctl("services", "check").exit_code == 5
    assert document(svcctl("services", "check", "web", "--json"))["rows"] == [
        {"service": "web", "result": "ok", "error": None, "hint": None}
    ]


def test_a_hook_that_does_not_load_is_a_row_of_check_and_exits_78(site: Any, svcctl: Any) -> None:
    site(f"{MEMBER}{CHAT}{BROKEN}")
    assert document(svcctl("services", "check", "--json"), 78)["rows"] == [
        {"service": "chat", "result": "ok", "error": None, "hint": None},
        {
            "service": "broken",
            "result": "failed",
            "error": "services.broken.hook: no hook is called nosuch",
            "hint": KNOWN,
        },
    ]
    assert svcctl("services", "check", "nope").exit_code == 2


def test_a_manager_without_a_check_says_so(shop: Any, svcctl: Any) -> None:
    shop("ShopHook")
    result = svcctl("services", "check", "shop")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].split(maxsplit=1) == ["shop", "has no check"]


def test_a_check_that_breaks_its_contract_does_not_tell_the_secret(shop: Any, svcctl: Any) -> None:
    shop("CarelessHook")
    assert document(svcctl("services", "check", "--json"), 5)["rows"] == [
        {"service": "chat", "result": "ok", "error": None, "hint": None},
        {
            "service": "shop",
            "result": "failed",
            "error": "services.shop: Careless failed: RuntimeError",
            "hint": "this is a defect in the manager: errors of a service are ManagerErrors",
        },
    ]


# panel


def test_the_panel_has_the_rows_that_a_user_would_see(site: Any, svcctl: Any) -> None:
    site(f"{MEMBER}{CHAT}{WEB}")
    people(svcctl)
    svcctl("sync", "--all", "--service", "chat")
    chat = {"service": "chat", "title": "Chat", "url": "https://chat.example"}
    web = {"service": "web", "title": "Web", "url": "", "username": "", "status": "absent"}
    actions = ["deactivate", "set-password", "reset-password"]
    assert document(svcctl("services", "panel", "ada", "--json")) == {
        "schema": "svcctl.panel/1",
        "rows": [{**chat, "username": "ada", "status": "active", "actions": actions}],
    }
    assert document(svcctl("services", "panel", "bob", "--json"))["rows"] == [
        {**web, "actions": ["activate"]}
    ]
    assert document(svcctl("services", "panel", "sue", "--json"))["rows"] == [
        {**chat, "username": "", "status": "absent", "actions": []},
        {**web, "actions": []},
    ]
    assert svcctl("services", "panel", "adda").exit_code == 2


def test_the_panel_goes_by_the_rules_of_this_moment(site: Any, svcctl: Any) -> None:
    here = site(f"{MEMBER}{CHAT}")
    people(svcctl)
    here.configure(MEMBER.replace("corp", "guild") + CHAT)
    assert document(svcctl("services", "panel", "ada", "--json"))["rows"] == []


def test_the_panel_as_html_is_an_escaped_table(shop: Any, svcctl: Any) -> None:
    shop("ShopHook")
    svcctl("users", "add", "ada", "--no-sync")
    result = svcctl("services", "panel", "ada", "--html")
    assert (result.exit_code, result.stdout) == (
        0,
        """\
<table>
<tr>
  <td>&lt;b&gt;Shop&lt;/b&gt;</td>
  <td>x&amp;y</td>
  <td></td>
  <td>buy, sell</td>
</tr>
</table>
""",
    )
    assert svcctl("services", "panel", "ada", "--html", "--json").exit_code == 2


def test_a_hook_that_cannot_show_its_row_does_not_hide_the_others(shop: Any, svcctl: Any) -> None:
    shop("CarelessHook")
    svcctl("users", "add", "ada", "--group", "corp", "--no-sync")
    result = svcctl("services", "panel", "ada", "--json")
    assert [row["service"] for row in document(result, 78)["rows"]] == ["chat"]
    assert result.stderr == (
        "error: services.shop: the hook failed: LookupError: no such shelf\n"
        "hint: this is a defect in the hook; -vv shows where\n"
    )


def test_a_template_that_cannot_be_filled_is_the_hooks_defect(shop: Any, svcctl: Any) -> None:
    shop("TornHook")
    svcctl("users", "add", "ada", "--no-sync")
    result = svcctl("services", "panel", "ada", "--html")
    assert (result.exit_code, result.stderr.splitlines()[0]) == (
        78,
        "error: services.shop: the hook failed: KeyError: 'nonsense'",
    )


# pause and resume


def test_a_paused_service_is_left_alone_until_it_is_resumed(site: Any, svcctl: Any) -> None:
    site(f"{MEMBER}{CHAT}")
    people(svcctl)
    pause = {"since": "2026-11-22T20:40:22Z", "actor": "olga", "reason": "moving"}
    assert document(svcctl("services", "pause", "chat", "--reason", "moving", "--json")) == {
        "schema": "svcctl.services.pause/1",
        "service": "chat",
        "paused": pause,
        "changed": True,
        "dry_run": False,
    }
    assert document(svcctl("sync", "--all", "--json"))["operations"] == []
    assert document(svcctl("services", "resume", "chat", "--json")) == {
        "schema": "svcctl.services.pause/1",
        "service": "chat",
        "paused": None,
        "changed": True,
        "dry_run": False,
    }
    assert len(document(svcctl("sync", "--all", "--json"))["operations"]) == 3


def test_pausing_twice_keeps_the_first_reason(site: Any, svcctl: Any) -> None:
    here = site(f"{MEMBER}{CHAT}")
    assert svcctl("services", "pause", "chat", "--reason", "moving").stderr == (
        "chat: paused since 2026-11-22T20:40:22Z by olga: moving\n"
    )
    assert svcctl("services", "pause", "chat", "--reason", "again").stderr == (
        "chat: already paused since 2026-11-22T20:40:22Z by olga: moving\n"
    )
    assert [row["reason"] for row in here.rows("SELECT * FROM paused_services")] == ["moving"]


def test_a_dry_run_of_pause_and_resume_writes_nothing(site: Any, svcctl: Any) -> None:
    here = site(f"{MEMBER}{CHAT}")
    assert svcctl("services", "pause", "chat", "--dry-run").stderr == (
        "chat: paused since 2026-11-22T20:40:22Z by olga\ndry run: nothing was written\n"
    )
    assert here.rows("SELECT * FROM paused_services") == []
    svcctl("services", "pause", "chat")
    assert svcctl("services", "resume", "chat", "--dry-run").stderr == (
        "chat: resumed\ndry run: nothing was written\n"
    )
    assert len(here.rows("SELECT * FROM paused_services")) == 1


def test_a_service_that_left_the_configuration_can_be_resumed_and_not_paused(
    site: Any, svcctl: Any
) -> None:
    here = site(f"{MEMBER}{CHAT}")
    svcctl("services", "pause", "chat")
    here.configure(MEMBER)
    assert svcctl("services", "pause", "chat").exit_code == 2
    assert svcctl("services", "resume", "chat").stderr == "chat: resumed\n"
    assert svcctl("services", "resume", "chat").exit_code == 2
