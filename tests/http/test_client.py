"""The HTTP client against servers that say what no library would."""

import gzip
import socket
import ssl
import threading
import traceback
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import trustme

from svcctl.config.http import Http, OAuth
from svcctl.errors import (
    Conflict,
    Denied,
    Invalid,
    ManagerError,
    NotFound,
    RateLimited,
    Transient,
)
from svcctl.http.client import HttpClient
from svcctl.http.connect import connect

TOKEN = "a-token-that-nobody-may-see"
Serve = Callable[..., str]


class Server:
    """Answers the nth connection with the nth of `answers`, the last one for all that follow."""

    def __init__(self, answers: list[Any], context: ssl.SSLContext | None) -> None:
        self.asked: list[bytes] = []
        self._answers = answers
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with closing(connection):
                try:
                    self._answer(connection)
                except OSError:
                    continue

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        if self._context is not None:
            connection = self._context.wrap_socket(connection, server_side=True)
        with closing(connection):
            asked = b""
            while b"\r\n\r\n" not in asked:
                if not (piece := connection.recv(65536)):
                    return
                asked += piece
            self.asked.append(asked)
            answer = self._answers[min(len(self.asked), len(self._answers)) - 1]
            for piece in [answer] if isinstance(answer, bytes) else answer:
                connection.sendall(piece)

    def stop(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


@pytest.fixture
def server() -> Iterator[Callable[..., Server]]:
    running: list[Server] = []

    def start(*answers: Any, context: ssl.SSLContext | None = None) -> Server:
        running.append(Server(list(answers), context))
        return running[-1]

    yield start
    for each in running:
        each.stop()


def said(status: str, body: bytes = b"{}", *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Connection: close", *headers]
    if not any(line.lower().startswith("transfer-encoding") for line in headers):
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def client(server: Server, scheme: str = "http", **http: Any) -> HttpClient:
    settings = Http.model_validate({"timeout": "1s", **http})
    return connect(f"{scheme}://127.0.0.1:{server.port}/v2", token=TOKEN, http=settings)


def failure(one: HttpClient, *words: Any, **more: Any) -> ManagerError:
    with closing(one), pytest.raises(ManagerError) as failed:
        one.request(*(words or ("GET", "/Users")), **more).json()
    shown = "".join(traceback.format_exception(failed.value)) + str(failed.value.hint)
    assert TOKEN not in shown
    return failed.value


def test_an_answer(server: Callable[..., Server]) -> None:
    here = server(said("200 OK", b'{"a": 1}'))
    with closing(client(here)) as one:
        assert one.get("/Users", params={"filter": "x"}) == {"a": 1}
    first = here.asked[0].decode()
    assert first.startswith("GET /v2/Users?filter=x HTTP/1.1\r\n")
    assert f"Authorization: Bearer {TOKEN}" in first
    assert "X-Request-Id: " in first
    assert "User-Agent: svcctl/" in first


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("400 Bad Request", Invalid),
        ("401 Unauthorized", Denied),
        ("403 Forbidden", Denied),
        ("404 Not Found", NotFound),
        ("408 Request Timeout", Transient),
        ("409 Conflict", Conflict),
        ("410 Gone", NotFound),
        ("422 Unprocessable Content", Invalid),
        ("429 Too Many Requests", RateLimited),
        ("500 Internal Server Error", Transient),
        ("501 Not Implemented", Invalid),
        ("503 Service Unavailable", Transient),
        ("599 Whatever", Transient),
    ],
)
def test_what_a_status_means(
    server: Callable[..., Server], status: str, kind: type[ManagerError]
) -> None:
    body = b'{"detail": "because of ' + TOKEN.encode() + b' \\u001b[31m"}'
    error = failure(client(server(said(status, body, "X-Request-Id: r-17"))))
    assert type(error) is kind
    assert "/v2/Users" in error.message
    assert status[:3] in error.message
    assert "because of *** [31m" in error.message
    assert "(request id r-17)" in error.message


