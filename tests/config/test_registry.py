"""From `hook = "…"` to a hook, and from a hook to its manager; the broken stay alone."""

import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from svcctl.config.settings import Settings
from svcctl.errors import Denied, ExitCode, HookError, UsageError
from svcctl.hooks.htpasswd import HtpasswdHook, HtpasswdManager
from svcctl.hooks.registry import available, build_manager, load_hooks

Configured = Callable[[str], Settings]
Module = Callable[[str, str], None]

HOOK = """
from pathlib import Path
from pydantic import Field
from svcctl.config.secrets import Secret
from svcctl.config.service import Frozen, HookConfig
from svcctl.errors import Denied
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import Created, Manager


class Tls(Frozen):
    ca: Path = Path("ca.pem")


class Config(HookConfig):
    token: Secret
    folder: Path | None = None
    tls: Tls = Tls()
    retries: int = Field(3, ge=0)


class ForumManager(Manager):
    def __init__(self, token, folder=None, tls=None, retries=3):
        if retries == 7:
            raise ValueError(f"the token {token} is no good")
        if retries == 8:
            raise Denied(f"the token {token} is no good")
        if retries == 9:
            raise Denied("nobody may", hint="ask")
        self.token, self.folder, self.tls = token, folder, tls

    def create_account(self, new): return Created("1", new.name)
    def disable_account(self, uid): pass
    def delete_account(self, uid): pass


class ForumHook(ServiceHook):
    config_class = Config
    manager_class = ForumManager
"""
FORUM = 'hook = "forum:ForumHook"\nremoval = "delete"\ntoken = { env = "TOKEN" }\n'


def only_problem(configured: Configured, text: str) -> tuple[str, str]:
    hooks = load_hooks(configured(text))
    ((problem,),) = hooks.problems.values()
    (error,) = hooks.failed.values()
    assert not hooks.loaded
    assert error.exit_code is ExitCode.CONFIG
    assert error.message == f"{problem.key}: {problem.message}"
    assert error.hint == (problem.remedy or None)
    return error.message, error.hint or ""


def test_an_entry_point_names_a_hook(configured: Configured, folder: Path) -> None:
    hooks = load_hooks(configured('services.wiki = { hook = "htpasswd", password_file = "pw" }'))
    hook = hooks.loaded["wiki"]
    assert isinstance(hook, HtpasswdHook)
    assert hook.manager_arguments()["password_file"] == folder / "pw"
    assert isinstance(build_manager(hook), HtpasswdManager)


def test_a_module_and_class_name_a_hook(
    configured: Configured, module: Module, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "hunter2")
    module("forum", HOOK)
    text = f"[services.forum]\n{FORUM}folder = 'data'\nurl = 'https://x'\n"
    hooks = load_hooks(configured(text))
    assert not hooks.failed
    manager = build_manager(hooks.loaded["forum"])
    assert manager.token == "hunter2"  # type: ignore[attr-defined]
    assert manager.folder == folder / "data"  # type: ignore[attr-defined]
    assert manager.tls.ca == folder / "ca.pem"  # type: ignore[attr-defined]


def test_one_broken_hook_does_not_stop_another(configured: Configured, module: Module) -> None:
    module("broken", "import a_library_that_nobody_has")
    hooks = load_hooks(
        configured("""
            [services.chat]
            hook = "broken:Hook"
            [services.wiki]
            hook = "htpasswd"
            password_file = "pw"
            [services.forum]
            hook = "htpasswd"
        """)
    )
    assert list(hooks.loaded) == ["wiki"]
    assert hooks.failed["chat"].message == (
        "services.chat.hook: broken cannot be imported: no module named a_library_that_nobody_has"
    )
    assert hooks.failed["chat"].hint == "install a_library_that_nobody_has next to svcctl"
    assert isinstance(hooks.failed["chat"].__cause__, ModuleNotFoundError)
    assert hooks.failed["forum"].message == "services.forum.password_file: missing"


