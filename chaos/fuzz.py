"""Hostile input: every way in, and what may never come of it."""

import csv
import io
import json
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, chdir, closing, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import tomli
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from chaos.hostile import TEXT, VALUE, replaced, spoiled
from chaos.matrix import Matrix, Row, Task, Watch, spread
from svcctl.cli import COMMANDS, main
from svcctl.config.toml import to_toml
from svcctl.errors import ExitCode
from svcctl.http import client, pace
from svcctl.runs import lane
from svcctl.text import visible

WHOLE = 2000
"""Executions of each target where nobody says how many."""
SECONDS = 30.0
"""Nothing may take longer, however busy the machine is."""
REFUSED = frozenset({ExitCode.USAGE, ExitCode.CONFIG})
CONFIG = """
default_name_format = "{character_name}"
[directory]
attributes = ["fullname", "rank"]
[directory.sources.people]
type = "csv"
path = "people.csv"
[directory.sources.more]
type = "json"
path = "more.json"
[states.Member]
priority = 100
groups = ["corp"]
[services.lab]
hook = "sandbox"
path = "lab.sqlite"
create = "auto"
access.states = ["Member"]
limits.removals = "50%"
[services.wiki]
hook = "htpasswd"
password_file = "wiki.htpasswd"
group_file = "wiki.groups"
cost = 4
create = "auto"
access.states = ["Member"]
[services.idp]
hook = "scim"
base_url = "http://127.0.0.1:{port}"
access.states = ["Member"]
[services.api]
hook = "http"
base_url = "http://127.0.0.1:{port}"
access.states = ["Member"]
headers = { X-Who = "svcctl" }
errors = [{ status = 404, kind = "not_found" }]
account = { uid = "id", name = "login", active = "status == 'active'", groups = "teams[].name" }
[services.api.requests]
list_accounts = { path = "/users", items = "users" }
get_account = { path = "/users/{uid}" }
find_account = { path = "/users", query = { login = "{name}" }, items = "users" }
create_account = { method = "POST", path = "/users", body = { login = "{name}" }, item = "@" }
[backends.github]
uid = "id"
details = { username = "login", email = "email", fullname = "name" }
extra_data = ["rank"]
[pipelines.join]
steps = ["social_details", "social_uid", "auth_allowed", "social_user", "get_username",
    "create_user", "associate_user", "load_extra_data", "user_details"]
"""
PEOPLE = "id,username,groups,character_name\n1,ada,corp,Ada\n2,bob,corp;fc,Bob\n3,cyd,corp,Cyd\n"
MORE = [{"id": 10, "username": "zoe", "groups": ["corp"], "fullname": "Zoe Z"}]
ME = {"id": 5, "login": "yan", "email": "yan@example.org", "name": "Yan Y", "rank": 3}
SHOWN = (
    ("users", "list"),
    ("users", "list", "--json"),
    ("groups", "list", "--format", "csv"),
    ("accounts", "list", "--format", "csv"),
    ("history", "--format", "csv"),
    ("history",),
    ("services", "panel", "ada"),
)


@dataclass
class Ended:
    """Executions of one target, and what came of them that may not."""

    target: str
    executions: int = 0
    codes: dict[int, int] = field(default_factory=dict)
    slowest: float = 0.0
    lost: dict[str, str] = field(default_factory=dict)


