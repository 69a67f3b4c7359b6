"""The htpasswd manager on real files; real web servers judge it in tests/live."""

import errno
import os
import random
import resource
import shutil
import signal
import stat
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bcrypt
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from svcctl.errors import Conflict, Denied, Invalid, NotFound, Transient
from svcctl.hooks.htpasswd import (
    MARKER,
    HtpasswdConfig,
    HtpasswdHook,
    HtpasswdManager,
)
from svcctl.hooks.htpasswd.files import File
from svcctl.hooks.htpasswd.lines import checked, raw_of, text_of
from svcctl.hooks.manager import GroupChange, NewAccount, RemoteAccount, capabilities
from svcctl.model import Account, AccountStatus, User, Verb

APR1 = b"$apr1$abcdefgh$BXSOTNcz4mLGZ8aRkgOJU1"
ADA = NewAccount(name="ada", external_id="svcctl:1", password="difference engine")


@pytest.fixture
def passwords(tmp_path: Path) -> Path:
    path = tmp_path / "passwords"
    path.touch(0o640)
    return path


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    path = tmp_path / "groups"
    path.touch(0o640)
    return path


@pytest.fixture
def manager(passwords: Path, groups: Path) -> HtpasswdManager:
    return HtpasswdManager(passwords, groups, cost=4)


def accepts(path: Path, name: str, password: str) -> bool:
    """Whether the file's first line of this name has a bcrypt hash of this password."""
    for line in path.read_bytes().splitlines():
        if line.startswith(name.encode() + b":"):
            return bcrypt.checkpw(password.encode(), line.split(b":")[1])
    return False


# Accounts


def test_a_created_account_is_one_line_with_a_bcrypt_hash(
    manager: HtpasswdManager, passwords: Path
) -> None:
    created = manager.create_account(ADA)
    assert (created.uid, created.name) == ("ada", "ada")
    assert passwords.read_bytes().startswith(b"ada:$2y$04$")
    assert accepts(passwords, "ada", "difference engine")
    assert manager.get_account("ada") == RemoteAccount("ada", "ada", groups=frozenset())
    assert manager.find_account("svcctl:1", "ada") == manager.get_account("ada")
    assert manager.find_account("svcctl:1", "Ada") is None


def test_disable_keeps_the_hash_and_enable_gives_it_back(
    manager: HtpasswdManager, passwords: Path
) -> None:
    manager.create_account(ADA)
    before = passwords.read_bytes()
    for _ in range(2):
        manager.disable_account("ada")
        assert passwords.read_bytes() == before.replace(b"ada:", b"ada:" + MARKER)
        assert not manager.get_account("ada").active
    for _ in range(2):
        manager.enable_account("ada")
        assert passwords.read_bytes() == before
        assert manager.get_account("ada").active


@pytest.mark.parametrize("secret", [APR1, b"{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=", b"{PLAIN}x", b""])
def test_every_kind_of_hash_comes_back(
    manager: HtpasswdManager, passwords: Path, secret: bytes
) -> None:
    passwords.write_bytes(b"ada:" + secret + b":Ada Lovelace\r\n")
    manager.disable_account("ada")
    assert passwords.read_bytes() == b"ada:" + MARKER + secret + b":Ada Lovelace\r\n"
    manager.enable_account("ada")
    assert passwords.read_bytes() == b"ada:" + secret + b":Ada Lovelace\r\n"


def test_the_marker_is_outside_what_any_digest_encodes_to() -> None:
    alphabet = string.ascii_letters + string.digits + "+/="
    prefix, rest = MARKER[:5], MARKER[5:].decode()
    assert prefix == b"{SHA}"
    assert not set(rest) <= set(alphabet)


def test_a_new_password_of_a_disabled_account_waits_for_enable(
    manager: HtpasswdManager, passwords: Path
) -> None:
    manager.create_account(ADA)
    manager.disable_account("ada")
    manager.set_password("ada", "new one")
    assert not manager.get_account("ada").active
    manager.enable_account("ada")
    assert accepts(passwords, "ada", "new one")
    assert not accepts(passwords, "ada", "difference engine")


