"""The search for secrets: a whole scenario, and every byte that it wrote or said.

The services of the scenario are ill-bred: they say back what they were sent, in errors and pages.
"""

import base64
import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from chaos.matrix import Matrix, Row, Task, Watch

CONFIG = """
default_name_format = "{{username}}"
vault_key = {{ env = "VAULT_KEY" }}

[directory]
attributes = ["fullname"]

[directory.sources.people]
type = "csv"
path = "people.csv"

[states.Member]
priority = 100
groups = ["corp"]

[services.api]
hook = "http"
base_url = "http://127.0.0.1:{http}"
create = "auto"
access.states = ["Member"]
headers = {{ X-Key = "{{key}}" }}
secrets = {{ key = {{ file = "api.key" }} }}
message = "error"
account = {{ uid = "id", name = "login", active = "active", nickname = "nick" }}
[services.api.requests]
list_accounts = {{ path = "/users", items = "users", query = {{ k = "{{key}}" }} }}
get_account = {{ path = "/users/{{uid}}" }}
find_account = {{ path = "/users", query = {{ login = "{{name}}" }}, items = "users" }}
disable_account = {{ method = "POST", path = "/users/{{uid}}/off" }}
enable_account = {{ method = "POST", path = "/users/{{uid}}/on" }}
[services.api.requests.create_account]
method = "POST"
path = "/users"
body = {{ login = "{{name}}", password = "{{password}}" }}
item = "@"
[services.api.requests.set_password]
method = "POST"
path = "/users/{{uid}}/password"
body = {{ password = "{{password}}" }}

[services.idp]
hook = "scim"
base_url = "http://127.0.0.1:{http}/scim"
token = {{ env = "SCIM_TOKEN" }}
create = "auto"
passwords = true
access.states = ["Member"]

[services.radio]
hook = "command"
program = "radio"
create = "auto"
methods = ["find_account", "create_account", "delete_account", "get_account"]
secrets = {{ key = {{ env = "RADIO_KEY" }} }}
access.states = ["Member"]

[notify]
deliver = "mail"
operators = ["ops@example.org"]
[notify.mail]
host = "127.0.0.1"
port = {smtp}
security = "none"
username = "svcctl"
password = {{ env = "MAIL_PASSWORD" }}
sender = "svcctl@example.org"

[backends.github]
uid = "id"
details = {{ username = "login", email = "email", fullname = "name" }}
extra_data = ["access_token", "refresh_token", ["id_token", "proof"]]

[pipelines.join]
steps = ["social_details", "social_names", "social_uid", "auth_allowed", "social_user",
    "get_username", "mail_validation", "create_user", "associate_user", "load_extra_data",
    "user_details"]
settings = {{ FORCE_EMAIL_VALIDATION = true }}
[pipelines.fail]
steps = ["social_details", "social_names", "social_uid", "auth_allowed", "social_user", "debug",
    "get_username", "create_user", "associate_user", "load_extra_data",
    "user_details", "chaos_steps:fails"]
"""
STEPS = """
def fails(response, **kwargs):
    raise RuntimeError("a step of others fails")
"""
RADIO = """#!/bin/sh
# Says what it was asked and what surrounds it, as a careless program does.
env >>radio.environment
cat >&2
env >&2
exit 1
"""
SPOKEN = ("reset-password",)
"""Commands whose answer is a password, once."""


