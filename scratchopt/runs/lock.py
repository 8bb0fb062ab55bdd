"""One run at a time writes to a directory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from scratchopt.config.fields import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


class Busy(UserError):
    """Another run writes to the directory."""


@contextmanager
def lock_directory(directory: Path, wait: bool = False, by: Path | None = None) -> Iterator[None]:
    """Keeps other runs from a directory, where the system has locks; they end with a process.

    Args:
        directory: that is there.
        wait: for another run's end, rather than to refuse.
        by: a file whose lock it is; None, the directory itself. File systems that several machines
            share may lock files for all of them, but directories for each alone.

    Raises:
        Busy: another run is there.
        UserError: a file system without locks.
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
    lock = os.open(by, os.O_RDWR | os.O_CREAT) if by else os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            message = f"{directory}: another run is writing there; wait for its end"
            raise Busy(message) from None
        except OSError as error:
            raise UserError(
                f"{by or directory}: cannot be locked ({error.strerror}); give a folder of a file "
                "system that has locks, as by the mount option flock"
            ) from error
        yield
    finally:
        os.close(lock)
