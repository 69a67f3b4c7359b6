"""An HTTP API as the configuration describes it: requests filled in, sent, and answers judged."""

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from svcctl.config.values import redacted
from svcctl.errors import Denied, Incomplete, Invalid, ManagerError, Transient
from svcctl.hooks.http.expression import Expression
from svcctl.hooks.http.paging import Page, whole
from svcctl.hooks.http.settings import KINDS, ErrorRule, FirstStep, Items, Login, Request, Step
from svcctl.hooks.http.template import Template, filled, parameters
from svcctl.http.client import Answer, HttpClient, detail
from svcctl.text import brief

Values = Mapping[str, Any]
"""What the placeholders stand for."""
_TOKEN = 8
"""A value taken from an answer that is as long as this is a token, and no message shows it."""
_UNREADABLE = object()
_HINTS = {"denied": "check the credentials, and what they allow"}


class _Expired(Denied):
    """The login is over."""


class Api:
    """Asks and tells, from several threads.

    query and headers: of every request that is no step of the login. secrets: placeholders of every
    request. errors: rules for every answer. message: where an error has its text.
    """

    def __init__(
        self,
        client: HttpClient,
        *,
        query: Mapping[str, Template],
        headers: Mapping[str, Template],
        secrets: Mapping[str, str],
        errors: tuple[ErrorRule, ...],
        message: Expression | None,
        login: Login | None,
    ) -> None:
        self._client = client
        self._query = query
        self._headers = headers
        self._secrets = secrets
        self._errors = errors
        self._message = message
        self._login = login
        self._session: Mapping[str, Any] = {}
        self._logins = 0
        self._logging_in = threading.Lock()

    def close(self) -> None:
        self._client.close()

    def ask(self, request: Request, values: Values) -> Page:
        """What a read gives. Raises Transient for what is not JSON."""
        return self._run(request, values, reads=True)

    def tell(self, request: Request, values: Values) -> Page:
        """What a write gives; its document is None where it gives no JSON."""
        return self._run(request, values, reads=False)

    def items(self, request: Items, values: Values) -> Iterator[list[Any]]:
        """A list, page by page. Raises Incomplete where it ends early or turns in circles."""

        def fetch(which: Mapping[str, str] | str) -> Page:
            page = self._run(request, values, reads=True, which=which)
            found = request.items.of(page.document)
            if not isinstance(found, list):
                raise Incomplete(
                    f"{page.answer.source}: {request.items} gives no list",
                    hint="compare items with what the service sends",
                )
            return replace(page, items=found)

        before: list[Any] = []
        pages = whole(fetch({})) if request.paging is None else request.paging.walk(fetch)
        for page in pages:
            if page.items and page.items == before:
                raise Incomplete(
                    f"{page.answer.source}: gives the same page again", hint="check paging"
                )
            yield page.items
            before = page.items

    # Sending

    def _run(
        self,
        request: Request,
        values: Values,
        *,
        reads: bool,
        which: Mapping[str, str] | str | None = None,
    ) -> Page:
        """Send it, once more after another login where the first one is over."""
        logins = self._log_in()
        try:
            return self._sent(request, values, reads=reads, which=which)
        except _Expired:
            self._log_in(after=logins)
            return self._sent(request, values, reads=reads, which=which)

    def _log_in(self, *, after: int = 0) -> int:
        """Log in, unless somebody did since there were `after` logins; how many there are now."""
        if self._login is not None:
            with self._logging_in:
                if self._logins <= after:
                    self._client.forget_cookies()
                    self._session = self._taken(self._login.steps, {}, common=False)
                    self._logins += 1
        return self._logins

    def _sent(
        self,
        request: Request,
        values: Values,
        *,
        reads: bool,
        which: Mapping[str, str] | str | None,
    ) -> Page:
        taken = self._taken(request.first, {**self._session, **values})
        known = {**self._session, **taken, **values}
        private = _tokens({**self._session, **taken})
        return self._one(request, known, private, reads=reads, which=which)

    def _taken(
        self, steps: Iterable[FirstStep], values: Values, *, common: bool = True
    ) -> dict[str, Any]:
        """Send one after the other; what they were to take from the answers."""
        taken: dict[str, Any] = {}
        for step in steps:
            known = {**values, **taken}
            page = self._one(step, known, _tokens(known), reads=bool(step.take), common=common)
            for name, expression in step.take.items():
                found = expression.of(page.document)
                if found is None or isinstance(found, (dict, list)):
                    raise Transient(
                        f"{page.answer.source}: has nothing for {name} at {expression}",
                        hint="compare take with what the service sends",
                    )
                taken[name] = found
        return taken

    def _one(
        self,
        step: Step,
        values: Values,
        private: set[str],
        *,
        reads: bool,
        which: Mapping[str, str] | str | None = None,
        common: bool = True,
    ) -> Page:
        """reads: it gives JSON and changes nothing. which: the page of a list. common: with the
        query and the headers that all requests have.
        """
        known = {**values, **self._secrets}
        private = {*private, *self._secrets.values(), str(values.get("password", ""))}
        document: Any = None

        def judge(answer: Answer) -> ManagerError | None:
            nonlocal document
            document = _document(answer)
            readable = document is not _UNREADABLE
            if not readable:
                document = None
            if problem := self._judged(step, private, answer, document):
                return problem
            if step.expect and not readable:
                return Transient(
                    f"{answer.source}: {answer.status}, and nothing that can be read",
                    hint="whether it was done is not known: it is looked at, or tried again",
                )
            if problem := self._unexpected(step, known, private, answer, document):
                return problem
            # An API that speaks JSON answers no request with a page: somebody else did.
            if not readable and (reads or (common and _is_page(answer))):
                _cleaned(answer, private).json()
            return None

        form = None if step.form is None else urlencode(parameters(step.form, known), doseq=True)
        given = {**(self._headers if common else {}), **step.headers}
        headers = {name: template.header(known) for name, template in given.items()}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        path = step.path.path(known)
        query = parameters({**(self._query if common else {}), **step.query}, known)
        answer = self._client.request(
            step.method,
            which if isinstance(which, str) else path,
            params=None if isinstance(which, str) else {**query, **(which or {})},
            json=filled(step.body, known),
            body=form,
            headers=headers,
            judge=judge,
            patient=reads and step.method == "GET",
        )
        return Page(answer, document, [])

    # Judging

    def _said(self, private: set[str], answer: Answer, document: Any) -> str:
        text = self._message.of(document) if self._message is not None else None
        if not isinstance(text, str):
            text = detail(_cleaned(answer, private))
        return brief(redacted(text, private))

    def _judged(
        self, step: Step, private: set[str], answer: Answer, document: Any
    ) -> ManagerError | None:
        """What an answer that is no yes means."""

        def error(kind: type[ManagerError] | None, hint: str | None) -> ManagerError:
            said = self._said(private, answer, document)
            return self._client.error(answer, kind, said=said, hint=hint)

        status, login = answer.status, self._login
        if login and (status == 401 or (login.expired and login.expired.holds(document))):
            return error(_Expired, "check what login sends")
        for rule in (*step.errors, *self._errors):
            if rule.matches(answer, document):
                denied = "check the credentials, and what they allow"
                return error(
                    KINDS[rule.kind], rule.hint or (denied if rule.kind == "denied" else None)
                )
        if status in (404, 410):
            return error(
                Invalid,
                "check path; if this says that there is no such account, say so with an error "
                'rule of kind = "not_found"',
            )
        if not 200 <= status < 300:
            return error(None, None)
        return None

    def _unexpected(
        self, step: Step, known: Values, private: set[str], answer: Answer, document: Any
    ) -> ManagerError | None:
        """What a yes means that is not as the step expects: all of it, as of rights that lack."""
        unmet = []
        for expression, template in step.expect.items():
            wanted = template.value(known) if isinstance(template, Template) else template
            found = expression.of(document)
            if not _same(found, wanted):
                unmet.append(brief(redacted(f"{expression} is {found!r}, not {wanted!r}", private)))
        if not unmet:
            return None
        text = f": {words}" if (words := self._said(private, answer, document)) else ""
        return Invalid(
            f"{answer.source}: {answer.status}, but {', '.join(unmet)}{text}",
            hint="it said yes and did something else; see whether the credentials allow it",
        )


def _document(answer: Answer) -> Any:
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return _UNREADABLE


def _is_page(answer: Answer) -> bool:
    return "html" in answer.headers.get("Content-Type", "") and bool(answer.body.strip())


def _tokens(taken: Values) -> set[str]:
    return {text for value in taken.values() if len(text := str(value)) >= _TOKEN}


def _cleaned(answer: Answer, private: Iterable[str]) -> Answer:
    """The answer as a message may show it."""
    return replace(answer, body=redacted(answer.body.decode(errors="replace"), private).encode())


def _same(found: Any, wanted: Any) -> bool:
    """A text and a number that is written like it are the same; true is only true."""
    if isinstance(found, bool) or isinstance(wanted, bool) or found is None:
        return found is wanted
    return str(found) == str(wanted)
