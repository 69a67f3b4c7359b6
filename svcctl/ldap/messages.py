"""What goes over a connection to a directory server: entries, changes, controls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from svcctl.errors import Incomplete

PAGED = "1.2.840.113556.1.4.319"
"""Simple paged results (RFC 2696)."""
POST_READ = "1.3.6.1.1.13.2"
"""The entry as a change left it (RFC 4527, 3.2)."""

Control = tuple[str, bool, bytes | None]
"""OID, whether it must be heeded, value (RFC 4511, 4.1.11)."""
Change = tuple[str, str, Sequence[bytes]]
"""`add`, `delete` or `replace`, an attribute, values; to replace by none is to remove."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as the server shows it, with as many values of an attribute as there are.

    dn: the distinguished name. values: by the attribute's name in lower case, as octets.

    controls: what the server said of the entry besides (RFC 4511, 4.1.11), by OID.
    """

    dn: str
    values: Mapping[str, list[bytes]]
    controls: Mapping[str, bytes]

    def raw(self, attribute: str) -> bytes | None:
        """The first value."""
        return next(iter(self.values.get(attribute.lower(), ())), None)

    def texts(self, attribute: str) -> list[str]:
        """All values as text. Raises Incomplete for one that is none."""
        try:
            return [value.decode() for value in self.values.get(attribute.lower(), ())]
        except UnicodeDecodeError:
            raise Incomplete(f"{self.dn}: {attribute} is not text") from None

    def text(self, attribute: str) -> str | None:
        """The first value as text."""
        return next(iter(self.texts(attribute)), None)
