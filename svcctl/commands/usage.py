"""What is wrong with a command line, in our words: what, and where to read on."""

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from svcctl.errors import UsageError

if TYPE_CHECKING:
    from typer._click.exceptions import ClickException

_WORDS = (
    (r"^No such command '(.*?)'\..*$", r"no such command: \1"),
    (r"^No such option: ", "no such option: "),
    (r"^Missing (argument|option) (.*?)\.( .*)?$", r"\2: missing"),
    (r"^Got unexpected extra arguments?(?:\(s\))? \((.*)\)$", r"unexpected: \1"),
    (r"^Option (.*) requires an argument\.?$", r"\1: needs a value"),
    (r"^Invalid value for (.*?): ", r"\1: "),
    (r" \(env var: '(\w+)'\): ", r", $\1: "),
    (r"(Input|Value) should ", "must "),
    (r"Value error, ", ""),
    (r"must be a valid integer.*", "must be a whole number"),
    (r"must be a valid boolean.*", "must be true or false"),
    (r"'(\S+)'", r"\1"),
    (r"\.$", ""),
)
"""What Typer says, and how we say it; one after the other."""

_BEFORE = ("-q", "--quiet", "-v", "-vv", "--verbose", "-c", "--config", "--version")


def in_our_words(error: "ClickException") -> UsageError:
    """The same as a message in one line and a hint: the closest name there is, else the help."""
    from typer._click.exceptions import NoSuchOption

    context: Any = getattr(error, "ctx", None)
    message = error.format_message()
    named: list[str] = []
    if isinstance(error, NoSuchOption):
        message, named = error.message, sorted(error.possibilities or ())
    elif unknown := re.match("No such command '(.*?)'", message, re.DOTALL):
        named = get_close_matches(unknown[1], context.command.list_commands(context), n=3)
    for theirs, ours in _WORDS:
        message = re.sub(theirs, ours, message, flags=re.DOTALL)
    if isinstance(error, NoSuchOption) and error.option_name in _BEFORE:
        command = context.command_path.partition(" ")[2]
        hint = f"it stands before the command: svcctl {error.option_name} {command}"
        return UsageError(message, hint=hint)
    if named:
        return UsageError(message, hint=f"did you mean {' or '.join(named)}?")
    return UsageError(message, hint=f"{context.command_path if context else 'svcctl'} --help")