@pytest.mark.parametrize("password", ["", "x" * 73, "ä" * 37, "a\0b"])
def test_a_password_that_bcrypt_would_cut_off_is_refused(
    manager: HtpasswdManager, password: str
) -> None:
    manager.create_account(ADA)
    with pytest.raises(Invalid, match="password: bcrypt takes 1 to 72 bytes") as caught:
        manager.set_password("ada", password)
    assert not password or password not in str(caught.value)


def test_a_taken_name_is_a_conflict_and_stays_as_it_is(
    manager: HtpasswdManager, passwords: Path
) -> None:
    passwords.write_bytes(b"# ours\nada:" + APR1 + b"\n")
    with pytest.raises(Conflict, match="line 2 already names ada"):
        manager.create_account(ADA)
    assert passwords.read_bytes() == b"# ours\nada:" + APR1 + b"\n"


def test_a_name_without_a_hash_is_taken_too_because_apache_would_find_it_first(
    manager: HtpasswdManager, passwords: Path
) -> None:
    passwords.write_bytes(b"ada\n")
    with pytest.raises(Conflict, match="line 1"):
        manager.create_account(ADA)


def test_rights_left_over_in_the_group_file_are_not_inherited(
    manager: HtpasswdManager, passwords: Path, groups: Path
) -> None:
    groups.write_text("admins: ada\n")
    with pytest.raises(Conflict, match="names ada, who has no account") as caught:
        manager.create_account(ADA)
    assert caught.value.hint is not None
    assert passwords.read_bytes() == b""


def test_delete_takes_the_line_and_every_group_membership(
    manager: HtpasswdManager, passwords: Path, groups: Path
) -> None:
    manager.create_account(ADA)
    passwords.write_bytes(b"# top\n" + passwords.read_bytes() + b"bob:" + APR1 + b"\n")
    groups.write_text('admins: bob "ada"\n# ada\nstaff:ada adam\tada\nx: adam\n')
    manager.delete_account("ada")
    assert passwords.read_bytes() == b"# top\nbob:" + APR1 + b"\n"
    assert groups.read_text() == "admins: bob\n# ada\nstaff: adam\nx: adam\n"
    with pytest.raises(NotFound):
        manager.delete_account("ada")


@pytest.mark.parametrize("uid", ["nobody", "", "#ada", "a:b", "ada\n", "ad", "\ud800"])
def test_an_account_that_is_not_there_is_not_found(
    manager: HtpasswdManager, passwords: Path, uid: str
) -> None:
    passwords.write_bytes(b"#ada:x\na:b:c\nada\nadam:" + APR1 + b"\n")
    with pytest.raises(NotFound):
        manager.get_account(uid)
    with pytest.raises(NotFound):
        manager.disable_account(uid)
    with pytest.raises(NotFound):
        manager.change_groups(uid or "nobody", frozenset(), frozenset({"x"}))


@pytest.mark.parametrize(
    "name",
    ["", "a:b", "a b", "#a", "a\tb", "a\nb", "a\\", '"a', "'a", "a\x7f", "x" * 256, "é" * 128],
)
def test_a_name_that_the_servers_would_read_otherwise_is_never_written(
    manager: HtpasswdManager, passwords: Path, name: str
) -> None:
    with pytest.raises(Invalid, match="not a name"):
        manager.create_account(NewAccount(name, "svcctl:1", "pw"))
    assert passwords.read_bytes() == b""


# Other people's lines


HAND_WRITTEN = (
    b"# managed by hand\r\n"
    b"\r\n"
    b"caf\xe9:" + APR1 + b"\r\n"
    b"broken line without anything\r\n"
    b"  indented:" + APR1 + b":a comment\r\n"
    b"bob:" + APR1 + b"\r\n"
    b"   \r\n"
    b"eve:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk="
)


