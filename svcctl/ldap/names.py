"""Names and values where LDAP gives characters a meaning: made harmless, and compared."""

import re

_SPECIAL = frozenset('\0",+<=>;\\')
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_@")
_PIECE = re.compile(r"(?:\\.|[^,\\])+", re.DOTALL)
_ESCAPED = re.compile(rb"\\([0-9A-Fa-f]{2}|.)", re.DOTALL)


def rdn(attribute: str, value: str) -> str:
    """`uid=ada`, with whatever the value holds (RFC 4514, 2.4)."""
    last = len(value) - 1
    escaped = (
        f"\\{ord(char):02x}"
        if char in _SPECIAL or (char in " #" and place == 0) or (char == " " and place == last)
        else char
        for place, char in enumerate(value)
    )
    return f"{attribute}={''.join(escaped)}"


def equals(attribute: str, value: str | bytes) -> str:
    """The filter `(uid=ada)`, with whatever the value holds (RFC 4515, 3).

    More is escaped than the RFC asks for: ldap3 drops blanks at the ends of a value.
    """
    octets = value.encode() if isinstance(value, str) else value
    escaped = (chr(octet) if octet in _PLAIN else f"\\{octet:02x}" for octet in octets)
    return f"({attribute}={''.join(escaped)})"


def dn_key(dn: str) -> str:
    """What two distinguished names are compared by: case, escapes and blanks count for nothing."""
    if "\\" not in dn and "+" not in dn and " ," not in dn and ", " not in dn:
        return dn.casefold()
    return ",".join(_rdn_key(piece) for piece in _PIECE.findall(dn))


def first_value(dn: str) -> str:
    """The value that the name begins with: `ada` of `uid=ada,ou=people`."""
    first = _PIECE.search(dn)
    return _unescaped(first[0].partition("=")[2]) if first else ""


def domain(dn: str) -> str:
    """The name of the domain that an entry is in: `example.org` of `…,dc=example,dc=org`."""
    pieces = [piece.partition("=") for piece in _PIECE.findall(dn)]
    return ".".join(_unescaped(value) for name, _, value in pieces if name.strip().lower() == "dc")


def _rdn_key(piece: str) -> str:
    parts = []
    for part in re.findall(r"(?:\\.|[^+\\])+", piece, re.DOTALL):
        attribute, _, value = part.partition("=")
        parts.append((attribute.strip().casefold(), _unescaped(value).casefold()))
    return "+".join(rdn(*part) for part in sorted(parts))


def _unescaped(value: str) -> str:
    """Without the blanks around it, unless they are escaped."""

    def plain(found: re.Match[bytes]) -> bytes:
        escaped = found[1]
        return bytes.fromhex(escaped.decode()) if len(escaped) == 2 else escaped

    tidy = re.sub(r"(?<!\\) +$", "", value.lstrip(" "))
    return _ESCAPED.sub(plain, tidy.encode()).decode(errors="replace")