@pytest.mark.parametrize("status", ["429 Too Many", "503 Unavailable"])
def test_retry_after_as_seconds_and_as_a_date(server: Callable[..., Server], status: str) -> None:
    error = failure(client(server(said(status, b"", "Retry-After: 17"))))
    assert error.retry_after == 17
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    error = failure(client(server(said(status, b"", f"Retry-After: {date}"))))
    assert error.retry_after is not None
    assert 50 < error.retry_after <= 60
    # To a refusal that asks for no particular time belongs a break of our own.
    guessed = 0.5 if status.startswith("429") else None
    assert failure(client(server(said(status, b"", "Retry-After: later")))).retry_after == guessed


def test_the_patient_wait_and_try_again(server: Callable[..., Server]) -> None:
    here = server(
        said("429 Too Many", b"", "Retry-After: 0.1"), said("500 Oops"), said("200 OK", b"[1]")
    )
    with closing(client(here)) as one:
        assert one.get("/Users", patient=True) == [1]
    assert len(here.asked) == 3


CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (said("200 OK", b"<html>Log in", "Content-Type: text/html"), "not JSON (text/html)"),
        (said("200 OK", b'{"a": '), "not JSON"),
        (said("200 OK", b"\xff\xfe{"), "not JSON"),
        (said("200 OK", b"[" * 100_000), "not JSON"),
        (said("200 OK", b""), "not JSON"),
        (said("200 OK", b'{"a": 1}', length=500), "damaged"),
        (said("200 OK", b'5\r\n{"a":\r\n', CHUNKED), "damaged"),
        (said("200 OK", gzip.compress(b"{}" * 999)[:30], "Content-Encoding: gzip"), "not JSON"),
        (b"", "closed"),
        (b"SSH-2.0-OpenSSH_9\r\n", ""),
        (said("200 OK", b"", "Content-Encoding: gzip", length=4) + b"junk", "damaged"),
    ],
)
def test_what_cannot_be_read_says_nothing(
    server: Callable[..., Server], answer: bytes, words: str
) -> None:
    error = failure(client(server(answer)))
    assert type(error) is Transient
    assert words in error.message


def test_a_long_answer_is_refused_before_it_fills_the_memory(
    server: Callable[..., Server],
) -> None:
    megabyte = b" " * (1 << 20)

    def endless() -> Iterator[bytes]:
        yield said("200 OK", b"", length=200 << 20)
        for _ in range(200):
            yield megabyte

    bomb = said("200 OK", gzip.compress(megabyte * 40), "Content-Encoding: gzip")
    for answer in (endless(), bomb):
        here = server(answer)
        tracemalloc.start()
        error = failure(client(here, largest_answer=1 << 20))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert type(error) is Transient
        assert "longer than 1,048,576 bytes" in error.message
        assert peak < 16 << 20


def test_silence_ends_with_the_time_out(server: Callable[..., Server]) -> None:
    def silent() -> Iterator[bytes]:
        threading.Event().wait(2)
        yield b""

    error = failure(client(server(silent()), timeout="1s"))
    assert type(error) is Transient
    assert "no answer within 1 s" in error.message


def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        error = failure(connect(url, token=TOKEN))
    assert type(error) is Transient
    assert "connection refused" in error.message


def test_redirects_are_followed_for_reads_on_the_same_host_only(
    server: Callable[..., Server],
) -> None:
    moved = said("302 Found", b"", "Location: /v2/People")
    here = server(moved, said("200 OK", b"[]"))
    with closing(client(here)) as one:
        assert one.get("/Users") == []
    assert here.asked[1].startswith(b"GET /v2/People ")
    error = failure(client(server(moved)))
    assert type(error) is Denied
    assert "redirected more than 5 times" in error.message
    error = failure(client(server(moved)), "POST", "/Users", json={})
    assert type(error) is Denied
    assert "a write does not follow" in error.message
    other = server(said("200 OK", b"[]"))
    away = said("302 Found", b"", f"Location: http://localhost:{other.port}/v2/Users")
    error = failure(client(server(away)))
    assert type(error) is Denied
    assert "another host" in error.message
    assert other.asked == []


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def tls(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def test_certificates(server: Callable[..., Server], authority: trustme.CA, tmp_path: Path) -> None:
    pem = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(pem))
    good = server(said("200 OK", b"[]"), context=tls(authority.issue_cert("127.0.0.1")))
    with closing(client(good, "https", ca_file=pem)) as one:
        assert one.get("/Users") == []
    past = datetime.now(UTC) - timedelta(days=1)
    expired = authority.issue_cert("127.0.0.1", not_after=past)
    for certificate, words in (
        (expired, "certificate has expired"),
        (authority.issue_cert("other.example.org"), "certificate is not valid for '127.0.0.1'"),
    ):
        error = failure(client(server(b"", context=tls(certificate)), "https", ca_file=pem))
        assert type(error) is Denied
        assert words in error.message
    stranger = server(b"", context=tls(trustme.CA().issue_cert("127.0.0.1")))
    error = failure(client(stranger, "https", ca_file=pem))
    assert type(error) is Denied
    assert "http.ca_file" in str(error.hint)
    error = failure(client(good, "https", ca_file=tmp_path / "missing.pem"))
    assert type(error) is Invalid


