"""Secrets: in no log, no error, no output and no repr."""

from collections.abc import Iterator

import pytest

from svcctl.errors import Conflict, NotFound
from svcctl.hooks.manager import Manager
from svcctl.hooks.testing.faults import DONE, Faults
from svcctl.hooks.testing.manager.subject import Accounts, Connect, Subject, needs, refusal


class Secrecy(Subject):
    """What is never told."""

    @needs("create_account")
    def test_a_password_is_told_to_nobody(
        self,
        manager: Manager,
        accounts: Accounts,
        caplog: pytest.LogCaptureFixture,
        capfd: pytest.CaptureFixture[str],
        request: pytest.FixtureRequest,
    ) -> None:
        caplog.set_level("DEBUG")
        asked = accounts.ask("ada")
        secrets = [asked.password]
        told: list[object] = [manager.create_account(asked)]
        accounts.remember(told[0].uid)  # type: ignore[attr-defined]
        again = accounts.ask_for(asked.name)
        secrets.append(again.password)
        told.append(refusal("a taken name", lambda: manager.create_account(again), Conflict))
        if self.can(manager, "set_password"):
            secrets.append(accounts.ask().password)
            manager.set_password(told[0].uid, secrets[-1])  # type: ignore[attr-defined]
            absent: str = request.getfixturevalue("absent_uid")
            secrets.append(accounts.ask().password)
            told.append(
                refusal(
                    "set_password of no account",
                    lambda: manager.set_password(absent, secrets[-1]),
                    NotFound,
                )
            )
        self._silent(secrets, [manager, *told], caplog, capfd)

    @needs("create_account")
    def test_a_password_is_told_to_nobody_when_something_fails(
        self,
        manager: Manager,
        hurried: Connect,
        accounts: Accounts,
        faults: Faults,
        caplog: pytest.LogCaptureFixture,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        caplog.set_level("DEBUG")
        told: list[object] = []
        secrets: list[str] = []
        uid = accounts.new("ada").uid
        for kind in sorted(faults.kinds - {"short"}):
            asked = accounts.ask("bob")
            secrets.append(asked.password)
            one = hurried()
            with faults.strike(kind):
                try:
                    accounts.remember(one.create_account(asked).uid)
                except Exception as error:  # noqa: BLE001 - which one is another test's business
                    told.append(error)
                if self.can(one, "set_password"):
                    try:
                        one.set_password(uid, asked.password)
                    except Exception as error:  # noqa: BLE001 - which one is another test's business
                        told.append(error)
        self._silent(secrets, [manager, *told], caplog, capfd)

    def test_credentials_are_told_to_nobody(
        self,
        manager: Manager,
        hurried: Connect,
        accounts: Accounts,
        credentials: tuple[str, ...],
        caplog: pytest.LogCaptureFixture,
        capfd: pytest.CaptureFixture[str],
        request: pytest.FixtureRequest,
    ) -> None:
        """Neither when all is well, nor, where there are `faults`, when something fails."""
        assert credentials, "name the secrets that the manager got"
        caplog.set_level("DEBUG")
        if self.can(manager, "create_account"):
            accounts.new("ada")
        told: list[object] = [manager]
        reads = [
            name for name in ("check", "list_accounts", "list_groups") if self.can(manager, name)
        ]
        told += [list(getattr(manager, read)() or ()) for read in reads]
        try:
            faults: Faults = request.getfixturevalue("faults")
        except pytest.skip.Exception:
            faults = Faults()
        for kind in sorted(faults.kinds - DONE - {"short"}):
            for read in reads:
                one = hurried()
                with faults.strike(kind):
                    try:
                        list(getattr(one, read)() or ())
                    except Exception as error:  # noqa: BLE001 - which one is another test's business
                        told.append(error)
        self._silent(credentials, told, caplog, capfd)

    def _silent(
        self,
        secrets: tuple[str, ...] | list[str],
        told: list[object],
        caplog: pytest.LogCaptureFixture,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        output, errors = capfd.readouterr()
        places = {"the log": caplog.text, "stdout": output, "stderr": errors}
        for one in told:
            kind = type(one).__name__
            places[f"a {kind}"] = places.get(f"a {kind}", "") + "\n".join(_said(one))
        for place, text in places.items():
            # Not `assert … in`: that would show the secret once more.
            if any(secret in text for secret in secrets):
                pytest.fail(f"a secret stands in {place}")


def _said(one: object) -> Iterator[str]:
    """What a person may get to read of it: of an error also what is behind it."""
    yield repr(one)
    yield str(one)
    if isinstance(one, BaseException):
        yield str(getattr(one, "hint", ""))
        yield from getattr(one, "__notes__", ())
        for behind in (one.__cause__, None if one.__suppress_context__ else one.__context__):
            if behind is not None:
                yield from _said(behind)
