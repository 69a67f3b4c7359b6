"""`svcctl history`."""

import json as jsons
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from svcctl.commands.completion import complete_runs, complete_services, complete_users
from svcctl.commands.options import Format, FormatOption, JsonOption, ServiceOption
from svcctl.commands.output import Table, chosen, emit, say
from svcctl.commands.report import change
from svcctl.commands.session import Session, open_session
from svcctl.errors import UsageError
from svcctl.model import OperationStatus

if TYPE_CHECKING:
    from sqlalchemy import Connection

app = typer.Typer()

RUN_COLUMNS = ("id", "when", "command", "actor", "exit_code", "counts")
COLUMNS = (
    "when",
    "run",
    "service",
    "user",
    "operation",
    "change",
    "status",
    "reason",
    "actor",
    "error",
)


def _complete(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    offers = (complete_runs, complete_services, complete_users)
    return [candidate for offer in offers for candidate in offer(ctx, incomplete)]


AboutArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN|USER|SERVICE",
        help="A run's number, a user, or a service; without one: the latest runs.",
        autocompletion=_complete,
        show_default=False,
    ),
]
LimitOption = Annotated[int, typer.Option("--limit", min=1, help="How many, newest first.")]
StatusOption = Annotated[
    list[OperationStatus] | None,
    typer.Option("--status", help="Only operations that stand so; repeatable.", show_default=False),
]


@app.command()
def history(
    ctx: typer.Context,
    about: AboutArgument = None,
    service: ServiceOption = None,
    status: StatusOption = None,
    limit: LimitOption = 50,
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Who did what, when and why: the latest runs, or the operations of a run, user or service."""
    form = chosen(form, json)
    with open_session(ctx, read_only=True) as session, session.database.read() as connection:
        if about is None and not service and not status:
            rows = _runs(connection, limit)
            if form in (Format.TEXT, Format.CSV):
                rows = [_for_table(run) for run in rows]
            table = Table("runs", RUN_COLUMNS, rows)
        else:
            where = _meaning(session, connection, about, service or [])
            rows = _operations(connection, where, status, limit)
            if form is Format.TEXT:
                rows = [_as_told(row) for row in rows]
            table = Table("history", COLUMNS, rows)
    emit(table, form, empty="nothing is recorded")


def _runs(connection: "Connection", limit: int) -> list[dict[str, Any]]:
    from svcctl.store.operations import counted
    from svcctl.store.runs import listing

    runs = [
        {**run, "summary": jsons.loads(run["summary"])} for run in listing(connection, limit=limit)
    ]
    # A run that has not ended, or died, wrote no summary.
    uncounted = counted(connection, [run["id"] for run in runs if "counts" not in run["summary"]])
    return [
        {
            "id": run["id"],
            "when": run["started_at"],
            "command": run["command"],
            "actor": run["actor"],
            "host": run["host"],
            "pid": run["pid"],
            "ended_at": run["ended_at"],
            "end": _ending(run),
            "exit_code": run["exit_code"],
            "counts": run["summary"].get("counts", uncounted.get(run["id"], {})),
        }
        for run in runs
    ]


def _ending(run: Mapping[str, Any]) -> str:
    if run["ended_at"] is None:
        return "running or died"
    return "died" if run["exit_code"] is None else "ended"


def _for_table(run: Mapping[str, Any]) -> dict[str, Any]:
    counts = [
        f"{service} {number} {status}"
        for service, counted in run["counts"].items()
        for status, number in counted.items()
    ]
    ended = run["end"] == "ended"
    return {
        **run,
        "exit_code": run["exit_code"] if ended else run["end"],
        "counts": ", ".join(counts),
    }


def _operations(
    connection: "Connection",
    where: Mapping[str, Any],
    statuses: Iterable[OperationStatus] | None,
    limit: int,
) -> list[dict[str, Any]]:
    from svcctl.store.operations import history as recorded
    from svcctl.store.runs import started
    from svcctl.store.undo import runs_of, undone_by

    kept = [status.value for status in statuses] if statuses else None
    found = recorded(connection, **where, statuses=kept, limit=limit)
    begun = started(connection, [row["run_id"] for row in found])
    undoes = runs_of(connection, [row["undo_of"] for row in found if row["undo_of"]])
    undone = undone_by(connection, [row["id"] for row in found])
    rows = []
    for row in found:
        args = jsons.loads(row["args"])
        rows.append(
            {
                "id": row["id"],
                "when": row["ended_at"] or row["started_at"] or begun[row["run_id"]],
                "run": row["run_id"],
                "service": row["service"],
                "user": row["username"],
                "account": row["account"],
                "operation": row["verb"],
                "change": change({"args": args}),
                "status": row["status"],
                "reason": row["reason"],
                "actor": row["actor"],
                "error": row["error"],
                "args": args,
                "before": jsons.loads(row["before"]),
                "after": jsons.loads(row["after"]),
                "attempts": row["attempts"],
                "next_attempt_at": row["next_attempt_at"],
                "undo_of": row["undo_of"],
                "undoes": undoes.get(row["undo_of"]),
                "undone_by": undone.get(row["id"]),
            }
        )
    return rows


def _as_told(row: dict[str, Any]) -> dict[str, Any]:
    if row["undone_by"] is None:
        return row
    return {**row, "reason": f"{row['reason']} (undone by run {row['undone_by']})"}


def _meaning(
    session: Session, connection: "Connection", about: str | None, services: list[str]
) -> dict[str, Any]:
    """What `history` of the store is to be asked for. Raises UsageError."""
    from svcctl.store.people import find_user
    from svcctl.store.runs import find
    from svcctl.store.services import by_status

    known = {*session.settings.services, *by_status(connection)}
    for name in services:
        if name not in known:
            raise UsageError(f"no such service: {name}", hint=_close(name, known))
    where: dict[str, Any] = {"services": services} if services else {}
    if about is None:
        return where
    if about.isdecimal() and int(about) < 2**63 and find(connection, int(about)) is not None:
        return {**where, "run_id": int(about)}
    try:
        user = find_user(connection, about)
    except UsageError as error:
        if about in known:
            return {"services": [about, *services]}
        if about.isdecimal():
            raise UsageError(
                f"no such run: {about}", hint="svcctl history shows the latest runs"
            ) from None
        raise UsageError(
            f"{about}: no run, user or service", hint=_close(about, known) or error.hint
        ) from None
    if about in known:
        say(f"{about} is a user here; the service: svcctl history --service {about}")
    return {**where, "user_ids": [user.id]}


def _close(name: str, services: Iterable[str]) -> str | None:
    from difflib import get_close_matches

    close = get_close_matches(name, sorted(services), n=2)
    return f"did you mean {' or '.join(close)}?" if close else None
