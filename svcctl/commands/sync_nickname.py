"""`svcctl sync-nickname`."""

from svcctl.commands.verb import verb

app = verb(
    "sync-nickname",
    "SYNC_NICKNAME",
    "Bring nicknames up to date with the name format.",
)
