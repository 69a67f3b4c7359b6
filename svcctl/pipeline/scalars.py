"""Values that JSON does not have: how each is written with what JSON has, and read again."""

import base64
import math
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

SMALL = range(-(2**63), 2**63)
"""The integers that stand as numbers; other programs cannot read larger ones either."""

_Moment = TypeVar("_Moment", datetime, time)


class Unsavable(Exception):
    """A value that cannot be written, though others of its type can: the problem and a hint."""


class Malformed(Exception):
    """Something was read that nothing is written as."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """The name under which a type is written, and its way to JSON and back.

    `write` raises Unsavable, `read` Malformed.
    """

    kind: str
    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def is_json(value: Any) -> bool:
    """Whether JSON, read by anybody, has exactly this scalar, and UTF-8 can hold it."""
    match value:
        case None | bool():
            return True
        case str() if type(value) is str:
            try:
                value.encode()
            except UnicodeEncodeError:
                # JSON's escapes would do, but join two halves of surrogate pairs that stood apart.
                return False
            return True
        case int() if type(value) is int:
            return value in SMALL
        case float() if type(value) is float:
            return math.isfinite(value)
    return False


def of(kind: type[Any], payload: Any) -> Any:
    """The payload, if it is of this type. Raises Malformed."""
    if type(payload) is not kind:
        raise Malformed
    return payload


def _scalar(kind: str, write: Callable[[Any], Any], read: Callable[[Any], Any]) -> Scalar:
    def careful(payload: Any) -> Any:
        try:
            return read(payload)
        # Arithmetic and OS errors: decimals that are none, time zones that are folders.
        except (ValueError, TypeError, LookupError, ArithmeticError, OSError, struct.error):
            raise Malformed from None

    return Scalar(kind, write, careful)


def _text(kind: str, write: Callable[[Any], str], read: Callable[[str], Any]) -> Scalar:
    return _scalar(kind, write, lambda payload: read(of(str, payload)))


def _integer(text: str) -> int:
    if not re.fullmatch("-?[0-9a-f]+", text):
        raise Malformed
    return int(text, 16)


def _timedelta(payload: Any) -> timedelta:
    days, seconds, microseconds = (of(int, part) for part in of(list, payload))
    return timedelta(days, seconds, microseconds)


def _write_moment(value: datetime | time) -> list[Any]:
    naive = value.replace(tzinfo=None, fold=0)
    return [naive.isoformat(), value.fold, _write_zone(value.tzinfo)]


def _moment(parse: Callable[[str], _Moment], payload: Any) -> _Moment:
    text, fold, zone = of(list, payload)
    naive = parse(of(str, text))
    if naive.tzinfo is not None:
        raise Malformed
    return naive.replace(tzinfo=_zone(zone), fold=of(int, fold))


def _write_zone(zone: tzinfo | None) -> Any:
    """Its name in the time zone database; or its offset and, where it was given one, its name."""
    match zone:
        case None:
            return None
        case timezone():
            offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]
            return [[offset.days, offset.seconds, offset.microseconds], *name]
        case ZoneInfo(key=str(key)) if type(zone) is ZoneInfo:
            return key
    raise Unsavable(
        f"a time zone of {type(zone).__module__} cannot be saved",
        "use datetime.timezone or zoneinfo.ZoneInfo",
    )


def _zone(zone: Any) -> tzinfo | None:
    if zone is None:
        return None
    if type(zone) is str:
        return ZoneInfo(zone)
    offset, *name = of(list, zone)
    return timezone(_timedelta(offset), *(of(str, part) for part in name))


SCALARS: Mapping[type[Any], Scalar] = {
    str: _text(
        "str",
        lambda value: value.encode("utf-8", "surrogatepass").hex(),
        lambda text: bytes.fromhex(text).decode("utf-8", "surrogatepass"),
    ),
    int: _text("int", "{:x}".format, _integer),
    float: _text(
        "float",
        lambda value: struct.pack(">d", value).hex(),
        lambda text: struct.unpack(">d", bytes.fromhex(text))[0],
    ),
    bytes: _text(
        "bytes",
        lambda value: base64.b64encode(value).decode(),
        lambda text: base64.b64decode(text, validate=True),
    ),
    datetime: _scalar(
        "datetime", _write_moment, lambda payload: _moment(datetime.fromisoformat, payload)
    ),
    date: _text("date", date.isoformat, date.fromisoformat),
    time: _scalar("time", _write_moment, lambda payload: _moment(time.fromisoformat, payload)),
    timedelta: _scalar(
        "timedelta",
        lambda value: [value.days, value.seconds, value.microseconds],
        _timedelta,
    ),
    Decimal: _text("decimal", str, Decimal),
    UUID: _text("uuid", lambda value: value.hex, UUID),
}
"""By type; a text or a number is only written so where `is_json` is false."""

KINDS: Mapping[str, Scalar] = {scalar.kind: scalar for scalar in SCALARS.values()}
