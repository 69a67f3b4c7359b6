"""What the parts of one pull share."""

from dataclasses import dataclass, field

from sqlalchemy import Connection

from svcctl.clock import stamp
from svcctl.directory.states import Rules
from svcctl.store.pull.diff import PullDiff


@dataclass(frozen=True, slots=True)
class Work:
    """One source's pull in progress: the transaction, the states' rules, what has changed."""

    connection: Connection
    source: str
    rules: Rules
    diff: PullDiff
    moment: str = field(default_factory=stamp)
