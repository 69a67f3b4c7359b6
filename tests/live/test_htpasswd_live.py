"""What real web servers say to the files that the htpasswd manager writes."""

import base64
import grp
import http.client
import json
import os
import random
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from svcctl.errors import ManagerError
from svcctl.hooks.htpasswd import MARKER, HtpasswdManager
from svcctl.hooks.manager import NewAccount
from tests.live.takeover import BOTH, Seen, take_over

if TYPE_CHECKING:
    from tests.conftest import Svcctl

pytestmark = pytest.mark.live

MODULES = Path("/usr/lib/apache2/modules")
OLD, NEW = "Grüße, alter Ego!", "x" * 72
BOB = "bob:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n"  # password
EVE = "eve:$apr1$abcdefgh$BXSOTNcz4mLGZ8aRkgOJU1\n"

APACHE = """\
ServerRoot "{folder}"
DefaultRuntimeDir "{folder}"
PidFile "{folder}/pid"
ErrorLog "{folder}/error.log"
ServerName localhost
Listen 127.0.0.1:{port}
{modules}
{user}
DocumentRoot "{folder}/www"
<Location "/">
    AuthType Basic
    AuthName "svcctl"
    AuthUserFile "{folder}/passwords"
    AuthGroupFile "{folder}/groups"
    AuthzSendForbiddenOnFailure On
    Require valid-user
</Location>
<Location "/members">
    Require group members
</Location>
{svn}
"""
SVN = """\
<Location "/svn">
    DAV svn
    SVNPath "{folder}/repository"
    Require group members
</Location>
"""
NGINX = """\
daemon off;
{user}
pid {folder}/pid;
error_log {folder}/error.log;
worker_processes 1;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/www;
        auth_basic "svcctl";
        auth_basic_user_file {folder}/passwords;
    }}
}}
"""


def prepare(folder: Path) -> None:
    """Pages, hand-written users, and files that only root may write and the server may read."""
    for page in ("index.html", "members/index.html"):
        (folder / "www" / page).parent.mkdir(parents=True, exist_ok=True)
        (folder / "www" / page).write_text("welcome\n")
    (folder / "passwords").write_text("# by hand\n" + BOB + "\n" + EVE)
    (folder / "groups").write_text("# by hand\nmembers: bob\n")
    for name in ("passwords", "groups"):
        (folder / name).chmod(0o640)
        if os.geteuid() == 0:
            shutil.chown(folder / name, group="www-data")


def manager(folder: Path) -> HtpasswdManager:
    return HtpasswdManager(folder / "passwords", folder / "groups", cost=5)


def get(port: int, path: str, name: str, password: str) -> int:
    """The status of one GET with Basic authentication (RFC 7617, in UTF-8)."""
    token = base64.b64encode(f"{name}:{password}".encode()).decode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers={"Authorization": f"Basic {token}"})
        return connection.getresponse().status
    finally:
        connection.close()


def guesses(folder: Path, name: str) -> list[str]:
    """Everything that stands in the file for this user, its parts, and some more."""
    line = next(
        line
        for line in (folder / "passwords").read_text().splitlines()
        if line.startswith(f"{name}:")
    )
    secret = line.partition(":")[2]
    marker = MARKER.decode()
    chance = random.Random(1)
    return [
        OLD,
        NEW,
        "",
        secret,
        marker,
        marker.removeprefix("{SHA}"),
        secret.removeprefix(marker),
        secret.removeprefix("{SHA}"),
        "*",
        "!",
        *("".join(chance.choices("!*{}$./ab", k=6)) for _ in range(20)),
    ]


@pytest.fixture
def apache(require: Any, server: Any) -> Any:
    binary = require("apache2", "apache2")
    svnadmin = shutil.which("svnadmin")
    subversion = bool(svnadmin and (MODULES / "mod_dav_svn.so").exists())
    names = "mpm_event authn_core authn_file authz_core authz_groupfile authz_user auth_basic dir"

    def configure(folder: Path, port: int) -> list[str]:
        prepare(folder)
        if subversion:
            assert svnadmin
            subprocess.run([svnadmin, "create", folder / "repository"], check=True)
            subprocess.run(["chmod", "-R", "a+rX", folder / "repository"], check=True)
        modules = "\n".join(
            f"LoadModule {name}_module {MODULES}/mod_{name}.so"
            for name in names.split() + (["dav", "dav_svn"] if subversion else [])
        )
        (folder / "apache.conf").write_text(
            APACHE.format(
                folder=folder,
                port=port,
                modules=modules,
                user="User www-data\nGroup www-data" if os.geteuid() == 0 else "",
                svn=SVN.format(folder=folder) if subversion else "",
            )
        )
        return [binary, "-D", "FOREGROUND", "-f", str(folder / "apache.conf")]

    return server(configure)


