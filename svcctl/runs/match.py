"""Recognising whose accounts are: by rules, in their order, and only where there is no doubt."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import RemoteAccount
from svcctl.runs.plan import Problem, undecided
from svcctl.runs.rule import Rule
from svcctl.store.census import stream
from svcctl.store.database import Connection
from svcctl.store.people import source_ids

_NAMED = 3


@dataclass(frozen=True, slots=True)
class Match:
    """An account by its name, the number of the first rule by which it is anybody's, and whose."""

    account: str
    rule: int
    users: tuple[int, ...]


class Index:
    """What an account of each user would have, by each rule: value -> user ids.

    problems: users whom the hook cannot name, and who are recognised in nothing.
    """

    def __init__(
        self,
        connection: Connection,
        hook: ServiceHook,
        rules: Sequence[Rule],
        states: Mapping[int, str] | None,
    ) -> None:
        self.problems: list[Problem] = []
        self._hook = hook
        self._rules = rules
        self._users: list[dict[str, tuple[int, ...]]] = [{} for _ in rules]
        self._asked: Counter[Rule] = Counter()
        self._told: Counter[Rule] = Counter()
        known = source_ids(connection)
        for user, _ in stream(connection, None, (), states=states):
            if user.id not in known:
                continue
            try:
                values = [set(rule.of_user(hook, user, known[user.id])) for rule in rules]
            except Exception as error:  # noqa: BLE001 - a hook is foreign code; one user never stops the rest
                self.problems.append(undecided(hook.name, user.username, error))
                continue
            for holders, mine in zip(self._users, values, strict=True):
                for value in mine:
                    holders[value] = (*holders.get(value, ()), user.id)

    def match(self, remote: RemoteAccount) -> Match | None:
        """Whose the account may be; None: nobody's here."""
        for number, rule in enumerate(self._rules):
            values = set(rule.of_account(self._hook, remote))
            self._asked[rule] += 1
            self._told[rule] += bool(values)
            users = {id_ for value in values for id_ in self._users[number].get(value, ())}
            if users:
                return Match(remote.name, number, tuple(sorted(users)))
        return None

    def silent(self) -> list[Rule]:
        """Rules that could tell of no account, because none shows what they compare."""
        return [rule for rule in self._asked if not self._told[rule]]


def doubts(
    matches: Sequence[Match], rules: Sequence[Rule], names: Mapping[int, str]
) -> dict[int, str]:
    """Which of the matches cannot be believed: their place in the sequence -> why.

    The rules are gone through in their order. A user whom an earlier one recognised, or may have,
    is not recognised in another account by a later one.
    """
    found: dict[int, str] = {}
    spoken_for: dict[int, int] = {}
    for number, rule in enumerate(rules):
        here = [place for place, match in enumerate(matches) if match.rule == number]
        of_user: dict[int, list[int]] = {}
        for place in here:
            for id_ in matches[place].users:
                of_user.setdefault(id_, []).append(place)
        for place in here:
            users = matches[place].users
            before = next((spoken_for[id_] for id_ in users if id_ in spoken_for), None)
            if len(users) > 1:
                found[place] = f"by {rule} it is that of {_listed(names[id_] for id_ in users)}"
            elif before is not None:
                other = matches[before]
                stronger = rules[other.rule]
                found[place] = f"by {stronger} that of {names[users[0]]} is {other.account}"
            elif len(of_user[users[0]]) > 1:
                others = _listed(matches[one].account for one in of_user[users[0]])
                found[place] = f"by {rule} {names[users[0]]} has several: {others}"
        for id_, places in of_user.items():
            spoken_for.setdefault(id_, places[0])
    return found


def _listed(names: Iterable[str]) -> str:
    """Some of them, as a list in a sentence."""
    few = sorted(names)
    more = f" and {len(few) - _NAMED} more" if len(few) > _NAMED else ""
    return ", ".join(few[:_NAMED]) + more
