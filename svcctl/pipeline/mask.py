"""Context shown to people: what is a secret by its name is not shown."""

import re
from collections.abc import Mapping
from typing import Any

from svcctl.config.values import HIDDEN

_SECRET = re.compile(
    r"token|secret|passw|credential|authorization|cookie|assertion|signature"
    r"|(private|api|access)_?key|^((verification|auth|device|user)_?)?code$",
    re.IGNORECASE,
)


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
