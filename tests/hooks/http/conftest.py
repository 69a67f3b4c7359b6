"""`club`: a service with an HTTP API, empty for each test; `manager(...)` by its configuration."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from svcctl.config.load import load
from svcctl.hooks.http import HttpManager
from svcctl.hooks.registry import Hooks, build_manager, load_hooks
from svcctl.http import client
from tests.hooks.http.club import KEY, Club, serving

CONFIG = """
directory.attributes = ["badge"]

[states.Member]
priority = 100
groups = ["staff"]

[services.club]
hook = "http"
base_url = "{url}"
access.states = ["Member"]
attributes = ["email"]
groups.map = {{ staff = "staff", fc = "commanders" }}
headers = {{ X-Key = "{{key}}" }}
secrets = {{ key = {{ file = "key" }} }}
message = "error.text || message || reason"

[services.club.account]
uid = "id"
name = "login"
nickname = "display"
active = "active"
external_id = "key"
groups = "teams[].name"
attributes = {{ email = "email" }}

[services.club.requests.list_accounts]
path = "/members"
items = "members"
{paging}

[services.club.requests.get_account]
path = "/members/{{uid}}"

[services.club.requests.find_account]
path = "/search"
query = {{ login = "{{name}}" }}

[services.club.requests.find_by_external_id]
path = "/search"
query = {{ key = "{{external_id}}" }}

[services.club.requests.list_groups]
path = "/teams"
items = "teams"
id = "id"
paging = {{ type = "offset", total = "total" }}

[services.club.requests.create_account]
method = "POST"
path = "/members"
body.login = "{{name}}"
body.password = "{{password}}"
body.key = "{{external_id}}"
body.email = "{{email}}"
item = "@"

[services.club.requests.enable_account]
method = "PATCH"
path = "/members/{{uid}}"
body.active = true

[services.club.requests.disable_account]
method = "PATCH"
path = "/members/{{uid}}"
body.active = false

[services.club.requests.delete_account]
method = "DELETE"
path = "/members/{{uid}}"

[services.club.requests.set_nickname]
method = "PATCH"
path = "/members/{{uid}}"
body.display = "{{nickname}}"

[services.club.requests.set_password]
method = "PATCH"
path = "/members/{{uid}}"
body.password = "{{password}}"

[services.club.requests.add_to_group]
method = "PUT"
path = "/members/{{uid}}/teams/{{group_id}}"

[services.club.requests.remove_from_group]
method = "DELETE"
path = "/members/{{uid}}/teams/{{group_id}}"

[[services.club.errors]]
when = "code == 'no-member' || error.code == 'no-member'"
kind = "not_found"

[[services.club.errors]]
when = "code == 'taken' || error.code == 'taken'"
kind = "conflict"
"""
PAGING = 'paging = { type = "offset", size_parameter = "size", size = 3, total = "total" }'
SET_GROUPS = """
[services.club.requests.set_groups]
method = "PATCH"
path = "/members/{uid}"
body.teams = "{group_ids}"
"""
LOGIN = """
[services.club.login]
expired = "error.code == 'login'"

[[services.club.login.steps]]
method = "POST"
path = "/session"
form = { user = "svcctl", password = "{key}" }
take = { csrf = "csrf" }
errors = [{ when = "!ok", kind = "denied" }]
"""

Configured = Callable[..., Hooks]
Built = Callable[..., HttpManager]


# Not longer: other tests count threads.
@pytest.fixture(scope="module")
def running_club() -> Iterator[Club]:
    with serving() as club:
        yield club


@pytest.fixture
def club(running_club: Club, monkeypatch: pytest.MonkeyPatch) -> Club:
    running_club.reset()
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.01)
    return running_club


@pytest.fixture
def configured(club: Club, tmp_path: Path) -> Configured:
    """`configured(("old", "new"), paging=…, more=…)`: the hooks of the changed configuration."""

    def load_it(
        *edits: tuple[str, str], paging: str = PAGING, more: str = "", key: str = KEY
    ) -> Hooks:
        text = CONFIG.format(url=club.url, paging=paging)
        for old, new in edits:
            assert old in text
            text = text.replace(old, new, 1)
        (tmp_path / "svcctl.toml").write_text(text + more)
        (tmp_path / "key").write_text(key)
        (tmp_path / "key").chmod(0o600)
        return load_hooks(load(tmp_path / "svcctl.toml"))

    return load_it


@pytest.fixture
def built(configured: Configured) -> Iterator[Built]:
    """`built(…)`: the manager of `configured(…)`."""
    made: list[HttpManager] = []

    def build(*edits: tuple[str, str], **settings: str) -> HttpManager:
        hooks = configured(*edits, **settings)
        assert hooks.problems == {}
        manager = build_manager(hooks.loaded["club"])
        assert isinstance(manager, HttpManager)
        made.append(manager)
        return manager

    yield build
    for manager in made:
        manager.close()


def section(name: str) -> str:
    """The configuration of one request."""
    text = CONFIG.format(url="", paging="")
    begin = text.index(f"[services.club.requests.{name}]")
    return text[begin : text.index("\n\n", begin)]
