"""Associations under an earlier identifier: found, shown to be the person's, or refused."""

import json
from collections.abc import Callable, Iterator
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from social_core.backends.base import BaseAuth
from social_core.backends.fence import Fence
from social_core.backends.google import GoogleOAuth2
from social_core.exceptions import AuthConfigurationError

from svcctl.errors import Refused
from svcctl.pipeline.interface import same
from svcctl.pipeline.steps.social import social_uid, social_user

if TYPE_CHECKING:
    from tests.pipeline.grounds import Ground

OLD = [("email", "old@example.org")]
UNVERIFIED = "ALLOW_UNVERIFIED_LEGACY_UID_MIGRATION"


class Moving(BaseAuth[Any]):
    """A provider that used to know people by their address."""

    name = "moving"
    ID_KEY = "stable_id"
    LEGACY_ID_KEYS = ("email",)

    def __init__(self, strategy: Any) -> None:
        super().__init__(strategy)
        self.warnings: list[str] = []

    def log_warning(self, message: str, *arguments: Any) -> None:
        self.warnings.append(message % arguments)


@pytest.fixture
def moving(ground: "Ground") -> Any:
    """The provider."""
    return ground.backend(Moving)


Old = Callable[..., Any]


@pytest.fixture
def old(ground: "Ground") -> Old:
    """An association of an earlier time, by default under the address and with nothing to show."""
    ada = ground.user("ada")

    def make(
        uid: str = "old@example.org", key: str = "email", provider: str = "moving", **extra: Any
    ) -> Any:
        return ground.association(ada, uid, key, provider, **extra)

    return make


def login(backend: Any, uid: str = "stable", **context: Any) -> dict[str, Any]:
    given = {"id_key": "stable_id", "legacy_identifiers": OLD, **context}
    result: dict[str, Any] = social_user(backend, uid, **given)
    return result


def place(social: Any) -> tuple[str, str]:
    return social.uid, social.id_key


def refused(backend: Any, because: str | None = None, **context: Any) -> None:
    with pytest.raises(Refused, match=because) as error:
        login(backend, **context)
    assert error.value.code == "identifier_migration_conflict"
    assert UNVERIFIED in str(error.value.hint)


# What is found


@pytest.mark.parametrize("key", ["email", ""])
def test_an_association_that_shows_the_uid_moves_to_it(moving: Any, old: Old, key: str) -> None:
    social = old(key=key, stable_id="stable")
    result = login(moving)
    assert same(result["social"], social)
    assert (result["is_new"], result["new_association"]) == (False, False)
    assert place(social) == ("stable", "stable_id")
    assert moving.warnings == []


def test_identifiers_may_have_been_through_json(moving: Any, old: Old) -> None:
    social = old(stable_id="stable")
    pairs = json.loads(json.dumps(OLD))
    assert same(login(moving, legacy_identifiers=pairs)["social"], social)


def test_evidence_may_be_a_number(moving: Any, old: Old) -> None:
    social = old(stable_id=123)
    assert same(login(moving, "123")["social"], social)


def test_one_association_that_several_identifiers_find_is_one(moving: Any, old: Old) -> None:
    social = old(key="", stable_id="stable")
    both = [*OLD, ("login", "old@example.org")]
    assert same(login(moving, legacy_identifiers=both)["social"], social)


@pytest.mark.parametrize("ground", ["memory"], indirect=True)
def test_one_row_that_was_loaded_twice_is_one(
    ground: "Ground", moving: Any, old: Old, monkeypatch: pytest.MonkeyPatch
) -> None:
    social = old(key="", stable_id="stable")

    def loaded(provider: str, uid: str, id_key: str | None = None) -> Any:
        return SimpleNamespace(**vars(social)) if id_key == "" and uid != "stable" else None

    monkeypatch.setattr(ground.users, "get_social_auth", loaded)
    both = [*OLD, ("login", "older@example.org")]
    assert login(moving, legacy_identifiers=both)["social"].uid == "stable"


def test_the_uid_of_today_needs_no_look_at_earlier_ones(
    ground: "Ground", moving: Any, old: Old, monkeypatch: pytest.MonkeyPatch
) -> None:
    social = old("stable", "stable_id")
    asked = []
    find = ground.users.get_social_auth

    def noted(*arguments: Any, **named: Any) -> Any:
        asked.append((arguments, named))
        return find(*arguments, **named)

    monkeypatch.setattr(ground.users, "get_social_auth", noted)
    assert same(login(moving)["social"], social)
    assert asked == [(("moving", "stable"), {"id_key": "stable_id"})]


