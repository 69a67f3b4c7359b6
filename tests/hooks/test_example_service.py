"""The documented example, and a stranger's package: only with what svcctl publishes."""

import re
import shutil
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from svcctl.config.load import load
from svcctl.errors import Conflict, NotFound
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import NewAccount
from svcctl.hooks.registry import available, build_manager, load_hooks
from svcctl.hooks.testing import Connect, Faults, HookContract, ManagerContract, Strike
from svcctl.model import Account, AccountStatus, Operation, User, Verb, effect

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[1] / "docs" / "example-service.md"
GUILDWIKI = HERE.parent / "assets" / "svcctl-guildwiki"
STATES = "[states.Member]\npriority = 100\n"
MEMBER = User(id=1, username="ada", state="Member", attributes={"rank": "officer"})
GUEST = User(id=1, username="ada", state="Guest")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", EXAMPLE.read_text(), re.MULTILINE | re.DOTALL)


def decided(decision: Iterator[Operation]) -> list[Verb]:
    return [operation.verb for operation in decision]


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The document's Python as a package, and its TOML as a configuration."""
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "example.py").write_text("\n\n".join(blocks("python")))
    config = tmp_path / "svcctl.toml"
    config.write_text(STATES + blocks("toml")[0])
    monkeypatch.syspath_prepend(tmp_path)
    return config


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules of a test's packages are imported anew by the next."""
    import sys

    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("my_package", "svcctl_guildwiki")):
            monkeypatch.delitem(sys.modules, name)


@pytest.mark.usefixtures("forget")
def test_the_example_of_the_document_is_a_service(example: Path) -> None:
    hooks = load_hooks(load(example))
    assert not hooks.failed
    hook = hooks.loaded["example"]
    assert decided(hook.create_user(MEMBER)) == [Verb.CREATE]
    assert not hook.can(Verb.DISABLE)

    manager = build_manager(hook)
    created = manager.create_account(NewAccount("ada", "svcctl:1", "pw"))
    with pytest.raises(Conflict):
        manager.create_account(NewAccount("ada", "svcctl:2", "pw"))

    hook._accounts[1] = Account("example", 1, 1, AccountStatus.ACTIVE, created.uid, "ada")
    assert decided(hook.validate_user(MEMBER)) == []
    assert decided(hook.validate_user(GUEST)) == [Verb.DELETE]
    manager.delete_account(created.uid)
    with pytest.raises(NotFound):
        manager.delete_account(created.uid)


@pytest.mark.usefixtures("forget")
def test_the_overridden_policy_of_the_document_holds(example: Path) -> None:
    example.write_text(example.read_text().replace("ExampleHook", "OfficersHook"))
    hook = load_hooks(load(example)).loaded["example"]
    officer = User(id=1, username="ada", state="Member", groups=frozenset({"officers"}))
    hook._accounts[1] = Account("example", 1, 1, AccountStatus.ACTIVE, "ada", "ada")
    assert decided(hook.validate_user(officer)) == []
    assert decided(hook.validate_user(MEMBER)) == [Verb.DELETE]
    assert decided(hook.sync_nickname(officer)) == []


@pytest.mark.usefixtures("forget")
def test_the_document_names_an_entry_point_that_svcctl_looks_for(example: Path) -> None:
    points = tomllib.loads(blocks("toml")[1])["project"]["entry-points"]["svcctl.hooks"]
    install(example.parent, "example", points)
    assert available()["example"] == ["example"]
    example.write_text(example.read_text().replace("my_package.example:ExampleHook", "example"))
    assert load_hooks(load(example)).loaded["example"].name == "example"


def install(folder: Path, package: str, points: dict[str, str]) -> None:
    """What an installer leaves of a package's entry points (PyPA: entry points specification)."""
    info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{name} = {target}" for name, target in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[svcctl.hooks]", *lines, ""]))


