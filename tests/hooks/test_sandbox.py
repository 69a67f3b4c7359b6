"""The sandbox: a service on a real file, its faults, and its commands."""

import json
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from svcctl.errors import (
    Conflict,
    Denied,
    Incomplete,
    Invalid,
    ManagerError,
    NotFound,
    RateLimited,
    Transient,
    UsageError,
)
from svcctl.hooks.manager import (
    READS,
    VERBS,
    GroupChange,
    NewAccount,
    RemoteAccount,
    capabilities,
)
from svcctl.hooks.sandbox import SandboxConfig, SandboxHook, SandboxManager
from svcctl.hooks.sandbox.commands import app


class Build:
    """`sandbox(faults={…})`: a manager on the same file each time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.made: list[SandboxManager] = []

    def __call__(self, **settings: Any) -> SandboxManager:
        self.made.append(SandboxManager(self.path, **settings))
        return self.made[-1]


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Build]:
    build = Build(tmp_path / "sandbox.db")
    yield build
    for manager in build.made:
        manager.close()


def new(name: str, number: int = 1, **attributes: str) -> NewAccount:
    return NewAccount(name, f"svcctl:{number}", f"password of {name}", attributes)


def outcomes(manager: SandboxManager) -> list[tuple[str, str, str]]:
    return [(call.method, call.name, call.outcome) for call in manager.calls()]


# A service


def test_it_has_every_verb_and_read() -> None:
    assert capabilities(SandboxManager) == READS | VERBS


def test_an_account_lives_and_every_verb_is_logged_once(sandbox: Build) -> None:
    service = sandbox()
    service.check()
    created = service.create_account(new("ada", email="ada@example.org"))
    assert created.uid == "sb-000001"
    assert created.data == {"number": 1, "attributes": {"email": "ada@example.org"}}
    service.set_nickname("sb-000001", "[X] Ada")
    service.set_password("sb-000001", "other")
    change = service.change_groups("sb-000001", frozenset({"a", "b"}), frozenset({"c"}))
    assert change == GroupChange(frozenset({"a", "b"}), frozenset())
    change = service.change_groups("sb-000001", frozenset({"a", "c"}), frozenset({"b"}))
    assert change == GroupChange(frozenset({"c"}), frozenset({"b"}))
    service.disable_account("sb-000001")
    expected = RemoteAccount(
        uid="sb-000001",
        name="ada",
        active=False,
        external_id="svcctl:1",
        groups=frozenset({"a", "c"}),
        nickname="[X] Ada",
        data=created.data,
        attributes={"email": "ada@example.org"},
    )
    assert service.get_account("sb-000001") == expected
    assert list(service.list_accounts()) == [expected]
    assert service.find_account("svcctl:1", "nobody") == expected
    assert service.find_account("svcctl:9", "ada") == expected
    assert service.find_account("svcctl:9", "Ada") is None
    assert list(service.list_groups()) == ["a", "b", "c"]
    assert service.has_password("sb-000001", "other")
    assert not service.has_password("sb-000001", "password of ada")
    service.enable_account("sb-000001")
    service.delete_account("sb-000001")
    assert [(call.method, call.uid, call.outcome) for call in service.calls()] == [
        ("create_account", "sb-000001", "done"),
        ("set_nickname", "sb-000001", "done"),
        ("set_password", "sb-000001", "done"),
        ("change_groups", "sb-000001", "done"),
        ("change_groups", "sb-000001", "done"),
        ("disable_account", "sb-000001", "done"),
        ("enable_account", "sb-000001", "done"),
        ("delete_account", "sb-000001", "done"),
    ]
    assert {call.name for call in service.calls()} == {"ada"}


def test_what_is_gone_is_not_found_and_its_uid_is_never_given_again(sandbox: Build) -> None:
    service = sandbox()
    uid = service.create_account(new("ada")).uid
    service.delete_account(uid)
    for call in (
        lambda: service.get_account(uid),
        lambda: service.enable_account(uid),
        lambda: service.disable_account(uid),
        lambda: service.delete_account(uid),
        lambda: service.set_password(uid, "x"),
        lambda: service.set_nickname(uid, "x"),
        lambda: service.change_groups(uid, frozenset({"x"}), frozenset()),
    ):
        with pytest.raises(NotFound):
            call()
    assert service.create_account(new("ada")).uid == "sb-000002"


def test_an_account_takes_its_memberships_with_it(sandbox: Build) -> None:
    service = sandbox()
    for number in (1, 2):
        uid = service.create_account(new(f"u{number}", number)).uid
        service.change_groups(uid, frozenset({"a"}), frozenset())
    service.delete_account("sb-000001")
    service.drop("u2")
    with service._file.transaction() as db:
        assert db.execute("SELECT count(*) FROM memberships").fetchone() == (0,)
    assert list(service.list_groups()) == ["a"]


def test_a_taken_name_or_external_id_is_a_conflict(sandbox: Build) -> None:
    service = sandbox()
    service.create_account(new("ada", 1))
    for again in (new("ada", 2), new("bob", 1)):
        with pytest.raises(Conflict):
            service.create_account(again)
    assert [account.name for account in service.accounts()] == ["ada"]
    assert service.calls()[-1].outcome == "Conflict"


def test_a_service_without_external_ids_keeps_none(sandbox: Build) -> None:
    service = sandbox(external_ids=False)
    assert not service.stores_external_id
    assert SandboxManager.stores_external_id
    service.create_account(new("ada", 1))
    service.create_account(new("bob", 1))
    assert service.find_account("svcctl:1", "nobody") is None
    assert [account.external_id for account in service.accounts()] == [None, None]


def test_it_is_a_file_that_only_its_owner_reads(sandbox: Build) -> None:
    sandbox().create_account(new("ada"))
    assert [account.name for account in sandbox().accounts()] == ["ada"]
    assert stat.S_IMODE(sandbox.path.stat().st_mode) == 0o600
    assert b"password of" not in sandbox.path.read_bytes()


def test_reading_changes_nothing_and_makes_no_file(sandbox: Build) -> None:
    service = sandbox()
    service.check()
    assert list(service.list_accounts()) == []
    assert list(service.list_groups()) == []
    assert service.find_account("svcctl:1", "ada") is None
    assert list(sandbox.path.parent.iterdir()) == []
    service.create_account(new("ada"))
    service.close()
    before = sandbox.path.read_bytes()
    service = sandbox()
    service.check()
    assert len(list(service.list_accounts())) == 1
    service.close()
    assert sandbox.path.read_bytes() == before
    assert list(sandbox.path.parent.iterdir()) == [sandbox.path]


def test_reads_are_logged_on_request(sandbox: Build) -> None:
    service = sandbox(log_reads=True)
    service.check()
    list(service.list_accounts())
    service.find_account("svcctl:1", "ada")
    assert outcomes(service) == [
        ("check", "", "done"),
        ("list_accounts", "", "done"),
        ("find_account", "ada", "done"),
    ]


def test_another_programs_database_is_not_touched(sandbox: Build) -> None:
    with sqlite3.connect(sandbox.path) as other:
        other.execute("CREATE TABLE accounts (id INTEGER)")
    other.close()
    before = sandbox.path.read_bytes()
    with pytest.raises(Invalid, match="another program's database"):
        sandbox().create_account(new("ada"))
    assert sandbox.path.read_bytes() == before
    sandbox.path.write_bytes(b"no database at all, just some text" * 100)
    with pytest.raises(Invalid, match="not a database"):
        sandbox().check()


def test_a_folder_that_is_not_there_is_denied(tmp_path: Path) -> None:
    with pytest.raises(Denied, match="unable to open"):
        SandboxManager(tmp_path / "no" / "sandbox.db").create_account(new("ada"))


def test_sixteen_threads_do_everything_once(sandbox: Build) -> None:
    service = sandbox(page_size=7)

    def life(number: int) -> None:
        uid = service.create_account(new(f"user{number}", number)).uid
        service.change_groups(uid, frozenset({"all", f"g{number % 3}"}), frozenset())
        service.disable_account(uid)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(life, range(200)))
    listed = list(service.list_accounts())
    assert {account.name for account in listed} == {f"user{number}" for number in range(200)}
    assert all(not account.active and len(account.groups or ()) == 2 for account in listed)
    assert len(service.calls()) == 600
    assert {call.outcome for call in service.calls()} == {"done"}


CREATE = """
import sys
from pathlib import Path
from svcctl.hooks.manager import NewAccount
from svcctl.hooks.sandbox import SandboxManager
service = SandboxManager(Path(sys.argv[1]))
for n in range(50):
    service.create_account(NewAccount(f"{sys.argv[2]}{n}", f"{sys.argv[2]}{n}", "pw"))
