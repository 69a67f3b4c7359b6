"""What keeps accounts in the database of a service; each verb is one transaction."""

from collections.abc import Iterator

from svcctl.config.source import DatabaseUrl
from svcctl.errors import Conflict, Incomplete, Invalid, NotFound
from svcctl.hooks.manager import Created, GroupChange, Manager, NewAccount, RemoteAccount
from svcctl.hooks.sql.account import account_of, text_of, with_groups
from svcctl.hooks.sql.config import PasswordHash, Statements
from svcctl.hooks.sql.passwords import hasher
from svcctl.hooks.sql.transaction import Transaction, Transactions
from svcctl.names import NameRule


class SqlManager(Manager):
    """Accounts in a database whose statements stand in the configuration.

    Before a verb's transaction is committed the account is read again in it: where the statements
    did not do what the verb says, nothing of it is kept.
    """

    concurrency = 4

    def __init__(
        self,
        database: DatabaseUrl,
        *,
        statements: Statements,
        password: str | None = None,
        password_hash: PasswordHash | None = None,
        timeout: float = 30.0,
        username_rule: NameRule | None = None,
    ) -> None:
        """timeout: seconds. username_rule: says which names are the same to the service."""
        self._statements = statements
        self._rule = username_rule or NameRule()
        self._before = password_hash and password_hash.before
        self._hashed = None
        if password_hash is not None:
            self._hashed = hasher(password_hash.scheme, password_hash.options)
        self._transactions = Transactions(
            database, password, statements, seconds=timeout, connections=self.concurrency
        )
        self.stores_external_id = statements.find_by_external_id is not None

    def close(self) -> None:
        self._transactions.close()

    # Reading

    def check(self) -> None:
        """Connect, and run `check` where there is one, else look whether accounts can be read."""
        with self._transactions.begin("check", writes=False) as transaction:
            if self._statements.check is not None:
                transaction.rows("check")
            elif self._statements.list_accounts is not None:
                with transaction.stream("list_accounts") as rows:
                    next(rows, None)

    def list_accounts(self) -> Iterator[RemoteAccount]:
        """Row by row; all memberships are read before."""
        with self._transactions.begin("list_accounts", writes=False) as transaction:
            held = None
            if self._statements.list_memberships is not None:
                held = _memberships(transaction)
            seen: set[str] = set()
            with transaction.stream("list_accounts") as rows:
                for row in rows:
                    account = account_of(row, "list_accounts")
                    if account.uid in seen:
                        raise Incomplete(
                            f"statements.list_accounts: gives uid {account.uid} twice",
                            hint="each account must be one row; groups: list_memberships",
                        )
                    seen.add(account.uid)
                    groups = None if held is None else held.get(account.uid, frozenset())
                    yield with_groups(account, groups)

    def get_account(self, uid: str) -> RemoteAccount:
        with self._transactions.begin("get_account", writes=False) as transaction:
            return self._get(transaction, uid)

    def find_account(self, external_id: str, name: str) -> RemoteAccount | None:
        """By the external id where the database keeps it, else by the name."""
        with self._transactions.begin("find_account", writes=False) as transaction:
            return self._find(transaction, external_id, name)

    def list_groups(self) -> list[str]:
        with self._transactions.begin("list_groups", writes=False) as transaction:
            return sorted(_names(transaction, "list_groups"))

    # Accounts

    def create_account(self, new: NewAccount) -> Created:
        """It is looked for by its name afterwards; one that came to another name is not kept."""
        values = {
            **new.attributes,
            "name": new.name,
            "external_id": new.external_id,
            **self._passwords(new.name, new.password),
        }
        with self._transactions.begin("create_account", values) as transaction:
            there = self._find(transaction, new.external_id, new.name)
            if there is not None:
                raise Conflict(f"{there.name!r} (uid {there.uid}) exists already")
            transaction.run("create_account")
            made = self._find(transaction, new.external_id, new.name)
            if made is None or self._rule.key(made.name) != self._rule.key(new.name):
                instead = f", but {made.name!r}" if made else ""
                raise Conflict(
                    f"statements.create_account: made no account called {new.name!r}{instead}",
                    hint="nothing was kept; does the database cut names off, or change them?",
                )
        return Created(made.uid, made.name)

    def enable_account(self, uid: str) -> None:
        self._switch("enable_account", uid, active=True)

    def disable_account(self, uid: str) -> None:
        self._switch("disable_account", uid, active=False)

    def delete_account(self, uid: str) -> None:
        with self._transactions.begin("delete_account") as transaction:
            self._get(transaction, uid)
            transaction.run("delete_account", uid=uid)
            if transaction.rows("get_account", uid=uid):
                raise _unchanged("delete_account", uid, "is still there")

    def set_password(self, uid: str, password: str) -> None:
        with self._transactions.begin("set_password", {"password": password}) as transaction:
            name = self._get(transaction, uid).name
            transaction.run("set_password", uid=uid, **self._passwords(name, password))

    def set_nickname(self, uid: str, nickname: str) -> None:
        with self._transactions.begin("set_nickname") as transaction:
            if self._get(transaction, uid).nickname == nickname:
                return
            transaction.run("set_nickname", uid=uid, nickname=nickname)
            shown = self._get(transaction, uid).nickname
            if nickname and shown is not None and shown != nickname:
                raise _unchanged("set_nickname", uid, f"is called {shown!r}, not {nickname!r}")

    def change_groups(self, uid: str, add: frozenset[str], remove: frozenset[str]) -> GroupChange:
        """Raises Invalid for a group to add that list_groups does not have."""
        with self._transactions.begin("change_groups") as transaction:
            self._get(transaction, uid)
            before = _names(transaction, "groups_of", uid=uid)
            added, removed = add - before, (remove & before) - add
            if added and self._statements.list_groups is not None:
                missing = added - _names(transaction, "list_groups")
                if missing:
                    raise Invalid(
                        f"no group {min(missing)!r} on the service",
                        hint="create it there, or map another",
                    )
            for group in sorted(added | removed):
                name = "add_to_group" if group in added else "remove_from_group"
                transaction.run(name, uid=uid, group=group)
            after = _names(transaction, "groups_of", uid=uid)
            if after != (before | added) - removed:
                shown = ", ".join(sorted(after)) or "no group"
                raise _unchanged("add_to_group, remove_from_group", uid, f"is in {shown}")
        return GroupChange(added, removed)

    def _switch(self, verb: str, uid: str, *, active: bool) -> None:
        with self._transactions.begin(verb) as transaction:
            if self._get(transaction, uid).active is active:
                return
            transaction.run(verb, uid=uid)
            if self._get(transaction, uid).active is not active:
                raise _unchanged(verb, uid, f"is still {'disabled' if active else 'active'}")

    def _passwords(self, name: str, password: str) -> dict[str, str]:
        if self._hashed is None:
            return {"password": password}
        before = {"name": name, "lower_name": name.lower()}.get(self._before or "", "")
        return {"password": password, "password_hash": self._hashed(before + password)}

    def _get(self, transaction: Transaction, uid: str) -> RemoteAccount:
        rows = transaction.rows("get_account", uid=uid)
        if not rows:
            raise NotFound(f"statements.get_account: no account {uid}")
        accounts = [account_of(row, "get_account") for row in rows]
        if len(accounts) > 1 or accounts[0].uid != uid:
            shown = ", ".join(sorted({account.uid for account in accounts}))
            raise Incomplete(
                f"statements.get_account: asked for {uid}, gives {len(rows)} rows, of {shown}",
                hint="it must give the one row of this account",
            )
        groups = None
        if self._statements.groups_of is not None:
            groups = _names(transaction, "groups_of", uid=uid)
        return with_groups(accounts[0], groups)

    def _find(self, transaction: Transaction, external_id: str, name: str) -> RemoteAccount | None:
        if self._statements.find_by_external_id is not None:
            for row in transaction.rows("find_by_external_id", external_id=external_id):
                account = account_of(row, "find_by_external_id")
                if account.external_id == external_id:
                    return account
        key = self._rule.key
        rows = transaction.rows("find_account", name=name)
        accounts = [account_of(row, "find_account") for row in rows]
        same = [account for account in accounts if key(account.name) == key(name)]
        exact = [account for account in same if account.name == name]
        return next(iter(exact or same), None)


def _memberships(transaction: Transaction) -> dict[str, frozenset[str]]:
    """The groups of each uid; equal combinations are one object."""
    held: dict[str, frozenset[str]] = {}
    equal: dict[frozenset[str], frozenset[str]] = {}
    with transaction.stream("list_memberships") as rows:
        for row in rows:
            if not {"uid", "group"} <= row.keys():
                raise Incomplete("statements.list_memberships: needs the columns uid and group")
            uid = text_of(row["uid"], "list_memberships: uid")
            group = text_of(row["group"], "list_memberships: group")
            groups = held.get(uid, frozenset()) | {group}
            held[uid] = equal.setdefault(groups, groups)
    return held


def _names(transaction: Transaction, name: str, **values: str) -> frozenset[str]:
    rows = transaction.rows(name, **values)
    if any(len(row) != 1 for row in rows):
        raise Incomplete(f"statements.{name}: must give one column, the name of a group")
    return frozenset(text_of(value, name) for row in rows for value in row.values())


def _unchanged(statement: str, uid: str, how: str) -> Invalid:
    return Invalid(
        f"statements.{statement}: account {uid} {how}",
        hint="nothing was kept; compare the statements with what get_account and groups_of read",
    )
