"""`strategy.storage`: what social-core's steps and backends call, over a unit of work."""

import re
import secrets
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from svcctl.clock import now, stamp
from svcctl.directory.person import NAME_LENGTH
from svcctl.errors import PipelineError
from svcctl.pipeline.functions import imported
from svcctl.pipeline.partial import Partial
from svcctl.pipeline.unit import Code, Taken, UnitOfWork, digest
from svcctl.pipeline.user import Association, PipelineUser
from svcctl.store import codes

_NOT_IN_USERNAMES = re.compile(r"[^\w.@+-]+", re.ASCII)
_OPENID = "svcctl runs pipelines on a provider's response; it does not speak OpenID itself"


class Storage:
    """What a run keeps. `nonce` and `association` (OpenID) are not offered."""

    def __init__(self, unit: UnitOfWork, setting: Callable[..., Any]) -> None:
        self.user = UserStorage(unit, setting)
        self.partial = PartialStorage()
        self.code = CodeStorage(unit, setting)

    def __getattr__(self, name: str) -> Any:
        if name in ("nonce", "association"):
            raise PipelineError(f"storage.{name}: {_OPENID}")
        raise AttributeError(name)

    def is_integrity_error(self, exception: BaseException) -> bool:
        """Whether somebody else was faster."""
        return isinstance(exception, Taken)


class UserStorage:
    """Users and their associations. Source: `UserMixin` of social-core 7."""

    def __init__(self, unit: UnitOfWork, setting: Callable[..., Any]) -> None:
        self._unit = unit
        self._setting = setting

    def user_model(self) -> type[PipelineUser]:
        """The class of users."""
        return PipelineUser

    def username_max_length(self) -> int:
        """In characters."""
        return NAME_LENGTH

    def clean_username(self, value: str) -> str:
        """ASCII letters, digits and `. @ + - _` of a name."""
        return _NOT_IN_USERNAMES.sub("", value)

    def get_username(self, user: PipelineUser) -> str:
        """The name of a user."""
        return str(user.username)

    def user_exists(self, username: str) -> bool:
        """Whether a name is somebody's, or was that of somebody who was removed."""
        return self._unit.is_taken(username)

    def create_user(
        self, username: str | None = None, email: str | None = None, **fields: Any
    ) -> PipelineUser:
        """A new user. Raises PipelineError for a field that the directory does not know."""
        known = self._unit.settings.attributes
        for name in fields:
            if name not in known:
                raise PipelineError(
                    f"a new user cannot have {name!r}",
                    hint="add it to directory.attributes, or take it out of USER_FIELDS",
                )
        if not username:
            raise PipelineError(
                "a new user has no username",
                hint='put get_username before create_user, and "username" into USER_FIELDS',
            )
        attributes = {"email": email, **fields}
        return self._unit.add_user(
            username, {name: value for name, value in attributes.items() if value is not None}
        )

    def get_user(self, pk: Any) -> PipelineUser | None:
        """The user with an id, None if there is none. Raises Refused for a removed one."""
        return self._unit.user(pk)

    def get_users_by_email(self, email: str) -> Iterable[PipelineUser]:
        """The users with an address, whatever its case."""
        return self._unit.with_email(email)

    def changed(self, user: PipelineUser) -> None:
        """A user's fields were set: they are kept with the run."""

    def get_social_auth(
        self, provider: str, uid: str, id_key: str | None = None
    ) -> Association | None:
        """The association of exactly this uid; with `id_key`, only one stored under it."""
        found = self._unit.association(provider, str(uid))
        return found if found is None or id_key in (None, found.id_key) else None

    def get_social_auth_by_extra_data(
        self, provider: str, key: str, value: str, id_key: str = ""
    ) -> Association | None:
        """The one association whose extra data say so. Raises ValueError where several do."""
        found = [
            one
            for one in self._unit.associations_with(provider, id_key)
            if str(one.extra_data.get(key)) == value
        ]
        if len(found) > 1:
            raise ValueError(f"several associations with {provider} have this {key}")
        return found[0] if found else None

    def get_social_auth_for_user(
        self, user: PipelineUser, provider: str | None = None, id: Any = None
    ) -> list[Association]:
        """The user's associations: all, those with one provider, the one with an id."""
        return self._unit.associations_of(user, provider, id)

    def create_social_auth(
        self, user: PipelineUser, uid: Any, provider: str, id_key: str = ""
    ) -> Association:
        """Whose uid this is. Raises what `is_integrity_error` knows where somebody has it."""
        return self._unit.link(user, provider, str(uid), id_key)

    def migrate_social_auth(
        self, social: Association, uid: str, id_key: str, *, evidence_key: str | None = None
    ) -> Association:
        """Another uid for an association. Raises ValueError where its evidence is another one."""
        if evidence_key is not None and str(social.extra_data.get(evidence_key)) != uid:
            raise ValueError(f"{social.provider} {social.uid}: {evidence_key} is not {uid}")
        other = self._unit.association(social.provider, uid)
        if other is not None and other.id != social.id:
            raise Taken(f"{social.provider} {uid}")
        _ = social.extra_data  # sealed for the uid that it had
        social.uid, social.id_key = uid, id_key
        social.save()
        return social

    def allowed_to_disconnect(
        self, user: PipelineUser, backend_name: str, association_id: Any = None
    ) -> bool:
        """Whether something else is left: never the last way in, unless the settings say so.

        Source: django's storage of python-social-auth, which counts passwords, too; svcctl's users
        have none. ALLOWED_TO_DISCONNECT_FUNCTION decides instead, ALLOW_LAST_DISCONNECT allows all.
        """
        name = self._setting("ALLOWED_TO_DISCONNECT_FUNCTION")
        if name:
            decide = imported(name, "ALLOWED_TO_DISCONNECT_FUNCTION")
            return bool(decide(user, backend_name, association_id))
        if self._setting("ALLOW_LAST_DISCONNECT", default=False):
            return True
        leaving = self._unit.associations_of(user, backend_name, association_id)
        return any(one not in leaving for one in self._unit.associations_of(user))

    def disconnect(self, entry: Association) -> None:
        """Nobody's any more."""
        self._unit.unlink(entry)


