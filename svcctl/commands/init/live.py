"""`svcctl init --from-live`: a directory and a configuration from what is on a service."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from svcctl.commands.output import plain, say, write
from svcctl.commands.writing import create_database, refuse_existing, write_new, written
from svcctl.errors import ConfigError

if TYPE_CHECKING:
    from svcctl.runs.live import Live


def begin(config: Path | None, service: str, people: Path | None, *, dry_run: bool) -> None:
    """Write down the service's people, and add to the configuration what belongs to them."""
    from svcctl.config.load import load, parse
    from svcctl.hooks.registry import load_hooks
    from svcctl.runs.live import read_live, refuse_people

    settings = load(config)
    refuse_people(parse(settings.path), settings.path)
    hooks = load_hooks(settings, [service])
    if service in hooks.failed:
        raise hooks.failed[service]
    target = (people or settings.folder / "people.csv").absolute()
    refuse_existing({target: ""})
    with read_live(hooks.loaded[service]) as live:
        separator = live.separator()
        inside = target.is_relative_to(settings.folder)
        path = str(target.relative_to(settings.folder) if inside else target)
        block = live.configuration(path, separator, settings.services[service])
        _check(settings.path, block)
        for what in live.left_out:
            say(f"{service}: left out: {what}")
        if dry_run:
            write(f"would write {plain(target)}: {live.people} people")
            write(f"would add to {plain(settings.path)}:\n{block.rstrip()}")
        else:
            _write(settings.path, block, target, live, separator)
        create_database(settings.path, dry_run=dry_run)
        if not dry_run:
            say(
                f"next: look at both files, then svcctl directory pull, "
                f"svcctl adopt {service} --by {live.rule}, svcctl plan"
            )


def _check(config: Path, block: str) -> None:
    """Raise ConfigError unless the configuration is one with the block at its end."""
    import tomli

    from svcctl.config.load import read

    try:
        tables = tomli.loads(config.read_text(encoding="utf-8-sig") + "\n" + block)
    except tomli.TOMLDecodeError as error:
        raise ConfigError(
            f"{config}: cannot be added to: {error}",
            hint="leave only the service's own table in it, with [table] headers",
        ) from None
    read(tables, config)


def _write(config: Path, block: str, target: Path, live: "Live", separator: str) -> None:
    """Both or neither."""
    with written(target):
        write_new(target, live.csv(separator))
    try:
        with written(config), config.open("r+b") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 1))
            broken = file.read(1) not in (b"", b"\n")
            try:
                file.write((b"\n" if broken else b"") + block.encode())
                file.flush()
            except OSError:
                file.truncate(end)
                raise
    except BaseException:
        target.unlink()
        raise
    write(f"{plain(target)}: written, {live.people} people")
    write(f"{plain(config)}: {block.count(chr(10))} lines added")
