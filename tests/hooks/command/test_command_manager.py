"""The command service: the protocol, the documented program, and programs that misbehave."""

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from svcctl.config.load import load
from svcctl.errors import (
    Conflict,
    Denied,
    Incomplete,
    Invalid,
    ManagerError,
    NotFound,
    RateLimited,
    Transient,
)
from svcctl.hooks.command import CommandManager
from svcctl.hooks.command import process as processes
from svcctl.hooks.manager import READS, VERBS, Created, GroupChange, NewAccount, RemoteAccount
from svcctl.hooks.registry import build_manager, load_hooks
from tests.hooks.command.conftest import PAGE

if TYPE_CHECKING:
    from tests.conftest import Site, Svcctl

ADA = NewAccount("ada", "svcctl:7", "hush-hush", {"email": "ada@example.org"})
NONE = frozenset[str]()

Made = Callable[..., CommandManager]


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], Path]:
    """`program("…")`: a shell script; `$1` is the folder where it may leave something."""

    def write(script: str, shell: str = "#!/bin/sh") -> Path:
        path = tmp_path / "program"
        path.write_text(f"{shell}\n{script}\n")
        path.chmod(0o755)
        return path

    return write


@pytest.fixture
def saying(program: Callable[[str], Path], tmp_path: Path) -> Made:
    """`saying("{…}", code)`: the manager of a program that reads its request and says that."""

    def make(answer: str = "", code: int = 0, noise: str = "", **settings: Any) -> CommandManager:
        (tmp_path / "answer").write_text(answer)
        (tmp_path / "noise").write_text(noise)
        path = program('cat >"$1/request"; cat "$1/answer"; cat "$1/noise" >&2; exit "$2"')
        return CommandManager(path, [str(tmp_path), str(code)], **settings)

    return make


def request(folder: Path) -> Any:
    return json.loads((folder / "request").read_text())


# The protocol


def test_a_request_has_all_that_the_program_needs(saying: Made, tmp_path: Path) -> None:
    manager = saying('{"uid": "7", "name": "ada"}', settings={"host": "h"}, secrets={"key": "k"})
    assert manager.create_account(ADA) == Created("7", "ada")
    assert request(tmp_path) == {
        "protocol": 1,
        "method": "create_account",
        "arguments": {
            "name": "ada",
            "external_id": "svcctl:7",
            "password": "hush-hush",
            "attributes": {"email": "ada@example.org"},
        },
        "settings": {"host": "h"},
        "secrets": {"key": "k"},
    }


def test_answers_become_what_managers_give(saying: Made, tmp_path: Path) -> None:
    ada = {"uid": "7", "name": "ada", "groups": ["staff"], "attributes": {"mail": ["a", "b"]}}
    shown = RemoteAccount("7", "ada", groups=frozenset({"staff"}), attributes={"mail": ("a", "b")})
    assert saying(json.dumps(ada)).get_account("7") == shown
    assert list(saying(json.dumps({"accounts": [ada]})).list_accounts()) == [shown]
    assert saying(json.dumps({"account": ada})).find_account("svcctl:7", "ada") == shown
    assert saying('{"account": null}').find_account("svcctl:7", "ada") is None
    assert saying('{"groups": ["staff"]}').list_groups() == ["staff"]
    changed = saying('{"added": ["staff"], "removed": []}')
    assert changed.change_groups("7", frozenset({"staff", "fc"}), NONE) == GroupChange(
        frozenset({"staff"}), NONE
    )
    assert request(tmp_path)["arguments"] == {"uid": "7", "add": ["fc", "staff"], "remove": []}
    for answer in ("", "{}", "  \n"):
        saying(answer).set_password("7", "another")
        saying(answer).check()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (65, Invalid),
        (67, NotFound),
        (69, RateLimited),
        (73, Conflict),
        (74, Incomplete),
        (75, Transient),
        (77, Denied),
        (1, Transient),
        (255, Transient),
    ],
)
def test_an_exit_code_says_which_error_it_is(
    saying: Made, code: int, kind: type[ManagerError]
) -> None:
    said = '{"message": "the reason", "hint": "the remedy", "retry_after": 7}'
    with pytest.raises(kind) as caught:
        saying(said, code).disable_account("7")
    assert type(caught.value) is kind
    assert f"disable_account: exit code {code}: the reason" in str(caught.value)
    assert (caught.value.hint, caught.value.retry_after) == ("the remedy", 7)
    with pytest.raises(kind, match="last line of stderr"):
        saying("", code, "first\nlast line of stderr\n").disable_account("7")


