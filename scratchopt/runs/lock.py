"""One run at a time writes to a directory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from filelock import FileLock, Timeout

from scratchopt.config.fields import UserError

# In the directory, where it stays: deleting it would race with those who wait. A file, as file
# systems that several machines share may lock files for all of them, directories for each alone.
LOCK = ".lock"


class Busy(UserError):
    """Another run writes to the directory."""


@contextmanager
def lock_directory(directory: Path, wait: bool = False) -> Iterator[None]:
    """Keeps other runs from a directory, by a lock of the system, which ends with the process.

    Args:
        directory: one that exists.
        wait: for another run's end, rather than to refuse.

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
    # The fallback would be a file whose existence is the lock, and which a killed process leaves.
    lock = FileLock(directory / LOCK, blocking=wait, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise Busy(f"{directory}: another run is writing there; wait for its end") from None
    except OSError as error:
        raise UserError(
            f"{directory / LOCK}: cannot be locked ({error.strerror}); give a folder of a file "
            "system that has locks, as by the mount option flock"
        ) from error
    try:
        yield
    finally:
        lock.release()