@pytest.fixture
def nginx(require: Any, server: Any) -> Any:
    binary = require("nginx", "nginx-light")

    def configure(folder: Path, port: int) -> list[str]:
        prepare(folder)
        user = "user www-data;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, user=user))
        return [binary, "-p", str(folder), "-c", str(folder / "nginx.conf")]

    return server(configure)


def whole_life(
    port: int, folder: Path, path: str, join: Callable[[HtpasswdManager], object]
) -> None:
    """Created, joined, disabled, enabled, disabled with a new password, enabled, deleted."""
    web = manager(folder)
    web.check()
    assert get(port, path, "zoë", OLD) == 401
    web.create_account(NewAccount("zoë", "svcctl:1", OLD))
    join(web)
    assert get(port, path, "zoë", OLD) == 200
    assert get(port, path, "zoë", OLD + "x") == 401
    assert get(port, path, "Zoë", OLD) == 401

    web.disable_account("zoë")
    for guess in guesses(folder, "zoë"):
        assert get(port, path, "zoë", guess) == 401, guess
    web.enable_account("zoë")
    assert get(port, path, "zoë", OLD) == 200

    web.disable_account("zoë")
    web.set_password("zoë", NEW)
    assert get(port, path, "zoë", NEW) == 401
    web.enable_account("zoë")
    assert get(port, path, "zoë", NEW) == 200
    assert get(port, path, "zoë", OLD) == 401

    web.delete_account("zoë")
    for guess in (OLD, NEW, ""):
        assert get(port, path, "zoë", guess) == 401
    with pytest.raises(ManagerError):
        web.get_account("zoë")


def test_nginx_lets_in_whom_the_manager_lets_in(nginx: Any) -> None:
    whole_life(nginx.port, nginx.folder, "/", lambda web: None)
    # A hash that crypt() refuses would be a 500 and an alert in the log.
    assert "crypt" not in (nginx.folder / "error.log").read_text()


def test_apache_lets_in_whom_the_manager_lets_in(apache: Any) -> None:
    whole_life(apache.port, apache.folder, "/", lambda web: None)


FILES = """
[services.web]
hook = "htpasswd"
password_file = "{folder}/passwords"
group_file = "{folder}/groups"
cost = 4
create = "auto"
access.states = ["Member"]
groups.map = {{ staff = "members", fc = "commanders" }}
"""


class FilesService:
    """The files of an Apache server, which are gone for a while as a disk can be."""

    name = "web"
    secret = None
    mails = False
    nicknames = False
    removed = "disabled"

    def __init__(self, folder: Path) -> None:
        self._passwords, self._groups = folder / "passwords", folder / "groups"
        self.table = FILES.format(folder=folder)
        self._passwords.write_text("# by hand\n")
        self._groups.write_text("members:\ncommanders:\ntheirs:\n")
        self.create("stranger", "")
        for group in ("staff", "commanders", "theirs"):
            self.join("stranger", group)

    def users(self) -> Seen:
        lines = self._groups.read_text().replace("members:", "staff:").splitlines()
        groups = {
            group: set(names.split()) for group, _, names in (ln.partition(":") for ln in lines)
        }
        entries = [line for line in self._passwords.read_text().splitlines() if line[0] != "#"]
        return {
            name: (
                not secret.startswith(MARKER.decode()),
                frozenset(group for group, members in groups.items() if name in members),
            )
            for name, _, secret in (entry.partition(":") for entry in entries)
        }

    def nickname(self, user: str) -> str:
        raise NotImplementedError

    def create(self, user: str, email: str) -> None:
        with self._passwords.open("a") as file:
            file.write(BOB.replace("bob", user))

    def join(self, user: str, group: str) -> None:
        line = f"{group}:".replace("staff", "members")
        self._groups.write_text(self._groups.read_text().replace(line, f"{line} {user}"))

    def fail_at_create(self, nth: int) -> None:
        self._passwords.rename(self._passwords.with_name("away"))

    def mend(self) -> None:
        self._passwords.with_name("away").rename(self._passwords)


def test_the_files_of_apache_are_taken_over(
    apache: Any, site: Any, svcctl: "Svcctl", monkeypatch: pytest.MonkeyPatch
) -> None:
    files = FilesService(apache.folder)
    take_over(files, site, svcctl, monkeypatch)
    everybody = files.users()
    assert everybody["cyd"] == (True, BOTH)
    given = {"stranger": "password"}
    for name in everybody.keys() - given:
        done = svcctl("accounts", "reset-password", name, "--service", "web", "--json")
        (one,) = json.loads(done.stdout)["passwords"]
        given[name] = one["password"]
    let_in = {name: get(apache.port, "/members/", name, given[name]) for name in everybody}
    assert let_in == dict.fromkeys(everybody, 200)
    svcctl("groups", "remove", "staff", "cyd")
    assert get(apache.port, "/members/", "cyd", given["cyd"]) == 401
    assert get(apache.port, "/members/", "dan", given["dan"]) == 200


