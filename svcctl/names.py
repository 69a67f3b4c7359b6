"""Names on services: formats with named placeholders, and what a service accepts as a name."""

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from svcctl.errors import Invalid
from svcctl.model import User

ATTRIBUTES = frozenset(
    {
        "character_id",
        "character_name",
        "corp_id",
        "corp_name",
        "corp_ticker",
        "alliance_id",
        "alliance_name",
        "alliance_ticker",
        "email",
    }
)
"""The user attributes that a format may always name, whether or not a source fills them."""

_FIRST_OF = {
    "alliance_or_corp_name": ("alliance_name", "corp_name"),
    "alliance_or_corp_ticker": ("alliance_ticker", "corp_ticker"),
}

PLACEHOLDERS = (ATTRIBUTES - {"email"}) | _FIRST_OF.keys() | {"username"}
"""The eleven placeholders of Alliance Auth's name formats."""

MAX_FORMAT = 200
MAX_WIDTH = 64

_SPEC = r"(?s:.?[<>^])?(?P<width>[0-9]*)(?:\.(?P<precision>[0-9]+))?s?"
_CONVERSIONS: Mapping[str, Callable[[str], str]] = {"s": str, "r": repr, "a": ascii}

_Shape = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class NameFormat:
    """A name format such as `[{corp_ticker}] {character_name}`.

    Fields are plain names with an optional conversion and format spec; a value's attributes and
    items are out of reach, and what a value contains is never read as a format.
    Raises ValueError, naming the position and what is allowed.
    Source: PEP 3101, and the placeholders of Alliance Auth's NameFormatter.
    """

    text: str
    fields: frozenset[str] = field(init=False, repr=False, compare=False)
    _template: str = field(init=False, repr=False, compare=False)
    _plan: tuple[tuple[str, str | None, _Shape | None], ...] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        template, parsed = _parse(self.text)
        # `character_name` falls back to the username: the second name, as for alliance_or_corp_*.
        plan = (
            (*_FIRST_OF.get(name, (name, "username" if name == "character_name" else None)), shape)
            for name, shape in parsed
        )
        object.__setattr__(self, "fields", frozenset(name for name, _ in parsed))
        object.__setattr__(self, "_template", template)
        object.__setattr__(self, "_plan", tuple(plan))

    def check(self, known: frozenset[str] = frozenset()) -> None:
        """Raise ValueError for a placeholder that is neither well known nor in `known`.

        `known`: the other attributes that the directory has.
        """
        allowed = PLACEHOLDERS | ATTRIBUTES | known
        unknown = min(self.fields - allowed, key=self.text.find, default=None)
        if unknown is None:
            return
        from difflib import get_close_matches

        close = get_close_matches(unknown, sorted(allowed), n=1)
        advice = (
            f"did you mean {{{close[0]}}}?" if close else f"allowed: {', '.join(sorted(allowed))}"
        )
        raise ValueError(f"{{{unknown}}}: no such placeholder; {advice}")

    def render(self, user: User, *, default_to_username: bool = True) -> str:
        """The name of `user`, without blanks at its ends; what is missing is empty.

        `default_to_username`: {character_name} of a user without one is the username.
        """
        attributes = user.attributes
        values: list[str] = []
        value: Any
        for name, other, shape in self._plan:
            if name == "username":
                value = user.username
            else:
                value = attributes.get(name)
                if value.__class__ is not str:
                    value = _text(value)
                if not value and other is not None:
                    if other != "username":
                        value = _text(attributes.get(other))
                    elif default_to_username:
                        value = user.username
            values.append(value if shape is None else shape(value))
        return (self._template % tuple(values)).strip()


def _text(value: Any) -> str:
    """A scalar as text; None and whatever holds several values is empty."""
    if value is None:
        return ""
    if isinstance(value, (str, int, float)):
        return str(value)
    return "" if isinstance(value, (list, tuple, set, frozenset, Mapping)) else str(value)


