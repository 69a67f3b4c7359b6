"""`svcctl plan --out` and `svcctl apply`: exactly that plan, or nothing."""

import importlib
import json
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from svcctl.hooks.manager import NewAccount
from svcctl.hooks.sandbox import SandboxManager
from svcctl.locks import Locks
from svcctl.model import to_json
from svcctl.runs import planfile
from svcctl.runs.binding import Binding

CONFIG = """
directory.sources.people = { type = "csv", path = "people.csv" }
[states.Member]
priority = 10
groups = ["corp"]
[services.chat]
hook = "sandbox"
path = "chat.db"
create = "auto"
access.states = ["Member"]
[services.web]
hook = "htpasswd"
password_file = "passwords"
cost = 4
create = "auto"
access.states = ["Member"]
"""
AGAIN = "hint: make a new plan: svcctl plan --out FILE\n"
PEOPLE = ("ada", "bob", "eve", "kim", "zoe")


def build(prepared: Any, svcctl: Any, config: str = CONFIG, *, settled: bool = False) -> Any:
    def prepare(built: Any) -> None:
        built.write("passwords", "")
        rows = "".join(f"{number},{user},corp\n" for number, user in enumerate(PEOPLE))
        built.write("people.csv", f"id,username,groups\n{rows}")
        assert svcctl("directory", "pull").exit_code == 0
        if settled:
            assert svcctl("sync", "--all").exit_code == 0
            svcctl("groups", "remove", "corp", "ada", "--no-sync")

    return prepared(config, prepare, settled)


@pytest.fixture
def here(prepared: Any, svcctl: Any) -> Any:
    """Five people who may have accounts, and have none."""
    return build(prepared, svcctl)


@pytest.fixture
def settled(prepared: Any, svcctl: Any) -> Any:
    """The same in sync; ada is to lose her accounts, which is allowed."""
    return build(prepared, svcctl, settled=True)


@contextmanager
def chat(here: Any) -> Iterator[SandboxManager]:
    with closing(SandboxManager(here.folder / "chat.db")) as manager:
        yield manager


def everything(here: Any) -> Any:
    """What svcctl keeps, and what was asked of the service."""
    tables = ("runs", "operations", "accounts", "users", "states", "notifications")
    kept = [here.rows(f"SELECT * FROM {table}") for table in tables]
    with chat(here) as manager:
        return kept, manager.calls(), (here.folder / "passwords").read_bytes()


def save(svcctl: Any, *words: str) -> dict[str, Any]:
    result = svcctl("plan", "--out", "plan.json", *words)
    assert result.exit_code in (0, 4), result.stderr
    document: dict[str, Any] = json.loads(Path("plan.json").read_text(encoding="utf-8"))
    return document


def refused(here: Any, svcctl: Any, *said: str) -> None:
    """Neither a dry run nor the real thing does anything; both say why."""
    before = everything(here)
    for words in ((), ("--dry-run",), ("--yes",)):
        result = svcctl("apply", "plan.json", *words)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.endswith(
            f"nothing was done: the world is not as the plan says\n{AGAIN}"
        )
        for line in said:
            assert line in result.stderr
        assert len(result.stderr.splitlines()) == len(said) + 2, result.stderr
        assert everything(here) == before
    document = json.loads(svcctl("apply", "plan.json", "--json").stdout)
    assert (document["exit_code"], document["run"], document["operations"]) == (1, None, [])
    assert len(document["differences"]) == len(said)


# The file


