"""Seeing what a step gets."""

import sys
from pprint import pformat
from typing import Any

from svcctl.pipeline.mask import masked
from svcctl.pipeline.step import step


@step(effects="writes what it gets to standard error")
def debug(*args: Any, **context: Any) -> None:
    """Write what a step gets at this place to standard error, secrets masked; change nothing.

    Source: social_core.pipeline.debug, which writes all of it, tokens too, to standard output.
    """
    given = {"args": list(args), **context} if args else context
    for name, value in given.items():
        sys.stderr.write(f"{name} = {pformat(masked(value, name))}\n")