@pytest.fixture
def guildwiki(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget: None
) -> Callable[[], ServiceHook]:
    project = tomllib.loads((GUILDWIKI / "pyproject.toml").read_text())["project"]
    site = tmp_path / "site-packages"
    shutil.copytree(GUILDWIKI / "src", site, ignore=shutil.ignore_patterns("__pycache__"))
    install(site, project["name"], project["entry-points"]["svcctl.hooks"])
    monkeypatch.syspath_prepend(site)
    (tmp_path / "pages.json").write_text("{}")
    config = tmp_path / "svcctl.toml"
    config.write_text(
        f"{STATES}[services.guild]\n"
        'hook = "guildwiki"\n'
        'attributes = ["email"]\n'
        'access = { states = ["Member"] }\n'
        'pages = "pages.json"\n'
    )

    def hook() -> ServiceHook:
        hooks = load_hooks(load(config))
        assert not hooks.failed, hooks.failed
        return hooks.loaded["guild"]

    return hook


def test_a_strangers_package_is_found_by_its_entry_point(
    guildwiki: Callable[[], ServiceHook],
) -> None:
    assert available()["guildwiki"] == ["svcctl-guildwiki"]
    hook = guildwiki()
    module: ModuleType = __import__("svcctl_guildwiki")
    assert type(hook) is module.GuildwikiHook


def test_a_strangers_policy_decides_and_its_manager_does(
    guildwiki: Callable[[], ServiceHook], tmp_path: Path
) -> None:
    hook = guildwiki()
    manager = build_manager(hook)
    officer = User(1, "ada", state="Member", attributes={"rank": "officer", "email": "a@b.c"})
    private = User(1, "ada", state="Member", attributes={"rank": "private"})
    assert hook.service_active_for_user(officer)
    assert not hook.service_active_for_user(private)
    assert not hook.service_active_for_user(
        User(1, "ada", active=False, attributes=officer.attributes)
    )

    (create,) = hook.create_user(officer)
    assert create.reason == "may have an account: rank is officer, the wiki is for officers"
    arguments: dict[str, Any] = dict(create.args)
    created = manager.create_account(
        NewAccount(arguments["name"], "svcctl:1", "pw", arguments["attributes"])
    )
    assert (tmp_path / "pages.json").read_text() == '{"ada": {"email": "a@b.c"}}'
    assert [account.uid for account in manager.list_accounts()] == [created.uid]

    hook._accounts[1] = effect(Account("guild", 1), create)
    assert decided(hook.validate_user(officer)) == []
    (delete,) = hook.validate_user(private)
    assert delete.verb is Verb.DELETE
    assert delete.reason == "lost access: rank is private, the wiki is for officers"
    manager.delete_account(created.uid)
    assert list(manager.list_accounts()) == []


# The kit, as a stranger uses it


@pytest.fixture
def stranger(guildwiki: Callable[[], ServiceHook]) -> ServiceHook:
    return guildwiki()


class TestGuildwikiManager(ManagerContract):
    @pytest.fixture(autouse=True)
    def _which(self, stranger: ServiceHook) -> None:
        vars(self)["hook_class"] = type(stranger)

    @pytest.fixture
    def connect(self, stranger: ServiceHook) -> Connect:
        return lambda: build_manager(stranger)

    @pytest.fixture
    def faults(self, tmp_path: Path) -> Faults:
        return HalfWritten(tmp_path / "pages.json")


class HalfWritten(Faults):
    """The file ends in the middle."""

    kinds = frozenset({"cut"})

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def strike(self, kind: str, nth: int = 1) -> Iterator[Strike]:
        whole = self._path.read_text()
        if nth == 1:
            self._path.write_text(whole[:-1])
        yield Strike(happened=nth == 1)
        self._path.write_text(whole)


class TestGuildwikiHook(HookContract):
    settings = {"pages": "pages.json"}
    member = User(1, "ada", state="Member", attributes={"rank": "officer"})
    stranger = User(2, "kim", state="Member", attributes={"rank": "private"})

    @pytest.fixture(autouse=True)
    def _which(self, guildwiki: Callable[[], ServiceHook]) -> None:
        vars(self)["hook_class"] = type(guildwiki())