def test_hand_written_lines_order_and_line_endings_stay(
    manager: HtpasswdManager, passwords: Path
) -> None:
    passwords.write_bytes(HAND_WRITTEN)
    manager.create_account(ADA)
    assert passwords.read_bytes().startswith(HAND_WRITTEN + b"\r\nada:$2y$04$")
    assert passwords.read_bytes().endswith(b"\r\n")
    manager.disable_account("ada")
    manager.set_password("ada", "other")
    manager.enable_account("ada")
    manager.delete_account("ada")
    assert passwords.read_bytes() == HAND_WRITTEN + b"\r\n"


def test_names_that_are_not_utf8_can_be_listed_stored_and_changed(
    manager: HtpasswdManager, passwords: Path
) -> None:
    passwords.write_bytes(HAND_WRITTEN)
    listed = [account.uid for account in manager.list_accounts()]
    assert listed == ["caf\\xe9", "indented", "bob", "eve"]
    assert all(uid.encode() for uid in listed)
    manager.disable_account("caf\\xe9")
    assert b"caf\xe9:" + MARKER + APR1 in passwords.read_bytes()
    assert not manager.get_account("caf\\xe9").active


def test_a_name_that_stands_twice_is_refused_and_listed_as_the_servers_read_it(
    manager: HtpasswdManager, passwords: Path
) -> None:
    content = b"ada:" + MARKER + APR1 + b"\n# x\nada:" + APR1 + b"\nbob:" + APR1 + b"\n"
    passwords.write_bytes(content)
    for call in (
        lambda: manager.get_account("ada"),
        lambda: manager.enable_account("ada"),
        lambda: manager.disable_account("ada"),
        lambda: manager.delete_account("ada"),
        lambda: manager.set_password("ada", "pw"),
        lambda: manager.change_groups("ada", frozenset({"x"}), frozenset()),
        manager.check,
    ):
        with pytest.raises(Invalid, match="ada stands in lines 1, 3"):
            call()
    assert passwords.read_bytes() == content
    assert [(a.uid, a.active) for a in manager.list_accounts()] == [("ada", False), ("bob", True)]
    manager.disable_account("bob")


def test_a_continuation_line_is_refused_because_it_would_swallow_the_next(
    manager: HtpasswdManager, passwords: Path, groups: Path
) -> None:
    manager.create_account(ADA)
    groups.write_bytes(b"staff: bob \\")
    with pytest.raises(Invalid, match="line 1 ends in a backslash"):
        manager.change_groups("ada", frozenset({"admins"}), frozenset())
    assert groups.read_bytes() == b"staff: bob \\"
    passwords.write_bytes(b"# see C:\\\nbob:x\n")
    with pytest.raises(Invalid, match="line 1 ends in a backslash"):
        manager.check()


