"""What the configuration names by where it is: steps, functions, backends' classes."""

import pkgutil
from collections.abc import Callable
from typing import Any

from svcctl.errors import ConfigError


def imported(name: Any, place: str = "") -> Callable[..., Any]:
    """The function or class that a name means; what can be called is taken as it is.

    place: where it is named, for the message. Raises ConfigError, whatever its module does when it
    is imported.
    """
    where = f"{place}: " if place else ""
    if callable(name):
        given: Callable[..., Any] = name
        return given
    try:
        found = pkgutil.resolve_name(name)
    except ImportError as error:
        missing = "social_core" in str(error)
        raise ConfigError(
            f"{where}{name!r} cannot be imported: {error}",
            hint="install it with: pip install 'svcctl[social]'"
            if missing
            else "install its package beside svcctl, or set PYTHONPATH",
        ) from error
    except (AttributeError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{where}{name!r} cannot be imported: {error}",
            hint="write it as package.module.function",
        ) from error
    except Exception as error:
        raise ConfigError(
            f"{where}the module of {name!r} fails when it is imported: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not callable(found):
        raise ConfigError(f"{where}{name!r} is a {type(found).__name__}, no function")
    made: Callable[..., Any] = found
    return made