def test_the_file_says_all_that_binds_and_is_for_its_owner(here: Any, svcctl: Any) -> None:
    old = os.umask(0)
    try:
        found = save(svcctl, "ada", "--service", "chat")
    finally:
        os.umask(old)
    assert stat.S_IMODE(Path("plan.json").stat().st_mode) == 0o600
    assert [path.name for path in here.folder.iterdir() if "plan.json" in path.name] == [
        "plan.json"
    ]
    assert found.pop("made").keys() == {"at", "by", "on", "svcctl"}
    hashed, configuration = found.pop("hash"), found.pop("configuration")
    hook = {"hook": "svcctl.hooks.sandbox:SandboxHook", "version": "1"}
    assert found.pop("hooks")["chat"].items() >= hook.items()
    reason = "may have an account: state Member is in access.states"
    absent, there = {"name": "", "status": "absent"}, {"name": "ada", "status": "active"}
    create = {"verb": "create_account", "args": {"attributes": {}, "name": "ada"}}
    groups = {"verb": "change_groups", "args": {"add": ["corp"], "remove": []}}
    name = {"verb": "set_nickname", "args": {"nickname": "ada"}}
    steps = [
        {"seq": 0, **create, "before": absent, "after": there, "reason": reason},
        {
            "seq": 1,
            **groups,
            "before": {"groups": []},
            "after": {"groups": ["corp"]},
            "reason": "the user's groups map to others",
        },
        {
            "seq": 2,
            **name,
            "before": {"nickname": ""},
            "after": {"nickname": "ada"},
            "reason": "the name format gives another name",
        },
    ]
    entry = {"service": "chat", "user": "ada", "verdict": None, "because": "", "shown": "absent"}
    assert found == {
        "svcctl_plan": 1,
        "task": "sync",
        "selection": {"users": ["ada"], "state": None, "group": None},
        "services": ["chat"],
        "accept_removals": 0,
        "accounts": [{**entry, "operations": steps}],
        "problems": [],
        "missing": [],
    }
    binds = {
        "configuration": configuration,
        "hooks": {"chat": "1"},
        "accounts": [
            {
                "service": "chat",
                "user": "ada",
                "verdict": None,
                "shown": "absent",
                "operations": [
                    {key: step[key] for key in ("seq", "verb", "args", "before")} for step in steps
                ],
            }
        ],
    }
    from hashlib import sha256

    assert hashed == sha256(to_json(binds).encode()).hexdigest()


def test_what_the_services_show_is_in_it(settled: Any, svcctl: Any) -> None:
    with chat(settled) as manager:
        uid = next(account.uid for account in manager.accounts() if account.name == "ada")
        manager.change_groups(uid, frozenset({"by-hand"}), frozenset())
    found = {entry["service"]: entry["shown"] for entry in save(svcctl)["accounts"]}
    assert found["chat"] == {
        "active": True,
        "name": "ada",
        "external_id": "svcctl:1",
        "nickname": "ada",
        "groups": ["by-hand", "corp"],
    }
    assert found["web"]["active"] is True
    assert found["web"]["nickname"] == "not listed"


def test_nothing_else_is_written_and_the_hash_is_the_same_tomorrow(here: Any, svcctl: Any) -> None:
    before = here.rows("SELECT * FROM runs"), here.rows("SELECT * FROM accounts")
    first = save(svcctl)
    here.execute("UPDATE users SET updated_at = '2020-01-01T00:00:00Z'")
    assert save(svcctl)["hash"] == first["hash"]
    assert (here.rows("SELECT * FROM runs"), here.rows("SELECT * FROM accounts")) == before
    assert not (here.folder / "chat.db").exists()
    assert save(svcctl, "ada")["hash"] != first["hash"]


SECRETIVE = """
from pathlib import Path
from svcctl.config.secrets import Secret
from svcctl.hooks.sandbox import SandboxConfig, SandboxHook, SandboxManager
class SecretConfig(SandboxConfig):
    token: Secret
class SecretManager(SandboxManager):
    def __init__(self, token, **more):
        super().__init__(**more)
        assert token == "correct horse battery staple"
class SecretHook(SandboxHook):
    config_class = SecretConfig
    manager_class = SecretManager
    version = "1"
"""


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any, str, str], Any]]:
    """`module(site, name, text)`: a package of somebody else's hooks."""
    made = []

    def make(built: Any, name: str, text: str) -> Any:
        built.write(f"{name}.py", text)
        monkeypatch.syspath_prepend(built.folder)
        made.append(name)
        return importlib.import_module(name)

    yield make
    for name in made:
        del sys.modules[name]


