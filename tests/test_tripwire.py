# The calls are what is tested (PTH, SIM115), in a block that a tripwire ends (PT012, SIM117).
# ruff: noqa: PT012, PTH107, PTH108, PTH123, PTH208, PTH211, SIM115, SIM117

import contextlib
import ftplib
import http.client
import os
import pty
import shutil
import smtplib
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from svcctl.errors import ExitCode, HookError, InterruptedRun
from svcctl.tripwire import Trip, TripwireError, allowed, tripwire

LOCAL = ("127.0.0.1", 9)


def records_of(act: Callable[[], object]) -> tuple[str, ...]:
    """What is recorded when `act` is refused, and the refusal swallowed, as foreign code may."""
    with pytest.raises(TripwireError) as ending, tripwire("planning"):
        with pytest.raises(TripwireError):
            act()
    return ending.value.records


def use(family: int, method: str, *args: object) -> None:
    """Call the method on a fresh datagram socket; to connect one sends nothing anyway."""
    with socket.socket(family, socket.SOCK_DGRAM) as fresh:
        getattr(fresh, method)(*args)


def fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def forkpty() -> None:
    if os.forkpty()[0] == 0:
        os._exit(0)


@pytest.mark.parametrize(
    ("act", "would"),
    [
        (lambda: socket.create_connection(("10.0.0.1", 443)), "would connect to 10.0.0.1:443"),
        (lambda: use(socket.AF_INET, "connect", LOCAL), "would connect to 127.0.0.1:9"),
        (lambda: use(socket.AF_INET, "connect_ex", LOCAL), "would connect to 127.0.0.1:9"),
        (
            lambda: socket.create_connection(("forum.invalid", 443)),
            "would connect to forum.invalid:443",
        ),
        (lambda: use(socket.AF_INET6, "connect", ("::1", 9)), "would connect to [::1]:9"),
        (lambda: use(socket.AF_UNIX, "connect", "/run/none"), "would connect to /run/none"),
        (lambda: use(socket.AF_INET, "bind", LOCAL), "would listen on 127.0.0.1:9"),
        (lambda: use(socket.AF_INET, "sendto", b"x", LOCAL), "would send to 127.0.0.1:9"),
        (
            lambda: use(socket.AF_INET, "sendmsg", [b"x"], [], 0, LOCAL),
            "would send to 127.0.0.1:9",
        ),
        (
            lambda: http.client.HTTPConnection("forum.invalid", 80).request("GET", "/"),
            "would connect to forum.invalid:80",
        ),
        (
            lambda: requests.get("https://forum.invalid/", timeout=1),
            "would connect to forum.invalid:443",
        ),
        (
            lambda: urllib.request.urlopen("https://me:word@forum.invalid/a?key=word"),
            "would request GET https://forum.invalid/a",
        ),
        (lambda: smtplib.SMTP("mail.invalid", 25), "would connect to mail.invalid:25"),
        (lambda: ftplib.FTP("files.invalid"), "would connect to files.invalid:21"),
    ],
)
def test_a_connection_is_refused_and_recorded(act: Callable[[], object], would: str) -> None:
    assert records_of(act) == (would,)


@pytest.mark.parametrize(
    ("act", "would"),
    [
        (lambda: subprocess.run(["ls"], check=False), "would start ['ls']"),
        (lambda: subprocess.run(["ls", "--key=word"], check=False), "would start ['ls', …]"),
        (
            lambda: subprocess.run("KEY=word psql -h x", shell=True, check=False),
            "would start ['psql', …]",
        ),
        (lambda: os.popen("ls"), "would start ['ls']"),
        (lambda: os.system("ls -l"), "would start ['ls', …]"),
        (lambda: os.execv("/nonexistent", ["nonexistent"]), "would start ['nonexistent']"),
        (lambda: os.posix_spawn("/bin/true", ["true"], {}), "would start ['true']"),
        (lambda: os.spawnv(os.P_WAIT, "/bin/true", ["true"]), "would fork this process"),
        (fork, "would fork this process"),
        (forkpty, "would fork this process"),
        (lambda: pty.spawn(["true"]), "would start ['true']"),
        (lambda: os.kill(os.getppid(), 23), f"would send signal 23 to process {os.getppid()}"),
    ],
)
def test_a_process_is_refused_and_recorded(act: Callable[[], object], would: str) -> None:
    assert records_of(act) == (would,)


def open_for(flags: int) -> Callable[[Path], object]:
    return lambda folder: os.open(folder / "old", flags)


