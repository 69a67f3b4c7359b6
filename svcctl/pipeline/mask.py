"""Context shown to people: what is a secret by its name is not shown."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from svcctl.config.values import HIDDEN

_SECRET = re.compile(
    r"token|secret|passw|credential|authorization|cookie|assertion|signature"
    r"|(private|api|access)_?key|^((verification|auth|device|user)_?)?code$",
    re.IGNORECASE,
)


_SHORTEST = 4
"""A secret of fewer characters would be found in words that are none."""


def scrub(text: str, value: Any) -> str:
    """The text without the secrets that `value` has in it."""
    for secret in sorted(_secrets(value, ""), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def _secrets(value: Any, name: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        secret = _SECRET.search(name)
        for key, item in value.items():
            yield from _secrets(item, name if secret else str(key))
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _secrets(item, name)
    elif isinstance(value, str) and len(value) >= _SHORTEST and _SECRET.search(name):
        yield value


def masked(value: Any, name: str = "") -> Any:
    """A copy of a value of the context, to be shown, `***` for texts and numbers that are secret.

    Secret is what `name`, or a key inside the value, says is a token, a password and the like, and
    all that lies below such a key. Objects are left as they are.
    """
    if isinstance(value, Mapping):
        secret = _SECRET.search(name)
        return {key: masked(item, name if secret else str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [masked(item, name) for item in value]
    if isinstance(value, str | bytes | int | float) and not isinstance(value, bool):
        return HIDDEN if value and _SECRET.search(name) else value
    return value
