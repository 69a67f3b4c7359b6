"""How the report of a run is written."""

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from svcctl.commands.options import Format
from svcctl.commands.output import Table, emit, plain, say, write, write_json, write_line
from svcctl.errors import ExitCode

if TYPE_CHECKING:
    from svcctl.runs.apply import Applied
    from svcctl.runs.plan import Problem
    from svcctl.runs.report import Report

COLUMNS = ("service", "user", "account", "operation", "change", "status", "reason", "error")


def render(
    report: "Report", form: Format, *, quiet: bool = False, declined: str = "nothing was done"
) -> None:
    """Text, one JSON document, NDJSON events, or CSV rows; nothing where nothing happened."""
    match form:
        case Format.JSON:
            write_json("report", document(report))
        case Format.NDJSON:
            streamed = not (report.dry_run or report.declined)
            for row in report.rows():
                if not streamed or row["status"] in ("held", "deferred"):
                    write_line({"event": "operation", **row})
            write_line({"event": "summary", **_summary(report)})
        case Format.CSV:
            rows = ({**row, "change": change(row)} for row in report.rows())
            emit(Table("report", COLUMNS, rows), form)
            _differences(report)
        case Format.TEXT:
            _text(report, quiet=quiet, declined=declined)


def event(applied: "Applied") -> dict[str, Any]:
    """The NDJSON event of one operation as it ended."""
    return {
        "event": "operation",
        "id": applied.id,
        "service": applied.service,
        "user": applied.username,
        "account": applied.account,
        "operation": applied.operation.verb.value,
        "args": dict(applied.operation.args),
        "status": applied.status.value,
        "reason": applied.operation.reason,
        "error": applied.error,
    }


def document(report: "Report") -> dict[str, Any]:
    """The body of `svcctl.report/1`."""
    return {**_summary(report), "operations": list(report.rows())}


def _summary(report: "Report") -> dict[str, Any]:
    problems = (*report.plan.first, *report.problems, *report.plan.problems)
    body: dict[str, Any] = {
        "command": report.command,
        "dry_run": report.dry_run,
        "run": report.run_id,
        "exit_code": int(report.exit_code),
        "counts": report.counts(),
        "held": [
            {
                "service": held.service,
                "removals": held.removals,
                "recent": held.recent,
                "allowed": held.allowed,
                "population": held.population,
            }
            for held in report.held
        ],
        "problems": [problem_row(problem) for problem in problems],
        "notes": [
            {"service": note.service, "user": note.username, "message": note.message}
            for note in report.notes
        ],
        "missing": [
            {"service": service, "user": user, "account": account}
            for service, user, account in report.plan.missing
        ],
        "left": report.left,
        "verified": [
            {"service": service, "operation": verb, "result": text}
            for service, verb, text in report.verified
        ],
    }
    if report.differences is not None:
        body["differences"] = [
            {
                "service": difference.service or None,
                "user": difference.username,
                "planned": difference.planned,
                "now": difference.now,
            }
            for difference in report.differences
        ]
    if report.passwords:
        body["passwords"] = [
            {"service": service, "user": user, "password": password}
            for (service, user), password in report.passwords.items()
        ]
    return body


def change(row: Mapping[str, Any]) -> str:
    """What an operation changes, in a word: `+fc -corp`, a name, nothing for the plain verbs."""
    args = row["args"]
    signed = [f"+{name}" for name in args.get("add", ())]
    signed += [f"-{name}" for name in args.get("remove", ())]
    return " ".join(signed) or str(args.get("nickname") or args.get("name") or "")


def _text(report: "Report", *, quiet: bool, declined: str) -> None:
    rows = [
        {**row, "change": change(row), "why": row["error"] or row["reason"]}
        for row in report.rows()
    ]
    columns = ("service", "user", "operation", "change", "status", "why")
    emit(Table("report", columns, rows), Format.TEXT)
    for (service, user), password in report.passwords.items():
        write(f"password of {plain(user)} on {service}: {password}")
    for service, verb, text in report.verified:
        say(f"{service}: {verb} of an interrupted run: {text}")
    _differences(report)
    for service, user, account in report.plan.missing:
        say(f"{service}: {user}: account {account} is not on the service")
    for problem in (*report.problems, *report.plan.problems):
        tell_problem(problem)
    if sys.stderr.isatty() and not quiet:
        for note in report.notes:
            tell_note(note)
    for service, error in report.gave_up.items():
        say(f"{service}: gave up after repeated failures: {error.message}")
    hints = [one.hint for one in report.applied] + [e.hint for e in report.gave_up.values()]
    for hint in dict.fromkeys(filter(None, hints)):
        say(f"hint: {hint}")
    for service, left in report.left.items():
        say(f"{service}: {left} accounts are left for the next run")
    for held in () if report.differences else report.held:
        say(f"{held.service}: removals are held: {held.message}")
    if report.held and not (report.dry_run or report.differences):
        say("hint: look at them with: svcctl holds list")
    if not quiet and not report.differences and sys.stderr.isatty():
        say(declined if report.declined else _sentence(report))


def tell_first(problems: Sequence["Problem"]) -> None:
    """What cannot be undone, and what is gone for good if the rest is; the same of many once."""
    alike: dict[tuple[str, str, str | None], list[Problem]] = {}
    for problem in problems:
        alike.setdefault((problem.service, problem.message, _general(problem)), []).append(problem)
    for (service, message, hint), some in alike.items():
        users = [problem.username or "" for problem in some]
        more = f" and {len(users) - 10} more" if len(users) > 10 else ""
        say(f"{service}: {', '.join(users[:10])}{more}: {message}")
        if hint:
            say(f"hint: {hint}")


def _general(problem: "Problem") -> str | None:
    """The hint, if it is the same for everybody, else with USER in the place of the name."""
    words = [
        ("USER" if word == problem.username else word) for word in (problem.hint or "").split()
    ]
    return " ".join(words) or None


def problem_row(problem: "Problem") -> dict[str, Any]:
    return {
        "service": problem.service,
        "user": problem.username,
        "message": problem.message,
        "hint": problem.hint,
        "exit_code": int(problem.code),
    }


def tell_problem(problem: "Problem") -> None:
    """What is wrong, and a hint what to do about it."""
    tell_note(problem)
    hint = problem.hint
    if hint is None and problem.code is ExitCode.INCOMPLETE:
        hint = f"nothing was changed there; svcctl services check {problem.service} looks closer"
    if hint:
        say(f"hint: {hint}")


def tell_note(note: "Problem") -> None:
    whom = f"{note.username}: " if note.username else ""
    say(f"{note.service}: {whom}{note.message}")


def _differences(report: "Report") -> None:
    differences = report.differences or []
    for difference in differences[:20]:
        place = ": ".join(filter(None, (difference.service, difference.username)))
        said = f"planned: {difference.planned}; now: {difference.now}"
        say(f"{place}: {said}" if place else said)
    if len(differences) > 20:
        say(f"and {len(differences) - 20} more")
    if differences:
        say("nothing was done: the world is not as the plan says")
        say("hint: make a new plan: svcctl plan --out FILE")


def _sentence(report: "Report") -> str:
    totals: dict[str, int] = {}
    for counted in report.counts().values():
        for status, number in counted.items():
            totals[status] = totals.get(status, 0) + number
    if not totals:
        return "in sync" if not report.exit_code else "nothing was changed"
    return ", ".join(f"{number} {status}" for status, number in totals.items())
