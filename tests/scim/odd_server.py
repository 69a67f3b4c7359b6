"""A SCIM server that is odd in ways in which RFC 7644 lets servers be, and scim2-server is not."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trustme

BLANK = b" " * (1 << 20)
Resource = dict[str, Any]


@dataclass
class OddServer:
    """Read only. hides: attributes that are only in a resource asked for alone.

    cursor: pages by cursor only (RFC 9865). megabytes: so much blank space is every answer.
    asked: the paths so far.
    """

    users: list[Resource]
    groups: list[Resource] = field(default_factory=list)
    hides: frozenset[str] = frozenset()
    cursor: bool = False
    megabytes: int = 0
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, target: str) -> tuple[int, Any]:
        self.asked.append(target)
        path, _, query = target.partition("?")
        if path == "/ServiceProviderConfig":
            return 200, {"pagination": {"cursor": self.cursor, "index": not self.cursor}}
        kind, _, id_ = path[1:].partition("/")
        resources = {"Users": self.users, "Groups": self.groups}.get(kind)
        if resources is None:
            return 404, {"detail": "nothing here"}
        if id_:
            found = next((one for one in resources if one["id"] == id_), None)
            return (200, found) if found else (404, {"detail": "no such resource"})
        return 200, self._page(resources, parse_qs(query, keep_blank_values=True))

    def _page(self, resources: list[Resource], query: dict[str, list[str]]) -> Resource:
        count = int(query["count"][0])
        first = int(query["cursor"][0] or 0) if self.cursor else int(query["startIndex"][0]) - 1
        page = resources[first : first + count]
        shown = [{name: one[name] for name in one if name not in self.hides} for one in page]
        answer: Resource = {"totalResults": len(resources), "Resources": shown}
        if self.cursor and first + count < len(resources):
            answer["nextCursor"] = str(first + count)
        return answer


@contextmanager
def serving(server: OddServer, tls: ssl.SSLContext | None = None) -> Iterator[OddServer]:
    """With its URL; over TLS where a context is given."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16  # head and body in one packet, or the next request waits 40 ms

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            status, said = server.answer(f"{parts.path}?{parts.query}".rstrip("?"))
            body = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/scim+json")
            self.send_header("Content-Length", str(len(body) + (server.megabytes << 20)))
            self.end_headers()
            with suppress(ConnectionError):  # who has had enough
                for _ in range(server.megabytes):
                    self.wfile.write(BLANK)
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        if tls is not None:
            listening.socket = tls.wrap_socket(
                listening.socket, server_side=True, do_handshake_on_connect=False
            )
        scheme = "http" if tls is None else "https"
        server.url = f"{scheme}://127.0.0.1:{listening.server_port}"
        work = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        work.start()
        try:
            yield server
        finally:
            listening.shutdown()
            work.join()


def expired(authority_file: Path) -> ssl.SSLContext:
    """A certificate of yesterday, by an authority whose own is written into the file."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(authority_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    past = datetime.now(UTC) - timedelta(days=1)
    authority.issue_cert("127.0.0.1", not_after=past).configure_cert(context)
    return context
