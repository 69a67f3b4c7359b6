"""What must be on the disk before anybody relies on it."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """A file's content, or the names in a folder, survive a power loss from here on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
