"""Whether settings and steps go together: what nobody reads, and what is dangerous."""

from collections.abc import Iterator, Mapping, Sequence

from svcctl.pipeline.check.finding import Finding, error, warning
from svcctl.pipeline.check.order import acts_behind
from svcctl.pipeline.dataflow import ORDER, Chosen, Kind, Part

_RELIED_ON: Mapping[str, tuple[str, ...]] = {
    "auth_allowed": ("WHITELISTED_EMAILS", "WHITELISTED_DOMAINS", "ALLOW_GROUPS"),
    "mail_validation": ("FORCE_EMAIL_VALIDATION",),
    "revoke_tokens": ("REVOKE_TOKENS_ON_DISCONNECT",),
}
"""Settings by which somebody is kept out, and the steps without which that is an empty promise."""

_DANGERS: Mapping[str, tuple[str, str]] = {
    "NO_DEFAULT_PROTECTED_USER_FIELDS": (
        "user_details",
        "the provider can change username, e-mail address and is_superuser, if it says them",
    ),
    "ALLOW_UNVERIFIED_LEGACY_UID_MIGRATION": (
        "social_user",
        "whoever has somebody's earlier uid by now becomes that user",
    ),
}


def reliance(
    parts: Sequence[Part], kind: Kind, settings: Chosen, *, mail: bool
) -> Iterator[Finding]:
    """Settings without the step that reads them, and steps without the setting that they need.

    mail: whether svcctl can send mail.
    """
    yield from _unread(parts, kind, settings)
    yield from _mail(parts, settings, mail=mail)
    for name, (step, danger) in _DANGERS.items():
        acting = [part for part in parts if part.shipped == step]
        if acting and any(value is True for value in settings.get(name, ())):
            yield warning(acting[0].name, danger, "set it to false", about=name)


def _unread(parts: Sequence[Part], kind: Kind, settings: Chosen) -> Iterator[Finding]:
    say = error if all(part.declared for part in parts) else warning
    for step, names in _RELIED_ON.items():
        if step not in ORDER[kind] or any(part.shipped == step for part in parts):
            continue
        if acts_behind(ORDER[kind].index(step), parts, kind):
            for name in names:
                if any(settings.get(name, ())):
                    message = f"is set, and {step}, which heeds it, is not there"
                    yield say("", message, f"put {step} into the list", about=name)


def _mail(parts: Sequence[Part], settings: Chosen, *, mail: bool) -> Iterator[Finding]:
    """Addresses that are trusted, and whether somebody proves them first."""
    forced = any(settings.get("FORCE_EMAIL_VALIDATION", ()))
    proven = False
    for part in parts:
        if part.shipped == "mail_validation":
            proven = forced
            if not forced:
                yield warning(
                    part.name,
                    "does nothing, unless the backend wants it",
                    "set FORCE_EMAIL_VALIDATION = true",
                )
            elif not mail and not any(settings.get("EMAIL_VALIDATION_FUNCTION", ())):
                yield error(
                    part.name,
                    "has no way to send its codes",
                    "configure [notify.mail], or name an EMAIL_VALIDATION_FUNCTION",
                )
        elif part.shipped == "associate_by_email" and not proven:
            yield warning(
                part.name,
                "trusts an address that nobody has proven: who types somebody's address at the "
                "provider becomes that user",
                "put mail_validation before it, with FORCE_EMAIL_VALIDATION = true, or use only "
                "providers that verify addresses",
            )
