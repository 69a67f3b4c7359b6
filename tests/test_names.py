import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcctl.errors import Invalid
from svcctl.model import User
from svcctl.names import ATTRIBUTES, PLACEHOLDERS, NameFormat, NameRule

# The user of the case table in the facts about Alliance Auth, §5.
NF = User(
    id=1,
    username="nf",
    attributes={
        "character_id": 1003,
        "character_name": "Nf Main",
        "corp_id": 2001,
        "corp_name": "Wayne Tech",
        "corp_ticker": "WYT",
        "alliance_id": 3001,
        "alliance_name": "Justice",
        "alliance_ticker": "",
    },
)
GUEST = User(id=2, username="guesty")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("[{corp_ticker}] {character_name}", "[WYT] Nf Main"),
        ("[{corp_ticker}]{character_name}", "[WYT]Nf Main"),
        ("{alliance_ticker} - {character_name}", "- Nf Main"),
        ("{character_id}/{corp_id}/{alliance_id}", "1003/2001/3001"),
        ("  {character_name}  ", "Nf Main"),
        ("{character_name!r}", "'Nf Main'"),
        ("{username}", "nf"),
        ("{alliance_or_corp_name}", "Justice"),
        ("{alliance_or_corp_ticker}", "WYT"),
        ("|{character_id:>8}", "|    1003"),
        ("{character_name:.2}", "Nf"),
        ("{character_name:*^11}", "**Nf Main**"),
        ("{corp_ticker!a:05}", "'WYT'"),
        ("{{{corp_ticker}}} 100%", "{WYT} 100%"),
        ("", ""),
    ],
)
def test_a_format_gives_the_name_that_alliance_auth_gives(text: str, name: str) -> None:
    assert NameFormat(text).render(NF) == name


def test_the_username_stands_beside_other_fields() -> None:
    user = User(id=3, username="auth_member", attributes={"character_id": 1234})
    assert NameFormat("{character_id} test {username}").render(user) == "1234 test auth_member"


def test_without_an_alliance_its_fields_are_empty() -> None:
    alone = User(
        id=4, username="nf", attributes={"character_name": "Nf Main", "alliance_ticker": None}
    )
    assert NameFormat("[{alliance_ticker}] {character_name}").render(alone) == "[] Nf Main"


def test_a_user_without_a_character_is_called_by_the_username_unless_told_otherwise() -> None:
    name_format = NameFormat("{character_name}")
    assert name_format.render(GUEST) == "guesty"
    assert name_format.render(GUEST, default_to_username=False) == ""


def test_only_the_character_name_falls_back_to_the_username() -> None:
    assert NameFormat("{corp_name}{email}{alliance_or_corp_name}").render(GUEST) == ""


def test_the_alliance_comes_before_the_corporation_and_the_corporation_stands_in() -> None:
    corp_only = User(id=5, username="x", attributes={"corp_name": "Wayne Tech", "corp_ticker": "W"})
    text = "{alliance_or_corp_name} {alliance_or_corp_ticker}"
    assert NameFormat(text).render(corp_only) == "Wayne Tech W"


def test_an_attribute_cannot_pose_as_the_username() -> None:
    user = User(id=6, username="real", attributes={"username": "root"})
    assert NameFormat("{username}").render(user) == "real"


def test_a_value_that_looks_like_a_format_stays_text() -> None:
    hostile = "{username} {0} %s %(x)s {character_name.__class__}"
    user = User(id=7, username="u", attributes={"character_name": hostile, "corp_name": hostile})
    assert NameFormat("<{character_name}|{corp_name:}>").render(user) == f"<{hostile}|{hostile}>"


