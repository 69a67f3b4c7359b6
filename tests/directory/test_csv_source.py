"""A CSV file is read completely, or refused with the place and the remedy."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from svcctl.config.source import CsvSource
from svcctl.directory import csv_source
from svcctl.directory.person import Person
from svcctl.directory.sources import open_source
from svcctl.errors import ExitCode, SourceError

INVISIBLE = "contains the control or invisible character"
KNOWN = {"email", "character_name"}


def person(
    id_: str,
    username: str,
    *,
    active: bool | None = None,
    groups: Collection[str] | None = None,
    **attributes: Any,
) -> Person:
    held = None if groups is None else frozenset(groups)
    return Person(id_, username, active, held, attributes)


def people(tmp_path: Path, content: str | bytes, **settings: Any) -> list[Person]:
    path = tmp_path / "people.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    source = CsvSource(type="csv", path=path, **settings)
    with open_source("people", source, KNOWN) as found:
        return list(found)


def complaint(tmp_path: Path, content: str | bytes, **settings: Any) -> str:
    with pytest.raises(SourceError) as caught:
        people(tmp_path, content, **settings)
    assert caught.value.exit_code is ExitCode.INCOMPLETE
    assert caught.value.hint
    return caught.value.message.replace(f"{tmp_path}/", "")


def test_a_row_is_a_person(tmp_path: Path) -> None:
    found = people(
        tmp_path,
        "id,username,active,groups,email,shoe size\n"
        '7,ada,yes,"fc; pilots;",ada@example.org,39\n'
        "8, bob ,N,,,\n",
    )
    assert found == [
        person("7", "ada", groups={"fc", "pilots"}, email="ada@example.org", active=True),
        person("8", "bob", groups=(), email=None, active=False),
    ]


def test_what_the_file_has_no_column_for_is_unknown_not_absent(tmp_path: Path) -> None:
    assert people(tmp_path, "username\nada\n") == [Person("ada", "ada", None, None, {})]


def test_columns_separators_and_encoding_are_configured(tmp_path: Path) -> None:
    found = people(
        tmp_path,
        "Nr|Login|Gruppen|Pilot\n1|jürgen|a,b|Jürgen P.\n".encode("cp1252"),
        encoding="cp1252",
        delimiter="|",
        groups_separator=",",
        id="Nr",
        username="Login",
        groups="Gruppen",
        attributes={"Pilot": "character_name"},
    )
    assert found == [
        Person("1", "jürgen", None, frozenset({"a", "b"}), {"character_name": "Jürgen P."})
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "utf-8-sig"])
def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path, encoding: str) -> None:
    content = "\ufeffusername\nada\n".encode()
    assert people(tmp_path, content, encoding=encoding)[0].username == "ada"


def test_composed_and_decomposed_names_are_one_name(tmp_path: Path) -> None:
    assert "the username 'ré' was already at" in complaint(
        tmp_path, "username\nr\u00e9\nre\u0301\n"
    )


def test_blank_lines_line_ends_and_line_breaks_in_cells_are_no_trouble(tmp_path: Path) -> None:
    content = 'username,email\r\n\r\nada,"a\r\nb"\r\nbob,\r\n'
    assert [person.username for person in people(tmp_path, content)] == ["ada", "bob"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "people.csv: empty, without even a header"),
        ("\n\n", "people.csv: empty, without even a header"),
        ("name\nada\n", "people.csv:1: no column 'username', which the source's username names"),
        ("username,username\nada,b\n", "people.csv:1: two columns are called 'username'"),
        ("username,email\nada\n", "people.csv:2: 1 cells, but the header has 2"),
        ("username,email\nada,x,y\n", "people.csv:2: 3 cells, but the header has 2"),
        ("id,username\n1,\n", "people.csv:2: username: the username is empty"),
        ("id,username\n,ada\n", "people.csv:2: id: the id is empty"),
        (
            "username\nada\nbob\nada\n",
            "people.csv:4: the username 'ada' was already at people.csv:2",
        ),
        ("id,username\n1,ada\n1,bob\n", "people.csv:3: the id '1' was already at people.csv:2"),
        ("username,active\nada,perhaps\n", "people.csv:2: active: neither yes nor no: 'perhaps'"),
        (
            'username,email\nada,x\nbob,"y\neve,z\n',
            "people.csv:3: a quote opened in this row is not closed by the end of the file",
        ),
        ('username\n"ada"x\n', "people.csv:2: ',' expected after '\"'"),
        ("username\nada\0\n", "people.csv:2: a NUL byte at column 4"),
        (
            "username\na\x1bda\n",
            f"people.csv:2: username: the username {INVISIBLE} U+001B",
        ),
        (
            "username\na\u202eda\n",
            f"people.csv:2: username: the username {INVISIBLE} U+202E",
        ),
        (
            "username,groups\nada,a;\x07\n",
            f"people.csv:2: groups: a group's name {INVISIBLE} U+0007",
        ),
        (
            f"username\n{'a' * 256}\n",
            "people.csv:2: username: the username is longer than 255 characters",
        ),
        (
            b"username\nada\nj\xfcrgen\n",
            "people.csv:3: not utf-8: invalid start byte at byte 14 (0xfc)",
        ),
        (
            b"username\nada\n\xc3",
            "people.csv:3: not utf-8: the file ends in the middle of a character, at byte 13",
        ),
    ],
)
def test_the_first_thing_that_is_wrong_is_named_with_its_place(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    assert complaint(tmp_path, content) == message


def test_a_configured_column_that_vanishes_is_an_error(tmp_path: Path) -> None:
    content = "username\nada\n"
    for setting in ({"groups": "groups"}, {"active": "active"}, {"id": "id"}):
        assert "no column" in complaint(tmp_path, content, **setting)
    assert "which the source's attributes.Mail names" in complaint(
        tmp_path, content, attributes={"Mail": "email"}
    )


def test_a_wrong_byte_far_into_the_file_is_found(tmp_path: Path) -> None:
    lines = b"".join(b"user%d\n" % number for number in range(50_000))
    content = b"username\n" + lines + b"\xff\n"
    place = f"at byte {len(content) - 2} (0xff)"
    assert complaint(tmp_path, content).endswith(place)
    assert complaint(tmp_path, content).startswith("people.csv:50002:")


def test_sixteen_bits_without_a_mark_are_not_utf_16(tmp_path: Path) -> None:
    assert "not utf-16" in complaint(tmp_path, b"username\nada\n", encoding="utf-16")


def test_a_cell_of_fifty_megabytes_is_refused_without_being_kept(tmp_path: Path) -> None:
    huge = "x" * 50_000_000
    assert "a line longer than 4,194,304" in complaint(tmp_path, f"username\n{huge}\n")
    cell = "x\n" * 600_000
    assert complaint(tmp_path, f'username,email\nada,"{cell}"\n') == (
        "people.csv:2: a cell longer than 1,048,576 characters"
    )


def test_a_file_that_is_not_there_or_not_a_file_is_refused(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path / "none.csv", "cannot be read: no such file or directory"),
        (tmp_path, "not a regular file"),
    ):
        source = CsvSource(type="csv", path=path)
        with (
            pytest.raises(SourceError, match=message),
            open_source("people", source, KNOWN) as found,
        ):
            list(found)


def test_a_file_that_is_too_large_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_source, "FILE_BYTES", 10)
    assert complaint(tmp_path, "username\nada\n") == (
        "people.csv: 13 bytes, more than the 10 that are read"
    )


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("username\nada\nbob\n")
    with open_source("people", CsvSource(type="csv", path=path), KNOWN) as persons:
        next(persons)
        with path.open("a") as file:
            file.write("eve\n")
        with pytest.raises(SourceError, match="changed while it was read"):
            list(persons)
