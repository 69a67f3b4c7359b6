"""A club's member list with an HTTP API that can be as odd as real ones are."""

import json
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

KEY = "a-key-for-tests"
Answer = tuple[int, Any, Mapping[str, str]]


@dataclass
class Member:
    """Somebody with an account."""

    id: int
    login: str
    password: str
    email: str = ""
    display: str = ""
    key: str = ""
    active: bool = True
    teams: set[int] = field(default_factory=set)


@dataclass
class Club:
    """The members, the teams, and the oddities of the API. `log` has method, path and body."""

    url: str = ""
    members: dict[int, Member] = field(default_factory=dict)
    teams: dict[int, str] = field(default_factory=dict)
    sessions: dict[str, str] = field(default_factory=dict)
    log: list[tuple[str, str, Any]] = field(default_factory=list)
    oddities: set[str] = field(default_factory=set)
    answer: Callable[[str, str], Answer | None] = lambda *_: None
    """Answers instead of the API where it gives something."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reset(self) -> None:
        self.members = {1: Member(1, "admin", "secret")}
        self.teams = {11: "staff", 12: "commanders", 13: "theirs"}
        self.sessions, self.log, self.oddities = {}, [], set()
        self.answer = lambda *_: None

    def by_login(self, login: str) -> Member:
        return next(one for one in self.members.values() if one.login == login)

    def shown(self, member: Member) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "id": member.id,
            "login": member.login,
            "email": member.email,
            "display": member.display,
            "key": member.key,
            "active": member.active,
            "teams": [{"id": team, "name": self.teams[team]} for team in sorted(member.teams)],
        }
        return entry

    # Routes

    def handle(self, method: str, target: str, headers: Mapping[str, str], body: Any) -> Answer:
        parts = urlsplit(target)
        query = {
            name: values[-1]
            for name, values in parse_qs(parts.query, keep_blank_values=True).items()
        }
        path = [unquote(part) for part in parts.path.strip("/").split("/")]
        self.log.append((method, target, body))
        if (given := self.answer(method, parts.path)) is not None:
            return given
        if path == ["session"]:
            return self._log_in(body)
        if not self._may(headers, method):
            if "errors are 200" in self.oddities:
                return 200, {"error": {"code": "login", "text": "log in first"}}, {}
            return 401, {"message": "log in first"}, {}
        match [method, *path]:
            case ["GET", "members"]:
                return self._page(query)
            case ["GET", "search"]:
                return 200, [self.shown(one) for one in self._search(query)], {}
            case ["POST", "members"]:
                return self._create(body)
            case ["GET", "teams"]:
                every = [{"id": n, "name": name} for n, name in self.teams.items()]
                start = int(query.get("offset", "0"))
                return 200, {"teams": every[start:], "total": len(every)}, {}
            case [_, "members", number, *rest] if number.isdecimal():
                if (member := self.members.get(int(number))) is None:
                    return self._error(404, "no-member", "there is no such member")
                return self._member(method, member, rest, body)
        return 404, "<h1>Not found</h1>", {"Content-Type": "text/html"}

    def _may(self, headers: Mapping[str, str], method: str) -> bool:
        if "sessions" not in self.oddities:
            return KEY in (headers.get("X-Key"), headers.get("Authorization", "")[7:])
        cookie = headers.get("Cookie", "").removeprefix("sid=")
        token = self.sessions.get(cookie)
        return token is not None and (method == "GET" or headers.get("X-CSRF") == token)

    def _log_in(self, body: Any) -> Answer:
        if body != {"user": ["svcctl"], "password": [KEY]}:
            return 200, {"ok": False, "reason": "wrong password"}, {}
        sid, token = secrets.token_hex(8), secrets.token_hex(16)
        self.sessions[sid] = token
        return 200, {"ok": True, "csrf": token}, {"Set-Cookie": f"sid={sid}; Path=/"}

    def _error(self, status: int, code: str, text: str) -> Answer:
        if "errors are 200" in self.oddities:
            return 200, {"error": {"code": code, "text": text}}, {}
        return status, {"code": code, "message": text}, {}

    def _search(self, query: Mapping[str, str]) -> list[Member]:
        if "key" in query:
            return [one for one in self.members.values() if one.key == query["key"]]
        wanted = query["login"].casefold()
        return [one for one in self.members.values() if wanted in one.login.casefold()]

    def _page(self, query: Mapping[str, str]) -> Answer:
        every = [self.shown(one) for _, one in sorted(self.members.items())]
        if "short list" in self.oddities:
            every = [{"id": one["id"], "login": one["login"]} for one in every]
        size = int(query.get("size", "1000"))
        start = int(query.get("offset", "0")) + (int(query.get("page", "1")) - 1) * size
        start = int(query.get("after", start))
        if "stuck" in self.oddities:
            start = 0
        page = every[start : start + size]
        more = start + size < len(every)
        if "ends early" in self.oddities and start:
            page, more = [], False
        following = start + size
        document = {
            "members": page,
            "total": len(every),
            "next": {"after": following, "token": "x"} if more else None,
            "url": f"/members?size={size}&offset={following}" if more else None,
        }
        headers = {"X-Pages": str(-(-len(every) // size))}
        if more and "size" in query:
            where = f"<{self.url}/members?size={size}&offset={following}>"
            headers["Link"] = f'<{self.url}/members>; rel="first", {where}; rel="next"'
        return 200, document, headers

    def _create(self, body: Any) -> Answer:
        taken = [one for one in self.members.values() if one.login == body["login"]]
        if taken and "takes over" in self.oddities:
            taken[0].password = body["password"]
            return 200, self.shown(taken[0]), {}
        if taken:
            return self._error(
                409 if "says conflict" in self.oddities else 500,
                "taken",
                f"{body['login']} is taken",
            )
        if "echoes" in self.oddities:
            return 400, {"message": f"bad member: {json.dumps(body)}"}, {}
        number = max(self.members) + 1
        login = body["login"] + (" 0" if "renames" in self.oddities else "")
        member = Member(number, login, body["password"], key=body.get("key", ""))
        member.email = body.get("email", "")
        self.members[number] = member
        if "says nothing" in self.oddities:
            return 200, None, {}
        return 201, self.shown(member), {}

    def _member(self, method: str, member: Member, rest: list[str], body: Any) -> Answer:
        idle = "does nothing" in self.oddities
        if rest and rest[0] == "teams":
            team = int(rest[1])
            if method == "PUT" and not idle:
                member.teams.add(team)
            elif method == "DELETE" and not idle:
                member.teams.discard(team)
            return 200, {"added": [] if idle else [team]}, {}
        if method == "GET":
            return 200, self.shown(member), {}
        if not idle and method == "DELETE":
            del self.members[member.id]
        elif not idle:
            for name, value in body.items():
                setattr(member, name, set(map(int, value)) if name == "teams" else value)
        return 204, None, {}


@contextmanager
def serving() -> Iterator[Club]:
    """The club's API on a free port of this machine, in a thread."""
    club = Club()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            raw = self.rfile.read(length).decode()
            form = "form" in self.headers.get("Content-Type", "")
            body = parse_qs(raw, keep_blank_values=True) if form else json.loads(raw or "null")
            with club.lock:
                status, document, headers = club.handle(
                    self.command, self.path, dict(self.headers.items()), body
                )
            content = b""
            if document is not None:
                content = (document if isinstance(document, str) else json.dumps(document)).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        club.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield club
        finally:
            server.shutdown()
            thread.join()
