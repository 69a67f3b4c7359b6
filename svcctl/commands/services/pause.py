"""`svcctl services pause` and `resume`."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from svcctl.commands.options import DryRunOption, JsonOption
from svcctl.commands.output import say, write_json
from svcctl.commands.services.about import NameArgument, pause_of, require, sentence
from svcctl.commands.session import open_session

ReasonOption = Annotated[
    str, typer.Option("--reason", help="Why, for those who wonder.", show_default=False)
]


def pause(
    ctx: typer.Context,
    name: NameArgument,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Leave a service alone until `resume`: no run plans for it or changes anything there."""
    from svcctl.clock import stamp
    from svcctl.runs.engine import current_actor
    from svcctl.store import runs

    with open_session(ctx, read_only=dry_run) as session:
        require(session.settings, [name])
        with session.database.read() as connection:
            before = pause_of(runs.paused(connection).get(name))
        after = before or {"since": stamp(), "actor": current_actor(), "reason": reason}
        if before is None and not dry_run:
            with session.database.write() as connection:
                runs.pause(connection, name, reason=reason, actor=after["actor"])
    what = "paused" if before is None else "already paused"
    _answer(name, what, after, changed=before is None, dry_run=dry_run, json=json)


def resume(
    ctx: typer.Context,
    name: NameArgument,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Let runs work on a paused service again."""
    from svcctl.store import runs

    with open_session(ctx, read_only=dry_run) as session:
        with session.database.read() as connection:
            before = pause_of(runs.paused(connection).get(name))
        if before is None:
            require(session.settings, [name])
        elif not dry_run:
            with session.database.write() as connection:
                runs.resume(connection, name)
    what = "was not paused" if before is None else "resumed"
    _answer(name, what, None, changed=before is not None, dry_run=dry_run, json=json)


def _answer(
    name: str,
    what: str,
    paused: Mapping[str, Any] | None,
    *,
    changed: bool,
    dry_run: bool,
    json: bool,
) -> None:
    if json:
        body = {"service": name, "paused": paused, "changed": changed, "dry_run": dry_run}
        write_json("services.pause", body)
    else:
        say(f"{name}: {what} {sentence(paused)}" if paused else f"{name}: {what}")
    if dry_run:
        say("dry run: nothing was written")
