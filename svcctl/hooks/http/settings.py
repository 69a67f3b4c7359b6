"""What the configuration says of an HTTP API: its requests, its accounts, its errors."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from svcctl.config.service import Frozen
from svcctl.errors import (
    Conflict,
    Denied,
    Invalid,
    ManagerError,
    NotFound,
    RateLimited,
    Transient,
)
from svcctl.hooks.http.expression import Expression
from svcctl.hooks.http.paging import Paging
from svcctl.hooks.http.template import Template, templates, templates_in
from svcctl.http.client import Answer

KINDS: Mapping[str, type[ManagerError]] = {
    "not_found": NotFound,
    "conflict": Conflict,
    "rate_limited": RateLimited,
    "denied": Denied,
    "invalid": Invalid,
    "transient": Transient,
}


def _below(path: Template) -> Template:
    if path and not path.startswith("/"):
        raise ValueError("must begin with a slash; it goes on where base_url ends")
    if "?" in path or "#" in path:
        raise ValueError("must be a path alone; parameters go under query")
    return path


Path = Annotated[Template, AfterValidator(_below)]


class ErrorRule(Frozen):
    """An answer that is an error, whatever its status says, and which error.

    HTML is never an answer that an account does not exist: it may come from a proxy, or from a web
    server that knows nothing of the API.
    """

    status: int | tuple[int, ...] | None = Field(
        None, description="the status, or several; default: any"
    )
    when: Expression | None = Field(
        None, description="holds for the answer's JSON, like code == 'taken'; default: any"
    )
    kind: Literal["not_found", "conflict", "rate_limited", "denied", "invalid", "transient"] = (
        Field(description="what it means")
    )
    hint: str | None = Field(None, description="what a person can do about it")

    @model_validator(mode="after")
    def _says_when(self) -> Self:
        if self.status is None and self.when is None:
            raise ValueError("needs status, when, or both")
        return self

    def matches(self, answer: Answer, document: Any) -> bool:
        """document: the answer's JSON, None: it is none, and nothing can be said of it."""
        statuses = (self.status,) if isinstance(self.status, int) else self.status
        if self.kind == "not_found" and "html" in answer.headers.get("Content-Type", ""):
            return False
        return (statuses is None or answer.status in statuses) and (
            self.when is None or (document is not None and self.when.holds(document))
        )


class Step(Frozen):
    """One request. Texts have placeholders like {uid}, escaped for the place where they stand."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = Field(
        "GET", description="the HTTP method"
    )
    path: Path = Field(Template(""), description="after base_url, like /users/{uid}")
    query: dict[str, Template] = Field(
        default_factory=dict, description="parameters in the URL, besides the service's own"
    )
    headers: dict[str, Template] = Field(
        default_factory=dict, description="headers, besides the service's own"
    )
    form: dict[str, Template] | None = Field(None, description="what is sent, as a form")
    body: Annotated[Any, AfterValidator(templates)] = Field(
        None, description="what is sent, as JSON; a placeholder that stands alone keeps its type"
    )
    errors: tuple[ErrorRule, ...] = Field(
        (), description="answers that are errors, looked at before the service's own"
    )
    expect: dict[Expression, bool | int | Template] = Field(
        default_factory=dict,
        description="expression -> what it must give in the answer, or nothing was done",
    )

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        if self.form is not None and self.body is not None:
            raise ValueError("give one of: form, body")
        return self

    def templates(self) -> Iterator[tuple[str, Template]]:
        """Every template with its key."""
        yield "path", self.path
        for key in ("query", "headers", "form", "body", "expect"):
            value = getattr(self, key)
            if isinstance(value, Mapping):
                for name, inner in value.items():
                    yield from ((f"{key}.{name}", one) for one in templates_in(inner))
            else:
                yield from ((key, one) for one in templates_in(value))


class FirstStep(Step):
    """A request before another one, for what the answer has that the other needs."""

    take: dict[str, Expression] = Field(
        default_factory=dict, description="placeholder for what follows -> where the answer has it"
    )


class Request(Step):
    """A request, with others before it where it needs them."""

    first: tuple[FirstStep, ...] = Field((), description="requests to send before it, in order")


class Write(Request):
    """A request that changes something."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = Field(description="the HTTP method")


