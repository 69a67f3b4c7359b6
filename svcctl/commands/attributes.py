"""Attributes as they are typed: `KEY=VALUE`, and `KEY:=JSON` for what is not text."""

import json
from typing import Any

from svcctl.config.settings import Settings
from svcctl.errors import UsageError


def given_attributes(settings: Settings, values: list[str]) -> dict[str, Any]:
    """`KEY=VALUE` and `KEY:=JSON` as attributes. Raises UsageError."""
    from svcctl.tasks.edits import check_attributes

    found: dict[str, Any] = {}
    for text in values:
        key, separator, value = text.partition("=")
        if not separator:
            raise UsageError(f"not KEY=VALUE: {text}", hint="write it like mail=ada@example.org")
        found[key.removesuffix(":")] = _decoded(key, value) if key.endswith(":") else value
    check_attributes(settings, found)
    for key, value in found.items():
        if value is None or "\0" in str(value):
            raise UsageError(f"{key}: not a value", hint=f"to take it away: --unset {key}")
    return found


def strict_json(text: str) -> Any:
    """What JSON says (RFC 8259), without NaN and infinities. Raises ValueError, RecursionError."""

    def refuse(name: str) -> Any:
        raise ValueError(name)

    return json.loads(text, parse_constant=refuse)


def _decoded(key: str, text: str) -> Any:
    try:
        return strict_json(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{key.removesuffix(':')}: not JSON: {text[:80]}") from error