def test_a_value_that_is_a_list_or_table_is_empty() -> None:
    user = User(id=8, username="u", attributes={"a": ["x"], "b": {"x": 1}, "c": True, "d": 1.5})
    assert NameFormat("{a}|{b}|{c}|{d}").render(user) == "||True|1.5"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{}", "position 1: {}: a positional field; allowed: names, like {character_name}"),
        ("a {0}", "position 3: {0}: a positional field; allowed: names, like {character_name}"),
        ("{!r}", "position 1: {!r}: a positional field; allowed: names, like {character_name}"),
        (
            "{character_name.__class__}",
            (
                "position 1: {character_name.__class__}: attributes and items of a value are "
                "out of reach; allowed: a name alone"
            ),
        ),
        (
            "{a[0]}",
            (
                "position 1: {a[0]}: attributes and items of a value are out of reach; "
                "allowed: a name alone"
            ),
        ),
        ("{character_name", "position 1: '{' is not closed; write '{{' for a brace"),
        ("x{a{b}", "position 2: '{' is not closed; write '{{' for a brace"),
        ("{a} }", "position 5: '}' closes nothing; write '}}' for a brace"),
        (
            "{a:{b}}",
            "position 1: a placeholder inside a format spec; write the width as a number",
        ),
        ("{a:>65}", "position 1: {a:>65}: width 65; at most 64"),
        ("{a:.99999999999}", "position 1: {a:.99999999999}: precision 99999999999; at most 64"),
        ("{a!x}", "position 1: {a!x}: an unknown conversion; allowed: !r, !s, !a"),
        ("{a!}", "position 1: {a!}: an unknown conversion; allowed: !r, !s, !a"),
        (
            "{a:d}",
            (
                "position 1: {a:d}: not a format spec for text; "
                "allowed: [[fill]<>^][width][.precision]"
            ),
        ),
        (
            "{a:=5}",
            (
                "position 1: {a:=5}: not a format spec for text; "
                "allowed: [[fill]<>^][width][.precision]"
            ),
        ),
        ("x" * 201, "a name format of 201 characters; at most 200"),
    ],
)
def test_a_wrong_format_is_refused_with_the_place_and_what_is_allowed(
    text: str, problem: str
) -> None:
    with pytest.raises(ValueError) as refusal:
        NameFormat(text)
    assert str(refusal.value) == problem


def test_the_widest_width_and_the_longest_format_are_accepted() -> None:
    assert len(NameFormat("{username:_>64}").render(NF)) == 64
    assert NameFormat("x" * 200).render(NF) == "x" * 200


def test_the_fields_of_a_format_are_known() -> None:
    assert NameFormat("{{x}} {corp_ticker} {username!r:>9}").fields == {"corp_ticker", "username"}


def test_formats_of_the_same_text_are_equal() -> None:
    assert NameFormat("{username}") == NameFormat("{username}")
    assert len({NameFormat("{username}"), NameFormat("{username}"), NameFormat("{email}")}) == 2


def test_the_eleven_placeholders_and_the_mail_address_are_always_known() -> None:
    assert len(PLACEHOLDERS) == 11
    text = " ".join(f"{{{name}}}" for name in PLACEHOLDERS | {"email"})
    NameFormat(text).check()
    assert {"email"} == ATTRIBUTES - PLACEHOLDERS


def test_a_mistyped_placeholder_is_answered_with_the_closest_one() -> None:
    with pytest.raises(ValueError) as refusal:
        NameFormat("{username} {corp_tiker}").check(frozenset())
    assert str(refusal.value) == "{corp_tiker}: no such placeholder; did you mean {corp_ticker}?"


def test_a_placeholder_like_no_other_is_answered_with_all_that_are_allowed() -> None:
    with pytest.raises(ValueError, match=r"\{xyzzy\}: no such placeholder; allowed: alliance_id, "):
        NameFormat("{xyzzy}").check(frozenset({"department"}))


def test_an_attribute_of_the_directory_is_a_placeholder() -> None:
    NameFormat("{department}").check(frozenset({"department"}))


