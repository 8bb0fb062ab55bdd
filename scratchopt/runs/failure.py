"""A run that ends in an error: which errors are what came of it, and its result."""

from pathlib import Path

from hydra.errors import HydraException

from scratchopt.config.fields import UserError
from scratchopt.config.processes import is_process_lost
from scratchopt.runs.result import Result

# In torch's errors, RuntimeErrors all.
NO_MEMORY = ("out of memory", "allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


def is_outcome(error: Exception) -> bool:
    """Tells whether an error is what came of a run, and not about the machine or what was asked.

    Of the second kind are a file that cannot be written, memory, a device, a process or a package
    that is missing, and a target that cannot be made.
    """
    if isinstance(error, (OSError, MemoryError, ImportError, UserError, HydraException)):
        return False
    return not (is_process_lost(error) or any(words in str(error) for words in NO_MEMORY))


def describe_error(error: Exception) -> str:
    """Describes an error as a result has it: its kind and its message."""
    return f"{type(error).__name__}: {error}"


def write_failure(result: Result, error: str, directory: Path) -> Result:
    """Writes the result of a run that ended in an error; nothing is left to be done of it.

    Args:
        result: what is known of the run so far.
        error: of which the first line is kept.
        directory: of the run.
    """
    result.status, result.complete = "failed", True
    result.error = error.partition("\n")[0]
    result.write(directory)
    return result
