"""A mosquitto to take over, and the road to it, on which it is killed."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from mosquitto_broker import LOGIN, PASSWORD, Broker

from svcctl.hooks.testing.relay import Relay
from tests.live.takeover import Seen

GROUPS = ("staff", "commanders", "theirs")
MQTT = """
[services.mqtt]
hook = "mosquitto"
server = "mqtt://127.0.0.1:{port}"
login = "{login}"
password = {{ env = "MQTT_PASSWORD" }}
create = "auto"
access.states = ["Member"]
groups.map = {{ staff = "staff", fc = "commanders" }}
"""


@dataclass
class Road(Relay):
    """To a broker, which is killed before the last of so many creations gets there."""

    left: int = 0
    kill: Callable[[], None] = lambda: None

    async def serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        answers, server = await asyncio.open_connection("127.0.0.1", self.upstream)
        back = asyncio.ensure_future(self._back(answers, client))
        try:
            while said := await reader.read(65536):
                if b'"createClient"' in said and self.left:
                    self.left -= 1
                    if not self.left:
                        self.kill()
                server.write(said)
                await server.drain()
        finally:
            back.cancel()
            server.close()

    async def _back(self, answers: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while answer := await answers.read(65536):
                client.write(answer)
        client.close()


class MqttService:
    """A broker, administered by its own tool; it is killed in the middle."""

    name = "mqtt"
    mails = False
    nicknames = True
    removed = "disabled"
    secret = ("MQTT_PASSWORD", PASSWORD)

    def __init__(self, broker: Broker, road: Road) -> None:
        self._broker = broker
        self._road = road
        self.table = MQTT.format(port=road.port, login=LOGIN)
        self.create("stranger", "")
        for group in GROUPS:
            broker.administer("createGroup", group)
            self.join("stranger", group)

    def users(self) -> Seen:
        return {
            name: (not client.get("disabled", False), frozenset(client["groups"]))
            for name, client in self._broker.clients().items()
            if name != LOGIN
        }

    def nickname(self, user: str) -> str:
        return str(self._broker.clients()[user]["textname"])

    def create(self, user: str, email: str) -> None:
        self._broker.administer("createClient", user, "-p", "by hand")

    def join(self, user: str, group: str) -> None:
        self._broker.administer("addGroupClient", group, user)

    def fail_at_create(self, nth: int) -> None:
        self._road.left, self._road.kill = nth, self._broker.kill

    def mend(self) -> None:
        self._broker.restart()