@given(text=st.text(alphabet="{}:!.[]<>^%0159ab_ rsd\n") | st.text())
def test_what_is_accepted_renders_and_never_reaches_into_a_value(text: str) -> None:
    try:
        name_format = NameFormat(text)
    except ValueError:
        return
    assert not any(set(field) & set(".[]{}") or field.isdigit() for field in name_format.fields)
    values = dict.fromkeys(name_format.fields, "<{0.__class__}%s>")
    rendered = name_format.render(User(id=1, username="<{0.__class__}%s>", attributes=values))
    # Accepted formats are a subset of Python's own, where values are text.
    assert rendered == text.format_map(values).strip()


@given(value=st.text())
def test_a_value_comes_out_as_it_went_in(value: str) -> None:
    user = User(id=1, username=value, attributes={"corp_name": value})
    assert NameFormat("<{corp_name}|{username}>").render(user) == f"<{value}|{value}>"


# The rules of the services in the case table, rows 22 to 29, as a hook declares them.
UNDERSCORE = {" ": "_"}
DISCOURSE_USER = NameRule(
    replace=UNDERSCORE, characters="A-Za-z0-9_", strip="_", max_length=20, case_sensitive=False
)
FORUM_USER = NameRule(replace={" ": "_", "'": "_"}, lower=True)
MUMBLE_USER = NameRule(replace=UNDERSCORE)
TEAMSPEAK_USER = NameRule(replace={" ": "_", "'": "-"}, max_length=30)
DISCOURSE_GROUP = NameRule(characters="A-Za-z0-9_", max_length=20, case_sensitive=False)
OPENFIRE_GROUP = NameRule(characters=r"\w.-", strip=" _", lower=True)
FORUM_GROUP = NameRule(characters=r"\w.-")
MUMBLE_GROUP = NameRule(replace={" ": "-"})
DISCORD_ROLE = NameRule(max_length=100)
DISCORD_NICK = NameRule(min_length=0, max_length=32)
MEDIAWIKI_USER = NameRule(
    replace={"_": " "}, characters=r"\w '", squeeze=" ", upper_first=True, max_bytes=20
)

CASES = [
    (DISCOURSE_USER, "Bruce Wayne", "Bruce_Wayne"),
    (DISCOURSE_USER, "O'Neil", "ONeil"),
    (DISCOURSE_USER, "_ Leading_", "Leading"),
    (DISCOURSE_USER, "Averyveryverylongcharacternamethatgoes", "Averyveryverylongcha"),
    (FORUM_USER, "O'Neil", "o_neil"),
    (FORUM_USER, "[WYT] Bruce Wayne", "[wyt]_bruce_wayne"),
    (MUMBLE_USER, "a b'c", "a_b'c"),
    (TEAMSPEAK_USER, "a b'c", "a_b-c"),
    (TEAMSPEAK_USER, "Averyveryverylongcharacternamethatgoes", "Averyveryverylongcharactername"),
    (DISCOURSE_GROUP, "Corp & Co.", "CorpCo"),
    (OPENFIRE_GROUP, "Corp & Co.", "corpco."),
    (FORUM_GROUP, "Corp & Co.", "CorpCo."),
    (MUMBLE_GROUP, "Corp & Co.", "Corp-&-Co."),
    (DISCOURSE_GROUP, "FC-Team", "FCTeam"),
    (OPENFIRE_GROUP, "FC-Team", "fc-team"),
    (FORUM_GROUP, "FC-Team", "FC-Team"),
    (MUMBLE_GROUP, "FC-Team", "FC-Team"),
    (DISCOURSE_GROUP, "X" * 25, "X" * 20),
    (DISCORD_ROLE, "x" * 110, "x" * 100),
    (DISCORD_NICK, "x" * 40, "x" * 32),
    (MEDIAWIKI_USER, "bruce_wayne", "Bruce wayne"),
    (MEDIAWIKI_USER, " _ ada _@ _ king", "Ada king"),
    (MEDIAWIKI_USER, "o''neil", "O''neil"),
    (MEDIAWIKI_USER, "ß", "ß"),
    (MEDIAWIKI_USER, "ɐ" + "x" * 30, "Ɐ" + "x" * 17),
]


