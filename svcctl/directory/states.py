"""Which state a user is in: the rule of the highest priority that matches. Pure."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from svcctl.config.settings import GUEST, StateRule
from svcctl.model import NOTHING

Rules = Sequence[tuple[str, StateRule]]
"""States with their rules, the highest priority first: `Settings.state_rules()`."""


def fallback(rules: Rules) -> str:
    """The state of users whom no rule names: the public one of the lowest priority."""
    return next((name for name, rule in reversed(rules) if rule.public), GUEST)


def choose(
    rules: Rules,
    *,
    username: str,
    active: bool,
    groups: Collection[str] = (),
    attributes: Mapping[str, Any] = NOTHING,
) -> str:
    """The name of the user's state; that of an inactive user is the lowest public one."""
    if active:
        for name, rule in rules:
            if (
                rule.public
                or username in rule.users
                or (rule.groups and not rule.groups.isdisjoint(groups))
                or (rule.attributes and _matching(rule, attributes))
            ):
                return name
    return fallback(rules)


def explain(
    rules: Rules,
    *,
    username: str,
    active: bool,
    groups: Collection[str] = (),
    attributes: Mapping[str, Any] = NOTHING,
) -> str:
    """Why `choose` chooses what it does, as the rest of a sentence that begins with the user."""
    if not active:
        return f"is not active, so {fallback(rules)}"
    for name, rule in rules:
        if username in rule.users:
            return f"is named in states.{name}.users"
        if granting := sorted(rule.groups.intersection(groups)):
            return f"is in group {granting[0]}, which is in states.{name}.groups"
        if key := _matching(rule, attributes):
            return f"has a {key} that is in states.{name}.attributes.{key}"
        if rule.public:
            higher = " and no state of higher priority matches" if rules[0][0] != name else ""
            return f"may be {name} as everybody may{higher}"
    return f"matches no state, so {fallback(rules)}"


def _matching(rule: StateRule, attributes: Mapping[str, Any]) -> str | None:
    """The attribute that fulfils the rule, if one does; a list does if any element does."""
    for key, wanted in rule.attributes.items():
        value = attributes.get(key)
        values = value if isinstance(value, list) else (value,)
        if any(_as_text(item) in wanted for item in values if item is not None):
            return key
    return None


def _as_text(value: Any) -> str:
    """As TOML and JSON write it: `true`, not `True`."""
    return str(value).lower() if isinstance(value, bool) else str(value)
