"""Plain values written as TOML, in the order given: tables last, unset keys as comments."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_CONTROL = re.compile(r"[\x7f-\x9f]")


def to_toml(tables: Mapping[str, Any]) -> str:
    """The document. None becomes `# key = (not set)`. Source: TOML 1.0."""
    return "\n".join(_table(tables, "")).strip() + "\n"


def _table(table: Mapping[str, Any], path: str) -> Iterator[str]:
    inner = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    nested = {key: value for key, value in inner.items() if _worth_a_header(value)}
    if path and (len(nested) < len(table) or not table):
        yield f"[{path}]"
    for key, value in table.items():
        if value is None:
            yield f"# {_key(key)} = (not set)"
        elif key not in nested:
            yield f"{_key(key)} = {_value(value)}"
    if len(nested) < len(table):
        yield ""
    for key, value in nested.items():
        yield from _table(value, f"{path}.{_key(key)}" if path else _key(key))


def _worth_a_header(table: Mapping[str, Any]) -> bool:
    """Small tables of plain values, such as references to secrets, stay in one line."""
    return len(table) > 1 or any(isinstance(value, Mapping) for value in table.values())


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _text(value)
        case Mapping():
            inside = [
                f"{_key(key)} = {_value(item)}" for key, item in value.items() if item is not None
            ]
            return f"{{ {', '.join(inside)} }}" if inside else "{}"
        case list():
            return f"[{', '.join(map(_value, value))}]"
    return str(value)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)


def _text(text: str) -> str:
    """A basic string. Source: TOML 1.0, String."""
    return _CONTROL.sub(
        lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False)
    )