def _parse(text: str) -> tuple[str, list[tuple[str, _Shape | None]]]:
    """The literal text as a %-template, and the fields in their order."""
    if len(text) > MAX_FORMAT:
        raise ValueError(f"a name format of {len(text)} characters; at most {MAX_FORMAT}")
    literal: list[str] = []
    fields: list[tuple[str, _Shape | None]] = []
    position = 0
    while position < len(text):
        char = text[position]
        if text.startswith(("{{", "}}"), position):
            literal.append(char)
            position += 2
        elif char == "{":
            end = text.find("}", position)
            body = text[position + 1 : end] if end >= 0 else text[position + 1 :]
            where = f"position {position + 1}"
            if "{" in body and ":" in body[: body.index("{")]:
                raise ValueError(
                    f"{where}: a placeholder inside a format spec; write the width as a number"
                )
            if end < 0 or "{" in body:
                raise ValueError(f"{where}: '{{' is not closed; write '{{{{' for a brace")
            fields.append(_parse_field(body, where))
            literal.append("%s")
            position = end + 1
        elif char == "}":
            raise ValueError(
                f"position {position + 1}: '}}' closes nothing; write '}}}}' for a brace"
            )
        else:
            literal.append("%%" if char == "%" else char)
            position += 1
    return "".join(literal), fields


def _parse_field(body: str, where: str) -> tuple[str, _Shape | None]:
    here = f"{where}: {{{body}}}"
    head, colon, spec = body.partition(":")
    name, bang, conversion = head.partition("!")
    if not name or name.isdigit():
        raise ValueError(f"{here}: a positional field; allowed: names, like {{character_name}}")
    if "." in name or "[" in name or "]" in name:
        raise ValueError(
            f"{here}: attributes and items of a value are out of reach; allowed: a name alone"
        )
    if bang and conversion not in _CONVERSIONS:
        raise ValueError(f"{here}: an unknown conversion; allowed: !r, !s, !a")
    shape = re.fullmatch(_SPEC, spec)
    if shape is None:
        raise ValueError(
            f"{here}: not a format spec for text; allowed: [[fill]<>^][width][.precision]"
        )
    for part in ("width", "precision"):
        if int(shape[part] or 0) > MAX_WIDTH:
            raise ValueError(f"{here}: {part} {int(shape[part])}; at most {MAX_WIDTH}")
    if not bang and not colon:
        return name, None
    return name, functools.partial(_shape, _CONVERSIONS[conversion or "s"], spec)


def _shape(convert: _Shape, spec: str, value: str) -> str:
    return format(convert(value), spec)


