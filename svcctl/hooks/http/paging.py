"""The ways in which services give a long list: each knows when it has all of it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urljoin

from pydantic import Field

from svcctl.config.service import Frozen
from svcctl.errors import Incomplete
from svcctl.hooks.http.expression import Expression
from svcctl.http.client import Answer


@dataclass(frozen=True, slots=True)
class Page:
    """One answer, its JSON, and the items in it."""

    answer: Answer
    document: Any
    items: list[Any]


Fetch = Callable[[Mapping[str, str] | str], Page]
"""Get the page with these query parameters, or at this URL."""


class Header(Frozen):
    """A place in the headers of an answer."""

    header: str = Field(min_length=1, description="the header's name")


Place = Expression | Header


class Sized(Frozen):
    """What the pages that are asked for have in common."""

    size_parameter: str | None = Field(
        None, description="the query parameter that says how many items a page may have"
    )
    size: int = Field(100, ge=1, le=10_000, description="how many to ask for")

    def sized(self) -> dict[str, str]:
        return {} if self.size_parameter is None else {self.size_parameter: str(self.size)}


class OffsetPaging(Sized):
    """The items from number so-and-so on; read to the total, or to a page that is empty."""

    type: Literal["offset"] = Field(description="the way of paging")
    parameter: str = Field("offset", description="the query parameter for the first item's number")
    first: int = Field(0, description="the number of the very first item")
    total: Place | None = Field(
        None, description='where the answer says how many items there are; { header = "…" } too'
    )

    def walk(self, fetch: Fetch) -> Iterator[Page]:
        start = self.first
        count = _Count(self.total)
        while True:
            page = fetch({**self.sized(), self.parameter: str(start)})
            count.add(page)
            yield page
            if count.complete or (count.total is None and not page.items):
                return
            if not page.items:
                raise count.short(page)
            start += len(page.items)


class NumberPaging(Sized):
    """Page number so-and-so; read to the number of pages, or to a page that is empty."""

    type: Literal["page"] = Field(description="the way of paging")
    parameter: str = Field("page", description="the query parameter for the page's number")
    first: int = Field(1, description="the number of the first page")
    pages: Place | None = Field(
        None, description='where the answer says how many pages there are; { header = "…" } too'
    )
    total: Place | None = Field(
        None, description='where it says how many items there are; { header = "…" } too'
    )

    def walk(self, fetch: Fetch) -> Iterator[Page]:
        number = self.first
        count = _Count(self.total)
        while True:
            page = fetch({**self.sized(), self.parameter: str(number)})
            count.add(page)
            yield page
            number += 1
            if self.pages is None:
                last = count.complete or not page.items
            else:
                last = number - self.first >= _number(self.pages, page)
            if last and (count.total is None or count.complete):
                return
            if last or not page.items:
                raise count.short(page)


class CursorPaging(Sized):
    """Each page names what to ask for next; one that names nothing is the last."""

    type: Literal["cursor"] = Field(description="the way of paging")
    parameter: str = Field(
        "cursor", description="the query parameter for it, unless `next` gives an object of them"
    )
    next: Expression = Field(description="where the answer names it; null on the last page")

    def walk(self, fetch: Fetch) -> Iterator[Page]:
        asked: dict[str, str] = self.sized()
        while True:
            page = fetch(asked)
            yield page
            found = self.next.of(page.document)
            if found is None or found in ("", False):
                return
            entries = found if isinstance(found, Mapping) else {self.parameter: found}
            following = {**asked, **{str(name): str(value) for name, value in entries.items()}}
            if following == asked:
                raise Incomplete(f"{page.answer.source}: names the same cursor again")
            asked = following


class LinkPaging(Sized):
    """Each page gives the URL of the next one; one that gives none is the last."""

    type: Literal["link"] = Field(description="the way of paging")
    next: Expression | None = Field(
        None, description='where the answer gives it; default: the header Link (rel="next")'
    )

    def walk(self, fetch: Fetch) -> Iterator[Page]:
        asked: dict[str, str] | str = self.sized()
        seen: set[str] = set()
        while True:
            page = fetch(asked)
            yield page
            found = next_link(page.answer) if self.next is None else self.next.of(page.document)
            if found is None or found == "":
                return
            asked = urljoin(page.answer.source.partition(" ")[2], str(found))
            if asked in seen:
                raise Incomplete(f"{page.answer.source}: names the same next page again")
            seen.add(asked)


Paging = Annotated[
    OffsetPaging | NumberPaging | CursorPaging | LinkPaging, Field(discriminator="type")
]


def whole(page: Page) -> Iterator[Page]:
    """A list that comes at once. Raises Incomplete where the answer names another page."""
    if next_link(page.answer) is not None:
        raise Incomplete(
            f"{page.answer.source}: gives a page of the list, and names a next one",
            hint='say how it pages, with paging = { type = "link" } or another type',
        )
    yield page


def next_link(answer: Answer) -> str | None:
    """The URL that the header Link calls the next one (RFC 8288)."""
    from requests.utils import parse_header_links

    links = parse_header_links(answer.headers.get("Link", ""))
    return next((link.get("url") for link in links if link.get("rel") == "next"), None)


class _Count:
    """How many items have come, of how many there are where the service says it."""

    def __init__(self, place: Place | None) -> None:
        self._place = place
        self._got = 0
        self.total: int | None = None

    def add(self, page: Page) -> None:
        self._got += len(page.items)
        if self._place is not None:
            before, self.total = self.total, _number(self._place, page)
            if before is not None and self.total < before:
                raise Incomplete(
                    f"{page.answer.source}: fewer items than a moment ago",
                    hint="something was deleted while it was read; try again",
                )

    @property
    def complete(self) -> bool:
        return self.total is not None and self._got >= self.total

    def short(self, page: Page) -> Incomplete:
        of = "" if self.total is None else f" of {self.total}"
        return Incomplete(
            f"{page.answer.source}: the list ended after {self._got}{of} items",
            hint="try again; where it stays so, check paging",
        )


def _number(place: Place, page: Page) -> int:
    if isinstance(place, Header):
        found: Any = page.answer.headers.get(place.header)
    else:
        found = place.of(page.document)
    if isinstance(found, bool) or not str(found).isdecimal():
        said = f"header {place.header}" if isinstance(place, Header) else str(place)
        raise Incomplete(
            f"{page.answer.source}: {said} is not a number", hint="check paging; see what it sends"
        )
    return int(found)