def test_a_signal_is_no_answer(program: Callable[[str], Path]) -> None:
    with pytest.raises(Transient, match="ended by signal 9"):
        CommandManager(program("kill -9 $$")).get_account("7")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("", "uid: Field required"),
        ("no json", "Invalid JSON"),
        ("[]", "object"),
        ('{"uid": 7, "name": "ada"}', "uid: Input should be a valid string"),
        ('{"uid": "7", "name": ""}', "name: String should have at least 1 character"),
        ('{"uid": "7", "name": "ada", "activ": true}', "activ: Extra inputs are not permitted"),
        ('{"uid": "7", "name": "ada", "active": "yes"}', "active: Input should be a valid boolean"),
    ],
)
def test_an_answer_that_is_none_says_nothing_about_the_account(
    saying: Made, answer: str, said: str
) -> None:
    with pytest.raises(Transient) as caught:
        saying(answer).get_account("7")
    assert said in str(caught.value)


def test_a_list_that_is_none_is_not_an_empty_one(saying: Made) -> None:
    with pytest.raises(Incomplete, match="accounts: Field required"):
        list(saying("").list_accounts())


def test_another_account_than_the_one_that_was_asked_for_is_no_answer(saying: Made) -> None:
    with pytest.raises(Incomplete, match="asked for account 7, it shows 8"):
        saying('{"uid": "8", "name": "bob"}').get_account("7")


def test_groups_that_nobody_asked_for_are_noticed(saying: Made) -> None:
    with pytest.raises(Invalid, match="changed theirs, which nobody asked for"):
        saying('{"added": [], "removed": ["theirs"]}').change_groups("7", NONE, NONE)


# Secrets


