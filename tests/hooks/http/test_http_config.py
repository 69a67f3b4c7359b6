"""What is wrong with the description of an API is said when the configuration is read."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from svcctl.hooks.http.expression import Expression
from svcctl.hooks.http.template import Template
from svcctl.hooks.manager import capabilities
from svcctl.model import Verb
from tests.hooks.http.club import KEY, Club
from tests.hooks.http.conftest import CONFIG, PAGING, Configured, section

if TYPE_CHECKING:
    from tests.conftest import Site, Svcctl

PROBLEMS = [
    (
        ('path = "/members/{uid}"', 'path = "/members/{uidd}"'),
        "requests.get_account.path: {uidd}: no such placeholder; did you mean uid?",
    ),
    (
        ('path = "/members/{uid}"', 'path = "/members/{uid.x}"'),
        "requests.get_account.path: {uid.x}: a placeholder is a name alone, like {uid}",
    ),
    (
        ('path = "/members/{uid}"', 'path = "/members/{uid!r}"'),
        "requests.get_account.path: {uid}: a placeholder is a name alone, like {uid}",
    ),
    (
        ('path = "/members/{uid}"', 'path = "/members/{uid"'),
        "requests.get_account.path: a brace stands alone; write {{ or }} for one",
    ),
    (
        ('path = "/members/{uid}"', 'path = "members/{uid}"'),
        "requests.get_account.path: must begin with a slash; it goes on where base_url ends",
    ),
    (
        ('path = "/members/{uid}"', 'path = "/members/{uid}?key={key}"'),
        "requests.get_account.path: must be a path alone; parameters go under query",
    ),
    (
        ('query = { login = "{name}" }', 'query = { login = "{name}", key = "{key}" }'),
        "requests.find_account.query.key: {key}: a secret has no place in a URL, which logs keep",
    ),
    (
        ('X-Key = "{key}"', 'X-Key = "0123456789"'),
        "headers.X-Key: a secret has no place in the configuration",
    ),
    (
        ('body.email = "{email}"', 'body.email = "{badge}"'),
        "requests.create_account.body.email: {badge}: no such placeholder",
    ),
    (
        ('name = "login"', 'name = "login["'),
        "account.name: not a JMESPath expression: Invalid jmespath expression: Incomplete",
    ),
    (
        ('name = "login"', 'name = "lenght(login)"'),
        "account.name: not a JMESPath expression: no function is called lenght",
    ),
    (('active = "active"\n', ""), "account.active: missing; a disabled account must look disabled"),
    (
        (section("get_account"), ""),
        "requests.get_account: missing; add_to_group looks at each account with it",
    ),
    (
        (section("remove_from_group"), ""),
        "requests: add_to_group and remove_from_group go together",
    ),
    (
        ('"teams"\nid = "id"\n', '"teams"\n'),
        "requests.list_groups.id: missing; requests.add_to_group needs it",
    ),
    (
        ('groups = "teams[].name"\n', ""),
        "account.groups: missing; or account.group_ids, or requests.groups_of",
    ),
    (
        ('kind = "not_found"', 'kind = "invalid"'),
        "requests.get_account.errors: no rule says how the service tells that there is no such",
    ),
    (
        ('external_id = "key"\n', ""),
        "account.external_id: missing; find_by_external_id needs it",
    ),
    (
        ('secrets = { key = { file = "key" } }', 'secrets = { key = "0123456789" }'),
        "secrets.key: a secret has no place in the configuration",
    ),
    (
        ('method = "DELETE"', 'method = "REMOVE"'),
        'requests.delete_account.method: must be "GET"',
    ),
    (
        ('paging = { type = "offset"', 'paging = { type = "offsets"'),
        "requests.list_accounts.paging.type: unknown; did you mean offset",
    ),
    (
        ('body.display = "{nickname}"', 'body.display = "{nickname}"\nform = {}'),
        "requests.set_nickname: give one of: form, body",
    ),
]


@pytest.mark.parametrize(("edit", "said"), PROBLEMS, ids=[said for _, said in PROBLEMS])
def test_each_problem_has_its_place(
    club: Club, configured: Configured, edit: tuple[str, str], said: str
) -> None:
    hooks = configured(edit)
    (problems,) = hooks.problems.values()
    told = [f"{one.key}: {one.message}; {one.remedy}" for one in problems]
    assert any(line.startswith(f"services.club.{said}") for line in told), told
    assert not any("0123456789" in line for line in told)


def test_credentials_do_not_go_over_plain_http(club: Club, configured: Configured) -> None:
    (problems,) = configured((club.url, "http://club.example.org")).problems.values()
    assert "would show the credentials to everybody" in problems[0].message
    hooks = configured((club.url, 'http://club.example.org"\nhttp.plain = true\nurl = "x'))
    assert hooks.problems == {}


def test_what_stands_there_it_can_do(club: Club, configured: Configured) -> None:
    whole = configured().loaded["club"]
    assert all(whole.can(verb) for verb in Verb)
    less = configured(
        (section("delete_account"), ""),
        (section("set_password"), ""),
        (section("add_to_group"), ""),
        (section("remove_from_group"), ""),
    ).loaded["club"]
    lost = {Verb.DELETE, Verb.SET_PASSWORD, Verb.CHANGE_GROUPS}
    assert {verb for verb in Verb if not less.can(verb)} == lost
    assert capabilities(whole.manager_class) - capabilities(less.manager_class) == lost


@pytest.mark.parametrize("text", ["{0}", "{}", "{a[0]}", "{a.b}", "{a:>9}", "}", "{"])
def test_a_template_has_names_and_nothing_else(text: str) -> None:
    with pytest.raises(ValueError, match=r"placeholder is a name alone|brace stands alone"):
        Template(text)


def test_a_brace_is_written_twice() -> None:
    assert Template("{{{a}}}").value({"a": "{b}"}) == "{{b}}"


@pytest.mark.parametrize(
    ("text", "value"),
    [("join('; ', errors)", None), ("length(name)", None), ("a && length(a)", None), ("a", None)],
)
def test_an_expression_gives_nothing_for_what_it_does_not_fit(text: str, value: object) -> None:
    assert Expression(text).of({"name": 7}) is value


# Through the front door


@pytest.fixture
def site_of(club: Club, site: "Callable[[str], Site]") -> "Site":
    made = site(CONFIG.format(url=club.url, paging=PAGING))
    made.write("key", KEY).chmod(0o600)
    return made


def test_config_check_names_the_place(site_of: "Site", svcctl: "Svcctl") -> None:
    path = Path("svcctl.toml")
    text = path.read_text().replace("/members/{uid}", "/members/{uuid}").replace("[].name", "[].n(")
    path.write_text(text)
    done = svcctl("config", "check")
    assert done.exit_code == 78
    assert "services.club.account.groups: not a JMESPath expression" in done.stderr + done.stdout
    path.write_text(text.replace("[].n(", "[].name"))
    done = svcctl("config", "check")
    assert done.exit_code == 78
    assert "services.club.requests.get_account.path: {uuid}: no such" in done.stderr + done.stdout


def test_accounts_come_and_go(site_of: "Site", svcctl: "Svcctl", club: Club) -> None:
    for name in ("ada", "bob", "cyd"):
        svcctl("users", "add", name, f"email={name}@example.org", "--group", "staff", "--no-sync")
        assert svcctl("accounts", "create", name, "--service", "club").exit_code == 0
    ada = club.by_login("ada")
    assert (ada.teams, ada.active, ada.display) == ({11}, True, "ada")
    ada.teams.add(13)
    assert svcctl("groups", "remove", "staff", "ada").exit_code == 0
    assert not club.by_login("ada").active
    assert svcctl("groups", "add", "staff", "ada").exit_code == 0
    assert (ada.active, ada.teams) == (True, {11, 13})
    shown = svcctl("services", "show", "club").stdout
    assert re.search(r"delete_account\s+yes", shown)
    assert KEY not in shown
