"""One run at a time writes to a directory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from scripts.fields import Refusal

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


@contextmanager
def claimed(directory: Path) -> Iterator[None]:
    """Keeps other runs from a directory, where the system has locks; they end with a process.

    Raises:
        Refusal: another run is there.
        OSError: nothing can be written.
    """
    try:
        with TemporaryFile(dir=directory) as trial:
            trial.write(bytes(4096))
    except OSError as error:  # of a file that nobody asked for
        raise OSError(error.errno, error.strerror, str(directory)) from error
    if fcntl is None:
        yield
        return
    lock = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"{directory}: another run is writing there; wait for its end"
            raise Refusal(message) from None
        yield
    finally:
        os.close(lock)
