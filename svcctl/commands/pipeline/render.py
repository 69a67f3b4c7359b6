"""How the outcome of a pipeline is written."""

from typing import TYPE_CHECKING, Any

import typer

from svcctl.commands.options import Format
from svcctl.commands.output import Table, emit, plain, say, write, write_json, write_line
from svcctl.commands.report import document as report_document
from svcctl.commands.report import render as render_report
from svcctl.commands.session import Session

if TYPE_CHECKING:
    from svcctl.pipeline.engine import Trace
    from svcctl.pipeline.outcome import Outcome

_COLUMNS = ("pipeline", "backend", "outcome", "user", "is_new", "step", "partial", "error")


def finish(session: Session, outcome: "Outcome", form: Format, *, trace: bool) -> None:
    """Render the outcome; raise Exit with its code when that is not 0."""
    match form:
        case Format.JSON:
            write_json("pipeline-run", document(outcome))
        case Format.NDJSON:
            write_line({"event": "outcome", **document(outcome)})
        case Format.CSV:
            emit(Table("pipeline-run", _COLUMNS, [outcome.summary()]), form)
        case Format.TEXT:
            _text(outcome, quiet=session.invocation.quiet)
    if trace and form is not Format.JSON:
        for one, read in zip(outcome.trace, outcome.read(), strict=True):
            _tell_step(outcome, one, read)
    if session.invocation.verbose >= 2 and outcome.error is not None and outcome.error.__cause__:
        import traceback

        traceback.print_exception(outcome.error.__cause__)
    if outcome.exit_code:
        raise typer.Exit(int(outcome.exit_code))


def document(outcome: "Outcome") -> dict[str, Any]:
    """The body of `svcctl.pipeline-run/1`."""
    paused = outcome.partial
    return {
        **outcome.summary(),
        "dry_run": outcome.dry_run,
        "run": outcome.run_id,
        "exit_code": int(outcome.exit_code),
        "hint": None if outcome.error is None else outcome.error.hint,
        "response": None if outcome.response is None else response_text(outcome),
        "partial": None
        if paused is None
        else {
            "id": None if outcome.dry_run else paused.id,
            "step": paused.step,
            "why": paused.why,
            "needs": list(paused.needs),
            "external": paused.external,
            "expires_at": paused.expires_at,
        },
        "context": outcome.values(),
        "trace": [
            _trace(outcome, one, read)
            for one, read in zip(outcome.trace, outcome.read(), strict=True)
        ],
        "would": outcome.would,
        "notes": outcome.notes,
        "problems": [
            {
                "message": outcome.told(problem.message),
                "hint": problem.hint,
                "exit_code": int(problem.exit_code),
            }
            for problem in outcome.problems
        ],
        "report": None if outcome.report is None else report_document(outcome.report),
    }


def response_text(outcome: "Outcome") -> str:
    """A step's own response in words, without secrets."""
    response = outcome.response
    url = getattr(response, "url", None)
    text = f"redirect to {url}" if url is not None else f"{type(response).__name__}: {response}"
    return outcome.told(text)[:500]


def _text(outcome: "Outcome", *, quiet: bool) -> None:
    who = f" {outcome.user.username}" if outcome.user is not None else ""
    name = f"{outcome.pipeline} ({outcome.backend})"
    match outcome.kind:
        case "done":
            new = ", a new user" if outcome.context.get("is_new") else ""
            write(plain(f"{name}: done:{who}{new}" if who else f"{name}: done"))
        case "stopped":
            write(plain(f"{name}: stopped after {outcome.step}, nothing was kept"))
            for key, value in outcome.values().items():
                write(plain(f"  {key} = {value}"))
        case "paused":
            _tell_pause(outcome, name)
        case "answered":
            write(plain(f"{name}: {outcome.step} ended it: {response_text(outcome)}"))
            say("nothing was kept")
        case _:
            assert outcome.error is not None
            say(f"error: {name}: {outcome.error.message}")
            if outcome.error.hint:
                say(f"hint: {outcome.error.hint}")
    for line in outcome.would:
        write(plain(f"  {line}"))
    for note in outcome.notes:
        say(f"note: {note}")
    for problem in outcome.problems:
        say(f"error: {outcome.told(problem.message)}")
        if problem.hint:
            say(f"hint: {problem.hint}")
    if outcome.report is not None:
        render_report(outcome.report, Format.TEXT, quiet=quiet)
    elif outcome.dry_run and outcome.kind != "stopped":
        say("dry run: nothing was written")


def _tell_pause(outcome: "Outcome", name: str) -> None:
    paused = outcome.partial
    assert paused is not None
    write(plain(f"{name}: paused at {paused.step}: {paused.why}"))
    if outcome.dry_run:
        return
    needs = " ".join(f"--set {need}=…" for need in paused.needs)
    write(plain(f"  partial {paused.id}, until {paused.expires_at}"))
    say(f"hint: go on with: svcctl pipeline resume {paused.id} {needs}".rstrip())


def _trace(outcome: "Outcome", one: "Trace", read: tuple[str, ...]) -> dict[str, Any]:
    return {
        "step": one.step,
        "read": list(read),
        "added": list(one.added),
        "changed": list(one.changed),
        "overwritten": list(one.overwritten),
        "settings": [{"name": name, "from": place} for name, place in one.settings],
        "milliseconds": round(one.seconds * 1000, 3),
        "would": list(one.would),
        "skipped": one.skipped,
        "error": None if one.error is None else outcome.told(one.error),
    }


def _tell_step(outcome: "Outcome", one: "Trace", read: tuple[str, ...]) -> None:
    say(f"{one.step}  {one.seconds * 1000:.1f} ms")
    values = outcome.values()
    for label, names in (("read", read), ("added", one.added), ("changed", one.changed)):
        shown = [name if label == "read" else f"{name} = {values.get(name, '…')}" for name in names]
        if shown:
            say(f"    {label}: {', '.join(shown)}")
    for name, place in one.settings:
        say(f"    setting {name}: {place}")
    if one.error:
        say(f"    error: {outcome.told(one.error)}")
