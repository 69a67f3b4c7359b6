"""`svcctl config`: check it, show it, describe it to an editor."""

import json
from typing import Annotated, Any

import typer

from svcctl.commands.options import JsonOption
from svcctl.commands.output import plain, say, write, write_json
from svcctl.config.load import load
from svcctl.config.settings import Settings
from svcctl.errors import ConfigError, ExitCode, HookError
from svcctl.hooks.registry import Hooks, load_hooks

app = typer.Typer(no_args_is_help=True, help="Check, show or describe the configuration.")

SecretsOption = Annotated[
    bool, typer.Option("--secrets", help="Fetch the secrets as well; they are never shown.")
]


@app.command()
def check(ctx: typer.Context, secrets: SecretsOption = False, json_: JsonOption = False) -> None:
    """Find everything that is wrong with the configuration, offline. Exits 78 if something is."""
    from svcctl.runs.doctor.configuration import examine

    examined = examine(ctx.obj.config, fetch=secrets)
    settings = examined.settings
    problems = [f"{examined.path}: {problem}" for problem in examined.problems]
    warnings = [f"{examined.path}: {warning}" for warning in examined.warnings]
    if (error := examined.error) is not None:
        problems.append(f"{error.message}; {error.hint}" if error.hint else error.message)
    if json_:
        body = {
            "file": str(settings.path) if settings else None,
            "ok": not problems,
            "problems": problems,
            "warnings": warnings,
        }
        write_json("config.check", body)
    else:
        for problem in problems:
            write(plain(problem))
        for warning in warnings:
            say(f"warning: {warning}")
        if settings and not problems:
            write(plain(f"{settings.path}: ok: {_size(settings)}"))
    if problems:
        raise typer.Exit(ExitCode.CONFIG)


@app.command()
def show(ctx: typer.Context, json_: JsonOption = False) -> None:
    """The configuration as it takes effect, defaults included and secrets masked."""
    from svcctl.config.toml import to_toml

    settings = load(ctx.obj.config)
    hooks = load_hooks(settings)
    say(f"read from {settings.path}")
    tables = _effective(settings, hooks)
    if json_:
        write_json("config", {"file": str(settings.path), "settings": tables})
    else:
        write(to_toml(tables).rstrip("\n"))
    for problems in hooks.problems.values():
        for problem in problems:
            say(f"error: {problem}")
    if hooks.failed:
        raise typer.Exit(ExitCode.CONFIG)


@app.command()
def schema(ctx: typer.Context) -> None:
    """The JSON Schema of svcctl.toml, with the settings of every installed and configured hook."""
    from svcctl.hooks.registry import available, hook_class
    from svcctl.hooks.schema import config_schema

    names = set(available())
    try:
        settings = load(ctx.obj.config)
        names.update(str(table["hook"]) for table in settings.services.values())
    except ConfigError as error:
        say(f"warning: {error.message}; without the hooks that only it names")
    hooks = {}
    for name in sorted(names):
        try:
            hooks[name] = hook_class(name)
        except HookError as error:
            say(f"warning: {error.message}")
    write(json.dumps(config_schema(hooks), ensure_ascii=False, indent=2))


def _effective(settings: Settings, hooks: Hooks) -> dict[str, Any]:
    """What `show` shows. Of a service whose hook failed only the hook: the rest may be private."""
    from svcctl.config import values

    tables: dict[str, Any] = values.plain(settings)
    tables["states"] = {name: values.plain(rule) for name, rule in settings.state_rules()}
    for name, table in settings.services.items():
        tables["services"][name] = (
            values.plain(hooks.loaded[name].config)
            if name in hooks.loaded
            else {"hook": str(table["hook"])}
        )
    return tables


def _size(settings: Settings) -> str:
    counts = (
        (len(settings.services), "service"),
        (len(settings.state_rules()), "state"),
        (len(settings.directory.sources), "source"),
    )
    return ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts)
