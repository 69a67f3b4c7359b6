"""`svcctl services new`: the skeleton of a package that brings a hook."""

import keyword
import re
import shlex
import sys
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from svcctl.commands.options import DryRunOption
from svcctl.commands.output import say
from svcctl.commands.writing import create, refuse_existing
from svcctl.config.service import SERVICE_NAME
from svcctl.errors import UsageError

KindArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="What the hook will be called in svcctl.toml.")
]
DirectoryOption = Annotated[
    Path | None,
    typer.Option(
        "--directory",
        metavar="DIR",
        help="The folder of the package.  [default: svcctl-NAME]",
        show_default=False,
    ),
]


def new(
    name: KindArgument, directory: DirectoryOption = None, dry_run: DryRunOption = False
) -> None:
    """Write the skeleton of a package for another kind of service.

    It has settings, manager, hook and tests. The tests fail, and each says what is still to be
    written; when they pass, the package is right.
    """
    from svcctl.hooks.registry import available

    if not re.fullmatch(SERVICE_NAME, name) or keyword.iskeyword(name):
        raise UsageError(
            f"{name}: not a name for a hook", hint="write it like forum, forum2 or guild-wiki"
        )
    if name in available():
        raise UsageError(
            f"{name}: {' and '.join(available()[name])} has a hook of this name",
            hint="choose another; a package that replaces it would be refused",
        )
    module = name.replace("-", "_")
    names = {
        "name": name,
        "project": f"svcctl-{name}",
        "module": module,
        "package": f"svcctl_{module}",
        "title": "".join(word.title() for word in re.split("[-_]", name)),
    }
    folder = (directory or Path(names["project"])).absolute()
    texts = {
        folder / path: Template(_template(template)).substitute(names)
        for path, template in (
            ("pyproject.toml", "pyproject.toml.txt"),
            ("README.md", "README.md.txt"),
            (f"src/{names['package']}/__init__.py", "hook.py.txt"),
            (f"tests/test_{module}.py", "test.py.txt"),
        )
    }
    refuse_existing(texts, option="--directory")
    create(texts, dry_run=dry_run, shared=True)
    if not dry_run:
        python = shlex.quote(sys.executable)
        say(f"next: {python} -m pip install -e {shlex.quote(f'{folder}[dev]')}")
        say(f"then: {python} -m pytest -x {shlex.quote(str(folder))}, which says what to write")


def _template(name: str) -> str:
    return files("svcctl").joinpath("templates", "hook", name).read_text(encoding="utf-8")
