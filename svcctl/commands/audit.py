"""`svcctl audit`: the record of what was done, exported, proven and shortened."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from svcctl.commands.completion import complete_users
from svcctl.commands.options import DryRunOption, JsonOption, ServiceOption
from svcctl.commands.output import line, plain, say, write, write_json, write_line
from svcctl.commands.session import open_session
from svcctl.commands.writing import write_new, written
from svcctl.config.settings import LEAST_KEPT
from svcctl.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from svcctl.store.chain.verify import Verdict
    from svcctl.store.database import Connection

app = typer.Typer(help="Export, verify and prune the record.", no_args_is_help=True)

SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="MOMENT",
        help="Not what was recorded before, like 2026-11-01 or 30d.",
        show_default=False,
    ),
]
UntilOption = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="MOMENT",
        help="Not what was recorded after; a date means its end.",
        show_default=False,
    ),
]
UserOption = Annotated[
    list[str] | None,
    typer.Option(
        "--user",
        "-u",
        help="Only operations for this user; repeatable.",
        autocompletion=complete_users,
        show_default=False,
    ),
]


_COUNTED = ("operations", "runs", "entries")


@app.command()
def export(
    ctx: typer.Context,
    *,
    since: SinceOption = None,
    until: UntilOption = None,
    service: ServiceOption = None,
    user: UserOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="A new file, instead of stdout.", show_default=False),
    ] = None,
) -> None:
    """Write the record as NDJSON, which `svcctl audit verify --file` proves elsewhere."""
    from svcctl.store.chain.export import Wanted
    from svcctl.store.chain.export import export as exported

    with open_session(ctx, read_only=True) as session, session.database.read() as connection:
        wanted = Wanted(
            since=since and _moment(since),
            until=until and _moment(until, end=True),
            services=frozenset(service or ()),
            users=_users(connection, user or ()),
        )
        lines = exported(connection, wanted)
        if out is None:
            for told in lines:
                write_line(told)
            return
        last: dict[str, Any] = {}

        def pieces() -> Iterator[str]:
            for told in lines:
                last.update(told)
                yield f"{line(told)}\n"

        with written(out):
            try:
                write_new(out, pieces())
            except FileExistsError:
                raise UsageError(f"{out}: exists", hint="choose another name") from None
        write(f"{plain(out)}: {last['operations']} operations; head {last['head']}")


@app.command()
def verify(
    ctx: typer.Context,
    *,
    file: Annotated[
        Path | None,
        typer.Option("--file", help="An exported file, not the database.", show_default=False),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against",
            metavar="HEAD|FILE",
            help="A head that was kept, or a file that tells some, like an export; repeatable.",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Prove that nothing of the record was changed, lost or added. Exits 1 if something was."""
    from svcctl.store.chain.export import verify_export
    from svcctl.store.chain.verify import verify as verified

    with ExitStack() as stack:
        kept = list(_kept(against or ()))
        if file is not None:
            verdict = verify_export(stack.enter_context(_opened(file)), kept)
        else:
            session = stack.enter_context(open_session(ctx, read_only=True))
            verdict = verified(stack.enter_context(session.database.read()), kept)
    if json:
        write_json("audit-verify", _body(verdict))
    else:
        _show(verdict)
    if not verdict.holds:
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def prune(
    ctx: typer.Context,
    *,
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep",
            metavar="DURATION",
            help="What is younger stays, like 104w; default: audit.keep of the configuration.",
            show_default=False,
        ),
    ] = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Delete the oldest part of the record for good; what stays still verifies."""
    from svcctl.clock import now, stamp
    from svcctl.store.chain.digest import OPERATIONS, RUNS
    from svcctl.store.chain.prune import plan, require_whole
    from svcctl.store.chain.prune import prune as pruned

    with open_session(ctx, read_only=dry_run) as session:
        span = _duration(keep) if keep is not None else session.settings.audit.keep
        if span is None:
            raise UsageError(
                "nothing says how long the record is kept",
                hint='give --keep 104w, or set keep = "104w" under [audit]',
            )
        if span < LEAST_KEPT:
            raise UsageError(f"--keep: less than {LEAST_KEPT.days} days", hint="give 30d or more")
        before = stamp(now() - span)
        database = session.database
        with database.read() as connection:
            require_whole(connection)
        with database.read() if dry_run else database.write(durable=True) as connection:
            pruning = plan(connection, before)
            if pruning.entries and not dry_run:
                pruned(connection, pruning)
    body = {
        "before": before,
        "dry_run": dry_run,
        "entries": pruning.entries,
        "operations": pruning.counts[OPERATIONS],
        "runs": pruning.counts[RUNS],
        "through": f"{pruning.through.entry}:{pruning.through.head}",
    }
    if json:
        write_json("audit-prune", body)
    elif pruning.entries:
        numbers = ", ".join(f"{name}: {body[name]}" for name in _COUNTED)
        write(f"{'would be deleted' if dry_run else 'deleted'} from before {before}; {numbers}")


def _moment(text: str, *, end: bool = False) -> str:
    """A stamp; of a date its beginning, or its end. Raises UsageError."""
    from svcctl.clock import now, parse_duration, parse_stamp, stamp

    with suppress(ValueError):
        return stamp(parse_stamp(text))
    with suppress(ValueError, OverflowError):
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
        return stamp(day + timedelta(days=1, seconds=-1) if end else day)
    with suppress(ValueError, OverflowError):
        return stamp(now() - parse_duration(text))
    raise UsageError(
        f"{text}: not a moment", hint="write it like 2026-11-01, 2026-11-01T12:00:00Z or 30d"
    )


def _duration(text: str) -> timedelta:
    from svcctl.clock import parse_duration

    try:
        return parse_duration(text)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--keep: {error}") from None


def _users(connection: "Connection", names: Iterable[str]) -> frozenset[int]:
    from svcctl.store.people import find_user

    return frozenset(find_user(connection, name).id for name in names)


def _opened(path: Path) -> Any:
    try:
        return path.open(encoding="utf-8", errors="surrogateescape", newline="\n")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"{path}: cannot be read: {reason}") from error


def _kept(given: Iterable[str]) -> Iterator[tuple[int, str]]:
    from svcctl.store.chain.verify import heads

    for text in given:
        found = list(heads([text]))
        if not found:
            with _opened(Path(text)) as file:
                found = list(heads(file))
        if not found:
            raise UsageError(
                f"{text}: no head in it", hint="a head is written like 17:3f…, with 64 digits"
            )
        yield from found


def _body(verdict: "Verdict") -> dict[str, Any]:
    return {
        "ok": verdict.holds,
        "head": verdict.head,
        "at": verdict.at,
        "after": verdict.start.entry,
        "entries": verdict.entries,
        **{kind.name: count for kind, count in verdict.counts.items()},
        "forgotten": verdict.sealed,
        "left_out": verdict.left_out,
        "unproven": verdict.unproven,
        "findings": [
            {"subject": found.subject, "problem": found.problem} for found in verdict.findings
        ],
        "more": verdict.more,
    }


def _show(verdict: "Verdict") -> None:
    body = _body(verdict)
    for found in verdict.findings:
        write(plain(f"{found.subject}: {found.problem}"))
    if verdict.more:
        write(f"and {verdict.more} more")
    if verdict.start.entry:
        say(f"the record goes on from entry {verdict.start.entry}")
    if verdict.sealed:
        say(f"the texts of {verdict.sealed} rows are not proven: who was in them was forgotten")
    if verdict.left_out:
        say(f"{verdict.left_out} rows are not in the file")
    if verdict.unproven:
        say(f"{verdict.unproven} kept heads are older than what was pruned, and prove nothing")
    if verdict.holds:
        numbers = ", ".join(f"{name}: {body[name]}" for name in _COUNTED)
        write(f"as it was recorded; {numbers}")
    write(f"head {verdict.head}")