@dataclass
class Den:
    """A site to be fed. `answer` is what the remote says to everything."""

    folder: Path
    port: int
    ended: Ended
    answer: bytes = b""
    status: int = 200
    fed: object = None

    def lose(self, what: str) -> None:
        fed = repr(self.fed)
        self.ended.lost.setdefault(what, fed if len(fed) < 1500 else f"{fed[:1500]}…")

    def run(self, *words: str, stdin: str = "") -> tuple[int, str]:
        """A command, held to everything that holds for all of them."""
        before = self.rows()
        stdout, stderr = io.StringIO(), io.StringIO()
        begun = time.monotonic()
        kept = sys.stdin
        sys.stdin = io.StringIO(stdin)
        try:
            with redirect_stdout(stdout), redirect_stderr(stderr):
                code = main(["--config", "svcctl.toml", *words])
        except BaseException as error:  # noqa: BLE001 - it is what is looked for
            self.lose(f"{words[:2]}: {type(error).__name__}: {str(error)[:120]}")
            return 1, ""
        finally:
            sys.stdin = kept
        took = time.monotonic() - begun
        out, err = stdout.getvalue(), stderr.getvalue()
        self.ended.executions += 1
        self.ended.codes[code] = self.ended.codes.get(code, 0) + 1
        self.ended.slowest = max(self.ended.slowest, took)
        if took > SECONDS:
            self.lose(f"{words[:2]}: took {took:.0f} s")
        if code not in set(ExitCode):
            self.lose(f"{words[:2]}: exit code {code}")
        if "Traceback" in out + err or "defect in svcctl" in err:
            self.lose(f"{words[:2]}: fell over: {err.strip().splitlines()[0][:160]}")
        for name, text in (("stdout", out), ("stderr", err)):
            if bare := {char for char in text if char != "\n"} & _invisible(text):
                self.lose(f"{words[:2]}: {name} has {sorted(map(ascii, bare))}")
        # Of a batch, every line stands for itself.
        if code in REFUSED and "--batch" not in words and self.rows() != before:
            self.lose(f"{words[:2]}: refused with {code}, and something changed")
        if "csv" in words and code == 0:
            for row in csv.reader(io.StringIO(out)):
                for cell in row:
                    if cell.startswith(("=", "+", "-", "@", "\t", "\r")) and not _number(cell):
                        self.lose(f"{words[:2]}: a formula in CSV: {cell[:40]!r}")
        return code, out

    def show(self, dice: random.Random) -> None:
        """What was taken over is shown again."""
        self.run("users", "list", "--format", "csv")
        self.run(*dice.choice(SHOWN))

    def rows(self) -> list[Any]:
        """What a refusal leaves as it is."""
        with closing(sqlite3.connect(self.folder / "svcctl.db")) as db:
            return [
                db.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
                for table in ("users", "memberships", "accounts", "associations", "operations")
            ]

    def write(self, name: str, content: bytes | str) -> None:
        raw = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
        (self.folder / name).write_bytes(raw)


def _invisible(text: str) -> set[str]:
    return set() if visible(text) == text else {c for c in text if visible(c) != c}


def _number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


Target = Callable[[Den, random.Random, Any], None]


