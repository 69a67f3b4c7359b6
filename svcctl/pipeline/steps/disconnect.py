"""Taking an association away again. After social_core.pipeline.disconnect of social-core 7."""

from collections.abc import Iterable
from typing import Any

from svcctl.errors import PipelineError, Refused
from svcctl.pipeline.interface import Association, Strategy, UserStorage
from svcctl.pipeline.step import step


@step(settings=("ALLOWED_TO_DISCONNECT_FUNCTION", "ALLOW_LAST_DISCONNECT"))
def allowed_to_disconnect(
    user: Any,
    name: str,
    user_storage: UserStorage,
    association_id: Any = None,
    *_args: Any,
    **_context: Any,
) -> None:
    """Stop where the user could not log in any more without this association.

    name: the backend's. association_id: one of several associations with it. What counts as another
    way in is the storage's policy. Raises Refused (`disconnect_disallowed`).
    """
    if not user_storage.allowed_to_disconnect(user, name, association_id):
        raise Refused(
            f"{name} is the last way in and stays connected",
            hint="connect another provider first, or set ALLOW_LAST_DISCONNECT = true",
            code="disconnect_disallowed",
        )


@step(produces=("entries",))
def get_entries(
    user: Any,
    name: str,
    user_storage: UserStorage,
    association_id: Any = None,
    *_args: Any,
    **_context: Any,
) -> dict[str, Any]:
    """Collect the user's associations with a provider, all or the one with an id, as `entries`."""
    return {"entries": list(user_storage.get_social_auth_for_user(user, name, association_id))}


@step(
    settings=("REVOKE_TOKENS_ON_DISCONNECT",),
    effects="asks the provider to forget the access tokens",
)
def revoke_tokens(
    strategy: Strategy,
    entries: Iterable[Association],
    *_args: Any,
    backend: Any = None,
    **_context: Any,
) -> None:
    """Have the provider forget the access token of each entry, if the settings want that.

    Raises PipelineError where the provider is not configured any more, and what the backend raises;
    the associations, and with them the tokens, are still there then.
    """
    if not strategy.setting("REVOKE_TOKENS_ON_DISCONNECT", default=False, backend=backend):
        return
    for entry in entries:
        token = (entry.extra_data or {}).get("access_token")
        if not token:
            continue
        provider = entry.get_backend_instance(strategy)
        if provider is None:
            raise PipelineError(
                f"{entry.provider} is not configured, the token of {entry.uid} cannot be revoked",
                hint="configure it, or set REVOKE_TOKENS_ON_DISCONNECT = false",
            )
        provider.revoke_token(token, entry.uid)


@step(effects="removes the associations")
def disconnect(
    entries: Iterable[Association],
    user_storage: UserStorage,
    *_args: Any,
    **_context: Any,
) -> None:
    """Remove the associations that `get_entries` found. Raises what the storage raises."""
    for entry in entries:
        user_storage.disconnect(entry)
