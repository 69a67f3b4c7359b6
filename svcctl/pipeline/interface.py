"""What the shipped steps ask of backend, strategy and storage: social-core 7's interface, no more.

A step that keeps to it runs on svcctl's engine and on social-core's.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol


class Association(Protocol):
    """A provider's uid and whose it is: social-core's `social`, a `UserSocialAuth`."""

    provider: str
    uid: str
    user: Any
    extra_data: Any

    def set_extra_data(self, extra_data: dict[str, Any] | None = None) -> bool:
        """Merge into what is stored, and store it."""

    def get_backend_instance(self, strategy: Any) -> Any:
        """The backend of its provider, None where that is not configured any more."""


class UserStorage(Protocol):
    """`strategy.storage.user`: users and associations."""

    def create_social_auth(
        self, user: Any, uid: str, provider: str, id_key: str = ""
    ) -> Association:
        """Store whose uid this is."""

    def get_social_auth(
        self, provider: str, uid: str, id_key: str | None = None
    ) -> Association | None:
        """The association of a uid, its case heeded; with `id_key`, only one stored under it."""

    def get_social_auth_for_user(
        self, user: Any, provider: str | None = None, id: Any = None
    ) -> Iterable[Association]:
        """The associations of a user: all, those with one provider, the one with an id."""

    def migrate_social_auth(
        self, social: Any, uid: str, id_key: str, *, evidence_key: str | None = None
    ) -> Association:
        """Give an association another uid. Raises ValueError where the evidence is gone."""

    def allowed_to_disconnect(
        self, user: Any, backend_name: str, association_id: Any = None
    ) -> bool:
        """Whether the user can log in without what is going to be disconnected."""

    def disconnect(self, entry: Any) -> None:
        """Remove an association."""

    def get_users_by_email(self, email: str) -> Iterable[Any]:
        """The users with an address."""

    def user_exists(self, username: str) -> bool:
        """Whether a username is taken."""

    def get_username(self, user: Any) -> str | None:
        """The name of a user."""

    def username_max_length(self) -> int | None:
        """How many characters a username may have, None for any number."""

    @property
    def clean_username(self) -> Callable[[str], str]:
        """The text without the characters that no username has."""

    def changed(self, user: Any) -> None:
        """Store the fields of a user that were changed."""


class Storage(Protocol):
    """`strategy.storage`."""

    user: UserStorage

    def is_integrity_error(self, exception: BaseException) -> bool:
        """Whether another one was faster."""


class Strategy(Protocol):
    """What surrounds a run: settings, storage, request and session."""

    storage: Storage

    def setting(self, name: str, default: Any = None, backend: Any = None) -> Any:
        """`<BACKEND>_<NAME>`, else `<NAME>`, else the default; a None that is set is a value."""

    def create_user(self, **fields: Any) -> Any:
        """A new user with these fields."""

    def request_data(self) -> Mapping[str, Any]:
        """What the person sent: in the shell, what `--set` says."""

    def session_set(self, name: str, value: Any) -> None:
        """Keep something for the next run of the same person."""

    def session_pop(self, name: str) -> Any:
        """Take it out again; None if it is not there."""

    def redirect(self, url: Any) -> Any:
        """The response that sends the person to a page."""

    def send_email_validation(self, backend: Any, email: str, partial_token: str | None) -> Any:
        """Mail a code that shows who can read this address."""

    def validate_email(self, email: str, code: str) -> bool:
        """Whether this code was mailed to this address; it is used up by the answer yes."""


class Backend(Protocol):
    """A provider: what it says of a person, and what is set for it."""

    name: str
    ASSOCIATION_ONLY: bool
    REQUIRES_EMAIL_VALIDATION: bool

    @property
    def strategy(self) -> Strategy:
        """What surrounds the run."""

    def setting(self, name: str, default: Any = None) -> Any:
        """The strategy's setting, this backend's own first."""

    def get_user_details(self, response: Any) -> dict[str, Any]:
        """username, email, fullname, first_name, last_name and more, as the response has them."""

    def get_user_groups(self, response: Any) -> list[str] | None:
        """The groups in the response, None where the backend reads none."""

    def get_user_id(self, details: dict[str, Any], response: Any) -> Any:
        """The provider's uid of the person."""

    def id_key(self) -> str:
        """Where in the response the uid stands."""

    def get_legacy_user_identifiers(
        self, details: dict[str, Any], response: Any
    ) -> list[tuple[str, str]]:
        """Key and value of each identifier that used to be the uid."""

    def get_legacy_user_ids(self, details: dict[str, Any], response: Any) -> Iterable[str]:
        """Earlier uids of which the key is not known."""

    def get_legacy_social_auth(
        self, uid: str, id_key: str, response: Any, user: Any = None
    ) -> Association | None:
        """An association that only this backend knows how to find."""

    def get_stored_user_id_keys(self, id_key: str) -> Iterable[str]:
        """The keys of an association's extra data that show its uid."""

    def allow_unverified_legacy_uid_migration(self, old_id_key: str, id_key: str) -> bool:
        """Whether an association is believed that has no such key."""

    def log_warning(self, message: str, *arguments: Any) -> None:
        """Say something that operators should know."""

    def auth_allowed(self, response: Any, details: dict[str, Any]) -> bool:
        """Whether the settings let this person in."""

    def extra_data(
        self,
        user: Any,
        uid: str,
        response: Any,
        details: dict[str, Any],
        pipeline_kwargs: dict[str, Any],
    ) -> dict[str, Any]:
        """What of the response is kept with the association."""


def same(one: Any, other: Any) -> bool:
    """Whether two users, or two associations, are one row: by primary key, never by field values.

    Two loads of a row differ once one of them was changed, and equal fields prove nothing.
    """
    if one is other:
        return True
    keys = [getattr(item, "pk", None) or getattr(item, "id", None) for item in (one, other)]
    return keys[0] is not None and keys[0] == keys[1]
