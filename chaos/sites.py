"""The sites that scenarios begin with: people, services, a database, made by svcctl itself."""

import os
import re
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from chaos import postgres
from chaos.processes import run

CONFIG = """
directory.attributes = ["fullname"]

[directory.sources.people]
type = "csv"
path = "people.csv"

[states.Member]
priority = 100
groups = ["staff"]

[services.lab]
hook = "sandbox"
path = "lab.sqlite"
create = "auto"
access.states = ["Member"]

[services.other]
hook = "sandbox"
path = "other.sqlite"
external_ids = false
create = "auto"
removal = "delete"
access.states = ["Member"]

[services.wiki]
hook = "htpasswd"
password_file = "wiki.passwords"
group_file = "wiki.groups"
cost = 4
create = "auto"
access.states = ["Member"]

[backends.github]
uid = "id"
details = { username = "login", email = "email", fullname = "name" }

[pipelines.join]
steps = ["social_details", "social_names", "social_uid", "auth_allowed", "social_user",
    "get_username", "chaos.steps:confirm", "create_user", "associate_user", "load_extra_data",
    "user_details", "assign_state", "activate_services"]
settings = { JOIN_GROUPS = ["staff"] }

[pipelines.leave]
kind = "disconnect"
steps = ["delete_services", "allowed_to_disconnect", "get_entries", "revoke_tokens", "disconnect"]
settings = { ALLOW_LAST_DISCONNECT = true }
"""

Person = tuple[str, str, str]
"""Id in the source, username, groups."""


def staff(names: Iterable[str]) -> list[Person]:
    return [(f"id-{name}", name, "staff;all") for name in names]


TEN = [f"user{number}" for number in range(10)]


class Unusable(Exception):
    """A scenario that goes wrong although nothing happens to it."""


class Site:
    """A folder in which svcctl is at home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def people(self, people: Iterable[Person]) -> None:
        """What the source says from now on."""
        rows = [f"{id_},{name},{groups}" for id_, name, groups in people]
        text = "\n".join(["id,username,groups", *rows, ""])
        (self.folder / "people.csv").write_text(text, encoding="utf-8")

    def ok(self, *words: str, code: int = 0) -> str:
        """A command that must end so."""
        ended = run(self.folder, *words)
        if ended.code != code:
            raise Unusable(f"the site could not be made: {ended}")
        return ended.stdout


def bare(folder: Path, config: str = CONFIG) -> Site:
    """A site without a database."""
    folder.mkdir(parents=True)
    mark = folder.with_name(postgres.MARK)
    if mark.exists():
        place, name = mark.read_text(), _fresh()
        postgres.ask(place, f"CREATE DATABASE {name} TEMPLATE template0")
        config = f'database = "{postgres.url(place, name)}"\n{config}'
    (folder / "svcctl.toml").write_text(config, encoding="utf-8")
    for name in ("wiki.passwords", "wiki.groups"):
        (folder / name).touch(0o640)
    return Site(folder)


def found(folder: Path, config: str = CONFIG) -> Site:
    """A site with nobody in it."""
    site = bare(folder, config)
    site.ok("db", "upgrade")
    return site


def settled(folder: Path, names: Iterable[str] = TEN, config: str = CONFIG) -> Site:
    """A site whose people have what they should."""
    site = found(folder, config)
    site.people(staff(names))
    site.ok("directory", "pull")
    site.ok("sync", "--all")
    return site


def _fresh() -> str:
    return f"site_{os.getpid()}_{time.monotonic_ns()}"


def _on_server(folder: Path) -> tuple[str, str] | None:
    """The name of a site's database and the place of its server, unless it is a file."""
    found = re.search('postgresql://svcctl@/(.*)\\?host=(.*)"', _config(folder).read_text())
    return (found[1], found[2]) if found else None


def _config(folder: Path) -> Path:
    return folder / "svcctl.toml"


def remove(folder: Path) -> None:
    """A copy, its database, and what was said in it."""
    if there := _on_server(folder):
        postgres.ask(there[1], f"DROP DATABASE {there[0]} WITH (FORCE)")
    for one in (folder, folder.with_name(f"{folder.name}.said")):
        shutil.rmtree(one, ignore_errors=True)


def copy(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    if there := _on_server(folder):
        name = _fresh()
        postgres.ask(there[1], f"CREATE DATABASE {name} TEMPLATE {there[0]}")
        _config(to).write_text(_config(to).read_text().replace(there[0], name, 1))
    return to
