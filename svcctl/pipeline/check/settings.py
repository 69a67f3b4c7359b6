"""Whether settings and steps go together: what nobody reads, and what is dangerous."""

from collections.abc import Iterator, Mapping, Sequence

from svcctl.pipeline.check.finding import Finding, error, warning
from svcctl.pipeline.dataflow import Chosen, Part, steps_that_ship
from svcctl.pipeline.step import Step

_RELIED_ON = ("auth_allowed", "mail_validation", "revoke_tokens")
"""The steps whose settings keep somebody out: unread, they are a promise that is not kept."""

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


def reliance(parts: Sequence[Part], settings: Chosen, *, mail: bool) -> Iterator[Finding]:
    """Settings without the step that reads them, and steps without the setting that they need.

    mail: whether svcctl can send mail.
    """
    yield from _unread(parts, settings)
    yield from _mail(parts, settings, mail=mail)
    for name, (step, danger) in _DANGERS.items():
        acting = [part for part in parts if part.shipped == step]
        if acting and any(value is True for value in settings.get(name, ())):
            yield warning(acting[0].name, danger, "set it to false", about=name)


def _unread(parts: Sequence[Part], settings: Chosen) -> Iterator[Finding]:
    read = {name for part in parts for name in part.declaration.settings}
    believed = any(not part.declared for part in parts)
    for name, values in settings.items():
        steps = [
            step
            for step, function in steps_that_ship().items()
            if (declared := Step(step, function).declaration) and name in declared.settings
        ]
        if not steps or name in read or not any(values):
            continue
        say = error if set(steps).intersection(_RELIED_ON) and not believed else warning
        yield say("", "no step of this pipeline reads it", f"put {steps[0]} into it", about=name)


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