@pytest.mark.parametrize(("rule", "name", "result"), CASES)
def test_a_rule_gives_the_name_that_the_service_takes(
    rule: NameRule, name: str, result: str
) -> None:
    assert rule.apply(name) == result


def test_a_name_of_which_nothing_is_left_is_refused_with_the_rule() -> None:
    with pytest.raises(Invalid) as refusal:
        NameRule(characters="a-z").apply("!!!")
    assert str(refusal.value) == (
        "'!!!': nothing is left of it, the service wants 1 or more characters, allowed are a-z"
    )


def test_a_name_that_is_too_short_is_refused() -> None:
    with pytest.raises(Invalid, match=r"^'Al': only 'Al' is left of it, .* 3 or more characters$"):
        NameRule(min_length=3).apply("Al")


def test_an_empty_name_is_fine_where_the_rule_says_so() -> None:
    assert NameRule(min_length=0).apply("") == ""


def test_a_reserved_name_is_refused_whatever_it_was_made_from() -> None:
    with pytest.raises(Invalid, match=r"^'Ad min': 'Admin' is reserved on this service$"):
        NameRule(replace={" ": ""}, reserved=frozenset({"Admin"})).apply("Ad min")


def test_reserved_names_follow_the_case_rule_of_the_service() -> None:
    reserved = frozenset({"Admin"})
    assert NameRule(reserved=reserved).apply("admin") == "admin"
    with pytest.raises(Invalid, match="is reserved"):
        NameRule(reserved=reserved, case_sensitive=False).apply("ADMIN")


def test_the_message_about_an_endless_name_is_short() -> None:
    with pytest.raises(Invalid) as refusal:
        NameRule(characters="a").apply("b" * 100_000)
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize(
    "unseen",
    ["\0", "\n", "\x1b", "\u202e", "\u2066", "\u200b", "\u200d", "\ufeff", "\xad", "\ud800"],
)
def test_characters_that_nobody_sees_are_dropped(unseen: str) -> None:
    assert NameRule().apply(f"ad{unseen}a") == "ada"


def test_two_spellings_of_the_same_letter_are_one_name() -> None:
    assert NameRule().apply("Rene\u0301") == "Ren\u00e9"
    assert NameRule().apply("Rene\u200b\u0301") == "Ren\u00e9"


def test_a_cut_by_bytes_never_splits_a_character() -> None:
    assert NameRule(max_bytes=5).apply("ééé") == "éé"
    assert NameRule(max_bytes=5).apply("a😀😀") == "a😀"


def test_a_cut_leaves_no_blank_at_the_end() -> None:
    assert NameRule(max_length=6).apply("Bruce Wayne") == "Bruce"


def test_names_are_compared_without_case_where_the_service_does() -> None:
    assert NameRule().key("Ada") != NameRule().key("ada")
    rule = NameRule(case_sensitive=False)
    assert rule.key("ADA") == rule.key("ada")
    assert rule.key("STRASSE") == rule.key("straße")
    assert rule.key("RENE\u0301") == rule.key("ren\u00e9")


