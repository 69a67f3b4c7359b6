"""The ServiceHook contract: Alliance Auth's service hooks, made pure.

A decision (`validate_user`, `update_groups`, …) looks at the user and the projected account and
yields operations; it performs nothing. Every method has a working default.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from html import escape
from string import Template
from types import GeneratorType
from typing import Any, ClassVar

from svcctl.clock import now as clock_now
from svcctl.clock import parse_stamp
from svcctl.config.service import HookConfig, Removal
from svcctl.errors import HookError, Invalid
from svcctl.hooks.manager import Manager, capabilities, without
from svcctl.model import Account, Operation, ServiceRow, User, Verb
from svcctl.names import NameFormat, NameRule

DECISIONS = (
    "create_user",
    "delete_user",
    "validate_user",
    "sync_nickname",
    "update_groups",
    "update_all_groups",
    "set_password",
    "reset_password",
)

ROW_TEMPLATE = """\
<tr>
  <td>$title</td>
  <td>$username</td>
  <td>$url</td>
  <td>$actions</td>
</tr>
"""


def _decision(method: Callable[..., Any]) -> Callable[..., Iterator[Operation]]:
    """The method as a generator that is known to its hook until it has been iterated to its end."""

    @functools.wraps(method)
    def decide(self: "ServiceHook", *args: Any, **kwargs: Any) -> Iterator[Operation]:
        operations = method(self, *args, **kwargs)
        if type(operations) is not GeneratorType:
            operations = _operations(self, method.__name__, operations)
        mark = [method.__name__]
        self._unfinished.append(mark)
        return _watched(operations, mark)

    return decide


def _watched(operations: Iterable[Operation], mark: list[str]) -> Iterator[Operation]:
    yield from operations
    mark.clear()


def _operations(hook: "ServiceHook", method: str, answer: object) -> Iterable[Operation]:
    if answer is None:
        return ()
    if not isinstance(answer, Iterable) or isinstance(answer, (str, bytes, Mapping)):
        raise HookError(
            f"services.{hook.name}: {method} returned {type(answer).__name__}",
            hint="a decision yields operations (or returns None for: nothing to do)",
        )
    return answer


class ServiceHook:
    """The policy for one kind of service. Subclass it, name a manager, override what differs.

    A decision is a generator of operations. One that is called and not iterated
    (`self.delete_user(user)` without `yield from`) is an error, never a silent nothing.
    Source: Alliance Auth's `services.hooks.ServicesHook`, whose methods act at once.
    """

    config_class: ClassVar[type[HookConfig]] = HookConfig
    """The settings of `[services.<name>]`; a subclass's own fields go to the manager."""
    manager_class: type[Manager] = Manager
    """What speaks to the remote. A hook never holds one: the engine builds it to apply."""
    name_format: ClassVar[str | None] = None
    """The nickname format of this kind of service; None: `default_name_format`."""
    username_rule: NameRule = NameRule()
    nickname_rule: NameRule = NameRule(min_length=0)
    group_rule: NameRule = NameRule()
    service_ctrl_template: ClassVar[str] = ROW_TEMPLATE
    """An HTML table row (string.Template): $title, $username, $url, $status, $actions."""
    commands: ClassVar[str | None] = None
    """`package.module:app`, a Typer app mounted at `svcctl service <name> …`."""
    version: ClassVar[str] = ""
    """The version of the policy; a plan made under another one is refused."""

    def __init__(
        self, name: str, config: HookConfig, *, default_name_format: str = "{character_name}"
    ) -> None:
        self.name = name
        self.config = config
        self.now: datetime = clock_now()
        self.nickname_formats = (
            tuple(sorted(config.name_formats.items())),
            config.name_format or self.name_format or default_name_format,
        )
        """The nickname formats by state, and the one for all other states."""
        self._unfinished: list[list[str]] = []
        self._accounts: dict[int, Account] = {}
        self.manager_class = without(self.manager_class, self.cannot())
        self._capabilities = capabilities(self.manager_class)
        self._formats: dict[str, NameFormat] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _wrap_decisions(cls)

    # What the engine hands over

    def account(self, user: User) -> Account:
        """The user's account as it will be after the operations already yielded in this plan."""
        return self._accounts.get(user.id) or Account(service=self.name, user_id=user.id)

    def can(self, capability: str) -> bool:
        """Whether the service can do this verb or read: its manager defines it."""
        return capability in self._capabilities

    def operation(
        self, verb: Verb, user: User, reason: str, *, notify: bool = False, **args: Any
    ) -> Operation:
        """One operation on the user's account. `reason` is what `why` and `history` show."""
        return Operation(verb=verb, user_id=user.id, reason=reason, args=args, notify=notify)

    # Policy: pure, overridable

    def cannot(self) -> Iterable[str]:
        """Methods of the manager that cannot be used with this service's settings."""
        return ()

    @property
    def title(self) -> str:
        """What people call the service."""
        return self.config.title or self.name.replace("_", " ").replace("-", " ").title()

    @property
    def removal(self) -> Removal:
        """What losing access does; by default to disable where the manager can, else to delete."""
        removal = self.config.removal
        if isinstance(removal, Removal):
            return removal
        default = "disable" if self.can(Verb.DISABLE) else "delete"
        return Removal(mode=removal or default)

    def service_enabled_members(self) -> bool:
        """Whether users in the state Member may have an account."""
        return "Member" in self.config.access.states

    def service_enabled_blues(self) -> bool:
        """Whether users in the state Blue may have an account."""
        return "Blue" in self.config.access.states

    def service_active_for_user(self, user: User) -> bool:
        """Whether the user may have an account here. Inactive users never may."""
        access = self.config.access
        return user.active and (
            user.state in access.states
            or user.username in access.users
            or not access.groups.isdisjoint(user.groups)
        )

    def explain_access(self, user: User) -> str:
        """The rule behind `service_active_for_user`, as a sentence for `why` and reasons."""
        access = self.config.access
        if not user.active:
            return "the user is not active"
        if user.state in access.states:
            return f"state {user.state} is in access.states"
        if user.username in access.users:
            return "named in access.users"
        if granting := sorted(access.groups & user.groups):
            return f"group {granting[0]} is in access.groups"
        missed = {
            f"state {user.state or '(none)'} is not in access.states": access.states,
            "no group of theirs is in access.groups": access.groups,
            "not named in access.users": access.users,
        }
        return ", ".join(text for text, names in missed.items() if names) or "access names nobody"

    def show_service_ctrl(self, user: User, state: str) -> bool:  # noqa: ARG002 - the contract
        """Whether the user's services page has a row for this service."""
        return user.superuser or self.service_active_for_user(user)

    def username_for(self, user: User) -> str:
        """The name of a new account. Raises Invalid when the name rule leaves nothing usable."""
        text = self._format(self.config.username_format).render(user)
        return self.username_rule.apply(text)

    def nickname_for(self, user: User) -> str | None:
        """The display name, or None where there is nothing to show: then it is left alone."""
        by_state, otherwise = self.nickname_formats
        text = dict(by_state).get(user.state, otherwise) if by_state else otherwise
        nickname = self._format(text).render(
            user, default_to_username=self.config.default_to_username
        )
        return self.nickname_rule.apply(nickname) or None

    def group_names(self, group: str) -> tuple[str, ...]:
        """The remote groups that stand for one directory group (or state)."""
        groups = self.config.groups
        if group in groups.exclude or (groups.include and group not in groups.include):
            return ()
        if groups.map:
            mapped = groups.map.get(group, ())
            names = (mapped,) if isinstance(mapped, str) else mapped
        else:
            names = (self.group_rule.apply(group),)
        return tuple(name for name in names if name not in groups.reserved)

    def groups_for(self, user: User) -> frozenset[str]:
        """The remote groups that the user should be in, of those that svcctl manages."""
        sources = user.groups
        if self.config.groups.state and user.state:
            sources = sources | {user.state}
        return frozenset(name for group in sources for name in self.group_names(group))

    def attributes_for(self, user: User) -> dict[str, Any]:
        """The user attributes handed to the service when the account is created."""
        return {
            key: user.attributes[key] for key in self.config.attributes if key in user.attributes
        }

    # Decisions: yield operations, perform nothing

    def create_user(self, user: User) -> Iterator[Operation]:
        """Create the account, with its groups and nickname. Nothing if there is one."""
        if not self.account(user).absent:
            return
        yield self.operation(
            Verb.CREATE,
            user,
            f"may have an account: {self.explain_access(user)}",
            name=self.username_for(user),
            attributes=self.attributes_for(user),
        )
        yield from self.update_groups(user)
        yield from self.sync_nickname(user)

    def delete_user(self, user: User, notify_user: bool = False) -> Iterator[Operation]:  # noqa: FBT001, FBT002 - the original's signature
        """Take the account away as `removal` says. Nothing if there is none."""
        account = self.account(user)
        if account.absent:
            return
        if self.removal.mode == "delete":
            verb = Verb.DELETE
        elif account.active:
            verb = Verb.DISABLE
        else:
            return
        reason = (
            "removed on purpose"
            if self.service_active_for_user(user)
            else f"lost access: {self.explain_access(user)}"
        )
        yield self.operation(verb, user, reason, notify=notify_user)

    def validate_user(self, user: User) -> Iterator[Operation]:
        """Remove the account of a user who may no longer have it; give a disabled one back.

        A disabled account whose grace (`removal.delete_after`, from `disabled_at`) is over is
        deleted, unless its user may have it again. Raises Invalid where that user's account cannot
        be enabled: the settings may be others than when it was disabled.
        """
        account = self.account(user)
        if account.absent:
            return
        allowed = self.service_active_for_user(user)
        if account.active and not allowed:
            yield from self.delete_user(user, notify_user=self.config.notify)
        elif account.disabled and allowed:
            if not self.can(Verb.ENABLE):
                raise Invalid(
                    f"the account is disabled, and {self.manager_class.__name__} has no "
                    f"{Verb.ENABLE}",
                    hint="enable it on the service, then: "
                    f"svcctl accounts refresh {user.username} --service {self.name}",
                )
            yield self.operation(Verb.ENABLE, user, f"access again: {self.explain_access(user)}")
            yield from self.update_groups(user)
            yield from self.sync_nickname(user)
        elif account.disabled and self._grace_is_over(account):
            yield self.operation(
                Verb.DELETE, user, f"disabled since {account.disabled_at}, grace is over"
            )

    def _grace_is_over(self, account: Account) -> bool:
        removal = self.removal
        if removal.mode == "delete":
            return True
        return (
            removal.delete_after is not None
            and account.disabled_at is not None
            and self.now - parse_stamp(account.disabled_at) >= removal.delete_after
        )

    def sync_nickname(self, user: User) -> Iterator[Operation]:
        """Make the display name what `nickname_for` says."""
        account = self.account(user)
        if not (account.active and self.config.sync_names and self.can(Verb.SET_NICKNAME)):
            return
        nickname = self.nickname_for(user)
        if nickname is not None and nickname != account.nickname:
            yield self.operation(
                Verb.SET_NICKNAME, user, "the name format gives another name", nickname=nickname
            )

    def update_groups(self, user: User) -> Iterator[Operation]:
        """Make the managed groups what `groups_for` says; other groups are never named."""
        account = self.account(user)
        groups = self.config.groups
        if not (account.active and groups.enabled and self.can(Verb.CHANGE_GROUPS)):
            return
        wanted = self.groups_for(user)
        add = wanted - account.groups
        remove = account.groups - wanted - groups.reserved
        if add or remove:
            yield self.operation(
                Verb.CHANGE_GROUPS,
                user,
                "the user's groups map to others",
                add=sorted(add),
                remove=sorted(remove),
            )

    def update_all_groups(self, users: Iterable[User]) -> Iterator[Operation]:
        """update_groups for each, with what the service really lists in the accounts' groups."""
        for user in users:
            yield from self.update_groups(user)

    def set_password(self, user: User) -> Iterator[Operation]:
        """Set the password that the run carries; it is in no operation."""
        if self.account(user).active:
            yield self.operation(Verb.SET_PASSWORD, user, "set by an operator")

    def reset_password(self, user: User) -> Iterator[Operation]:
        """Set a new random password, which the run shows once."""
        if self.account(user).active:
            yield self.operation(Verb.SET_PASSWORD, user, "reset by an operator")

    # Presentation

    def render_service_ctrl(self, user: User) -> ServiceRow:
        """The user's row on the services page."""
        account = self.account(user)
        if account.active:
            offered = {"deactivate": True, "set-password": self.can(Verb.SET_PASSWORD)}
            offered["reset-password"] = offered["set-password"]
        else:
            offered = {
                "activate": self.service_active_for_user(user)
                and self.can(Verb.CREATE if account.absent else Verb.ENABLE)
            }
        return ServiceRow(
            service=self.name,
            title=self.title,
            username=account.name if not account.absent else "",
            url=self.config.url or "",
            status=account.status.value,
            actions=tuple(action for action, offer in offered.items() if offer),
        )

    def render_html(self, row: ServiceRow) -> str:
        """`row` through `service_ctrl_template`, every value escaped."""
        return Template(self.service_ctrl_template).substitute(
            title=escape(row.title),
            username=escape(row.username),
            url=escape(row.url),
            status=escape(row.status),
            actions=escape(", ".join(row.actions)),
        )

    def manager_arguments(self) -> dict[str, Any]:
        """The keyword arguments of `manager_class`: the config fields that HookConfig has not."""
        own = type(self.config).model_fields.keys() - HookConfig.model_fields.keys()
        return {field: getattr(self.config, field) for field in sorted(own)}

    def _format(self, text: str) -> NameFormat:
        if text not in self._formats:
            self._formats[text] = NameFormat(text)
        return self._formats[text]


def _wrap_decisions(cls: type[ServiceHook]) -> None:
    for name in DECISIONS:
        if name in vars(cls):
            setattr(cls, name, _decision(vars(cls)[name]))


_wrap_decisions(ServiceHook)


def keeps_default(hook: ServiceHook, *methods: str) -> bool:
    """Whether none of these methods is overridden, by a class, a mixin or an instance attribute."""
    return all(
        getattr(type(hook), method) is getattr(ServiceHook, method) and method not in vars(hook)
        for method in methods
    )


def defect(hook: ServiceHook, error: Exception) -> HookError:
    """What a hook raised that is no error of svcctl's: its author has to look."""
    return HookError(
        f"services.{hook.name}: the hook failed: {type(error).__name__}: {error}",
        hint="this is a defect in the hook; -vv shows where",
    )
