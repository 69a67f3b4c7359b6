"""How long it takes until a command answers."""

from pathlib import Path

from benchmarks.measure import Row, command, in_turn
from benchmarks.site import build


def run(folder: Path) -> list[Row]:
    build(folder, people=100, services=1).close()
    version, help_, typer, users, sqlmodel = in_turn(
        lambda: command("-m", "svcctl", "--version"),
        lambda: command("-m", "svcctl", "--help"),
        lambda: command("-c", "import typer"),
        lambda: command("-m", "svcctl", "users", "show", "user5", folder=folder),
        lambda: command("-c", "import sqlmodel"),
        rounds=7,
    )
    return [
        Row("svcctl --version / import typer", version, typer, 1.5),
        Row("svcctl --help / import typer", help_, typer, 1.5),
        Row("svcctl users show ada / import sqlmodel", users, sqlmodel, 1.5),
    ]