@dataclass
class Wanted:
    """What is looked for: secrets by what they are."""

    known: dict[str, str] = field(default_factory=dict)

    def new(self, what: str) -> str:
        """A secret that can be told from everything else: what is looked for is its core."""
        core = f"Kn{secrets.token_hex(12)}"
        self.known[what] = core
        return f"{core}/+é"

    def forms(self) -> Iterator[tuple[str, bytes]]:
        """Every secret as it is, and as it would stand in something else."""
        for what, core in self.known.items():
            raw = core.encode()
            yield what, raw
            yield f"{what}, backwards", raw[::-1]
            yield f"{what}, in hexadecimal", raw.hex().encode()
            yield f"{what}, in UTF-16", core.encode("utf-16-le")
            yield f"{what}, as JSON escapes", "".join(f"\\u{ord(c):04x}" for c in core).encode()
            yield f"{what}, as URL escapes", "".join(f"%{ord(c):02X}" for c in core).encode()
            for shift in range(3):
                text = base64.b64encode(b"\0" * shift + raw)
                yield f"{what}, in base64", text[4 : len(text) - len(text) % 4 - 4]

    def found(self, content: bytes) -> list[str]:
        return [what for what, form in self.forms() if form in content]


@contextmanager
def ill_bred(wanted: Wanted) -> Iterator[tuple[int, int]]:
    """An HTTP and a mail server that say back what they hear; their ports."""
    users: dict[str, dict[str, Any]] = {}

    class Http(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            heard = f"{self.command} {self.path}\n{self.headers}\n{body}"
            given = json.loads(body) if body.startswith("{") else {}
            if password := given.get("password"):
                wanted.known.setdefault(f"a password that was sent: {password[:4]}…", password)
            asked = urlsplit(self.path)
            parts = asked.path.strip("/").split("/")
            name = str(given.get("login") or parse_qs(asked.query).get("login", [""])[0])
            status = 400
            answer: dict[str, Any] = {"error": heard, "detail": heard, "message": heard}
            if parts[0] == "users" and not (name == "bob" or "password" in parts):
                status, answer = (
                    200,
                    {"users": [one for one in users.values() if name in ("", one["login"])]},
                )
                if self.command == "POST" and len(parts) == 1:
                    users[name] = {"id": f"u-{name}", "login": name, "active": True, "nick": ""}
                    status, answer = 201, users[name]
                elif len(parts) > 1:
                    user = users[parts[1].removeprefix("u-")]
                    if len(parts) > 2:
                        user["active"] = parts[2] == "on"
                    answer = user
            elif name == "bob" and self.command == "GET":
                status, answer = 200, {"users": []}
            said = json.dumps(answer).encode()
            self.send_response(status, f"no: {heard.splitlines()[0][:40]}")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve  # noqa: N815 - its names

        def log_message(self, *_: Any) -> None:
            """Nowhere."""

    class Mail(StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            while line := self.rfile.readline():
                if line.upper().startswith(b"EHLO"):
                    self.wfile.write(b"250-here\r\n250 AUTH PLAIN LOGIN\r\n")
                elif line.upper().startswith((b"HELO", b"RSET", b"NOOP")):
                    self.wfile.write(b"250 ok\r\n")
                elif line.upper().startswith(b"QUIT"):
                    self.wfile.write(b"221 bye\r\n")
                    return
                else:
                    words = line.split()
                    clear = b""
                    for word in words:
                        try:
                            clear += base64.b64decode(word, validate=True)
                        except ValueError:
                            continue
                    heard = line.strip() + b" " + clear.replace(b"\0", b" ")
                    self.wfile.write(b"535 5.7.8 you said " + heard + b"\r\n")

    with ThreadingHTTPServer(("127.0.0.1", 0), Http) as http:
        ThreadingTCPServer.daemon_threads = True
        with ThreadingTCPServer(("127.0.0.1", 0), Mail) as mail:
            for server in (http, mail):
                threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                yield http.server_port, mail.server_address[1]
            finally:
                http.shutdown()
                mail.shutdown()


@dataclass
class Ears:
    """What processes show of themselves while the scenario runs, and what they say."""

    heard: list[tuple[str, bytes]] = field(default_factory=list)
    shown: dict[str, bytes] = field(default_factory=dict)
    done: bool = False

    def watch(self) -> None:
        """The command lines of all processes that begin from now on."""
        foreign = {entry.name for entry in Path("/proc").iterdir()}
        while not self.done:
            for entry in Path("/proc").iterdir():
                if entry.name.isdecimal() and entry.name not in foreign:
                    try:
                        line = (entry / "cmdline").read_bytes()
                    except OSError:
                        continue
                    self.shown[entry.name] = self.shown.get(entry.name, b"") + line
            time.sleep(0.01)


@dataclass
class Scenario:
    folder: Path
    wanted: Wanted
    environment: dict[str, str]
    ears: Ears
    runs: int = 0

    def run(self, *words: str, stdin: str = "") -> str:
        """A process of its own, as much as possible said."""
        done = subprocess.run(
            [sys.executable, "-m", "svcctl", "-vv", "--config", "svcctl.toml", *words],
            cwd=self.folder,
            env=self.environment,
            input=stdin.encode(),
            capture_output=True,
            check=False,
        )
        self.runs += 1
        said = " ".join(words)
        if not any(word in words for word in SPOKEN):
            self.ears.heard.append((f"svcctl {said}, stdout", done.stdout))
        self.ears.heard.append((f"svcctl {said}, stderr", done.stderr))
        if b"Traceback" in done.stderr and b"svcctl.errors" not in done.stderr:
            self.ears.heard.append((f"svcctl {said}: {done.stderr.decode()[-600:]}", b"DEFECT"))
        return done.stdout.decode()


def _live(one: Scenario) -> None:
    """Everything that an operator does, and all of it with secrets at hand."""
    new = one.wanted.new
    for words in (
        ("config", "check"),
        ("config", "show"),
        ("services", "check"),
        ("services", "list"),
        ("services", "show", "api"),
        ("services", "show", "radio"),
        ("directory", "pull"),
        ("plan", "--out", "plan.json"),
        ("apply", "plan.json", "--yes"),
        ("sync", "--all"),
        ("sync", "--all", "--json"),
        ("update-all-groups",),
        ("retry", "--format", "ndjson"),
        ("drift",),
        ("accounts", "refresh", "--service", "idp", "--all"),
    ):
        one.run(*words)
    one.run(
        "accounts", "set-password", "ada", "--service", "api", stdin=new("a password given") + "\n"
    )
    answer = one.run("accounts", "reset-password", "cyd", "--service", "api", "--json")
    if answer and (shown := json.loads(answer).get("passwords")):
        one.wanted.known["a password that was shown"] = shown[0]["password"]
    response = {
        "id": 5,
        "login": "zoe",
        "email": "zoe@example.org",
        "name": "Zoe",
        "access_token": new("an access token"),
        "refresh_token": new("a refresh token"),
        "id_token": {"nested": [new("an id token")]},
        "client_secret": new("a client secret"),
    }
    (one.folder / "given").mkdir()
    (one.folder / "given" / "zoe.json").write_text(json.dumps(response))
    again = {"response": {**response, "id": 6, "login": "yan"}}
    (one.folder / "given" / "many.ndjson").write_text(f"{json.dumps(again)}\n{json.dumps(again)}\n")
    more_words: tuple[tuple[str, ...], ...] = (
        ("pipeline", "run", "join", "-r", "given/zoe.json"),
        ("pipeline", "partials", "list"),
        ("pipeline", "run", "fail", "-r", "given/zoe.json"),
        ("pipeline", "run", "fail", "-r", "given/zoe.json", "--dry-run"),
        ("pipeline", "run", "fail", "--batch", "given/many.ndjson"),
        ("users", "show", "ada", "--json"),
        ("why", "bob", "api"),
        ("history", "--json"),
        ("holds", "list"),
        ("db", "check"),
        ("db", "backup", "backup.db"),
    )
    for more in more_words:
        one.run(*more)
    partials = one.run("pipeline", "partials", "list", "--json")
    for row in json.loads(partials)["rows"] if partials else ():
        one.run("pipeline", "partials", "show", row["id"])
        one.run("pipeline", "resume", row["id"], "--set", "verification_code=wrong")
    (one.folder / "people.csv").write_text("id,username,groups\n1,ada,\n2,bob,corp\n3,cyd,corp\n")
    one.run("directory", "pull", "--sync")
    one.run("sync", "--all")
    config = (one.folder / "svcctl.toml").read_text()
    url = f"postgresql://svcctl:{new('the password in a URL')}@127.0.0.1:1/svcctl"
    scim = '[services.x]\nhook = "scim"\n'
    for wrong in (
        f'database = "{url}"\n',
        f'vault_key = "{new("a key in the configuration")}"\n',
        f'{scim}base_url = "http://u:{new("in a base_url")}@h"\n',
        f'{scim}base_url = "http://127.0.0.1"\ntoken = "{new("a token in it")}"\n',
    ):
        top = wrong.startswith(("database", "vault"))
        text = config.replace("vault_key", "#", 1) if wrong.startswith("vault") else config
        (one.folder / "svcctl.toml").write_text(wrong + text if top else text + wrong)
        one.run("config", "check")
        one.run("config", "show")
        one.run("db", "check")
        one.run("sync", "--all", "--dry-run")
    (one.folder / "svcctl.toml").write_text(config)


def _found(folder: Path, wanted: Wanted) -> Scenario:
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("SVCCTL_")},
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent), str(folder)]),
        "TMPDIR": str(folder / "tmp"),
        "HOME": str(folder / "home"),
        "VAULT_KEY": secrets.token_hex(32),
        "SCIM_TOKEN": wanted.new("the SCIM token").encode("ascii", "ignore").decode(),
        "RADIO_KEY": wanted.new("the key of a program"),
        "MAIL_PASSWORD": wanted.new("the mail password").encode("ascii", "ignore").decode(),
    }
    wanted.known["the vault key"] = environment["VAULT_KEY"]
    for name in ("tmp", "home"):
        (folder / name).mkdir()
    (folder / "people.csv").write_text(
        "id,username,groups\n1,ada,corp\n2,bob,corp\n3,cyd,corp\n4,dan,corp\n5,eve,corp\n"
    )
    (folder / "chaos_steps.py").write_text(STEPS)
    (folder / "radio").write_text(RADIO)
    (folder / "radio").chmod(0o700)
    return Scenario(folder, wanted, environment, Ears())


