"""Sending what waits: one delivery at a time, bounded, and nothing that was kept is lost."""

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

from svcctl.clock import now, stamp
from svcctl.config.notify import Notify, is_address
from svcctl.errors import ConfigError, ExitCode, StoreError, SvcctlError
from svcctl.locks import NOTIFY, Locks
from svcctl.notify import PUSH, open_channel
from svcctl.notify.channel import Channel, Later, Letter, Outage, Refused, line, lines
from svcctl.runs.apply import back_off
from svcctl.runs.lane import Stop
from svcctl.runs.plan import Problem
from svcctl.store import notifications as rows
from svcctl.store.database import Database
from svcctl.vault import Vault

if TYPE_CHECKING:
    from svcctl.runs.engine import Site

MOST = 1000
"""So many messages in one run; the next one goes on."""
SECONDS = 60.0
"""No message is begun after this."""
PATIENCE = 5
"""So many in a row that the server puts off: then it is the server, not the message."""
LAST_ATTEMPT = 12
"""With back-off these take some five days: what mail servers wait, too (RFC 5321, 4.5.4.1)."""
SEALED = "notification"
"""What the vault seals messages for that only their reader may see."""
_LISTED = 50
_SIGNALS = (ExitCode.INTERRUPTED, ExitCode.TERMINATED)
_CLOSING_WORDS = "This message was sent by a program. Answer it if you think that it is a mistake."


def deliver(site: "Site", stop: Stop | None = None) -> Problem | None:
    """Send what waits; what could not be sent, and why, as a problem that changes no exit code.

    Nothing happens while another process delivers. Without `[notify]` what waits is given up, so
    that nobody gets old news on the day that it is configured. Raises StoreError.
    """
    database, settings = site.database, site.settings.notify
    with database.read() as connection:
        if not rows.waiting(connection, at=stamp(), limit=1):
            return None
    if settings is None:
        with database.write() as connection:
            rows.shelve(connection, "there was no [notify] in the configuration")
        return None
    with Locks(database, timeout=0, holder="notifications") as locks:
        _, busy = locks.acquire([NOTIFY])
        if busy:
            return None
        vault = Vault(site.settings, in_use=lambda: True)
        with _Delivery(database, settings, vault, stop or Stop()) as delivery:
            return delivery.run()