NAMES = st.text("abAB.#:\\\"' é", min_size=1, max_size=4)
LINES = st.lists(
    st.one_of(
        st.binary(max_size=12).filter(lambda raw: b"\n" not in raw),
        st.sampled_from([b"", b"# ada:x", b"ada", b"bob:x", b" bob2:y:z", b"adam:x", b"xada:x"]),
    ),
    max_size=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(lines=LINES, ending=st.sampled_from([b"\n", b"\r\n"]), last=st.booleans())
@example(lines=[b"x"], ending=b"\n", last=False)
def test_a_whole_life_leaves_any_other_content_byte_for_byte(
    manager: HtpasswdManager, passwords: Path, lines: list[bytes], ending: bytes, *, last: bool
) -> None:
    content = ending.join(lines) + (ending if last and lines else b"")
    passwords.write_bytes(content)
    try:
        manager.create_account(ADA)
    except (Conflict, Invalid):
        assert passwords.read_bytes() == content
        return
    manager.disable_account("ada")
    manager.enable_account("ada")
    manager.set_password("ada", "x")
    manager.delete_account("ada")
    after = passwords.read_bytes()
    assert after == content or (after.startswith(content) and after[len(content) :].strip() == b"")


# Groups


def test_groups_change_exactly_as_asked_and_the_answer_says_what_changed(
    manager: HtpasswdManager, groups: Path
) -> None:
    manager.create_account(ADA)
    groups.write_bytes(b"# rights\r\nstaff: bob  eve \r\nadmins: bob ada\r\n\r\nold:ada")
    change = manager.change_groups(
        "ada", frozenset({"staff", "admins", "new"}), frozenset({"old", "none"})
    )
    assert change == GroupChange(frozenset({"staff", "new"}), frozenset({"old"}))
    assert groups.read_bytes() == (
        b"# rights\r\nstaff: bob  eve ada \r\nadmins: bob ada\r\n\r\nold:\r\nnew: ada\r\n"
    )
    assert manager.get_account("ada").groups == frozenset({"staff", "admins", "new"})
    assert list(manager.list_groups()) == ["staff", "admins", "old", "new"]
    again = manager.change_groups("ada", frozenset({"staff", "new"}), frozenset({"old"}))
    assert again == GroupChange()
    both = frozenset({"staff"})
    assert manager.change_groups("ada", both, both) == GroupChange(frozenset(), both)
    assert manager.change_groups("ada", both, both) == GroupChange()


def test_listing_gives_the_groups_of_each_account(manager: HtpasswdManager, groups: Path) -> None:
    manager.create_account(ADA)
    manager.create_account(NewAccount("bob", "svcctl:2", "pw"))
    groups.write_text("staff: bob 'ada'\nstaff: eve\nadmins: \"bob\"\n")
    listed = {account.uid: account.groups for account in manager.list_accounts()}
    assert listed == {"ada": frozenset({"staff"}), "bob": frozenset({"staff", "admins"})}


@pytest.mark.parametrize(
    ("line", "after"),
    [
        ("g:ada", "g:"),
        ("g: ada bob", "g: bob"),
        ("g:ada bob", "g: bob"),
        ("g: bob ada  # ada", "g: bob  #"),
        ("g: 'ada'\"bob\"", 'g:"bob"'),
        ('g: "a b" ada', 'g: "a b"'),
        ("g: adam xada ada-x", "g: adam xada ada-x"),
        ("ada: bob", "ada: bob"),
        ("no colon ada", "no colon ada"),
    ],
)
def test_a_member_is_cut_out_as_apache_reads_the_line(
    manager: HtpasswdManager, groups: Path, line: str, after: str
) -> None:
    manager.create_account(ADA)
    groups.write_text(line + "\n")
    manager.delete_account("ada")
    assert groups.read_text() == after + "\n"


def test_an_open_quote_is_named_and_not_written_into(
    manager: HtpasswdManager, groups: Path
) -> None:
    manager.create_account(ADA)
    groups.write_text('g: bob "eve\n')
    with pytest.raises(Invalid, match="line 1: a quote is not closed"):
        manager.change_groups("ada", frozenset({"g"}), frozenset())
    assert groups.read_text() == 'g: bob "eve\n'


def test_a_group_that_apache_could_not_name_is_not_made(manager: HtpasswdManager) -> None:
    manager.create_account(ADA)
    with pytest.raises(Invalid, match="not a name"):
        manager.change_groups("ada", frozenset({"fleet command"}), frozenset())


def test_a_group_line_may_be_very_long(manager: HtpasswdManager, groups: Path) -> None:
    manager.create_account(ADA)
    groups.write_text("all: " + " ".join(f"user{n}" for n in range(50_000)) + "\n")
    assert manager.change_groups("ada", frozenset({"all"}), frozenset()).added == {"all"}
    assert groups.read_text().endswith(" user49999 ada\n")
    assert manager.change_groups("ada", frozenset(), frozenset({"all"})).removed == {"all"}
    assert groups.read_text().endswith(" user49999\n")


def test_without_a_group_file_groups_are_neither_offered_nor_read(passwords: Path) -> None:
    manager = HtpasswdManager(passwords, cost=4)
    manager.create_account(ADA)
    assert manager.get_account("ada").groups is None
    assert [account.groups for account in manager.list_accounts()] == [None]
    with pytest.raises(Invalid) as caught:
        manager.change_groups("ada", frozenset({"x"}), frozenset())
    assert caught.value.hint == "set group_file"
    alone = hook(password_file=passwords)
    assert not alone.can(Verb.CHANGE_GROUPS)
    assert not alone.can("list_groups")
    assert not {Verb.CHANGE_GROUPS, "list_groups"} & capabilities(alone.manager_class)
    assert hook(password_file=passwords, group_file="g").can(Verb.CHANGE_GROUPS)


# The hook


def hook(**settings: object) -> HtpasswdHook:
    config = HtpasswdConfig.model_validate({"hook": "htpasswd", **settings})
    return HtpasswdHook("web", config)


def test_the_hook_offers_no_groups_to_a_service_without_a_group_file() -> None:
    user = User(id=1, username="ada", groups=frozenset({"staff"}))
    active = Account("web", 1, status=AccountStatus.ACTIVE, uid="ada", name="ada")
    without, within = hook(password_file="p"), hook(password_file="p", group_file="g")
    for each in (without, within):
        each._accounts[1] = active
    assert list(without.update_groups(user)) == []
    assert [operation.args["add"] for operation in within.update_groups(user)] == [["staff"]]


@pytest.mark.parametrize("password_file", ["/etc/passwd", "/etc/../etc/shadow"])
def test_the_systems_own_files_are_refused(password_file: str) -> None:
    with pytest.raises(ValidationError, match="a file of the operating system"):
        hook(password_file=password_file)


def test_one_file_cannot_be_both(passwords: Path) -> None:
    (passwords.parent / "link").symlink_to(passwords)
    for group_file in (passwords, passwords.parent / "." / "passwords", passwords.parent / "link"):
        with pytest.raises(ValidationError, match="the same file as password_file"):
            hook(password_file=passwords, group_file=group_file)


@pytest.mark.parametrize("cost", [3, 18])
def test_the_cost_is_what_apache_takes(cost: int) -> None:
    with pytest.raises(ValidationError, match="cost"):
        hook(password_file="p", cost=cost)


@given(username=st.text(max_size=80))
def test_whatever_the_name_rule_lets_through_can_be_written(username: str) -> None:
    user = User(id=1, username=username)
    try:
        name = hook(password_file="p").username_for(user)
    except Invalid:
        return
    assert checked(name) == raw_of(name) == name.encode()
    assert text_of(name.encode()) == name


# The file as a file


def test_a_missing_file_is_an_error_with_a_remedy_and_reading_makes_none(tmp_path: Path) -> None:
    manager = HtpasswdManager(tmp_path / "none", cost=4)
    for read in (
        manager.check,
        lambda: list(manager.list_accounts()),
        lambda: manager.get_account("ada"),
        lambda: manager.find_account("svcctl:1", "ada"),
    ):
        with pytest.raises(Invalid, match="no such file") as caught:
            read()
        path = tmp_path / "none"
        assert caught.value.hint == f"touch {path} && chmod 640 {path}, readable by the web server"
    assert list(tmp_path.iterdir()) == []


def test_create_makes_a_missing_file_for_its_owner_only(tmp_path: Path) -> None:
    manager = HtpasswdManager(tmp_path / "new", tmp_path / "new-groups", cost=4)
    before = os.umask(0)
    try:
        manager.create_account(ADA)
        (tmp_path / "new").chmod(0o640)
        manager.change_groups("ada", frozenset({"x"}), frozenset())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "new-groups").stat().st_mode) == 0o640
    HtpasswdManager(tmp_path / "other", cost=4).create_account(ADA)
    assert stat.S_IMODE((tmp_path / "other").stat().st_mode) == 0o600


