"""Reading all accounts of a service, page by page: drift and update-all-groups."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Row, command, in_turn, peak
from benchmarks.site import MemoryConfig, MemoryHook, MemoryManager, build, of
from svcctl.hooks.manager import RemoteAccount

PEOPLE = 100_000
PAGE = 100


class PagesManager(MemoryManager):
    """A service whose pages, as SCIM would send them, lie in a file, one a line."""

    def __init__(self, latency: float, pages: Path) -> None:
        super().__init__(latency)
        self.pages = pages

    def list_accounts(self) -> Iterator[RemoteAccount]:
        with self.pages.open("rb") as file:
            for line in file:
                for one in json.loads(line)["Resources"]:
                    yield RemoteAccount(
                        uid=one["id"],
                        name=one["userName"],
                        active=one["active"],
                        external_id=one["externalId"],
                        groups=frozenset([group["display"] for group in one["groups"]]),
                        nickname=one["displayName"],
                    )


class PagesConfig(MemoryConfig):
    pages: Path


class PagesHook(MemoryHook):
    config_class = PagesConfig
    manager_class = PagesManager


def write_pages(path: Path, start: str = "u") -> None:
    """The accounts of `site.build`; with another `start` of their ids, nobody's."""
    with path.open("w", encoding="utf-8") as file:
        for first in range(1, PEOPLE + 1, PAGE):
            page = [
                {
                    "id": f"{start}{i}",
                    "userName": f"user{i}",
                    "active": True,
                    "externalId": f"theirs-{i}",
                    "displayName": f"user{i}",
                    "emails": [{"value": f"user{i}@example.org", "primary": True}],
                    "groups": [{"value": f"g-{g}", "display": f"g{g}"} for g in of(i, 5)],
                    "meta": {"resourceType": "User", "location": f"https://x.org/Users/u{i}"},
                }
                for i in range(first, first + PAGE)
            ]
            file.write(json.dumps({"totalResults": PEOPLE, "Resources": page}) + "\n")


def run(folder: Path) -> list[Row]:
    hook = "benchmarks.listing:PagesHook"
    build(folder, people=PEOPLE, services=1, hook=hook, more='pages = "pages"').close()
    write_pages(folder / "pages")
    svcctl = ("-m", "svcctl")
    drift, groups, decoding = in_turn(
        lambda: command(*svcctl, "drift", "--check", folder=folder),
        lambda: command(*svcctl, "update-all-groups", folder=folder),
        lambda: command("-m", "benchmarks.listing", str(folder / "pages"), folder=folder),
    )
    size = f"{PEOPLE:,} listed"
    rows = [
        Row(f"drift, nothing wrong, {size} / decoding the pages", drift, decoding, 6),
        Row(f"update-all-groups, nothing changed, {size} / the same", groups, decoding, 4),
    ]
    rows += [
        Row(f"  memory of {what} / 120 MB", peak(*svcctl, *words, folder=folder), 120, 1, unit="M")
        for what, words in (
            ("that drift", ("drift",)),
            ("that update-all-groups", ("update-all-groups",)),
        )
    ]
    write_pages(folder / "pages", "x")
    rows += [
        Row(
            f"  memory of drift, 200,000 findings as {form} / 120 MB",
            peak(*svcctl, "drift", "--format", form, folder=folder),
            120,
            1,
            unit="M",
        )
        for form in ("text", "json", "ndjson")
    ]
    return rows


if __name__ == "__main__":
    for _account in PagesManager(0, Path(sys.argv[1])).list_accounts():
        pass