class PartialStorage:
    """Runs that pause: the engine saves the context itself, strictly; this is what steps see."""

    def __init__(self) -> None:
        self.stored: Partial | None = None
        self.current: Partial | None = None

    def prepare(self, backend: str, next_step: int, data: dict[str, Any]) -> Partial:
        """A partial with a token, which nobody knows yet."""
        token = secrets.token_hex(32)  # nothing that a shell or a link would take for more
        return Partial(token=token, backend=backend, next_step=next_step, data=dict(data))

    def store(self, partial: Partial) -> Partial:
        """The run is to pause here."""
        self.stored = partial
        return partial

    def load(self, token: str) -> Partial | None:
        """The partial that this run goes on from, if the token is its."""
        current = self.current
        return current if current is not None and current.token == token else None

    def destroy(self, token: str) -> None:
        """The engine uses a partial up when its run is kept."""
        if self.stored is not None and self.stored.token == token:
            self.stored = None


class CodeStorage:
    """Codes that prove an address. Source: `CodeMixin` of social-core 7."""

    def __init__(self, unit: UnitOfWork, setting: Callable[..., Any]) -> None:
        self._unit = unit
        self._setting = setting

    def make_code(self, email: str) -> Code:
        """A new code for an address; hashed when the run is kept."""
        seconds = self._setting("EMAIL_VALIDATION_EXPIRED_THRESHOLD", 7 * 24 * 60 * 60)
        lifetime = timedelta(seconds=float(seconds)) if seconds else timedelta(days=3650)
        code = Code(secrets.token_hex(16), email, expires_at=stamp(now() + lifetime))
        code.used = self._unit.used_codes
        self._unit.made_codes.append(code)
        return code

    def get_code(self, code: str) -> Code | None:
        """The code, if there is one like that and it is not too old."""
        for made in self._unit.made_codes:
            if secrets.compare_digest(made.code, code):
                return made
        with self._unit.reading() as connection:
            row = codes.find(connection, digest(code))
        if row is None or row.expires_at <= stamp():
            return None
        from svcctl.clock import parse_stamp

        return Code(
            code,
            row.email,
            verified=row.verified_at is not None,
            timestamp=parse_stamp(row.created_at),
            expires_at=row.expires_at,
            partial_id=row.partial_id,
            used=self._unit.used_codes,
        )
