"""The context of a run as text and back: every value comes back as it was, or is refused by name.

What JSON has stands as it is; anything else is a table with one key, the kind: `{"tuple": [1]}`. A
dict is `{"dict": {"a": 1}}`, or `{"items": [[1, "a"]]}` where a key is not text.

social-core saves some types, drops others in silence, and gives lists for tuples. Here a type that
is not in `PLAIN` is an error. So are subclasses, which could not be made again without importing
what the text names: a step that leaves a MultiDict, a member of an enum or a named tuple in the
context has to make it plain itself.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, NoReturn

from svcctl.config.problems import dotted
from svcctl.errors import PipelineError
from svcctl.pipeline.scalars import KINDS, SCALARS, SMALL, Malformed, Scalar, Unsavable, is_json, of

MAX_DEPTH = 64
MAX_SIZE = 2**20
"""Characters of the text. A response has kilobytes: a larger context is a mistake."""

_CONTAINERS: Mapping[type[Any], str] = {
    list: "list",
    tuple: "tuple",
    set: "set",
    frozenset: "frozenset",
}
PLAIN: tuple[type, ...] = (type(None), bool, *SCALARS, dict, *_CONTAINERS)
"""The types that are saved, besides the store's own records."""

Reference = tuple[str, int | str]
"""A record of the store: its kind and its key, like `("user", 7)`."""

_Path = tuple[str | int, ...]
_AGAIN = "abort it, and run the pipeline from the start"


def dump(value: Any, *, reference: Callable[[Any], Reference | None]) -> str:
    """The value as text that UTF-8 can hold.

    `reference` is asked about every object whose type is not in `PLAIN`; None is "no record".
    Raises PipelineError, which names the place: `response.profile.photo: a Foo cannot be saved`.
    """
    return _Writer(reference).text(value)


def load(text: str, *, resolve: Callable[[Reference], Any]) -> Any:
    """The value that `dump` was given; records are what `resolve` makes of their references.

    `resolve` returns None for a record that is gone or of a kind that it does not know. Nothing
    that the text names is imported or called, whoever wrote it. Raises PipelineError, which names
    the place.
    """
    return _Reader(resolve).value(text)


class _Writer:
    def __init__(self, reference: Callable[[Any], Reference | None]) -> None:
        self._reference = reference
        self._room = MAX_SIZE

    def text(self, value: Any) -> str:
        text = json.dumps(self._write(value, ()), ensure_ascii=False, separators=(",", ":"))
        if len(text) > MAX_SIZE:
            _too_large(())
        return text

    def _write(self, value: Any, path: _Path) -> Any:
        if len(path) > MAX_DEPTH:
            _refuse(path[:3], f"more than {MAX_DEPTH} levels deep", "or does it contain itself?")
        kind = type(value)
        if is_json(value):
            self._take(len(value) if kind is str else 1, path)
            return value
        self._take(1, path)
        if kind is dict:
            return self._dict(value, path)
        if kind in _CONTAINERS:
            items = [self._write(item, (*path, index)) for index, item in enumerate(value)]
            if kind in (set, frozenset):
                items.sort(key=json.dumps)
            return items if kind is list else {_CONTAINERS[kind]: items}
        if kind in SCALARS:
            return self._scalar(SCALARS[kind], value, path)
        record = self._reference(value)
        if record is None:
            _refuse_type(value, path)
        return {"record": list(record)}

    def _scalar(self, scalar: Scalar, value: Any, path: _Path) -> Any:
        try:
            payload = scalar.write(value)
        except Unsavable as error:
            _refuse(path, *error.args)
        self._take(len(payload), path)
        return {scalar.kind: payload}

    def _dict(self, value: dict[Any, Any], path: _Path) -> Any:
        if all(type(key) is str and is_json(key) for key in value):
            self._take(sum(map(len, value)), path)
            return {"dict": {key: self._write(item, (*path, key)) for key, item in value.items()}}
        return {
            "items": [
                [self._write(part, (*path, _part(key))) for part in (key, item)]
                for key, item in value.items()
            ]
        }

    def _take(self, size: int, path: _Path) -> None:
        """Stop at what is too large while it is read, before it fills the memory."""
        self._room -= size
        if self._room < 0:
            _too_large(path)


