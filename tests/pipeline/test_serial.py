"""What a pause saves comes back as it was, whatever it is; what cannot is refused by its place."""

import enum
import json
import math
import struct
import sys
from collections import OrderedDict, namedtuple
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svcctl.errors import PipelineError
from svcctl.pipeline import serial
from svcctl.pipeline.serial import Reference


@dataclass(frozen=True)
class User:
    id: int


@dataclass(frozen=True)
class Association:
    provider: str
    uid: str


def reference(value: Any) -> Reference | None:
    match value:
        case User():
            return "user", value.id
        case Association():
            return "association", f"{value.provider}:{value.uid}"
    return None


def resolve(reference: Reference) -> Any:
    match reference:
        case ("user", int(id)) if id >= 0:
            return User(id)
        case ("association", str(key)) if ":" in key:
            return Association(*key.split(":", 1))
    return None


def saved(value: Any) -> str:
    text = serial.dump(value, reference=reference)
    text.encode()
    return text


def restored(text: str) -> Any:
    return serial.load(text, resolve=resolve)


def image(value: Any) -> Any:
    """All that tells a value from another: equality would take True for 1, and nan for nothing."""
    match value:
        case float():
            return float, struct.pack(">d", value)
        case dict():
            pairs = [(image(key), image(item)) for key, item in value.items()]
            return type(value), pairs
        case list() | tuple():
            return type(value), [image(item) for item in value]
        case set() | frozenset():
            return type(value), sorted((image(item) for item in value), key=repr)
        case datetime() | time():
            return type(value), value.replace(tzinfo=None), value.fold, repr(value.tzinfo)
        case Decimal():
            return Decimal, value.as_tuple()
    return type(value), value


zones: st.SearchStrategy[tzinfo | None] = st.one_of(
    st.none(),
    st.just(UTC),
    st.sampled_from([ZoneInfo("Europe/Berlin"), ZoneInfo("Africa/Monrovia"), ZoneInfo("UTC")]),
    st.builds(
        timezone,
        st.timedeltas(
            min_value=timedelta(hours=-23, minutes=-59), max_value=timedelta(hours=23, minutes=59)
        ),
    ),
    st.just(timezone(timedelta(hours=2), "CEST")),
)


# One of hypothesis's warnings is about the length that strategies within strategies have as text:
# these are called by name.
@st.composite
def scalars(draw: st.DrawFn) -> Any:
    return draw(
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.integers().map(lambda number: number**9),
            st.floats(),
            st.text(st.characters(codec=None)),
            st.binary(),
            st.dates(),
            st.datetimes(timezones=zones, allow_imaginary=True),
            st.times(timezones=zones),
            st.timedeltas(),
            st.decimals().filter(lambda number: not number.is_snan()),  # has no hash
            st.uuids(),
            st.builds(User, st.integers(min_value=0, max_value=2**40)),
            st.builds(Association, st.just("github"), st.text(max_size=9)),
        )
    )


@st.composite
def hashables(draw: st.DrawFn) -> Any:
    return draw(
        st.recursive(
            scalars(),
            lambda inner: st.one_of(
                st.lists(inner, max_size=3).map(tuple), st.frozensets(inner, max_size=3)
            ),
            max_leaves=4,
        )
    )


