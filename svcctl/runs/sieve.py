"""The sieve: telling without asking a hook of the default policy that nothing is to do."""

from typing import Any

from svcctl.errors import Invalid
from svcctl.hooks.contract import ServiceHook, keeps_default
from svcctl.model import User, Verb, names_to_json

_ACCESS = ("service_active_for_user", "account", "can")
_VALIDATE = (*_ACCESS, "validate_user", "delete_user", "removal", "_grace_is_over", "operation")
_GROUPS = ("update_groups", "groups_for", "group_names", "account", "can")
_NICKNAME = ("sync_nickname", "nickname_for", "account", "can", "_format")

_Want = tuple[bool, str | None, str | None]
"""Whether the user may have an account, its groups as stored, its nickname.

None: it does not matter, in this task or for this service.
"""


class Sieve:
    """What the default decisions want of an account, to tell without asking that nothing is to do.

    Only for hooks that keep the default policy; a property test holds it against the decisions.
    Hooks with the same settings share one sieve, so that each user is looked at once for all.
    """

    def __init__(self, hook: ServiceHook, parts: frozenset[str]) -> None:
        self.hook = hook
        self.validate = "validate" in parts
        self.create = "create" in parts and hook.config.create == "auto" and hook.can(Verb.CREATE)
        self.groups = (
            "groups" in parts and hook.config.groups.enabled and hook.can(Verb.CHANGE_GROUPS)
        )
        self.nickname = (
            "nickname" in parts and hook.config.sync_names and hook.can(Verb.SET_NICKNAME)
        )
        self._mapped: dict[str, tuple[str, ...]] = {}

    def shared_with(self) -> tuple[object, ...]:
        """Equal for hooks that want the same of every user."""
        config = self.hook.config
        return (
            self.validate,
            self.create,
            self.groups,
            self.nickname,
            config.access,
            config.groups.model_dump_json(),
            self.hook.group_rule,
            self.hook.nickname_formats,
            config.default_to_username,
            self.hook.nickname_rule,
        )

    def wants(self, user: User) -> _Want | None:
        """What the user should have; None: a name rule refuses, so the hook has to be asked."""
        try:
            return self._want(user)
        except Invalid:
            return None

    def _want(self, user: User) -> _Want:
        access = self.hook.config.access
        allowed = user.active and (
            user.state in access.states
            or user.username in access.users
            or not access.groups.isdisjoint(user.groups)
        )
        return (
            allowed,
            self._groups(user) if self.groups else None,
            self.hook.nickname_for(user) if self.nickname else None,
        )

    def _groups(self, user: User) -> str:
        sources = user.groups
        if self.hook.config.groups.state and user.state:
            sources = sources | {user.state}
        names: set[str] = set()
        for group in sources:
            if group not in self._mapped:
                self._mapped[group] = self.hook.group_names(group)
            names.update(self._mapped[group])
        return names_to_json(names)

    def settled(self, row: Any, want: _Want | None) -> bool:
        """`row` as in `accounts.COLUMNS`, None where there is none."""
        if want is None:
            return False
        allowed, groups, nickname = want
        if row is None or row[3] == "absent":
            return not (self.create and allowed and (row is None or row[10] is None))
        if row[3] == "disabled":
            return not self.validate or row[10] is not None
        return (
            (allowed or not self.validate or row[10] is not None)
            and (groups is None or row[6] == groups)
            and (nickname is None or row[7] == nickname)
        )


class Wants(dict[Sieve, _Want | None]):
    """What each sieve wants for one user, computed when first asked for."""

    def __init__(self, user: User) -> None:
        super().__init__()
        self._user = user

    def __missing__(self, sieve: Sieve) -> _Want | None:
        want = self[sieve] = sieve.wants(self._user)
        return want


def default_policy(hook: ServiceHook, parts: frozenset[str]) -> bool:
    methods: set[str] = set()
    if "validate" in parts or "create" in parts:
        methods.update(_VALIDATE)
    if "groups" in parts:
        methods.update(_GROUPS)
    if "nickname" in parts:
        methods.update(_NICKNAME)
    if "create" in parts:
        methods.add("create_user")
    return keeps_default(hook, *methods)