class _Reader:
    def __init__(self, resolve: Callable[[Reference], Any]) -> None:
        self._resolve = resolve

    def value(self, text: str) -> Any:
        if len(text) > MAX_SIZE:
            _damaged((), f"more than {MAX_SIZE // 2**20} MiB")
        try:
            document = json.loads(
                text,
                object_pairs_hook=_unique,
                parse_constant=_no_number,
                parse_float=_float,
                parse_int=_int,
            )
        except json.JSONDecodeError as error:
            _damaged((), f"no JSON at character {error.pos}")
        except RecursionError:
            _damaged((), "nested too deeply")
        except ValueError as error:
            _damaged((), str(error))
        return self._read(document, ())

    def _read(self, document: Any, path: _Path) -> Any:
        if len(path) > MAX_DEPTH:
            _damaged(path[:3], f"more than {MAX_DEPTH} levels deep")
        if isinstance(document, list):
            return self._list(document, path)
        if not isinstance(document, dict):
            return document
        if len(document) != 1:
            _damaged(path, "a table must have one key, the kind of the value")
        ((kind, payload),) = document.items()
        try:
            return self._make(kind, payload, path)
        except Malformed:
            _damaged(path, f"no value of the kind {kind[:40]}")

    def _make(self, kind: str, payload: Any, path: _Path) -> Any:
        match kind:
            case "dict":
                table = of(dict, payload)
                return {key: self._read(item, (*path, key)) for key, item in table.items()}
            case "items":
                pairs = [self._pair(of(list, pair), path) for pair in of(list, payload)]
                return _collected(dict, pairs)
            case "tuple":
                return tuple(self._list(payload, path))
            case "set":
                return _collected(set, self._list(payload, path))
            case "frozenset":
                return _collected(frozenset, self._list(payload, path))
            case "record":
                return self._record(of(list, payload), path)
        if kind not in KINDS:
            raise Malformed
        return KINDS[kind].read(payload)

    def _list(self, payload: Any, path: _Path) -> list[Any]:
        return [self._read(item, (*path, index)) for index, item in enumerate(of(list, payload))]

    def _pair(self, pair: list[Any], path: _Path) -> tuple[Any, Any]:
        if len(pair) != 2:
            raise Malformed
        key = self._read(pair[0], (*path, "(key)"))
        return key, self._read(pair[1], (*path, _part(key)))

    def _record(self, payload: list[Any], path: _Path) -> Any:
        if len(payload) != 2 or type(payload[0]) is not str or type(payload[1]) not in (int, str):
            raise Malformed
        kind, key = payload
        record = self._resolve((kind, key))
        if record is None:
            raise PipelineError(f"{_place(path)}: there is no {kind} {key} any more", hint=_AGAIN)
        return record


def _collected(make: Callable[[Iterable[Any]], Any], members: list[Any]) -> Any:
    """A collection of all these members. Raises Malformed where one is there twice."""
    try:
        collection = make(members)
    except TypeError:  # not hashable
        raise Malformed from None
    if len(collection) != len(members):
        raise Malformed
    return collection


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key is there twice")
    return table


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text[:40]} is not a number that JSON has")


def _int(text: str) -> int:
    if len(text) > 20 or (value := int(text)) not in SMALL:
        _no_number(text)
    return value


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        _no_number(text)
    return value


def _part(key: Any) -> str | int:
    """A key of a dict as a part of a path for people."""
    if type(key) is str or (type(key) is int and key in SMALL):
        return key
    return f"({type(key).__name__})"


def _place(path: _Path) -> str:
    return dotted(path) or "the context"


def _refuse(path: _Path, problem: str, hint: str) -> NoReturn:
    raise PipelineError(f"{_place(path)}: {problem}", hint=hint) from None


def _too_large(path: _Path) -> NoReturn:
    hint = "a step that pauses should not leave that much in the context"
    _refuse(path[:1], f"more than {MAX_SIZE // 2**20} MiB", hint)


def _refuse_type(value: Any, path: _Path) -> NoReturn:
    base = next((kind.__name__ for kind in PLAIN[2:] if isinstance(value, kind)), None)
    if isinstance(value, Enum):
        hint = "the step should return its value: member.value"
    elif isinstance(value, Mapping):
        hint = "the step should return a plain dict: dict(...)"
    elif base:
        hint = f"the step should return a plain {base}"
    else:
        hint = f"what can be saved: {', '.join(kind.__name__ for kind in PLAIN)}"
    name = type(value).__name__
    article = "an" if name[:1] in "AEIOUaeiou" else "a"
    _refuse(path, f"{article} {name} cannot be saved", hint)


def _damaged(path: _Path, problem: str) -> NoReturn:
    raise PipelineError(f"{_place(path)}: not as it was saved: {problem}", hint=_AGAIN) from None
