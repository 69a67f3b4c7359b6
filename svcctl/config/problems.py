"""What is wrong with a configuration: a place, a message, a remedy; all of it, not the first."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

_BARE = re.compile(r"[A-Za-z0-9_-]{1,80}")
_LISTED = 12
_COMPARED = 1000
_LONGEST = 600
MAX_PROBLEMS = 100
"""More than these nobody reads; a file full of mistakes must not keep the machine busy."""
_WORDS = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "string": "text",
    "dict": "a table",
    "model": "a table",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "frozen_set": "a list",
    "path": "a path",
}
_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "true or false"),
    (int, "a whole number"),
    (float, "a number"),
    (str, "text"),
    (Mapping, "a table"),
    (list, "a list"),
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `key` is its place in the file, like `services.wiki.title`."""

    key: str
    message: str
    remedy: str = ""

    def __post_init__(self) -> None:
        if len(self.message) > _LONGEST:
            object.__setattr__(self, "message", f"{self.message[:_LONGEST]}…")

    def __str__(self) -> str:
        return f"{self.key}: {self.message}" + (f"; {self.remedy}" if self.remedy else "")


def dotted(path: Iterable[str | int], start: str = "") -> str:
    """The path as it would be written in the file: bare keys, quoted where they must be, `[2]`."""
    text = start
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + quoted(part)
    return text


def quoted(key: str) -> str:
    """A key as TOML writes it; a monstrous one is cut."""
    if _BARE.fullmatch(key):
        return key
    import json

    return json.dumps(key if len(key) <= 80 else f"{key[:79]}…", ensure_ascii=False)


def under(key: str, problems: Iterable[Problem]) -> Iterator[Problem]:
    """The same problems, their keys taken from `key`."""
    for problem in problems:
        yield replace(problem, key=f"{key}.{problem.key}")


def suggest(word: str, known: Iterable[str]) -> str:
    """The closest known words, or all of them when they are few."""
    import difflib

    names = sorted(set(known))[:_COMPARED]
    if close := difflib.get_close_matches(word[:80], names, n=2):
        return f"did you mean {' or '.join(close)}?"
    if not names:
        return ""
    more = ", …" if len(names) > _LISTED else ""
    return f"known: {', '.join(names[:_LISTED])}{more}"


def problems_in(
    error: ValidationError, model: type[BaseModel], table: Mapping[str, Any], start: str = ""
) -> list[Problem]:
    """What pydantic found in `table`, in our words; values of the file are never repeated.

    Of the branches of a union, those are kept that came furthest.
    """
    details = error.errors(include_url=False, include_input=False)[:MAX_PROBLEMS]
    found = [_locate(detail, table) for detail in details]
    problems = []
    for finding in found:
        siblings = [other for other in found if other.union == finding.union]
        if finding.union is not None and not finding.best_of(siblings):
            continue
        problem = _describe(finding, siblings, model, table, start)
        if problem not in problems:
            problems.append(problem)
    return problems


@dataclass(frozen=True, slots=True)
class _Finding:
    kind: str
    detail: Mapping[str, Any]
    path: tuple[str | int, ...]
    value: Any
    union: tuple[str | int, ...] | None
    """Where a branch of a union was entered, if one was."""

    @property
    def mismatch(self) -> bool:
        """Whether the value is of another type altogether, so that this branch was never meant."""
        return self.path == self.union and (
            self.kind.endswith("_type")
            or self.kind == "int_from_float"
            or (self.kind == "literal_error" and not isinstance(self.value, str))
        )

    def best_of(self, siblings: Sequence["_Finding"]) -> bool:
        deepest = max(len(other.path) for other in siblings)
        meant = [other for other in siblings if len(other.path) == deepest and not other.mismatch]
        if meant:
            return not self.mismatch and (len(self.path) == deepest or self.path != self.union)
        return self is siblings[0]


