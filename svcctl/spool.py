"""Values kept aside in the order in which they came: in memory while few, then on the disk."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import SpooledTemporaryFile
from typing import Any, Self

from svcctl.errors import StoreError, SvcctlError

_IN_MEMORY = 8 << 20


class Spool:
    """JSON values that can be read any number of times; the file has no name and ends with it.

    whose: who gives them, for the error of a full disk, which is a `refusal`.
    """

    def __init__(self, whose: str, refusal: type[SvcctlError] = StoreError) -> None:
        self._whose = whose
        self._refusal = refusal
        self._file = SpooledTemporaryFile[bytes](_IN_MEMORY)
        self._at_end = True
        self._count = 0

    def keep(self, value: Any) -> None:
        """One more. What was kept may have been read before, as far as the reader liked."""
        line = json.dumps(value).encode() + b"\n"
        with self._room():
            if not self._at_end:
                self._file.seek(0, os.SEEK_END)
                self._at_end = True
            self._file.write(line)
        self._count += 1

    def __iter__(self) -> Iterator[Any]:
        """From the first on; one reader at a time, and nothing is kept meanwhile."""
        with self._room():
            self._file.seek(0)
        self._at_end = False
        for line in self._file:
            yield json.loads(line)

    def __len__(self) -> int:
        return self._count

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _room(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = (error.strerror or "unknown error").lower()
            raise self._refusal(
                f"no room for what {self._whose} gives: {reason}",
                hint="free some space in the folder for temporary files, or name another: $TMPDIR",
            ) from error
