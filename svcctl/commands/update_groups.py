"""`svcctl update-groups`."""

from svcctl.commands.verb import verb

app = verb(
    "update-groups",
    "UPDATE_GROUPS",
    "Bring groups up to date with what svcctl last put there.",
)