def _json(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


# The ways in


def configuration(den: Den, dice: random.Random, value: Any) -> None:
    whole = CONFIG.replace("{port}", str(den.port))
    tree = replaced(tomli.loads(whole), value, dice)
    den.fed = raw = whole.encode()
    if dice.random() < 0.3:
        raw = spoiled(whole.encode(), dice)
    else:
        try:
            raw = to_toml(tree).encode("utf-8", "surrogatepass")
        except (TypeError, ValueError, AttributeError):
            return
    den.fed = raw
    den.write("svcctl.toml", raw)
    den.run("config", dice.choice(("check", "show")))
    den.run(*dice.choice((("sync", "--all", "--dry-run"), ("services", "list"), ("plan",))))
    den.write("svcctl.toml", whole)


def formats(den: Den, dice: random.Random, value: Any) -> None:
    """Format strings of names, requests and expressions of an HTTP recipe."""
    text = str(value) if not isinstance(value, str) else value
    text = dice.choice(("", "{username}", "{name}", "{uid}")) + text + dice.choice(("", "{", "}}"))
    tree = tomli.loads(CONFIG.replace("{port}", str(den.port)))
    api = tree["services"]["api"]
    match dice.randrange(8):
        case 0:
            tree["default_name_format"] = text
        case 1:
            tree["services"]["lab"]["username_format"] = text
        case 2:
            tree["services"]["lab"]["name_formats"] = {"Member": text}
        case 3:
            api["requests"]["get_account"]["path"] = "/" + text
        case 4:
            api["requests"]["create_account"]["body"] = {"login": text}
        case 5:
            api["account"]["name"] = text
        case 6:
            api["headers"]["X-Who"] = text
        case _:
            api["requests"]["find_account"]["query"] = {text: text}
    den.fed = text
    try:
        den.write("svcctl.toml", to_toml(tree))
    except (TypeError, ValueError):
        return
    den.answer = _json({"users": [{"id": 1, "login": "ada", "status": "active"}]})
    if den.run("config", "check")[0] == 0:
        den.run("sync", "--all", "--dry-run")
        den.run("drift", "api")
    den.write("svcctl.toml", CONFIG.replace("{port}", str(den.port)))


def people_csv(den: Den, dice: random.Random, value: Any) -> None:
    rows = [line.split(",") for line in PEOPLE.splitlines()]
    number = dice.randrange(10**9)
    rows.append([str(number), f"new{number}", "corp", "New"])
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        row = dice.choice((rows[-1], rows[-1], dice.choice(rows)))
        row[dice.randrange(len(row))] = value if isinstance(value, str) else str(value)
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    raw = buffer.getvalue().encode("utf-8", "surrogatepass")
    den.fed = raw = spoiled(raw, dice) if dice.random() < 0.25 else raw
    den.write("people.csv", raw)
    if den.run("directory", "pull", "--source", "people", "--accept-missing", "9")[0] == 0:
        den.show(dice)
        den.run("sync", "--all", "--service", dice.choice(("lab", "wiki")))


def people_json(den: Den, dice: random.Random, value: Any) -> None:
    raw = _json(replaced(MORE, value, dice))
    den.fed = raw = spoiled(raw, dice) if dice.random() < 0.3 else raw
    den.write("more.json", raw)
    if den.run("directory", "pull", "--source", "more", "--accept-missing", "9")[0] == 0:
        den.show(dice)


def response(den: Den, dice: random.Random, value: Any) -> None:
    raw = _json(replaced(ME, value, dice))
    den.fed = raw = spoiled(raw, dice) if dice.random() < 0.3 else raw
    den.write("me.json", raw)
    den.run("pipeline", "run", "join", "-r", "me.json", *dice.choice(((), ("--json",), ("-n",))))
    den.show(dice)


def batch(den: Den, dice: random.Random, value: Any) -> None:
    whole = {"response": ME, "backend": "github", "set": {"rank": 1}}
    lines = [_json(replaced(whole, value, dice)) for _ in range(dice.randint(1, 3))]
    raw = b"\n".join(lines) + b"\n"
    den.fed = raw = spoiled(raw, dice) if dice.random() < 0.3 else raw
    den.write("many.ndjson", raw)
    den.run("pipeline", "run", "join", "--batch", "many.ndjson")


def plan_file(den: Den, dice: random.Random, value: Any) -> None:
    plan = den.folder / "plan.json"
    if not plan.exists():
        den.write("people.csv", PEOPLE + "7,gus,corp,Gus\n")
        den.run("directory", "pull", "--source", "people")
        den.run("plan", "--out", "plan.json", "--service", "lab")
        shutil.copyfile(plan, den.folder / "plan.kept")
    whole = (den.folder / "plan.kept").read_bytes()
    raw = spoiled(whole, dice)
    if dice.random() < 0.6:
        raw = _json(replaced(json.loads(whole), value, dice))
    if raw == whole:
        return
    den.fed = raw
    before = den.rows()
    den.write("plan.json", raw)
    code, _ = den.run("apply", "plan.json", "--yes")
    try:
        same = json.loads(raw) == json.loads(whole)
    except ValueError:
        same = False
    if not same and (code == 0 or den.rows() != before):
        den.lose(f"a plan that nobody made was applied: {code}")


def words(den: Den, dice: random.Random, value: Any) -> None:
    text = value if isinstance(value, str) else str(value)
    known = ("ada", "lab", "wiki", "corp", "join", "1", "-n", "--json", "--all", "--format", "csv")
    more = ("list", "show", "check", "add", "set", "pull", "resume", "run", "partials", "approve")
    command = dice.choice([name for name in COMMANDS if name not in ("demo", "init")])
    given = [command, dice.choice(more), *(dice.choice((text, *known)) for _ in range(3))]
    given = [word for word in given if "\0" not in word][: dice.randint(1, 5)]
    given = [word for word in given if word != "--out"]
    den.fed = given
    den.run(*given, stdin="n\n")


def partial_id(den: Den, dice: random.Random, value: Any) -> None:
    text = value if isinstance(value, str) else str(value)
    den.fed = text
    which = dice.choice((("resume",), ("abort",), ("partials", "show")))
    den.run("pipeline", *which, "--", text)
    den.run("pipeline", "resume", "--set", f"a={text}", "--token", text)


def password_file(den: Den, dice: random.Random, value: Any) -> None:
    name = value if isinstance(value, str) else str(value)
    line = f"{name}:$2y$04$abcdefghijklmnopqrstuv:x\n".encode("utf-8", "surrogatepass")
    theirs = spoiled(b"theirs:{SHA}x=\n# a comment\n" + line, dice)
    groups = spoiled(f"corp: theirs {name}\nown: theirs\n".encode("utf-8", "surrogatepass"), dice)
    den.fed = (theirs, groups)
    den.write("wiki.htpasswd", theirs)
    den.write("wiki.groups", groups)
    den.run("services", "check", "wiki")
    code, _ = den.run("sync", "--all", "--service", "wiki", "--accept-removals", "0")
    den.run("update-all-groups", "--service", "wiki")
    den.run("drift", "wiki", *dice.choice(((), ("--format", "csv"))))
    now = (den.folder / "wiki.htpasswd").read_bytes()
    if not now.startswith(theirs.rstrip(b"\n")[:20]) and b"ada:" not in theirs:
        den.lose(f"what others wrote into a password file is gone ({code})")


def remote(den: Den, dice: random.Random, value: Any) -> None:
    user = {
        "id": "u1",
        "userName": "ada",
        "login": "ada",
        "externalId": "svcctl:1",
        "displayName": "Ada",
        "groups": [{"value": "g1", "display": "corp"}],
        "active": True,
    }
    page: Any = {"totalResults": 1, "Resources": [user], "users": [user]}
    raw = _json(replaced(page, value, dice))
    den.status = dice.choice((200, 200, 200, 200, 201, 204, 400, 404, 409, 429, 500))
    den.answer = den.fed = spoiled(raw, dice) if dice.random() < 0.3 else raw
    service = dice.choice(("idp", "api"))
    which = dice.choice(("check", "drift", "update", "adopt", "refresh"))
    rules = ("name", "email", "external-id")
    den.run(
        *{
            "check": ("services", "check", service),
            "drift": ("drift", service),
            "update": ("update-all-groups", "--service", service),
            "adopt": ("adopt", service, "--by", dice.choice(rules), "--dry-run"),
            "refresh": ("accounts", "refresh", "--all", "--service", service),
        }[which],
        *dice.choice(((), ("--json",))),
    )


TARGETS: dict[str, tuple[Target, st.SearchStrategy[Any]]] = {
    "configuration": (configuration, VALUE),
    "formats": (formats, TEXT),
    "CSV sources": (people_csv, TEXT),
    "JSON sources": (people_json, VALUE),
    "provider responses": (response, VALUE),
    "batches": (batch, VALUE),
    "plan files": (plan_file, VALUE),
    "command lines": (words, TEXT),
    "partial ids and tokens": (partial_id, TEXT),
    "password files": (password_file, TEXT),
    "remote answers": (remote, VALUE),
}


@contextmanager
def _den(ended: Ended) -> Iterator[Den]:
    """A site in which everything is in step, and a remote that says what it is told."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="svcctl-fuzz-")))
        stack.enter_context(chdir(folder))
        dens: list[Den] = []

        class Http(BaseHTTPRequestHandler):
            def _serve(self) -> None:
                den = dens[0]
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(den.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(den.answer)))
                self.send_header("Retry-After", "0")
                self.end_headers()
                self.wfile.write(den.answer)

            do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve  # noqa: N815 - its names

            def log_message(self, *_: Any) -> None:
                """Nowhere."""

        server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Http))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        den = Den(folder, server.server_port, ended)
        dens.append(den)
        den.write("svcctl.toml", CONFIG.replace("{port}", str(den.port)))
        den.write("people.csv", PEOPLE)
        den.write("more.json", _json(MORE))
        for name in ("wiki.htpasswd", "wiki.groups"):
            den.write(name, "")
        (folder / "svcctl.db").touch(0o600)
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            for words in ("config check", "db upgrade", "directory pull", "sync --all -s lab"):
                if code := main(["--config", "svcctl.toml", *words.split()]):
                    raise RuntimeError(f"the site could not be made: {words}: {code}")
        yield den


@dataclass(frozen=True, slots=True)
class Meal:
    target: str
    seed: int
    count: int


def _feed(meal: Meal) -> Ended:
    """So many executions of one target, from one seed."""
    lane.FIRST_PAUSE = client.FIRST_PAUSE = pace.FIRST_BREAK = pace.LONGEST_BREAK = 0.001
    lane.LONGEST_WAIT = client.LONGEST_WAIT = 0.02
    for name in [name for name in os.environ if name.startswith("SVCCTL_")]:
        del os.environ[name]
    ended = Ended(meal.target)
    target, values = TARGETS[meal.target]
    with _den(ended) as den:

        @seed(meal.seed)
        @settings(
            max_examples=meal.count,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(values, st.integers(0, 2**32))
        def fed(value: Any, number: int) -> None:
            target(den, random.Random(number), value)

        fed()
    return ended


def run(task: Task) -> list[Row]:
    """Each target gets its share of the runs."""
    count = WHOLE if task.runs is None else max(1, task.runs // len(TARGETS))
    portion = min(count, 250)
    meals = [
        Meal(target, task.seed + number, portion)
        for target in TARGETS
        for number in range(max(1, count // portion))
    ]
    rows = []
    watch = Watch()
    found: dict[str, Ended] = {}
    for ended in spread(_feed, meals):
        whole = found.setdefault(ended.target, Ended(ended.target))
        whole.executions += ended.executions
        whole.slowest = max(whole.slowest, ended.slowest)
        for code, times in ended.codes.items():
            whole.codes[code] = whole.codes.get(code, 0) + times
        whole.lost |= ended.lost
    seconds = watch.seconds / len(TARGETS)
    for target in TARGETS:
        ended = found[target]
        codes = ", ".join(f"{code}: {times:,}" for code, times in sorted(ended.codes.items()))
        print(f"  {target}: by exit code {codes}; {ended.slowest:.1f} s at most", file=sys.stderr)
        lost = [f"{what}, fed {fed}" for what, fed in ended.lost.items()]
        rows.append(
            Row(
                f"fuzz: {target}",
                ended.executions,
                "executions",
                seconds,
                lost,
            )
        )
    return rows


MATRIX = Matrix(run, short=110)