def test_a_secret_of_the_configuration_is_not_in_it(
    here: Any, svcctl: Any, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module(here, "secret_hooks", SECRETIVE)
    monkeypatch.setenv("CHAT_TOKEN", "correct horse battery staple")
    named = 'hook = "secret_hooks:SecretHook"\ntoken = { env = "CHAT_TOKEN" }'
    here.configure(CONFIG.replace('hook = "sandbox"', named))
    assert save(svcctl)["accounts"]
    assert "correct horse" not in Path("plan.json").read_text()
    assert svcctl("apply", "plan.json").exit_code == 0
    assert svcctl("accounts", "reset-password", "ada", "--service", "chat").exit_code == 0
    assert "correct horse" not in Path("plan.json").read_text()


def test_a_service_that_cannot_be_looked_at_gives_no_file(settled: Any, svcctl: Any) -> None:
    broken = CONFIG.replace('path = "chat.db"', 'path = "chat.db"\nfaults.get_account = "denied"')
    settled.configure(broken)
    result = svcctl("plan", "--out", "plan.json")
    assert result.exit_code == 5
    assert "chat: planned accounts could not be looked at: " in result.stderr
    assert "plan.json: not written" in result.stderr
    assert [path for path in settled.folder.iterdir() if "plan.json" in path.name] == []


def test_nor_is_a_plan_applied_there(settled: Any, svcctl: Any) -> None:
    save(svcctl)
    before = everything(settled)
    with chat(settled) as manager:
        manager.break_method("get_account", "transient")
    for words in ((), ("--dry-run",)):
        result = svcctl("apply", "plan.json", *words)
        assert result.exit_code == 5
        assert "planned accounts could not be looked at" in result.stderr
    assert everything(settled) == before
    with chat(settled) as manager:
        manager.heal()
    assert svcctl("apply", "plan.json").exit_code == 0


BLIND = """
from svcctl.hooks.manager import Manager, Created
from svcctl.hooks.contract import ServiceHook
class BlindManager(Manager):
    def create_account(self, new):
        return Created(uid=new.name, name=new.name)
    def delete_account(self, uid):
        pass
class BlindHook(ServiceHook):
    manager_class = BlindManager
"""


def test_a_service_that_shows_nothing_binds_by_what_is_known_here(
    here: Any, svcctl: Any, module: Any
) -> None:
    module(here, "blind_hooks", BLIND)
    table = '[services.chat]\nhook = "blind_hooks:BlindHook"\ncreate = "auto"\n'
    states = CONFIG.partition("[services")[0]
    here.configure(f'{states}{table}access.states = ["Member"]\n')
    assert [entry["shown"] for entry in save(svcctl)["accounts"]] == [None] * 5
    assert svcctl("apply", "plan.json").exit_code == 0
    assert svcctl("plan", "--check").exit_code == 0


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nowhere/plan.json", "cannot be written: no such file or directory"),
        (".", "not a file"),
        ("-", "not a file"),
        ("/dev/null", "not a file"),
        ("x" * 300, "cannot be written: file name too long"),
    ],
)
def test_a_place_that_cannot_be_written_is_said_before_planning(
    here: Any, svcctl: Any, target: str, message: str
) -> None:
    # Planning would be the first to find that the service is no sandbox.
    here.write("chat.db", "not a database")
    result = svcctl("plan", "--out", target)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f": {message}\nhint: name a file" in result.stderr
    assert "chat" not in result.stderr


def test_a_file_is_written_whole_or_the_old_one_stays(here: Any, svcctl: Any) -> None:
    save(svcctl, "ada")
    old = Path("plan.json").read_bytes()
    here.rows("SELECT 1")  # a reader: what the database keeps beside it, larger than that, is there
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        result = svcctl("plan", "--out", "plan.json")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert result.exit_code == 74
    assert "plan.json: cannot be written: file too large\nhint: make room" in result.stderr
    assert Path("plan.json").read_bytes() == old
    assert [path.name for path in here.folder.iterdir() if "plan.json" in path.name] == [
        "plan.json"
    ]


