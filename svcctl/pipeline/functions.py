"""Functions that settings name, like EMAIL_VALIDATION_FUNCTION."""

import pkgutil
from collections.abc import Callable
from typing import Any

from svcctl.errors import ConfigError


def imported(setting: str, name: Any) -> Callable[..., Any]:
    """The function that a setting names. Raises ConfigError."""
    if callable(name):
        function: Callable[..., Any] = name
        return function
    try:
        found = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{setting}: {name!r} cannot be imported: {error}",
            hint="write it as package.module.function",
        ) from error
    if not callable(found):
        raise ConfigError(f"{setting}: {name} is no function")
    made: Callable[..., Any] = found
    return made