def _locate(detail: Mapping[str, Any], table: Mapping[str, Any]) -> _Finding:
    value: Any = table
    path: list[str | int] = []
    union: tuple[str | int, ...] | None = None
    last = len(detail["loc"]) - 1
    for index, part in enumerate(detail["loc"]):
        in_table = isinstance(value, Mapping) and part in value
        in_list = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if in_table or in_list:
            value = value[part]
            path.append(part)
        elif index == last and detail["type"] == "missing":
            path.append(part)
        elif part != "[key]":
            union = tuple(path)
    return _Finding(detail["type"], detail, tuple(path), value, union)


def _describe(
    finding: _Finding,
    siblings: Sequence[_Finding],
    model: type[BaseModel],
    table: Mapping[str, Any],
    start: str,
) -> Problem:
    key = dotted(finding.path, start)
    context = finding.detail.get("ctx", {})
    name = str(finding.path[-1]) if finding.path else ""
    fields = _fields_at(model, finding.path[:-1], table)
    about = (fields[name].description or "") if name in fields else ""
    match finding.kind:
        case "extra_forbidden":
            return Problem(key, "unknown key", suggest(name, fields))
        case "missing":
            return Problem(key, "missing", about)
        case "union_tag_not_found":
            tag = _quoted_words(context.get("discriminator", "type"))[0]
            return Problem(f"{key}.{tag}", "missing")
        case "union_tag_invalid":
            tag = _quoted_words(context["discriminator"])[0]
            tags = _quoted_words(context["expected_tags"])
            return Problem(f"{key}.{tag}", "unknown", suggest(str(context["tag"]), tags))
        case "value_error":
            return Problem(key, str(context["error"]))
        case "literal_error":
            message = f"must be {context['expected']}"
            return Problem(key, message.replace("'", '"'))
        case "string_pattern_mismatch":
            return Problem(key, "is not written as it must be", about)
    if finding.kind.endswith(("_type", "_parsing")):
        expected = siblings if finding.mismatch else (finding,)
        words = dict.fromkeys(_expected(other) for other in expected)
        return Problem(key, f"must be {' or '.join(words)}, not {_kind_of(finding.value)}")
    message = (
        str(finding.detail["msg"]).replace("Input should", "must").replace(" should ", " must ")
    )
    return Problem(key, message[:1].lower() + message[1:])


def _expected(finding: _Finding) -> str:
    if finding.kind == "literal_error":
        return str(finding.detail["ctx"]["expected"]).replace("'", '"')
    kind = re.sub("(_type|_parsing|_from_float)$", "", finding.kind)
    return _WORDS.get(kind, kind.replace("_", " "))


def _kind_of(value: Any) -> str:
    return next((word for kind, word in _KINDS if isinstance(value, kind)), type(value).__name__)


def _quoted_words(text: str) -> list[str]:
    return re.findall(r"'([^']*)'", text) or [text]


def _at(table: Any, path: Iterable[str | int]) -> Mapping[str, Any]:
    for part in path:
        table = table[part]
    return table if isinstance(table, Mapping) else {}


def _fields_at(
    model: type[BaseModel], path: Sequence[str | int], table: Mapping[str, Any]
) -> dict[str, FieldInfo]:
    """The fields that the table at `path` may have, by name."""
    annotations: list[Any] = [model]
    for part in path:
        annotations = [inner for outer in annotations for inner in _inside(outer, part)]
    models = [
        choice
        for annotation in annotations
        for choice in _choices(annotation)
        if isinstance(choice, type) and issubclass(choice, BaseModel)
    ]
    tag = _at(table, path).get("type")
    tagged = [choice for choice in models if tag in _tags(choice)]
    return {
        name: field for choice in tagged or models for name, field in choice.model_fields.items()
    }


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    field = model.model_fields.get("type")
    return get_args(field.annotation) if field and get_origin(field.annotation) is Literal else ()


def _choices(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _choices(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for choice in get_args(annotation):
            yield from _choices(choice)
    else:
        yield annotation


def _inside(annotation: Any, part: str | int) -> Iterator[Any]:
    for choice in _choices(annotation):
        if isinstance(choice, type) and issubclass(choice, BaseModel):
            if part in choice.model_fields:
                yield choice.model_fields[str(part)].annotation
        elif arguments := get_args(choice):
            yield arguments[1] if get_origin(choice) is dict else arguments[0]