def test_invisible_characters_are_seen_in_the_file(here: Any, svcctl: Any) -> None:
    here.execute("UPDATE users SET username = 'a' || char(8238) || 'd\u00fc' WHERE id = 1")
    save(svcctl, "--service", "chat")
    text = Path("plan.json").read_text(encoding="utf-8")
    assert "\u202e" not in text
    assert "a\\u202ed\u00fc" in text
    assert svcctl("apply", "plan.json").exit_code == 0


# Applying


def test_exactly_that_plan_is_applied_once(here: Any, svcctl: Any) -> None:
    planned = save(svcctl)
    before = everything(here)
    result = svcctl("apply", "plan.json", "--dry-run", "--json")
    assert result.exit_code == 0
    assert everything(here) == before
    done = json.loads(svcctl("apply", "plan.json", "--json").stdout)
    assert (done["command"], done["exit_code"], done["differences"]) == ("apply", 0, [])
    asked = sorted(
        (entry["service"], entry["user"], step["verb"])
        for entry in planned["accounts"]
        for step in entry["operations"]
    )
    assert (
        sorted((op["service"], op["user"], op["operation"]) for op in done["operations"]) == asked
    )
    assert {op["status"] for op in done["operations"]} == {"done"}
    assert here.rows("SELECT command, exit_code FROM runs") == [
        {"command": "apply", "exit_code": 0}
    ]
    refused(
        here,
        svcctl,
        *(f"{service}: {user}: planned: " for service in ("chat", "web") for user in PEOPLE),
    )


def test_a_plan_with_nothing_to_do_does_nothing(here: Any, svcctl: Any) -> None:
    svcctl("sync", "--all")
    assert save(svcctl)["accounts"] == []
    with chat(here) as manager:
        before = manager.calls()
    result = svcctl("apply", "plan.json")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    with chat(here) as manager:
        assert manager.calls() == before


def test_only_those_asked_for_are_planned_again(here: Any, svcctl: Any) -> None:
    here.write("some.txt", "ada\nbob\n")
    save(svcctl, "@some.txt", "--service", "web")
    (here.folder / "some.txt").unlink()
    assert svcctl("apply", "plan.json").exit_code == 0
    assert here.rows(
        "SELECT service, username FROM accounts JOIN users ON users.id = user_id ORDER BY 2"
    ) == [{"service": "web", "username": "ada"}, {"service": "web", "username": "bob"}]


def test_an_edited_user_refuses_it(settled: Any, svcctl: Any) -> None:
    save(svcctl, "--service", "chat")
    svcctl("groups", "add", "corp", "ada", "--no-sync")
    refused(settled, svcctl, "chat: ada: planned: disable_account; now: nothing\n")
    svcctl("groups", "remove", "corp", "ada", "--no-sync")
    svcctl("groups", "add", "fc", "bob", "--no-sync")
    refused(settled, svcctl, 'chat: bob: planned: nothing; now: change_groups {"add":["fc"]}\n')


def test_a_user_who_is_not_known_any_more_refuses_it(here: Any, svcctl: Any) -> None:
    save(svcctl, "ada")
    svcctl("users", "forget", "ada", "--yes")
    result = svcctl("apply", "plan.json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: nothing was done: ")
    assert result.stderr.endswith(AGAIN)


def test_an_account_changed_on_the_service_refuses_it(settled: Any, svcctl: Any) -> None:
    save(svcctl, "--service", "chat")
    with chat(settled) as manager:
        uid = next(account.uid for account in manager.accounts() if account.name == "ada")
        manager.change_groups(uid, frozenset({"secret"}), frozenset())
    refused(
        settled,
        svcctl,
        'chat: ada: planned: the service showed groups ["corp"]; '
        'now: it shows groups ["corp", "secret"]\n'.replace(", ", ","),
    )
    with chat(settled) as manager:
        manager.drop("ada")
    refused(settled, svcctl, "now: it shows it absent\n")


def test_an_account_that_appeared_where_one_was_to_be_made_refuses_it(
    here: Any, svcctl: Any
) -> None:
    save(svcctl, "ada", "--service", "chat")
    with chat(here) as manager:
        manager.create_account(NewAccount("ada", "-", "x" * 20))
    refused(here, svcctl, "chat: ada: planned: the service showed it absent; now: it shows active")


