"""Who is let in: by address, domain and group. What a backend's `auth_allowed` says.

Source: `BaseAuth.auth_allowed` and `social_core.groups` of social-core 7.
"""

from collections.abc import Mapping
from email.errors import HeaderParseError
from email.headerregistry import Address
from typing import Any

from svcctl.errors import ConfigError, Refused
from svcctl.pipeline.interface import Backend
from svcctl.pipeline.settings import names


def allowed(backend: Backend, response: Any, details: dict[str, Any]) -> bool:
    """Whether the settings let this person in.

    WHITELISTED_EMAILS and WHITELISTED_DOMAINS: an address on either, whatever its case; where one
    of them is set, nobody comes in without an address. ALLOW_GROUPS: in addition, one of these
    groups. Raises ConfigError for a list that is none, and for groups that the backend cannot read.
    """
    emails = {entry.lower() for entry in _entries(backend, "WHITELISTED_EMAILS")}
    domains = {entry.lower() for entry in _entries(backend, "WHITELISTED_DOMAINS")}
    groups = _entries(backend, "ALLOW_GROUPS")
    if groups:
        said = backend.get_user_groups(response)
        if said is None:
            raise ConfigError(
                f"{backend.name}: ALLOW_GROUPS is set, and no groups are read from the response",
                hint="GROUPS_KEY says where in the response they stand",
            )
        if not groups.intersection(said):
            return False
    return not (emails or domains) or _listed(details.get("email"), emails, domains)


def _entries(backend: Backend, name: str) -> set[str]:
    return set(names(name, backend.setting(name, ())))


def _listed(email: object, emails: set[str], domains: set[str]) -> bool:
    """Whether an address, or its domain as a mail server would read it, is on a list."""
    if not isinstance(email, str):
        return False
    try:
        address = Address(addr_spec=email.lower())
    except (HeaderParseError, ValueError, IndexError):  # IndexError: Python 3.11 on "" and "a@"
        return False
    if not address.username or not address.domain:
        return False
    return email.lower() in emails or address.domain in domains


def groups(backend: Backend, response: Mapping[str, Any]) -> list[str] | None:
    """The groups that the response has under GROUPS_KEY, each once; None where that is not set.

    No such key is an error, not an empty list, unless GROUPS_MISSING_AS_EMPTY is true. Raises
    Refused (`missing_claim`, `invalid_claim`) and ConfigError.
    """
    key = backend.setting("GROUPS_KEY")
    if key is None:
        return None
    if not isinstance(key, str) or not key:
        raise ConfigError(f"GROUPS_KEY: {key!r} is no key of a response")
    empty = backend.setting("GROUPS_MISSING_AS_EMPTY", default=False)
    if not isinstance(empty, bool):
        raise ConfigError(f"GROUPS_MISSING_AS_EMPTY: {empty!r} is neither true nor false")
    if key == "groups":
        _complete(backend, response)
    if key not in response:
        if empty:
            return []
        raise Refused(
            f"{backend.name}: no {key} in the response",
            hint="GROUPS_MISSING_AS_EMPTY = true where that means no groups",
            code="missing_claim",
        )
    said = response[key]
    if not isinstance(said, list) or not all(isinstance(one, str) and one for one in said):
        raise Refused(
            f"{backend.name}: {key} in the response is no list of names", code="invalid_claim"
        )
    return list(dict.fromkeys(said))


def _complete(backend: Backend, response: Mapping[str, Any]) -> None:
    """Entra leaves out groups that are too many for a token, and says so elsewhere in it."""
    elsewhere = response.get("_claim_names", {})
    if not isinstance(elsewhere, dict) or "groups" in elsewhere or "hasgroups" in response:
        raise Refused(
            f"{backend.name}: the response does not have all groups, there are too many",
            hint="have the provider send only the groups that are assigned to the application",
            code="invalid_claim",
        )