@pytest.mark.parametrize(
    ("act", "would"),
    [
        (lambda folder: (folder / "new").open("w"), "would write {}/new"),
        (lambda folder: (folder / "old").open("a"), "would write {}/old"),
        (lambda folder: (folder / "new").open("x"), "would write {}/new"),
        (lambda folder: (folder / "old").open("r+"), "would write {}/old"),
        (lambda folder: (folder / "new").write_bytes(b""), "would write {}/new"),
        (lambda folder: (folder / "new").touch(exist_ok=False), "would write {}/new"),
        (open_for(os.O_WRONLY), "would write {}/old"),
        (open_for(os.O_RDONLY | os.O_TRUNC), "would write {}/old"),
        (open_for(os.O_RDONLY | os.O_CREAT), "would write {}/old"),
        (lambda folder: os.remove(folder / "old"), "would delete {}/old"),
        (lambda folder: os.unlink(bytes(folder / "old")), "would delete {}/old"),
        (lambda folder: (folder / "old").rename("new"), "would rename {}/old to new"),
        (lambda folder: (folder / "old").replace("new"), "would rename {}/old to new"),
        (lambda folder: (folder / "new").mkdir(), "would make the directory {}/new"),
        (lambda folder: (folder / "sub").rmdir(), "would delete the directory {}/sub"),
        (lambda folder: os.link(folder / "old", "new"), "would link {}/old to new"),
        (lambda folder: os.symlink(folder / "old", "new"), "would link {}/old to new"),
        (lambda folder: os.truncate(folder / "old", 0), "would truncate {}/old"),
        (lambda folder: (folder / "old").chmod(0o600), "would change the mode of {}/old"),
        (lambda folder: os.chown(folder / "old", -1, -1), "would change the owner of {}/old"),
        (lambda folder: os.utime(folder / "old"), "would change the times of {}/old"),
        (
            lambda folder: os.setxattr(folder / "old", "user.a", b""),
            "would change the attributes of {}/old",
        ),
        (lambda folder: shutil.copy(folder / "old", "new"), "would copy {}/old to new"),
        (lambda folder: shutil.move(folder / "old", "new"), "would move {}/old to new"),
        (lambda folder: shutil.rmtree(folder / "sub"), "would delete the directory {}/sub"),
        (
            lambda folder: shutil.copystat(folder / "old", "new"),
            "would copy the mode of {}/old to new",
        ),
        (
            lambda folder: shutil.make_archive("new", "zip", folder),
            "would write the archive new",
        ),
        (lambda folder: sqlite3.connect(folder / "new.db"), "would open the database {}/new.db"),
        (lambda folder: sqlite3.connect(""), "would open the database "),
    ],
)
def test_a_change_to_files_is_refused_and_recorded(
    act: Callable[[Path], object], would: str, tmp_path: Path
) -> None:
    (tmp_path / "old").write_text("as it was")
    (tmp_path / "sub").mkdir()
    assert records_of(lambda: act(tmp_path)) == (would.format(tmp_path),)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old", "sub"]
    assert (tmp_path / "old").read_text() == "as it was"


def test_temporary_files_are_files_too(tmp_path: Path) -> None:
    assert records_of(lambda: tempfile.mkdtemp(dir=tmp_path))[0].startswith("would make the direc")
    assert records_of(lambda: tempfile.mkstemp(dir=tmp_path))[0].startswith("would write /")
    assert records_of(lambda: tempfile.TemporaryFile(dir=tmp_path))[0].startswith("would write /")
    assert list(tmp_path.iterdir()) == []


def test_what_only_reads_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with tripwire("planning") as trip:
        assert (tmp_path / "file").read_text() == "text"
        os.close(os.open(tmp_path / "file", os.O_RDONLY))
        assert os.listdir(tmp_path) == ["file"]
        with open(os.devnull, "w") as nowhere:
            nowhere.write("x")
        sqlite3.connect(":memory:").close()
        os.kill(os.getpid(), 0)
        one, other = socket.socketpair()
        one.close()
        other.close()
        socket.getaddrinfo("127.0.0.1", None)
        with urllib.request.urlopen((tmp_path / "file").as_uri()) as answer:
            assert answer.read() == b"text"
    assert trip.records == []


def test_an_import_goes_on_and_leaves_no_bytecode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "imported_under_tripwire.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    with tripwire("planning"):
        import imported_under_tripwire  # type: ignore[import-not-found]

        with tripwire("deciding"):
            pass
        assert sys.dont_write_bytecode
    assert imported_under_tripwire.x == 1
    assert [path.name for path in tmp_path.iterdir()] == ["imported_under_tripwire.py"]
    assert not sys.dont_write_bytecode


def test_the_refusal_says_what_would_have_happened_for_what_purpose(tmp_path: Path) -> None:
    with pytest.raises(TripwireError) as refusal, tripwire("services.forum: planning"):
        (tmp_path / "new").write_text("x")
    error = refusal.value
    assert error.message == f"services.forum: planning: would write {tmp_path}/new"
    assert error.hint is not None
    assert isinstance(error, HookError)
    assert error.exit_code is ExitCode.CONFIG


def test_a_swallowed_refusal_still_fails_at_the_end(tmp_path: Path) -> None:
    with pytest.raises(TripwireError) as ending, tripwire("planning") as trip:
        for name in ("a", "b", "a"):
            with contextlib.suppress(Exception):
                (tmp_path / name).mkdir()
        assert len(trip.records) == 2
    assert ending.value.message == (
        f"planning: would make the directory {tmp_path}/a; would make the directory {tmp_path}/b"
    )


