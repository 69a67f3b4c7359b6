"""`svcctl demo`: a tour in a temporary folder, by the commands that a person would type."""

import io
import json
import os
import runpy
import shlex
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from svcctl.commands.output import say, write
from svcctl.errors import ExitCode, SvcctlError, UsageError

app = typer.Typer()

WIDTH = 88
HEAD, TAIL = 8, 3
"""Of a longer output the tour shows the first and the last lines, and says how many it left out."""

MEANINGS = {
    ExitCode.HELD: "removals are held",
    ExitCode.INCOMPLETE: "a source could not be believed",
    ExitCode.PAUSED: "the run waits",
}
PAUSED = ExitCode.PAUSED
VERA = {
    "id": 4711,
    "login": "vera",
    "mail": "vera@example.org",
    "name": "Vera Bell",
    "team": "GEAR",
}
"""What a provider says of somebody who has logged in there."""


class DemoError(SvcctlError):
    """A command did not do what the tour expects."""


@app.command()
def demo(
    ctx: typer.Context,
    *,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", metavar="DIR", help="Work in this new folder and leave it there."),
    ] = None,
    pause: Annotated[
        bool, typer.Option("--pause", help="Wait for Enter before each step.")
    ] = False,
) -> None:
    """A complete tour in a temporary folder: nothing outside of it is read or changed."""
    with working_folder(keep) as folder:
        tour = Tour(folder, color=ctx.obj.color, pause=pause and sys.stdin.isatty())
        tour.take()
    if keep:
        say(f"the folder is {folder}; go on with: cd {shlex.quote(str(folder))}")