def test_a_line_changed_by_hand_in_the_password_file_refuses_it(settled: Any, svcctl: Any) -> None:
    save(svcctl, "--service", "web")
    path = settled.folder / "passwords"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("ada:")))
    refused(settled, svcctl, "web: ada: planned: the service showed active true")


def test_a_refused_plan_does_not_even_sort_people_anew(here: Any, svcctl: Any) -> None:
    """New rules for states, and no run since that stored whom they put where."""
    assert svcctl("sync", "--all").exit_code == 0
    here.configure(CONFIG.replace('groups = ["corp"]', 'users = ["bob", "eve", "kim", "zoe"]'))
    save(svcctl, "--service", "chat")
    svcctl("service", "chat", "drop", "ada")
    refused(here, svcctl, "chat: ada: planned: the service showed active true")
    save(svcctl, "--service", "chat")
    assert svcctl("apply", "plan.json").exit_code == 0
    assert here.rows("SELECT username FROM users WHERE state = 'Guest'") == [{"username": "ada"}]


def test_the_time_may_be_up_before_all_was_looked_at(settled: Any, svcctl: Any) -> None:
    slow = CONFIG.replace('path = "chat.db"', 'path = "chat.db"\nlatency = 0.3\nconcurrency = 1')
    settled.configure(slow)
    svcctl("groups", "add", "fc", *PEOPLE, "--no-sync")
    save(svcctl, "--service", "chat")
    before = everything(settled)
    result = svcctl("apply", "plan.json", "--max-runtime", "1s", "--json")
    assert (result.exit_code, everything(settled)) == (75, before)


def test_as_many_are_looked_at_at_once_as_the_service_allows(
    settled: Any, svcctl: Any, module: Any
) -> None:
    hooks = module(settled, "meeting_hooks", MEETING)
    meeting = CONFIG.replace('hook = "sandbox"', 'hook = "meeting_hooks:MeetingHook"')
    settled.configure(meeting)
    svcctl("groups", "add", "fc", *PEOPLE, "--no-sync")
    assert len(save(svcctl, "--service", "chat")["accounts"]) == 5
    assert hooks.MeetingManager.most == 3
    assert svcctl("apply", "plan.json").exit_code == 0


MEETING = """
import threading
from svcctl.hooks.sandbox import SandboxHook, SandboxManager
class MeetingManager(SandboxManager):
    concurrency = 3
    most = 0
    inside = 0
    lock = threading.Lock()
    met = threading.Barrier(3)
    def get_account(self, uid):
        cls = MeetingManager
        with cls.lock:
            cls.inside += 1
            cls.most = max(cls.most, cls.inside)
        try:
            if uid in ("sb-000001", "sb-000002", "sb-000003"):
                cls.met.wait(timeout=20)
            return super().get_account(uid)
        finally:
            with cls.lock:
                cls.inside -= 1
class MeetingHook(SandboxHook):
    manager_class = MeetingManager
"""


def test_another_configuration_refuses_it(settled: Any, svcctl: Any) -> None:
    save(svcctl)
    settled.configure(f"# a comment is no change\n{CONFIG}")
    assert svcctl("apply", "plan.json", "--dry-run").exit_code == 0
    settled.configure(f'{CONFIG}limits.removals = "50%"\n')
    refused(settled, svcctl, "planned: configuration ")


UPGRADED = """
from svcctl.hooks.sandbox import SandboxHook
class UpgradedHook(SandboxHook):
    version = "1.0"
"""


def test_an_upgraded_hook_refuses_it(here: Any, svcctl: Any, module: Any) -> None:
    hooks = module(here, "upgraded_hooks", UPGRADED)
    here.configure(CONFIG.replace('hook = "sandbox"', 'hook = "upgraded_hooks:UpgradedHook"'))
    save(svcctl)
    hooks.UpgradedHook.version = "1.1"
    refused(here, svcctl, "chat: planned: hook version 1.0; now: it is hook version 1.1\n")
    hooks.UpgradedHook.version = "1.0"
    assert svcctl("apply", "plan.json").exit_code == 0


