"""An adoption: what was recognised on a service, to be looked at and then linked or not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from json import loads
from typing import Any, Self

from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import RemoteAccount
from svcctl.model import User, to_json
from svcctl.runs.match import Match
from svcctl.runs.plan import Problem
from svcctl.runs.rule import Rule
from svcctl.spool import Spool
from svcctl.tripwire import allowed


@dataclass(slots=True)
class Adoption:
    """What was recognised: accounts to be linked, and those left alone, with the reason.

    linked: accounts that were linked already. strangers: those that no rule says anything of.
    silent: rules that no account shows a value for. done: whether it was carried out.
    To be closed: it may fill files.
    """

    hook: ServiceHook
    rules: Sequence[Rule]
    linked: int = 0
    strangers: int = 0
    silent: list[Rule] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    done: bool = False
    _ready: Spool = field(default_factory=lambda: Spool("the service"))
    _left: Spool = field(default_factory=lambda: Spool("the service"))
    _refused: dict[str, str] = field(default_factory=dict)

    @property
    def ready(self) -> int:
        """How many are to be linked, or were."""
        return len(self._ready) - len(self._refused)

    @property
    def left(self) -> int:
        """How many were recognised, and are left alone."""
        return len(self._left) + len(self._refused)

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row per account that a rule says anything of; may be asked for again."""
        for *_, row in self._ready:
            if row["uid"] not in self._refused:
                yield {**row, "result": "linked" if self.done else "planned"}
        yield from self.refused()
        yield from self._left

    def refused(self) -> Iterator[dict[str, Any]]:
        """The accounts that were to be linked and could not be any more, with the reason."""
        for *_, row in self._ready if self._refused else ():
            if row["uid"] in self._refused:
                yield {**row, "result": "left", "reason": self._refused[row["uid"]]}

    def recognised(self) -> Iterator[tuple[RemoteAccount, int, Rule]]:
        """The accounts that are to be linked, to whom, and by which rule."""
        for kept, user_id, rule, _ in self._ready:
            yield unpacked(kept), user_id, self.rules[rule]

    def refuse(self, uid: str, reason: str) -> None:
        """Leave alone after all what was to be linked."""
        self._refused[uid] = reason

    def close(self) -> None:
        self._ready.close()
        self._left.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(
        self, remote: RemoteAccount, match: Match, user: User, *, excess: Sequence[str]
    ) -> None:
        """Keep an account that is to become the user's."""
        reasons = [] if remote.active else ["disabled there: stays so until it is enabled here"]
        if excess:
            reasons.append(f"in {', '.join(excess)} as well, which update-all-groups would end")
        row = self._row(remote, match, user.username, "; ".join(reasons))
        with allowed():
            self._ready.keep([packed(remote), user.id, match.rule, row])

    def leave(self, remote: RemoteAccount, match: Match, user: str | None, reason: str) -> None:
        """Keep an account that is left alone."""
        row = {**self._row(remote, match, user, reason), "result": "left"}
        with allowed():
            self._left.keep(row)

    def _row(
        self, remote: RemoteAccount, match: Match, user: str | None, reason: str
    ) -> dict[str, Any]:
        return {
            "service": self.hook.name,
            "account": remote.name,
            "uid": remote.uid,
            "user": user,
            "by": str(self.rules[match.rule]),
            "result": "",
            "reason": reason,
        }


def packed(remote: RemoteAccount) -> list[Any]:
    groups = None if remote.groups is None else sorted(remote.groups)
    kept = (remote.uid, remote.name, remote.active, groups, remote.nickname)
    return [*kept, to_json(remote.data)]


def unpacked(kept: Sequence[Any]) -> RemoteAccount:
    uid, name, active, groups, nickname, data = kept
    held = None if groups is None else frozenset(groups)
    return RemoteAccount(uid, name, active, None, held, nickname, loads(data))
