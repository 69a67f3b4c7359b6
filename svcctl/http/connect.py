"""From settings (`config.http.Remote`) to a client that proves who it is."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from svcctl.config import http as config
from svcctl.errors import Denied
from svcctl.http.auth import Auth, Basic, Bearer, ClientCredentials
from svcctl.http.client import HttpClient


def connect(
    base_url: str,
    *,
    token: str | None = None,
    basic: config.Basic | None = None,
    oauth: config.OAuth | None = None,
    http: config.Http | None = None,
    headers: Mapping[str, str] | None = None,
    connections: int = 1,
    cookies: bool = False,
) -> HttpClient:
    """A client for `base_url`; the arguments are the settings of `Remote`, the token revealed."""
    auth = Auth()
    if token is not None:
        auth = Bearer(token)
    elif basic is not None:
        auth = Basic(basic.username, basic.password.reveal())
    elif oauth is not None:
        auth = ClientCredentials(lambda: _access_token(oauth, http))
    return HttpClient(
        base_url,
        auth=auth,
        http=http,
        headers=headers,
        connections=connections,
        cookies=cookies,
    )


def _access_token(oauth: config.OAuth, http: config.Http | None) -> tuple[str, float | None]:
    """Ask the token endpoint (RFC 6749, 4.4.2). Raises Denied when it gives none."""
    form = {"grant_type": "client_credentials"}
    if oauth.scope:
        form["scope"] = oauth.scope
    auth = Basic(oauth.client_id, oauth.client_secret.reveal())
    client = HttpClient(oauth.token_url, auth=auth, http=http)
    try:
        answer: Any = client.request(
            "POST",
            "",
            body=urlencode(form),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        ).json()
    finally:
        client.close()
    token = answer.get("access_token") if isinstance(answer, dict) else None
    if not isinstance(token, str) or not token:
        raise Denied(
            f"{oauth.token_url}: answered without an access_token",
            hint="check oauth.token_url, and that the client may use the client credentials grant",
        )
    seconds = answer.get("expires_in")
    return token, float(seconds) if isinstance(seconds, (int, float)) else None
