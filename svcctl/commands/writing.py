"""The files that commands write: new ones only, for their owner unless they are to be shared."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from svcctl.commands.output import plain, write
from svcctl.errors import StoreError, UsageError


def refuse_existing(texts: Mapping[Path, str], *, option: str = "--path") -> None:
    for path in texts:
        if os.path.lexists(path):
            raise UsageError(
                f"{path}: exists already, nothing was written",
                hint=f"give another {option}, or move the file away",
            )


def create(texts: Mapping[Path, str], *, dry_run: bool, shared: bool = False) -> None:
    for path, text in texts.items():
        if dry_run:
            write(f"would write {plain(path)}:\n{text}")
            continue
        # A unit holds nothing secret, and systemd warns of one that it alone may read.
        shown = shared or path.suffix in (".service", ".timer")
        mode = 0o644 if shown else 0o600
        with written(path):
            path.parent.mkdir(mode=0o755 if shared else 0o700, parents=True, exist_ok=True)
            write_new(path, [text], mode=mode)
        write(f"{plain(path)}: written")


def write_new(path: Path, pieces: Iterable[str], *, mode: int = 0o600) -> None:
    """A new file, or no file. Raises OSError, FileExistsError where there is one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.writelines(pieces)
    except BaseException:
        path.unlink()
        raise


@contextmanager
def written(path: Path) -> Iterator[None]:
    """What the system has against writing it, as an error of ours."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written: {(error.strerror or str(error)).lower()}",
            hint="check the folder's permissions and the free space",
        ) from error


def create_database(config: Path, *, dry_run: bool) -> None:
    from svcctl.config.load import load
    from svcctl.store.database import Database
    from svcctl.store.migrate import upgrade

    if dry_run:
        write(f"would create or upgrade {plain(config.with_name('svcctl.db'))}")
        return
    database = Database(load(config).database_url)
    try:
        upgraded = upgrade(database)
    finally:
        database.close()
    write(f"{plain(database.name)}: {'created' if upgraded.before is None else 'up to date'}")
