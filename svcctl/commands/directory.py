"""`svcctl directory`: users, groups and attributes from the configured sources."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from svcctl.commands.changes import sentence
from svcctl.commands.completion import complete_sources
from svcctl.commands.options import (
    DryRunOption,
    Format,
    FormatOption,
    JsonOption,
    LockTimeoutOption,
    YesOption,
)
from svcctl.commands.output import Table, chosen, emit, plain, say, write, write_json, write_line
from svcctl.commands.pinging import pinged
from svcctl.commands.running import Asked
from svcctl.commands.session import Session, open_session
from svcctl.errors import ExitCode, LockedError, UsageError, gravest

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from svcctl.store.pull.diff import PullDiff, Tally
    from svcctl.tasks.directory import Pulled

app = typer.Typer(no_args_is_help=True, help="Read users and groups from the configured sources.")


@app.callback()
def directory() -> None:
    """Read users and groups from the configured sources."""


@app.command()
def pull(
    ctx: typer.Context,
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--source",
            help="Only this source; repeatable.",
            autocompletion=complete_sources,
            show_default=False,
        ),
    ] = None,
    accept_missing: Annotated[
        int | None,
        typer.Option(
            "--accept-missing",
            metavar="N",
            min=0,
            help="Believe that up to N users have left for good, at once.",
            allow_from_autoenv=False,
            show_default=False,
        ),
    ] = None,
    sync: Annotated[
        bool,
        typer.Option("--sync", help="Then bring the accounts of changed users in step."),
    ] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    lock_timeout: LockTimeoutOption = "0s",
    form: FormatOption = Format.TEXT,
    json: JsonOption = False,
) -> None:
    """Take over what the sources say. A source with any error changes nothing.

    Users who vanish are missing first, and lose their access at the second pull in a row. What an
    operator set or removed by hand stays as it is.
    """
    from svcctl.commands.follow import follow_up
    from svcctl.runs.engine import current_actor
    from svcctl.tasks.directory import open_sources, pull_sources, record

    form = chosen(form, json)
    asked = Asked(dry_run=dry_run, yes=yes, lock_timeout=lock_timeout, form=form)
    asked.check()
    with (
        open_session(ctx) as session,
        pinged(session, "directory pull", everybody=not source, dry_run=dry_run),
    ):
        names = _names(session, source or [], accept_missing)

        def follow(pulled: Sequence["Pulled"], connection: "Connection | None") -> ExitCode:
            ids = [id_ for part in pulled if part.diff for id_ in part.diff.everyone()]
            follows = sync and bool(ids) and bool(session.settings.services)
            _show(pulled, form, session, dry_run=dry_run, follows=follows)
            if follows:
                try:
                    follow_up(session, ids, asked, connection=connection)
                except typer.Exit as done:
                    return ExitCode(done.exit_code)
            return ExitCode.OK

        code = ExitCode.OK
        with (
            _alone(session, names, dry_run=dry_run),
            open_sources(session.settings, names) as sources,
            session.database.write(keep=not dry_run) as connection,
        ):
            pulled = pull_sources(
                connection, session.settings, sources, accept_missing=accept_missing
            )
            if dry_run:
                code = follow(pulled, connection)
            else:
                record(connection, pulled, actor=current_actor())
        if not dry_run:
            code = follow(pulled, None)
            _tell_others(session, pulled)
        failed = [part.error.exit_code for part in pulled if part.error]
        if worst := gravest([code, *failed]):
            raise typer.Exit(int(worst))


def _tell_others(session: Session, pulled: Sequence["Pulled"]) -> None:
    """Operators, the log, and a monitoring system."""
    from svcctl.commands.report import tell_problem

    _to_log(pulled)
    if session.settings.notify is not None:
        from svcctl.runs.engine import Site
        from svcctl.runs.notices import tell_pulled

        site = Site(session.settings, session.database, session.hooks([]))
        if problem := tell_pulled(site, pulled):
            tell_problem(problem)
    if session.settings.monitor is not None:
        from svcctl.runs.metrics import refresh

        if problem := refresh(session.settings, session.database):
            tell_problem(problem)


def _to_log(pulled: Sequence["Pulled"]) -> None:
    import logging

    from svcctl.log import say as log

    for part in pulled:
        if part.error:
            hint = f"; {part.error.hint}" if part.error.hint else ""
            log(logging.ERROR, f"{part.error.message}{hint}", source=part.source)
        elif part.diff:
            log(logging.INFO, ", ".join(_counts(part.diff)), source=part.source)


def _names(session: Session, asked: Sequence[str], accept_missing: int | None) -> list[str]:
    from svcctl.config.problems import suggest

    known = session.settings.directory.sources
    for name in asked:
        if name not in known:
            raise UsageError(f"no such source: {name}", hint=suggest(name, known))
    if not known:
        raise UsageError(
            "no source is configured",
            hint="add a [directory.sources.<name>] table; own users: svcctl users add",
        )
    names = list(dict.fromkeys(asked or known))
    if accept_missing is not None and len(names) > 1:
        raise UsageError("--accept-missing is for one source", hint="name it with --source")
    return names


@contextmanager
def _alone(session: Session, names: Sequence[str], *, dry_run: bool) -> Iterator[None]:
    """No other pull meanwhile: what was read before its transaction must not come after newer."""
    sources = session.settings.directory.sources
    if dry_run or not any(sources[name].read_ahead for name in names):
        yield
        return
    from svcctl.locks import DIRECTORY, Locks
    from svcctl.store.database import BUSY_SECONDS

    with Locks(session.database, timeout=BUSY_SECONDS, holder="directory pull") as locks:
        _, busy = locks.acquire([DIRECTORY])
        for holder in busy.values():
            raise LockedError(
                f"another pull is at work: {holder}", hint="try again when it has finished"
            )
        yield


def _show(
    pulled: Sequence["Pulled"], form: Format, session: Session, *, dry_run: bool, follows: bool
) -> None:
    """One answer on stdout; failures on stderr as well. Without changes there is nothing to say."""
    documents = [_document(part) for part in pulled]
    match form:
        case Format.JSON if not follows:
            write_json("pull", {"dry_run": dry_run, "sources": documents})
        case Format.NDJSON:
            for document in documents:
                write_line({"event": "pull", "dry_run": dry_run, **document})
        case Format.CSV if not follows:
            rows = (row for part in pulled if part.diff for row in _rows(part.diff))
            emit(Table("pull", ("source", "change", "user", "detail"), rows), form)
        case _:
            for part in pulled:
                if part.diff:
                    _tell(part.diff, form, quiet=session.invocation.quiet)
    for part in pulled:
        if part.error:
            say(f"error: {part.error.message}")
            if part.error.hint:
                say(f"hint: {part.error.hint}")
    if dry_run:
        say("dry run: nothing was written")


def _tell(diff: "PullDiff", form: Format, *, quiet: bool) -> None:
    tell = write if form is Format.TEXT else say
    if diff.empty:
        if not quiet and sys.stderr.isatty():
            say(f"{diff.source}: {diff.read:,} read, nothing changed")
        return
    tell(f"{diff.source}: {', '.join(_counts(diff))}")
    for row in _rows(diff):
        tell("  " + plain(row["text"]))
    for word, tally in _tallies(diff):
        if tally.count > len(tally.shown):
            tell(f"  … and {tally.count - len(tally.shown):,} more {word}")


def _counts(diff: "PullDiff") -> list[str]:
    counts = [f"{tally.count:,} {word}" for word, tally in _tallies(diff) if tally]
    return [f"{diff.read:,} read", *counts]


def _tallies(diff: "PullDiff") -> Iterable[tuple[str, "Tally[Any]"]]:
    return (
        ("added", diff.added),
        ("changed", diff.changed),
        ("renamed", diff.renamed),
        ("missing", diff.missing),
        ("lost", diff.lost),
        ("returned", diff.returned),
        ("joined", diff.joined),
        ("left", diff.left),
        ("in another state", diff.states),
    )


def _rows(diff: "PullDiff") -> Iterator[dict[str, str]]:
    """The changes one by one, as far as they are kept."""

    def row(change: str, user: str, detail: str, text: str) -> dict[str, str]:
        return {
            "source": diff.source,
            "change": change,
            "user": user,
            "detail": detail,
            "text": text,
        }

    for name in diff.added.shown:
        yield row("added", name, "", f"{name}: added")
    for changed in diff.changed.shown:
        text = sentence(changed.username, "changed", changed.fields)
        yield row("changed", changed.username, text.partition(": ")[2], text)
    for old, new in diff.renamed.shown:
        yield row("renamed", new, old, f"{new}: renamed, was {old}")
    for name in diff.missing.shown:
        yield row("missing", name, "", f"{name}: missing; loses access if missing again")
    for name in diff.lost.shown:
        yield row("lost", name, "", f"{name}: missing for good, not active any more")
    for name in diff.returned.shown:
        yield row("returned", name, "", f"{name}: returned")
    for name, group in diff.joined.shown:
        yield row("joined", name, group, f"{name}: +{group}")
    for name, group in diff.left.shown:
        yield row("left", name, group, f"{name}: -{group}")
    for name, before, after in diff.states.shown:
        detail = f"{before or '(none)'} -> {after}"
        yield row("state", name, detail, f"{name}: state: {detail}")


def _document(part: "Pulled") -> dict[str, Any]:
    """One source in `svcctl.pull/1`."""
    body: dict[str, Any] = {"source": part.source, "ok": part.error is None}
    if part.error:
        return body | {"error": part.error.message, "hint": part.error.hint}
    diff = part.diff
    if diff is None:
        return body
    shown: dict[str, tuple[Tally[Any], list[Any]]] = {
        "added": (diff.added, diff.added.shown),
        "changed": (
            diff.changed,
            [{"user": item.username, "fields": item.fields} for item in diff.changed.shown],
        ),
        "renamed": (
            diff.renamed,
            [{"before": old, "user": new} for old, new in diff.renamed.shown],
        ),
        "missing": (diff.missing, diff.missing.shown),
        "lost": (diff.lost, diff.lost.shown),
        "returned": (diff.returned, diff.returned.shown),
        "removed": (diff.removed, diff.removed.shown),
        "joined": (diff.joined, [{"user": u, "group": g} for u, g in diff.joined.shown]),
        "left": (diff.left, [{"user": u, "group": g} for u, g in diff.left.shown]),
        "states": (
            diff.states,
            [{"user": u, "before": b, "after": a} for u, b, a in diff.states.shown],
        ),
    }
    changes = {key: {"count": tally.count, "shown": items} for key, (tally, items) in shown.items()}
    return body | {"read": diff.read, "changes": changes}
