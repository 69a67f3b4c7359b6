"""Which column of a table holds what, for the sources that are tables."""

from collections.abc import Collection, Sequence

from svcctl.config.source import SourceMapping
from svcctl.errors import SourceError


class Columns:
    """The places in a row of what the source's settings name; None: the table does not say it.

    where, has: begin a message and its hint when a column is not there. Raises SourceError.
    """

    def __init__(
        self,
        source: SourceMapping,
        header: Sequence[str],
        known: Collection[str],
        where: str,
        has: str,
    ) -> None:
        self._source = source
        self._header = header
        self._where = where
        self._has = has
        self.username = self._index(source.username, "username")
        self.id = self._optional("id")
        self.active = self._optional("active")
        self.groups = self._optional("groups")
        mapped = {attribute: column for column, attribute in source.attributes.items()}
        named = {name: name for name in known if name in header}
        self.attributes = [
            (attribute, self._index(column, f"attributes.{column}"))
            for attribute, column in (named | mapped).items()
        ]

    def _optional(self, key: str) -> int | None:
        """A column that may be missing unless the configuration names it."""
        name = getattr(self._source, key)
        if key in self._source.model_fields_set or name in self._header:
            return self._index(name, key)
        return None

    def _index(self, name: str, key: str) -> int:
        if name in self._header:
            return self._header.index(name)
        raise SourceError(
            f"{self._where}: no column {name!r}, which the source's {key} names",
            hint=f"{self._has}: {', '.join(self._header)[:200]}",
        )
