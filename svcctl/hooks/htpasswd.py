"""htpasswd: a password file, and an AuthGroupFile if wanted, for Apache, nginx and Subversion.

Formats: https://httpd.apache.org/docs/2.4/misc/password_encryptions.html,
https://httpd.apache.org/docs/2.4/mod/mod_authz_groupfile.html#authgroupfile (Apache reads words as
`ap_getword_conf` does) and https://nginx.org/en/docs/http/ngx_http_auth_basic_module.html.
"""

import errno
import os
import re
import shutil
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from pydantic import Field, ValidationInfo, field_validator

from svcctl.config.service import HookConfig
from svcctl.errors import Conflict, Denied, Invalid, ManagerError, NotFound, Transient
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import Created, GroupChange, Manager, NewAccount, RemoteAccount
from svcctl.model import Verb
from svcctl.names import NameRule

MARKER = b"{SHA}!svcctl-disabled!"
"""Stands before the hash of a disabled account, and no password matches it, on any platform.

Apache and nginx answer `{SHA}` themselves: they compare with the base64 of a digest, which has no
`!`. A hash that they do not know would go to crypt(), which differs, or on Windows be plain text.
"""

_SYSTEM_FILES = frozenset({"/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow"})


class HtpasswdConfig(HookConfig):
    """The settings of `hook = "htpasswd"`."""

    password_file: Path = Field(description="AuthUserFile, or nginx's auth_basic_user_file")
    group_file: Path | None = Field(None, description="AuthGroupFile; without one, no groups")
    cost: int = Field(10, ge=4, le=17, description="bcrypt's cost: each step doubles the time")

    @field_validator("password_file", "group_file")
    @classmethod
    def _not_a_catastrophe(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path and os.path.realpath(path) in _SYSTEM_FILES:
            raise ValueError("a file of the operating system; name one of the web server's own")
        passwords = info.data.get("password_file")
        if path and passwords and os.path.realpath(path) == os.path.realpath(passwords):
            raise ValueError("the same file as password_file; groups need a file of their own")
        return path


class HtpasswdManager(Manager):
    """Changes single lines of a password file and a group file, each in one atomic replacement.

    The uid is the name. Other lines, comments, order, line endings, mode and owner stay as they
    are, and the files need not be UTF-8. Writers wait for each other at `<file>.lock`; reading
    takes no lock and creates nothing. Of two lines for one name the servers use the first, and so
    does `list_accounts`; everything else refuses that name (Invalid, with the line numbers).
    A file that cannot be read is Denied, Invalid or Transient, never an absent account.
    """

    def __init__(self, password_file: Path, group_file: Path | None = None, cost: int = 10) -> None:
        self._passwords = _File(password_file)
        self._groups = _File(group_file) if group_file else None
        self._cost = cost

    def check(self) -> None:
        """The files exist, have one line per user, no continuation lines, and can be replaced."""
        _hash("proves the library", 4)
        for file in filter(None, (self._passwords, self._groups)):
            _refuse_continuation(file.read(), file.path)
            file.check_replaceable()
        first: dict[bytes, int] = {}
        for number, line in enumerate(self._passwords.read().split(b"\n"), 1):
            name = _key(line)
            if name and first.setdefault(name, number) != number:
                raise _twice(self._passwords.path, name, [first[name], number])

    def list_accounts(self) -> Iterator[RemoteAccount]:
        content = self._passwords.read()
        groups: defaultdict[bytes, set[str]] = defaultdict(set)
        for line in self._groups.read().split(b"\n") if self._groups else ():
            if group := _key(line):
                for member in _members(line):
                    groups[member].add(_text(group))
        seen: set[bytes] = set()
        for line in content.split(b"\n"):
            name = _key(line)
            if name and name not in seen:
                seen.add(name)
                yield RemoteAccount(
                    uid=_text(name),
                    name=_text(name),
                    active=not line.partition(b":")[2].startswith(MARKER),
                    groups=frozenset(groups.get(name, ())) if self._groups else None,
                )

    def get_account(self, uid: str) -> RemoteAccount:
        content = self._passwords.read()
        entry = self._entry(content, uid)
        groups = None
        if self._groups:
            lines = _lines_naming(self._groups.read(), _raw(uid))
            groups = frozenset(_text(_key(line)) for line in lines)
        active = not content[entry.start : entry.end].startswith(MARKER)
        return RemoteAccount(uid=uid, name=uid, active=active, groups=groups)

    def find_account(self, external_id: str, name: str) -> RemoteAccount | None:  # noqa: ARG002
        """The account of this name: a password file keeps no external id."""
        try:
            return self.get_account(name)
        except NotFound:
            return None

    def list_groups(self) -> list[str]:
        """The groups that have a line. Raises Invalid without a group_file."""
        keys = map(_key, self._group_file().read().split(b"\n"))
        return list(dict.fromkeys(_text(key) for key in keys if key))

    def create_account(self, new: NewAccount) -> Created:
        """Append a line. A missing password file is created, readable by its owner only (0600).

        Raises Conflict for a name that has a line already, and for one that is still in the group
        file: whoever put it there meant someone else, whose rights the new account would get.
        """
        name, secret = _checked(new.name), _hash(new.password, self._cost)
        with self._locked():
            content = self._passwords.read(missing=b"")
            if taken := _entries(content, name):
                number = _number(content, taken[0].line)
                raise Conflict(f"{self._passwords.path}: line {number} already names {new.name}")
            if self._groups and _lines_naming(self._groups.read(missing=b""), name):
                raise Conflict(
                    f"{self._groups.path}: names {new.name}, who has no account",
                    hint="remove the name from the group file, or create the account by hand",
                )
            self._passwords.replace(_append(content, name + b":" + secret))
        return Created(uid=new.name, name=new.name)

    def enable_account(self, uid: str) -> None:
        self._change_hash(uid, lambda secret: secret.removeprefix(MARKER))

    def disable_account(self, uid: str) -> None:
        """Put MARKER before the hash, of whatever kind it is; the line and its groups stay."""
        self._change_hash(uid, lambda secret: MARKER + secret.removeprefix(MARKER))

    def delete_account(self, uid: str) -> None:
        """Remove the line, and before it the name from every line of the group file."""
        with self._locked():
            content = self._passwords.read()
            entry = self._entry(content, uid)
            if self._groups:
                self._groups.replace(_leave(self._groups.read(), _raw(uid), None)[0])
            after = content.find(b"\n", entry.start) + 1 or len(content)
            self._passwords.replace(content[: entry.line] + content[after:])

    def set_password(self, uid: str, password: str) -> None:
        """A new hash. A disabled account stays disabled, and has this password when enabled."""
        new = _hash(password, self._cost)
        self._change_hash(uid, lambda old: (MARKER if old.startswith(MARKER) else b"") + new)

    def change_groups(self, uid: str, add: frozenset[str], remove: frozenset[str]) -> GroupChange:
        """Add to and remove from these groups; one that does not exist gets a line at the end.

        A missing group file is created with the mode and owner of the password file. Raises
        Invalid without a group_file, or where the name cannot stand in one.
        """
        file = self._group_file()
        name = _checked(uid) if add else _raw(uid)
        with self._locked():
            self._entry(self._passwords.read(), uid)
            content = file.read(missing=b"")
            content, removed = _leave(content, name, frozenset(map(_raw, remove)))
            content, added = _join(content, name, frozenset(map(_raw, add - remove)), file.path)
            file.replace(content, like=self._passwords)
        return GroupChange(frozenset(map(_text, added)), frozenset(map(_text, removed)))

    def _group_file(self) -> "_File":
        if self._groups is None:
            raise Invalid("htpasswd: groups need a group file", hint="set group_file")
        return self._groups

    def _entry(self, content: bytes, uid: str) -> "_Entry":
        found = [entry for entry in _entries(content, _raw(uid)) if entry.start >= 0]
        if not found:
            raise NotFound(f"{self._passwords.path}: no line for {uid}")
        if len(found) > 1:
            numbers = [_number(content, entry.line) for entry in found]
            raise _twice(self._passwords.path, _raw(uid), numbers)
        return found[0]

    def _change_hash(self, uid: str, change: Callable[[bytes], bytes]) -> None:
        with self._locked():
            content = self._passwords.read()
            _, start, end = self._entry(content, uid)
            self._passwords.replace(content[:start] + change(content[start:end]) + content[end:])

    @contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        files = filter(None, (self._passwords, self._groups))
        with ExitStack() as locks:
            # In one order everywhere, because two services may share a group file.
            for path in sorted(Path(f"{file.real}.lock") for file in files):
                try:
                    # filelock would make the folder, where perhaps a disk is not mounted.
                    path.parent.stat()
                    # flock: the kernel frees it when a process dies.
                    locks.enter_context(FileLock(path, _LOCK_SECONDS, mode=0o600))
                except Timeout:
                    raise Transient(f"{path}: held by another process") from None
                except OSError as error:
                    raise _refusal(error, path) from error
            yield


class HtpasswdHook(ServiceHook):
    """People who log in at a web server; groups only where a group_file is configured."""

    config: HtpasswdConfig
    config_class = HtpasswdConfig
    manager_class = HtpasswdManager
    version = "1"
    # What Apache, nginx and `htpasswd` read alike: no colon, blank, quote, backslash or leading #.
    username_rule = NameRule(replace={" ": "_"}, characters=r"\w.@+-", max_bytes=255)
    group_rule = username_rule

    def can(self, capability: str) -> bool:
        groups = capability in (Verb.CHANGE_GROUPS, "list_groups")
        return super().can(capability) and not (groups and self.config.group_file is None)


# Below: how the two files are read, edited as bytes, and replaced.

_LOCK_SECONDS = 30.0
_BCRYPT_BYTES = 72
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_WRONG_PATH = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
_NAME = re.compile(rb"[^\s:#\"'\\\x00-\x1f\x7f][^\s:\\\x00-\x1f\x7f]{0,254}")
_WORD = re.compile(rb"""\"(?:\\["\\]|[^"])*"?|'(?:\\['\\]|[^'])*'?|\S+""")
_CONTINUED = re.compile(rb"(?<!\\)\\\r?\n")


class _Entry(NamedTuple):
    """Offsets of a line and of its hash; start < 0 for a line that is a name and nothing else."""

    line: int
    start: int
    end: int


class _File:
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

    def check_replaceable(self) -> None:
        """Raise Denied if a replacement would fail, or would change the owner."""
        folder, status = self.real.parent, self.real.stat()
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
            hint = "files are replaced: svcctl must be able to write to the folder"
            raise Denied(f"{folder}: not writable", hint=hint)
        if os.geteuid() not in (0, status.st_uid):
            raise _foreign(self.path, status)

    def replace(self, content: bytes, *, like: "_File | None" = None) -> None:
        """Write a new file beside the old one and rename it over; on any error the old one stays.

        Mode, owner and extended attributes are kept; a new file takes them from `like`, or is 0600.
        """
        if self._status is not None and content == self._content:
            return
        _refuse_continuation(content, self.path)
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
            self._sync(real.parent)
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

    @staticmethod
    def _sync(folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_mtime_ns, status.st_size


def _entries(content: bytes, name: bytes) -> list[_Entry]:
    """Every line that names this user, found without parsing the others: a file has 50,000."""
    found: list[_Entry] = []
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
                found.append(_Entry(line, after + 1, after + 1 + len(secret)))
            elif not rest:
                found.append(_Entry(line, -1, -1))
        at = content.find(name, after)
    return found


def _number(content: bytes, offset: int) -> int:
    return content.count(b"\n", 0, offset) + 1


def _key(line: bytes) -> bytes:
    """The user or group that a line is about; nothing for a comment or a malformed line."""
    key, colon, _ = line.lstrip().partition(b":")
    return key if colon and not key.startswith(b"#") else b""


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


def _members(line: bytes) -> list[bytes]:
    if _quoted(line):
        return [word for _, _, word in _words(line)]
    return line.partition(b":")[2].split()


def _places(line: bytes, name: bytes) -> list[tuple[int, int]]:
    """Where this member stands in a group line, which may have 50,000."""
    if _quoted(line):
        return [(start, end) for start, end, word in _words(line) if word == name]
    if name not in line:
        return []
    head = line.index(b":") + 1
    found = re.finditer(rb"(?<!\S)" + re.escape(name) + rb"(?!\S)", line[head:])
    return [(head + match.start(), head + match.end()) for match in found]


def _lines_naming(content: bytes, name: bytes) -> list[bytes]:
    return [line for line in content.split(b"\n") if _key(line) and _places(line, name)]


def _leave(
    content: bytes, name: bytes, groups: frozenset[bytes] | None
) -> tuple[bytes, set[bytes]]:
    """Without the name in these groups (None: in all), and the groups where it was."""
    lines, left = content.split(b"\n"), set()
    for number, line in enumerate(lines):
        group = _key(line)
        if group and (groups is None or group in groups):
            for start, end in reversed(_places(line, name)):
                lines[number] = lines[number][:start].rstrip() + lines[number][end:]
                left.add(group)
    return b"\n".join(lines), left


def _join(
    content: bytes, name: bytes, groups: frozenset[bytes], path: Path
) -> tuple[bytes, set[bytes]]:
    """With the name in these groups, and the groups where it was not."""
    lines, homes, present = content.split(b"\n"), dict[bytes, int](), set[bytes]()
    for number, line in enumerate(lines):
        if (group := _key(line)) in groups:
            homes.setdefault(group, number)
            present |= {group} if _places(line, name) else set()
    for number in (homes[group] for group in homes.keys() - present):
        line = lines[number].rstrip()
        ending = lines[number][len(line) :]
        lines[number] = line + b" " + name + ending
        if not _places(lines[number], name):
            raise Invalid(f"{path}: line {number + 1}: a quote is not closed")
    content = b"\n".join(lines)
    for group in sorted(groups - homes.keys()):
        content = _append(content, _checked(_text(group)) + b": " + name)
    return content, set(groups - present)


def _append(content: bytes, line: bytes) -> bytes:
    ending = b"\r\n" if content[: content.find(b"\n") + 1].endswith(b"\r\n") else b"\n"
    separator = ending if content and not content.endswith(b"\n") else b""
    return b"".join((content, separator, line, ending))


def _text(raw: bytes) -> str:
    """A name as text that every database can store; `_raw` turns it back."""
    return raw.decode("utf-8", "backslashreplace")


def _raw(text: str) -> bytes:
    raw = text.encode("utf-8", "backslashreplace")
    return re.sub(rb"\\x([89a-f][0-9a-f])", lambda byte: bytes.fromhex(byte[1].decode()), raw)


def _checked(name: str) -> bytes:
    """A name that is safe to write. Raises Invalid."""
    raw = _raw(name)
    if not _NAME.fullmatch(raw):
        raise Invalid(
            f"{name!r}: not a name for a password or group file",
            hint="1 to 255 bytes without colon, blank, backslash, and no leading # or quote",
        )
    return raw


def _refuse_continuation(content: bytes, path: Path) -> None:
    """Apache joins a line that ends in a backslash with the next one, which nobody here means."""
    if found := _CONTINUED.search(content) if b"\\" in content else None:
        number = _number(content, found.start())
        raise Invalid(f"{path}: line {number} ends in a backslash", hint="write it as one line")


def _twice(path: Path, name: bytes, numbers: Iterable[int]) -> Invalid:
    places = ", ".join(map(str, numbers))
    return Invalid(
        f"{path}: {_text(name)} stands in lines {places}",
        hint="the servers use the first; remove the others",
    )


def _foreign(path: Path, status: os.stat_result) -> Denied:
    return Denied(
        f"{path}: belongs to user {status.st_uid}, group {status.st_gid}, which cannot be kept",
        hint="run svcctl as the owner of the file, who must be in its group, or as root",
    )


def _refusal(error: OSError, path: Path | str) -> ManagerError:
    reason = f"{path}: {(error.strerror or str(error)).lower()}"
    if error.errno in _DENIED:
        return Denied(reason, hint="svcctl must read the file and write to its folder")
    if error.errno in _WRONG_PATH:
        return Invalid(reason, hint="correct the path, or create the folder")
    return Transient(reason)


def _hash(password: str, cost: int) -> bytes:
    """The bcrypt hash as Apache and nginx read it. Raises Invalid for what bcrypt would cut off."""
    secret = password.encode(errors="surrogatepass")
    if not 0 < len(secret) <= _BCRYPT_BYTES or b"\0" in secret:
        raise Invalid("password: bcrypt takes 1 to 72 bytes, none of them zero")
    try:
        import bcrypt
    except ImportError:
        raise Invalid("bcrypt: not installed", hint="pip install 'svcctl[htpasswd]'") from None
    salt: bytes = bcrypt.gensalt(cost)
    hashed: bytes = bcrypt.hashpw(secret, b"$2y$" + salt.removeprefix(b"$2b$"))
    return hashed
