"""A file that is whole or not there, whatever ends the process that writes it."""

import os
from pathlib import Path


def atomic_write(path: Path, text: str) -> None:
    """Writes a file beside its place, and renames it when its text is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    with new.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())  # before the rename, or a power cut may keep neither
    os.replace(new, path)
