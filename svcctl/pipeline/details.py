"""The details of a person: what providers call differently, under names that all of them share."""

from collections.abc import Mapping
from typing import Any

from svcctl.errors import Refused

Details = dict[str, Any]
"""username, email, fullname, first_name, last_name, and whatever else a backend adds."""


def text(details: Mapping[str, Any], name: str) -> str:
    """One of the details as text: a number is written out, what is missing or None is empty.

    Raises Refused (`invalid_claim`) for anything else: a list made into text is nobody's name.
    """
    value = details.get(name)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise Refused(
        f"details.{name}: {type(value).__name__} instead of text",
        hint="the backend takes it from the wrong place of the response",
        code="invalid_claim",
    )
