"""The lines of a password file and of a group file: found, read, and changed as bytes."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from svcctl.errors import Invalid

_NAME = re.compile(rb"[^\s:#\"'\\\x00-\x1f\x7f][^\s:\\\x00-\x1f\x7f]{0,254}")
_WORD = re.compile(rb"""\"(?:\\["\\]|[^"])*"?|'(?:\\['\\]|[^'])*'?|\S+""")
_CONTINUED = re.compile(rb"(?<!\\)\\\r?\n")


class Entry(NamedTuple):
    """Offsets of a line and of its hash; start < 0 for a line that is a name and nothing else."""

    line: int
    start: int
    end: int


def entries(content: bytes, name: bytes) -> list[Entry]:
    """Every line that names this user, found without parsing the others: a file has 50,000."""
    found: list[Entry] = []
    if not name or name.startswith(b"#") or b":" in name or b"\n" in name:
        return found
    at = content.find(name)
    while at >= 0:
        line = content.rfind(b"\n", 0, at) + 1
        after = at + len(name)
        if not content[line:at].strip():
            stop = content.find(b"\n", after)
            rest = content[after : stop if stop >= 0 else len(content)].rstrip()
            if rest.startswith(b":"):
                secret = rest[1:].partition(b":")[0]
                found.append(Entry(line, after + 1, after + 1 + len(secret)))
            elif not rest:
                found.append(Entry(line, -1, -1))
        at = content.find(name, after)
    return found


def number_at(content: bytes, offset: int) -> int:
    """The number of the line at this offset, as editors count."""
    return content.count(b"\n", 0, offset) + 1


def keyed(content: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Index, user or group, and the whole of each line; no comments and no malformed lines."""
    for index, line in enumerate(content.split(b"\n")):
        key, colon, _ = line.lstrip().partition(b":")
        if key and colon and not key.startswith(b"#"):
            yield index, key, line


def members(line: bytes) -> list[bytes]:
    """Who stands in a line of a group file."""
    if _quoted(line):
        return [word for _, _, word in _words(line)]
    return line.partition(b":")[2].split()


def groups_naming(content: bytes, name: bytes) -> list[bytes]:
    """The groups of this member."""
    return [group for _, group, line in keyed(content) if _places(line, name)]


def leave(content: bytes, name: bytes, groups: frozenset[bytes] | None) -> tuple[bytes, set[bytes]]:
    """Without the name in these groups (None: in all), and the groups where it was."""
    lines, left = content.split(b"\n"), set()
    for index, group, line in keyed(content):
        if groups is None or group in groups:
            for start, end in reversed(_places(line, name)):
                lines[index] = lines[index][:start].rstrip() + lines[index][end:]
                left.add(group)
    return b"\n".join(lines), left


def join(
    content: bytes, name: bytes, groups: frozenset[bytes], path: Path
) -> tuple[bytes, set[bytes]]:
    """With the name in these groups, and the groups where it was not."""
    lines, homes, present = content.split(b"\n"), dict[bytes, int](), set[bytes]()
    for index, group, line in keyed(content):
        if group in groups:
            homes.setdefault(group, index)
            if _places(line, name):
                present.add(group)
    for group, index in homes.items():
        if group in present:
            continue
        line = lines[index].rstrip()
        ending = lines[index][len(line) :]
        lines[index] = line + b" " + name + ending
        if not _places(lines[index], name):
            raise Invalid(f"{path}: line {index + 1}: a quote is not closed")
    content = b"\n".join(lines)
    for group in sorted(groups - homes.keys()):
        content = append(content, checked(text_of(group)) + b": " + name)
    return content, set(groups - present)


def append(content: bytes, line: bytes) -> bytes:
    """With this line at the end, which is written as the first line's is."""
    ending = b"\r\n" if content[: content.find(b"\n") + 1].endswith(b"\r\n") else b"\n"
    separator = ending if content and not content.endswith(b"\n") else b""
    return b"".join((content, separator, line, ending))


def text_of(raw: bytes) -> str:
    """A name as text that every database can store; `raw_of` turns it back."""
    return raw.decode("utf-8", "backslashreplace")


def raw_of(text: str) -> bytes:
    """A name as it stands in a file."""
    raw = text.encode("utf-8", "backslashreplace")
    return re.sub(rb"\\x([89a-f][0-9a-f])", lambda byte: bytes.fromhex(byte[1].decode()), raw)


def checked(name: str) -> bytes:
    """A name that is safe to write. Raises Invalid."""
    raw = raw_of(name)
    if not _NAME.fullmatch(raw):
        raise Invalid(
            f"{name!r}: not a name for a password or group file",
            hint="1 to 255 bytes without colon, blank, backslash, and no leading # or quote",
        )
    return raw


def refuse_continuation(content: bytes, path: Path) -> None:
    """Apache joins a line that ends in a backslash with the next one, which nobody here means."""
    if found := _CONTINUED.search(content) if b"\\" in content else None:
        number = number_at(content, found.start())
        raise Invalid(f"{path}: line {number} ends in a backslash", hint="write it as one line")


def twice(path: Path, name: bytes, numbers: Iterable[int]) -> Invalid:
    """The error for a user with several lines."""
    places = ", ".join(map(str, numbers))
    return Invalid(
        f"{path}: {text_of(name)} stands in lines {places}",
        hint="the servers use the first; remove the others",
    )


def _places(line: bytes, name: bytes) -> list[tuple[int, int]]:
    """Where this member stands in a group line, which may have 50,000."""
    if _quoted(line):
        return [(start, end) for start, end, word in _words(line) if word == name]
    if name not in line:
        return []
    head = line.index(b":") + 1
    found = re.finditer(rb"(?<!\S)" + re.escape(name) + rb"(?!\S)", line[head:])
    return [(head + match.start(), head + match.end()) for match in found]


def _words(line: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Start, end and value of each member of a group line, quoted or not."""
    for match in _WORD.finditer(line, line.index(b":") + 1):
        word, quote = match[0], match[0][:1]
        if quote in (b'"', b"'"):
            word = word[1:-1] if len(word) > 1 and word.endswith(quote) else word[1:]
            word = word.replace(b"\\" + quote, quote)
        yield match.start(), match.end(), word.replace(b"\\\\", b"\\")


def _quoted(line: bytes) -> bool:
    return any(sign in line for sign in (b'"', b"'", b"\\"))