def test_an_error_that_a_refusal_was_turned_into_gives_way_to_the_refusal(tmp_path: Path) -> None:
    with pytest.raises(TripwireError, match="would make the directory") as ending:
        with tripwire("planning"):
            try:
                (tmp_path / "a").mkdir()
            except Exception as error:
                raise KeyError("unrelated") from error
    assert isinstance(ending.value.__cause__, KeyError)


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, SystemExit])
def test_an_error_without_a_refusal_passes_through(error: type[BaseException]) -> None:
    with pytest.raises(error), tripwire("planning"):
        raise error


@pytest.mark.parametrize("end", [KeyboardInterrupt(), InterruptedRun("interrupted by SIGTERM")])
def test_an_interruption_passes_through_even_after_a_refusal(
    end: BaseException, tmp_path: Path
) -> None:
    with pytest.raises(type(end)), tripwire("planning"):
        with contextlib.suppress(TripwireError):
            (tmp_path / "a").mkdir()
        raise end


def test_a_flood_of_refusals_is_listed_briefly(tmp_path: Path) -> None:
    with pytest.raises(TripwireError) as ending, tripwire("planning") as trip:
        for number in range(1000):
            with contextlib.suppress(TripwireError):
                (tmp_path / str(number)).mkdir()
    assert len(trip.records) == 100
    assert ending.value.message.endswith("; and 95 more")


def test_after_the_end_nothing_is_refused_or_recorded(tmp_path: Path) -> None:
    with tripwire("planning") as trip:
        pass
    (tmp_path / "a").mkdir()
    with pytest.raises(KeyError), tripwire("planning") as failed:
        raise KeyError
    (tmp_path / "b").mkdir()
    assert trip.records == failed.records == []


def test_another_thread_is_refused_too(tmp_path: Path) -> None:
    def act() -> None:
        with contextlib.suppress(TripwireError):
            (tmp_path / "a").mkdir()

    with pytest.raises(TripwireError, match="would make the directory"), tripwire("planning"):
        thread = threading.Thread(target=act)
        thread.start()
        thread.join()
    assert not (tmp_path / "a").exists()


def test_a_thread_left_running_is_an_error() -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="lingerer")
    try:
        with pytest.raises(TripwireError) as ending, tripwire("planning"):
            thread.start()
    finally:
        end.set()
        thread.join()
    assert ending.value.message == "planning: would leave the thread lingerer running"


def test_a_thread_that_was_there_before_or_ends_soon_is_none() -> None:
    end = threading.Event()
    before = threading.Thread(target=end.wait)
    before.start()
    try:
        with tripwire("planning") as trip:
            soon = threading.Timer(0.05, lambda: None)
            soon.start()
    finally:
        end.set()
        before.join()
    assert trip.records == []


@pytest.mark.parametrize("permit", [lambda _trip: allowed(), Trip.allowed])
def test_what_the_engine_allows_itself_is_not_refused(
    permit: Callable[[Trip], contextlib.AbstractContextManager[None]], tmp_path: Path
) -> None:
    with tripwire("planning") as trip:
        with permit(trip):
            with permit(trip):
                (tmp_path / "a").mkdir()
            (tmp_path / "b").mkdir()
        assert trip.records == []
    assert len(list(tmp_path.iterdir())) == 2


def test_the_permission_ends_with_its_block_even_when_that_fails(tmp_path: Path) -> None:
    with pytest.raises(TripwireError), tripwire("planning"):
        with contextlib.suppress(KeyError), allowed():
            raise KeyError
        (tmp_path / "a").mkdir()


def test_the_permission_is_for_one_thread_only(tmp_path: Path) -> None:
    def act() -> None:
        with contextlib.suppress(TripwireError):
            (tmp_path / "a").mkdir()

    with pytest.raises(TripwireError), tripwire("planning"), allowed():
        thread = threading.Thread(target=act)
        thread.start()
        thread.join()
    assert not (tmp_path / "a").exists()


def test_a_permission_from_outside_does_not_reach_into_a_tripwire(tmp_path: Path) -> None:
    with tripwire("dry run") as outer, allowed():
        with pytest.raises(TripwireError), tripwire("planning"):
            (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        outer.records.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_nested_tripwires_all_record_what_happens_in_them(tmp_path: Path) -> None:
    with pytest.raises(TripwireError, match=r"^dry run: ") as ending, tripwire("dry run") as outer:
        with pytest.raises(TripwireError, match=r"^planning: "), tripwire("planning") as inner:
            (tmp_path / "a").mkdir()
        with contextlib.suppress(TripwireError):
            (tmp_path / "b").mkdir()
    assert inner.records == outer.records[:1]
    assert ending.value.records == tuple(outer.records)
    assert len(outer.records) == 2


def test_what_happens_while_the_interpreter_ends_is_no_ones_business() -> None:
    """It empties a module that something still refers to, the tripwire's too."""
    program = """
import builtins
import svcctl.tripwire as module

class Late:
    def __del__(self, open=open):
        open("/dev/null").close()

with module.tripwire("planning"):
    module.late = Late()
builtins.module = module
"""
    ended = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert ended.stderr == b""