def test_reading_takes_no_lock_and_leaves_no_file(
    manager: HtpasswdManager, passwords: Path
) -> None:
    passwords.write_bytes(b"ada:" + APR1 + b"\n")
    before = sorted(passwords.parent.iterdir())
    manager.check()
    list(manager.list_accounts())
    manager.get_account("ada")
    list(manager.list_groups())
    assert sorted(passwords.parent.iterdir()) == before


def test_mode_owner_and_the_link_to_the_file_stay(tmp_path: Path) -> None:
    real = tmp_path / "real" / "passwords"
    real.parent.mkdir()
    real.touch()
    real.chmod(0o604)
    if os.geteuid() == 0:
        os.chown(real, 1, 33)
    owner = (real.stat().st_uid, real.stat().st_gid)
    link = tmp_path / "link"
    link.symlink_to(real)
    HtpasswdManager(link, cost=4).create_account(ADA)
    assert link.is_symlink()
    assert accepts(real, "ada", "difference engine")
    assert stat.S_IMODE(real.stat().st_mode) == 0o604
    assert (real.stat().st_uid, real.stat().st_gid) == owner


def test_a_repeated_verb_writes_nothing(manager: HtpasswdManager, passwords: Path) -> None:
    manager.create_account(ADA)
    inode = passwords.stat().st_ino
    manager.enable_account("ada")
    manager.change_groups("ada", frozenset(), frozenset({"none"}))
    assert passwords.stat().st_ino == inode


