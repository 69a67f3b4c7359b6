"""Canonical JSON."""

from hypothesis import example, given
from hypothesis import strategies as st

from svcctl.model import names_to_json, to_json


def test_equal_values_give_equal_text() -> None:
    assert to_json({"b": frozenset({"z", "a"}), "a": 1}) == to_json({"a": 1, "b": ["a", "z"]})
    assert to_json({"name": "Jürgen"}) == '{"name":"Jürgen"}'


def test_what_no_database_keeps_is_escaped() -> None:
    text = to_json({"name": "\udcff and ü"})
    assert text == '{"name":"\\udcff and \\u00fc"}'
    assert text.encode()


@given(st.frozensets(st.text()))
@example(frozenset({'","'}))
@example(frozenset({"\\"}))
@example(frozenset({""}))
@example(frozenset({"\udcff"}))
def test_names_are_written_as_any_json_is(names: frozenset[str]) -> None:
    assert names_to_json(names) == to_json(names)
