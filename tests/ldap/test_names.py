"""What a name or a value holds never changes what a DN or a filter means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldap3.operation.search import parse_filter
from ldap3.protocol.convert import prepare_filter_for_sending

from svcctl.ldap.names import dn_key, domain, equals, first_value, rdn

VALUES = st.text(st.characters(codec="utf-8"), min_size=1)


@pytest.mark.parametrize(
    ("value", "escaped"),
    [
        ("ada", "uid=ada"),
        ("ada, of house+1", r"uid=ada\2c of house\2b1"),
        (" ada ", r"uid=\20ada\20"),
        ("#1", r"uid=\231"),
        ("a#1", "uid=a#1"),
        ('"<>;=\\', r"uid=\22\3c\3e\3b\3d\5c"),
        ("ada\0", r"uid=ada\00"),
        ("jürgen 😀", "uid=jürgen 😀"),
        (" ", r"uid=\20"),
    ],
)
def test_a_value_in_a_dn_is_escaped(value: str, escaped: str) -> None:
    assert rdn("uid", value) == escaped


@given(VALUES)
def test_a_value_comes_out_of_a_dn_as_it_went_in(value: str) -> None:
    dn = f"{rdn('uid', value)},ou=people,dc=example,dc=org"
    assert first_value(dn) == value
    assert dn.endswith(",ou=people,dc=example,dc=org")
    assert domain(dn) == "example.org"


@given(VALUES)
def test_a_value_in_a_filter_stays_a_value(value: str) -> None:
    """Read by the parser that sends it."""
    tree = parse_filter(  # type: ignore[no-untyped-call]
        equals("uid", value),
        None,
        auto_escape=False,
        auto_encode=False,
        validator=None,
        check_names=False,
    )
    (node,) = tree.elements
    assert node.assertion["attr"] == "uid"
    sent = prepare_filter_for_sending(node.assertion["value"])  # type: ignore[no-untyped-call]
    assert sent == value.encode()


def test_octets_go_into_a_filter_one_by_one() -> None:
    assert equals("objectGUID", b"\x00A*\xff") == r"(objectGUID=\00A\2a\ff)"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("uid=Ada,OU=People,dc=example", "UID=ada, ou=people , DC=Example"),
        (r"cn=Lovelace\, Ada,dc=x", r"CN=lovelace\2c ada,DC=x"),
        ("cn=a+sn=b,dc=x", "SN=B+CN=A,dc=x"),
        (r"cn=j\c3\bcrgen,dc=x", "cn=Jürgen,dc=x"),
        (r"cn=a\ ,dc=x", r"cn=a\20,dc=x"),
    ],
)
def test_the_same_name_written_differently(one: str, other: str) -> None:
    assert dn_key(one) == dn_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("uid=ada,dc=x", "uid=ada,dc=y"),
        (r"cn=a\,cn=b,dc=x", "cn=a,cn=b,dc=x"),
        ("cn=ada,dc=x", "uid=ada,dc=x"),
    ],
)
def test_different_names(one: str, other: str) -> None:
    assert dn_key(one) != dn_key(other)
