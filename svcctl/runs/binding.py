"""What binds in a saved plan, and how the world of now differs from it.

Accounts are JSON objects here, as they stand in the file (see `planfile`).
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from svcctl.hooks.contract import ServiceHook
from svcctl.model import to_json
from svcctl.runs.look import Shown
from svcctl.runs.plan import Plan, PlannedAccount, Problem, changes

Entry = dict[str, Any]
_NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which the world is not as the plan says. `service` is empty for the site."""

    service: str
    username: str | None
    planned: str
    now: str


@dataclass(frozen=True, slots=True)
class Binding:
    """All that must be the same when a plan is applied.

    versions: of the hooks, by service. entries: the accounts by service and user. troubled: the
    services that could not be planned as a whole.
    """

    configuration: str
    versions: Mapping[str, str]
    entries: tuple[Entry, ...] = ()
    troubled: frozenset[str] = frozenset()

    @property
    def hash(self) -> str:
        """SHA-256 of what binds, as canonical JSON; neither row ids nor moments are in it."""
        from hashlib import sha256

        body = {
            "configuration": self.configuration,
            "hooks": dict(self.versions),
            "accounts": [_binds(entry) for entry in self.entries],
        }
        return sha256(to_json(body).encode()).hexdigest()


def bind(
    configuration: str,
    hooks: Mapping[str, ServiceHook],
    plan: Plan,
    shown: Shown,
    problems: Iterable[Problem],
) -> Binding:
    """What binds of a plan. `hooks`: of all services asked for, also those left out since."""
    entries = sorted(
        (_entry(planned, plan.at, shown) for planned in plan.accounts),
        key=lambda entry: (entry["service"], entry["user"]),
    )
    troubled = frozenset(problem.service for problem in problems if problem.username is None)
    return Binding(configuration, versions(hooks), tuple(entries), troubled)


def versions(hooks: Mapping[str, ServiceHook]) -> dict[str, str]:
    """The version of each service's policy."""
    return {name: type(hook).version for name, hook in hooks.items()}


def _entry(planned: PlannedAccount, at: str, shown: Shown) -> Entry:
    account = planned.account
    entry = {
        "service": account.service,
        "user": planned.username,
        "verdict": planned.verdict,
        "because": planned.because,
        "shown": shown[account.service, account.user_id],
        "operations": [
            {
                "seq": seq,
                "verb": operation.verb.value,
                "args": operation.args,
                "before": before,
                "after": after,
                "reason": operation.reason,
            }
            for seq, (operation, before, after) in enumerate(changes(planned, at))
        ],
    }
    plain: Entry = json.loads(to_json(entry))
    return plain


def _binds(entry: Entry) -> Entry:
    kept = {key: entry[key] for key in ("service", "user", "verdict", "shown")}
    return {**kept, "operations": [_step(step) for step in entry["operations"]]}


def _step(step: Mapping[str, Any]) -> Entry:
    return {key: step[key] for key in ("seq", "verb", "args", "before")}


def moved_site(then: Binding, configuration: str) -> list[Difference]:
    """Whether the configuration is the one that the plan was made under."""
    if then.configuration == configuration:
        return []
    was, now = then.configuration[:12], configuration[:12]
    return [Difference("", None, f"configuration {was}", f"it was changed: {now}")]


def moved_hooks(then: Binding, now: Mapping[str, str]) -> list[Difference]:
    """The hooks that are not those that the plan was made by."""
    return [
        Difference(
            name, None, _version(then.versions.get(name)), f"it is {_version(now.get(name))}"
        )
        for name in sorted(then.versions.keys() | now.keys())
        if then.versions.get(name) != now.get(name)
    ]


def _version(version: str | None) -> str:
    return "no usable hook" if version is None else f"hook version {version or '(none)'}"


def moved(then: Binding, now: Binding, said: Iterable[Problem]) -> list[Difference]:
    """How the accounts differ. `said`: problems and notes, which may say why nothing is planned."""
    reasons = {(problem.service, problem.username): problem.message for problem in said}
    before = {(entry["service"], entry["user"]): entry for entry in then.entries}
    after = {(entry["service"], entry["user"]): entry for entry in now.entries}
    found: list[Difference] = []
    for service, user in sorted(before.keys() | after.keys()):
        why = reasons.get((service, user)) or reasons.get((service, None)) or _NOTHING
        sides = before.get((service, user)), after.get((service, user))
        found.extend(
            Difference(service, user, planned, is_now) for planned, is_now in _differ(*sides, why)
        )
    if not found and then.hash != now.hash:
        # Not as any plan is written: an account twice, or in another order.
        found.append(Difference("", None, f"hash {then.hash[:12]}", f"hash {now.hash[:12]}"))
    return found


def _differ(then: Entry | None, now: Entry | None, why: str) -> Iterator[tuple[str, str]]:
    if then is None or now is None:
        yield _operations(then, _NOTHING), _operations(now, why)
        return
    if list(map(_step, then["operations"])) != list(map(_step, now["operations"])):
        was, is_now = _operations(then, _NOTHING), _operations(now, why)
        if was == is_now:
            was, is_now = _befores(then), _befores(now)
        yield was, is_now
    if then["verdict"] != now["verdict"]:
        yield _verdict(then), _verdict(now)
    if then["shown"] != now["shown"]:
        was, is_now = _only_different(then["shown"], now["shown"])
        yield f"the service showed {was}", f"it shows {is_now}"


def _operations(entry: Entry | None, otherwise: str) -> str:
    if entry is None:
        return otherwise
    said = []
    for step in entry["operations"]:
        args = {key: value for key, value in step["args"].items() if value}
        said.append(f"{step['verb']} {to_json(args)}" if args else str(step["verb"]))
    return "; ".join(said) or _NOTHING


def _befores(entry: Entry) -> str:
    return "; ".join(
        f"{step['verb']} where there was {to_json(step['before'])}" for step in entry["operations"]
    )


def _verdict(entry: Entry) -> str:
    if entry["verdict"] is None:
        return "it is to be done"
    return f"{entry['verdict']}: {entry['because']}" if entry["because"] else str(entry["verdict"])


def _only_different(then: Any, now: Any) -> tuple[str, str]:
    if isinstance(then, dict) and isinstance(now, dict):
        keys = [key for key in sorted(then.keys() | now.keys()) if then.get(key) != now.get(key)]
        then, now = ({key: side.get(key) for key in keys} for side in (then, now))
    return _said(then), _said(now)


def _said(shown: Any) -> str:
    if shown is None:
        return "nothing that could be read"
    if isinstance(shown, dict):
        return ", ".join(f"{key} {to_json(value)}" for key, value in shown.items())
    return f"it {shown}"