def test_another_run_in_between_refuses_it(settled: Any, svcctl: Any) -> None:
    save(svcctl, "--service", "chat")
    assert svcctl("sync", "ada", "--service", "chat").exit_code == 0
    refused(settled, svcctl, "chat: ada: planned: disable_account; now: nothing\n")


def test_a_run_about_something_else_does_not(settled: Any, svcctl: Any) -> None:
    save(svcctl, "--service", "chat")
    assert svcctl("sync", "ada", "--service", "web").exit_code == 0
    assert svcctl("apply", "plan.json").exit_code == 0


@pytest.fixture
def holding(settled: Any, svcctl: Any) -> Any:
    """Too many are to lose their account, and a run held it."""
    svcctl("groups", "remove", "corp", *PEOPLE[1:], "--no-sync")
    assert svcctl("sync", "--all", "--service", "chat").exit_code == 4
    return settled


@pytest.mark.parametrize("word", ["approve", "reject"])
def test_a_word_about_a_hold_refuses_it(holding: Any, svcctl: Any, word: str) -> None:
    found = save(svcctl, "--service", "chat")
    assert {entry["verdict"] for entry in found["accounts"]} == {"held"}
    assert svcctl("apply", "plan.json", "--dry-run").exit_code == 4
    held = holding.rows("SELECT max(run_id) AS run FROM operations")[0]["run"]
    assert svcctl("holds", word, str(held)).exit_code == 0
    # Groups of an account that is kept go on.
    now = {"approve": "nothing", "reject": 'change_groups {"remove":["corp"]}'}[word]
    lines = [f"chat: {user}: planned: disable_account; now: {now}\n" for user in PEOPLE]
    refused(holding, svcctl, *lines)


def test_a_removal_that_is_held_only_now_refuses_it(holding: Any, svcctl: Any) -> None:
    found = save(svcctl, "--service", "chat", "--accept-removals", "5")
    assert {entry["verdict"] for entry in found["accounts"]} == {None}
    assert found["accept_removals"] == 5
    # Somebody else who would have to go: more than were accepted.
    svcctl("users", "add", "mia", "--group", "corp", "--no-sync")
    assert svcctl("sync", "mia", "--service", "chat").exit_code == 0
    svcctl("groups", "remove", "corp", "mia", "--no-sync")
    held = [f"chat: {user}: planned: it is to be done; now: held: " for user in PEOPLE]
    refused(holding, svcctl, *held, "chat: mia: planned: nothing; now: disable_account\n")


def test_what_was_accepted_for_the_plan_is_accepted_when_it_is_applied(
    holding: Any, svcctl: Any
) -> None:
    save(svcctl, "--service", "chat", "--accept-removals", "5")
    done = json.loads(svcctl("apply", "plan.json", "--json").stdout)
    assert done["counts"] == {"chat": {"done": 5}}


def test_many_differences_are_counted(here: Any, svcctl: Any) -> None:
    with (here.folder / "people.csv").open("a") as file:
        file.writelines(f"x{number},u{number},corp\n" for number in range(20))
    svcctl("directory", "pull")
    save(svcctl, "--service", "chat")
    assert svcctl("sync", "--all", "--service", "chat").exit_code == 0
    result = svcctl("apply", "plan.json")
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert len([line for line in lines if "; now: nothing" in line]) == 20
    assert lines[20] == "and 5 more"
    document = json.loads(svcctl("apply", "plan.json", "--json").stdout)
    assert len(document["differences"]) == 25
    assert document["differences"][0].keys() == {"service", "user", "planned", "now"}


def test_a_service_that_is_paused_or_busy_refuses_it(settled: Any, svcctl: Any) -> None:
    save(svcctl, "--service", "chat")
    before = everything(settled)
    with Locks(settled.database, timeout=0, holder="the other") as locks:
        locks.acquire(["chat"])
        result = svcctl("apply", "plan.json")
    assert (result.exit_code, "another run is at work" in result.stderr) == (75, True)
    assert everything(settled) == before
    assert svcctl("services", "pause", "chat").exit_code == 0
    refused(settled, svcctl, "chat: ada: planned: disable_account; now: paused since ")


