"""The files that web servers read: locked, read whole, and replaced in one step."""

import errno
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from svcctl.disk import sync
from svcctl.errors import Denied, Invalid, ManagerError, Transient
from svcctl.hooks.htpasswd.lines import refuse_continuation

LOCK_SECONDS = 30.0

_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_WRONG_PATH = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


class File:
    """One file: read whole, replaced whole, only as long as nobody else changed it in between."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._content = b""
        self._status: os.stat_result | None = None

    @property
    def real(self) -> Path:
        """The file itself, where `path` is a symbolic link to it."""
        return Path(os.path.realpath(self.path))

    def read(self, *, missing: bytes | None = None) -> bytes:
        """The content; `missing` instead of Invalid when there is no such file."""
        self._status, self._content = None, b""
        try:
            regular = stat.S_ISREG(self.path.stat().st_mode)
            if regular:
                with self.path.open("rb") as file:
                    self._status, self._content = os.fstat(file.fileno()), file.read()
        except FileNotFoundError:
            if missing is not None:
                return missing
            hint = f"touch {self.path} && chmod 640 {self.path}, readable by the web server"
            raise Invalid(f"{self.path}: no such file", hint=hint) from None
        except OSError as error:
            raise _refusal(error, self.path) from error
        if not regular:
            raise Invalid(f"{self.path}: not a regular file", hint="name a file")
        return self._content

    def check(self) -> None:
        """It can be read, has no continuation lines, and a replacement would keep its owner."""
        refuse_continuation(self.read(), self.path)
        folder, status = self.real.parent, self.real.stat()
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
            hint = "files are replaced: svcctl must be able to write to the folder"
            raise Denied(f"{folder}: not writable", hint=hint)
        if os.geteuid() not in (0, status.st_uid):
            raise _foreign(self.path, status)

    def replace(self, content: bytes, *, like: "File | None" = None) -> None:
        """Write a new file beside the old one and rename it over; on any error the old one stays.

        Mode, owner and extended attributes are kept; a new file takes them from `like`, or is 0600.
        """
        if self._status is not None and content == self._content:
            return
        refuse_continuation(content, self.path)
        real = self.real
        model = real if self._status else like.real if like else None
        fresh = real.with_name(f".{real.name}.svcctl")
        try:
            # Left over by a killed process; the lock says that nobody is writing it.
            fresh.unlink(missing_ok=True)
            try:
                self._write(fresh, content, model)
                self._refuse_if_changed()
                fresh.replace(real)
            except BaseException:
                fresh.unlink(missing_ok=True)
                raise
            sync(real.parent)
        except OSError as error:
            raise _refusal(error, self.path) from error

    def _write(self, fresh: Path, content: bytes, model: Path | None) -> None:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if model:
                status = model.stat()
                try:
                    os.fchown(descriptor, status.st_uid, status.st_gid)
                except PermissionError:
                    raise _foreign(self.path, status) from None
                shutil.copystat(model, fresh)
                os.utime(fresh)
            os.fsync(descriptor)

    def _refuse_if_changed(self) -> None:
        try:
            now = _identity(self.real.stat())
        except FileNotFoundError:
            now = None
        if now != (self._status and _identity(self._status)):
            raise Transient(f"{self.path}: changed by another program, nothing was written")


@contextmanager
def locked(files: Iterable[File]) -> Iterator[None]:
    """All of these, each by `<file>.lock`. Raises Transient when another process keeps one."""
    from filelock import FileLock, Timeout

    with ExitStack() as locks:
        # In one order everywhere, because two services may share a group file.
        for path in sorted(Path(f"{file.real}.lock") for file in files):
            try:
                # filelock would make the folder, where perhaps a disk is not mounted.
                path.parent.stat()
                # flock: the kernel frees it when a process dies.
                locks.enter_context(FileLock(path, LOCK_SECONDS, mode=0o600))
            except Timeout:
                raise Transient(f"{path}: held by another process") from None
            except OSError as error:
                raise _refusal(error, path) from error
        yield


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_mtime_ns, status.st_size


def _foreign(path: Path, status: os.stat_result) -> Denied:
    return Denied(
        f"{path}: belongs to user {status.st_uid}, group {status.st_gid}, which cannot be kept",
        hint="run svcctl as the owner of the file, who must be in its group, or as root",
    )


def _refusal(error: OSError, path: Path) -> ManagerError:
    reason = f"{path}: {(error.strerror or str(error)).lower()}"
    if error.errno in _DENIED:
        return Denied(reason, hint="svcctl must read the file and write to its folder")
    if error.errno in _WRONG_PATH:
        return Invalid(reason, hint="correct the path, or create the folder")
    return Transient(reason)
