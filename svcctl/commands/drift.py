"""`svcctl drift`."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from svcctl.commands.completion import complete_services
from svcctl.commands.options import Format, FormatOption, JsonOption
from svcctl.commands.output import Table, chosen, emit, say, write_json, write_line
from svcctl.commands.report import problem_row, tell_note, tell_problem
from svcctl.commands.session import open_session
from svcctl.runs.finding import DRIFT, Kind, advice

if TYPE_CHECKING:
    from svcctl.runs.drift import Drift

app = typer.Typer()

COLUMNS = ("service", "kind", "user", "account", "what")

ServicesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SERVICE",
        help="Services; all of them without one.",
        autocompletion=complete_services,
        show_default=False,
    ),
]
CheckOption = Annotated[
    bool, typer.Option("--check", help="Exit 3 when something is wrong, for monitoring.")
]
KindOption = Annotated[
    list[Kind] | None,
    typer.Option("--kind", help="Only what is of this kind; repeatable.", show_default=False),
]


@app.command()
def drift(
    ctx: typer.Context,
    services: ServicesArgument = None,
    check: CheckOption = False,
    kind: KindOption = None,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Where services are not as they should be, and accounts of theirs that are nobody's here.

    Reads every account of the services, and changes nothing anywhere. A service that cannot be
    read completely says nothing (exit 5). Foreign and unmanaged accounts are none of svcctl's
    business: --check looks for them only where --kind names them.
    """
    from svcctl.runs.drift import look_for_drift
    from svcctl.runs.engine import Site

    with open_session(ctx, read_only=True) as session:
        known = [name for name in services or () if name in session.settings.services]
        site = Site(session.settings, session.database, session.hooks(known if services else None))
        kinds = kind or (DRIFT if check else None)
        with look_for_drift(site, services or (), kinds=kinds, check=check) as found:
            _render(found, chosen(form, json), quiet=session.invocation.quiet)
            if found.exit_code:
                raise typer.Exit(int(found.exit_code))


class _Rows:
    """The findings as rows; as often as somebody goes through them."""

    def __init__(self, drift: "Drift") -> None:
        self._drift = drift

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for one in self._drift.findings():
            yield {
                "service": one.service,
                "kind": one.kind.value,
                "user": one.user,
                "account": one.account,
                "uid": one.uid,
                "what": one.sentence,
                "expected": dict(one.expected),
                "found": dict(one.found),
                "repair": one.repair,
            }


def _render(drift: "Drift", form: Format, *, quiet: bool) -> None:
    rows = _Rows(drift)
    match form:
        case Format.JSON:
            write_json("drift", _summary(drift), rows=("findings", rows))
        case Format.NDJSON:
            for row in rows:
                write_line({"event": "finding", **row})
            write_line({"event": "summary", **_summary(drift)})
        case Format.CSV | Format.TEXT:
            emit(Table("drift", COLUMNS, rows), form)
            _tell(drift, quiet=quiet)


def _summary(drift: "Drift") -> dict[str, Any]:
    return {
        "exit_code": int(drift.exit_code),
        "services": [
            {
                "service": one.service,
                "listed": one.listed,
                "linked": one.linked,
                "counts": {kind.value: number for kind, number in sorted(one.counts.items())},
            }
            for one in drift.services
        ],
        "problems": [problem_row(problem) for problem in drift.problems],
        "notes": [
            {"service": note.service, "user": note.username, "message": note.message}
            for note in drift.notes
        ],
    }


def _tell(drift: "Drift", *, quiet: bool) -> None:
    for problem in drift.problems:
        tell_problem(problem)
    if quiet:
        return
    for one in drift.services:
        for kind in sorted(one.counts, key=list(Kind).index):
            say(f"hint: {advice(one.service, kind)}")
    if not sys.stderr.isatty():
        return
    for note in drift.notes:
        tell_note(note)
    for one in drift.services:
        if one.listed is not None:
            wrong = ", ".join(f"{number} {kind.value}" for kind, number in one.counts.items())
            say(f"{one.service}: {one.linked} linked; {wrong or 'all as they should be'}")
