"""Messages into a file: one JSON object per line, for a program that sends them on."""

import json
import os
import stat
from pathlib import Path

from svcctl.notify.channel import Letter, Outage


class FileChannel:
    """Appends; a message is on the disk before it counts as sent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def send(self, letter: Letter) -> str | None:
        content = {
            "id": letter.key,
            "to": list(letter.to),
            "user": letter.username,
            "level": letter.level,
            "subject": letter.subject,
            "body": letter.body,
            "created_at": letter.created_at,
        }
        try:
            self._append(json.dumps(content).encode() + b"\n")
        except OSError as error:
            raise Outage(
                f"{self.path}: cannot be written: {(error.strerror or str(error)).lower()}",
                hint="check notify.file, its permissions and the free space",
            ) from error
        return None

    def check(self) -> None:
        if not os.access(self.path if self.path.exists() else self.path.parent, os.W_OK):
            raise Outage(
                f"{self.path}: cannot be written by whom you are",
                hint="make its folder, and let the user who runs svcctl write there",
            )

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _append(self, content: bytes) -> None:
        if self._file is None:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK
            self._file = os.open(self.path, flags, 0o600)
        status = os.fstat(self._file)
        if not stat.S_ISREG(status.st_mode):
            os.write(self._file, content)  # a terminal or a pipe: nothing to mend or to sync
            return
        # A line that a full disk or a crash cut short is ended, so that only it is lost.
        if status.st_size and os.pread(self._file, 1, status.st_size - 1) != b"\n":
            content = b"\n" + content
        if os.write(self._file, content) != len(content):
            os.ftruncate(self._file, status.st_size)
            raise OSError(None, "no space left on device")
        os.fsync(self._file)
