"""Resources of a SCIM server: read by page, created, changed and deleted."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping

from svcctl.errors import Conflict, Denied, Incomplete, ManagerError, NotFound, Transient
from svcctl.http.client import Answer, HttpClient
from svcctl.http.scim.discovery import Features, Schema, features, schemas
from svcctl.http.scim.resource import Resource, same

ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
MEDIA = "application/scim+json"
EMPTY = 100
"""More empty pages in a row are no list."""
HEADERS = {"Accept": f"{MEDIA}, application/json"}


class ScimClient:
    """One SCIM server; for several threads. `page_size`: how many resources to ask for at once."""

    def __init__(self, http: HttpClient, *, page_size: int = 100) -> None:
        self.http = http
        self.page_size = page_size
        self._counts: bool | None = None
        self._features: Features | None = None
        self._schemas: dict[str, Schema] | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        self.http.close()

    # What the server is

    def features(self) -> Features:
        """Read once (RFC 7644, 4)."""
        with self._lock:
            if self._features is None:
                self._features = features(self._optional("/ServiceProviderConfig"))
            return self._features

    def schema(self, urn: str) -> Schema:
        """Read once (RFC 7643, 7)."""
        with self._lock:
            if self._schemas is None:
                self._schemas = schemas(_in_page(self._optional("/Schemas"), "Schemas"))
            return self._schemas.get(urn, Schema())

    def _optional(self, path: str) -> Resource:
        """A discovery endpoint; one that the server does not have says nothing."""
        answer = self.http.request("GET", path, expect=(404, 405, 501), patient=True)
        if answer.status != 200:
            return {}
        found = answer.json()
        return found if isinstance(found, dict) else {}

    # Reading

    def resources(
        self,
        endpoint: str,
        *,
        filter: str | None = None,
        attributes: str | None = None,
        excluded: str | None = None,
    ) -> Iterator[Resource]:
        """Every resource of an endpoint (`Users`), each once, with one page in memory.

        filter: only where `features().filter`; attributes, excluded: comma-separated names, which
        a server may ignore. Raises Incomplete unless all that the server counts have come.
        """
        asked = {"filter": filter, "attributes": attributes, "excludedAttributes": excluded}
        given = {name: value for name, value in asked.items() if value}
        seen: set[str] = set()
        pages = self._by_cursor if self.features().cursor else self._by_index
        for page, last in pages(endpoint, given, seen):
            fresh = []
            for resource in page:
                if (id_ := _id(resource, endpoint)) not in seen:
                    seen.add(id_)
                    fresh.append(resource)
            if page and not fresh and not last:
                raise Incomplete(
                    f"{self.http.base_url}/{endpoint}: gives the same page again",
                    hint="the server's paging is broken; raise page_size above the number there is",
                )
            yield from fresh

    def _by_index(
        self, endpoint: str, given: Mapping[str, str], seen: set[str]
    ) -> Iterator[tuple[list[Resource], bool]]:
        """Pages by startIndex and count (RFC 7644, 3.4.2.4), each with whether it is the last."""
        start, before = 1, 0
        while True:
            answer = self._page(endpoint, {**given, "startIndex": str(start)})
            total = answer.get("totalResults")
            page = _in_page(answer, endpoint)
            if not isinstance(total, int) or isinstance(total, bool):
                raise Incomplete(f"{self.http.base_url}/{endpoint}: says no totalResults")
            if total < before:
                raise Incomplete(
                    f"{self.http.base_url}/{endpoint}: fewer resources than a moment ago",
                    hint="something was deleted while it was read; try again",
                )
            before = total
            start += len(page)
            last = start > total
            yield page, last
            if last and len(seen) >= total:
                return
            if last or not page:
                raise Incomplete(
                    f"{self.http.base_url}/{endpoint}: gave {len(seen)} of {total} resources",
                    hint="try again; a server that goes on like this pages wrongly",
                )

    def _by_cursor(
        self, endpoint: str, given: Mapping[str, str], _seen: set[str]
    ) -> Iterator[tuple[list[Resource], bool]]:
        """Pages by cursor (RFC 9865), of which some may be empty."""
        cursor: str | None = ""
        used: set[str] = set()
        empty = 0
        while cursor is not None:
            answer = self._page(endpoint, {**given, "cursor": cursor})
            cursor = answer.get("nextCursor") or None
            if cursor in used:
                raise Incomplete(f"{self.http.base_url}/{endpoint}: gives the same cursor again")
            used.add(cursor or "")
            page = _in_page(answer, endpoint)
            empty = 0 if page else empty + 1
            if empty > EMPTY:
                raise Incomplete(f"{self.http.base_url}/{endpoint}: gives empty pages without end")
            yield page, cursor is None

    def _page(self, endpoint: str, given: Mapping[str, str]) -> Resource:
        path = f"/{endpoint}"
        if self._counts is not False:
            page = self.features().page
            count = self.page_size if page is None else min(page, self.page_size)
            counted = {**given, "count": str(count)}
            if self._counts:
                return self._listed(path, counted)
            answer = self.http.request(
                "GET", path, params=counted, expect=(400, 500, 501), patient=True
            )
            if 200 <= answer.status < 300:
                self._counts = True
                return _list_response(answer)
        # canaille answers 500 to a `count`; without one, a server gives what it likes.
        found = self._listed(path, given)
        self._counts = False
        return found

    def _listed(self, path: str, params: Mapping[str, str]) -> Resource:
        return _list_response(self.http.request("GET", path, params=params, patient=True))

    def get(self, endpoint: str, id_: str, *, patient: bool = False) -> Resource:
        """One resource. Raises NotFound only when a SCIM server says so."""
        return self._resource(self._ask("GET", _path(endpoint, id_), one=True, patient=patient))

    def _shown(self, answer: Answer, endpoint: str, id_: str) -> Resource:
        """What a write left. The look is patient: its failure would have the write sent again."""
        if answer.body.strip():
            return self._resource(answer)
        return self.get(endpoint, id_, patient=True)

    def find(self, endpoint: str, wanted: Mapping[str, str]) -> Resource | None:
        """The first resource with any of these attribute values, in their order.

        By filter where the server announces it, else among all. Names of users are compared as
        RFC 7643, 4.1.1 has it: `userName` without regard to case.
        """
        if self.features().filter:
            for attribute, value in wanted.items():
                for found in self.resources(endpoint, filter=f"{attribute} eq {json.dumps(value)}"):
                    # A server that ignores filters gives everybody.
                    if same(attribute, found.get(attribute), value):
                        return found
            return None
        best: dict[str, Resource] = {}
        for resource in self.resources(endpoint):
            for attribute, value in wanted.items():
                if same(attribute, resource.get(attribute), value):
                    best.setdefault(attribute, resource)
        return next((best[attribute] for attribute in wanted if attribute in best), None)

    # Writing

    def create(self, endpoint: str, body: Resource) -> Resource:
        """A new resource as the server made it. Raises Conflict where it is there already."""
        answer = self._ask("POST", f"/{endpoint}", body)
        if answer.body.strip():
            return self._resource(answer)
        where = answer.headers.get("Location")
        if not where:
            raise Transient(f"{answer.source}: {answer.status}, and not a word about what was made")
        return self._resource(self._ask("GET", where, one=True, patient=True))

    def replace(self, endpoint: str, resource: Resource) -> Resource:
        """PUT the whole resource as given (RFC 7644, 3.5.1); what the server then shows."""
        id_ = _id(resource, endpoint)
        answer = self._ask("PUT", _path(endpoint, id_), resource, version=resource, one=True)
        return self._shown(answer, endpoint, id_)

    def patch(self, endpoint: str, id_: str, *operations: Resource) -> Resource:
        """PATCH (RFC 7644, 3.5.2); what the server then shows. Raises Invalid where it cannot."""
        body = {"schemas": [PATCH], "Operations": list(operations)}
        answer = self._ask("PATCH", _path(endpoint, id_), body, one=True)
        return self._shown(answer, endpoint, id_)

    def delete(self, endpoint: str, id_: str) -> None:
        """Raises NotFound when it is gone already.

        A yes is 204 (RFC 7644, 3.6); any other, as of somebody in between, is looked at.
        """
        answer = self._ask("DELETE", _path(endpoint, id_), one=True)
        if answer.status == 204:
            return
        try:
            self.get(endpoint, id_, patient=True)
        except NotFound:
            return
        raise Transient(f"{answer.source}: {answer.status}, and /{endpoint}/{id_} is still there")

    def changed(
        self, endpoint: str, id_: str, change: Callable[[Resource], Resource | None]
    ) -> Resource:
        """Read, change, PUT; `change` returns what is to be put, None: as it is.

        Where the server has ETags, a change of somebody else in between is not overwritten: it is
        read once more.
        """
        for attempt in range(2):
            found = self.get(endpoint, id_)
            wanted = change(found)
            if wanted is None:
                return found
            try:
                return self.replace(endpoint, wanted)
            except Changed:
                if attempt:
                    raise
        raise AssertionError

    def _ask(
        self,
        method: str,
        path: str,
        body: Resource | None = None,
        *,
        version: Resource | None = None,
        one: bool = False,
        patient: bool = False,
    ) -> Answer:
        """Send it. one: the path is that of one resource, which a 404 says is not there."""
        headers = {"Content-Type": MEDIA}
        if version is not None and self.features().etag:
            etag = version.get("meta", {}).get("version")
            if isinstance(etag, str) and etag.isascii() and etag.isprintable():
                headers["If-Match"] = etag
        answer = self.http.request(
            method,
            path,
            json=body,
            headers=headers,
            expect=(400, 404, 405, 410, 412, 501),
            patient=patient,
        )
        if 200 <= answer.status < 300:
            return answer
        error = self.http.error(answer)
        said = _error(answer)
        match answer.status:
            case 404 | 410 if not one:
                raise Denied(error.message, hint="check base_url: there is no such SCIM endpoint")
            case 404 | 410 if said is None:
                raise Transient(
                    f"{error.message}, but not from a SCIM server", hint="check base_url"
                )
            case 412:
                raise Changed(error.message)
            case 400 if said is not None and said.get("scimType") == "uniqueness":
                raise Conflict(error.message)
        raise error

    def _resource(self, answer: Answer) -> Resource:
        found = answer.json()
        if not isinstance(found, dict) or not isinstance(found.get("id"), str):
            raise Transient(
                f"{answer.source}: {answer.status}, but not a SCIM resource",
                hint="check base_url",
            )
        return found


class Changed(Transient):
    """Somebody else changed the resource since it was read (412)."""


def _path(endpoint: str, id_: str) -> str:
    from urllib.parse import quote

    return f"/{endpoint}/{quote(id_, safe='')}"


def _id(resource: Resource, endpoint: str) -> str:
    id_ = resource.get("id")
    if not isinstance(id_, str) or not id_:
        raise Incomplete(f"/{endpoint}: a resource has no id")
    return id_


def _list_response(answer: Answer) -> Resource:
    found = answer.json()
    if not isinstance(found, dict):
        raise Transient(f"{answer.source}: not a ListResponse", hint="check base_url")
    return found


def _in_page(answer: Resource, endpoint: str) -> list[Resource]:
    found = answer.get("Resources") or []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise Incomplete(f"/{endpoint}: Resources is not a list of resources")
    return found


def _error(answer: Answer) -> Resource | None:
    """The SCIM error in an answer (RFC 7644, 3.12)."""
    try:
        said = answer.json()
    except ManagerError:
        return None
    if isinstance(said, dict) and (ERROR in (said.get("schemas") or ()) or "detail" in said):
        return said
    return None