def test_a_certificate_of_our_own(
    server: Callable[..., Server], authority: trustme.CA, tmp_path: Path
) -> None:
    pem, own = tmp_path / "ca.pem", authority.issue_cert("svcctl@example.org")
    authority.cert_pem.write_to_path(str(pem))
    own.cert_chain_pems[0].write_to_path(str(tmp_path / "me.pem"))
    own.private_key_pem.write_to_path(str(tmp_path / "me.key"))
    context = tls(authority.issue_cert("127.0.0.1"))
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    here = server(said("200 OK", b"[]"), context=context)
    certificate = {"client_certificate": tmp_path / "me.pem", "client_key": tmp_path / "me.key"}
    with closing(client(here, "https", ca_file=pem, **certificate)) as one:
        assert one.get("/Users") == []
    error = failure(client(here, "https", ca_file=pem))
    assert isinstance(error, (Denied, Transient))
    assert len(here.asked) == 1


def test_a_proxy_is_asked_where_one_is_named(
    server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = server(said("200 OK", b"[]"))
    for name in ("HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    idp = "http://idp.invalid/v2"
    named = f"http://127.0.0.1:{here.port}"
    with closing(connect(idp, http=Http.model_validate({"proxy": named}))) as one:
        assert one.get("/Users") == []
    monkeypatch.setenv("http_proxy", named)
    with closing(connect(idp)) as one:
        assert one.get("/Users") == []
    assert [asked.split(b"\r\n")[0] for asked in here.asked] == [
        b"GET http://idp.invalid/v2/Users HTTP/1.1"
    ] * 2
    monkeypatch.setenv("no_proxy", "idp.invalid")
    error = failure(connect(idp, http=Http.model_validate({"timeout": "2s"})))
    assert type(error) is Transient
    monkeypatch.setenv("no_proxy", "")
    free = "http://127.0.0.1:9"
    error = failure(connect(idp, http=Http.model_validate({"proxy": free})))
    assert type(error) is Transient
    assert "the proxy: " in error.message


def test_a_token_that_is_fetched_is_fetched_again_when_it_is_refused(
    server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", TOKEN)
    token = server(
        said("200 OK", b'{"access_token": "first", "expires_in": 3600}'),
        said("200 OK", b'{"access_token": "second"}'),
    )
    here = server(said("401 Unauthorized"), said("200 OK", b"[]"))
    oauth = OAuth.model_validate(
        {
            "token_url": f"http://127.0.0.1:{token.port}/token",
            "client_id": "svcctl",
            "client_secret": {"env": "SECRET"},
            "scope": "scim",
        }
    )
    with closing(connect(f"http://127.0.0.1:{here.port}/v2", oauth=oauth)) as one:
        assert one.get("/Users") == []
        assert one.get("/Users") == []
    assert [b"Bearer first" in one for one in here.asked] == [True, False, False]
    assert [b"Bearer second" in one for one in here.asked] == [False, True, True]
    assert len(token.asked) == 2
    refusing = server(said("400 Bad", b'{"error": "invalid_client"}'))
    oauth = oauth.model_copy(update={"token_url": f"http://127.0.0.1:{refusing.port}/token"})
    error = failure(connect(f"http://127.0.0.1:{here.port}/v2", oauth=oauth))
    assert "invalid_client" in error.message
    assert f":{refusing.port}/token" in error.message
