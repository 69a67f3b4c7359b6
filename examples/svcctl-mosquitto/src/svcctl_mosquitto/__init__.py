"""mosquitto: the clients and groups of a broker's dynamic security plugin."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from svcctl.config.secrets import Secret
from svcctl.config.service import Duration, HookConfig
from svcctl.errors import Conflict, Incomplete, Invalid, ManagerError, NotFound, Transient
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import Created, GroupChange, Manager, NewAccount, RemoteAccount
from svcctl.names import NameRule
from svcctl_mosquitto.control import BROKEN, Answer, Command, Control

PATIENCE = timedelta(seconds=10)
OURS = "svcctl:"
"""External ids begin with it; another description is somebody's own."""

Understood = TypeVar("Understood", bound=BaseModel)


def _mqtt_url(value: str) -> str:
    url = urlsplit(value)
    url.port  # noqa: B018 - raises for a port that is none
    if url.username or url.password:
        raise ValueError("no user and no password in a URL; there are settings for them")
    if url.scheme not in ("mqtt", "mqtts") or not url.hostname or url.path or url.query:
        raise ValueError("must be mqtt://host or mqtts://host, with a port if need be")
    return value


class MosquittoConfig(HookConfig):
    """The settings of `hook = "mosquitto"`, besides those that every service has."""

    server: Annotated[str, AfterValidator(_mqtt_url)] = Field(
        description="where the broker is, like mqtts://mqtt.example.org or mqtt://localhost:1883"
    )
    login: str = Field(description="the client that svcctl is there", min_length=1)
    password: Secret = Field(description="its password")
    ca_file: Path | None = Field(
        None, description="whose certificates to trust for mqtts; without it, those of the system"
    )
    timeout: Duration = Field(PATIENCE, description="how long to wait for an answer")


class Membership(BaseModel):
    groupname: str


class Client(BaseModel):
    """A client as the plugin shows it; what is not set is not there."""

    username: str
    textname: str = ""
    textdescription: str = ""
    disabled: bool = False
    groups: list[Membership]


class ClientData(BaseModel):
    client: Client


class ClientsData(BaseModel):
    clients: list[Client]
    total: int = Field(alias="totalCount")


class GroupsData(BaseModel):
    groups: list[str]
    total: int = Field(alias="totalCount")