@contextmanager
def as_nobody() -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """A process that may write so many bytes to a file, and not one more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    manager: HtpasswdManager, passwords: Path, groups: Path
) -> None:
    manager.create_account(ADA)
    before = passwords.read_bytes()
    with small_files(len(before) + 10), pytest.raises(Transient, match=str(passwords)):
        manager.create_account(NewAccount("bob", "svcctl:2", "pw"))
    assert passwords.read_bytes() == before
    assert not list(passwords.parent.glob(".*"))
    manager.create_account(NewAccount("bob", "svcctl:2", "pw"))


def fill(path: Path) -> None:
    """Write until the disk is full."""
    full = None
    with path.open("wb", buffering=0) as ballast:
        while not full:
            try:
                ballast.write(b"x" * 4096)
            except OSError as error:
                full = error
    assert full.errno == errno.ENOSPC


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no mount here: {mounted.stderr.decode().strip()}")
    try:
        path = disk / "passwords"
        manager = HtpasswdManager(path, cost=4)
        manager.create_account(ADA)
        before = path.read_bytes()
        fill(disk / "ballast")
        with pytest.raises(Transient, match="no space left on device"):
            manager.create_account(NewAccount("bob", "svcctl:2", "pw"))
        assert path.read_bytes() == before
        assert not list(disk.glob(".*"))
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.fixture
def public(passwords: Path) -> Iterator[Path]:
    """A password file with Ada in a folder that another user can reach: pytest's own is private."""
    HtpasswdManager(passwords, cost=4).create_account(ADA)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "passwords"
        path.write_bytes(passwords.read_bytes())
        path.chmod(0o644)
        yield path
        path.parent.chmod(0o700)


def test_a_folder_out_of_reach_is_denied_and_nothing_changes(public: Path) -> None:
    before = public.read_bytes()
    manager = HtpasswdManager(public, cost=4)
    public.parent.chmod(0o555)
    with as_nobody():
        assert [account.uid for account in manager.list_accounts()] == ["ada"]
        with pytest.raises(Denied, match="permission denied"):
            manager.disable_account("ada")
        with pytest.raises(Denied, match="not writable"):
            manager.check()
    assert public.read_bytes() == before
    assert list(public.parent.iterdir()) == [public]


def test_a_file_that_may_not_be_read_is_denied(public: Path) -> None:
    public.parent.chmod(0o755)
    public.chmod(0o200)
    with as_nobody(), pytest.raises(Denied, match="permission denied"):
        list(HtpasswdManager(public, cost=4).list_accounts())


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's file needs root")
def test_a_file_whose_owner_cannot_be_kept_is_denied(public: Path) -> None:
    before = public.read_bytes()
    manager = HtpasswdManager(public, cost=4)
    public.parent.chmod(0o777)
    with as_nobody():
        for call in (manager.check, lambda: manager.disable_account("ada")):
            with pytest.raises(Denied, match="belongs to user 0, group 0"):
                call()
    assert public.read_bytes() == before
    assert not list(public.parent.glob(".*"))


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(Invalid, match="not a regular file"):
            HtpasswdManager(path, cost=4).check()
    with pytest.raises(Invalid, match="no such file or directory"):
        HtpasswdManager(tmp_path / "no" / "file", cost=4).create_account(ADA)