def test_an_identifier_that_was_given_up_finds_nobody(moving: Any, old: Old) -> None:
    old("previous@example.org", stable_id="stable")
    assert login(moving)["is_new"]


def test_who_gets_an_old_address_later_does_not_get_the_association(moving: Any, old: Old) -> None:
    old(stable_id="stable")
    login(moving)
    assert login(moving, "somebody else")["social"] is None


def test_a_uid_none_of_an_earlier_defect_matches_nobody(moving: Any, old: Old) -> None:
    poisoned = old("None", "")
    identifiers = social_uid(moving, {}, {"stable_id": "stable", "email": "new@example.org"})
    assert social_user(moving, **identifiers)["is_new"]
    assert place(poisoned) == ("None", "")


# What is refused


def test_nothing_to_show_is_refused(moving: Any, old: Old) -> None:
    social = old()
    refused(moving, "^moving: uid stable: nothing shows that old@example.org was the same person$")
    assert place(social) == ("old@example.org", "email")


@pytest.mark.parametrize("value", ["other", None, True, [], {}, ""])
def test_evidence_of_somebody_else_is_refused_whatever_the_settings_say(
    ground: "Ground", moving: Any, old: Old, value: Any
) -> None:
    ground.configure(**{f"SOCIAL_AUTH_{UNVERIFIED}": True})
    social = old(stable_id=value)
    refused(moving, "old@example.org was somebody else: its stable_id is another one$")
    assert place(social) == ("old@example.org", "email")


@pytest.mark.parametrize("value", [None, True, 1.0, [1], {"a": 1}])
def test_evidence_that_only_looks_like_the_uid_when_it_is_written_out_is_none(
    moving: Any, old: Old, value: Any
) -> None:
    old(stable_id=value)
    refused(moving, "was somebody else", uid=str(value))


@pytest.mark.parametrize("ground", ["memory"], indirect=True)
def test_an_association_without_any_extra_data_shows_nothing(moving: Any, old: Old) -> None:
    old().extra_data = None
    refused(moving, "nothing shows")


def test_several_associations_are_refused_and_named(moving: Any, old: Old) -> None:
    old(stable_id="stable")
    old("old-name", "login", stable_id="stable")
    refused(
        moving,
        "several earlier associations match: old-name, old@example.org$",
        legacy_identifiers=[*OLD, ("login", "old-name")],
    )


def test_the_wrong_user_logged_in_changes_nothing(ground: "Ground", moving: Any, old: Old) -> None:
    social = old(stable_id="stable")
    with pytest.raises(Refused, match="belongs to ada, not to bob") as error:
        login(moving, user=ground.user("bob"))
    assert error.value.code == "identity_in_use"
    assert place(social) == ("old@example.org", "email")


