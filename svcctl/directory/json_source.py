"""People from a JSON file: a list of objects, or `{"users": [ … ]}`; decoded one user at a time."""

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NoReturn

from svcctl.config.source import JsonSource
from svcctl.directory.file import opened, undecodable
from svcctl.directory.person import FLAGS, Entries, Person, name_problem, text_problem, tidy
from svcctl.errors import SourceError

FILE_BYTES = 1 << 28
DEPTH = 20
_BLANK = re.compile(r"[ \t\r\n]+")


def place(source: JsonSource, _key: str, index: int) -> str:
    """`people.json: users[3]`."""
    return f"{source.path}: users[{index}]"


def read(source: JsonSource, key: str, known: Collection[str]) -> Entries:
    """Each person with its index in the list. Raises SourceError."""
    with opened(source.path, largest=FILE_BYTES) as file:
        data = file.read(FILE_BYTES)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise undecodable(source.path, "utf-8") from error
    del data
    keys = _Keys(source, text, known)
    for index, item in enumerate(_Document(source.path, text).users()):
        yield index, _Entry(place(source, key, index), item).person(keys)


class _Keys:
    """The keys to look at. One that the whole document never mentions is None: it says nothing."""

    def __init__(self, source: JsonSource, text: str, known: Collection[str]) -> None:
        def mentioned(key: str) -> bool:
            return f'"{key}"' in text or json.dumps(key) in text

        def optional(key: str) -> str | None:
            name: str = getattr(source, key)
            return name if key in source.model_fields_set or mentioned(name) else None

        self.username = source.username
        self.id = optional("id")
        self.active = optional("active")
        self.groups = optional("groups")
        mapped = {attribute: key for key, attribute in source.attributes.items()}
        self.attributes = {key: key for key in known if mentioned(key)} | mapped


class _Document:
    """The text of the file, read from the left; holds one decoded user at a time."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._text = text
        self._at = 0
        self._decoder = json.JSONDecoder(parse_constant=_refuse_constant)

    def users(self) -> Iterator[Any]:
        if self._peek() == "[":
            yield from self._list()
        elif self._peek() == "{":
            yield from self._under_users()
        else:
            self._fail("neither a list of users nor an object with the key users")
        if self._peek():
            self._fail("more text after the end of the document")

    def _under_users(self) -> Iterator[Any]:
        self._at += 1
        found = False
        while self._peek() != "}" or not found:
            key = self._value() if self._peek() == '"' else self._fail("no key users")
            self._expect(":")
            if key != "users":
                self._value()
            elif self._peek() != "[" or found:
                self._fail("users is not one list")
            else:
                found = True
                yield from self._list()
            if self._peek() != "}":
                self._expect(",")
        self._at += 1

    def _list(self) -> Iterator[Any]:
        self._at += 1
        if self._peek() != "]":
            yield self._value()
            while self._peek() != "]":
                self._expect(",")
                yield self._value()
        self._at += 1

    def _peek(self) -> str:
        if blank := _BLANK.match(self._text, self._at):
            self._at = blank.end()
        return self._text[self._at : self._at + 1]

    def _expect(self, char: str) -> None:
        if self._peek() != char:
            self._fail(f"{char!r} expected")
        self._at += 1

    def _value(self) -> Any:
        self._peek()
        try:
            value, self._at = self._decoder.raw_decode(self._text, self._at)
        except json.JSONDecodeError as error:
            self._at = error.pos
            self._fail(error.msg[:1].lower() + error.msg[1:])
        except RecursionError:
            self._fail("nested too deeply")
        except ValueError as error:
            self._fail(str(error))
        return value

    def _fail(self, message: str) -> NoReturn:
        line = self._text.count("\n", 0, self._at) + 1
        column = self._at - self._text.rfind("\n", 0, self._at)
        if self._at >= len(self._text):
            message = "the file ends in the middle" if self._text.strip() else "the file is empty"
        raise SourceError(
            f"{self._path}:{line}:{column}: {message}",
            hint='the file must be complete JSON: a list of users, or {"users": [ … ]}',
        )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


class _Entry:
    """One element of the list, its types checked key by key."""

    def __init__(self, where: str, item: Any) -> None:
        self._where = where
        if not isinstance(item, dict):
            raise SourceError(f"{where}: not an object", hint="each user is an object with keys")
        self._item: dict[str, Any] = item

    def person(self, keys: _Keys) -> Person:
        username = self._name(keys.username)
        return Person(
            source_id=self._id(keys.id) if keys.id else username,
            username=username,
            active=self._flag(keys.active) if keys.active else None,
            groups=self._groups(keys.groups) if keys.groups else None,
            attributes={
                attribute: self._attribute(key) for attribute, key in keys.attributes.items()
            },
        )

    def _name(self, key: str) -> str:
        if key not in self._item:
            self._fail(key, "missing")
        name = tidy(self._text(key, self._item[key]))
        if problem := name_problem(name):
            self._fail(key, problem)
        return name

    def _id(self, key: str) -> str:
        value = self._item.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return self._name(key)

    def _flag(self, key: str) -> bool:
        value = self._item.get(key)
        word = "" if value is None else json.dumps(value).strip('" ').lower()
        if word not in FLAGS:
            self._fail(key, "neither true nor false")
        return FLAGS[word]

    def _groups(self, key: str) -> frozenset[str]:
        value = self._item.get(key)
        if value is None:
            return frozenset()
        if not isinstance(value, list):
            self._fail(key, "not a list of names")
        names = set()
        for index, item in enumerate(value):
            name = tidy(self._text(f"{key}[{index}]", item))
            if problem := name_problem(name):
                self._fail(f"{key}[{index}]", problem)
            names.add(name)
        return frozenset(names)

    def _attribute(self, key: str) -> Any:
        value = self._item.get(key)
        self._check(key, value, 0)
        return None if value == "" else value

    def _check(self, key: str, value: Any, depth: int) -> None:
        if depth > DEPTH:
            self._fail(key, "nested too deeply")
        if isinstance(value, str):
            self._text(key, value)
        elif isinstance(value, dict):
            for inner, item in value.items():
                self._check(f"{key}.{self._text(key, inner)[:40]}", item, depth + 1)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                self._check(f"{key}[{index}]", item, depth + 1)

    def _text(self, key: str, value: Any) -> str:
        if not isinstance(value, str):
            self._fail(key, "not a string")
        if problem := text_problem(value):
            self._fail(key, problem)
        return value

    def _fail(self, key: str, message: str) -> NoReturn:
        raise SourceError(f"{self._where}.{key}: {message}", hint="correct the user in the source")
