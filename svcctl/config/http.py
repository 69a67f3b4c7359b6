"""The settings of everything that is reached over HTTP: where it is, who we are, how patient."""

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from svcctl.config.secrets import Secret
from svcctl.config.service import Duration, Frozen, Rate
from svcctl.config.tls import Certificates

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
MEBIBYTE = 1 << 20


def _http_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - raises for a port that is none
    except ValueError:
        # What Python says of it may be a part of a password.
        raise ValueError("not a URL: its host or its port is none") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a URL like https://idp.example.org/scim/v2")
    if parts.username or parts.password:
        raise ValueError("no user and no password in a URL; there are settings for them")
    if parts.query or parts.fragment:
        raise ValueError("must end with its path: nothing after ? or #")
    return value.rstrip("/")


HttpUrl = Annotated[str, AfterValidator(_http_url)]
"""An http or https URL without credentials, query and fragment; a slash at its end is dropped."""


def plain_text(url: str) -> bool:
    """Whether what is sent there can be read on the way."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in _LOOPBACK


class Http(Certificates):
    """How to speak HTTP to one remote."""

    timeout: Duration = Field(
        "30s",  # type: ignore[assignment] # validated
        description="for connecting, and for each silence while an answer is read; an answer may "
        "take ten times as long in all",
    )
    largest_answer: int = Field(
        32 * MEBIBYTE, ge=1024, description="bytes; a longer answer is refused unread"
    )
    proxy: HttpUrl | None = Field(
        None, description="a proxy for this remote; default: HTTPS_PROXY and NO_PROXY"
    )
    rate: Rate | None = Field(
        None,
        description='requests that the remote allows, like "10/s" or "5000/h", sent evenly; '
        "default: what it says in its answers, else what its refusals tell",
    )
    plain: bool = Field(
        default=False, description="true: credentials may go over http:// to another machine"
    )


class OAuth(Frozen):
    """An access token fetched with the client credentials grant (RFC 6749, 4.4)."""

    token_url: HttpUrl = Field(description="the token endpoint")
    client_id: str = Field(min_length=1, description="our name there")
    client_secret: Secret = Field(description="our password there")
    scope: str | None = Field(None, description="what the token is for, if the server wants it")


class Basic(Frozen):
    """A name and a password (RFC 7617)."""

    username: str = Field(min_length=1, description="our name there")
    password: Secret = Field(description="our password there")


class Remote(Frozen):
    """Where a remote is and how svcctl proves who it is; one way of it, or none."""

    base_url: HttpUrl = Field(description="where the API starts")
    token: Secret | None = Field(None, description="a bearer token (RFC 6750)")
    basic: Basic | None = Field(None, description="a name and a password (RFC 7617)")
    oauth: OAuth | None = Field(None, description="fetch the bearer token from a token endpoint")
    http: Http = Field(Http(), description="time-outs, TLS, proxy")

    @model_validator(mode="after")
    def _one_proof_kept_private(self) -> Self:
        proofs = [proof for proof in (self.token, self.basic, self.oauth) if proof is not None]
        if len(proofs) > 1:
            raise ValueError("give one of: token, basic, oauth")
        urls = [self.base_url] if proofs else []
        if self.oauth is not None:
            urls.append(self.oauth.token_url)
        for url in urls:
            if plain_text(url) and not self.http.plain:
                raise ValueError(
                    f"{url} would show the credentials to everybody on the way; "
                    "use https://, or say http.plain = true"
                )
        return self
