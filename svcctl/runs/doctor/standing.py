"""How things stand by the database: what waits, who is at work, the last run, clock and vault."""

from collections.abc import Callable, Iterator
from datetime import timedelta

from svcctl.clock import now, parse_stamp, stamp
from svcctl.config.settings import Settings
from svcctl.errors import ExitCode, SvcctlError
from svcctl.hooks.registry import Hooks
from svcctl.locks import DIRECTORY, NOTIFY, Locks
from svcctl.runs.doctor.line import Line, fail, failed, ok, warn
from svcctl.store import associations, figures, partials, pulls
from svcctl.store import runs as run_rows
from svcctl.store.database import Connection, Database
from svcctl.vault import SETTING, Vault, default_file

LATE = timedelta(days=7)
"""Without a run for so long cron has stopped, or there is none."""
_AHEAD = timedelta(minutes=1)
_LEFT = {
    "pending": ("planned and not done", "the next run plans them anew"),
    "running": ("begun without a word how they ended", "the next run looks at them first"),
    "unknown": (
        "nobody knows whether done",
        "svcctl history --status unknown; then link or delete on the service",
    ),
    "held": ("held by a limit", "svcctl holds list; then approve or reject"),
}


def look(settings: Settings, hooks: Hooks, database: Database) -> Iterator[Line]:
    """Each with a line that says that it is in order, where it is."""
    parts: dict[str, Callable[[Connection], Iterator[Line]]] = {
        "clock": _clock,
        "vault": lambda connection: _vault(settings, connection),
        "lock": lambda _: _locks(database, [*settings.services, DIRECTORY, NOTIFY]),
        "operations": _left,
        "service": lambda connection: _paused(settings, connection),
        "directory": lambda connection: _sources(settings, connection),
        "run": lambda connection: _last_runs(connection, hooks),
        "record": lambda connection: _record(settings, connection),
    }
    for check, part in parts.items():
        try:
            with database.read() as connection:
                found = list(part(connection))
        except SvcctlError as error:
            found = [failed(check, "", error)]
        except (ValueError, LookupError, TypeError) as error:
            message = f"a row makes no sense: {type(error).__name__}"
            found = [fail(check, "", message, "svcctl db check", code=ExitCode.DATABASE)]
        yield from found


def _clock(connection: Connection) -> Iterator[Line]:
    newest = figures.newest(connection)
    if newest is not None and parse_stamp(newest) > now() + _AHEAD:
        yield fail(
            "clock",
            "",
            f"went back: it is {stamp()}, and something was recorded at {newest}",
            "set it right (timedatectl): limits and grace periods count by it",
        )
    else:
        yield ok("clock", "", f"{stamp()}, not before what was recorded last")


def _vault(settings: Settings, connection: Connection) -> Iterator[Line]:
    used = (
        associations.any_there(connection)
        or partials.any_there(connection)
        or figures.sealed_messages(connection)
    )
    file = default_file(settings)
    if not used and (file is None or not file.exists()):
        yield ok("vault", SETTING, "nothing is encrypted yet; a key is made when it is needed")
        return
    try:
        Vault(settings, in_use=lambda: used, read_only=True).check()
    except SvcctlError as error:
        yield failed("vault", SETTING, error)
    else:
        yield ok("vault", SETTING, f"the key is there{', for its owner only' if file else ''}")


def _locks(database: Database, names: list[str]) -> Iterator[Line]:
    with Locks(database, timeout=0, holder="doctor") as locks:
        holders = {name: locks.holder(name) for name in names}
    for name, holder in holders.items():
        if holder:
            yield ok("lock", name, f"held: {holder}")
    if not any(holders.values()):
        yield ok("lock", "", "nobody is at work")


def _left(connection: Connection) -> Iterator[Line]:
    counted = figures.open_operations(connection)
    for (service, status), number in sorted(counted.items()):
        said, remedy = _LEFT[status]
        yield warn("operations", service, f"{number} {said}", remedy)
    for service, number in sorted(figures.due_for_retry(connection).items()):
        yield warn("operations", service, f"{number} failed, and wait for another try", _RETRY)
    if waiting := figures.waiting_messages(connection):
        yield warn("messages", "", f"{waiting} wait to be sent", "the next run sends them")
    if not counted:
        yield ok("operations", "", "none is open")


_RETRY = "svcctl retry --dry-run shows them; svcctl history --status failed says why"


def _paused(settings: Settings, connection: Connection) -> Iterator[Line]:
    for name, row in run_rows.paused(connection).items():
        if name in settings.services:
            message = f"paused since {row['since']} by {row['actor']}"
            yield warn("service", name, message, f"svcctl services resume {name}")


def _sources(settings: Settings, connection: Connection) -> Iterator[Line]:
    found, last = figures.missing_users(connection), pulls.last(connection)
    for name in settings.directory.sources:
        present, missing, _ = found.get(name, (0, 0, 0))
        if missing:
            message = f"{missing} users are missing from the last pull, and lose access at the next"
            yield warn("directory", name, message, "svcctl users list shows who")
        if not present:
            yield warn("directory", name, "nobody came from it yet", "svcctl directory pull")
        elif name not in last:
            yield ok("directory", name, f"{present} users came from it, nobody knows when")
        else:
            age = now() - parse_stamp(last[name])
            said = f"{present} users came from it; the last pull was {_ago(age)}"
            remedy = "svcctl directory pull says what is wrong; look whether cron still runs it"
            yield (
                ok("directory", name, said)
                if age <= LATE
                else warn("directory", name, said, remedy)
            )


def _last_runs(connection: Connection, hooks: Hooks) -> Iterator[Line]:
    """The latest run about everybody, for each service."""
    latest: dict[str, tuple[str, figures.Runs]] = {}
    for (service, command), run in figures.last_runs(connection).items():
        if service not in latest or latest[service][1].id < run.id:
            latest[service] = (command, run)
    for name in hooks.loaded:
        if name not in latest:
            remedy = "svcctl sync --all, best from cron: svcctl init --cron"
            yield warn("run", name, "there was none for everybody", remedy)
            continue
        command, run = latest[name]
        age = now() - parse_stamp(run.ended_at)
        said = f"the last one, {command}, ended {_ago(age)}"
        if run.failures:
            message = f"{said} with {run.exit_code}; {run.failures} in a row failed"
            yield warn("run", name, message, f"svcctl history {run.id}")
        elif age > LATE:
            yield warn("run", name, said, "look whether cron or the systemd timer still runs it")
        else:
            yield ok("run", name, said)


def _record(settings: Settings, connection: Connection) -> Iterator[Line]:
    oldest = figures.oldest_entry(connection)
    if oldest is None:
        yield fail(
            "record",
            "",
            "its chain is gone",
            "svcctl audit verify; restore a backup",
            code=ExitCode.DATABASE,
        )
    elif settings.audit.keep is not None and parse_stamp(oldest) < now() - settings.audit.keep:
        message = f"goes back to {oldest}, longer than audit.keep"
        yield warn("record", "", message, "svcctl audit prune, best from cron")
    else:
        yield ok("record", "", f"goes back to {oldest}")


def _ago(age: timedelta) -> str:
    seconds = max(0, int(age.total_seconds()))
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} seconds ago"
