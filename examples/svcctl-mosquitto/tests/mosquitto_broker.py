"""A mosquitto of one's own, in the foreground, and what its administrator does at the shell."""

import getpass
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from svcctl.hooks.testing import Server, absent, program, running

LOGIN = "svcctl-bot"
PASSWORD = "only-for-the-tests"
CONFIGURATION = """\
listener {port} 127.0.0.1
allow_anonymous false
user {user}
plugin {plugin}
plugin_opt_config_file {folder}/dynsec.json
"""


@dataclass
class Broker:
    """It is killed and started again in the same folder, on the same port."""

    server: Server
    stack: ExitStack

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.server.port}"

    def administer(self, *words: str) -> str:
        """Raises CalledProcessError where the plugin refuses."""
        control = program("mosquitto_ctrl", "mosquitto")
        where = ("-p", str(self.server.port), "-u", LOGIN, "-P", PASSWORD)
        done = subprocess.run(
            [control, *where, "dynsec", *words], check=True, capture_output=True, text=True
        )
        return done.stdout

    def clients(self) -> dict[str, dict[str, Any]]:
        """What is in the plugin's file, by username; with the names of the groups."""
        kept = json.loads((self.server.folder / "dynsec.json").read_text(encoding="utf-8"))
        found: dict[str, dict[str, Any]] = {
            one["username"]: {**one, "groups": set()} for one in kept["clients"]
        }
        for group in kept.get("groups", []):
            for member in group.get("clients", []):
                found[member["username"]]["groups"].add(group["groupname"])
        return found

    def lets_in(self, name: str, password: str) -> bool:
        codes: list[bool] = []
        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        client.username_pw_set(name, password)
        client.on_connect = lambda _c, _u, _flags, code, _p: codes.append(code.is_failure)
        client.connect("127.0.0.1", self.server.port)
        while not codes:
            client.loop(1)
        client.disconnect()
        return not codes[0]

    def kill(self) -> None:
        os.killpg(self.server.process.pid, signal.SIGKILL)
        self.server.process.wait()

    def restart(self) -> None:
        folder, port, command = self.server.folder, self.server.port, self.server.process.args
        assert isinstance(command, list)

        def listens(_: int) -> bool:
            return self.lets_in(LOGIN, PASSWORD)

        again = self.stack.enter_context(running(lambda *_: command, listens))
        self.server = Server(folder, port, again.process)


def plugin() -> Path:
    """Where Debian and others install it."""
    found = sorted(Path("/usr").glob("lib*/**/mosquitto_dynamic_security.so"))
    return found[0] if found else absent("no mosquitto_dynamic_security.so: apt install mosquitto")


@contextmanager
def mosquitto(more: str = "") -> Iterator[Broker]:
    """more: what else is in its configuration."""
    command, control = program("mosquitto", "mosquitto"), program("mosquitto_ctrl", "mosquitto")

    def configure(folder: Path, port: int) -> list[str]:
        subprocess.run(
            [control, "dynsec", "init", folder / "dynsec.json", LOGIN, PASSWORD],
            check=True,
            capture_output=True,
        )
        # As root it would become somebody who may not write the plugin's file.
        text = CONFIGURATION.format(
            port=port, user=getpass.getuser(), plugin=plugin(), folder=folder
        )
        (folder / "mosquitto.conf").write_text(text + more, encoding="utf-8")
        return [command, "-c", str(folder / "mosquitto.conf")]

    with ExitStack() as stack:
        yield Broker(stack.enter_context(running(configure)), stack)