def test_apache_asks_the_group_file(apache: Any) -> None:
    port, web = apache.port, manager(apache.folder)
    members = frozenset({"members"})
    whole_life(
        port,
        apache.folder,
        "/members/",
        lambda web: web.change_groups("zoë", members, frozenset()),
    )
    web.create_account(NewAccount("ada", "svcctl:2", OLD))
    assert get(port, "/members/", "ada", OLD) == 403
    web.change_groups("ada", members, frozenset())
    assert get(port, "/members/", "ada", OLD) == 200
    web.change_groups("ada", frozenset({"others"}), members)
    assert get(port, "/members/", "ada", OLD) == 403
    web.change_groups("ada", members, frozenset())
    web.delete_account("ada")
    web.create_account(NewAccount("ada", "svcctl:3", OLD))
    assert get(port, "/members/", "ada", OLD) == 403, "rights of the bearer before"


def test_apache_reads_quoted_and_very_long_group_lines_as_we_do(apache: Any) -> None:
    port, web, groups = apache.port, manager(apache.folder), apache.folder / "groups"
    web.create_account(NewAccount("ada", "svcctl:2", OLD))
    crowd = " ".join(f"user{n}" for n in range(50_000))
    for line in ('members: "ada" bob', "members:'ada'bob", f"members: {crowd} ada", "members:ada"):
        groups.write_text(line + "\n")
        assert get(port, "/members/", "ada", OLD) == 200, line[:40]
        assert web.get_account("ada").groups == frozenset({"members"})
        web.change_groups("ada", frozenset(), frozenset({"members"}))
        assert get(port, "/members/", "ada", OLD) == 403, line[:40]
        web.change_groups("ada", frozenset({"members"}), frozenset())
        assert get(port, "/members/", "ada", OLD) == 200, line[:40]


def test_subversion_over_apache_follows(apache: Any, require: Any) -> None:
    if not (apache.folder / "repository").exists():
        require("mod_dav_svn.so", "libapache2-mod-svn subversion")
    svn, web = require("svn", "subversion"), manager(apache.folder)

    def log() -> int:
        command = [svn, "--non-interactive", "--no-auth-cache", "--username", "ada", "--password"]
        command += [OLD, "--config-dir", str(apache.folder / "svn"), "log", f"{apache.url}/svn"]
        return subprocess.run(command, check=False, capture_output=True).returncode

    web.create_account(NewAccount("ada", "svcctl:2", OLD))
    assert log() != 0
    web.change_groups("ada", frozenset({"members"}), frozenset())
    assert log() == 0
    web.disable_account("ada")
    assert log() != 0
    web.enable_account("ada")
    assert log() == 0


@pytest.mark.parametrize("name", ["apache", "nginx"])
def test_hand_written_lines_work_while_the_file_is_replaced(
    name: str, request: pytest.FixtureRequest
) -> None:
    running = request.getfixturevalue(name)
    folder, web = running.folder, manager(running.folder)
    seen: list[int] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            seen.append(get(running.port, "/", "bob", "password"))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for number in range(40):
            web.create_account(NewAccount(f"user{number}", f"svcctl:{number}", "pw"))
            web.disable_account(f"user{number}")
    finally:
        done.set()
        asking.join()
    assert set(seen) == {200}
    assert len(seen) > 20
    assert (folder / "passwords").read_text().startswith("# by hand\n" + BOB + "\n" + EVE)
    status = (folder / "passwords").stat()
    assert stat.S_IMODE(status.st_mode) == 0o640
    if os.geteuid() == 0:
        assert grp.getgrgid(status.st_gid).gr_name == "www-data"


def test_the_htpasswd_program_and_the_manager_share_a_file(apache: Any, require: Any) -> None:
    program, web = require("htpasswd", "apache2-utils"), manager(apache.folder)
    passwords = apache.folder / "passwords"
    web.create_account(NewAccount("ada", "svcctl:2", OLD))
    subprocess.run([program, "-bB", passwords, "carol", "by hand"], check=True, capture_output=True)
    web.disable_account("ada")
    assert get(apache.port, "/", "carol", "by hand") == 200
    web.disable_account("carol")
    assert get(apache.port, "/", "carol", "by hand") == 401
    web.enable_account("carol")
    assert get(apache.port, "/", "carol", "by hand") == 200
    web.enable_account("ada")
    verify = [program, "-vb", passwords, "ada"]
    assert subprocess.run([*verify, OLD], check=False, capture_output=True).returncode == 0
    assert subprocess.run([*verify, NEW], check=False, capture_output=True).returncode != 0
