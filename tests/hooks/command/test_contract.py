"""The command manager keeps the contract, with the program that the documentation shows."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest

from svcctl.hooks.command import CommandHook, CommandManager, ParallelManager
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import READS, VERBS, Manager
from svcctl.hooks.testing import Connect, Faults, HookContract, LogsIn, ManagerContract, Strike

KEY = "a-key-for-tests"
WRAPPER = """#!/bin/sh
# The program, unless a file says what goes wrong instead.
cd "$(dirname "$0")"
case "$(cat fault 2>/dev/null)" in
denied) echo '{"message": "not this key", "hint": "another one"}'; exit 77 ;;
limited) echo '{"retry_after": 3600}'; exit 69 ;;
error) echo 'Traceback: something broke' >&2; exit 1 ;;
malformed) echo '<form>log in</form>' ;;
timeout) sleep 60 ;;
short) echo '{"message": "the list ended early"}'; exit 74 ;;
lost) ./radio-accounts >/dev/null; exit 1 ;;
garbled) ./radio-accounts >/dev/null; echo '<form>log in</form>' ;;
*) exec ./radio-accounts ;;
esac
"""


# Each call is a process, and Python takes its time to start.
@pytest.mark.live
class TestCommandManager(ManagerContract):
    hook_class = CommandHook
    page_size = 3
    patience = 20.0

    @pytest.fixture
    def connect(self, radio: Path) -> Connect:
        return lambda: _manager(radio, timeout=20.0)

    @pytest.fixture
    def impatient(self, radio: Path) -> Connect:
        return lambda: _manager(radio, timeout=2.5)

    @pytest.fixture
    def groups(self) -> tuple[str, ...]:
        return ("staff", "officers", "guests")

    @pytest.fixture
    def faults(self, radio: Path) -> Faults:
        return ProgramFaults(radio)

    @pytest.fixture
    def denied(self, radio: Path) -> Manager:
        (radio / "wrong").mkdir()
        program = radio / "wrong" / "program"
        program.write_text(WRAPPER)
        program.chmod(0o755)
        (program.parent / "fault").write_text("denied")
        return CommandManager(program)

    @pytest.fixture
    def credentials(self) -> tuple[str, ...]:
        return (KEY,)

    @pytest.fixture
    def logs_in(self, radio: Path) -> LogsIn:
        def logs_in(name: str, password: str) -> bool:
            accounts = json.loads((radio / "accounts.json").read_text())
            (account,) = [one for one in accounts.values() if one["name"] == name]
            salt, digest = account["password"].split(":")
            given = hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), n=1024, r=8, p=1)
            return bool(account["active"]) and given.hex() == digest

        return logs_in


def _manager(folder: Path, *, timeout: float) -> CommandManager:
    return ParallelManager(
        folder / "program",
        settings={"file": str(folder / "accounts.json")},
        secrets={"key": KEY},
        external_ids=True,
        timeout=timeout,
    )


@pytest.fixture
def radio(tmp_path: Path, documented_program: str) -> Path:
    """A folder with the program behind the wrapper."""
    for name, text in (("radio-accounts", documented_program), ("program", WRAPPER)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return tmp_path


class ProgramFaults(Faults):
    """Each call is one process, so the first exchange is the only one."""

    kinds = frozenset(
        {"denied", "limited", "error", "malformed", "timeout", "short", "lost", "garbled"}
    )

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def strike(self, kind: str, nth: int = 1) -> Iterator[Strike]:
        if nth == 1:
            (self._folder / "fault").write_text(kind)
        yield Strike(happened=nth == 1)
        (self._folder / "fault").unlink(missing_ok=True)


class TestCommandHook(HookContract):
    hook_class: ClassVar[type[ServiceHook]] = CommandHook
    settings = {"program": "program", "methods": sorted(READS | VERBS)}
