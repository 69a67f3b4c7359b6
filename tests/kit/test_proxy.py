"""The proxy between svcctl and a server: what it lets through, and what it spoils on request."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from svcctl.errors import HookError
from svcctl.hooks.testing.proxy import Proxy, proxied
from svcctl.tripwire import allowed, tripwire
from tests.support import limits
from tests.support.limits import FixedWindow, RateLimited, TokenBucket


class Echo(BaseHTTPRequestHandler):
    """Counts what it was asked to do."""

    acted = 0

    def do_GET(self) -> None:
        self._say(b"hello")

    def do_POST(self) -> None:
        type(self).acted += 1
        self._say(self.rfile.read(int(self.headers["Content-Length"])))

    def _say(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    Echo.acted = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            with proxied(server.server_port) as proxy:
                yield proxy
        finally:
            server.shutdown()
            serving.join()


@pytest.fixture
def client() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


def get(client: requests.Session, proxy: Proxy, path: str = "/") -> str:
    return client.get(proxy.url + path, timeout=5).text


def test_one_connection_serves_many_requests(proxy: Proxy, client: requests.Session) -> None:
    for _ in range(5):
        assert get(client, proxy) == "hello"
        assert len(proxy._clients) == 1
    assert client.post(proxy.url, data=b"x" * 200_000, timeout=5).content == b"x" * 200_000
    assert [one.method for one in proxy.writes] == ["POST"]


@pytest.mark.parametrize("resets", [False, True], ids=["refused", "reset"])
def test_nobody_gets_through_until_it_is_restored(
    proxy: Proxy, client: requests.Session, *, resets: bool
) -> None:
    assert get(client, proxy) == "hello"
    proxy.cut(resets=resets)
    for one in (client, requests):
        with pytest.raises(
            requests.ConnectionError, match="reset by peer" if resets else "refused"
        ):
            one.get(proxy.url, timeout=5)
    proxy.restore()
    assert get(client, proxy) == "hello"
    assert len(proxy.log) == 2


def test_it_is_cut_by_the_request_that_was_named(proxy: Proxy, client: requests.Session) -> None:
    proxy.cut_at("POST", "/b", nth=2)
    for path in ("/b", "/a", "/a"):
        assert client.post(proxy.url + path, data=b"1", timeout=5).ok
    with pytest.raises(requests.ConnectionError):
        client.post(proxy.url + "/b", data=b"1", timeout=5)
    with pytest.raises(requests.ConnectionError):
        client.post(proxy.url + "/a", data=b"1", timeout=5)
    assert Echo.acted == 3
    assert (proxy.log[-1].status, proxy.log[-1].told) == (None, None)


def test_an_answer_is_lost_once_after_the_server_acted(
    proxy: Proxy, client: requests.Session
) -> None:
    proxy.lose("POST")
    with pytest.raises(requests.ConnectionError):
        client.post(proxy.url, data=b"1", timeout=5)
    assert Echo.acted == 1
    assert (proxy.log[0].status, proxy.log[0].told, proxy.log[0].acted) == (200, None, True)
    assert client.post(proxy.url, data=b"1", timeout=5).ok
    proxy.lose_and_cut("POST")
    for _ in range(2):
        with pytest.raises(requests.ConnectionError):
            client.post(proxy.url, data=b"1", timeout=5)
    assert Echo.acted == 3


def test_a_given_answer_takes_the_place_of_the_servers(
    proxy: Proxy, client: requests.Session
) -> None:
    proxy.answer(b"HTTP/1.1 503 Oops\r\nContent-Length: 4\r\n\r\nwait", "POST")
    proxy.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\ncut short", nth=2)
    proxy.answer(b"\x15\x03\x01 is not HTTP", nth=3)
    assert client.post(proxy.url, data=b"1", timeout=5).status_code == 503
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        get(client, proxy)
    with pytest.raises(requests.ConnectionError):
        get(client, proxy)
    assert get(client, proxy) == "hello"
    assert Echo.acted == 0
    assert [one.told for one in proxy.log] == [503, 200, None, 200]


def test_it_takes_its_time(proxy: Proxy, client: requests.Session) -> None:
    proxy.delay = 0.2
    begun = time.monotonic()
    get(client, proxy)
    assert time.monotonic() - begun >= 0.2
    with pytest.raises(requests.ReadTimeout):
        client.get(proxy.url, timeout=0.05)


def test_a_server_that_is_gone_is_a_broken_connection(client: requests.Session) -> None:
    with proxied(1) as proxy, pytest.raises(requests.ConnectionError):
        get(client, proxy)


def test_it_does_not_trip_the_tripwire_and_does_not_hide_what_does(
    proxy: Proxy, client: requests.Session
) -> None:
    with tripwire("planning"), allowed():
        assert get(client, proxy) == "hello"
    client.close()
    with pytest.raises(HookError, match="connect"), tripwire("planning"):
        get(client, proxy)
    assert len(proxy.log) == 1


def test_a_window_is_full_until_it_is_over() -> None:
    window = FixedWindow(2, per=10)
    assert [window.ask(moment) for moment in (100, 103, 104, 109)] == [0, 0, 6, 1]
    assert [window.ask(moment) for moment in (110, 110, 111)] == [0, 0, 9]


def test_a_bucket_gains_one_after_the_other() -> None:
    bucket = TokenBucket(2, per=10)
    assert [bucket.ask(moment) for moment in (100, 100, 100, 105)] == [0, 0, 10, 5]
    assert [bucket.ask(moment) for moment in (110, 110)] == [0, 10]
    assert [bucket.ask(moment) for moment in (1000, 1000, 1000)] == [0, 0, 10]


def test_a_refusal_is_worded_as_services_do(proxy: Proxy, client: requests.Session) -> None:
    asked = time.time()
    said = {}
    for words in (limits.seconds, limits.date, limits.x_ratelimit, limits.nothing):
        proxy.limit = RateLimited(FixedWindow(1, per=30), words)
        assert get(client, proxy) == "hello"
        refused = client.post(proxy.url, data=b"1", timeout=5)
        assert refused.status_code == 429
        said[words] = refused.headers
    assert said[limits.seconds]["Retry-After"] == "30"
    date = parsedate_to_datetime(said[limits.date]["Retry-After"])
    assert 29 <= (date - datetime.fromtimestamp(asked, UTC)).total_seconds() <= 33
    assert said[limits.x_ratelimit]["X-RateLimit-Limit"] == "1"
    assert 29 <= float(said[limits.x_ratelimit]["X-RateLimit-Reset"]) - asked <= 33
    assert 29 < float(said[limits.x_ratelimit]["X-RateLimit-Reset-After"]) <= 30
    assert set(said[limits.nothing]) == {"Content-Length"}
    assert Echo.acted == 0
    assert [one.status for one in proxy.log if one.told == 429] == [None] * 4
