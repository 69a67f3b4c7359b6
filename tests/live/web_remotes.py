"""What really is on a site, and what others do there by hand: past svcctl and its recipes."""

import sqlite3
import subprocess
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import requests

from tests.live.web_servers import Web


@dataclass
class Remote:
    """recipe: its file. edits: what is changed in it. removed: how an account is taken away.

    crowd: so many people are made before a server that is killed meanwhile has made all of them.
    """

    site: Web
    recipe: ClassVar[str]
    service: ClassVar[str]
    removed: ClassVar[str] = "disabled"
    nicknames: ClassVar[bool] = False
    crowd: ClassVar[int] = 12

    def edits(self) -> Mapping[str, str]:
        raise NotImplementedError

    def users(self) -> dict[str, tuple[bool, frozenset[str]]]:
        """Name -> whether it is active, and its groups of ours and of theirs."""
        raise NotImplementedError

    def create(self, name: str) -> None:
        """Somebody who has nothing to do with svcctl."""
        raise NotImplementedError

    def join(self, name: str, group: str) -> None:
        """By hand."""
        raise NotImplementedError

    def nickname(self, name: str) -> str:
        raise NotImplementedError

    def call(self, method: str, path: str, **options: Any) -> Any:
        """The site's own API, as an administrator."""
        answer = requests.request(method, self.site.url + path, timeout=30, **options)
        answer.raise_for_status()
        return answer.json() if answer.content.strip() else None


GROUPS = frozenset({"staff", "commanders", "theirs"})


class WordPress(Remote):
    recipe = "wordpress.toml"
    service = "blog"
    removed = "deleted"
    nicknames = True

    def edits(self) -> Mapping[str, str]:
        return {
            "https://blog.example.org": self.site.url,
            'username = "svcctl"': 'username = "admin"',
            'map = { staff = "editor" }': 'map = { staff = "staff", fc = "commanders" }',
        }

    def _api(self, method: str, path: str, **options: Any) -> Any:
        auth = ("admin", self.site.key)
        return self.call(method, f"/wp-json/wp/v2/users{path}", auth=auth, **options)

    def _all(self) -> dict[str, dict[str, Any]]:
        found = self._api("GET", "?context=edit&per_page=100")
        return {one["username"]: one for one in found if one["username"] != "admin"}

    def users(self) -> dict[str, tuple[bool, frozenset[str]]]:
        return {name: (True, GROUPS & set(one["roles"])) for name, one in self._all().items()}

    def create(self, name: str) -> None:
        body = {"username": name, "email": f"{name}@example.net", "password": "a-long-password"}
        self._api("POST", "", json=body)

    def join(self, name: str, group: str) -> None:
        one = self._all()[name]
        self._api("POST", f"/{one['id']}", json={"roles": [*one["roles"], group]})

    def nickname(self, name: str) -> str:
        return str(self._all()[name]["name"])


class MediaWiki(Remote):
    recipe = "mediawiki.toml"
    service = "wiki"

    def edits(self) -> Mapping[str, str]:
        return {"https://wiki.example.org/w/api.php": f"{self.site.url}/api.php"}

    def _database(self) -> Path:
        return self.site.folder / "data" / "wiki.sqlite"

    def users(self) -> dict[str, tuple[bool, frozenset[str]]]:
        with closing(sqlite3.connect(self._database(), timeout=20)) as link:
            names = dict(link.execute("SELECT user_id, user_name FROM user").fetchall())
            blocked = {row[0] for row in link.execute("SELECT ipb_user FROM ipblocks")}
            member = link.execute("SELECT ug_user, ug_group FROM user_groups").fetchall()
        return {
            name.lower(): (
                number not in blocked,
                GROUPS & {group for user, group in member if user == number},
            )
            for number, name in names.items()
            if name not in ("Admin", "MediaWiki default", "Svcctl")
        }

    def create(self, name: str) -> None:
        script = "/usr/share/mediawiki/maintenance/createAndPromote.php"
        config = f"MW_CONFIG_FILE={self.site.folder}/LocalSettings.php"
        command = ["env", config, "php", script, name.title(), "a-long-password"]
        subprocess.run(command, check=True, capture_output=True)

    def join(self, name: str, group: str) -> None:
        with closing(sqlite3.connect(self._database(), timeout=20)) as link, link:
            link.execute(
                "INSERT INTO user_groups (ug_user, ug_group) "
                "SELECT user_id, ? FROM user WHERE user_name = ?",
                (group, name.title()),
            )


class Redmine(Remote):
    recipe = "redmine.toml"
    service = "tracker"

    def edits(self) -> Mapping[str, str]:
        return {"https://tracker.example.org": self.site.url}

    def _database(self) -> Path:
        return self.site.folder / "redmine.sqlite"

    def users(self) -> dict[str, tuple[bool, frozenset[str]]]:
        with closing(sqlite3.connect(self._database(), timeout=20)) as link:
            people = link.execute(
                "SELECT id, login, status FROM users WHERE type = 'User' AND login <> 'admin'"
            ).fetchall()
            member = link.execute(
                "SELECT user_id, lastname FROM groups_users JOIN users ON users.id = group_id"
            ).fetchall()
        return {
            login: (status == 1, GROUPS & {group for user, group in member if user == number})
            for number, login, status in people
        }

    def create(self, name: str) -> None:
        user = {"login": name, "firstname": "S", "lastname": "T", "password": "a-long-password"}
        headers = {"X-Redmine-API-Key": self.site.key}
        body = {"user": {**user, "mail": f"{name}@example.net"}}
        self.call("POST", "/users.json", json=body, headers=headers)

    def join(self, name: str, group: str) -> None:
        with closing(sqlite3.connect(self._database(), timeout=20)) as link, link:
            link.execute(
                "INSERT INTO groups_users (group_id, user_id) SELECT one.id, other.id "
                "FROM users AS one, users AS other WHERE one.lastname = ? AND other.login = ?",
                (group, name),
            )