"""


def test_processes_make_the_file_together_and_lose_nothing(sandbox: Build) -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", CREATE, sandbox.path, name]) for name in "abcdef"
    ]
    assert [process.wait(60) for process in running] == [0] * 6
    assert len(sandbox().accounts()) == len(sandbox().calls()) == 300


def test_a_killed_process_leaves_account_and_log_in_agreement(sandbox: Build) -> None:
    sandbox().check()
    running = subprocess.Popen(
        [sys.executable, "-c", CREATE.replace("50", "10**6"), sandbox.path, "x"]
    )
    while not sandbox.path.exists() or not sandbox().calls():
        time.sleep(0.01)
    running.kill()
    running.wait()
    service = sandbox()
    assert [a.name for a in service.accounts()] == [c.name for c in service.calls()]


def test_latency_is_paid_per_call_and_not_one_after_the_other(sandbox: Build) -> None:
    service = sandbox(latency=0.1)
    begun = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: service.create_account(new(f"u{n}", n)), range(16)))
    assert 0.1 <= time.monotonic() - begun < 0.9


# Faults


def test_a_fault_at_a_call_strikes_once_and_nothing_is_done(sandbox: Build) -> None:
    service = sandbox(faults={"create_account": "transient@2"})
    service.create_account(new("ada", 1))
    with pytest.raises(Transient, match="create_account is broken on purpose"):
        service.create_account(new("bob", 2))
    assert [account.name for account in service.accounts()] == ["ada"]
    # The count is in the file: another run goes on from here.
    sandbox(faults={"create_account": "transient@2"}).create_account(new("bob", 2))
    assert outcomes(service) == [
        ("create_account", "ada", "done"),
        ("create_account", "bob", "Transient"),
        ("create_account", "bob", "done"),
    ]


def test_a_lost_answer_was_done(sandbox: Build) -> None:
    service = sandbox(faults={"create_account": "lost@1", "delete_account": "lost"})
    with pytest.raises(Transient, match="it was done"):
        service.create_account(new("ada"))
    found = service.find_account("svcctl:1", "ada")
    assert found
    with pytest.raises(Transient):
        service.delete_account(found.uid)
    assert service.accounts() == []
    with pytest.raises(NotFound):
        service.delete_account(found.uid)
    assert [call.outcome for call in service.calls()] == ["lost", "lost", "NotFound"]


def test_denied_and_rate_limited_and_invalid_say_so(sandbox: Build) -> None:
    sandbox().create_account(new("ada", 1))
    sandbox().create_account(new("bob", 2))
    service = sandbox(
        faults={
            "set_password": "denied",
            "set_nickname": "rate_limited:2.5",
            "disable_account": "invalid:bob",
            "check": "rate_limited",
        }
    )
    with pytest.raises(Denied):
        service.set_password("sb-000001", "x")
    with pytest.raises(RateLimited) as limited:
        service.set_nickname("sb-000001", "x")
    assert limited.value.retry_after == 2.5
    with pytest.raises(RateLimited) as limited:
        service.check()
    assert limited.value.retry_after is None
    service.disable_account("sb-000001")
    with pytest.raises(Invalid, match="for bob"):
        service.disable_account("sb-000002")


def test_chance_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    def run(name: str, seed: int) -> list[bool]:
        service = SandboxManager(
            tmp_path / name, faults={"create_account": "transient:0.3"}, seed=seed
        )
        for number in range(60):
            try:
                service.create_account(new(f"u{number}", number))
            except Transient:
                continue
        struck = [call.outcome == "Transient" for call in service.calls()]
        service.close()
        return struck

    first, again, other = run("a", 1), run("b", 1), run("c", 2)
    assert first == again != other
    assert 5 < sum(first) < 35


@pytest.mark.parametrize(("fault", "given"), [("incomplete@2", 20), ("incomplete", 10)])
def test_a_listing_can_end_early(sandbox: Build, fault: str, given: int) -> None:
    service = sandbox(page_size=10, faults={"list_accounts": fault})
    for number in range(35):
        service.create_account(new(f"u{number}", number))
    seen: list[RemoteAccount] = []
    with pytest.raises(Incomplete):
        seen.extend(service.list_accounts())
    assert len(seen) == given


def test_a_listing_that_is_to_end_early_never_ends_well(sandbox: Build) -> None:
    service = sandbox(faults={"list_accounts": "incomplete@2", "list_groups": "transient"})
    service.create_account(new("ada"))
    with pytest.raises(Incomplete):
        list(service.list_accounts())
    with pytest.raises(Transient):
        list(service.list_groups())


def test_a_fault_can_hang_and_others_go_on(sandbox: Build) -> None:
    service = sandbox(faults={"create_account": "hang:0.5@1"})
    slow = threading.Thread(target=service.create_account, args=(new("ada", 1),))
    slow.start()
    while not service._file._path.exists():
        time.sleep(0.01)
    begun = time.monotonic()
    service.create_account(new("bob", 2))
    assert time.monotonic() - begun < 0.4
    slow.join()
    assert [account.name for account in service.accounts()] == ["bob", "ada"]


@pytest.mark.parametrize(
    ("method", "fault", "message"),
    [
        ("create", "transient", "create: no such method; there are change_groups, check,"),
        ("create_account", "broken", "create_account: 'broken' is not a fault; write one like"),
        ("create_account", "transient:2", "is not a fault"),
        ("create_account", "transient:0.1@2", "is not a fault"),
        ("create_account", "hang", "is not a fault"),
        ("create_account", "invalid", "is not a fault"),
        ("create_account", "lost@0", "is not a fault"),
        ("create_account", "", "is not a fault"),
        ("create_account", "trans(.*)", "is not a fault"),
        ("create_account", "(", "is not a fault"),
        ("create_account", "incomplete@2", "create_account: only a listing can be incomplete"),
    ],
)
def test_a_fault_that_is_none_is_told_when_the_configuration_is_read(
    method: str, fault: str, message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        SandboxConfig(hook="sandbox", path=Path("x"), faults={method: fault})
    assert message in str(caught.value)


# The hook and its commands


@pytest.fixture
def hook(tmp_path: Path) -> SandboxHook:
    config = SandboxConfig(
        hook="sandbox", path=tmp_path / "sandbox.db", faults={"set_nickname": "denied"}
    )
    return SandboxHook("forum", config)


def invoke(hook: SandboxHook, *arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), obj=hook)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def service(hook: SandboxHook) -> Iterator[SandboxManager]:
    manager = SandboxManager(**hook.manager_arguments())
    yield manager
    manager.close()


def test_the_settings_are_what_the_manager_takes(service: SandboxManager) -> None:
    assert service.create_account(new("ada")).uid == "sb-000001"
    with pytest.raises(Denied):
        service.set_nickname("sb-000001", "x")


def test_show_prints_a_plain_table(hook: SandboxHook, service: SandboxManager) -> None:
    service.create_account(new("ada"))
    service.change_groups("sb-000001", frozenset({"b", "a"}), frozenset())
    service.disable_account("sb-000001")
    service.create_account(new("b[red]\x1b[1m", 2))
    assert invoke(hook, "show").splitlines() == [
        "UID        NAME           STATUS    NICKNAME  GROUPS  EXTERNAL ID",
        "sb-000001  ada            disabled            a, b    svcctl:1",
        "sb-000002  b[red]\\x1b[1m  active                      svcctl:2",
    ]


def test_break_and_heal_hold_for_every_process(hook: SandboxHook, service: SandboxManager) -> None:
    service.create_account(new("ada"))
    invoke(hook, "break", "create_account", "denied@2")
    service.create_account(new("bob", 2))
    with pytest.raises(Denied):
        service.create_account(new("eve", 3))
    invoke(hook, "break", "create_account", "transient")
    with pytest.raises(Transient):
        service.create_account(new("eve", 3))
    invoke(hook, "break", "set_nickname", "none")
    service.set_nickname("sb-000001", "Ada")
    invoke(hook, "heal", "create_account")
    service.create_account(new("eve", 3))
    service.set_nickname("sb-000001", "Ada")
    invoke(hook, "heal")
    with pytest.raises(Denied):
        service.set_nickname("sb-000001", "Ada")


def test_break_says_what_is_wrong(hook: SandboxHook) -> None:
    with pytest.raises(UsageError, match="no such method"):
        invoke(hook, "break", "nonsense", "denied")
    with pytest.raises(UsageError, match="not a fault"):
        invoke(hook, "break", "check", "nonsense")


def test_drop_and_calls(hook: SandboxHook, service: SandboxManager) -> None:
    service.create_account(new("ada"))
    invoke(hook, "drop", "ada")
    with pytest.raises(NotFound):
        service.disable_account("sb-000001")
    with pytest.raises(NotFound, match="no account of the name ada"):
        invoke(hook, "drop", "ada")
    lines = [line.split() for line in invoke(hook, "calls").splitlines()]
    assert lines[0] == ["NO", "AT", "METHOD", "UID", "NAME", "OUTCOME"]
    assert [line[2:] for line in lines[1:]] == [
        ["create_account", "sb-000001", "ada", "done"],
        ["disable_account", "sb-000001", "NotFound"],
    ]


def test_the_hook_does_not_import_typer() -> None:
    code = "import sys, svcctl.hooks.sandbox; print(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run(
        [sys.executable, "-c", f"import json; {code}"], check=True, capture_output=True, text=True
    )
    loaded = json.loads(ran.stdout)
    assert not [name for name in loaded if name.partition(".")[0] in {"typer", "rich", "click"}]


def test_every_error_it_raises_is_one_of_the_contract(sandbox: Build) -> None:
    for fault in ("transient", "denied", "lost", "rate_limited", "invalid:ada"):
        service = sandbox(faults={"find_account": fault})
        with pytest.raises(ManagerError):
            service.find_account("svcctl:1", "ada")
