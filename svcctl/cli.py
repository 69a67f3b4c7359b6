"""The Typer app and `main`: the one place where an exception becomes a message and an exit code."""

import importlib
import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command as build_command

from svcctl import __version__
from svcctl.errors import ConfigError, ExitCode, StoreError, SvcctlError, UsageError, gravest

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "A complete tour in a temporary folder."),
    "init": ("init", "Write a commented configuration and the database."),
    "doctor": ("doctor", "What is in order, what is not, and what to do about it."),
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
    "apply": ("apply", "Exactly the plan of a file, or nothing."),
    "retry": ("retry", "What failed or is due, planned anew."),
    "undo": ("undo", "What a run changed, taken back."),
    "drift": ("drift", "Services against what is recorded here, both ways."),
    "adopt": ("adopt", "Link accounts that exist already, recognised by rules."),
    "holds": ("holds", "Operations that a safety limit stopped."),
    "history": ("history", "Who did what, when and why."),
    "audit": ("audit", "Export, verify and prune the record of what was done."),
    "why": ("why", "Why a user has, or has not, an account."),
    "pipeline": ("pipeline", "Lists of steps that a provider's response goes through."),
    "monitor": ("monitor", "Metrics for Prometheus, written to a file."),
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
            "--version",
            callback=_print_version,
            is_eager=True,
            allow_from_autoenv=False,
            help="Print it and exit.",
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
    """stdout that a reader may close (`| head`), or whose disk may be full: what is written
    afterwards is dropped, and what svcctl is doing goes on. `failure` is why, unless it was closed.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return int(self._stream.write(text))
        except OSError as error:
            self._close(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._close(error)

    def _close(self, error: OSError) -> None:
        if not isinstance(error, BrokenPipeError):
            self.failure = error
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)


def _open_streams() -> None:
    """What was closed before svcctl began (`>&-`) leads nowhere, and any name can be written."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # Open for as long as the process lives.
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
    stdout: Any = sys.stdout
    if hasattr(stdout, "reconfigure"):
        # As Typer takes ASCII: nobody chose it.
        encoding = "utf-8" if stdout.encoding.lower() in ("ascii", "us-ascii") else None
        stdout.reconfigure(encoding=encoding, errors="backslashreplace")


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
    _open_streams()
    stdout = sys.stdout
    forgiving: Any = _ForgivingStdout(stdout)
    sys.stdout = forgiving
    try:
        code = _run(argv)
    finally:
        _close_log()
        sys.stdout.flush()
        sys.stdout = stdout
    if forgiving.failure is not None:
        reason = (forgiving.failure.strerror or "unknown error").lower()
        lost = StoreError(
            f"standard output: cannot be written: {reason}",
            hint="the command ran to its end; svcctl history shows what was done",
        )
        complain(lost)
        return int(gravest([ExitCode(code), lost.exit_code]))
    return code


@cache
def _command() -> Any:
    return build_command(app)


def _run(argv: list[str]) -> int:
    from typer._click.exceptions import ClickException, NoArgsIsHelpError

    if not all(map(_is_text, argv)):
        complain(UsageError("an argument is not UTF-8 text", hint="check how it was typed"))
        return int(ExitCode.USAGE)
    try:
        code = _command()(args=argv, prog_name="svcctl", standalone_mode=False)
    except SystemExit as done:
        code = done.code
        return code if isinstance(code, int) else ExitCode.OK if code is None else ExitCode.FAILED
    except NoArgsIsHelpError as error:
        error.show()
        return int(error.exit_code)
    except ClickException as error:
        from svcctl.commands.usage import in_our_words

        complain(in_our_words(error))
        return int(error.exit_code)
    except SvcctlError as error:
        if _verbosity(argv) >= 2:
            import traceback

            traceback.print_exc()
        _to_log(error)
        complain(error)
        return int(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        typer.echo("interrupted", err=True)
        return int(ExitCode.INTERRUPTED)
    except Exception as error:
        _to_log(error)
        if _verbosity(argv) >= 2:
            raise
        complain(
            SvcctlError(
                f"{type(error).__name__}: {error}",
                hint="this is a defect in svcctl; run again with -vv and report it",
            )
        )
        return int(ExitCode.FAILED)
    return code if isinstance(code, int) else int(ExitCode.OK)


def _to_log(error: Exception) -> None:
    """If a log is open: opening it is a command's business, when it knows the configuration."""
    if log := sys.modules.get("svcctl.log"):
        log.say_failed(error)


def _close_log() -> None:
    if log := sys.modules.get("svcctl.log"):
        from svcctl.commands.output import plain

        for problem in log.close_log():
            typer.echo(f"log: {plain(problem)}", err=True)


def _is_text(word: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in word)


def _verbosity(argv: list[str]) -> int:
    given = os.environ.get("SVCCTL_VERBOSE", "")
    words = [word for word in argv if word == "--verbose" or set(word) == {"-", "v"}]
    if not words and given.isdecimal():
        return int(given)
    return sum(1 if word == "--verbose" else word.count("v") for word in words)


if __name__ == "__main__":
    sys.exit(main())
