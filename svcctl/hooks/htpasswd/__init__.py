"""htpasswd: a password file, and an AuthGroupFile if wanted, for Apache, nginx and Subversion.

Formats: https://httpd.apache.org/docs/2.4/misc/password_encryptions.html,
https://httpd.apache.org/docs/2.4/mod/mod_authz_groupfile.html#authgroupfile (Apache reads words as
`ap_getword_conf` does) and https://nginx.org/en/docs/http/ngx_http_auth_basic_module.html.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator

from svcctl.config.service import HookConfig
from svcctl.errors import Conflict, Invalid, NotFound
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.htpasswd import lines
from svcctl.hooks.htpasswd.files import File, locked
from svcctl.hooks.htpasswd.lines import raw_of, text_of
from svcctl.hooks.manager import Created, GroupChange, Manager, NewAccount, RemoteAccount
from svcctl.model import Verb
from svcctl.names import NameRule

MARKER = b"{SHA}!svcctl-disabled!"
"""Stands before the hash of a disabled account, and no password matches it, on any platform.

Apache and nginx answer `{SHA}` themselves: they compare with the base64 of a digest, which has no
`!`. A hash that they do not know would go to crypt(), which differs, or on Windows be plain text.
"""

_SYSTEM_FILES = frozenset({"/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow"})
_BCRYPT_BYTES = 72


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
        self._passwords = File(password_file)
        self._groups = File(group_file) if group_file else None
        self._files = [file for file in (self._passwords, self._groups) if file]
        self._cost = cost

    def check(self) -> None:
        """The files exist, have one line per user, no continuation lines, and can be replaced."""
        _hash("proves the library", 4)
        for file in self._files:
            file.check()
        first: dict[bytes, int] = {}
        for index, name, _ in lines.keyed(self._passwords.read()):
            if first.setdefault(name, index) != index:
                raise lines.twice(self._passwords.path, name, [first[name] + 1, index + 1])

    def list_accounts(self) -> Iterator[RemoteAccount]:
        content = self._passwords.read()
        groups: defaultdict[bytes, set[str]] = defaultdict(set)
        for _, group, line in lines.keyed(self._groups.read()) if self._groups else ():
            for member in lines.members(line):
                groups[member].add(text_of(group))
        seen: set[bytes] = set()
        for _, name, line in lines.keyed(content):
            if name not in seen:
                seen.add(name)
                yield RemoteAccount(
                    uid=text_of(name),
                    name=text_of(name),
                    active=not line.partition(b":")[2].startswith(MARKER),
                    groups=frozenset(groups.get(name, ())) if self._groups else None,
                )

    def get_account(self, uid: str) -> RemoteAccount:
        content = self._passwords.read()
        entry = self._entry(content, uid)
        groups = None
        if self._groups:
            groups = frozenset(map(text_of, lines.groups_naming(self._groups.read(), raw_of(uid))))
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
        content = self._group_file().read()
        return list(dict.fromkeys(text_of(group) for _, group, _ in lines.keyed(content)))

    def create_account(self, new: NewAccount) -> Created:
        """Append a line. A missing password file is created, readable by its owner only (0600).

        Raises Conflict for a name that has a line already, and for one that is still in the group
        file: whoever put it there meant someone else, whose rights the new account would get.
        """
        name, secret = lines.checked(new.name), _hash(new.password, self._cost)
        with self._locked():
            content = self._passwords.read(missing=b"")
            if taken := lines.entries(content, name):
                number = lines.number_at(content, taken[0].line)
                raise Conflict(f"{self._passwords.path}: line {number} already names {new.name}")
            if self._groups and lines.groups_naming(self._groups.read(missing=b""), name):
                raise Conflict(
                    f"{self._groups.path}: names {new.name}, who has no account",
                    hint="remove the name from the group file, or create the account by hand",
                )
            self._passwords.replace(lines.append(content, name + b":" + secret))
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
                self._groups.replace(lines.leave(self._groups.read(), raw_of(uid), None)[0])
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
        name = lines.checked(uid) if add else raw_of(uid)
        with self._locked():
            self._entry(self._passwords.read(), uid)
            content = file.read(missing=b"")
            content, removed = lines.leave(content, name, frozenset(map(raw_of, remove)))
            content, added = lines.join(
                content, name, frozenset(map(raw_of, add - remove)), file.path
            )
            file.replace(content, like=self._passwords)
        return GroupChange(frozenset(map(text_of, added)), frozenset(map(text_of, removed)))

    def _group_file(self) -> File:
        if self._groups is None:
            raise Invalid("htpasswd: groups need a group file", hint="set group_file")
        return self._groups

    def _entry(self, content: bytes, uid: str) -> lines.Entry:
        found = [entry for entry in lines.entries(content, raw_of(uid)) if entry.start >= 0]
        if not found:
            raise NotFound(f"{self._passwords.path}: no line for {uid}")
        if len(found) > 1:
            numbers = [lines.number_at(content, entry.line) for entry in found]
            raise lines.twice(self._passwords.path, raw_of(uid), numbers)
        return found[0]

    def _change_hash(self, uid: str, change: Callable[[bytes], bytes]) -> None:
        with self._locked():
            content = self._passwords.read()
            _, start, end = self._entry(content, uid)
            self._passwords.replace(content[:start] + change(content[start:end]) + content[end:])

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self._files)


class HtpasswdHook(ServiceHook):
    """People who log in at a web server; groups only where a group_file is configured."""

    config: HtpasswdConfig
    config_class = HtpasswdConfig
    manager_class = HtpasswdManager
    version = "1"
    # What Apache, nginx and `htpasswd` read alike: no colon, blank, quote, backslash or leading #.
    username_rule = NameRule(replace={" ": "_"}, characters=r"\w.@+-", max_bytes=255)
    group_rule = username_rule

    def cannot(self) -> Iterable[str]:
        return () if self.config.group_file else (Verb.CHANGE_GROUPS, "list_groups")


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
