"""Whether an e-mail address is the person's. After social_core.pipeline.mail of social-core 7."""

from typing import Any

from svcctl.errors import Refused
from svcctl.pipeline.details import Details, text
from svcctl.pipeline.interface import Backend
from svcctl.pipeline.partial import partial_step
from svcctl.pipeline.step import step


@step(
    consumes=("current_partial",),
    settings=(
        "FORCE_EMAIL_VALIDATION",
        "PASSWORDLESS",
        "EMAIL_VALIDATION_URL",
        "EMAIL_VALIDATION_FUNCTION",
        "EMAIL_VALIDATION_EXPIRED_THRESHOLD",
    ),
    pauses=True,
    needs=("verification_code",),
    effects="mails a code to the person's address",
)
@partial_step(save_to_session=True, allow_external_resume=True)
def mail_validation(
    backend: Backend, details: Details, *_args: Any, is_new: bool = False, **context: Any
) -> Any:
    """Pause until the person shows a code that was mailed to the address in `details`.

    It asks of new users, with PASSWORDLESS of everybody, and only where the backend wants it
    (REQUIRES_EMAIL_VALIDATION) or FORCE_EMAIL_VALIDATION does; who has no address passes. The code
    is given as `verification_code` to the run that goes on. The response redirects to
    EMAIL_VALIDATION_URL. Raises Refused (`email_verification_rejected`) for a code that is for
    another address, was used already or is too old; the run can then go on with the right one.
    """
    forced = backend.setting("FORCE_EMAIL_VALIDATION", default=False)
    if not (backend.REQUIRES_EMAIL_VALIDATION or forced):
        return None
    email = text(details, "email")
    if not email or not (is_new or backend.setting("PASSWORDLESS", default=False)):
        return None
    strategy = backend.strategy
    request = strategy.request_data()
    if "verification_code" not in request:
        strategy.send_email_validation(backend, email, context["current_partial"].token)
        strategy.session_set("email_validation_address", email)
        return strategy.redirect(strategy.setting("EMAIL_VALIDATION_URL", backend=backend))
    strategy.session_pop("email_validation_address")
    if not strategy.validate_email(email, request["verification_code"]):
        raise Refused(
            f"the code does not show that {email} is theirs",
            hint="it is another one, was used already, or is too old; without a code, a new one is "
            "sent",
            code="email_verification_rejected",
        )
    return None
