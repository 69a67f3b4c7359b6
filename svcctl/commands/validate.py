"""`svcctl validate`."""

from svcctl.commands.verb import verb

app = verb(
    "validate",
    "VALIDATE",
    """Remove the accounts of users who may no longer have them.

    Disabled accounts come back when their user may have them again; a grace that is over deletes.
    """,
)
