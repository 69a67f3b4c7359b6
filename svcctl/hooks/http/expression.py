"""JMESPath expressions (https://jmespath.org): where in a JSON answer something stands."""

from typing import Any, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


class Expression(str):
    """A JMESPath expression, compiled when the configuration is read."""

    __slots__ = ("_compiled",)

    _compiled: Any

    def __new__(cls, text: str) -> Self:
        """Raises ValueError with the reason."""
        import jmespath
        from jmespath.exceptions import JMESPathError

        expression = super().__new__(cls, text)
        try:
            expression._compiled = jmespath.compile(text)
        except JMESPathError as error:
            said = str(error).splitlines()[0].removesuffix(":")
            raise ValueError(f"not a JMESPath expression: {said}") from None
        _check_functions(expression._compiled.parsed)
        return expression

    def of(self, document: Any) -> Any:
        """What stands there, None: nothing, or not of the kind that a function in it takes."""
        from jmespath.exceptions import JMESPathError

        try:
            return self._compiled.search(document)
        except (JMESPathError, RecursionError):
            return None

    def holds(self, document: Any) -> bool:
        """Whether it gives anything but null, false, "", [] and {} (JMESPath's truth)."""
        found = self.of(document)
        return found is not None and found is not False and found not in ("", [], {})

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, handler(str))


def _check_functions(node: dict[str, Any]) -> None:
    """JMESPath looks for its functions only when an answer is there. Raises ValueError."""
    from jmespath.functions import Functions

    if node["type"] == "function_expression":
        name, given = node["value"], len(node["children"])
        if name not in Functions.FUNCTION_TABLE:
            raise ValueError(f"not a JMESPath expression: no function is called {name}")
        wanted = Functions.FUNCTION_TABLE[name]["signature"]
        variadic = bool(wanted) and wanted[-1].get("variadic", False)
        if given < len(wanted) or (given > len(wanted) and not variadic):
            raise ValueError(f"not a JMESPath expression: {name} takes {len(wanted)} arguments")
    for child in node["children"]:
        if isinstance(child, dict):
            _check_functions(child)