def test_only_the_first_letter_is_compared_without_case_where_it_is_a_capital() -> None:
    assert MEDIAWIKI_USER.key("ada King") == MEDIAWIKI_USER.key("Ada King")
    assert MEDIAWIKI_USER.key("ada king") != MEDIAWIKI_USER.key("Ada King")
    assert MEDIAWIKI_USER.key("E\u0301a") == MEDIAWIKI_USER.key("\u00e9a")
    assert MEDIAWIKI_USER.key("") == ""


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"characters": "a]b["}, r"characters: 'a]b[' does not stay within [ ]; write \] for a ]"),
        ({"characters": "z-a"}, "characters: [z-a] is no character class: "),
        ({"characters": ""}, "characters: '' does not stay within"),
        ({"replace": {"ab": "c"}}, "replace: 'ab' is not a single character"),
        ({"replace": {"a": "b", "b": "c"}}, "replace: 'a' becomes 'b', which is replaced itself"),
        ({"replace": {"a": "aa"}}, "replace: 'a' becomes 'aa', which is replaced itself"),
        ({"replace": {"a": "A"}, "lower": True}, "replace: 'a' becomes 'A', which is replaced"),
        ({"lower": True, "upper_first": True}, "lower and upper_first contradict each other"),
        ({"min_length": 3, "max_length": 2}, "a name of at most 2 cannot have 3 or more"),
    ],
)
def test_a_rule_that_contradicts_itself_is_refused(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(problem)):
        NameRule(**arguments)


def test_rules_are_equal_and_hashable_and_cannot_be_changed() -> None:
    rule = NameRule(replace={" ": "_"})
    assert rule == NameRule(replace={" ": "_"})
    assert hash(rule) == hash(NameRule(replace={" ": "_"}))
    with pytest.raises(TypeError):
        rule.replace["a"] = "b"  # type: ignore[index]


RULES = st.builds(
    lambda *, lower, upper_first, **more: NameRule(
        lower=lower, upper_first=upper_first and not lower, **more
    ),
    replace=st.sampled_from([{}, UNDERSCORE, {" ": "_", "'": "-"}, {"é": "e", "ß": "ss"}]),
    characters=st.sampled_from([None, r"\w.-", "A-Za-z0-9_", "a-z", r"\w \[\]'\u0300-\u036f"]),
    lower=st.booleans(),
    strip=st.sampled_from(["", " ", " _", "._-"]),
    min_length=st.integers(0, 3),
    max_length=st.none() | st.integers(3, 30),
    reserved=st.sampled_from([frozenset(), frozenset({"admin", "Root"})]),
    case_sensitive=st.booleans(),
    max_bytes=st.none() | st.integers(3, 30),
    squeeze=st.sampled_from(["", " ", "-^]", "é "]),
    upper_first=st.booleans(),
)
NAMES = st.text(max_size=60) | st.text(
    alphabet="Aa bé'e\u0301_.-ßΣİ\u200b\u202e\0ﬁ\u212b[]", max_size=60
)


@given(rule=RULES, name=NAMES)
def test_what_a_rule_gives_fits_the_rule_and_applying_it_again_changes_nothing(
    rule: NameRule, name: str
) -> None:
    try:
        result = rule.apply(name)
    except Invalid as refusal:
        assert "no end" not in str(refusal)  # noqa: PT017 - most refusals are right
        return
    assert rule.apply(result) == result
    assert unicodedata.is_normalized("NFC", result)
    assert not set(result) & set(rule.replace)
    assert result == result.strip(rule.strip)
    assert len(result) >= rule.min_length
    assert rule.max_length is None or len(result) <= rule.max_length
    assert rule.max_bytes is None or len(result.encode()) <= rule.max_bytes
    assert rule.characters is None or re.fullmatch(f"[{rule.characters}]*", result)
    assert not rule.lower or result == result.lower()
    if rule.upper_first and rule.characters != "a-z":
        assert len(result[:1].upper()) > 1 or result[:1] == result[:1].upper()
    assert not any(one * 2 in result for one in rule.squeeze)
    assert rule.key(result) not in {rule.key(reserved) for reserved in rule.reserved}
    assert not {"Cc", "Cs", "Zl", "Zp"} & set(map(unicodedata.category, result))


@given(name=st.text(), other=st.text())
def test_names_that_fold_together_have_one_key(name: str, other: str) -> None:
    rule = NameRule(case_sensitive=False)
    assert rule.key(name) == rule.key(rule.key(name))
    if unicodedata.normalize("NFD", name) == unicodedata.normalize("NFD", other):
        assert rule.key(name) == rule.key(other)