def test_a_uid_that_was_taken_meanwhile_or_evidence_that_changed_is_refused(
    ground: "Ground", moving: Any, old: Old, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(failure: Exception) -> None:
        def migrate(*arguments: Any, **named: Any) -> Any:
            raise failure

        monkeypatch.setattr(ground.users, "migrate_social_auth", migrate)

    old(stable_id="stable")
    for failure in (ground.taken("stable"), ValueError("the evidence changed")):
        failing(failure)
        refused(moving, "the association changed, or another one has it$")
    failing(OSError("the disk is gone"))
    with pytest.raises(OSError, match="the disk is gone"):
        login(moving)


# Who vouches


@pytest.mark.parametrize("setting", [f"SOCIAL_AUTH_MOVING_{UNVERIFIED}", UNVERIFIED])
def test_an_operator_may_believe_what_nothing_shows_and_is_told(
    ground: "Ground", moving: Any, old: Old, setting: str
) -> None:
    ground.configure(**{setting: True})
    social = old()
    assert same(login(moving)["social"], social)
    assert moving.warnings == ["uid stable takes over an association without evidence"]


def test_google_moves_from_the_address_to_sub_as_social_core_allows(
    ground: "Ground", old: Old
) -> None:
    google = ground.backend(GoogleOAuth2)
    social = old(provider="google-oauth2")
    assert same(login(google, id_key="sub")["social"], social)


@pytest.mark.parametrize(
    ("extra", "settings"),
    [
        ({"sub": "somebody else"}, {}),
        ({}, {f"SOCIAL_AUTH_GOOGLE_OAUTH2_{UNVERIFIED}": False}),
        ({}, {"SOCIAL_AUTH_GOOGLE_OAUTH2_ID_KEY": "sub"}),
    ],
)
def test_google_does_not_where_evidence_or_settings_speak_against_it(
    ground: "Ground", old: Old, extra: dict[str, Any], settings: dict[str, Any]
) -> None:
    ground.configure(**settings)
    social = old(provider="google-oauth2", **extra)
    refused(ground.backend(GoogleOAuth2), id_key="sub")
    assert place(social) == ("old@example.org", "email")


def test_a_row_without_key_may_move_under_its_own_uid(ground: "Ground", old: Old) -> None:
    ground.configure(SOCIAL_AUTH_GOOGLE_OAUTH2_USE_UNIQUE_USER_ID=True)
    google = ground.backend(GoogleOAuth2)
    social = old("stable", "", "google-oauth2")
    identifiers = social_uid(google, {}, {"sub": "stable", "email": "old@example.org"})
    assert same(social_user(google, **identifiers)["social"], social)
    assert place(social) == ("stable", "sub")


@pytest.mark.parametrize(
    ("extra", "settings"),
    [
        ({}, {f"SOCIAL_AUTH_GOOGLE_OAUTH2_{UNVERIFIED}": False}),
        ({"sub": "somebody else"}, {}),
    ],
)
def test_a_row_without_key_does_not_move_against_evidence_or_settings(
    ground: "Ground", old: Old, extra: dict[str, Any], settings: dict[str, Any]
) -> None:
    ground.configure(**settings)
    google = ground.backend(GoogleOAuth2)
    social = old("stable", "", "google-oauth2", **extra)
    with pytest.raises(Refused):
        social_user(google, **social_uid(google, {}, {"sub": "stable"}))
    assert place(social) == ("stable", "")


def test_a_row_without_key_does_not_move_to_an_address_that_looks_like_its_uid(
    ground: "Ground", old: Old
) -> None:
    ground.configure(SOCIAL_AUTH_GOOGLE_OAUTH2_ID_KEY="sub")
    google = ground.backend(GoogleOAuth2)
    social = old("victim-sub", "", "google-oauth2")
    attack = social_uid(google, {}, {"sub": "attacker-sub", "email": "victim-sub"})
    with pytest.raises(Refused):
        social_user(google, **attack)
    assert place(social) == ("victim-sub", "")
    own = social_uid(google, {}, {"sub": "victim-sub"})
    assert same(social_user(google, **own)["social"], social)
    assert place(social) == ("victim-sub", "sub")


# Uids of which nobody says what they were


def test_an_unkeyed_uid_finds_an_association_that_shows_the_uid(moving: Any, old: Old) -> None:
    social = old(key="", stable_id="stable")
    result = login(moving, legacy_identifiers=(), legacy_uids=["old@example.org"])
    assert same(result["social"], social)


def test_a_backend_may_add_unkeyed_uids(ground: "Ground", old: Old) -> None:
    class Custom(Moving):
        def get_legacy_user_ids(self, details: Any, response: Any) -> list[str]:
            return [*super().get_legacy_user_ids(details, response), "custom-old"]

    custom = ground.backend(Custom)
    social = old("custom-old", "", stable_id="stable")
    response = {"stable_id": "stable", "email": "old@example.org"}
    identifiers = social_uid(custom, {}, response)
    assert identifiers["legacy_uids"] == ["old@example.org", "custom-old"]
    assert same(social_user(custom, **identifiers)["social"], social)
    assert place(social) == ("stable", "stable_id")


def test_an_unkeyed_uid_needs_something_to_show(moving: Any, old: Old) -> None:
    social = old("custom-old", "")
    refused(moving, legacy_identifiers=(), legacy_uids=["custom-old"])
    assert place(social) == ("custom-old", "")


def test_an_unkeyed_uid_counts_where_the_operator_chose_the_key_only_by_the_operators_word(
    ground: "Ground", old: Old
) -> None:
    seen: list[str] = []

    class Google(GoogleOAuth2[Any]):
        def get_legacy_user_ids(self, details: Any, response: Any) -> list[str]:
            return ["victim-sub"]

        def allow_unverified_legacy_uid_migration(self, old_id_key: str, id_key: str) -> bool:
            seen.append(old_id_key)
            return True

    ground.configure(SOCIAL_AUTH_GOOGLE_OAUTH2_ID_KEY="sub")
    google = ground.backend(Google)
    social = old("victim-sub", "", "google-oauth2")
    identifiers = social_uid(google, {}, {"sub": "attacker-sub"})
    with pytest.raises(Refused):
        social_user(google, **identifiers)
    assert seen == []
    ground.configure(**{f"SOCIAL_AUTH_GOOGLE_OAUTH2_{UNVERIFIED}": True})
    assert same(social_user(google, **identifiers)["social"], social)
    assert seen == [""]


def test_an_unkeyed_uid_is_not_believed_more_than_the_key_that_it_has_as_well(
    ground: "Ground", old: Old
) -> None:
    ground.configure(SOCIAL_AUTH_GOOGLE_OAUTH2_LEGACY_ID_KEYS=["custom"])
    google = ground.backend(GoogleOAuth2)
    social = old("old-custom", "", "google-oauth2")
    identifiers = social_uid(google, {}, {"sub": "stable", "custom": "old-custom"})
    assert identifiers["legacy_uids"] == ["old-custom"]
    with pytest.raises(Refused):
        social_user(google, **identifiers)
    assert place(social) == ("old-custom", "")


def test_the_identifier_of_today_is_no_earlier_one(ground: "Ground", old: Old) -> None:
    seen: list[str] = []

    class Asked(Moving):
        def allow_unverified_legacy_uid_migration(self, old_id_key: str, id_key: str) -> bool:
            seen.append(old_id_key)
            return False

    old("stable", "")
    today = [("stable_id", "stable"), ("email", "stable")]
    refused(ground.backend(Asked), legacy_identifiers=today)
    assert seen == ["", "email"]


def test_an_unkeyed_uid_with_evidence_needs_no_word(ground: "Ground", old: Old) -> None:
    class Google(GoogleOAuth2[Any]):
        def get_legacy_user_ids(self, details: Any, response: Any) -> list[str]:
            return ["old-sub"]

    ground.configure(SOCIAL_AUTH_GOOGLE_OAUTH2_ID_KEY="sub")
    google = ground.backend(Google)
    social = old("old-sub", "", "google-oauth2", sub="stable")
    assert same(social_user(google, **social_uid(google, {}, {"sub": "stable"}))["social"], social)


# What backends know themselves


def test_other_keys_of_the_backend_are_evidence_too_and_must_agree(
    ground: "Ground", old: Old
) -> None:
    fence, names = ground.backend(Fence), [("username", "old")]
    first = old("old", "username", "fence", id="stable")
    assert same(login(fence, id_key="sub", legacy_identifiers=names)["social"], first)
    old("older", "username", "fence", sub="other", id="another")
    refused(fence, uid="other", id_key="sub", legacy_identifiers=[("username", "older")])


def test_a_backend_may_find_an_association_its_own_way(ground: "Ground", old: Old) -> None:
    class Own(Moving):
        def get_legacy_social_auth(self, *arguments: Any, **named: Any) -> Any:
            return ground.users.get_social_auth("moving", "hidden")

    social = old("hidden", "")
    own = ground.backend(Own)
    assert login(own)["social"] is None
    assert same(login(own, response={})["social"], social)
    assert place(social) == ("stable", "stable_id")


# The identifiers of a response


def test_configured_keys_are_read_beside_those_of_the_backend(
    ground: "Ground", moving: Any
) -> None:
    ground.configure(
        SOCIAL_AUTH_MOVING_ID_KEY="sub",
        SOCIAL_AUTH_MOVING_LEGACY_ID_KEYS=["login", "email", "sub"],
    )
    response = {"sub": "123", "email": "old@example.org", "login": "old-name"}
    assert social_uid(moving, {}, response) == {
        "uid": "123",
        "id_key": "sub",
        "legacy_identifiers": [("email", "old@example.org"), ("login", "old-name")],
        "legacy_uids": ["old@example.org", "old-name"],
    }
    assert social_uid(moving, {}, {"sub": "123"})["legacy_identifiers"] == []


@pytest.mark.parametrize("keys", ["email", None, [1], [""]])
def test_keys_that_are_no_list_of_names_are_an_error_of_the_settings(
    ground: "Ground", moving: Any, keys: Any
) -> None:
    ground.configure(SOCIAL_AUTH_MOVING_LEGACY_ID_KEYS=keys)
    with pytest.raises(AuthConfigurationError):
        social_uid(moving, {}, {"stable_id": "stable"})


MAPPING: dict[str, tuple[dict[str, str], Any]] = {
    "okta.OktaOAuth2": ({"username": "old"}, {"sub": "new", "preferred_username": "old"}),
    "google.GoogleOAuth2": ({"email": "old"}, {"sub": "new", "email": "old"}),
    "google.GoogleOAuth": ({"email": "old"}, {"id": "new", "email": "old"}),
    "trello.TrelloOAuth": ({"username": "old"}, {"id": "new", "username": "old"}),
    "qiita.QiitaOAuth2": ({"username": "old"}, {"id": "old", "permanent_id": 123}),
    "keycloak.KeycloakOAuth2": ({"username": "old"}, {"sub": "new", "preferred_username": "old"}),
    "cognito.CognitoOAuth2": ({"username": "old"}, {"sub": "new", "username": "old"}),
    "dailymotion.DailymotionOAuth2": ({"username": "old"}, {"id": "new", "screenname": "old"}),
    "mailru.MRGOAuth2": ({"email": "old"}, {"id": "new", "email": "old"}),
    "arcgis.ArcGISOAuth2": ({"username": "old"}, {"id": "new", "username": "old"}),
    "suse.OpenSUSEOpenId": ({"nickname": "old"}, SimpleNamespace(identity_url="https://p/new")),
    "ubuntu.UbuntuOpenId": ({"nickname": "old"}, SimpleNamespace(identity_url="https://p/new")),
    "yandex.YandexOpenId": ({"email": "old"}, SimpleNamespace(identity_url="https://p/new")),
}
OPENID_CONNECT = (
    "okta_openidconnect.OktaOpenIdConnect",
    "fence.Fence",
    "cas.CASOpenIdConnectAuth",
    "google_openidconnect.GoogleOpenIdConnect",
)


def known(ground: "Ground", path: str) -> Any:
    module, name = path.split(".")
    return ground.backend(getattr(import_module(f"social_core.backends.{module}"), name))


def moves(ground: "Ground", backend: Any, details: dict[str, str], response: Any) -> None:
    identifiers = social_uid(backend, details, response)
    uid, key = identifiers["uid"], identifiers["id_key"]
    evidence = {list(backend.get_stored_user_id_keys(key))[-1]: uid}
    old_uid = identifiers["legacy_uids"][0]
    social = ground.association(ground.user("ada"), old_uid, "", backend.name, **evidence)
    assert same(social_user(backend, **identifiers)["social"], social)
    assert place(social) == (uid, key)


@pytest.mark.parametrize("path", MAPPING)
def test_the_backends_that_changed_their_identifier_move(ground: "Ground", path: str) -> None:
    details, response = MAPPING[path]
    moves(ground, known(ground, path), details, response)


@pytest.mark.parametrize("path", OPENID_CONNECT)
def test_openid_connect_backends_move(ground: "Ground", path: str) -> None:
    backend = known(ground, path)
    backend.id_token = {"sub": "new"}
    details = {"username": "old", "email": "old@example.org"}
    response = {
        "sub": "new",
        "preferred_username": "old",
        "username": "old@example.org",
        "email": "old@example.org",
    }
    moves(ground, backend, details, response)


def cases() -> Iterator[tuple[str, str]]:
    for path in ("keycloak.KeycloakOAuth2", "cognito.CognitoOAuth2"):
        yield from ((path, key) for key in ("", "username"))
    for path in ("trello.TrelloOAuth", "arcgis.ArcGISOAuth2"):
        yield from ((path, key) for key in ("", "username"))


@pytest.mark.parametrize(("path", "stored"), list(cases()))
def test_who_calls_themselves_by_the_uid_of_another_does_not_get_their_association(
    ground: "Ground", path: str, stored: str
) -> None:
    backend = known(ground, path)
    details, response = MAPPING[path]
    key = backend.ID_KEY
    ground.configure(**{f"SOCIAL_AUTH_{backend.name.upper()}_ID_KEY": key})
    social = ground.association(ground.user("ada"), "victim", stored, backend.name)
    names = {"username": "victim", "preferred_username": "victim"}
    attack = {**response, **names, key: "attacker"}
    identifiers = social_uid(backend, dict.fromkeys(details, "victim"), attack)
    assert ("username", "victim") in identifiers["legacy_identifiers"]
    with pytest.raises(Refused):
        social_user(backend, **identifiers)
    assert place(social) == ("victim", stored)
    if not stored:
        own = social_uid(backend, dict.fromkeys(details, "victim"), {**attack, key: "victim"})
        assert same(social_user(backend, **own)["social"], social)
        assert place(social) == ("victim", key)
