"""What the contract does not ask: rights, others who administer, long silence, encryption."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import trustme
from mosquitto_broker import LOGIN, PASSWORD, Broker, mosquitto
from svcctl_mosquitto import MosquittoManager

from svcctl.errors import Denied, Invalid, Transient
from svcctl.hooks.manager import NewAccount

pytestmark = pytest.mark.live

NONE = frozenset[str]()


@pytest.fixture
def broker() -> Iterator[Broker]:
    with mosquitto() as broker:
        yield broker


@pytest.fixture
def manager(broker: Broker) -> Iterator[MosquittoManager]:
    manager = MosquittoManager(broker.url, LOGIN, PASSWORD)
    yield manager
    manager.close()


def test_what_is_done_is_in_the_plugins_file(broker: Broker, manager: MosquittoManager) -> None:
    broker.administer("createGroup", "sensors")
    manager.create_account(NewAccount("ada", "svcctl:1", "first"))
    manager.set_nickname("ada", "Ada Lovelace")
    manager.change_groups("ada", frozenset({"sensors"}), NONE)
    ada = broker.clients()["ada"]
    assert (ada["textname"], ada["textdescription"]) == ("Ada Lovelace", "svcctl:1")
    assert ada["groups"] == {"sensors"}
    assert broker.lets_in("ada", "first")
    manager.disable_account("ada")
    assert broker.clients()["ada"]["disabled"] is True
    assert not broker.lets_in("ada", "first")
    broker.kill()
    broker.restart()
    manager.enable_account("ada")
    assert broker.lets_in("ada", "first")


def test_somebody_elses_description_is_no_external_id(
    broker: Broker, manager: MosquittoManager
) -> None:
    command = {"command": "createClient", "username": "pump", "textdescription": "in the cellar"}
    manager._ask(command)
    found = {one.name: one.external_id for one in manager.list_accounts()}
    assert found == {LOGIN: None, "pump": None}
    assert broker.clients()["pump"]["textdescription"] == "in the cellar"


def test_who_may_not_administer_is_told_which_role_it_takes(broker: Broker) -> None:
    broker.administer("createClient", "nobody", "-p", "nothing")
    manager = MosquittoManager(broker.url, "nobody", "nothing")
    with pytest.raises(Denied) as refused:
        manager.check()
    assert "dynsec init" in str(refused.value.hint)
    assert broker.clients()["nobody"]["groups"] == set()


def test_who_may_listen_and_not_ask_is_told_too(broker: Broker) -> None:
    broker.administer("createClient", "listener", "-p", "nothing")
    broker.administer("createRole", "listening")
    topic = "$CONTROL/dynamic-security/#"
    broker.administer("addRoleACL", "listening", "subscribePattern", topic, "allow")
    broker.administer("addClientRole", "listener", "listening")
    begun = time.monotonic()
    with pytest.raises(Denied, match="publish"):
        MosquittoManager(broker.url, "listener", "nothing").check()
    assert time.monotonic() - begun < 5


def test_rights_that_are_taken_away_in_between_are_missed(
    broker: Broker, manager: MosquittoManager
) -> None:
    broker.administer("createClient", "second", "-p", "second")
    broker.administer("addClientRole", "second", "admin")
    second = MosquittoManager(broker.url, "second", "second", timeout=timedelta(seconds=1))
    second.check()
    broker.administer("removeClientRole", "second", "admin")
    with pytest.raises((Denied, Transient)):
        second.list_groups()
    with pytest.raises(Denied):
        second.list_groups()
    second.close()


def test_nobody_disables_the_client_that_svcctl_is(
    broker: Broker, manager: MosquittoManager
) -> None:
    broker.administer("createGroup", "sensors")
    for act in (
        lambda: manager.disable_account(LOGIN),
        lambda: manager.delete_account(LOGIN),
        lambda: manager.set_password(LOGIN, "other"),
        lambda: manager.change_groups(LOGIN, frozenset({"sensors"}), NONE),
    ):
        with pytest.raises(Invalid, match="svcctl is itself"):
            act()
    manager.check()


def test_answers_to_others_are_not_ours(broker: Broker) -> None:
    """The broker tells every answer to all who administer it."""
    manager = MosquittoManager(broker.url, LOGIN, PASSWORD)
    others = [MosquittoManager(broker.url, LOGIN, PASSWORD) for _ in range(3)]
    ended = threading.Event()

    def disturb(other: MosquittoManager) -> None:
        while not ended.is_set():
            other.list_groups()
        other.close()

    threads = [threading.Thread(target=disturb, args=[other]) for other in others]
    for thread in threads:
        thread.start()
    try:
        for number in range(60):
            manager.create_account(NewAccount(f"p{number}", f"svcctl:{number}", "secret"))
            assert manager.get_account(f"p{number}").name == f"p{number}"
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert len(list(manager.list_accounts())) == 61
    manager.close()


def test_a_broker_that_was_started_again_is_connected_to_again(
    broker: Broker, manager: MosquittoManager
) -> None:
    manager.create_account(NewAccount("ada", "svcctl:1", "secret"))
    broker.kill()
    with pytest.raises(Transient):
        manager.list_groups()
    broker.restart()
    assert [one.name for one in manager.list_accounts()] == ["ada", LOGIN]
    broker.kill()
    broker.restart()
    assert manager.get_account("ada").external_id == "svcctl:1"


def test_three_thousand_clients_come_in_one_answer(
    broker: Broker, manager: MosquittoManager
) -> None:
    file = broker.server.folder / "dynsec.json"
    broker.kill()
    kept = json.loads(file.read_text())
    kept["clients"] += [
        {"username": f"p{number:05}", "textdescription": f"svcctl:{number}", "roles": []}
        for number in range(3000)
    ]
    file.write_text(json.dumps(kept))
    broker.restart()
    assert len({one.uid for one in manager.list_accounts()}) == 3001


# paho leaves the socket of a handshake that failed to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_encrypted_broker_is_trusted_by_its_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    trusted, chain, key = (tmp_path / name for name in ("ca.pem", "chain.pem", "key.pem"))
    authority.cert_pem.write_to_path(trusted)
    chain.write_bytes(certificate.cert_chain_pems[0].bytes())
    certificate.private_key_pem.write_to_path(key)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with mosquitto(f"listener {port} 127.0.0.1\ncertfile {chain}\nkeyfile {key}\n"):
        manager = MosquittoManager(f"mqtts://localhost:{port}", LOGIN, PASSWORD, trusted)
        manager.create_account(NewAccount("ada", "svcctl:1", "secret"))
        assert [one.name for one in manager.list_accounts()] == ["ada", LOGIN]
        manager.close()
        with pytest.raises(Transient, match="certificate"):
            MosquittoManager(f"mqtts://localhost:{port}", LOGIN, PASSWORD).check()


def test_a_call_is_not_held_up_by_acknowledgements(
    broker: Broker, manager: MosquittoManager
) -> None:
    manager.check()
    took = []
    for _ in range(50):
        begun = time.monotonic()
        manager.list_groups()
        took.append(time.monotonic() - begun)
    # The fastest, as the machine may be busy: whoever waits for TCP waits 0.04 s each time.
    assert min(took) < 0.02