class Create(Write):
    """The request that creates an account."""

    item: Expression | None = Field(
        None, description="where the answer has the account; default: it is looked for by its name"
    )


class Item(Request):
    """A request for one account."""

    item: Expression = Field(Expression("@"), description="where the answer has the account")


class Items(Request):
    """A request for a list."""

    items: Expression = Field(Expression("@"), description="where the answer has the list")
    paging: Paging | None = Field(None, description="how it goes on; default: all comes at once")


class Accounts(Items):
    """A request for a list of accounts."""

    each: bool = Field(
        default=False,
        description="true: the list does not show all of an account, so that get_account asks for "
        "each of them",
    )


class GroupItems(Items):
    """The request for all groups."""

    name: Expression = Field(Expression("name"), description="where an item has the group's name")
    id: Expression | None = Field(
        None, description="where it has the group's id, for the placeholders {group_id} and so on"
    )


class GroupsOf(Items):
    """The request for the groups of one account."""

    name: Expression | None = Field(None, description="where an item has the group's name")
    id: Expression | None = Field(None, description="or the group's id")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.name is None) == (self.id is None):
            raise ValueError("give one of: name, id")
        return self


class Shape(Frozen):
    """Where an account's JSON has what."""

    uid: Expression = Field(description="the immutable id: a text or a number")
    name: Expression = Field(description="the name of the account")
    active: Expression | None = Field(
        None, description="true, or false for an account that is disabled"
    )
    nickname: Expression | None = Field(None, description="the display name")
    external_id: Expression | None = Field(
        None, description="svcctl's key for the person, where the service keeps one"
    )
    groups: Expression | None = Field(None, description="a list of the names of its groups")
    group_ids: Expression | None = Field(None, description="or of their ids")
    attributes: dict[str, Expression] = Field(
        default_factory=dict,
        description="user attribute -> where, for those by which a person is recognised",
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.groups is not None and self.group_ids is not None:
            raise ValueError("give one of: groups, group_ids")
        return self


class Login(Frozen):
    """Requests that log in, with cookies or for a token, before the first other one."""

    steps: tuple[FirstStep, ...] = Field(min_length=1, description="the requests, in order")
    expired: Expression | None = Field(
        None,
        description="holds for an answer that says that the login is over; status 401 always does",
    )


class Requests(Frozen):
    """What the service can do: it can do those that stand here."""

    check: Request | None = Field(
        None, description="shows that the credentials are good; default: the first page of the list"
    )
    list_accounts: Accounts | None = Field(None, description="all accounts")
    get_account: Item | None = Field(None, description="one account: {uid}")
    find_account: Accounts | None = Field(
        None, description="accounts among which is the one of this name: {name}"
    )
    find_by_external_id: Accounts | None = Field(
        None,
        description="accounts among which is the one with svcctl's key, where the service can be "
        "searched for it: {external_id}",
    )
    create_account: Create | None = Field(
        None, description="{name}, {password}, {external_id}, and the service's `attributes`"
    )
    enable_account: Write | None = Field(None, description="{uid}")
    disable_account: Write | None = Field(None, description="{uid}")
    delete_account: Write | None = Field(None, description="{uid}")
    set_password: Write | None = Field(None, description="{uid}, {password}")
    set_nickname: Write | None = Field(None, description="{uid}, {nickname}")
    list_groups: GroupItems | None = Field(None, description="all groups")
    groups_of: GroupsOf | None = Field(
        None, description="the groups of one account, where the account itself shows none: {uid}"
    )
    add_to_group: Write | None = Field(None, description="{uid}, {group}, {group_id}")
    remove_from_group: Write | None = Field(None, description="{uid}, {group}, {group_id}")
    set_groups: Write | None = Field(
        None, description="all groups of an account at once: {uid}, {groups}, {group_ids}"
    )
