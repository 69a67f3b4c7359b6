"""The control topic of mosquitto's dynamic security plugin: commands go in, answers come out.

Topics and JSON: https://mosquitto.org/documentation/dynamic-security/. MQTT 5, because only there
does the broker say that something is not allowed.
"""

import json
import secrets
import ssl
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from select import select
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from paho.mqtt import MQTTException
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode
from pydantic import BaseModel, TypeAdapter, ValidationError

from svcctl.errors import Denied, Transient

TOPIC = "$CONTROL/dynamic-security/v1"
BROKEN = (OSError, LookupError, ValueError, TypeError, struct.error, MQTTException)
"""What paho raises when the connection breaks, or when what comes is no MQTT."""
_STRANGERS = frozenset({0x86, 0x87, 0x8A})
"""Bad user name or password, not authorized, banned (MQTT 5.0, 3.2.2.2)."""

Command = dict[str, Any]


class Answer(BaseModel):
    """What the plugin says to one command."""

    command: str
    error: str | None = None
    data: dict[str, Any] = {}
    correlationData: str | None = None  # noqa: N815 - the plugin's


class _Answers(BaseModel):
    responses: list[Answer]


_read = TypeAdapter(_Answers).validate_json


class Control:
    """One connection, for one thread at a time. It has no thread: its loop is turned here.

    After an error it is of no use any more. Raises Denied, Transient, and what is in BROKEN.
    """

    def __init__(self, server: str, ca_file: Path | None, seconds: float) -> None:
        self._server = server
        self._seconds = seconds
        url = urlsplit(server)
        encrypted = url.scheme == "mqtts"
        self._address = (url.hostname or "", url.port or (8883 if encrypted else 1883))
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.connect_timeout = seconds
        if encrypted:
            self._client.tls_set_context(ssl.create_default_context(cafile=ca_file))
        self._client.on_connect = lambda _c, _u, _flags, code, _p: self._note("connect", code)
        self._client.on_subscribe = lambda _c, _u, _id, codes, _p: self._note("subscribe", codes[0])
        self._client.on_publish = lambda _c, _u, _id, code, _p: self._note("publish", code)
        self._client.on_message = lambda _c, _u, message: self._heard.append(bytes(message.payload))
        self._codes: dict[str, ReasonCode] = {}
        self._heard: list[bytes] = []
        self._trusted = False

    def open(self, login: str, password: str) -> None:
        """Log in, and listen to the answers."""
        deadline = monotonic() + self._seconds
        self._client.username_pw_set(login, password)
        self._client.connect(*self._address)
        self._turn(deadline, lambda: "connect" in self._codes)
        code = self._codes["connect"]
        if code.is_failure:
            if code.value in _STRANGERS:
                raise Denied(
                    f"{self._server}: {code}", hint="check login and password, and the client there"
                )
            raise Transient(f"{self._server}: {code}")
        self._client.subscribe(f"{TOPIC}/response")
        self._turn(deadline, lambda: "subscribe" in self._codes)
        self._allowed("subscribe")

    def alive(self) -> bool:
        """Whether it is still open: the broker closes on who was silent for long."""
        try:
            while (line := self._client.socket()) and select([line], [], [], 0)[0]:
                if self._client.loop(0) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                    return False
        except BROKEN:
            return False
        return line is not None

    def ask(self, commands: Sequence[Command]) -> list[Answer]:
        """Send them in one message, and return the answers, in the same order."""
        # The broker tells answers to everybody who administers it: the key says which are ours.
        key = secrets.token_hex(16)
        sent = [command | {"correlationData": key} for command in commands]
        self._codes.clear()
        self._heard.clear()
        # QoS 1 makes the broker say whether we may. From then on it would cost 40 ms each time:
        # the acknowledgement is sent first, and the answer waits for TCP's (RFC 896 and 1122).
        self._client.publish(TOPIC, json.dumps({"commands": sent}), qos=0 if self._trusted else 1)
        found: list[Answer] = []

        def answered() -> bool:
            found.extend(self._ours(key))
            if not found and "publish" in self._codes:
                self._allowed("publish")
            return len(found) >= len(commands)

        self._turn(monotonic() + self._seconds, answered)
        if [one.command for one in found] != [command["command"] for command in commands]:
            raise Transient(f"{self._server}: an answer to something that was not asked")
        self._trusted = True
        return found

    def close(self) -> None:
        self._client.disconnect()

    def _ours(self, key: str) -> list[Answer]:
        heard, self._heard = self._heard, []
        try:
            answers = [one for payload in heard for one in _read(payload).responses]
        except ValidationError:
            raise Transient(f"{self._server}: an answer that is none of the plugin's") from None
        return [one for one in answers if one.correlationData == key]

    def _allowed(self, what: str) -> None:
        if (code := self._codes[what]).is_failure:
            raise Denied(
                f"{self._server}: {code}: to {what} to the control topic",
                hint="give it the role `admin`, which `mosquitto_ctrl dynsec init` makes",
            )

    def _note(self, what: str, code: ReasonCode) -> None:
        self._codes[what] = code

    def _turn(self, deadline: float, done: Callable[[], bool]) -> None:
        """Let paho read and write until it is done. What is said before a goodbye counts."""
        while not done():
            left = deadline - monotonic()
            if left <= 0:
                raise Transient(f"{self._server}: no answer within {self._seconds:g} s")
            code = self._client.loop(left)
            if code != MQTTErrorCode.MQTT_ERR_SUCCESS and not done():
                raise Transient(f"{self._server}: {code.name}")
