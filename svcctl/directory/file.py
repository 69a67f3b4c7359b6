"""Opening a source's file: what is not a complete, readable, bounded file is refused."""

import codecs
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from svcctl.errors import SourceError

_CHUNK = 65_536


@contextmanager
def opened(path: Path, *, largest: int) -> Iterator[BinaryIO]:
    """The regular file at `path`, of at most `largest` bytes, that nobody writes to meanwhile."""
    try:
        before = path.stat()
        if not stat.S_ISREG(before.st_mode):
            raise SourceError(
                f"{path}: not a regular file", hint="name a file in the source's path"
            )
        if before.st_size > largest:
            raise SourceError(
                f"{path}: {before.st_size:,} bytes, more than the {largest:,} that are read",
                hint="check that this is the right file; split it into several sources if it is",
            )
        with path.open("rb") as file:
            yield file
            after = os.fstat(file.fileno())
    except OSError as error:
        raise SourceError(
            f"{path}: cannot be read: {(error.strerror or 'unknown error').lower()}",
            hint=_remedy(error),
        ) from error
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise SourceError(
            f"{path}: changed while it was read",
            hint="write the export to another name and rename it when it is complete",
        )


def _remedy(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "check the source's path in the configuration and that the export has run"
    if isinstance(error, PermissionError):
        return "let the user that runs svcctl read the file, and enter its folders"
    return "check the disk or the network share that holds the file"


def undecodable(path: Path, encoding: str) -> SourceError:
    """The error that says where the file stops being text in this encoding."""
    decoder = codecs.getincrementaldecoder(encoding)()
    position, line = 0, 1
    reason = "it does not begin as such a file must"
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            kept = len(decoder.getstate()[0])
            try:
                line += decoder.decode(chunk).count("\n")
            except UnicodeDecodeError as error:
                position += error.start - kept
                line += error.object[: error.start].count(b"\n")
                reason = f"{error.reason} at byte {position} (0x{error.object[error.start]:02x})"
                break
            except UnicodeError:
                break
            position += len(chunk)
        else:
            start = position - len(decoder.getstate()[0])
            reason = f"the file ends in the middle of a character, at byte {start}"
    return SourceError(
        f"{path}:{line}: not {encoding.removesuffix('-sig')}: {reason}",
        hint="set the source's encoding to what the file is written in, like cp1252 or utf-16",
    )