def test_secrets_are_on_stdin_and_nowhere_else(
    program: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIKI_TOKEN", "another-services-token")
    monkeypatch.setenv("PASSED_ON", "yes")
    seen = tmp_path / "seen"
    path = program(f'tr "\\0" " " </proc/$$/cmdline >{seen}; env >>{seen}; cat >{tmp_path}/request')
    manager = CommandManager(path, secrets={"key": "a-secret-key"}, environment=["PASSED_ON"])
    manager.set_password("7", "hush-hush")
    assert request(tmp_path)["secrets"] == {"key": "a-secret-key"}
    assert "PASSED_ON=yes" in seen.read_text()
    for private in ("a-secret-key", "hush-hush", "another-services-token"):
        assert private not in seen.read_text()


def test_what_a_program_repeats_is_not_shown(saying: Made) -> None:
    message = json.dumps({"message": "the password hush-hush, the key a-secret-key"})
    manager = saying(message, 65, secrets={"key": "a-secret-key"})
    with pytest.raises(Invalid, match=r"the password \*\*\*, the key \*\*\*"):
        manager.set_password("7", "hush-hush")
    manager = saying("", 65, "Traceback: hush-hush", secrets={"key": "a-secret-key"})
    with pytest.raises(Invalid, match=r"Traceback: \*\*\*"):
        manager.set_password("7", "hush-hush")


# Programs that misbehave


def alive(pid: int) -> bool:
    """Whether the process is there, and more than a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not alive(pid)


def test_a_program_that_hangs_is_ended_with_its_children(
    program: Callable[[str], Path], tmp_path: Path
) -> None:
    path = program(f"sleep 60 & echo $! >{tmp_path}/pid; wait")
    begun = time.monotonic()
    with pytest.raises(Transient, match=r"no answer within 0\.3 s, ended"):
        CommandManager(path, timeout=0.3).get_account("7")
    assert time.monotonic() - begun < 2
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_program_that_does_not_want_to_end_is_killed(
    program: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "GRACE", 0.1)
    path = program(f"trap '' TERM; echo $$ >{tmp_path}/pid; while :; do sleep 0.05; done")
    with pytest.raises(Transient):
        CommandManager(path, timeout=0.3).get_account("7")
    assert gone(int((tmp_path / "pid").read_text()))


def test_what_a_program_leaves_running_is_ended(
    program: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it keeps the pipes open, and the answer has long been given."""
    monkeypatch.setattr(processes, "GRACE", 0.1)
    path = program(f"sleep 60 & echo $! >{tmp_path}/pid; echo '{{\"groups\": []}}'")
    assert CommandManager(path).list_groups() == []
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_program_that_closes_its_output_and_goes_on_is_ended(
    program: Callable[[str], Path],
) -> None:
    with pytest.raises(Transient, match="did not end within"):
        CommandManager(program("exec >&- 2>&-; sleep 60"), timeout=0.3).check()


def test_a_program_that_writes_without_end_is_ended(program: Callable[[str], Path]) -> None:
    with pytest.raises(Transient, match="wrote more than 100,000 bytes, ended"):
        CommandManager(program("yes"), largest_answer=100_000).check()


def test_noise_without_end_does_not_fill_the_memory(program: Callable[[str], Path]) -> None:
    done = processes.run(
        program("head -c 3000000 /dev/zero | tr '\\0' x >&2; echo end >&2"),
        [],
        b"",
        environment={"PATH": os.environ["PATH"]},
        seconds=20,
        largest=1000,
    )
    assert len(done.stderr) <= 65536
    assert done.stderr.endswith(b"xend\n")


def test_a_program_need_not_read_its_request(program: Callable[[str], Path]) -> None:
    manager = CommandManager(program("echo '{}'"), settings={"much": "x" * 1_000_000})
    manager.check()


def test_a_long_request_and_a_long_answer_pass_at_once(
    program: Callable[[str], Path], tmp_path: Path
) -> None:
    groups = [f"group-{n}" for n in range(200_000)]
    (tmp_path / "answer").write_text(json.dumps({"groups": groups}))
    manager = CommandManager(
        program('cat "$1"/answer; cat >/dev/null'),
        [str(tmp_path)],
        settings={"much": "x" * 1_000_000},
    )
    assert manager.list_groups() == groups


@pytest.mark.parametrize(
    ("script", "mode", "kind", "said"),
    [
        ("#!/bin/sh\n", 0o644, Invalid, "cannot be run: permission denied"),
        ("#!/nonexistent/sh\n", 0o755, Invalid, "cannot be run: no such file"),
        ("echo\n", 0o755, Invalid, "cannot be run: exec format error"),
        ("#!/bin/sh\n", 0o757, Denied, "can be changed by everybody"),
        (None, 0, Invalid, "cannot be run: no such file"),
    ],
)
def test_a_program_that_cannot_be_run_is_told(
    tmp_path: Path, script: str | None, mode: int, kind: type[ManagerError], said: str
) -> None:
    path = tmp_path / "program"
    if script is not None:
        path.write_text(script)
        path.chmod(mode)
    with pytest.raises(kind, match=said):
        CommandManager(path).check()


def test_an_interrupted_call_leaves_nothing_running(
    program: Callable[[str], Path], tmp_path: Path
) -> None:
    path = program(f"echo $$ >{tmp_path}/pid; sleep 60")

    def interrupt(_signal: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            CommandManager(path).check()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert gone(int((tmp_path / "pid").read_text()))


# The documented program


@pytest.fixture
def radio(tmp_path: Path, documented_program: str) -> Iterator[CommandManager]:
    """The program that the documentation shows, configured as it says."""
    text = PAGE.read_text(encoding="utf-8")
    (tmp_path / "radio-accounts").write_text(documented_program)
    (tmp_path / "radio-accounts").chmod(0o755)
    (config,) = re.findall(
        r"^```toml\n(\[services\.radio\]\n.*?)^```$", text, re.MULTILINE | re.DOTALL
    )
    config = config.replace("/srv/radio", str(tmp_path))
    methods = ", ".join(f'"{name}"' for name in sorted(READS | VERBS))
    config = re.sub(r"methods = \[.*\]", f"methods = [{methods}]\nexternal_ids = true", config)
    (tmp_path / "svcctl.toml").write_text("[states.Member]\npriority = 1\n" + config)
    (tmp_path / "radio.key").write_text("key")
    (tmp_path / "radio.key").chmod(0o600)
    hooks = load_hooks(load(tmp_path / "svcctl.toml"))
    assert hooks.problems == {}
    manager = build_manager(hooks.loaded["radio"])
    assert isinstance(manager, CommandManager)
    yield manager
    manager.close()


def test_the_documented_program_keeps_accounts(radio: CommandManager) -> None:
    radio.check()
    assert radio.create_account(ADA) == Created("1", "ada")
    with pytest.raises(Conflict, match="ada is taken"):
        radio.create_account(ADA)
    radio.set_nickname("1", "Countess")
    change = radio.change_groups("1", frozenset({"staff"}), frozenset({"theirs"}))
    assert change == GroupChange(frozenset({"staff"}), NONE)
    radio.disable_account("1")
    (shown,) = radio.list_accounts()
    assert (shown.active, shown.nickname, shown.groups) == (False, "Countess", frozenset({"staff"}))
    assert radio.find_account("svcctl:7", "nobody") == shown
    radio.delete_account("1")
    with pytest.raises(NotFound, match="no account 1"):
        radio.delete_account("1")


# Through the front door

CONFIG = """
[states.Member]
priority = 100
groups = ["staff"]

[services.radio]
hook = "command"
program = "radio-accounts"
methods = ["check", "list_accounts", "get_account", "find_account", "create_account",
    "enable_account", "disable_account", "change_groups"]
settings = { file = "accounts.json" }
external_ids = true
access.states = ["Member"]
groups.map = { staff = "staff" }
"""


def test_accounts_come_and_go(
    site: "Callable[[str], Site]", svcctl: "Svcctl", radio: CommandManager, tmp_path: Path
) -> None:
    site(CONFIG)
    for name in ("ada", "bob", "cyd"):
        svcctl("users", "add", name, "--group", "staff", "--no-sync")
        done = svcctl("accounts", "create", name, "--service", "radio")
        assert done.exit_code == 0, done.stderr
    accounts = tmp_path / "accounts.json"
    content = json.loads(accounts.read_text())
    content["1"]["groups"].append("theirs")
    accounts.write_text(json.dumps(content))
    assert svcctl("groups", "remove", "staff", "ada").exit_code == 0
    assert not json.loads(accounts.read_text())["1"]["active"]
    assert svcctl("groups", "add", "staff", "ada").exit_code == 0
    ada = json.loads(accounts.read_text())["1"]
    assert (ada["active"], sorted(ada["groups"])) == (True, ["staff", "theirs"])
    assert svcctl("services", "check", "radio").exit_code == 0
    before = accounts.stat().st_mtime_ns
    assert svcctl("update-all-groups", "--dry-run").exit_code == 0
    assert accounts.stat().st_mtime_ns >= before


def test_a_method_that_does_not_exist_is_told(
    site: "Callable[[str], Site]", svcctl: "Svcctl"
) -> None:
    site(CONFIG.replace('"enable_account"', '"enable"'))
    done = svcctl("config", "check")
    assert done.exit_code == 78
    assert "services.radio.methods: enable: no such method" in done.stdout + done.stderr
