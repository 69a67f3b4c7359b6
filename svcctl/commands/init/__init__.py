"""`svcctl init`: a commented configuration, the database, and the lines that run svcctl."""

import shlex
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from svcctl.commands.completion import complete_services
from svcctl.commands.options import DryRunOption
from svcctl.commands.output import say, write
from svcctl.commands.writing import create, create_database, refuse_existing
from svcctl.errors import UsageError

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
FromLiveOption = Annotated[
    str | None,
    typer.Option(
        "--from-live",
        metavar="SERVICE",
        help="Begin with the people and groups of this service, which the configuration has.",
        autocompletion=complete_services,
    ),
]
PeopleOption = Annotated[
    Path | None,
    typer.Option(
        "--people",
        metavar="FILE",
        help="With --from-live: where its people go.  [default: people.csv by the configuration]",
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
    from_live: FromLiveOption = None,
    people: PeopleOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Write a commented configuration and create the database.

    A file that is there already is never replaced. With --cron or --systemd a configuration that
    exists is left as it is.

    With --from-live the configuration has the service's own table so far. The people of the service
    are written to a new file, and what belongs to it is added at the end of the configuration, so
    that after directory pull and adopt there is nothing to do.
    """
    if from_live is not None:
        from svcctl.commands.init.live import begin

        if sample or cron or systemd:
            raise UsageError("--from-live goes by itself", hint="run init --cron afterwards")
        begin(path or ctx.obj.config, from_live, people, dry_run=dry_run)
        return
    if people is not None:
        raise UsageError("--people without --from-live", hint="name the service: --from-live NAME")
    config = (path or ctx.obj.config or Path("svcctl.toml")).absolute()
    texts = {} if (cron or systemd) and config.exists() else _configuration(config, sample=sample)
    units = _units(config) if systemd else {}
    if systemd and str(systemd) != "-":
        texts |= {systemd.absolute() / name: text for name, text in units.items()}
        units = {}
    refuse_existing(texts)
    create(texts, dry_run=dry_run)
    if config in texts:
        create_database(config, dry_run=dry_run)
        if not dry_run:
            say("next: edit it, then svcctl config check, svcctl directory pull, svcctl plan")
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
    names = {
        "config": str(config).replace("%", "%%"),
        "credentials": _credentials(config),
        "svcctl": _program().replace("%", "%%"),
    }
    return {"svcctl.service": service.substitute(names), "svcctl.timer": _template("svcctl.timer")}


def _credentials(config: Path) -> str:
    """A line for each credential that the configuration names; the files lie beside it."""
    from svcctl.config.load import parse

    names = sorted(set(_named(parse(config)))) if config.exists() else []
    lines = [f"LoadCredential={name}:{config.with_name(name)}\n" for name in names]
    return "".join(lines).replace("%", "%%") or f"#LoadCredential=wiki:{config.with_name('wiki')}\n"


def _named(value: object) -> Iterator[str]:
    """The names in `{ credential = "…" }`, wherever they stand: only hooks know which are read."""
    match value:
        case {"credential": str(name), **rest} if not rest:
            yield name
        case dict():
            for item in value.values():
                yield from _named(item)
        case list():
            for item in value:
                yield from _named(item)


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
