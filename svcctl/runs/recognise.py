"""Recognising whose the accounts are that exist on a service already. Nothing is written."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from svcctl.errors import UsageError
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import Manager, RemoteAccount
from svcctl.hooks.registry import build_manager
from svcctl.model import Account, User
from svcctl.runs.adoption import Adoption, packed, unpacked
from svcctl.runs.engine import Site
from svcctl.runs.link import hook_of
from svcctl.runs.listing import listed, with_groups
from svcctl.runs.match import Index, Match, doubts
from svcctl.runs.plan import undecided
from svcctl.runs.planner import managed_groups
from svcctl.runs.rule import Rule
from svcctl.spool import Spool
from svcctl.store import accounts as account_rows
from svcctl.store import runs as run_rows
from svcctl.store.census import stream
from svcctl.store.chunks import chunks
from svcctl.store.database import Connection
from svcctl.store.people import names_of
from svcctl.store.standing import stale_states
from svcctl.tripwire import allowed, tripwire


def recognise(site: Site, service: str, rules: Sequence[Rule]) -> Adoption:
    """Find out whose the accounts are that nobody is linked to. Nothing is written.

    Raises UsageError for a service that cannot list, and a ManagerError where its listing breaks
    off: then nothing is recognised.
    """
    hook = hook_of(site, service)
    if not hook.can("list_accounts"):
        raise UsageError(
            f"services.{service}: {hook.manager_class.__name__} cannot list accounts",
            hint="link them one by one: svcctl accounts link",
        )
    adoption = Adoption(hook, rules)
    try:
        with site.database.read() as connection, tripwire("recognising accounts"):
            _refuse_paused(connection, service)
            states = stale_states(connection, site.settings.state_rules())
            with allowed():
                manager = build_manager(hook)
            try:
                _Recognition(connection, adoption, manager, states).make()
            finally:
                with allowed(), suppress(Exception):  # foreign code, and all is read by now
                    manager.close()
    except BaseException:
        adoption.close()
        raise
    return adoption


def _refuse_paused(connection: Connection, service: str) -> None:
    if pause := run_rows.paused(connection).get(service):
        raise UsageError(
            f"{service}: paused since {pause['since']} by {pause['actor']}",
            hint=f"svcctl services resume {service}",
        )


class _Recognition:
    def __init__(
        self,
        connection: Connection,
        adoption: Adoption,
        manager: Manager,
        states: Mapping[int, str] | None,
    ) -> None:
        self.connection = connection
        self.adoption = adoption
        self.hook = adoption.hook
        self.manager = manager
        self.states = states or None
        self.managed = managed_groups(connection, self.hook)

    def make(self) -> None:
        adoption = self.adoption
        index = Index(self.connection, self.hook, adoption.rules, self.states)
        matches: list[Match] = []
        linked: list[tuple[RemoteAccount, Match, int]] = []
        with Spool("the service") as candidates:
            for remote, owner in self._accounts():
                match = index.match(remote)
                if owner is not None:
                    adoption.linked += 1
                    if match is not None and owner not in match.users:
                        linked.append((remote, match, owner))
                elif match is None:
                    adoption.strangers += 1
                else:
                    matches.append(match)
                    with allowed():
                        candidates.keep(packed(remote))
            adoption.problems += index.problems
            adoption.silent = index.silent()
            ids = {id_ for match in matches for id_ in match.users}
            ids |= {id_ for _, match, owner in linked for id_ in (*match.users, owner)}
            names = names_of(self.connection, ids)
            doubtful = doubts(matches, adoption.rules, names)
            doubtful |= self._namesakes(matches, doubtful)
            places = zip(matches, map(unpacked, candidates), strict=True)
            for part in chunks(enumerate(places)):
                for place, (match, remote) in part:
                    if place in doubtful:
                        user = names[match.users[0]] if len(match.users) == 1 else None
                        adoption.leave(remote, match, user, doubtful[place])
                self._decide([pair for place, pair in part if place not in doubtful])
            for remote, match, owner in linked:
                user = names[match.users[0]] if len(match.users) == 1 else None
                adoption.leave(remote, match, user, f"is linked to {names[owner]}")

    def _accounts(self) -> Iterator[tuple[RemoteAccount, int | None]]:
        """Every account once, with the id of the user whom it is linked to."""
        seen: set[str] = set()
        for page in listed(self.manager):
            ours = account_rows.rows_by_uid(self.connection, self.hook.name, [r.uid for r in page])
            for remote in page:
                if remote.uid not in seen:
                    seen.add(remote.uid)
                    row = ours.get(remote.uid)
                    yield remote, None if row is None else row[0]

    def _namesakes(self, matches: Sequence[Match], doubtful: Mapping[int, str]) -> dict[int, str]:
        """Accounts whose names are the same to us: one of them is not what it seems."""
        places: dict[str, list[int]] = {}
        for place, match in enumerate(matches):
            if place not in doubtful:
                key = self.hook.username_rule.key(match.account)
                places.setdefault(key, []).append(place)
        return {
            place: f"its name is the same as that of {matches[(set(same) - {place}).pop()].account}"
            for same in places.values()
            if len(same) > 1
            for place in same
        }

    def _decide(self, pairs: Sequence[tuple[Match, RemoteAccount]]) -> None:
        remotes = with_groups(self.manager, [remote for _, remote in pairs])
        found = {
            match.users[0]: (match, remote)
            for (match, _), remote in zip(pairs, remotes, strict=True)
        }
        for user, account, taken in standing(
            self.connection,
            self.hook,
            {id_: remote.name for id_, (_, remote) in found.items()},
            self.states,
        ):
            match, remote = found[user.id]
            try:
                reason = refusal(self.hook, user, account, taken)
                if reason is None:
                    should = self.hook.groups_for(user)
            except Exception as error:  # noqa: BLE001 - a hook is foreign code; one user never stops the rest
                self.adoption.problems.append(undecided(self.hook.name, user.username, error))
                reason = "the hook could not decide about the user"
            if reason is None:
                excess = sorted(((remote.groups or frozenset()) & self.managed) - should)
                self.adoption.take(remote, match, user, excess=excess)
            else:
                self.adoption.leave(remote, match, user.username, reason)


def standing(
    connection: Connection,
    hook: ServiceHook,
    names: Mapping[int, str],
    states: Mapping[int, str] | None,
) -> Iterator[tuple[User, Account | None, str | None]]:
    """Each user with the record of an account here, and who else has the name that is to be theirs.

    names: user id -> the name of the account there.
    """
    keys = {id_: hook.username_rule.key(name) for id_, name in names.items()}
    taken = account_rows.live_names(connection, hook.name, set(keys.values()))
    for user, rows in stream(connection, frozenset(names), (hook.name,), states=states):
        other = taken.get(keys[user.id], (user.id, ""))
        account = account_rows.from_row(rows[0]) if rows else None
        yield user, account, None if other[0] == user.id else other[1]


def refusal(
    hook: ServiceHook, user: User, account: Account | None, taken: str | None
) -> str | None:
    """Why no account is given to the user; None: nothing speaks against it."""
    if account is not None and not account.absent:
        return f"{user.username} has the account {account.name} already"
    if account is not None and account.pin:
        return f"{user.username} is to have none: {account.pin}"
    if not hook.service_active_for_user(user):
        return f"{user.username} may not have one: {hook.explain_access(user)}"
    if taken is not None:
        return f"its name is the same as that of {taken}'s account"
    return None