def test_another_programs_edit_in_between_is_not_overwritten(passwords: Path) -> None:
    file = File(passwords)
    file.read()
    passwords.write_bytes(b"eve:" + APR1 + b"\n")
    with pytest.raises(Transient, match="changed by another program"):
        file.replace(b"ada:x\n")
    assert passwords.read_bytes() == b"eve:" + APR1 + b"\n"


def test_a_remnant_of_a_killed_process_is_cleared_away(
    manager: HtpasswdManager, passwords: Path
) -> None:
    remnant = passwords.parent / ".passwords.svcctl"
    remnant.symlink_to(passwords.parent / "elsewhere")
    manager.create_account(ADA)
    assert not remnant.is_symlink()
    assert not (passwords.parent / "elsewhere").exists()


CREATE = """
import sys
from pathlib import Path
from svcctl.hooks.htpasswd import HtpasswdManager
from svcctl.hooks.manager import NewAccount
manager = HtpasswdManager(Path(sys.argv[1]), Path(sys.argv[2]), 4)
for n in range(25):
    name = f"{sys.argv[3]}-{n}"
    manager.create_account(NewAccount(name, name, "pw"))
    manager.change_groups(name, frozenset({"all"}), frozenset())
"""


def test_processes_side_by_side_lose_nothing(passwords: Path, groups: Path) -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", CREATE, passwords, groups, name])
        for name in ("a", "b", "c", "d")
    ]
    assert [process.wait(60) for process in running] == [0, 0, 0, 0]
    accounts = list(HtpasswdManager(passwords, groups).list_accounts())
    assert len(accounts) == 100
    assert all(account.groups == frozenset({"all"}) for account in accounts)


def test_a_killed_process_frees_the_lock(manager: HtpasswdManager) -> None:
    manager.create_account(ADA)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with manager._locked():
            os.write(writing, b"held")
            signal.pause()
    os.read(reading, 4)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    manager.disable_account("ada")
    assert not manager.get_account("ada").active


@pytest.mark.parametrize("seconds", [0.05])
def test_a_held_lock_is_transient_and_names_its_file(
    passwords: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr("svcctl.hooks.htpasswd.files.LOCK_SECONDS", seconds)
    manager, other = HtpasswdManager(passwords, cost=4), HtpasswdManager(passwords, cost=4)
    with other._locked(), pytest.raises(Transient, match=r"passwords.lock: held by another"):
        manager.create_account(ADA)


def test_killed_at_any_moment_the_file_is_whole(passwords: Path, groups: Path) -> None:
    chance = random.Random(1)
    for turn in range(6):
        before = passwords.stat().st_size
        running = subprocess.Popen([sys.executable, "-c", CREATE, passwords, groups, f"x{turn}"])
        while passwords.stat().st_size == before and running.poll() is None:
            time.sleep(0.002)
        time.sleep(chance.random() / 20)
        running.kill()
        running.wait()
        lines = passwords.read_bytes().splitlines(keepends=True)
        assert lines
        for line in lines:
            assert line.endswith(b"\n")
            assert len(line.partition(b":")[2].strip()) == 60
    HtpasswdManager(passwords, groups, cost=4).create_account(ADA)


@pytest.mark.skipif(shutil.which("htpasswd") is None, reason="apache2-utils is not installed")
def test_the_htpasswd_program_verifies_what_we_write(
    manager: HtpasswdManager, passwords: Path
) -> None:
    def verified(password: str) -> bool:
        command = ["htpasswd", "-vb", str(passwords), "ada", password]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    manager.create_account(ADA)
    assert verified("difference engine")
    assert not verified("wrong")
    manager.disable_account("ada")
    disabled = passwords.read_text().strip().partition(":")[2]
    for password in ("difference engine", disabled, MARKER.decode(), "", "!svcctl-disabled!"):
        assert not verified(password)
    manager.enable_account("ada")
    assert verified("difference engine")
    manager.set_password("ada", "x" * 72)
    assert verified("x" * 72)
