"""A SCIM server that costs little, in a process of its own: late answers, limits, many accounts.

`python -m benchmarks.remote PORT-FILE SETTINGS`; the settings are the fields of Settings, as JSON.
"""

import asyncio
import json
import math
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from urllib.request import urlopen

from benchmarks.site import GROUPS, of

BASE = "/scim/v2"
LARGEST = 1 << 22


@dataclass(frozen=True, slots=True)
class Settings:
    """accounts: `user1` to `userN`, each in 5 groups. latency: seconds before each answer.

    calls: as many requests are let through in each window of `per` seconds. says: what the others
    are told, "nothing", "retry-after", or what all are told, "remaining".
    """

    accounts: int = 0
    latency: float = 0.0
    calls: int = 0
    per: float = 1.0
    says: str = "nothing"


@dataclass(slots=True)
class Window:
    """A fixed window, opened by its first request."""

    calls: int
    per: float
    opened: float = -math.inf
    used: int = 0

    def left(self, moment: float) -> tuple[int, float]:
        """How many may still pass before this one, and when the window ends."""
        if moment >= self.opened + self.per:
            self.opened, self.used = moment, 0
        self.used = min(self.used + 1, self.calls + 1)
        return self.calls - self.used, self.opened + self.per - moment


@dataclass
class Remote:
    """Users and groups in memory. passed and refused: the moments of requests."""

    settings: Settings
    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    groups: dict[str, dict[str, None]] = field(default_factory=dict)
    passed: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    _rendered: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.window = Window(self.settings.calls or sys.maxsize, self.settings.per)
        self.groups = {f"g{number}": {} for number in range(GROUPS)}
        for number in range(1, self.settings.accounts + 1):
            named = [{"value": f"g{one}", "display": f"g{one}"} for one in of(number, 5)]
            self._add(f"user{number}", f"svcctl:{number}", groups=named)
            for one in named:
                self.groups[one["value"]][f"u{number}"] = None
        self._rendered = [json.dumps(user).encode() for user in self.users.values()]

    def _add(self, name: str, key: str, **more: Any) -> dict[str, Any]:
        id_ = f"u{len(self.users) + 1}"
        self.users[id_] = {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
            "id": id_,
            "externalId": key,
            "userName": name,
            "displayName": name,
            "name": {"formatted": name, "familyName": "Somebody", "givenName": "Someone"},
            "emails": [{"value": f"{name}@example.org", "type": "work", "primary": True}],
            "active": True,
            "meta": {"resourceType": "User", "created": "2026-01-01T00:00:00Z"},
            **more,
        }
        return self.users[id_]

    def answer(self, method: str, path: str, query: str, body: bytes) -> tuple[int, bytes]:
        """The status and the body."""
        kind, _, id_ = path.removeprefix(f"{BASE}/").partition("/")
        if kind == "ServiceProviderConfig":
            return 200, b'{"filter": {"supported": true, "maxResults": 10000}}'
        if kind not in ("Users", "Groups"):
            return 404, b'{"detail": "no such endpoint"}'
        if method == "GET" and not id_:
            return 200, self._page(kind, query)
        if method == "POST":
            asked = json.loads(body)
            return 201, json.dumps(self._add(asked["userName"], asked["externalId"])).encode()
        known = id_ in self.users if kind == "Users" else id_ in self.groups
        if not known:
            return 404, b'{"detail": "no such resource"}'
        if method == "PATCH":
            for operation in json.loads(body)["Operations"]:
                self._patch(kind, id_, operation)
        shown = self.users[id_] if kind == "Users" else self._group(id_)
        return 200, json.dumps(shown).encode()

    def _patch(self, kind: str, id_: str, operation: dict[str, Any]) -> None:
        if kind == "Users":
            self.users[id_][operation["path"]] = operation["value"]
        elif operation["op"] == "add":
            for member in operation["value"]:
                self.groups[id_][member["value"]] = None
        else:
            self.groups[id_].pop(re.findall(r'"(.*)"', operation["path"])[0])

    def _group(self, id_: str) -> dict[str, Any]:
        members = [{"value": user, "type": "User"} for user in self.groups[id_]]
        return {"id": id_, "displayName": id_, "members": members}

    def _page(self, kind: str, query: str) -> bytes:
        asked = dict(re.findall(r"(\w+)=([^&]*)", query))
        first, count = int(asked.get("startIndex", 1)) - 1, int(asked.get("count", 100))
        if kind == "Groups":
            shown = [json.dumps(self._group(id_)).encode() for id_ in self.groups]
        elif self._rendered:
            shown = self._rendered
        else:
            shown = [json.dumps(user).encode() for user in self.users.values()]
        page = b",".join(shown[first : first + count])
        return b'{"totalResults": %d, "Resources": [%s]}' % (len(shown), page)


class Connection(asyncio.Protocol):
    """HTTP/1.1 as far as one client needs it."""

    remote: ClassVar[Remote]

    def __init__(self) -> None:
        self._asked = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._asked += data
        head, found, rest = self._asked.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        size = int(length[1]) if length else 0
        if found and len(rest) >= size:
            self._asked = b""
            asyncio.get_running_loop().create_task(self._answer(head, rest[:size]))

    async def _answer(self, head: bytes, body: bytes) -> None:
        method, target, _ = head.partition(b"\r\n")[0].decode().split(" ")
        path, _, query = target.partition("?")
        remote = self.remote
        if path == "/log":
            log = {"passed": remote.passed, "refused": remote.refused}
            self._send(200, json.dumps(log).encode(), "")
            return
        moment = time.monotonic()
        left, ends = remote.window.left(moment)
        lines = ""
        if remote.settings.says == "remaining":
            lines = f"X-RateLimit-Remaining: {max(left, 0)}\r\nX-RateLimit-Reset: {ends:.3f}\r\n"
        if left >= 0:
            remote.passed.append(moment)
            status, said = remote.answer(method, path, query, body)
        else:
            remote.refused.append(moment)
            status, said = 429, b""
            if remote.settings.says == "retry-after":
                lines = f"Retry-After: {math.ceil(ends)}\r\n"
        if remote.settings.latency:
            await asyncio.sleep(remote.settings.latency)
        self._send(status, said, lines)

    def _send(self, status: int, body: bytes, lines: str) -> None:
        head = f"HTTP/1.1 {status} -\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


async def _serve(listening: socket.socket) -> None:
    server = await asyncio.get_running_loop().create_server(Connection, sock=listening)
    await server.serve_forever()


@dataclass(frozen=True, slots=True)
class Running:
    """url: where the SCIM endpoints are."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{BASE}"

    def log(self) -> dict[str, list[float]]:
        with urlopen(f"http://127.0.0.1:{self.port}/log") as answer:
            found: dict[str, list[float]] = json.load(answer)
        return found


@contextmanager
def running(folder: Path, settings: Settings) -> Iterator[Running]:
    """The server, from when it listens until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    port_file = folder / "port"
    port_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.remote", str(port_file)]
    with subprocess.Popen([*command, json.dumps(asdict(settings))]) as process:
        try:
            while not port_file.exists() or not port_file.read_text(encoding="utf-8"):
                if process.poll() is not None:
                    raise RuntimeError("the server ended")
                time.sleep(0.05)
            yield Running(int(port_file.read_text(encoding="utf-8")))
        finally:
            process.terminate()


if __name__ == "__main__":
    Connection.remote = Remote(Settings(**json.loads(sys.argv[2])))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        Path(sys.argv[1]).write_text(str(listening.getsockname()[1]), encoding="utf-8")
        asyncio.run(_serve(listening))
