"""What can go wrong in a sandbox: how it is written, and when it strikes."""

import random
import re
from dataclasses import dataclass

from svcctl.errors import Denied, Invalid, ManagerError, RateLimited, Transient
from svcctl.hooks.manager import READS, VERBS

_CHANCE = r"(?::(?P<argument>0|1|0?\.[0-9]{1,6})|@(?P<number>[1-9][0-9]{0,8}))?"
_SECONDS = r"(?P<argument>[0-9]{1,5}(?:\.[0-9]{1,3})?)"
_NUMBER = r"(?:@(?P<number>[1-9][0-9]{0,8}))?"
_SPELLINGS = {
    "transient": _CHANCE,
    "denied": _CHANCE,
    "lost": _CHANCE,
    "rate_limited": f"(?::{_SECONDS})?{_NUMBER}",
    "hang": f":{_SECONDS}{_NUMBER}",
    "incomplete": _NUMBER,
    "invalid": ":(?P<argument>.+)",
    "none": "",
}
EXAMPLES = (
    "transient, transient:0.1, denied@3, lost@3, rate_limited:2.5, hang:5, incomplete@2, "
    "invalid:NAME"
)
METHODS = READS | VERBS


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong in a method: KIND, KIND:ARGUMENT, KIND@NUMBER (only the Nth call, from 1).

    transient, denied: nothing is done, and that error says so; `transient:0.1`: in a tenth of calls
    lost: it **is done**, and then a Transient: the answer is lost; with a chance or number as above
    rate_limited, rate_limited:2.5: nothing is done, and RateLimited asks for 2.5 seconds
    hang:5: 5 seconds pass first
    incomplete, incomplete@2: a listing never ends well: Incomplete after 2 pages, or all
    invalid:NAME: Invalid, for the account of this name only
    none: nothing, in spite of the configuration
    """

    kind: str
    argument: str = ""
    number: int = 0

    @classmethod
    def parse(cls, method: str, text: str) -> "Fault":
        """Raises ValueError, saying what may be written."""
        if method not in METHODS:
            raise ValueError(f"{method}: no such method; there are {', '.join(sorted(METHODS))}")
        kind = re.split("[:@]", text, maxsplit=1)[0]
        match = re.fullmatch(re.escape(kind) + _SPELLINGS.get(kind, "(?!)"), text)
        if not match:
            raise ValueError(f"{method}: {text!r} is not a fault; write one like {EXAMPLES}")
        if kind == "incomplete" and not method.startswith("list_"):
            raise ValueError(f"{method}: only a listing can be incomplete")
        parts = match.groupdict()
        return cls(kind, parts.get("argument") or "", int(parts.get("number") or 0))

    def strikes(self, method: str, call: int, name: str, seed: int) -> bool:
        """Whether it is this call's turn; chance depends on nothing but seed, method and call."""
        match self.kind:
            case "none":
                return False
            case "invalid":
                return name == self.argument
            case "transient" | "denied" | "lost" if self.argument:
                chance = random.Random(f"{seed} {method} {call}")  # noqa: S311 - to be repeatable
                return chance.random() < float(self.argument)
            case "incomplete":
                return True
        return self.number in (0, call)

    def error(self, method: str) -> ManagerError | None:
        """What is raised before anything is done."""
        message = f"sandbox: {method} is broken on purpose: {self.kind}"
        match self.kind:
            case "transient":
                return Transient(message)
            case "denied":
                return Denied(message, hint="svcctl service NAME heal")
            case "rate_limited":
                seconds = float(self.argument) if self.argument else None
                return RateLimited(message, retry_after=seconds)
            case "invalid":
                return Invalid(f"{message} for {self.argument}", hint="svcctl service NAME heal")
        return None


NOTHING = Fault("none")
