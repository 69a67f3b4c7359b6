"""`svcctl pipeline run --batch`: one run a line, one line of result each."""

import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import typer

from svcctl.commands.options import Format
from svcctl.commands.output import plain, say, write, write_line
from svcctl.commands.pipeline.options import MAX_RESPONSE, decode_object, make_runner
from svcctl.commands.session import Session, open_session
from svcctl.errors import ExitCode, SourceError, StoreError, SvcctlError, UsageError, gravest

if TYPE_CHECKING:
    from svcctl.pipeline.outcome import Outcome
    from svcctl.pipeline.run import Runner

_SIGNALS = (ExitCode.INTERRUPTED, ExitCode.TERMINATED)
_KEYS = frozenset({"response", "user", "backend", "set", "id"})


def run_batch(
    ctx: typer.Context,
    pipeline: str,
    place: str,
    backend: str | None,
    values: Mapping[str, Any],
    *,
    start: int,
    dry_run: bool,
    form: Format,
) -> None:
    """Run the pipeline once for each line. A bad line is told, and the next one is run.

    A signal ends the batch after the line that is being run; the results say which came last.
    """
    from svcctl.runs.engine import until_signal
    from svcctl.runs.lane import Stop

    stop = Stop()
    with (
        open_session(ctx) as session,
        _lines(place) as lines,
        until_signal(stop),
        _progress(session) as advance,
    ):
        batch = _Batch(session, pipeline, backend, values, dry_run=dry_run)
        codes: Counter[ExitCode] = Counter()
        for number, line in enumerate(lines, 1):
            if number < start or not line.strip():
                continue
            row = batch.run(number, line)
            code = ExitCode(row["exit_code"])
            codes[code] += 1
            _tell(row, form)
            advance()
            if code in _SIGNALS:  # one that came while services were at work ended their run
                stop.now(code)
            if stop.code is not None:
                codes[stop.code] += 1
                say(f"stopped after line {number}; go on with: --from-line {number + 1}")
                break
        batch.end(codes)
    if form is Format.TEXT and not session.invocation.quiet:
        say(
            ", ".join(
                f"{count} with exit code {code.value}" for code, count in sorted(codes.items())
            )
        )
    code = gravest(codes)
    if code:
        raise typer.Exit(int(code))


class _Batch:
    def __init__(
        self,
        session: Session,
        pipeline: str,
        backend: str | None,
        values: Mapping[str, Any],
        *,
        dry_run: bool,
    ) -> None:
        self._session = session
        self._pipeline = pipeline
        self._backend = backend
        self._values = values
        self._run_id = None if dry_run else self._begin()
        self._runner: Runner = make_runner(
            session, dry_run=dry_run, command="pipeline run", run_id=self._run_id
        )
        self._runner.definition(pipeline)

    def run(self, number: int, line: str) -> dict[str, Any]:
        """One line, and what came of it."""
        about: dict[str, Any] = {"line": number}
        try:
            about |= {"id": (item := _item(line, number)).get("id")}
            return {**about, **_row(self._runner.run(self._start(item, number)))}
        except StoreError:
            raise
        except SvcctlError as error:
            return {
                **about,
                "outcome": "failed",
                "error": plain(error.message),
                "hint": error.hint,
                "exit_code": int(error.exit_code),
            }

    def _start(self, item: Mapping[str, Any], number: int) -> Any:
        from svcctl.pipeline.run import Start

        return Start(
            self._pipeline,
            _text(item, "backend", number) or self._backend,
            _object(item, "response", number),
            _text(item, "user", number),
            {**self._values, **_object(item, "set", number)},
        )

    def _begin(self) -> int:
        import socket

        from svcctl.runs.engine import current_actor
        from svcctl.store import runs

        with self._session.database.write() as connection:
            return runs.begin(
                connection,
                command=f"pipeline run {self._pipeline} --batch",
                actor=current_actor(),
                host=socket.gethostname(),
                pid=os.getpid(),
            )

    def end(self, codes: Mapping[ExitCode, int]) -> None:
        """The run of the whole batch is over."""
        from svcctl.store import runs

        if self._run_id is None:
            return
        with self._session.database.write() as connection:
            summary = {"lines": {str(int(code)): count for code, count in codes.items()}}
            runs.end(connection, self._run_id, exit_code=int(gravest(codes)), summary=summary)


def _row(outcome: "Outcome") -> dict[str, Any]:
    return {
        **outcome.summary(),
        "exit_code": int(outcome.exit_code),
        "hint": None if outcome.error is None else outcome.error.hint,
        "would": outcome.would,
        "problems": [outcome.told(problem.message) for problem in outcome.problems],
    }


def _tell(row: Mapping[str, Any], form: Format) -> None:
    if form is not Format.TEXT:
        write_line(row)
        return
    who = row.get("user") or row.get("id") or ""
    parts = [f"line {row['line']}", str(row["outcome"]), str(who), str(row.get("error") or "")]
    if row.get("partial"):
        parts.append(f"partial {row['partial']}")
    write(plain(": ".join(part for part in parts if part)))


def _item(line: str, number: int) -> dict[str, Any]:
    if len(line) > MAX_RESPONSE:
        raise SourceError(f"line {number}: more than {MAX_RESPONSE // 1024 // 1024} MiB")
    item = decode_object(line, f"line {number}")
    unknown = sorted(item.keys() - _KEYS)
    if unknown:
        raise SourceError(
            f"line {number}: unknown key {unknown[0]}", hint=f"known: {', '.join(sorted(_KEYS))}"
        )
    return item


def _object(item: Mapping[str, Any], key: str, number: int) -> dict[str, Any]:
    value = item.get(key, {})
    if not isinstance(value, dict):
        raise SourceError(f"line {number}: {key} is no JSON object")
    return value


def _text(item: Mapping[str, Any], key: str, number: int) -> str | None:
    value = item.get(key)
    if value is not None and not isinstance(value, str):
        raise SourceError(f"line {number}: {key} is no text")
    return value


@contextmanager
def _lines(place: str) -> Iterator[Iterator[str]]:
    """The lines of a file or of standard input, one at a time, each of bounded size."""
    try:
        file: Any = (
            nullcontext(sys.stdin) if place == "-" else Path(place).open(encoding="utf-8-sig")  # noqa: SIM115 - closed below
        )
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise UsageError(f"--batch {place}: {reason}", hint="one JSON object a line") from error
    with file as opened:
        yield _bounded(opened, place)


def _bounded(file: IO[str], place: str) -> Iterator[str]:
    try:
        while line := file.readline(MAX_RESPONSE + 1):
            yield line
            while len(line) > MAX_RESPONSE and not line.endswith("\n"):
                line = file.readline(MAX_RESPONSE + 1)
    except ValueError as error:
        raise SourceError(
            f"--batch {place}: not UTF-8 text", hint="what came before it was run"
        ) from error


@contextmanager
def _progress(session: Session) -> Iterator[Any]:
    if session.invocation.quiet or not sys.stderr.isatty() or not session.invocation.color:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress, TextColumn

    columns = (TextColumn("{task.completed} runs"),)
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("batch", total=None)
        yield lambda: progress.advance(bar)