@contextmanager
def working_folder(keep: Path | None) -> Iterator[Path]:
    """The tour's folder: a new one that is gone afterwards, or the one to keep."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="svcctl-demo-") as name:
            yield Path(name)
        return
    folder = keep.absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder}: is not empty", hint="name a folder that does not exist")
    except OSError as error:
        raise UsageError(f"{folder}: {(error.strerror or str(error)).lower()}") from error
    yield folder


@dataclass
class Tour:
    """One tour: `take` tells it and does it."""

    folder: Path
    color: bool
    pause: bool
    step: int = 0

    def take(self) -> None:
        self._begin()
        self._everyday()
        self._people_change()
        self._a_typo()
        self._approval()
        self._half_a_file()
        self._join_and_leave()
        self._questions()

    # The story

    def _begin(self) -> None:
        self._write("svcctl.toml", _packaged("svcctl.toml"))
        self._write("people.csv", _packaged("people.csv"))
        for name in ("wiki.htpasswd", "wiki.groups"):
            self._write(name, "")
        self._tell(
            "One file says where people come from, who stands where, and who gets an account "
            "on which service. The wiki is a password file for Apache or nginx; the lab is a "
            "practice service that comes with svcctl."
        )
        self._show_file("svcctl.toml")
        self._svcctl("config", "check")
        self._tell("The database is made once. It records every account and every operation.")
        self._svcctl("db", "upgrade")

    def _everyday(self) -> None:
        self._tell("People are read from people.csv; the rules sort them into states.")
        self._svcctl("directory", "pull")
        self._svcctl("states", "list")
        self._tell("Before anything is done: what would be done? A plan writes nothing.")
        self._svcctl("plan")
        self._tell("Now for real. Everybody with access gets an account, groups and a nickname.")
        self._svcctl("sync", "--all")
        self._tell("Ada is to log in to the wiki. A new password is shown once, and kept nowhere.")
        self._svcctl("accounts", "reset-password", "ada", "--service", "wiki")
        self._tell("sync again: nothing to do, and nothing is said. This is the command for cron.")
        self._svcctl("sync", "--all")

    def _people_change(self) -> None:
        self._tell(
            "A week later: Bob is switched off, Carol has moved to corp INK, Jean is an editor, "
            "Zoe is new. The file says so; pull shows what is different."
        )
        people = _packaged("people.csv")
        people = people.replace("Bob Kahn,GEAR,pilots,yes", "Bob Kahn,GEAR,pilots,no")
        people = people.replace("Carol Shaw,GEAR", "Carol Shaw,INK")
        people = people.replace("Jean Bartik,GEAR,pilots,", "Jean Bartik,GEAR,pilots;editors,")
        self._write("people.csv", people + "1025,zoe,Zoe Adams,GEAR,pilots,yes\n")
        self._svcctl("directory", "pull")
        self._tell("What that means for accounts, each with its reason:")
        self._svcctl("plan")
        self._tell("`validate` takes access away from those who may no longer have it.")
        self._svcctl("validate", "--all")
        self._tell("`sync` does the rest: the new account, the groups, the nickname.")
        self._svcctl("sync", "--all")

    def _a_typo(self) -> None:
        self._tell(
            "Somebody mistypes a corp in the configuration: GAER instead of GEAR. Half of the "
            "wiki would lose its accounts. svcctl does not do that unasked: the removals are held."
        )
        self._edit("svcctl.toml", '"GEAR", "LENS"', '"GAER", "LENS"')
        self._svcctl("sync", "--all", exit_code=ExitCode.HELD)
        self._tell("Nobody lost anything. With the typo mended, nothing is held any more.")
        self._edit("svcctl.toml", '"GAER", "LENS"', '"GEAR", "LENS"')
        self._svcctl("sync", "--all")
        self._svcctl("holds", "list")

    def _approval(self) -> None:
        self._tell("This time it is meant: corp LENS leaves, and its five people with it.")
        self._edit("svcctl.toml", '"GEAR", "LENS"', '"GEAR"')
        self._svcctl("sync", "--all", exit_code=ExitCode.HELD)
        self._svcctl("holds", "list")
        self._tell("A person looks at it and says yes. Everything is looked at again first.")
        self._approve()

    def _approve(self) -> None:
        _, holds = self._run("holds", "list", "--json")
        self._svcctl("holds", "approve", str(json.loads(holds)["rows"][0]["run"]))

    def _half_a_file(self) -> None:
        self._tell(
            "The next export of the directory breaks off after ten lines. Unknown is not absent: "
            "the file is not taken over."
        )
        lines = (self.folder / "people.csv").read_text(encoding="utf-8").splitlines(keepends=True)
        self._write("people.csv", "".join(lines[:11]))
        self._svcctl("directory", "pull", exit_code=ExitCode.INCOMPLETE)
        self._write("people.csv", "".join(lines))

    def _join_and_leave(self) -> None:
        self._tell(
            "People can also come by themselves. Vera has logged in at a provider; what that says "
            "of her goes through a list of steps, as in python-social-auth, but from the shell."
        )
        added = _packaged("pipelines.toml")
        self._write("svcctl.toml", (self.folder / "svcctl.toml").read_text("utf-8") + added)
        self._write("vera.json", json.dumps(VERA) + "\n")
        self._show_file("vera.json")
        write("")
        write(self._styled("added to svcctl.toml:", fg="cyan"))
        self._show(added.strip(), whole=True)
        self._tell("Would it work? Nothing is kept, and no mail leaves.")
        self._svcctl("pipeline", "check")
        self._svcctl(
            "pipeline", "run", "join", "--response", "vera.json", "--dry-run", exit_code=PAUSED
        )
        self._tell("It pauses until she has proved her address. The run is saved, encrypted.")
        self._svcctl("pipeline", "run", "join", "--response", "vera.json", exit_code=PAUSED)
        self._svcctl("pipeline", "partials")
        self._tell(
            "She has got a code (here it stands in a file instead of a mail). With it, or next "
            "week, the run goes on where it stopped: she is a user, a Member, and has accounts."
        )
        mail = json.loads((self.folder / "mails.ndjson").read_text("utf-8").splitlines()[-1])
        code = next(line.strip() for line in mail["body"].splitlines() if line.startswith("    "))
        _, partials = self._run("pipeline", "partials", "--json")
        paused = json.loads(partials)["rows"][0]["id"]
        self._svcctl("pipeline", "resume", paused, "--set", f"verification_code={code}")
        self._tell(
            "And the other way: she leaves. A pipeline is no way round the limits. The wiki has "
            "lost enough accounts for one day, so hers waits there until a person says yes."
        )
        self._svcctl("pipeline", "run", "leave", "--user", "vera", exit_code=ExitCode.HELD)
        self._approve()

    def _questions(self) -> None:
        self._tell("Who did what, when and why:")
        self._svcctl("history")
        self._tell("And why Ada has an account on the wiki, and Carol none any more:")
        self._svcctl("why", "ada", "wiki")
        self._svcctl("why", "carol", "wiki")
        self._tell(
            "This is the password file as the web server reads it. `!svcctl-disabled!` locks a "
            "line, and keeps the password for the day its owner comes back."
        )
        self._show_file("wiki.htpasswd")
        self._tell("That was the tour. `svcctl init` begins your own.")

    # How it is told and done

    def _tell(self, text: str) -> None:
        """A step's heading. With --pause it waits until the reader goes on."""
        if self.pause and self.step:
            typer.prompt("(Enter)", default="", show_default=False, prompt_suffix=" ", err=True)
        self.step += 1
        write("")
        for line in textwrap.wrap(text, WIDTH):
            write(self._styled(line, bold=True))

    def _svcctl(self, *words: str, exit_code: ExitCode = ExitCode.OK) -> None:
        write("")
        write(self._styled(f"$ svcctl {shlex.join(words)}", fg="cyan"))
        code, output = self._run(*words)
        self._show(output)
        if code:
            meaning = MEANINGS.get(exit_code, "unexpected")
            write(self._styled(f"  [exit code {code}: {meaning}]", dim=True))
        elif not output:
            write(self._styled("  [no output]", dim=True))
        if code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
            raise KeyboardInterrupt
        if code != exit_code:
            raise DemoError(
                f"svcctl {shlex.join(words)}: exit code {code}, not {int(exit_code)}",
                hint="this is a defect in svcctl; look closer with: svcctl demo --keep DIR",
            )

    def _run(self, *words: str) -> tuple[int, str]:
        """`python -m svcctl` in this process, which saves its start, and what it wrote."""
        output = io.StringIO()
        argv, sys.argv = sys.argv, ["svcctl", *words]
        try:
            with (
                chdir(self.folder),
                _own_environment(),
                redirect_stdout(output),
                redirect_stderr(output),
            ):
                runpy.run_module("svcctl", run_name="__main__")
        except SystemExit as done:
            return int(done.code or 0), output.getvalue()
        finally:
            sys.argv = argv
        return 0, output.getvalue()

    def _show_file(self, name: str) -> None:
        write("")
        write(self._styled(f"$ cat {name}", fg="cyan"))
        self._show((self.folder / name).read_text(encoding="utf-8"), whole=True)

    def _show(self, text: str, *, whole: bool = False) -> None:
        lines = text.splitlines()
        left_out = range(HEAD, HEAD if whole else max(HEAD, len(lines) - TAIL))
        for number, line in enumerate(lines):
            if len(left_out) < 2 or number not in left_out:
                write(f"  {line}".rstrip())
            elif number == HEAD:
                write(self._styled(f"  [... {len(left_out)} more lines]", dim=True))

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)

    def _edit(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text(encoding="utf-8")
        self._write(name, text.replace(old, new))
        line = next(line for line in text.replace(old, new).splitlines() if new in line)
        write("")
        write(self._styled(f"{name}: {line}", fg="cyan"))

    def _styled(self, text: str, **style: str | bool) -> str:
        return typer.style(text, **style) if self.color else text  # type: ignore[arg-type]


@contextmanager
def _own_environment() -> Iterator[None]:
    """Without this shell's own settings for svcctl."""
    ours = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("SVCCTL_")}
    try:
        yield
    finally:
        os.environ.update(ours)


def _packaged(name: str) -> str:
    return files("svcctl").joinpath("demo", name).read_text(encoding="utf-8")
