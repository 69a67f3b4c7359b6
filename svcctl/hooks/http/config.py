"""The settings of `hook = "http"`, and what can be wrong with them as a whole."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Self

from pydantic import Field, model_validator

from svcctl.config.http import Remote, plain_text
from svcctl.config.problems import Problem, suggest
from svcctl.config.secrets import Secret
from svcctl.hooks.declared import DeclaredConfig
from svcctl.hooks.http.expression import Expression
from svcctl.hooks.http.settings import ErrorRule, Login, Request, Requests, Shape, Step
from svcctl.hooks.http.template import Template
from svcctl.hooks.manager import READS, VERBS
from svcctl.model import Verb

_GROUP = frozenset({"uid", "group", "group_id"})
_KNOWN: Mapping[str, frozenset[str]] = {
    "check": frozenset(),
    "list_accounts": frozenset(),
    "list_groups": frozenset(),
    "get_account": frozenset({"uid"}),
    "groups_of": frozenset({"uid"}),
    "find_account": frozenset({"name"}),
    "find_by_external_id": frozenset({"external_id"}),
    "create_account": frozenset({"name", "external_id", "password"}),
    "enable_account": frozenset({"uid"}),
    "disable_account": frozenset({"uid"}),
    "delete_account": frozenset({"uid"}),
    "set_password": frozenset({"uid", "password"}),
    "set_nickname": frozenset({"uid", "nickname"}),
    "add_to_group": _GROUP,
    "remove_from_group": _GROUP,
    "set_groups": frozenset({"uid", "groups", "group_ids"}),
}
"""The placeholders of each request, besides secrets and what other answers gave."""
_TAKEN = frozenset().union(*_KNOWN.values())
_LISTS = frozenset({"groups", "group_ids"})
_PRIVATE_HEADER = re.compile(r"(authorization|cookie|key|token|secret|password)$", re.IGNORECASE)


class HttpConfig(Remote, DeclaredConfig):
    """The settings of a service with an HTTP API. Requests that stand there, it can do."""

    account: Shape = Field(description="where an account's JSON has what")
    requests: Requests = Field(Requests(), description="what the service can do, and how")
    query: dict[str, Template] = Field(
        default_factory=dict,
        description="parameters in the URL of every request but those of login",
    )
    headers: dict[str, Template] = Field(
        default_factory=dict,
        description='headers of every request but those of login: { X-Api-Key = "{api_key}" }',
    )
    secrets: dict[str, Secret] = Field(
        default_factory=dict, description="placeholder -> secret, for headers, forms and bodies"
    )
    errors: tuple[ErrorRule, ...] = Field(
        (), description="answers that are errors, where the status alone does not tell which"
    )
    message: Expression | None = Field(None, description="where an error's JSON has its text")
    login: Login | None = Field(
        None, description="requests to send before all others; one request at a time then"
    )

    @model_validator(mode="after")
    def _secrets_kept_private(self) -> Self:
        if (self.secrets or self.login) and plain_text(self.base_url) and not self.http.plain:
            raise ValueError(
                f"{self.base_url} would show the credentials to everybody on the way; "
                "use https://, or say http.plain = true"
            )
        return self

    def offered(self) -> Iterable[str]:
        requests = self.requests
        given = {name for name in _KNOWN if getattr(requests, name) is not None}
        if "list_accounts" in given:
            given.add("check")
        if requests.set_groups is not None or requests.add_to_group is not None:
            given.add(Verb.CHANGE_GROUPS)
        return given & (READS | VERBS)

    def problems(self) -> Iterator[Problem]:
        yield from self._secret_problems()
        session: set[str] = set()
        if self.login is not None:
            for number, step in enumerate(self.login.steps):
                yield from self._step_problems(f"login.steps[{number}]", step, session)
                session |= step.take.keys()
        shared = Step(query=self.query, headers=self.headers)
        yield from (
            Problem(problem.key.removeprefix("."), problem.message, problem.remedy)
            for problem in self._step_problems("", shared, session)
        )
        for name, known in _KNOWN.items():
            request: Request | None = getattr(self.requests, name)
            if request is None:
                continue
            attributes = self.attributes if name == "create_account" else ()
            named = {*known, *attributes}
            taken: set[str] = set(session)
            for number, step in enumerate(request.first):
                key = f"requests.{name}.first[{number}]"
                yield from self._step_problems(key, step, named | taken, private=taken)
                taken |= step.take.keys()
            key = f"requests.{name}"
            yield from self._step_problems(key, request, named | taken, private=session)
        yield from self._request_problems()

    def _secret_problems(self) -> Iterator[Problem]:
        for name in self.secrets:
            if not name.isidentifier() or name in _TAKEN or name in self.attributes:
                yield Problem(
                    f"secrets.{name}", "not a name for a placeholder", "write it like api_key"
                )

    def _step_problems(
        self, key: str, step: Step, known: set[str], *, private: Iterable[str] = ()
    ) -> Iterator[Problem]:
        """private: placeholders that are as secret as the secrets, and stand in no URL."""
        names = known | self.secrets.keys()
        hidden = {*self.secrets, *private, "password"}
        for place, template in step.templates():
            for name in sorted(template.names - names):
                remedy = suggest(name, names) or "this request has no placeholders"
                yield Problem(f"{key}.{place}", f"{{{name}}}: no such placeholder", remedy)
            if place.startswith(("path", "query")) and (shown := template.names & hidden):
                yield Problem(
                    f"{key}.{place}",
                    f"{{{min(shown)}}}: a secret has no place in a URL, which logs keep",
                    "put it into headers, form or body",
                )
            if (lists := template.names & _LISTS) and template.alone is None:
                yield Problem(
                    f"{key}.{place}", f"{{{min(lists)}}}: a list must stand alone", "split the text"
                )
        for name, template in step.headers.items():
            if _PRIVATE_HEADER.search(name) and not template.names:
                yield Problem(
                    f"{key}.headers.{name}",
                    "a secret has no place in the configuration",
                    'write secrets = { api_key = { file = "…" } } and "{api_key}" here',
                )

    def _request_problems(self) -> Iterator[Problem]:
        """What one request needs of another."""
        requests, account = self.requests, self.account
        given = {name for name in _KNOWN if getattr(requests, name) is not None}
        looking = [name for name in sorted(given) if self._looks(name)]
        if looking and requests.get_account is None:
            yield Problem(
                "requests.get_account", "missing", f"{looking[0]} looks at each account with it"
            )
        if requests.get_account is not None and not any(
            rule.kind == "not_found" for rule in (*requests.get_account.errors, *self.errors)
        ):
            yield Problem(
                "requests.get_account.errors",
                "no rule says how the service tells that there is no such account",
                'like errors = [{ status = 404, kind = "not_found" }]',
            )
        if (
            requests.create_account is not None
            and requests.create_account.item is None
            and requests.find_account is None
        ):
            yield Problem(
                "requests.create_account.item",
                "missing, and there is no find_account either",
                "say where the answer has the new account",
            )
        if requests.find_by_external_id is not None:
            if requests.find_account is None:
                yield Problem("requests.find_account", "missing", "find_by_external_id needs it")
            if account.external_id is None:
                yield Problem("account.external_id", "missing", "find_by_external_id needs it")
        if given & {"enable_account", "disable_account"} and account.active is None:
            yield Problem("account.active", "missing", "a disabled account must look disabled")
        if (requests.add_to_group is None) != (requests.remove_from_group is None):
            yield Problem("requests", "add_to_group and remove_from_group go together")
        if requests.set_groups is not None and requests.add_to_group is not None:
            yield Problem("requests", "give set_groups, or add_to_group and remove_from_group")
        if (
            Verb.CHANGE_GROUPS in self.offered()
            and account.groups is None
            and account.group_ids is None
            and requests.groups_of is None
        ):
            yield Problem(
                "account.groups", "missing", "or account.group_ids, or requests.groups_of"
            )
        ids = [
            *(["account.group_ids"] if account.group_ids is not None else ()),
            *(["requests.groups_of.id"] if requests.groups_of and requests.groups_of.id else ()),
            *(f"requests.{name}" for name in sorted(given) if self._needs_ids(name)),
        ]
        if ids and (requests.list_groups is None or requests.list_groups.id is None):
            yield Problem("requests.list_groups.id", "missing", f"{ids[0]} needs it")

    def _looks(self, name: str) -> bool:
        """Whether get_account serves it: before and after a change, for what a list leaves out."""
        each = getattr(getattr(self.requests, name), "each", False)
        return each or ("uid" in _KNOWN[name] and name != "get_account")

    def _needs_ids(self, name: str) -> bool:
        request: Request = getattr(self.requests, name)
        steps: tuple[Step, ...] = (*request.first, request)
        return any(
            template.names & {"group_id", "group_ids"}
            for step in steps
            for _, template in step.templates()
        )
