"""Texts with named placeholders, filled in as the place where they stand demands."""

from collections.abc import Iterator, Mapping
from string import Formatter
from typing import Any, Self
from urllib.parse import quote

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from svcctl.errors import Invalid


class Template(str):
    """Like `/users/{uid}`: names in braces, and nothing else of Python's formats. `{{` is a brace.

    What a value contains is never read as a template, and its attributes are out of reach.
    """

    __slots__ = ("_parts",)

    _parts: tuple[tuple[str, str | None], ...]

    def __new__(cls, text: str) -> Self:
        """Raises ValueError, naming the placeholder."""
        template = super().__new__(cls, text)
        template._parts = tuple(_parts(text))
        return template

    @property
    def names(self) -> frozenset[str]:
        """The placeholders."""
        return frozenset(name for _, name in self._parts if name is not None)

    @property
    def alone(self) -> str | None:
        """The placeholder, where the template is nothing else."""
        return self._parts[0][1] if len(self._parts) == 1 and not self._parts[0][0] else None

    def value(self, values: Mapping[str, Any]) -> Any:
        """A text; a placeholder that stands alone gives its value as it is, None if it has none."""
        if self.alone is not None:
            return values.get(self.alone)
        return "".join(
            before if name is None else before + _text(values.get(name))
            for before, name in self._parts
        )

    def path(self, values: Mapping[str, Any]) -> str:
        """For a URL's path: no value can end its segment, leave it out or climb out of it.

        Raises Invalid for a value that would (RFC 3986, 3.3).
        """
        filled = ""
        for before, name in self._parts:
            filled += before
            if name is not None:
                text = _text(values.get(name))
                if not text or {".", ".."}.intersection(text.replace("\\", "/").split("/")):
                    raise Invalid(f"{name}: {text!r} cannot stand in the path of a URL")
                filled += quote(text, safe="")
        return filled

    def header(self, values: Mapping[str, Any]) -> str:
        """For a header. Raises Invalid for a value that would end it (RFC 9110, 5.5)."""
        text = _text(self.value(values))
        if not (text.isascii() and text.isprintable()):
            raise Invalid(f"{self}: has a value that cannot stand in a header")
        return text

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, handler(str))


def templates(value: Any) -> Any:
    """A JSON value in which every text is a template. Raises ValueError."""
    match value:
        case str():
            return Template(value)
        case Mapping():
            return {str(key): templates(inner) for key, inner in value.items()}
        case list() | tuple():
            return [templates(inner) for inner in value]
        case None | bool() | int() | float():
            return value
    raise ValueError(f"a {type(value).__name__} has no place in JSON")


def templates_in(value: Any) -> Iterator[Template]:
    """Every template of a value that `templates` made."""
    match value:
        case Template():
            yield value
        case Mapping():
            for inner in value.values():
                yield from templates_in(inner)
        case list():
            for inner in value:
                yield from templates_in(inner)


def filled(value: Any, values: Mapping[str, Any]) -> Any:
    """`value` with its templates filled in; what has no value is left out of objects and lists."""
    match value:
        case Template():
            return value.value(values)
        case Mapping():
            entries = {key: filled(inner, values) for key, inner in value.items()}
            return {key: inner for key, inner in entries.items() if inner is not None}
        case list():
            items = [filled(inner, values) for inner in value]
            return [inner for inner in items if inner is not None]
    return value


def parameters(
    templates: Mapping[str, Template], values: Mapping[str, Any]
) -> dict[str, str | list[str]]:
    """For a query or a form: a list gives its parameter several times.

    An empty one gives it once, empty and without the [] that PHP's lists have: it is not left out,
    or the service would leave everything as it is.
    """
    given: dict[str, str | list[str]] = {}
    for name, template in templates.items():
        value = template.value(values)
        if isinstance(value, (list, tuple)) and not value:
            given[name.removesuffix("[]")] = ""
        elif isinstance(value, (list, tuple)):
            given[name] = [_text(item) for item in value]
        elif value is not None:
            given[name] = _text(value)
    return given


def _parts(text: str) -> Iterator[tuple[str, str | None]]:
    """Literal text, and the placeholder that follows it."""
    try:
        parsed = list(Formatter().parse(text))
    except ValueError:
        raise ValueError("a brace stands alone; write {{ or }} for one") from None
    for before, name, spec, conversion in parsed:
        if name is not None and (spec or conversion or not name.isidentifier()):
            raise ValueError(f"{{{name}}}: a placeholder is a name alone, like {{uid}}")
        yield before, name


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
