"""The values of settings as a whole: paths made absolute, secrets found, masked and revealed."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from pydantic import BaseModel

from svcctl.config.problems import dotted
from svcctl.config.secrets import Secret
from svcctl.config.service import write_duration
from svcctl.config.source import DatabaseUrl

_SECRET_NAME = re.compile(r"(password|passwd|passphrase|secret|token|api_?key)s?$", re.IGNORECASE)
_PASSWORD_IN_URL = re.compile(r"(?<=://)([^\s/@:]*):[^\s@]*(?=@)")
HIDDEN = "***"


def anchored(value: Any, folder: Path, key: str) -> Any:
    """`value` with every relative path, also in URLs and secrets, taken from `folder`.

    `key` is the value's place in the configuration, for the messages of secrets. What needs no
    change stays the same object, so that `model_fields_set` goes on telling what was configured.
    """
    match value:
        case Path():
            return folder / os.path.expanduser(value)  # noqa: PTH111 - never raises
        case Secret() | DatabaseUrl():
            return value.placed(folder, key)
        case BaseModel():
            old = {name: getattr(value, name) for name in type(value).model_fields}
            new = {name: anchored(old[name], folder, dotted((name,), key)) for name in old}
            changed = {name: new[name] for name in old if new[name] is not old[name]}
            return value.model_copy(update=changed) if changed else value
        case Mapping():
            table = {
                name: anchored(item, folder, dotted((str(name),), key))
                for name, item in value.items()
            }
            return table if any(table[name] is not value[name] for name in table) else value
        case list() | tuple() | set() | frozenset():
            items = list(value)
            placed = [anchored(item, folder, f"{key}[{index}]") for index, item in enumerate(items)]
            same = all(new is old for new, old in zip(placed, items, strict=True))
            return value if same else type(value)(placed)
    return value


def secrets_in(value: Any, key: str) -> Iterator[tuple[str, Secret]]:
    """Every secret in `value`, with its place."""
    match value:
        case Secret():
            yield key, value
        case BaseModel():
            for name in type(value).model_fields:
                yield from secrets_in(getattr(value, name), dotted((name,), key))
        case Mapping():
            for name, item in value.items():
                yield from secrets_in(item, dotted((str(name),), key))
        case list() | tuple() | set() | frozenset():
            for index, item in enumerate(value):
                yield from secrets_in(item, f"{key}[{index}]")


def revealed(value: Any) -> Any:
    """`value` with secrets, also those in lists and dicts, replaced by what they stand for."""
    match value:
        case Secret():
            return value.reveal()
        case Mapping():
            return {name: revealed(item) for name, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return type(value)(revealed(item) for item in value)
    return value


def redacted(text: str, private: Iterable[str]) -> str:
    """`text` without these values, also where they are escaped as JSON, twice, or as in a URL."""
    forms: set[str] = set()
    for value in filter(None, private):
        once = json.dumps(value)[1:-1]
        forms |= {value, once, json.dumps(once)[1:-1], quote(value, safe=""), quote_plus(value)}
    # The longest first, so that none is left in part.
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, HIDDEN)
    return text


def plain(value: Any, *, name: str = "") -> Any:
    """`value` as JSON knows it, always in the same order, for people: secrets are masked."""
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            if value and _SECRET_NAME.search(name):
                return HIDDEN
            return mask_url(str(value))
        case Path():
            return str(value)
        case timedelta():
            return write_duration(value)
        case Secret():
            return value.masked
        case BaseModel():
            return {
                field: plain(getattr(value, field), name=field)
                for field in type(value).model_fields
            }
        case Mapping():
            return {str(key): plain(item, name=str(key)) for key, item in value.items()}
        case list() | tuple():
            return [plain(item, name=name) for item in value]
        case set() | frozenset():
            return [plain(item, name=name) for item in sorted(value, key=str)]
    return str(value)


def mask_url(text: str) -> str:
    """`text` without the password of a URL in it."""
    return _PASSWORD_IN_URL.sub(rf"\1:{HIDDEN}", text)
