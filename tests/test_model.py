"""Canonical JSON."""

from svcctl.model import to_json


def test_equal_values_give_equal_text() -> None:
    assert to_json({"b": frozenset({"z", "a"}), "a": 1}) == to_json({"a": 1, "b": ["a", "z"]})
    assert to_json({"name": "Jürgen"}) == '{"name":"Jürgen"}'


def test_what_no_database_keeps_is_escaped() -> None:
    text = to_json({"name": "\udcff and ü"})
    assert text == '{"name":"\\udcff and \\u00fc"}'
    assert text.encode()
