"""A file that is whole or not there, whatever ends the process that writes it."""

import os
from pathlib import Path


def atomic_write(path: Path, content: str | bytes) -> None:
    """Writes a file beside its place, and renames it when its content is on the disk.

    Where it cannot be written, on a full disk say, what was there before stays as it was, and
    nothing is left beside it.

    Raises:
        OSError: a file that cannot be written.
    """
    path = path.resolve()  # a link stays one
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    try:
        with new.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())  # before the rename, or a power cut may keep neither
        os.replace(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
