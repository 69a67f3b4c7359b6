"""The managers that come along, and a stranger's, keep the contract."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bcrypt
import pytest

from svcctl.hooks.htpasswd import HtpasswdHook, HtpasswdManager
from svcctl.hooks.htpasswd.lines import raw_of
from svcctl.hooks.manager import READS, VERBS
from svcctl.hooks.sandbox import SandboxHook, SandboxManager
from svcctl.hooks.scim import ScimHook
from svcctl.hooks.testing import (
    Connect,
    Faults,
    HookContract,
    LogsIn,
    ManagerContract,
    Strike,
)

GROUPS = ("staff", "officers", "guests")


class TestSandboxManager(ManagerContract):
    hook_class = SandboxHook
    page_size = 3

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "sandbox.db"

    @pytest.fixture
    def connect(self, path: Path) -> Connect:
        return lambda: SandboxManager(path, page_size=3)

    @pytest.fixture
    def groups(self) -> tuple[str, ...]:
        return GROUPS

    @pytest.fixture
    def faults(self, path: Path) -> Faults:
        return SandboxFaults(path)

    @pytest.fixture
    def logs_in(self, path: Path) -> LogsIn:
        def logs_in(name: str, password: str) -> bool:
            service = SandboxManager(path)
            (account,) = [one for one in service.accounts() if one.name == name]
            known = service.has_password(account.uid, password)
            service.close()
            return known and account.active

        return logs_in


class SandboxFaults(Faults):
    """Faults that the sandbox has itself; the first exchange is the only one."""

    kinds = frozenset({"error", "denied", "lost", "short"})

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def strike(self, kind: str, nth: int = 1) -> Iterator[Strike]:
        fault = {"error": "transient", "short": "incomplete"}.get(kind, kind)
        service = SandboxManager(self._path)
        methods = [one for one in READS | VERBS if one.startswith("list_") or kind != "short"]
        if nth == 1:
            for method in methods:
                service.break_method(method, fault)
        yield Strike(happened=nth == 1)
        service.heal()
        service.close()


class TestHtpasswdManager(ManagerContract):
    """In files of their own, with a line for each group."""

    hook_class = HtpasswdHook

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "passwords").touch()
        (tmp_path / "groups").write_text("\n".join(f"{group}:" for group in GROUPS))
        return tmp_path

    @pytest.fixture
    def connect(self, folder: Path) -> Connect:
        return lambda: HtpasswdManager(folder / "passwords", folder / "groups", cost=4)

    @pytest.fixture
    def groups(self) -> tuple[str, ...]:
        return GROUPS

    @pytest.fixture
    def logs_in(self, folder: Path) -> LogsIn:
        def logs_in(name: str, password: str) -> bool:
            lines = (folder / "passwords").read_bytes().splitlines()
            (line,) = [line for line in lines if line.startswith(raw_of(name) + b":")]
            secret = line.partition(b":")[2]
            return secret.startswith(b"$2y$") and bcrypt.checkpw(
                password.encode(), secret.replace(b"$2y$", b"$2b$", 1)
            )

        return logs_in

    @pytest.fixture
    def faults(self, folder: Path) -> Faults:
        return LostFiles(folder)


class LostFiles(Faults):
    """A folder whose disk is not mounted."""

    kinds = frozenset({"missing"})

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def strike(self, kind: str, nth: int = 1) -> Iterator[Strike]:
        away = self._folder.with_name("unmounted")
        if nth == 1:
            self._folder.rename(away)
        yield Strike(happened=nth == 1)
        if nth == 1:
            away.rename(self._folder)


class TestSandboxHook(HookContract):
    hook_class = SandboxHook
    settings = {"path": "sandbox.db"}


class TestHtpasswdHook(HookContract):
    hook_class = HtpasswdHook
    settings = {"password_file": "passwords", "group_file": "groups"}


class TestScimHook(HookContract):
    hook_class = ScimHook
    settings = {"base_url": "https://idp.example.org/v2", "token": {"env": "T"}, "passwords": True}
