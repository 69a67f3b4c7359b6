"""Passwords as a service's database wants them."""

from collections.abc import Callable, Mapping
from typing import Any

from svcctl.errors import Invalid


def hasher(scheme: str, options: Mapping[str, int | str]) -> Callable[[str], str]:
    """What hashes a password; Invalid for one that the scheme cannot take.

    scheme and options: a name in passlib.hash, and what its `using` takes. Raises Invalid for
    those that libpass does not know, and where it or what the scheme needs is not installed.
    """
    try:
        import passlib.exc
        import passlib.hash
    except ImportError:
        raise _absent("libpass") from None
    try:
        handler: Any = getattr(passlib.hash, scheme).using(**options)
        handler.get_backend() if hasattr(handler, "get_backend") else None
    except passlib.exc.MissingBackendError:
        raise _absent(f"what {scheme} needs") from None
    except (TypeError, ValueError) as error:
        raise Invalid(f"{scheme}: {error}", hint="see libpass's page of this hash") from None

    def hashed(password: str) -> str:
        try:
            return str(handler.hash(password))
        except ValueError:
            pass
        raise Invalid(f"password: {scheme} cannot take it", hint="it may be too long for it")

    return hashed


def _absent(what: str) -> Invalid:
    return Invalid(f"{what} is not installed", hint="pip install 'svcctl[sql]'")