def test_a_no_does_nothing_and_a_yes_applies(settled: Any, svcctl: Any) -> None:
    save(svcctl, "--service", "chat")
    before = everything(settled)
    result = svcctl("apply", "plan.json", stdin="n\n")
    assert (result.exit_code, "nothing was done" in result.stderr) == (1, True)
    assert everything(settled) == before
    assert svcctl("apply", "plan.json", stdin="y\n").exit_code == 0
    assert everything(settled) != before


def test_an_operation_that_failed_before_is_not_put_off(here: Any, svcctl: Any) -> None:
    """Whoever approved the plan means now."""
    svcctl("service", "chat", "break", "create_account", "denied")
    assert svcctl("sync", "ada", "--service", "chat").exit_code == 1
    svcctl("service", "chat", "heal")
    save(svcctl, "--service", "chat")
    assert svcctl("apply", "plan.json").exit_code == 0
    assert svcctl("plan", "--check", "--service", "chat").exit_code == 0


KILLING = """
import os, signal
from svcctl.hooks.sandbox import SandboxHook, SandboxManager
class KillingManager(SandboxManager):
    def create_account(self, new):
        created = super().create_account(new)
        if new.name == "eve" and os.environ.get("KILL"):
            os.kill(os.getpid(), signal.SIGKILL)
        return created
class KillingHook(SandboxHook):
    manager_class = KillingManager
"""


def test_killed_while_it_is_applied_and_the_next_run_goes_on(
    here: Any, svcctl: Any, module: Any
) -> None:
    module(here, "killing_hooks", KILLING)
    killing = 'hook = "killing_hooks:KillingHook"\nconcurrency = 1'
    here.configure(CONFIG.replace('hook = "sandbox"', killing))
    save(svcctl, "--service", "chat")
    command = [sys.executable, "-m", "svcctl", "--config", "svcctl.toml", "apply", "plan.json"]
    environment = {**os.environ, "KILL": "1", "PYTHONPATH": str(here.folder)}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert here.rows("SELECT id FROM operations WHERE status = 'running'")
    # What the file says is not what is left to do.
    assert svcctl("apply", "plan.json").exit_code == 1
    assert svcctl("sync", "--all", "--service", "chat").exit_code == 0
    with chat(here) as manager:
        made = [call.name for call in manager.calls() if call.method == "create_account"]
        assert sorted(made) == sorted(PEOPLE)
        assert {account.groups for account in manager.accounts()} == {frozenset({"corp"})}
    assert svcctl("db", "check").exit_code == 0


# Hostile files


def forged(change: Callable[[dict[str, Any]], object]) -> Callable[[str], str]:
    """A plan that was changed, with a hash that fits."""

    def make(text: str) -> str:
        body = json.loads(text)
        change(body)
        versions = {name: hook["version"] for name, hook in body["hooks"].items()}
        binding = Binding(body["configuration"], versions, tuple(body["accounts"]))
        body["hash"] = binding.hash
        return json.dumps(body)

    return make


def changed(**values: Any) -> Callable[[str], str]:
    return lambda text: json.dumps({**json.loads(text), **values})


DAMAGED: list[tuple[Callable[[str], str], str]] = [
    (lambda text: "", "not a plan: "),
    (lambda text: text[:-20], "not a plan: "),
    (lambda text: "[" * 200_000, "not a plan: nested too deeply"),
    (lambda text: "[]", "not a plan: it has no svcctl_plan"),
    (lambda text: "{}", "not a plan: it has no svcctl_plan"),
    (lambda text: text.replace('"chat"', '"ch\udcff"', 1), "not a plan: not UTF-8 text"),
    (lambda text: text.replace('"seq": 0', '"seq": NaN', 1), "not a plan: NaN is no JSON"),
    (lambda text: text.replace('"seq": 0', '"seq": ' + "9" * 5000, 1), "not a plan: "),
    (lambda text: text.replace("{", '{"task": "sync",', 1), "not a plan: a key stands twice"),
    (changed(svcctl_plan=2), "a plan of version 2; this svcctl reads version 1"),
    (changed(svcctl_plan=True), "a plan of version a strange one"),
    (changed(svcctl_plan="1"), "a plan of version a strange one"),
    (changed(accounts={}), "not a plan: accounts: "),
    (changed(accounts=[1]), "not a plan: accounts.0: "),
    (changed(accept_removals=-1), "not a plan: accept_removals: "),
    (changed(accept_removals=True), "not a plan: accept_removals: "),
    (changed(services=[]), "not a plan: services: "),
    (changed(task="delete"), "not a plan: task: "),
    (changed(more=1), "not a plan: more: "),
    (changed(accounts=[]), "the hash does not fit the content: the file was changed"),
    (changed(configuration="0"), "the hash does not fit the content: the file was changed"),
    (lambda text: text.replace('"ada"', '"bob"'), "the hash does not fit the content"),
]


