"""The HTTP client of managers and sources: pooled, bounded, and plain about what is wrong.

Every failure comes out as a `ManagerError`. **Unknown is not absent**: only a 404 or 410 is
NotFound; a time-out, a redirect, an answer that cannot be read never is.
"""

import json as jsons
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from svcctl import __version__
from svcctl.config.http import Http
from svcctl.config.service import read_rate
from svcctl.errors import (
    Conflict,
    Denied,
    Invalid,
    ManagerError,
    NotFound,
    RateLimited,
    Transient,
)
from svcctl.http.auth import Auth
from svcctl.http.pace import Pace
from svcctl.text import brief

if TYPE_CHECKING:
    import requests

ATTEMPTS = 3
"""How often a patient request that fails in passing is sent."""
FIRST_PAUSE = 0.5
"""Seconds before the second time; doubled for the third."""
LONGEST_WAIT = 300.0
"""Seconds in all that a patient request waits because the remote asks for it."""
LONGEST_TURN = 5.0
"""Seconds that an impatient request waits for its turn; a longer wait is its caller's."""
REDIRECTS = 5
WHOLE = 10
"""So many time-outs long may an answer take in all."""
_PIECE = 65536
_REQUEST_IDS = ("X-Request-Id", "Request-Id", "X-Correlation-Id")
_BLAMED: dict[int, tuple[type[ManagerError], str | None]] = {
    HTTPStatus.UNAUTHORIZED: (Denied, "check the credentials"),
    HTTPStatus.FORBIDDEN: (Denied, "the credentials are good, and do not allow this"),
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: (Denied, "check the proxy's settings"),
    HTTPStatus.NOT_FOUND: (NotFound, None),
    HTTPStatus.GONE: (NotFound, None),
    HTTPStatus.CONFLICT: (Conflict, None),
    HTTPStatus.REQUEST_TIMEOUT: (Transient, None),
    HTTPStatus.TOO_EARLY: (Transient, None),
    HTTPStatus.NOT_IMPLEMENTED: (Invalid, "the remote does not offer this"),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status, headers (names in any case) and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    source: str
    """`GET https://…/Users`, for messages."""

    def json(self) -> Any:
        """The body as JSON. Raises Transient: what is not JSON says nothing about accounts."""
        try:
            return jsons.loads(self.body)
        except (ValueError, RecursionError):
            kind = self.headers.get("Content-Type", "").partition(";")[0] or "no content type"
            start = self.body[:1000].decode(errors="replace")
        raise Transient(
            f"{self.source}: {self.status}, but not JSON ({kind}): {brief(start)!r}",
            hint="check base_url: a login page or a proxy may have answered instead of the API",
        )


Judge = Callable[[Answer], ManagerError | None]


@dataclass(frozen=True, slots=True)
class _Request:
    """What is to be sent; `path` as `HttpClient.request` takes it."""

    method: str
    path: str
    params: Mapping[str, Any] | None
    body: str | None
    headers: Mapping[str, str]


class HttpClient:
    """Speaks to the URLs below `base_url`, from several threads at once.

    connections: how many of them are kept open. cookies: keep those that the remote sets; by
    default none are. Redirects are followed only for reads and only on the same host, and no
    credential goes anywhere else.
    """

    def __init__(
        self,
        base_url: str,
        *,
        auth: Auth | None = None,
        http: Http | None = None,
        headers: Mapping[str, str] | None = None,
        connections: int = 1,
        cookies: bool = False,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.http = http or Http()
        calls, per = read_rate(self.http.rate) if self.http.rate else (0.0, 1.0)
        self.pace = Pace(calls / per or None)
        self._auth = auth or Auth()
        self._headers = {
            "User-Agent": f"svcctl/{__version__}",
            "Accept": "application/json",
            **(headers or {}),
        }
        self._connections = connections
        self._cookies = cookies
        self._session: requests.Session | None = None
        self._settings: Mapping[str, Any] = {}
        self._opening = threading.Lock()

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def forget_cookies(self) -> None:
        """Before another login: a remote may refuse one in the session of the first."""
        if self._session is not None:
            self._session.cookies.clear()

    def get(
        self, path: str, *, params: Mapping[str, Any] | None = None, patient: bool = False
    ) -> Any:
        """The JSON at `path`. See `request`."""
        return self.request("GET", path, params=params, patient=patient).json()

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        body: str | None = None,
        headers: Mapping[str, str] | None = None,
        expect: Container[int] = (),
        judge: Judge | None = None,
        patient: bool = False,
    ) -> Answer:
        """Send one request and read its whole answer.

        path: below base_url, or a whole URL there. json or body: what is sent. expect: statuses
        besides 2xx that are answers, not errors. judge: says instead of the status whether an
        answer is an error, and which. patient: wait as long as the remote asks, and try
        again what fails in passing; for reads that nobody else repeats (a lane of a run repeats
        operations by itself).
        Raises NotFound, Conflict, Denied, Invalid, RateLimited (certainly not done) and Transient
        (unknown whether it was done).
        """
        if json is not None:
            body = jsons.dumps(json)
            headers = {"Content-Type": "application/json", **(headers or {})}
        asked = _Request(method, path, params, body, headers or {})
        waited, pause = 0.0, FIRST_PAUSE
        tries = 0
        while True:
            try:
                answer = self._once(asked)
                if judge is not None:
                    problem = judge(answer)
                elif 200 <= answer.status < 300 or answer.status in expect:
                    problem = None
                else:
                    problem = self.error(answer)
                if problem is None:
                    return answer
                raise problem
            except (RateLimited, Transient) as error:
                if not patient:
                    raise
                wanted = error.retry_after
                limited = isinstance(error, RateLimited)
                tries += not limited
                wait = max(wanted or 0.0, 0.0 if limited and wanted else pause)
                waited += wait
                if tries >= ATTEMPTS or waited > LONGEST_WAIT:
                    raise
            time.sleep(wait)
            pause *= 2

    def _once(self, asked: _Request) -> Answer:
        """The answer in our turn, after one more try with a fresh token where that may help."""
        turn = self.pace.turn(longest=LONGEST_TURN)
        try:
            answer = self._followed(asked)
            if answer.status == HTTPStatus.UNAUTHORIZED and self._auth.renew():
                answer = self._followed(asked)
        except BaseException:
            self.pace.lost(turn)
            raise
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            error = self.error(answer)
            error.retry_after = self.pace.refused(turn, answer.headers, error.retry_after)
            raise error
        self.pace.heard(turn, answer.headers)
        return answer

    def _followed(self, asked: _Request) -> Answer:
        """The answer after redirects."""
        path, params = asked.path, asked.params
        url = path if path.startswith(("http://", "https://")) else f"{self.base_url}{path}"
        self._require_own(url, url)
        for _ in range(REDIRECTS + 1):
            answer = self._sent(asked, url, params)
            where = answer.headers.get("Location")
            if answer.status not in (301, 302, 303, 307, 308) or where is None:
                return answer
            if asked.method not in ("GET", "HEAD"):
                raise Denied(
                    f"{answer.source}: redirected to {brief(where)}, which a write does not follow",
                    hint="set base_url to where the API is now",
                )
            url, params = urljoin(url, where), None
            self._require_own(url, answer.source)
        raise Denied(
            f"{answer.source}: redirected more than {REDIRECTS} times",
            hint="check base_url; the remote may be asking for a login",
        )

    def _require_own(self, url: str, source: str) -> None:
        """Credentials never go to another host, nor from https to http."""
        own, other = urlsplit(self.base_url), urlsplit(url)
        if (own.scheme, own.hostname, own.port) != (other.scheme, other.hostname, other.port):
            raise Denied(
                f"{source}: leads to {other.scheme}://{brief(other.netloc)}, another host",
                hint="set base_url to where the API is, if that is it",
            )

    def _sent(self, asked: _Request, url: str, params: Mapping[str, Any] | None) -> Answer:
        import requests

        session = self._opened()
        source = f"{asked.method} {url}"
        sent = {**self._headers, "X-Request-Id": uuid.uuid4().hex, **asked.headers}
        sent.update(self._auth.headers())
        prepared = session.prepare_request(
            # An `auth` of our own, or requests would take one from ~/.netrc.
            requests.Request(
                asked.method, url, params=params, data=asked.body, headers=sent, auth=_as_it_is
            )
        )
        seconds = self.http.timeout.total_seconds()
        with _explained(source, seconds):
            response = session.send(
                prepared, timeout=(seconds, seconds), allow_redirects=False, **self._settings
            )
            with response:
                content = self._body(response, source, time.monotonic() + WHOLE * seconds)
        return Answer(response.status_code, response.headers, content, source)

    def _body(self, response: "requests.Response", source: str, deadline: float) -> bytes:
        largest = self.http.largest_answer
        if not response.ok:
            largest = min(largest, _PIECE)
        body = bytearray()
        for piece in response.iter_content(_PIECE):
            body += piece
            if len(body) > largest:
                if not response.ok:
                    break
                raise Transient(
                    f"{source}: the answer is longer than {largest:,} bytes",
                    hint="check base_url; http.largest_answer allows more",
                )
            if time.monotonic() > deadline:
                raise Transient(
                    f"{source}: the answer was not complete after {WHOLE} time-outs",
                    hint="http.timeout allows more",
                )
        return bytes(body)

    def _opened(self) -> "requests.Session":
        if self._session is None:
            with self._opening:
                if self._session is None:
                    self._session = self._new_session()
        return self._session

    def _new_session(self) -> "requests.Session":
        from http.cookiejar import DefaultCookiePolicy

        import requests
        from requests.adapters import HTTPAdapter

        session = requests.Session()
        if not self._cookies:
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = HTTPAdapter(pool_connections=2, pool_maxsize=self._connections)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        if self.http.client_certificate is not None:
            certificate = str(self.http.client_certificate)
            key = self.http.client_key
            session.cert = (certificate, str(key)) if key else certificate
        proxies = {"http": self.http.proxy, "https": self.http.proxy} if self.http.proxy else {}
        # Said here, or $REQUESTS_CA_BUNDLE would come before what was configured.
        verify = str(self.http.ca_file) if self.http.ca_file else None
        # Once: all requests go to one host, and looking at the environment takes a while.
        self._settings = session.merge_environment_settings(
            self.base_url, proxies, stream=True, verify=verify, cert=None
        )
        return session

    def error(
        self,
        answer: Answer,
        kind: type[ManagerError] | None = None,
        *,
        said: str | None = None,
        hint: str | None = None,
    ) -> ManagerError:
        """What an answer that is not a yes means.

        kind and hint: where the status does not tell. said: what the remote says about it, where
        `detail` does not find it.
        """
        status = answer.status
        said = self._auth.redacted(detail(answer) if said is None else said)
        message = f"{answer.source}: {status} {_phrase(status)}"
        if said:
            message += f": {said}"
        for name in _REQUEST_IDS:
            if name in answer.headers:
                message += f" (request id {brief(answer.headers[name])})"
                break
        if kind is None:
            kind, hint = _meaning(status)
        wait = retry_after(answer.headers) if issubclass(kind, (RateLimited, Transient)) else None
        return kind(message, retry_after=wait, hint=hint)


def _meaning(status: int) -> tuple[type[ManagerError], str | None]:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimited, None
    if status >= 500 and status not in _BLAMED:
        return Transient, None
    return _BLAMED.get(status, (Invalid, None))


def detail(answer: Answer) -> str:
    """What the remote says about an error, from the fields that APIs use for it."""
    text = answer.body.decode(errors="replace")
    if "html" in answer.headers.get("Content-Type", "") or text.lstrip().startswith("<"):
        return ""
    try:
        said = jsons.loads(text)
    except (ValueError, RecursionError):
        return brief(text)
    for _ in range(2):
        if isinstance(said, dict):
            names = ("detail", "error_description", "message", "error", "title")
            said = next((said[name] for name in names if said.get(name)), "")
    return brief(said if isinstance(said, str) else "")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from `Retry-After` (RFC 9110, 10.2.3), given as seconds or as a date."""
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    try:
        return max(0.0, float(value)) if value.replace(".", "", 1).isdecimal() else _until(value)
    except (ValueError, OverflowError):
        return None


def _until(date: str) -> float:
    moment = parsedate_to_datetime(date)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "(a status of its own)"


def _as_it_is(request: Any) -> Any:
    return request


@contextmanager
def _explained(source: str, seconds: float) -> Iterator[None]:
    """What requests and urllib3 raise, as what it means."""
    import requests.exceptions as failures
    import urllib3.exceptions as below

    try:
        yield
    except failures.SSLError as error:
        raise Denied(
            f"{source}: TLS: {_innermost(error)}",
            hint="check the remote's certificate; http.ca_file names who vouches for it",
        ) from None
    except failures.ProxyError as error:
        raise Transient(
            f"{source}: the proxy: {_innermost(error)}", hint="check http.proxy and HTTPS_PROXY"
        ) from None
    except (failures.ConnectTimeout, failures.ReadTimeout):
        raise Transient(
            f"{source}: no answer within {seconds:g} s", hint="http.timeout allows more"
        ) from None
    except (failures.ChunkedEncodingError, failures.ContentDecodingError, below.HTTPError) as error:
        raise Transient(f"{source}: the answer is damaged: {_innermost(error)}") from None
    except failures.ConnectionError as error:
        raise Transient(
            f"{source}: {_innermost(error)}", hint="check base_url and whether the remote is up"
        ) from None
    except (failures.RequestException, OSError) as error:
        raise Invalid(f"{source}: {_innermost(error)}", hint="check the http settings") from None


def _innermost(error: BaseException) -> str:
    """The reason at the bottom of what libraries wrapped: `connection refused`."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inside = getattr(error, "reason", None) or next(
            (item for item in error.args if isinstance(item, BaseException)), error.__cause__
        )
        if not isinstance(inside, BaseException):
            break
        error = inside
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not good: {error.verify_message}"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    text = brief(str(text))
    return text[:1].lower() + text[1:]