def run(task: Task) -> list[Row]:
    """The scenario once; every byte of it, in every form of every secret."""
    watch = Watch()
    wanted = Wanted()
    folder = task.folder / "site"
    folder.mkdir()
    one = _found(folder, wanted)
    key = wanted.new("the key of an API").encode("ascii", "ignore")
    # The one place where it may stand.
    outside = task.folder / "api.key"
    outside.write_bytes(key)
    outside.chmod(0o600)
    (folder / "api.key").symlink_to(outside)
    watcher = threading.Thread(target=one.ears.watch, daemon=True)
    with ill_bred(wanted) as (http, smtp):
        (folder / "svcctl.toml").write_text(CONFIG.format(http=http, smtp=smtp))
        watcher.start()
        _live(one)
    one.ears.done = True
    watcher.join()
    lost, size = [], 0
    places = [
        *one.ears.heard,
        *((f"process {pid}", shown) for pid, shown in one.ears.shown.items()),
    ]
    for path in folder.rglob("*"):
        own = path.parent.name == "given" or path.is_symlink() or not path.is_file()
        if not own:
            places.append((str(path.relative_to(folder)), path.read_bytes()))
    for where, content in places:
        size += len(content)
        if content == b"DEFECT":
            lost.append(f"fell over: {where}")
        lost += [f"{where}: {what}" for what in wanted.found(content)]
    print(
        f"  {one.runs} commands, {len(wanted.known)} secrets in {sum(1 for _ in wanted.forms())} "
        f"forms, {len(places)} files, answers and process titles",
        file=sys.stderr,
    )
    return [Row("secrets: every byte of a scenario", size, "bytes", watch.seconds, lost)]


MATRIX = Matrix(run, short=1)
