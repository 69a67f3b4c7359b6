"""What speaks to an HTTP API that the configuration describes."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from svcctl.config.http import Basic, Http, OAuth
from svcctl.errors import Conflict, Incomplete, Invalid, NotFound, Transient
from svcctl.hooks.http.account import account_of, name_of, uid_of
from svcctl.hooks.http.api import Api, Values
from svcctl.hooks.http.expression import Expression
from svcctl.hooks.http.groups import GroupList, texts
from svcctl.hooks.http.settings import Accounts, ErrorRule, Login, Requests, Shape, Write
from svcctl.hooks.http.template import Template
from svcctl.hooks.manager import Created, GroupChange, Manager, NewAccount, RemoteAccount
from svcctl.http.connect import connect
from svcctl.names import NameRule


class HttpManager(Manager):
    """Accounts of a service whose requests stand in the configuration.

    Status codes say little about what was done. So each account is read before it is changed, for
    what is so already is not sent again, and after it, for a change that did not happen is Invalid.
    """

    concurrency = 4

    def __init__(
        self,
        base_url: str,
        *,
        account: Shape,
        requests: Requests,
        token: str | None = None,
        basic: Basic | None = None,
        oauth: OAuth | None = None,
        http: Http | None = None,
        query: Mapping[str, Template] | None = None,
        headers: Mapping[str, Template] | None = None,
        secrets: Mapping[str, str] | None = None,
        errors: tuple[ErrorRule, ...] = (),
        message: Expression | None = None,
        login: Login | None = None,
        username_rule: NameRule | None = None,
    ) -> None:
        """username_rule: says which names are the same to the service."""
        self._api = Api(
            connect(
                base_url,
                token=token,
                basic=basic,
                oauth=oauth,
                http=http,
                connections=self.concurrency,
                cookies=login is not None,
            ),
            query=query or {},
            headers=headers or {},
            secrets=secrets or {},
            errors=errors,
            message=message,
            login=login,
        )
        self._shape = account
        self._requests = requests
        self._rule = username_rule or NameRule()
        self.stores_external_id = requests.find_by_external_id is not None
        self._groups = GroupList(self._api, requests.list_groups)

    def close(self) -> None:
        self._api.close()

    # Reading

    def check(self) -> None:
        """The request for it, else the first page of the list."""
        if self._requests.check is not None:
            self._api.tell(self._requests.check, {})
        else:
            next(self.list_accounts(), None)

    def list_accounts(self) -> Iterator[RemoteAccount]:
        """By page; account by account where the list does not show all of them."""
        request = self._requests.list_accounts
        assert request is not None
        seen: set[str] = set()
        for page in self._api.items(request, {}):
            for item in page:
                uid = uid_of(item, self._shape)
                if uid not in seen:
                    seen.add(uid)
                    yield from self._shown(request, item)

    def get_account(self, uid: str) -> RemoteAccount:
        return self._account(self._item(uid))

    def _item(self, uid: str) -> Any:
        """The account's JSON. Raises NotFound, and Incomplete where it is another's."""
        request = self._requests.get_account
        assert request is not None
        try:
            page = self._api.ask(request, {"uid": uid})
        except NotFound:
            # Some say so to strangers, too. Whoever is none may be believed.
            if self._requests.check is not None:
                self.check()
            raise
        item = request.item.of(page.document)
        if (found := uid_of(item, self._shape)) != uid:
            raise Incomplete(f"{page.answer.source}: shows account {found}, not {uid}")
        return item

    def find_account(self, external_id: str, name: str) -> RemoteAccount | None:
        """By the external id where the service can be searched for it, else by the name."""
        by_key = self._requests.find_by_external_id
        if by_key is not None:
            for account in self._found(by_key, {"external_id": external_id}):
                if account.external_id == external_id:
                    return account
        assert self._requests.find_account is not None
        same = self._found(self._requests.find_account, {"name": name}, key=self._rule.key(name))
        exact = [account for account in same if account.name == name]
        return next(iter(exact or same), None)

    def _found(
        self, request: Accounts, values: Values, *, key: str | None = None
    ) -> list[RemoteAccount]:
        """The accounts that a search gives, of those the ones with this name; none where the
        service says that there is none.
        """
        try:
            pages = list(self._api.items(request, values))
        except NotFound:
            return []
        items = [item for page in pages for item in page]
        if key is not None:
            items = [item for item in items if self._rule.key(name_of(item, self._shape)) == key]
        return [account for item in items for account in self._shown(request, item)]

    def _shown(self, request: Accounts, item: Any) -> Iterator[RemoteAccount]:
        """The account in a list; none where it is gone by the time that it is asked for."""
        if not request.each:
            yield self._account(item)
            return
        with suppress(NotFound):
            yield self.get_account(uid_of(item, self._shape))

    def list_groups(self) -> list[str]:
        return self._groups.names()

    def _account(self, item: Any) -> RemoteAccount:
        return account_of(item, self._shape, self._groups_of(item))

    # Accounts

    def create_account(self, new: NewAccount) -> Created:
        """A name that is there already is a Conflict, also where the service would take it over."""
        request = self._requests.create_account
        assert request is not None
        if self._requests.find_account is not None:
            there = self.find_account(new.external_id, new.name)
            if there is not None:
                raise Conflict(f"{there.name!r} (uid {there.uid}) exists already")
        values = {
            **new.attributes,
            "name": new.name,
            "external_id": new.external_id,
            "password": new.password,
        }
        page = self._api.tell(request, values)
        if request.item is not None:
            item = request.item.of(page.document)
            if item is not None:
                return Created(uid_of(item, self._shape), name_of(item, self._shape))
        elif (found := self.find_account(new.external_id, new.name)) is not None:
            return Created(found.uid, found.name)
        raise Transient(
            f"{page.answer.source}: {page.answer.status}, but shows no account",
            hint="compare requests.create_account.item, or find_account, with what is sent",
        )

    def enable_account(self, uid: str) -> None:
        self._switch(self._requests.enable_account, uid, active=True)

    def disable_account(self, uid: str) -> None:
        self._switch(self._requests.disable_account, uid, active=False)

    def delete_account(self, uid: str) -> None:
        self.get_account(uid)
        self._tell(self._requests.delete_account, {"uid": uid})
        try:
            self.get_account(uid)
        except NotFound:
            return
        raise _unchanged(uid, "is still there")

    def set_password(self, uid: str, password: str) -> None:
        self.get_account(uid)
        self._tell(self._requests.set_password, {"uid": uid, "password": password})

    def set_nickname(self, uid: str, nickname: str) -> None:
        """Where an empty one is sent, many services show the name of the account instead."""
        if self.get_account(uid).nickname == nickname:
            return
        self._tell(self._requests.set_nickname, {"uid": uid, "nickname": nickname})
        shown = self.get_account(uid).nickname
        if nickname and self._shape.nickname is not None and shown != nickname:
            raise _unchanged(uid, f"is called {shown!r}, not {nickname!r}")

    def _switch(self, request: Write | None, uid: str, *, active: bool) -> None:
        if self.get_account(uid).active is active:
            return
        self._tell(request, {"uid": uid})
        if self.get_account(uid).active is not active:
            raise _unchanged(uid, f"is still {'disabled' if active else 'active'}")

    def _tell(self, request: Write | None, values: Values) -> None:
        assert request is not None
        self._api.tell(request, values)

    # Groups

    def change_groups(self, uid: str, add: frozenset[str], remove: frozenset[str]) -> GroupChange:
        """Group by group, or all at once where the service takes them so.

        Raises Invalid for a group to add that the service does not list.
        """
        item = self._item(uid)
        before = self._present(item)
        added, removed = add - before, (remove & before) - add
        if added or removed:
            ids = {name: self._groups.id_of(name) for name in sorted(added | removed)}
            if self._requests.set_groups is not None:
                self._set_groups(item, before, added, removed)
            else:
                for name, id_ in ids.items():
                    values = {"uid": uid, "group": name, "group_id": id_}
                    joins = name in added
                    self._tell(
                        self._requests.add_to_group if joins else self._requests.remove_from_group,
                        values,
                    )
            after = self._present(self._item(uid))
            if missing := sorted(added - after):
                raise _unchanged(uid, f"is not in {', '.join(missing)}")
            if left := sorted(removed & after):
                raise _unchanged(uid, f"is still in {', '.join(left)}")
        return GroupChange(added, removed)

    def _set_groups(
        self, item: Any, before: frozenset[str], added: frozenset[str], removed: frozenset[str]
    ) -> None:
        """By the ids that the account shows: what is not ours must stay, whatever it is called."""
        path, id_of = self._shape.group_ids, self._groups.id_of
        kept = {id_of(name) for name in before} if path is None else set(texts(path.of(item), path))
        ids = (kept | {id_of(name) for name in added}) - {id_of(name) for name in removed}
        values = {
            "uid": uid_of(item, self._shape),
            "groups": sorted((before | added) - removed),
            "group_ids": sorted(ids),
        }
        self._tell(self._requests.set_groups, values)

    def _present(self, item: Any) -> frozenset[str]:
        groups = self._groups_of(item)
        if groups is None:
            raise Incomplete(
                f"account {uid_of(item, self._shape)} does not show its groups",
                hint="compare account.groups with what the service sends for one account",
            )
        return groups

    def _groups_of(self, item: Any) -> frozenset[str] | None:
        """What the account shows, else what the request for its groups gives; None: nothing."""
        shape, request = self._shape, self._requests.groups_of
        if shape.group_ids is not None:
            ids = shape.group_ids.of(item)
            return None if ids is None else self._groups.names_of(texts(ids, shape.group_ids))
        if shape.groups is not None:
            names = shape.groups.of(item)
            return None if names is None else frozenset(texts(names, shape.groups))
        if request is None:
            return None
        path = request.id or request.name
        assert path is not None
        pages = self._api.items(request, {"uid": uid_of(item, shape)})
        found = texts([path.of(one) for page in pages for one in page], path)
        return self._groups.names_of(found) if request.id is not None else frozenset(found)


class SessionManager(HttpManager):
    """With a login: one request at a time, for sessions and their tokens do not stand several."""

    concurrency = 1


def _unchanged(uid: str, how: str) -> Invalid:
    return Invalid(
        f"account {uid} {how}, although the service said yes",
        hint="see whether the credentials allow it, and compare the request with the service's API",
    )