def test_only_what_is_asked_for_is_imported(configured: Configured, module: Module) -> None:
    module("leaves", "import sys; sys.exit(3)")
    settings = configured("""
        services.chat = { hook = "leaves:Hook" }
        services.wiki = { hook = "htpasswd", password_file = "pw" }
    """)
    assert list(load_hooks(settings, ["wiki"]).loaded) == ["wiki"]
    assert "leaves" not in sys.modules
    hooks = load_hooks(settings)
    assert list(hooks.loaded) == ["wiki"]
    assert hooks.failed["chat"].message == (
        "services.chat.hook: leaves cannot be imported: SystemExit: 3"
    )


def test_only_the_configured_hooks_are_imported(configured: Configured) -> None:
    configured('services.wiki = { hook = "htpasswd", password_file = "pw" }')
    program = (
        "import sys; from svcctl.config.load import load;"
        "from svcctl.hooks.registry import load_hooks; load_hooks(load());"
        "print([m for m in ('svcctl.hooks.sandbox', 'bcrypt', 'sqlalchemy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"


def test_a_service_that_is_not_configured_is_a_usage_error(configured: Configured) -> None:
    settings = configured('services.wiki = { hook = "htpasswd" }')
    with pytest.raises(UsageError, match=r"^wikki: no such service$") as raised:
        load_hooks(settings, ["wikki"])
    assert raised.value.hint == "did you mean wiki?"


def test_an_unknown_hook_is_named_with_the_closest_or_all(configured: Configured) -> None:
    assert only_problem(configured, 'services.wiki = { hook = "htpaswd" }') == (
        "services.wiki.hook: no hook is called htpaswd",
        "did you mean htpasswd?",
    )
    message, hint = only_problem(configured, 'services.wiki = { hook = "discord" }')
    assert message == "services.wiki.hook: no hook is called discord"
    assert hint.startswith("known: command, htpasswd, http")


def test_a_name_that_two_packages_offer_is_refused_naming_both(
    configured: Configured, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(folder)
    for package in ("svcctl-irc", "svcctl-chat"):
        info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[svcctl.hooks]\nirc = irc_hook:Hook\n")
    assert sorted(available()["irc"]) == ["svcctl-chat", "svcctl-irc"]
    assert only_problem(configured, 'services.chat = { hook = "irc" }') == (
        "services.chat.hook: irc is offered by svcctl-chat and by svcctl-irc",
        "uninstall one, or write package.module:Class",
    )


@pytest.mark.parametrize(
    ("hook", "source", "message", "hint"),
    [
        (
            "gone.module:Hook",
            "",
            "gone.module cannot be imported: no module named gone",
            "install the package that has gone.module, or correct the name",
        ),
        ("odd:Hook", "def f(:", "odd cannot be imported: SyntaxError: ", "see `"),
        ("odd:Hook", "1/0", "odd cannot be imported: ZeroDivisionError: division by zero", "see `"),
        ("odd:Hok", "class Hook: pass", "odd has no Hok", "did you mean Hook?"),
        ("odd:Hook", "class Hook: pass", "odd:Hook is not a ServiceHook", "derive it from"),
        ("odd:Hook", "Hook = 3", "odd:Hook is not a ServiceHook", "derive it from"),
        (
            "odd:Hook",
            "class Hook(ServiceHook): manager_class = dict",
            "Hook.manager_class is no Manager",
            "subclass it",
        ),
        (
            "odd:Hook",
            "class Hook(ServiceHook):\n def __init__(self, name, config, **kw): self.name = name",
            "Hook.__init__ does not call super().__init__",
            "call super().__init__(name, config, default_name_format=default_name_format)",
        ),
        (
            "odd:Hook",
            "class Hook(ServiceHook):\n def __init__(self): self.name = 'odd'",
            "Hook cannot be made: TypeError: ",
            "its __init__ must take (name, config, *, default_name_format) and pass them on",
        ),
        (
            "odd:Hook",
            "class Hook(ServiceHook): name_format = '{nope}'",
            "{nope}: no such placeholder; allowed: ",
            "",
        ),
        (
            "odd:Hook",
            "class C(HookConfig): colour: str = 'red'\nclass Hook(ServiceHook): config_class = C",
            "Manager does not take the settings of C: ",
            "the fields that a config_class adds are its manager's keyword arguments",
        ),
    ],
)
def test_a_class_that_is_no_proper_hook_is_explained(
    configured: Configured, module: Module, hook: str, source: str, message: str, hint: str
) -> None:
    imports = (
        "from svcctl.config.service import HookConfig\n"
        "from svcctl.hooks.contract import ServiceHook\n"
    )
    module("odd", imports + source)
    found, remedy = only_problem(configured, f"services.odd = {{ hook = '{hook}' }}")
    assert found.startswith(f"services.odd.hook: {message}")
    assert remedy.startswith(hint)


@pytest.mark.parametrize(
    ("settings", "message", "hint"),
    [
        ("toke = 1", "services.forum.toke: unknown key", "did you mean token?"),
        ("retries = -1", "services.forum.retries: must be greater than or equal to 0", ""),
        ("retries = 'x'", "services.forum.retries: must be a whole number, not text", ""),
        ("tls = { cb = 'x' }", "services.forum.tls.cb: unknown key", "known: ca"),
        ("create = 'never'", 'services.forum.create: must be "manual" or "auto"', ""),
        ("rate = '0/s'", "services.forum.rate: is not written as it must be", "operations per"),
        ("concurrency = 0", "services.forum.concurrency: must be greater than or equal to 1", ""),
        ("groups.map.a = 3", "services.forum.groups.map.a: must be text or a list, not", ""),
        ("groups.map.a = ['x', 3]", "services.forum.groups.map.a[1]: must be text, not", ""),
        ("limits = { removals = '5' }\ntitle = 3", "services.forum.title: must be text, not a", ""),
        ("limits = { removals = 'x' }", "services.forum.limits.removals: must be a number of", ""),
    ],
)
def test_each_mistake_in_a_service_is_named_with_its_key(
    configured: Configured, module: Module, settings: str, message: str, hint: str
) -> None:
    module("forum", HOOK)
    found, remedy = only_problem(configured, f"[services.forum]\n{FORUM}{settings}")
    assert found.startswith(message)
    assert remedy.startswith(hint)


@pytest.mark.parametrize(
    ("removal", "message", "hint"),
    [
        ('"disabel"', 'removal: must be "disable" or "delete"', ""),
        ("3", 'removal: must be a table or "disable" or "delete", not a whole number', ""),
        ('{ mod = "delete" }', "removal.mod: unknown key", "did you mean mode?"),
        ('{ mode = "off" }', 'removal.mode: must be "disable" or "delete"', ""),
        ("{ delete_after = 30 }", "removal.delete_after: a duration needs a unit; write it", ""),
        (
            '{ mode = "disable", delete_after = "999999999w" }',
            "removal.delete_after: a duration longer than any calendar",
            "",
        ),
        (
            '"disable"',
            "removal: disable: ForumManager has no enable_account",
            'write removal = "delete"',
        ),
        (
            '{ mode = "delete", delete_after = "30d" }',
            "removal.delete_after: means nothing with mode = delete",
            'leave it out, or write mode = "disable"',
        ),
    ],
)
def test_removal_must_be_something_that_the_manager_can_do(
    configured: Configured, module: Module, removal: str, message: str, hint: str
) -> None:
    module("forum", HOOK)
    text = FORUM.replace('removal = "delete"', f"removal = {removal}")
    found, remedy = only_problem(configured, f"[services.forum]\n{text}")
    assert found.startswith(f"services.forum.{message}")
    assert remedy == hint


def test_the_default_removal_is_checked_as_well(configured: Configured, module: Module) -> None:
    module("forum", HOOK)
    text = FORUM.replace('removal = "delete"\n', "")
    assert only_problem(configured, f"[services.forum]\n{text}") == (
        "services.forum.removal: disable: ForumManager has no enable_account",
        'write removal = "delete"',
    )


def test_automatic_creation_needs_a_manager_that_creates(
    configured: Configured, module: Module
) -> None:
    module("poor", "from svcctl.hooks.contract import ServiceHook\nclass H(ServiceHook): pass")
    assert only_problem(configured, "services.x = { hook = 'poor:H', create = 'auto' }") == (
        "services.x.create: Manager cannot create accounts",
        'create = "manual"',
    )


def test_several_problems_of_a_service_are_all_kept(configured: Configured, module: Module) -> None:
    module("forum", HOOK)
    text = f"[services.forum]\n{FORUM}retries = -1\nfoldr = 'x'\n".replace("{ env", "{ enw")
    hooks = load_hooks(configured(text))
    assert [str(problem) for problem in hooks.problems["forum"]] == [
        "services.forum.token: must be exactly one of "
        '{ env = "…" }, { file = "…" }, { command = ["…"] } or { credential = "…" }',
        "services.forum.retries: must be greater than or equal to 0",
        "services.forum.foldr: unknown key; did you mean folder?",
    ]
    assert hooks.failed["forum"].message.endswith(" (and 2 more: `svcctl config check`)")


def test_a_literal_secret_is_refused_and_shown_nowhere(
    configured: Configured, module: Module
) -> None:
    module("forum", HOOK)
    text = FORUM.replace('{ env = "TOKEN" }', '"hunter2"')
    hooks = load_hooks(configured(f"[services.forum]\n{text}"))
    error = hooks.failed["forum"]
    assert "a secret has no place in the configuration" in error.message
    assert "hunter2" not in "".join(traceback.format_exception(error))
    assert "hunter2" not in repr(hooks.problems)


def test_what_a_path_means_is_checked_once_it_is_absolute(
    configured: Configured, folder: Path
) -> None:
    up = "../" * (len(folder.parts) - 1)
    message, _ = only_problem(
        configured, f"services.wiki = {{ hook = 'htpasswd', password_file = '{up}etc/passwd' }}"
    )
    assert message.startswith("services.wiki.password_file: a file of the operating system")


# Managers


def test_a_secret_that_cannot_be_fetched_is_an_error_of_its_service(
    configured: Configured, module: Module
) -> None:
    module("forum", HOOK)
    hook = load_hooks(configured(f"[services.forum]\n{FORUM}")).loaded["forum"]
    with pytest.raises(HookError) as raised:
        build_manager(hook)
    assert raised.value.message == "services.forum.token: env TOKEN: is not set"
    assert "export TOKEN" in (raised.value.hint or "")


@pytest.mark.parametrize(
    ("retries", "message"),
    [(7, "ValueError: the token *** is no good"), (8, "Denied: the token *** is no good")],
)
def test_a_manager_that_tells_its_secret_is_not_repeated(
    configured: Configured,
    module: Module,
    monkeypatch: pytest.MonkeyPatch,
    retries: int,
    message: str,
) -> None:
    monkeypatch.setenv("TOKEN", "hunter2")
    module("forum", HOOK)
    settings = configured(f"[services.forum]\n{FORUM}retries = {retries}")
    hook = load_hooks(settings).loaded["forum"]
    with pytest.raises(HookError) as raised:
        build_manager(hook)
    assert raised.value.message == f"services.forum: ForumManager cannot be built: {message}"
    shown = traceback.TracebackException.from_exception(raised.value, capture_locals=True)
    own = [frame for frame in shown.format() if "/svcctl/" in frame]
    assert "hunter2" not in "".join(traceback.format_exception(raised.value))
    assert "hunter2" not in "".join(own)


def test_a_manager_that_refuses_says_so_itself(
    configured: Configured, module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "hunter2")
    module("forum", HOOK)
    hook = load_hooks(configured(f"[services.forum]\n{FORUM}retries = 9")).loaded["forum"]
    with pytest.raises(Denied, match="nobody may"):
        build_manager(hook)
