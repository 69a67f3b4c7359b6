"""The settings of `[pipelines.<name>]` and `[backends.<name>]`."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from svcctl.config.problems import Problem
from svcctl.config.secrets import KINDS, Secret
from svcctl.config.service import Duration, Frozen

PREFIX = "SOCIAL_AUTH_"
"""What python-social-auth's settings begin with; here it may be left out."""


def _value(value: object) -> object:
    """A table like `{ env = "X" }` is a secret; every other value stays as it is."""
    if isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in KINDS:
        return Secret.parse(value)
    return value


def _bare(table: dict[str, Any]) -> dict[str, Any]:
    """The names in upper case and without the prefix."""
    bare: dict[str, Any] = {}
    for name, value in table.items():
        key = name.upper().replace("-", "_").removeprefix(PREFIX)
        if key in bare:
            raise ValueError(f"{key} is there twice")
        bare[key] = value
    return bare


Table = Annotated[
    dict[str, Annotated[Any, BeforeValidator(_value, json_schema_input_type=Any)]],
    AfterValidator(_bare),
]
"""Settings of python-social-auth's kind, by name."""


class Pipeline(Frozen):
    """A named, ordered list of steps."""

    kind: Literal["auth", "disconnect"] = Field(
        "auth",
        description="auth: a provider's response becomes a user; disconnect: takes it away again",
    )
    steps: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="the steps in order: names of svcctl's own, dotted names, or module:function; "
        "default: those of python-social-auth",
    )
    settings: Table = Field(
        default_factory=dict,
        description="settings of the steps, with or without SOCIAL_AUTH_; "
        "GITHUB_… goes for the backend github only",
    )
    custom: Table = Field(
        default_factory=dict, description="settings of steps that are not svcctl's own"
    )
    partial_expires: Duration = Field(
        timedelta(days=14), description="how long a paused run can be resumed"
    )

    def problems(self) -> Iterator[Problem]:
        """What is wrong although every single value is well-formed."""
        if self.partial_expires <= timedelta(0):
            yield Problem("partial_expires", "nothing could be resumed", "write it like 14d")
        for index, name in enumerate(self.steps or ()):
            if not name or name != name.strip() or not name.isprintable():
                yield Problem(f"steps[{index}]", "not the name of a step")


class Backend(Frozen):
    """Where a provider's response comes from, and what its parts mean."""

    model_config = ConfigDict(populate_by_name=True)

    class_: str | None = Field(
        None,
        alias="class",
        description="a backend of python-social-auth, like "
        "social_core.backends.github.GithubOAuth2; needs svcctl[social]",
    )
    uid: str | None = Field(
        None, min_length=1, description="where the response has what never changes of a person"
    )
    details: dict[str, str] = Field(
        default_factory=dict,
        description="detail -> where the response has it; a.b is b in a; details are username, "
        "email, fullname, first_name, last_name and others",
    )
    extra_data: tuple[str | tuple[str] | tuple[str, str] | tuple[str, str, bool], ...] = Field(
        (),
        description='what is kept with the association: "id", ["expires_in", "expires"], or '
        '["expires_in", "expires", true], which leaves out what is empty',
    )
    settings: Table = Field(default_factory=dict, description="settings for this backend only")
    custom: Table = Field(
        default_factory=dict, description="settings that only this backend's class knows"
    )

    def problems(self) -> Iterator[Problem]:
        """What is wrong although every single value is well-formed."""
        mapped = {"uid": self.uid, "details": self.details, "extra_data": self.extra_data}
        if self.class_ is None and self.uid is None:
            yield Problem("uid", "missing", "name the key of the response, or a class")
        if self.class_ is not None:
            for key in (key for key, value in mapped.items() if value):
                yield Problem(key, "the class knows it already", "leave one of the two out")
