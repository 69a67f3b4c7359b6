"""`svcctl adopt`."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from svcctl.commands.completion import complete_rules, complete_services
from svcctl.commands.options import DryRunOption, Format, FormatOption, JsonOption
from svcctl.commands.output import Table, ask, chosen, emit, say, write_json, write_line
from svcctl.commands.report import problem_row, tell_problem
from svcctl.commands.session import open_session
from svcctl.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from svcctl.runs.adoption import Adoption

app = typer.Typer()

COLUMNS = ("account", "user", "by", "result", "reason")

OneService = Annotated[
    str,
    typer.Argument(metavar="SERVICE", help="A service.", autocompletion=complete_services),
]
ByOption = Annotated[
    list[str] | None,
    typer.Option(
        "--by",
        metavar="RULE",
        help="external-id, uid, email, name, or attribute:KEY; repeatable, tried in this order.",
        autocompletion=complete_rules,
        show_default=False,
    ),
]
YesOption = Annotated[
    bool, typer.Option("--yes", "-y", help="Link them without asking.", allow_from_autoenv=False)
]


@app.command()
def adopt(
    ctx: typer.Context,
    service: OneService,
    by: ByOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Link accounts that exist on a service to the users whose they are, recognised by rules.

    Shows first what it would link, and what it leaves alone because there is any doubt; then asks
    on a terminal, or wants --yes. Nothing changes on the service, and nothing is ever removed.
    With RULE:KEY an account is compared with the users' attribute KEY.
    """
    from svcctl.runs.adopt import adopt as link
    from svcctl.runs.engine import Site
    from svcctl.runs.recognise import recognise
    from svcctl.runs.rule import read_rules

    form = chosen(form, json)
    asks = form is Format.TEXT and sys.stdin.isatty() and sys.stderr.isatty()
    with open_session(ctx, read_only=dry_run) as session:
        rules = read_rules(session.settings, by or ())
        known = [service] if service in session.settings.services else []
        site = Site(session.settings, session.database, session.hooks(known))
        with recognise(site, service, rules) as adoption:
            if dry_run or not adoption.ready or not yes:
                _render(adoption, form)
            if dry_run or not adoption.ready:
                _finish(adoption)
                return
            if not yes and not asks:
                raise UsageError(
                    f"{service}: nothing was linked: nobody said yes",
                    hint="--yes links what is planned above; --dry-run only shows it",
                )
            if not yes and not ask(f"Link {adoption.ready} accounts of {service}?"):
                say("nothing was linked")
                raise typer.Exit(int(ExitCode.FAILED))
            link(site, adoption, command=f"adopt {service} --by {' --by '.join(map(str, rules))}")
            if yes:
                _render(adoption, form)
            else:
                _tell(adoption)
            _finish(adoption)


class _Rows:
    """The accounts as rows; as often as somebody goes through them."""

    def __init__(self, adoption: "Adoption") -> None:
        self._adoption = adoption

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self._adoption.rows()


def _render(adoption: "Adoption", form: Format) -> None:
    rows = _Rows(adoption)
    match form:
        case Format.JSON:
            write_json("adoption", _summary(adoption), rows=("accounts", rows))
        case Format.NDJSON:
            for row in rows:
                write_line({"event": "account", **row})
            write_line({"event": "summary", **_summary(adoption)})
        case Format.CSV | Format.TEXT:
            emit(Table("adoption", COLUMNS, rows), form)
    for problem in adoption.problems:
        tell_problem(problem)
    for rule in adoption.silent:
        say(f"{adoption.hook.name}: no account shows what {rule} compares")
    if adoption.strangers and sys.stderr.isatty():
        name = adoption.hook.name
        say(f"{name}: {adoption.strangers} accounts are nobody's by these rules; left alone")


def _tell(adoption: "Adoption") -> None:
    """What became of what was asked about."""
    name = adoption.hook.name
    for row in adoption.refused():
        say(f"{name}: {row['account']} was left alone: {row['reason']}")
    say(f"{name}: {adoption.ready} accounts were linked")


def _summary(adoption: "Adoption") -> dict[str, Any]:
    return {
        "service": adoption.hook.name,
        "dry_run": not adoption.done,
        "rules": [str(rule) for rule in adoption.rules],
        "counts": {
            "linked": adoption.ready if adoption.done else 0,
            "planned": 0 if adoption.done else adoption.ready,
            "left": adoption.left,
            "before": adoption.linked,
            "strangers": adoption.strangers,
        },
        "problems": [problem_row(problem) for problem in adoption.problems],
    }


def _finish(adoption: "Adoption") -> None:
    from svcctl.errors import gravest

    if code := gravest(problem.code for problem in adoption.problems):
        raise typer.Exit(int(code))