# Nobody sees these, and two names that differ by them alone look the same: control characters,
# marks and overrides of direction, zero-width characters, variation selectors, tags, fillers that
# show as nothing, line separators, and lone surrogates, which have no encoding.
_UNSEEN = (
    r"\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    r"\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_CLASS_CONTENT = r"(?s:\\.|[^\\\]])+"
# Each round only undoes what the one before made possible (`e`, an unseen character, an accent).
_ROUNDS = 10
_SHOWN = 80


@functools.cache
def _unseen() -> re.Pattern[str]:
    return re.compile(f"[{_UNSEEN}]+")


@functools.cache
def _outside(characters: str) -> re.Pattern[str]:
    if not re.fullmatch(_CLASS_CONTENT, characters):
        raise ValueError(f"characters: {characters!r} does not stay within [ ]; write \\] for a ]")
    try:
        return re.compile(f"[^{characters}]+")
    except re.error as error:
        raise ValueError(f"characters: [{characters}] is no character class: {error}") from error


@functools.cache
def _runs(characters: str) -> re.Pattern[str]:
    return re.compile(f"([{re.escape(characters)}])\\1+")


def _upper_first(text: str) -> str:
    """Where the capital of the first letter is one character, unlike that of ß."""
    capital = text[:1].upper()
    return _compose(capital + text[1:]) if len(capital) == 1 else text


@functools.cache
def _folded(names: frozenset[str]) -> frozenset[str]:
    return frozenset(map(_fold, names))


def _compose(text: str) -> str:
    """NFC: what looks the same is the same."""
    if text.isascii():
        return text
    # A library of its own that most directories never need.
    from unicodedata import normalize

    return normalize("NFC", text)


def _fold(text: str) -> str:
    """Caseless form. Source: The Unicode Standard, 3.13, D145 (canonical caseless match)."""
    if text.isascii():
        return text.lower()
    from unicodedata import normalize

    return normalize("NFC", normalize("NFD", text).casefold())


@dataclass(frozen=True, slots=True)
class NameRule:
    r"""What a service accepts as a name, and how a name is made to fit. Hooks declare it.

    In this order: Unicode NFC, `replace`, `lower`, drop what is not allowed, `squeeze`, `strip` the
    ends, `upper_first`, cut. Control, direction and zero-width characters are always dropped.
    Applying twice changes nothing.

    replace: single characters and what stands in their place, e.g. `{" ": "_"}`.
    characters: the allowed ones as in a regular expression's brackets, e.g. `r"\w.-"`; None: all.
    squeeze: characters of which several in a row become one.
    strip: characters taken off both ends, also where a cut leaves them there.
    upper_first: the first letter is a capital, and `ada` the same name as `Ada`.
    max_length: in code points; max_bytes: in UTF-8. Characters are never split.
    reserved: names that the service keeps for itself.
    case_sensitive: False where the service takes `Ada` and `ada` for the same name.

    Raises ValueError for a rule that contradicts itself.
    """

    replace: Mapping[str, str] = field(default_factory=dict, hash=False)
    characters: str | None = None
    lower: bool = False
    strip: str = " "
    min_length: int = 1
    max_length: int | None = None
    reserved: frozenset[str] = frozenset()
    case_sensitive: bool = True
    max_bytes: int | None = None
    squeeze: str = ""
    upper_first: bool = False

    def __post_init__(self) -> None:
        replace = {_compose(old): _compose(new) for old, new in self.replace.items()}
        for old, new in replace.items():
            if len(old) != 1:
                raise ValueError(f"replace: {old!r} is not a single character")
            outcome = new + new.lower() if self.lower else new
            if any(key in outcome for key in replace):
                raise ValueError(f"replace: {old!r} becomes {new!r}, which is replaced itself")
        for limit in (self.max_length, self.max_bytes):
            if limit is not None and limit < max(1, self.min_length):
                raise ValueError(f"a name of at most {limit} cannot have {self.min_length} or more")
        if self.characters is not None:
            _outside(self.characters)
        if self.lower and self.upper_first:
            raise ValueError("lower and upper_first contradict each other")
        object.__setattr__(self, "replace", MappingProxyType(replace))

    def apply(self, name: str) -> str:
        """`name` as the service takes it. Raises Invalid if that is too short or reserved."""
        result = self._fit(name)
        if result != name:
            for _ in range(_ROUNDS):
                before, result = result, self._fit(result)
                if result == before:
                    break
            else:
                raise Invalid(f"{_show(name)}: the name rule comes to no end on it")
        if len(result) < self.min_length:
            raise Invalid(f"{_show(name)}: {self._shortage(result)}")
        if self.reserved and self._is_reserved(result):
            raise Invalid(f"{_show(name)}: {result!r} is reserved on this service")
        return result

    def key(self, name: str) -> str:
        """What two names on the service are compared by: equal keys are the same name there."""
        if not self.case_sensitive:
            return _fold(name)
        return _upper_first(_compose(name)) if self.upper_first else _compose(name)

    def _fit(self, name: str) -> str:
        text = _compose(name)
        # One after the other is all at once: no replacement contains a character to replace.
        for old, new in self.replace.items():
            text = text.replace(old, new)
        if self.lower:
            text = text.lower()
        if not (text.isascii() and text.isprintable()):
            text = _unseen().sub("", text)
        if self.characters is not None:
            text = _outside(self.characters).sub("", text)
        if self.squeeze:
            text = _runs(self.squeeze).sub(r"\1", text)
        text = text.strip(self.strip)
        if self.upper_first and self._allows(text[:1].upper()):
            text = _upper_first(text)
        text = text[: self.max_length]
        if self.max_bytes is not None and len(text) * 4 > self.max_bytes:
            text = text.encode()[: self.max_bytes].decode(errors="ignore")
        return text.strip(self.strip)

    def _allows(self, text: str) -> bool:
        return self.characters is None or _outside(self.characters).search(text) is None

    def _is_reserved(self, name: str) -> bool:
        if self.case_sensitive:
            return name in self.reserved
        return _fold(name) in _folded(self.reserved)

    def _shortage(self, result: str) -> str:
        left = f"only {result!r} is left" if result else "nothing is left"
        allowed = "" if self.characters is None else f", allowed are {self.characters}"
        return f"{left} of it, the service wants {self.min_length} or more characters{allowed}"


def _show(name: str) -> str:
    return repr(name if len(name) <= _SHOWN else name[:_SHOWN] + "…")