def test_a_file_that_is_no_plan_is_refused(here: Any, svcctl: Any) -> None:
    save(svcctl, "ada", "--service", "chat")
    before = everything(here)
    path = Path("plan.json")
    text = path.read_text()
    for damage, message in DAMAGED:
        path.write_bytes(damage(text).encode(errors="surrogateescape"))
        result = svcctl("apply", "plan.json")
        assert (result.exit_code, result.stdout) == (2, ""), message
        assert result.stderr.startswith(f"error: plan.json: {message}"), message
        assert result.stderr.endswith(AGAIN), message
        assert everything(here) == before, message


FORGED: list[Callable[[dict[str, Any]], object]] = [
    lambda body: body["accounts"][0]["operations"].pop(),
    lambda body: body["accounts"][0]["operations"][0].update(verb="delete_account"),
    lambda body: body["accounts"][0]["operations"][0]["args"].update(name="root"),
    lambda body: body["accounts"][0]["operations"][0]["before"].update(status="active"),
    lambda body: body["accounts"][0].update(verdict="skipped"),
    lambda body: body["accounts"][0].update(user="bob"),
    lambda body: body["accounts"][0].update(service="\x1b[31m"),
    lambda body: body["accounts"][0].update(shown=None),
    lambda body: body["accounts"][0].update(shown={"active": True, "groups": 7}),
    lambda body: body["accounts"].append(dict(body["accounts"][0])),
    lambda body: body["accounts"].clear(),
    lambda body: body["selection"].update(users=None),
    lambda body: body["selection"].update(users=["@/etc/passwd"]),
    lambda body: body["selection"].update(users=["bob\0"]),
    lambda body: body["selection"].update(state="No such"),
    lambda body: body["selection"].update(group="corp' OR 1"),
    lambda body: body.update(services=["web"]),
    lambda body: body["hooks"].clear(),
]


def test_a_plan_that_nobody_would_make_is_not_applied(here: Any, svcctl: Any) -> None:
    save(svcctl, "ada", "--service", "chat")
    before = everything(here)
    path = Path("plan.json")
    text = path.read_text()
    for number, change in enumerate(FORGED):
        path.write_text(forged(change)(text))
        result = svcctl("apply", "plan.json")
        assert (result.exit_code, result.stdout) == (1, ""), number
        assert result.stderr.endswith(AGAIN), number
        assert "\x1b" not in result.stderr
        assert "root:" not in result.stderr
        assert everything(here) == before, number


def test_what_is_no_file_is_not_waited_for(here: Any, svcctl: Any) -> None:
    os.mkfifo("pipe")
    for path, message in (
        ("pipe", "not a file"),
        ("/dev/zero", "not a file"),
        (".", "cannot be read: is a directory"),
        ("none.json", "cannot be read: no such file or directory"),
    ):
        result = svcctl("apply", path)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith(f"error: {path}: {message}\nhint: ")


def test_a_file_that_is_too_large_is_not_read(
    here: Any, svcctl: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(svcctl)
    with Path("plan.json").open("r+b") as file:
        file.truncate(planfile.LARGEST + 1)
    result = svcctl("apply", "plan.json")
    assert (result.exit_code, "larger than 256 MiB" in result.stderr) == (2, True)
