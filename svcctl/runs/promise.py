"""Promising: what is to be done on services becomes rows in somebody else's transaction.

Whoever commits it has promised it: the next run on these accounts does it, whichever that is.
"""

from collections.abc import Mapping

from svcctl.hooks.contract import ServiceHook
from svcctl.model import OperationStatus
from svcctl.runs import journal
from svcctl.runs.guard import guard
from svcctl.runs.planner import Planner
from svcctl.store import operations as operation_rows
from svcctl.store import runs as run_rows
from svcctl.store.database import Connection
from svcctl.tasks.task import Task
from svcctl.tripwire import tripwire

_IN_DOUBT = (OperationStatus.RUNNING, OperationStatus.UNKNOWN, OperationStatus.HELD)


def promise(
    connection: Connection,
    task: Task,
    users: frozenset[int],
    hooks: Mapping[str, ServiceHook],
    *,
    protected: frozenset[str],
    run_id: int,
    actor: str,
) -> None:
    """Journal what the task would do for these users as pending, within the limits.

    Nothing is done about paused services, nor about accounts of which an earlier operation has to
    be looked at first. No service is asked anything. Raises HookError.
    """
    paused = run_rows.paused(connection)
    open_now = {name: hook for name, hook in hooks.items() if name not in paused}
    unfinished = operation_rows.unfinished(connection, open_now)
    doubtful = frozenset(row.account_id for row in unfinished if row.status in _IN_DOUBT)
    with tripwire("planning"):
        plan = Planner(
            connection, task, users, open_now, protected=protected, unsettled=doubtful, actor=actor
        ).make()
    guard(connection, plan, open_now)
    journal.write(
        connection,
        plan,
        open_now,
        unfinished,
        run_id=run_id,
        actor=actor,
        users=users,
        left_alone=doubtful,
        force=True,
    )
