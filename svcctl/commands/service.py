"""`svcctl service NAME …`: the commands that a service's hook brings along."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command as build_command

from svcctl.commands.output import plain
from svcctl.config.load import load
from svcctl.config.problems import suggest
from svcctl.config.settings import Settings
from svcctl.errors import ConfigError, HookError, SvcctlError, UsageError

if TYPE_CHECKING:
    from svcctl.hooks.contract import ServiceHook


class ServiceGroup(TyperGroup):
    """One subcommand per configured service whose hook names a Typer app in `commands`.

    The hook is imported when its service is named. Its commands find it in `ctx.obj`.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_offers(_settings(ctx)))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The hook's app. Raises UsageError for a service that is none or brings no commands."""
        settings = _settings(ctx)
        hook = _hook(settings, cmd_name)
        if hook.commands is None:
            offers = ", ".join(_offers(settings))
            raise UsageError(
                f"services.{cmd_name}: {type(hook).__name__} brings no commands",
                hint=f"services that do: {offers}" if offers else "no configured service does",
            )
        # The context of the hook's command inherits it.
        ctx.obj = hook
        return _mounted(hook)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, *rest = args
        if name.startswith("-"):
            ctx.fail(f"No such option: {name}")
        try:
            return name, self.get_command(ctx, name), rest
        except SvcctlError:
            if not ctx.resilient_parsing:
                raise
            return None, None, rest

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        try:
            offers = _offers(_settings(ctx))
        except ConfigError as error:
            with formatter.section("Services"):
                formatter.write_text(f"none: {plain(error.message)}")
            return
        with formatter.section("Services"):
            if offers:
                formatter.write_dl([(name, plain(title)) for name, title in offers.items()])
            else:
                formatter.write_text("none: no configured service brings commands along")

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        from contextlib import suppress

        from typer._click.shell_completion import CompletionItem

        offers: dict[str, str] = {}
        with suppress(Exception):  # a shell would show the error inside the line being typed
            offers = _offers(_settings(ctx))
        return [
            CompletionItem(name, help=plain(title))
            for name, title in offers.items()
            if name.startswith(incomplete)
        ]


def _settings(ctx: Any) -> Settings:
    """While a shell completes, the root command was read and not run: there is no `ctx.obj`."""
    root = ctx.find_root()
    named = root.obj.config if root.obj else root.params.get("config")
    return load(Path(named) if named else None)


def _hook(settings: Settings, name: str) -> "ServiceHook":
    from svcctl.hooks.registry import load_hooks

    if name not in settings.services:
        raise UsageError(
            f"no such service: {name}",
            hint=suggest(name, settings.services) or "no service is configured",
        )
    hooks = load_hooks(settings, [name])
    if name in hooks.failed:
        raise hooks.failed[name]
    return hooks.loaded[name]


def _offers(settings: Settings) -> dict[str, str]:
    """The services that bring commands, with their titles; those that cannot load bring none."""
    from svcctl.hooks.registry import load_hooks

    hooks = load_hooks(settings).loaded
    return {name: hook.title for name, hook in hooks.items() if hook.commands is not None}


def _mounted(hook: "ServiceHook") -> Any:
    from importlib import import_module

    key = f"services.{hook.name}"
    module, _, attribute = (hook.commands or "").partition(":")
    try:
        mounted = getattr(import_module(module), attribute)
    except Exception as error:
        raise HookError(
            f"{key}: its commands cannot be imported: {type(error).__name__}: {error}",
            hint=f"{type(hook).__name__}.commands is {hook.commands!r}",
        ) from error
    if not isinstance(mounted, typer.Typer):
        raise HookError(
            f"{key}: {hook.commands} is no Typer app",
            hint=f"{type(hook).__name__}.commands names one as package.module:app",
        )
    mounted._add_completion = False  # noqa: SLF001 - only the root offers it
    mounted.rich_markup_mode = None
    command = build_command(mounted)
    command.name = hook.name
    return command


app = typer.Typer(
    cls=ServiceGroup,
    no_args_is_help=True,
    subcommand_metavar="NAME [COMMAND]...",
)


@app.callback()
def service() -> None:
    """Commands that a service's hook brings along."""
