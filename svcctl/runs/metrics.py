"""Metrics for Prometheus, a file for node_exporter's textfile collector: what is, how runs went.

The format is the text format 0.0.4, <https://prometheus.io/docs/instrumenting/exposition_formats/>.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import mkstemp
from typing import TYPE_CHECKING

from svcctl import __version__
from svcctl.clock import parse_stamp
from svcctl.config.settings import Settings
from svcctl.errors import ConfigError, ExitCode, StoreError, SvcctlError
from svcctl.model import AccountStatus
from svcctl.runs.plan import Problem
from svcctl.store import figures, pulls
from svcctl.store import runs as run_rows
from svcctl.store.database import Connection, Database
from svcctl.store.standing import count_states

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

MODE = 0o644
"""node_exporter is somebody else. There is nothing private in it: names of services and numbers."""
_STATUSES = (AccountStatus.ACTIVE.value, AccountStatus.DISABLED.value)


def exposition(settings: Settings, database: Database) -> bytes:
    """All metrics, as the database has them now. Raises ConfigError without prometheus-client."""
    try:
        from prometheus_client import generate_latest
    except ImportError:
        raise ConfigError(
            "prometheus-client is not installed", hint="pip install 'svcctl[metrics]'"
        ) from None
    with database.read() as connection:
        families = list(_families(settings, connection))
    return generate_latest(_Collected(families))


def write(path: Path, content: bytes) -> None:
    """Replace the file as a whole, so that nobody ever reads half of it. Raises StoreError."""
    temporary = None
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            # Such as /dev/stdout, which would be replaced as well.
            raise StoreError(f"{path}: is a link or no file", hint="name the file itself")
        descriptor, temporary = mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), MODE)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            with suppress(OSError):
                Path(temporary).unlink()
        raise StoreError(
            f"{path}: cannot be written: {(error.strerror or str(error)).lower()}",
            hint="check monitor.metrics_file, its folder's permissions and the free space",
        ) from error


def refresh(settings: Settings, database: Database) -> Problem | None:
    """Write the configured file anew; what went wrong, as a problem that changes no exit code."""
    path = settings.monitor.metrics_file if settings.monitor else None
    if path is None:
        return None
    try:
        write(path, exposition(settings, database))
    except SvcctlError as error:
        message = f"metrics are not written: {error.message}"
        return Problem("monitor", message, ExitCode.OK, hint=error.hint)
    return None


class _Collected:
    def __init__(self, families: Iterable["GaugeMetricFamily"]) -> None:
        self._families = families

    def collect(self) -> Iterable["GaugeMetricFamily"]:
        return self._families


def _gauge(name: str, about: str, *labels: str) -> "GaugeMetricFamily":
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(f"svcctl_{name}", about, labels=labels)


def _families(settings: Settings, connection: Connection) -> Iterator["GaugeMetricFamily"]:
    info = _gauge("build_info", "The version of svcctl that wrote this", "version")
    info.add_metric([__version__], 1)
    yield info
    users = _gauge("users", "Users of the directory", "state")
    for state, number in sorted(count_states(connection).items()):
        users.add_metric([state], number)
    yield users
    yield from _sources(settings, connection)
    yield from _services(settings, connection)
    yield from _runs(settings, connection)
    waiting = _gauge("messages_waiting", "Messages that are kept because they could not be sent")
    waiting.add_metric([], figures.waiting_messages(connection))
    yield waiting


def _sources(settings: Settings, connection: Connection) -> Iterator["GaugeMetricFamily"]:
    family = _gauge(
        "source_users",
        "Users that came from a source: in its last pull, missing from it, lost for good",
        *("source", "standing"),
    )
    pulled = _gauge(
        "source_last_pull_timestamp_seconds", "When the source was last taken over", "source"
    )
    found, last = figures.missing_users(connection), pulls.last(connection)
    for source in settings.directory.sources:
        if source in last:
            pulled.add_metric([source], parse_stamp(last[source]).timestamp())
        for standing, number in zip(
            ("present", "missing", "lost"), found.get(source, (0, 0, 0)), strict=True
        ):
            family.add_metric([source, standing], number)
    yield from (family, pulled)


def _services(settings: Settings, connection: Connection) -> Iterator["GaugeMetricFamily"]:
    accounts = _gauge("accounts", "Accounts by status", "service", "status")
    unfinished = _gauge(
        "open_operations",
        "Operations that have not ended: held by a limit, unknown whether done, or begun",
        *("service", "status"),
    )
    due = _gauge("retries", "Failed operations that wait for another attempt", "service")
    paused = _gauge("paused", "Whether an operator paused the service", "service")
    of_accounts = figures.accounts_by_status(connection)
    of_open = figures.open_operations(connection)
    of_due = figures.due_for_retry(connection)
    now_paused = run_rows.paused(connection)
    for service in settings.services:
        for status in _STATUSES:
            accounts.add_metric([service, status], of_accounts.get((service, status), 0))
        for status in ("held", "unknown", "pending", "running"):
            unfinished.add_metric([service, status], of_open.get((service, status), 0))
        due.add_metric([service], of_due.get(service, 0))
        paused.add_metric([service], service in now_paused)
    yield from (accounts, unfinished, due, paused)


def _runs(settings: Settings, connection: Connection) -> Iterator["GaugeMetricFamily"]:
    labels = ("service", "command")
    ended = _gauge("last_run_timestamp_seconds", "When the last run about everybody ended", *labels)
    took = _gauge("last_run_duration_seconds", "How long it took", *labels)
    code = _gauge("last_run_exit_code", "Its exit code, as far as the service goes", *labels)
    succeeded = _gauge(
        "last_success_timestamp_seconds", "When the last run with exit code 0 ended", *labels
    )
    failures = _gauge(
        "failures_in_a_row", "Runs that failed (exit codes 1, 5, 74, 78) since one with 0", *labels
    )
    done = _gauge(
        "last_run_operations",
        "Operations of the last run about everybody, as they stand now",
        *(*labels, "verb", "status"),
    )
    found = {
        key: runs
        for key, runs in sorted(figures.last_runs(connection).items())
        if key[0] in settings.services
    }
    for key, runs in found.items():
        end = parse_stamp(runs.ended_at).timestamp()
        ended.add_metric(key, end)
        took.add_metric(key, end - parse_stamp(runs.started_at).timestamp())
        code.add_metric(key, runs.exit_code)
        failures.add_metric(key, runs.failures)
        if runs.succeeded_at is not None:
            succeeded.add_metric(key, parse_stamp(runs.succeeded_at).timestamp())
    command = {(runs.id, service): name for (service, name), runs in found.items()}
    operations = figures.operations_of(connection, (runs.id for runs in found.values()))
    for (run, service, verb, status), number in sorted(operations.items()):
        if (run, service) in command:
            done.add_metric([service, command[run, service], verb, status], number)
    yield from (ended, took, code, succeeded, failures, done)