class MosquittoManager(Manager):
    """Sends commands to the plugin. The uid is the username, which nothing there can change.

    The external id is kept in the description, the nickname in the text name. One connection is
    kept; a broker that closed it meanwhile is connected to again.
    """

    stores_external_id = True

    def __init__(
        self,
        server: str,
        login: str,
        password: str,
        ca_file: Path | None = None,
        timeout: timedelta = PATIENCE,
    ) -> None:
        self._server = server
        self._login = login
        self._password = password
        self._ca_file = ca_file
        self._seconds = timeout.total_seconds()
        self._control: Control | None = None

    def check(self) -> None:
        self.list_groups()

    def close(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None

    def list_accounts(self) -> Iterator[RemoteAccount]:
        # All in one answer: pages go by offset, and somebody who is deleted meanwhile shifts them.
        (answer,) = self._ask({"command": "listClients", "verbose": True})
        data = self._understood(ClientsData, answer)
        if len(data.clients) != data.total:
            raise Incomplete(f"{self._server}: {len(data.clients)} of {data.total} clients listed")
        yield from map(_shown, data.clients)

    def get_account(self, uid: str) -> RemoteAccount:
        (answer,) = self._ask({"command": "getClient", "username": uid})
        return _shown(self._understood(ClientData, answer).client)

    def find_account(self, external_id: str, name: str) -> RemoteAccount | None:
        named = None
        for account in self.list_accounts():
            if account.external_id == external_id:
                return account
            if account.name == name:
                named = account
        return named

    def list_groups(self) -> Iterable[str]:
        (answer,) = self._ask({"command": "listGroups"})
        return self._groups(answer)

    def create_account(self, new: NewAccount) -> Created:
        self._do(new.name, "createClient", password=new.password, textdescription=new.external_id)
        return Created(uid=new.name, name=new.name)

    def enable_account(self, uid: str) -> None:
        self._do(uid, "enableClient")

    def disable_account(self, uid: str) -> None:
        """The broker also ends the client's connections."""
        self._do(uid, "disableClient")

    def delete_account(self, uid: str) -> None:
        self._do(uid, "deleteClient")

    def set_password(self, uid: str, password: str) -> None:
        self._do(uid, "setClientPassword", password=password)

    def set_nickname(self, uid: str, nickname: str) -> None:
        self._do(uid, "modifyClient", textname=nickname)

    def change_groups(self, uid: str, add: frozenset[str], remove: frozenset[str]) -> GroupChange:
        self._not_ourselves(uid)
        client, groups = self._ask(
            {"command": "getClient", "username": uid}, {"command": "listGroups"}
        )
        there = {one.groupname for one in self._understood(ClientData, client).client.groups}
        if missing := add.difference(self._groups(groups)):
            raise Invalid(f"{self._server}: no group {', '.join(sorted(missing))}")
        joined, left = add - there, remove & there
        commands = [
            {"command": command, "username": uid, "groupname": group}
            for command, names in (("addGroupClient", joined), ("removeGroupClient", left))
            for group in sorted(names)
        ]
        for answer in self._ask(*commands) if commands else ():
            # Somebody else was faster.
            if answer.error != "Client is already in this group":
                self._done(answer)
        return GroupChange(added=joined, removed=left)

    def _do(self, uid: str, command: str, **values: str) -> None:
        self._not_ourselves(uid)
        (answer,) = self._ask({"command": command, "username": uid, **values})
        self._done(answer)

    def _not_ourselves(self, uid: str) -> None:
        if uid == self._login:
            raise Invalid(
                f"{self._server}: {uid} is the client that svcctl is itself",
                hint="it would lock itself out; give it a name that no user has",
            )

    def _ask(self, *commands: Command) -> list[Answer]:
        if self._control is not None and not self._control.alive():
            self.close()
        try:
            if self._control is None:
                self._control = Control(self._server, self._ca_file, self._seconds)
                self._control.open(self._login, self._password)
            return self._control.ask(commands)
        except ManagerError:
            self.close()
            raise
        except BROKEN as error:
            self.close()
            raise Transient(f"{self._server}: {type(error).__name__}: {error}") from error

    def _groups(self, answer: Answer) -> list[str]:
        data = self._understood(GroupsData, answer)
        if len(data.groups) != data.total:
            raise Incomplete(f"{self._server}: {len(data.groups)} of {data.total} groups listed")
        return data.groups

    def _done(self, answer: Answer) -> None:
        """Raises what the plugin's error means."""
        if answer.error is None:
            return
        message = f"{self._server}: {answer.command}: {answer.error}"
        match answer.error:
            case "Client not found":
                raise NotFound(message)
            case "Client already exists":
                raise Conflict(message)
            case "Internal error":
                raise Transient(message)
            case _:
                raise Invalid(message)

    def _understood(self, model: type[Understood], answer: Answer) -> Understood:
        self._done(answer)
        try:
            return model.model_validate(answer.data)
        except ValidationError:
            raise Transient(
                f"{self._server}: {answer.command}: an answer that is not what was asked for"
            ) from None


def _shown(client: Client) -> RemoteAccount:
    described = client.textdescription
    return RemoteAccount(
        uid=client.username,
        name=client.username,
        active=not client.disabled,
        external_id=described if described.startswith(OURS) else None,
        groups=frozenset(one.groupname for one in client.groups),
        nickname=client.textname,
    )


class MosquittoHook(ServiceHook):
    """Names without `/`, `+` and `#`: an ACL may put them into a topic with %u."""

    config_class = MosquittoConfig
    manager_class = MosquittoManager
    version = "1"
    # MQTT 5.0, 1.5.4: a string is 65,535 bytes long at most.
    username_rule = NameRule(characters=r"\w.@-", max_bytes=65_535)
    nickname_rule = NameRule(min_length=0)
    group_rule = NameRule(max_bytes=65_535)
