"""One user as hooks see one, under the state rules of this moment."""

from dataclasses import replace

from sqlalchemy import Connection

from svcctl.directory.states import Rules, choose
from svcctl.model import User
from svcctl.store.census import stream


def as_hooks_see(connection: Connection, user_id: int, rules: Rules) -> User:
    """The user. The stored state may be older than the rules, so it is chosen anew."""
    user = next(user for user, _ in stream(connection, frozenset({user_id}), ()))
    state = choose(
        rules,
        username=user.username,
        active=user.active,
        groups=user.groups,
        attributes=user.attributes,
    )
    return replace(user, state=state)
