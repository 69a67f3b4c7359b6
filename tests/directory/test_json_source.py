"""A JSON file is read completely, or refused with the place and the remedy."""

import json
from pathlib import Path
from typing import Any

import pytest

from svcctl.config.source import JsonSource
from svcctl.directory.person import Person
from svcctl.directory.sources import open_source
from svcctl.errors import ExitCode, SourceError


def people(tmp_path: Path, content: Any, **settings: Any) -> list[Person]:
    path = tmp_path / "people.json"
    text = content if isinstance(content, (str, bytes)) else json.dumps(content)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    source = JsonSource(type="json", path=path, **settings)
    with open_source("people", source, {"email", "phones"}) as found:
        return list(found)


def complaint(tmp_path: Path, content: Any, **settings: Any) -> str:
    with pytest.raises(SourceError) as caught:
        people(tmp_path, content, **settings)
    assert caught.value.exit_code is ExitCode.INCOMPLETE
    assert caught.value.hint
    return caught.value.message.replace(f"{tmp_path}/", "")


USERS = [
    {"id": 7, "username": "ada", "active": True, "groups": ["fc"], "phones": [1, {"x": None}]},
    {"id": "8", "username": "bob", "active": "no", "groups": None, "email": ""},
]
YES, NO = True, False
PERSONS = [
    Person("7", "ada", YES, frozenset({"fc"}), {"email": None, "phones": [1, {"x": None}]}),
    Person("8", "bob", NO, frozenset(), {"email": None, "phones": None}),
]


@pytest.mark.parametrize(
    "content",
    [
        USERS,
        {"users": USERS},
        {"version": 1, "more": {"users": [1]}, "users": USERS, "end": []},
        json.dumps(USERS, indent=2),
    ],
)
def test_a_list_or_an_object_with_users_is_read(tmp_path: Path, content: Any) -> None:
    assert people(tmp_path, content) == PERSONS


def test_nobody_is_a_list_as_well(tmp_path: Path) -> None:
    assert people(tmp_path, []) == []
    assert people(tmp_path, {"users": []}) == []


def test_what_the_document_never_mentions_is_unknown_not_absent(tmp_path: Path) -> None:
    assert people(tmp_path, [{"username": "ada"}]) == [Person("ada", "ada", None, None, {})]
    ada, bob = people(tmp_path, [{"username": "ada", "groups": ["x"]}, {"username": "bob"}])
    assert (ada.groups, bob.groups) == (frozenset({"x"}), frozenset())


def test_keys_are_configured(tmp_path: Path) -> None:
    found = people(
        tmp_path,
        [{"uid": "u1", "login": "ada", "mail": "a@x"}],
        id="uid",
        username="login",
        attributes={"mail": "email"},
    )
    assert found == [Person("u1", "ada", None, None, {"email": "a@x"})]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "people.json:1:1: the file is empty"),
        ("7", "people.json:1:1: neither a list of users nor an object with the key users"),
        ('{"people": []}', "people.json:1:14: no key users"),
        ('{"users": {}}', "people.json:1:11: users is not one list"),
        ('{"users": [], "users": []}', "people.json:1:24: users is not one list"),
        ('[{"username": "ada"}', "people.json:1:21: the file ends in the middle"),
        ('[{"username": "ada"},\n {"username": "b', "people.json:2:15: unterminated string"),
        ('[{"username": "ada"}] x', "people.json:1:23: more text after the end of the document"),
        ('[{"username": "ada"} {}]', "people.json:1:22: ',' expected"),
        ([7], "people.json: users[0]: not an object"),
        ([{"username": "ada"}, {}], "people.json: users[1].username: missing"),
        ([{"username": 7}], "people.json: users[0].username: not a string"),
        ([{"username": " "}], "people.json: users[0].username: is empty"),
        ([{"username": "ada", "id": True}], "people.json: users[0].id: not a string"),
        ([{"username": "ada", "id": ""}], "people.json: users[0].id: is empty"),
        (
            [{"username": "ada", "active": "perhaps"}],
            "people.json: users[0].active: neither true nor false",
        ),
        (
            [{"username": "ada", "groups": "fc"}],
            "people.json: users[0].groups: not a list of names",
        ),
        (
            [{"username": "ada", "groups": ["fc", 7]}],
            "people.json: users[0].groups[1]: not a string",
        ),
        (
            [{"username": "ada", "phones": ["\0"]}],
            "people.json: users[0].phones[0]: contains a NUL character",
        ),
        (
            '[{"username": "ada", "email": "\\ud800"}]',
            "people.json: users[0].email: contains half of a surrogate pair",
        ),
        (
            [{"username": "a\ud800"}],
            "people.json: users[0].username: contains half of a surrogate pair",
        ),
        (
            [{"username": "ada"}, {"username": "ada"}],
            "people.json: users[1]: the username 'ada' was already at people.json: users[0]",
        ),
        (
            [{"username": "ada", "email": "x" * 1_048_577}],
            "people.json: users[0].email: longer than 1,048,576 characters",
        ),
        (
            b'[\n{"username": "j\xfc"}]',
            "people.json:2: not utf-8: invalid start byte at byte 17 (0xfc)",
        ),
    ],
)
def test_the_first_thing_that_is_wrong_is_named_with_its_place(
    tmp_path: Path, content: Any, message: str
) -> None:
    assert complaint(tmp_path, content).startswith(message)


def test_numbers_that_are_not_json_are_refused(tmp_path: Path) -> None:
    assert "NaN is not JSON" in complaint(tmp_path, '[{"username": "ada", "phones": NaN}]')
    digits = "9" * 5000
    assert "people.json:1:2:" in complaint(tmp_path, f'[{{"username": "a", "id": {digits}}}]')


@pytest.mark.parametrize("depth", [30, 100_000])
def test_deep_nesting_is_refused(tmp_path: Path, depth: int) -> None:
    nested = "[" * depth + "]" * depth
    text = f'[{{"username": "ada", "phones": {nested}}}]'
    assert "nested too deeply" in complaint(tmp_path, text)
