"""Whom to trust and who we are in TLS (RFC 8446), for HTTP and LDAP alike."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from svcctl.config.service import Frozen


class Certificates(Frozen):
    """Files of an encrypted connection."""

    ca_file: Path | None = Field(
        None, description="PEM file of the authorities that vouch for the remote"
    )
    client_certificate: Path | None = Field(
        None, description="PEM file of our own certificate, with its key unless client_key is given"
    )
    client_key: Path | None = Field(None, description="PEM file of the certificate's key")

    @model_validator(mode="after")
    def _key_needs_certificate(self) -> Self:
        if self.client_key is not None and self.client_certificate is None:
            raise ValueError("client_key without client_certificate")
        return self
