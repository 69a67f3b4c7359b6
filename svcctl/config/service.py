"""The settings that every `[services.<name>]` table has; a hook's own come on top."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    field_validator,
)

from svcctl.clock import parse_duration
from svcctl.config.problems import Problem

SERVICE_NAME = r"[a-z][a-z0-9_-]*"


_REMOVALS = re.compile(r"[0-9]{1,9}|(100|[0-9]{1,2})%")
_UNITS = (("w", 604800), ("d", 86400), ("h", 3600), ("m", 60))


def _duration(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ValueError("a duration needs a unit; write it like 90s, 13m, 2h, 30d or 1h30m")  # noqa: TRY004 - pydantic wants it
    try:
        return parse_duration(value)
    except OverflowError:
        raise ValueError("a duration longer than any calendar") from None


def write_duration(value: timedelta) -> str:
    """`30d`, `36h`: in the largest unit that leaves no rest."""
    seconds = int(value.total_seconds())
    for unit, size in _UNITS:
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration, json_schema_input_type=str),
    PlainSerializer(write_duration, return_type=str),
]
"""A duration like `90s`, `13m`, `2h`, `30d`."""


_RATE = r"^[1-9][0-9]*/([1-9][0-9]*)?[smhd]$"
Rate = Annotated[str, Field(pattern=_RATE)]
"""So many per time: `5/s`, `250/48h`."""


def read_rate(rate: str) -> tuple[float, float]:
    """How many, and in how many seconds."""
    calls, _, per = rate.partition("/")
    span = per if per[0].isdecimal() else f"1{per}"
    return float(calls), parse_duration(span).total_seconds()


class Frozen(BaseModel):
    """A settings table: immutable, and a key that it does not know is an error."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        hide_input_in_errors=True,
        defer_build=True,
    )


class Access(Frozen):
    """Who may have an account: any one match is enough; inactive users never."""

    states: frozenset[str] = Field(frozenset(), description="users in one of these states")
    groups: frozenset[str] = Field(frozenset(), description="members of one of these groups")
    users: frozenset[str] = Field(frozenset(), description="these usernames")


class Groups(Frozen):
    """Which remote groups svcctl manages on the service: only names that result from this table."""

    map: dict[str, str | tuple[str, ...]] = Field(
        default_factory=dict,
        description="directory group -> remote group(s); with a map, others are not managed",
    )
    include: frozenset[str] = Field(
        frozenset(), description="only these directory groups, if given"
    )
    exclude: frozenset[str] = Field(frozenset(), description="never these directory groups")
    reserved: frozenset[str] = Field(
        frozenset(), description="remote groups that are never added or removed"
    )
    state: bool = Field(default=False, description="treat the user's state as one more group")
    enabled: bool = Field(default=True, description="false: leave all groups alone")


class Removal(Frozen):
    """What losing access does to an account."""

    mode: Literal["disable", "delete"] = Field(
        "disable", description="disable keeps the account and can be taken back"
    )
    delete_after: Duration | None = Field(
        None, description="with mode = disable: delete this long after the disabling"
    )


class Limits(Frozen):
    """How many accounts may lose access in 24 hours before removals are held."""

    removals: int | str | None = Field(
        None,
        description='accounts ("12" or 12) or a share ("15%"); default: 20 % of the first 100, '
        "10 % of the next 900, 5 % of the next 9,000, 2 % of the rest, at least 1",
    )

    @field_validator("removals", mode="before")
    @classmethod
    def _number_or_share(cls, value: object) -> object:
        """Whole numbers come out as int, shares as `15%`."""
        if value is None:
            return None
        text = str(value).replace(" ", "") if not isinstance(value, bool) else ""
        if not isinstance(value, (int, str)) or not _REMOVALS.fullmatch(text):
            raise ValueError('must be a number of accounts, like 12, or a share, like "15%"')
        return text if text.endswith("%") else int(text)


class HookConfig(Frozen):
    """The common part of `[services.<name>]`. Subclass it for a hook's own settings.

    The fields that a subclass adds become the keyword arguments of the hook's manager.
    """

    hook: str = Field(description="entry point name, or package.module:Class")
    title: str | None = Field(None, description="shown to people; default: made from the name")
    url: str | None = Field(None, description="where users find the service")
    create: Literal["manual", "auto"] = Field(
        "manual", description="auto: `sync` creates accounts for users with access"
    )
    access: Access = Field(Access(), description="who may have an account")
    username_format: str = Field("{username}", description="the account's name, before name rules")
    name_format: str | None = Field(None, description="the nickname; default: the hook's own")
    name_formats: dict[str, str] = Field(
        default_factory=dict, description="the nickname per state, before name_format"
    )
    default_to_username: bool = Field(
        default=True, description="{character_name} of a user without one is the username"
    )
    sync_names: bool = Field(default=True, description="false: leave nicknames alone")
    attributes: tuple[str, ...] = Field(
        (), description="user attributes handed to the service when an account is created"
    )
    groups: Groups = Field(Groups(), description="which remote groups are managed")
    removal: Removal | Literal["disable", "delete"] | None = Field(
        None, description="default: disable where the service can, else delete"
    )
    limits: Limits = Field(Limits(), description="safety limits of this service")
    protected: frozenset[str] = Field(
        frozenset(), description="usernames whose account here is never disabled or deleted"
    )
    concurrency: int | None = Field(
        None, ge=1, le=64, description="calls at once; never more than the manager allows"
    )
    rate: Rate | None = Field(
        None,
        description='operations per time, like "5/s" or "250/48h"; default: the manager\'s',
    )
    notify: bool = Field(default=True, description="tell users when they lose their account")

    def problems(self) -> Iterator[Problem]:
        """What is wrong although every value is well-formed; the keys start at the service."""
        yield from ()
