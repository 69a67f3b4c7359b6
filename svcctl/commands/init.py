"""`svcctl init`: a commented configuration, the database, and the lines that run svcctl."""

import os
import shlex
import sys
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from svcctl.commands.options import DryRunOption
from svcctl.commands.output import plain, say, write
from svcctl.errors import StoreError, UsageError

app = typer.Typer()

PathOption = Annotated[
    Path | None,
    typer.Option("--path", help="The configuration to write.  [default: svcctl.toml]"),
]
SampleOption = Annotated[
    bool, typer.Option("--sample", help="With a sample people.csv and a practice service.")
]
CronOption = Annotated[bool, typer.Option("--cron", help="Print a crontab line as well.")]
SystemdOption = Annotated[
    Path | None,
    typer.Option(
        "--systemd",
        metavar="DIR",
        help="Write svcctl.service and svcctl.timer there as well; - prints them.",
    ),
]


@app.command()
def init(
    ctx: typer.Context,
    *,
    path: PathOption = None,
    sample: SampleOption = False,
    cron: CronOption = False,
    systemd: SystemdOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Write a commented configuration and create the database.

    A file that is there already is never replaced. With --cron or --systemd a configuration that
    exists is left as it is.
    """
    config = (path or ctx.obj.config or Path("svcctl.toml")).absolute()
    texts = {} if (cron or systemd) and config.exists() else _configuration(config, sample=sample)
    units = _units(config) if systemd else {}
    if systemd and str(systemd) != "-":
        texts |= {systemd.absolute() / name: text for name, text in units.items()}
        units = {}
    _refuse_existing(texts)
    _create(texts, dry_run=dry_run)
    if config in texts:
        _database(config, dry_run=dry_run)
    if cron:
        write(_cron_line(config))
    for name, text in units.items():
        write(f"# {name}\n{text.rstrip()}\n")


def _template(name: str) -> str:
    return files("svcctl").joinpath("templates", name).read_text(encoding="utf-8")


def _configuration(config: Path, *, sample: bool) -> dict[Path, str]:
    """The files to write. What only works with the sample is a comment without it."""
    lines = _template("svcctl.toml").splitlines(keepends=True)
    mark = "" if sample else "#"
    texts = {config: "".join(mark + line[1:] if line[0] == "@" else line for line in lines)}
    if sample:
        texts[config.with_name("people.csv")] = _template("people.csv")
    return texts


def _units(config: Path) -> dict[str, str]:
    service = Template(_template("svcctl.service"))
    names = {"config": str(config).replace("%", "%%"), "svcctl": _program().replace("%", "%%")}
    return {"svcctl.service": service.substitute(names), "svcctl.timer": _template("svcctl.timer")}


def _cron_line(config: Path) -> str:
    """Every quarter of an hour, done before the next begins. In a crontab % is a line's end."""
    svcctl = f"{_program()} --config {shlex.quote(str(config))}"
    line = f"{svcctl} directory pull; {svcctl} sync --all --max-runtime 13m"
    return "*/15 * * * *  " + line.replace("%", "\\%")


def _program() -> str:
    """How a shell without this one's PATH calls the svcctl that is running."""
    script = Path(sys.executable).with_name("svcctl")
    words = [str(script)] if script.exists() else [sys.executable, "-m", "svcctl"]
    return shlex.join(words)


def _refuse_existing(texts: Mapping[Path, str]) -> None:
    for path in texts:
        if os.path.lexists(path):
            raise UsageError(
                f"{path}: exists already, nothing was written",
                hint="give another --path, or move the file away",
            )


def _create(texts: Mapping[Path, str], *, dry_run: bool) -> None:
    for path, text in texts.items():
        if dry_run:
            write(f"would write {plain(path)}:\n{text}")
            continue
        # A unit holds nothing secret, and systemd warns of one that it alone may read.
        mode = 0o644 if path.suffix in (".service", ".timer") else 0o600
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise StoreError(
                f"{path}: cannot be written: {(error.strerror or str(error)).lower()}",
                hint="check the folder's permissions and the free space",
            ) from error
        write(f"{plain(path)}: written")


def _database(config: Path, *, dry_run: bool) -> None:
    from svcctl.config.load import load
    from svcctl.store.database import Database
    from svcctl.store.migrate import upgrade

    if dry_run:
        write(f"would create or upgrade {plain(config.with_name('svcctl.db'))}")
        return
    database = Database(load(config).database_url)
    try:
        upgraded = upgrade(database)
    finally:
        database.close()
    write(f"{plain(database.name)}: {'created' if upgraded.before is None else 'up to date'}")
    say("next: edit it, then svcctl config check, svcctl directory pull, svcctl plan")