values = st.recursive(
    hashables(),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.sets(hashables(), max_size=4),
        st.dictionaries(st.text(max_size=5), inner, max_size=4),
        st.dictionaries(hashables(), inner, max_size=4),
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(values)
def test_every_value_comes_back_as_it_was(value: Any) -> None:
    assert image(restored(saved(value))) == image(value)


@pytest.mark.parametrize(
    "value",
    [
        (1, [2, (3,)], {4: {"5": {6}}}),
        {True: 1, 2: False, "1": 1, None: 0},
        {"dict": {"items": [["tuple", {"record": ["user", 7]}]]}},
        [1, 1.0, True, -0.0, 0.1, 5e-324, 1e308, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1],
        [10**5000, -(10**5000)],
        [math.nan, math.inf, -math.inf],
        [Decimal(text) for text in ("NaN", "sNaN7", "-Infinity", "-0.00", "1E+99999")],
        ["\0", "\ud83d\ude00", "\U0001f600", "\udc00\ud800", "a\u2028b"],
        {"\ud800": 1, "x": 2},
        datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
        [date(1, 1, 1), time(23, 59, 59, 999999, tzinfo=UTC), timedelta.max, timedelta.min],
        {frozenset({(1, b"\xff")}): [set(), frozenset(), (), [], {}, b"", ""]},
        [User(7), {"owner": (User(7), Association("github", "a:b"))}],
    ],
)
def test_the_corners_of_types_come_back_as_they_were(value: Any) -> None:
    assert image(restored(saved(value))) == image(value)


def test_the_order_of_a_dict_is_kept_and_that_of_a_set_is_always_the_same() -> None:
    assert list(restored(saved({"b": 1, "a": 2}))) == ["b", "a"]
    assert saved({"x", "yy", "z", 1, None}) == saved({None, 1, "z", "yy", "x"})


def test_a_common_context_reads_like_json() -> None:
    assert json.loads(saved({"details": {"email": "a@example.org"}, "is_new": True})) == {
        "dict": {"details": {"dict": {"email": "a@example.org"}}, "is_new": True}
    }


class Photo:
    pass


class Colour(enum.StrEnum):
    RED = "red"


class Word(str):
    __slots__ = ()


class Headers(Mapping[str, str]):
    def __getitem__(self, key: str) -> str:
        raise KeyError(key)

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return 0


class Zone(tzinfo):
    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta()

    def dst(self, moment: datetime | None) -> timedelta:
        return timedelta()

    def tzname(self, moment: datetime | None) -> str:
        return "here"


Point = namedtuple("Point", "x y")  # noqa: PYI024 - the kind that is refused


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        (
            {"response": {"profile": {"photo": Photo()}}},
            "response.profile.photo: a Photo cannot be saved",
            "what can be saved: NoneType, bool, str, int",
        ),
        ({"a": [0, (1, Photo())]}, "a[1][1]: a Photo cannot be saved", "what can be saved"),
        ({"tags": {Photo()}}, "tags[0]: a Photo cannot be saved", "what can be saved"),
        ({"a": {Photo(): 1}}, 'a."(Photo)": a Photo cannot be saved', "what can be saved"),
        ({"a": {7: Photo()}}, "a[7]: a Photo cannot be saved", "what can be saved"),
        ({"colour": Colour.RED}, "colour: a Colour cannot be saved", "its value: member.value"),
        ({"a b": Word("x")}, '"a b": a Word cannot be saved', "a plain str"),
        ({"p": Point(1, 2)}, "p: a Point cannot be saved", "a plain tuple"),
        ({"d": OrderedDict(a=1)}, "d: an OrderedDict cannot be saved", "a plain dict: dict(...)"),
        ({"h": Headers()}, "h: a Headers cannot be saved", "a plain dict: dict(...)"),
        ({"f": print}, "f: a builtin_function_or_method cannot be saved", "what can be saved"),
        ({"i": iter([])}, "i: a list_iterator cannot be saved", "what can be saved"),
        (1j, "the context: a complex cannot be saved", "what can be saved"),
        (
            {"at": datetime(2026, 1, 1, tzinfo=Zone())},
            f"at: a time zone of {__name__} cannot be saved",
            "use datetime.timezone or zoneinfo.ZoneInfo",
        ),
    ],
)
def test_what_cannot_be_saved_is_refused_by_its_place(value: Any, message: str, hint: str) -> None:
    with pytest.raises(PipelineError) as raised:
        saved(value)
    assert raised.value.message == message
    assert hint in (raised.value.hint or "")