class _Way:
    """One channel, and how it goes there today."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.in_a_row = 0
        self.outage: Outage | None = None
        self.left = 0
        self.put_off: list[Later] = []

    def said(self) -> Iterator[str]:
        if self.outage is not None:
            waiting = max(self.left, 1)
            kept = "is" if waiting == 1 else "are"
            yield f"{_messages(waiting)} {kept} kept, not sent: {self.outage.message}"
        elif self.put_off:
            yield f"{_messages(len(self.put_off))} put off: {self.put_off[0]}"

    def hint(self) -> str | None:
        if self.outage is not None:
            return self.outage.hint or "the next run tries again"
        return (self.put_off[0].hint or "later runs try again") if self.put_off else None


class _Delivery:
    def __init__(self, database: Database, settings: Notify, vault: Vault, stop: Stop) -> None:
        self._database = database
        self._vault = vault
        self._settings = settings
        self._ways: dict[str, _Way] = {}
        self._stop = stop
        self._until = time.monotonic() + SECONDS
        self._room = MOST
        self._said: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for way in self._ways.values():
            way.channel.close()

    def run(self) -> Problem | None:
        refused = self._pass()
        if refused:
            self._tell_operators(refused)
            self._pass()
        return self._problem()

    def _way(self, row: Mapping[str, Any]) -> _Way:
        """Raises Refused where there is none."""
        address = row["address"]
        name = address if address is not None and address.startswith(PUSH) else ""
        if name not in self._ways:
            self._ways[name] = _Way(open_channel(self._settings, address))
        return self._ways[name]

    def _pass(self) -> list[tuple[Mapping[str, Any], str]]:
        """Everything that is due, once. Who will never be reached is returned, and not yet noted:
        a crash before it is told to the operators only means that it is found out again.
        """
        for way in self._ways.values():
            way.left = 0
        if self._settings.apprise:
            with self._database.write() as connection:
                rows.spread(connection, _ways_to_operators(self._settings))
        refused: list[tuple[Mapping[str, Any], str]] = []
        for row in self._due():
            try:
                way = self._way(row)
            except Refused as error:
                refused.append((row, error.message))
                continue
            if way.outage is not None or self._over():
                way.left += 1
                continue
            try:
                self._send(row, way)
            except Refused as error:
                refused.append((row, error.message))
            except Later as error:
                self._delay(row, way, error, refused)
            except Outage as error:
                way.outage = error
                way.left += 1
                self._note(row, error, row["attempts"], until=None)
        return refused

    def _due(self) -> list[Mapping[str, Any]]:
        """The operators' first: what waits for a mail server must not keep them from a chat."""
        due: list[Mapping[str, Any]] = []
        for operators in (True, False) if self._settings.apprise else (None,):
            with self._database.read() as connection:
                due += rows.waiting(connection, at=stamp(), limit=self._room, operators=operators)
        self._room -= len(due)
        return due

    def _over(self) -> bool:
        return self._stop.code in _SIGNALS or time.monotonic() > self._until

    def _send(self, row: Mapping[str, Any], way: _Way) -> None:
        if row["sealed"] is not None:
            row = {**row, "message": self._unsealed(row["sealed"])}
        wrong = way.channel.send(_letter(row, self._settings))
        with self._database.write() as connection:
            rows.sent(connection, row["id"], error=wrong)
        if wrong:
            self._said.append(f"not sent to every operator: {wrong}")
        way.in_a_row = 0

    def _unsealed(self, sealed: str) -> str:
        """Raises Later where it cannot be read: the others are sent nevertheless."""
        try:
            return self._vault.unseal(sealed, SEALED)
        except (ConfigError, StoreError) as error:
            raise Later(error.message, hint=error.hint) from None

    def _delay(
        self,
        row: Mapping[str, Any],
        way: _Way,
        error: Later,
        refused: list[tuple[Mapping[str, Any], str]],
    ) -> None:
        attempts = row["attempts"] + 1
        if attempts >= LAST_ATTEMPT:
            refused.append((row, error.message))
            return
        self._note(row, error, attempts, until=stamp(now() + back_off(attempts)))
        way.put_off.append(error)
        way.in_a_row += 1
        if way.in_a_row >= PATIENCE:
            way.outage = Outage(f"put off again and again: {error.message}", hint=error.hint)

    def _note(
        self, row: Mapping[str, Any], error: SvcctlError, attempts: int, *, until: str | None
    ) -> None:
        with self._database.write() as connection:
            rows.put_off(connection, row["id"], attempts=attempts, error=error.message, until=until)

    def _tell_operators(self, refused: list[tuple[Mapping[str, Any], str]]) -> None:
        """Note who will never be reached, and tell the operators, in one commit."""
        users = [(row, reason) for row, reason in refused if row["user_id"] is not None]
        self._said.extend(
            f"the operators cannot be told: {reason}"
            for row, reason in refused
            if row["user_id"] is None
        )
        with self._database.write() as connection:
            rows.refuse(connection, {row["id"]: reason for row, reason in refused})
            if users and tells_operators(self._settings):
                rows.add(connection, [_undelivered(users)])
            elif users:
                row, reason = users[0]
                self._said.append(
                    f"{_messages(len(users))} for nobody: {row['username']}: {reason}"
                )

    def _problem(self) -> Problem | None:
        said = [text for way in self._ways.values() for text in way.said()] + self._said
        if not said:
            return None
        hint = next((hint for way in self._ways.values() if (hint := way.hint())), None)
        return Problem("notify", "; ".join(said), ExitCode.OK, hint=hint)


def tells_operators(settings: Notify) -> bool:
    """Whether there is anybody, or a file, for what operators should know."""
    return bool(_ways_to_operators(settings))


def _ways_to_operators(settings: Notify) -> list[str]:
    own = bool(settings.operators) or settings.deliver == "file"
    return [*[rows.OPERATORS][: int(own)], *(f"{PUSH}{name}" for name in settings.apprise)]


def _letter(row: Mapping[str, Any], settings: Notify) -> Letter:
    """Raises Refused when there is no address."""
    body = lines(row["message"])
    to: tuple[str, ...]
    if row["address"] == rows.OPERATORS or (row["address"], row["user_id"]) == (None, None):
        to = settings.operators
    elif row["address"] is not None:
        to = (row["address"],)
        if not row["address"].startswith(PUSH):
            body = f"{body}\n\n{_CLOSING_WORDS}"
    else:
        to = _address_of(row, settings)
        body = f"{line(row['title'])}.\n\n{body}\n\n{_CLOSING_WORDS}"
    return Letter(
        key=row["key"],
        to=to,
        username=row["username"],
        level=row["level"],
        subject=line(settings.subject_prefix + row["title"]),
        body=f"{body}\n",
        created_at=row["created_at"],
    )


def _address_of(row: Mapping[str, Any], settings: Notify) -> tuple[str, ...]:
    address = row["attributes"].get("email")
    if isinstance(address, str) and is_address(address):
        return (address,)
    if settings.deliver == "file":
        return ()
    if not address:
        raise Refused("no e-mail address (attribute email)")
    raise Refused(f"not an e-mail address: {line(str(address), 100)}")


def _undelivered(refused: list[tuple[Mapping[str, Any], str]]) -> dict[str, Any]:
    told = [f"  {row['username']}: {row['title']}: {reason}" for row, reason in refused[:_LISTED]]
    if len(refused) > _LISTED:
        told.append(f"  … and {len(refused) - _LISTED} more")
    return {
        "user_id": None,
        "level": "warning",
        "title": f"{_messages(len(refused))} could not be delivered",
        "message": "\n".join(["These people do not know yet:", *told]),
    }


def _messages(number: int) -> str:
    return "1 message" if number == 1 else f"{number} messages"
