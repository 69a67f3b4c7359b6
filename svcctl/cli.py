"""The Typer app and `main`: the one place where an exception becomes a message and an exit code."""

import importlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command as build_command

from svcctl import __version__
from svcctl.errors import ConfigError, ExitCode, SvcctlError

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "A complete tour in a temporary folder."),
    "init": ("init", "Write a commented configuration and the database."),
    "config": ("config", "Check, show or describe the configuration."),
    "directory": ("directory", "Read users and groups from the configured sources."),
    "users": ("users", "The people of the local directory."),
    "groups": ("groups", "The groups of the local directory."),
    "states": ("states", "Who stands where, and why."),
    "accounts": ("accounts", "The accounts of users on services."),
    "services": ("services", "The configured services."),
    "service": ("service", "Commands that a service's hook brings along."),
    "validate": ("validate", "Remove accounts of users who may no longer have them."),
    "delete": ("delete", "Remove accounts on purpose."),
    "sync-nickname": ("sync_nickname", "Bring nicknames up to date."),
    "update-groups": ("update_groups", "Bring groups up to date."),
    "update-all-groups": (
        "update_all_groups",
        "Bring groups up to date with what is really there.",
    ),
    "sync": ("sync", "Validate, create where opted in, groups and nicknames: the cron line."),
    "plan": ("plan", "What sync would do now."),
    "holds": ("holds", "Operations that a safety limit stopped."),
    "history": ("history", "Who did what, when and why."),
    "why": ("why", "Why a user has, or has not, an account."),
    "db": ("db", "Migrate, check and back up the database."),
}


@dataclass(frozen=True, slots=True)
class Invocation:
    """What the options before the command say; every command finds it in `ctx.obj`."""

    config: Path | None = None
    verbose: int = 0
    quiet: bool = False
    color: bool = False


class LazyGroup(TyperGroup):
    """The root command: lists all commands, imports only the one that is called."""

    def list_commands(self, _ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        if cmd_name not in self.commands:
            module = importlib.import_module(f"svcctl.commands.{COMMANDS[cmd_name][0]}")
            module.app._add_completion = False  # noqa: SLF001 - only the root offers it
            module.app.rich_markup_mode = None
            command = build_command(module.app)
            command.name = cmd_name
            self.commands[cmd_name] = command
        return self.commands[cmd_name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=3)
            also = f" Did you mean {' or '.join(close)}?" if close else ""
            ctx.fail(f"No such command {args[0]!r}.{also}")
        return super().resolve_command(ctx, args)

    def format_commands(self, _ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        from typer._click.shell_completion import CompletionItem

        items = [
            CompletionItem(name, help=text)
            for name, (_, text) in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return items or super(TyperGroup, self).shell_complete(ctx, incomplete)


app = typer.Typer(
    name="svcctl",
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "SVCCTL",
        "max_content_width": 100,
    },
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"svcctl {__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="The configuration file.", envvar="SVCCTL_CONFIG"),
    ] = None,
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Say more; -vv adds tracebacks.")
    ] = 0,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Only errors on stderr, no progress.")
    ] = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print it and exit."
        ),
    ] = False,
) -> None:
    """Keep people's accounts on many services in step with one local directory.

    Nothing is done that was not planned, explained, limited and recorded.
    """
    ctx.obj = Invocation(config=config, verbose=verbose, quiet=quiet, color=_wants_color())


def _wants_color() -> bool:
    environment = os.environ
    return (
        sys.stdout.isatty()
        and not environment.get("NO_COLOR")
        and environment.get("TERM") != "dumb"
        and not environment.get("CI")
    )


class _ForgivingStdout:
    """stdout that a reader may close (`| head`): what is written afterwards is dropped."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return int(self._stream.write(text))
        except BrokenPipeError:
            self._close()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._close()

    def _close(self) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)


def complain(error: SvcctlError) -> None:
    """One line that says what, one that says what to do."""
    from svcctl.commands.output import plain

    typer.echo(f"error: {plain(error.message)}", err=True)
    for problem in error.problems if isinstance(error, ConfigError) else ():
        typer.echo(f"  {plain(problem)}", err=True)
    if error.hint:
        typer.echo(f"hint: {plain(error.hint)}", err=True)


def main(arguments: list[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    argv = sys.argv[1:] if arguments is None else arguments
    stdout = sys.stdout
    sys.stdout = _ForgivingStdout(stdout)
    try:
        app(args=argv, prog_name="svcctl")
    except SystemExit as done:
        code = done.code
        return code if isinstance(code, int) else ExitCode.OK if code is None else ExitCode.FAILED
    except SvcctlError as error:
        if _verbosity(argv) >= 2:
            import traceback

            traceback.print_exc()
        complain(error)
        return int(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        return int(ExitCode.INTERRUPTED)
    except Exception as error:
        if _verbosity(argv) >= 2:
            raise
        typer.echo(f"error: {type(error).__name__}: {error}", err=True)
        typer.echo("hint: this is a defect in svcctl; run again with -vv and report it", err=True)
        return int(ExitCode.FAILED)
    finally:
        sys.stdout.flush()
        sys.stdout = stdout
    return int(ExitCode.OK)


def _verbosity(argv: list[str]) -> int:
    return sum(
        2 if word in ("-vv", "-vvv") else 1 for word in argv if word in ("-v", "--verbose", "-vv")
    )


if __name__ == "__main__":
    sys.exit(main())