def test_depth_and_size_are_bounded() -> None:
    loop: dict[str, Any] = {}
    loop["me"] = loop
    with pytest.raises(PipelineError, match=r"^me\.me\.me: more than 64 levels deep$"):
        saved(loop)
    bomb: list[Any] = []
    for _ in range(60):
        bomb = [bomb, bomb]
    for value in (bomb, "x" * serial.MAX_SIZE, b"x" * serial.MAX_SIZE, 1 << 8 * serial.MAX_SIZE):
        with pytest.raises(PipelineError, match=r"^response: more than 1 MiB$"):
            saved({"response": value})
    with pytest.raises(PipelineError, match=r"^the context: more than 1 MiB$"):
        saved({"response": '"' * (serial.MAX_SIZE - 99)})
    largest = {"response": "x" * (serial.MAX_SIZE - 99)}
    assert restored(saved(largest)) == largest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the context: not as it was saved: no JSON at character 0"),
        ('{"dict":{"a":1}', "no JSON at character 15"),
        ("[" * 100_000, "nested too deeply"),
        ("[" * 66 + "]" * 66, "[0][0][0]: not as it was saved: more than 64 levels deep"),
        ('{"dict":{"a":NaN}}', "NaN is not a number that JSON has"),
        ("1e999", "1e999 is not a number that JSON has"),
        ("9" * 5000, "9999999999999999999999999999999999999999 is not a number that JSON has"),
        ("{}", "a table must have one key, the kind of the value"),
        ('{"tuple":[],"list":[]}', "a table must have one key, the kind of the value"),
        ('{"dict":{"a":1,"a":2}}', "a key is there twice"),
        (
            '{"dict":{"a":{"os.system":"id"}}}',
            "a: not as it was saved: no value of the kind os.system",
        ),
        ('{"dict":{"a":{"dict":[]}}}', "a: not as it was saved: no value of the kind dict"),
        ('{"items":[[1,2],[1,3]]}', "no value of the kind items"),
        ('{"items":[[1,2],[true,3]]}', "no value of the kind items"),
        ('{"items":[[1]]}', "no value of the kind items"),
        ('{"items":[[[],1]]}', "no value of the kind items"),
        ('{"set":[1,1]}', "no value of the kind set"),
        ('{"set":[[]]}', "no value of the kind set"),
        ('{"tuple":7}', "no value of the kind tuple"),
        ('{"bytes":"ä"}', "no value of the kind bytes"),
        ('{"bytes":7}', "no value of the kind bytes"),
        ('{"date":"2026-02-30"}', "no value of the kind date"),
        ('{"date":[]}', "no value of the kind date"),
        ('{"datetime":"2026-01-01"}', "no value of the kind datetime"),
        ('{"datetime":["2026-01-01T00:00:00+01:00",0,null]}', "no value of the kind datetime"),
        ('{"datetime":["2026-01-01T00:00:00",7,null]}', "no value of the kind datetime"),
        (
            '{"datetime":["2026-01-01T00:00:00",0,"../../../etc/passwd"]}',
            "no value of the kind datetime",
        ),
        ('{"datetime":["2026-01-01T00:00:00",0,"/etc/passwd"]}', "no value of the kind datetime"),
        ('{"datetime":["2026-01-01T00:00:00",0,"Europe"]}', "no value of the kind datetime"),
        ('{"datetime":["2026-01-01T00:00:00",0,[[9,0,0]]]}', "no value of the kind datetime"),
        ('{"timedelta":[999999999999,0,0]}', "no value of the kind timedelta"),
        ('{"timedelta":[1.5,0,0]}', "no value of the kind timedelta"),
        ('{"decimal":"0x1"}', "no value of the kind decimal"),
        ('{"uuid":"x"}', "no value of the kind uuid"),
        ('{"int":"1_0"}', "no value of the kind int"),
        ('{"float":"00"}', "no value of the kind float"),
        ('{"str":"ff"}', "no value of the kind str"),
        ('{"record":["user"]}', "no value of the kind record"),
        ('{"record":["user",true]}', "no value of the kind record"),
        ('{"record":[{"dict":{}},1]}', "no value of the kind record"),
    ],
)
def test_an_edited_text_is_refused_by_its_place(text: str, message: str) -> None:
    with pytest.raises(PipelineError) as raised:
        restored(text)
    assert message in raised.value.message
    assert raised.value.message.startswith(message.partition(":")[0]) or ":" not in message
    assert raised.value.hint == "abort it, and run the pipeline from the start"


@pytest.mark.parametrize("record", ['["user",-1]', '["session",1]', '["user","7"]'])
def test_a_record_that_is_gone_is_an_error_and_not_nobody(record: str) -> None:
    with pytest.raises(PipelineError, match=r"^user: there is no \w+ \S+ any more$"):
        restored('{"dict":{"user":{"record":%s}}}' % record)  # noqa: UP031 - braces abound


documents = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.uuids()
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(
                st.sampled_from(
                    ["dict", "items", "tuple", "set", "frozenset", "record", "str", "int", "float"]
                ),
                st.sampled_from(
                    ["bytes", "date", "datetime", "time", "timedelta", "decimal", "uuid"]
                ),
                st.text(max_size=3),
            ),
            inner,
            max_size=2,
        ),
    ),
    max_leaves=10,
)


@settings(max_examples=100, deadline=None)
@given(documents)
def test_whatever_is_read_is_a_value_or_an_error_that_is_ours(document: Any) -> None:
    before = set(sys.modules)
    try:
        value = restored(json.dumps(document, default=UUID.__str__))
    except PipelineError:
        value = None
    assert image(restored(saved(value))) == image(value)
    assert not {name for name in set(sys.modules) - before if not name.startswith("encodings")}


def test_a_fault_of_the_one_who_resolves_is_not_taken_for_damage() -> None:
    def broken(reference: Reference) -> Any:
        raise LookupError(reference)

    with pytest.raises(LookupError):
        serial.load('{"dict":{"users":[{"record":["user",7]}]}}', resolve=broken)
