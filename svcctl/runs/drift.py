"""Drift: services against what is recorded here, both ways. Nothing is written, to neither side."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from svcctl.clock import stamp
from svcctl.errors import ExitCode, SvcctlError, UsageError, gravest
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.registry import build_manager
from svcctl.model import AccountStatus
from svcctl.runs.compare import Comparison
from svcctl.runs.engine import Site
from svcctl.runs.finding import Finding, Kind
from svcctl.runs.listing import unlisted
from svcctl.runs.plan import Problem
from svcctl.spool import Spool
from svcctl.store import accounts as account_rows
from svcctl.store import operations as operation_rows
from svcctl.store import runs as run_rows
from svcctl.store.database import Connection
from svcctl.store.services import by_status
from svcctl.store.standing import stale_states
from svcctl.tripwire import allowed, tripwire


@dataclass(slots=True)
class Looked:
    """One service: how many accounts it listed, how many of them are linked, what was found.

    listed: None where it was not, or not completely, read: then nothing was found either.
    """

    service: str
    listed: int | None = None
    linked: int | None = None
    counts: Counter[Kind] = field(default_factory=Counter)


@dataclass(slots=True)
class Drift:
    """What was found, service by service. To be closed: it may fill a file.

    kinds: those that are looked for, None for all. check: findings are an answer of their own.
    """

    kinds: frozenset[Kind] | None = None
    check: bool = False
    services: list[Looked] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    _spools: list[Spool] = field(default_factory=list)

    def findings(self) -> Iterator[Finding]:
        """All of them; may be asked for any number of times."""
        for spool in self._spools:
            for kind, *rest in spool:
                yield Finding(rest.pop(0), Kind(kind), *rest)

    @property
    def exit_code(self) -> ExitCode:
        codes = [problem.code for problem in self.problems]
        if self.check and any(one.counts for one in self.services):
            codes.append(ExitCode.PENDING)
        return gravest(codes)

    def close(self) -> None:
        for spool in self._spools:
            spool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self, looked: Looked, findings: Iterable[Finding]) -> None:
        """Keep the findings that were asked for, or, when they break off, none of the service."""
        spool = Spool(looked.service)
        self._spools.append(spool)
        try:
            for one in findings:
                if self.kinds is None or one.kind in self.kinds:
                    looked.counts[one.kind] += 1
                    row = (one.kind, one.service, one.user, one.account, one.uid)
                    differing = (dict(one.expected), dict(one.found))
                    with allowed():
                        spool.keep((*row, *differing, one.reason, one.pinned))
        except BaseException:
            looked.counts.clear()
            self._spools.remove(spool)
            spool.close()
            raise


def look_for_drift(
    site: Site,
    names: Sequence[str] = (),
    *,
    kinds: Iterable[Kind] | None = None,
    check: bool = False,
) -> Drift:
    """Compare these services, or all that can list. One that breaks off says nothing.

    Raises UsageError for a service that does not exist, or that is named and cannot list.
    """
    drift = Drift(None if kinds is None else frozenset(kinds), check)
    begun = stamp()
    try:
        with site.database.read() as connection, tripwire("looking for drift"):
            hooks, left = _chosen(site, connection, names, drift)
            before = run_rows.mark(connection)
            states = stale_states(connection, site.settings.state_rules())
            for hook in hooks:
                comparison = Comparison(
                    connection,
                    hook,
                    protected=site.settings.protected,
                    states=states,
                    at=begun,
                )
                _compare(hook, comparison, drift)
            for service in left:
                looked = Looked(service)
                drift.services.append(looked)
                drift.take(looked, _unmanaged(connection, service))
        _tell_of_runs(site, hooks, before, drift)
    except BaseException:
        drift.close()
        raise
    return drift


def _compare(hook: ServiceHook, comparison: Comparison, drift: Drift) -> None:
    looked = Looked(hook.name)
    drift.services.append(looked)
    manager = None
    try:
        with allowed():
            manager = build_manager(hook)
        drift.take(looked, comparison.findings(manager))
    except SvcctlError as error:
        drift.problems.append(unlisted(hook.name, error))
    else:
        looked.listed, looked.linked = comparison.listed, comparison.linked
        drift.problems.extend(comparison.problems)
        drift.notes.extend(comparison.notes)
    finally:
        if manager is not None:
            with allowed(), suppress(Exception):  # foreign code, and all is read by now
                manager.close()


def _chosen(
    site: Site, connection: Connection, names: Sequence[str], drift: Drift
) -> tuple[list[ServiceHook], list[str]]:
    """The hooks to compare, and the services that left the configuration and have accounts."""
    configured = site.settings.services
    left = [
        name
        for name, counted in by_status(connection).items()
        if name not in configured and counted.keys() - {AccountStatus.ABSENT.value}
    ]
    for name in names:
        if name not in configured and name not in left:
            known = ", ".join(sorted([*configured, *left])) or "none"
            raise UsageError(f"no service {name!r}", hint=f"there are: {known}")
    wanted = list(dict.fromkeys(names)) or [*configured, *left]
    paused = run_rows.paused(connection)
    hooks = []
    for name in wanted:
        if name in left:
            continue
        if name in site.hooks.failed:
            error = site.hooks.failed[name]
            drift.problems.append(Problem(name, error.message, ExitCode.CONFIG, hint=error.hint))
            drift.services.append(Looked(name))
            continue
        hook = site.hooks.loaded[name]
        if name in paused:
            note = f"not compared: paused since {paused[name]['since']}"
        elif not hook.can("list_accounts"):
            note = f"not compared: {hook.manager_class.__name__} cannot list accounts"
            if names:
                raise UsageError(
                    f"services.{name}: {hook.manager_class.__name__} cannot list accounts",
                    hint="without a list nobody can tell what is there; see: svcctl services list",
                )
        else:
            hooks.append(hook)
            continue
        drift.notes.append(Problem(name, note, ExitCode.OK))
        drift.services.append(Looked(name))
    return hooks, [name for name in wanted if name in left]


def _unmanaged(connection: Connection, service: str) -> Iterator[Finding]:
    for one in account_rows.live(connection, service):
        expected = {"status": one.status}
        yield Finding(service, Kind.UNMANAGED, one.username, one.name, one.uid, expected)


def _tell_of_runs(
    site: Site, hooks: Iterable[ServiceHook], before: run_rows.Mark, drift: Drift
) -> None:
    """What a run was changing while it was looked at may only seem to be drift."""
    with site.database.read() as connection:
        busy = operation_rows.worked_on(connection, [hook.name for hook in hooks], before)
    for service in sorted(busy):
        drift.problems.append(
            Problem(
                service,
                "a run was at work, or was interrupted: what it was changing may be shown as drift",
                ExitCode.TRY_LATER,
                hint="look again when it has finished",
            )
        )
