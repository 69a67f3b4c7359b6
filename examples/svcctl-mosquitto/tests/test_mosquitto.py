"""mosquitto keeps the contract of svcctl's hooks and managers."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from mosquitto_broker import LOGIN, PASSWORD, Broker, mosquitto
from pydantic import ValidationError
from svcctl_mosquitto import MosquittoConfig, MosquittoHook, MosquittoManager

from svcctl.hooks.manager import Manager
from svcctl.hooks.testing import (
    Connect,
    Faults,
    HookContract,
    LogsIn,
    ManagerContract,
    Wire,
    WireFaults,
    wired,
)

GROUPS = ("sensors", "field/+/#", "équipe de nuit")


class TestMosquittoHook(HookContract):
    hook_class = MosquittoHook
    settings = {
        "server": "mqtts://mqtt.example.org",
        "login": "svcctl",
        "password": {"env": "PASSWORD"},
    }


@pytest.mark.parametrize(
    ("server", "wrong"),
    [
        ("mqtt.example.org", "must be mqtt://host"),
        ("http://mqtt.example.org", "must be mqtt://host"),
        ("mqtt://mqtt.example.org/topic", "must be mqtt://host"),
        ("mqtt://mqtt.example.org:port", "could not be cast"),
        ("mqtt://mqtt.example.org:65536", "out of range"),
        ("mqtt://svcctl:secret@mqtt.example.org", "no password in a URL"),
    ],
)
def test_a_server_that_is_none_is_refused(server: str, wrong: str) -> None:
    with pytest.raises(ValidationError, match=wrong):
        MosquittoConfig.model_validate(
            {**TestMosquittoHook.settings, "hook": "x", "server": server}
        )


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    with mosquitto() as broker:
        for group in GROUPS:
            broker.administer("createGroup", group)
        yield broker


@pytest.mark.live
class TestMosquittoManager(ManagerContract):
    """mosquitto 2.0.11."""

    hook_class = MosquittoHook

    @pytest.fixture
    def wire(self, broker: Broker) -> Iterator[Wire]:
        with wired(broker.server.port) as wire:
            yield wire

    @pytest.fixture
    def connect(self, wire: Wire) -> Connect:
        return lambda: MosquittoManager(f"mqtt://127.0.0.1:{wire.port}", LOGIN, PASSWORD)

    @pytest.fixture
    def impatient(self, wire: Wire) -> Connect:
        url, timeout = f"mqtt://127.0.0.1:{wire.port}", timedelta(seconds=0.3)
        return lambda: MosquittoManager(url, LOGIN, PASSWORD, timeout=timeout)

    @pytest.fixture
    def denied(self, wire: Wire) -> Iterator[Manager]:
        manager = MosquittoManager(f"mqtt://127.0.0.1:{wire.port}", LOGIN, "wrong")
        yield manager
        manager.close()

    @pytest.fixture
    def faults(self, wire: Wire) -> Faults:
        return WireFaults(wire)

    @pytest.fixture
    def groups(self, broker: Broker) -> tuple[str, ...]:
        return GROUPS

    @pytest.fixture
    def credentials(self) -> tuple[str, ...]:
        return (PASSWORD,)

    @pytest.fixture
    def logs_in(self, broker: Broker) -> LogsIn:
        return broker.lets_in
