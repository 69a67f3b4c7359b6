"""`svcctl service NAME …`: the commands that a service's hook brings along."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

CONFIG = """
[services.chat]
hook = "sandbox"
path = "chat.db"
title = "The Chat"
create = "auto"
access.states = ["Guest"]
[services.other]
hook = "sandbox"
path = "other.db"
[services.web]
hook = "htpasswd"
password_file = "passwords"
cost = 4
"""
BROKEN = """
[services.broken]
hook = "nosuch"
"""
HOOK = """
import typer
from svcctl.hooks.contract import ServiceHook

app = typer.Typer()
noapp = "a string"

@app.command()
def hello(ctx: typer.Context) -> None:
    typer.echo(f"hello from {ctx.obj.name}, {type(ctx.obj).__name__}")

class Fine(ServiceHook):
    commands = "extras:app"

class Gone(ServiceHook):
    commands = "extras:gone"

class NoApp(ServiceHook):
    commands = "extras:noapp"
"""


@pytest.fixture
def extras(site: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """`extras("Fine")`: a site whose service `shop` has a hook of its own module."""

    def build(hook: str) -> Any:
        built = site(f'[services.shop]\nhook = "extras:{hook}"\n')
        monkeypatch.syspath_prepend(built.folder)
        built.write("extras.py", HOOK)
        return built

    yield build
    sys.modules.pop("extras", None)


def test_a_hooks_commands_work_on_the_service_that_was_named(site: Any, svcctl: Any) -> None:
    site(CONFIG)
    svcctl("users", "add", "ada", "--no-sync")
    assert svcctl("sync", "--all").exit_code == 0
    result = svcctl("service", "chat", "show")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].split() == [
        "sb-000001",
        "ada",
        "active",
        "ada",
        "svcctl:1",
    ]
    assert len(svcctl("service", "other", "show").stdout.splitlines()) == 1


def test_what_a_hooks_command_breaks_svcctl_meets(site: Any, svcctl: Any) -> None:
    site(CONFIG)
    assert svcctl("service", "chat", "break", "check", "denied").exit_code == 0
    assert svcctl("services", "check", "chat").exit_code == 5
    assert svcctl("service", "chat", "heal").exit_code == 0
    assert svcctl("services", "check", "chat").exit_code == 0


def test_the_help_lists_the_services_that_bring_commands(site: Any, svcctl: Any) -> None:
    site(CONFIG + BROKEN)
    result = svcctl("service", "--help")
    assert result.exit_code == 0
    assert result.stdout.partition("Services:\n")[2].splitlines() == [
        "  chat   The Chat",
        "  other  Other",
    ]


def test_the_help_of_a_service_is_that_of_its_hooks_commands(site: Any, svcctl: Any) -> None:
    site(CONFIG)
    result = svcctl("service", "chat", "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: svcctl service chat [OPTIONS] COMMAND [ARGS]...\n")


def test_the_help_works_without_a_configuration(site: Any, svcctl: Any) -> None:
    here = site(CONFIG)
    (here.folder / "svcctl.toml").unlink()
    result = svcctl("service", "--help")
    assert result.exit_code == 0
    assert "none: svcctl.toml: no such file" in result.stdout


def test_a_service_without_commands_names_those_that_have_some(site: Any, svcctl: Any) -> None:
    site(CONFIG)
    result = svcctl("service", "web", "show")
    assert (result.exit_code, result.stdout, result.stderr) == (
        2,
        "",
        "error: services.web: HtpasswdHook brings no commands\n"
        "hint: services that do: chat, other\n",
    )


def test_an_unknown_service_names_the_close_one(site: Any, svcctl: Any) -> None:
    site(CONFIG)
    result = svcctl("service", "caht", "show")
    assert (result.exit_code, result.stderr) == (
        2,
        "error: no such service: caht\nhint: did you mean chat?\n",
    )


def test_a_hook_that_cannot_load_says_why_and_does_not_stop_the_others(
    site: Any, svcctl: Any
) -> None:
    site(CONFIG + BROKEN)
    assert svcctl("service", "chat", "show").exit_code == 0
    result = svcctl("service", "broken", "show")
    assert (result.exit_code, result.stderr.splitlines()[0]) == (
        78,
        "error: services.broken.hook: no hook is called nosuch",
    )


def test_an_app_with_one_command_needs_no_further_word(extras: Any, svcctl: Any) -> None:
    extras("Fine")
    result = svcctl("service", "shop")
    assert (result.exit_code, result.stdout) == (0, "hello from shop, Fine\n")


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        (
            "Gone",
            "services.shop: its commands cannot be imported: "
            "AttributeError: module 'extras' has no attribute 'gone'",
        ),
        ("NoApp", "services.shop: extras:noapp is no Typer app"),
    ],
)
def test_commands_that_are_none_are_the_hooks_defect(
    extras: Any, svcctl: Any, hook: str, message: str
) -> None:
    extras(hook)
    result = svcctl("service", "shop", "hello")
    assert (result.exit_code, result.stderr.splitlines()[0]) == (78, f"error: {message}")
