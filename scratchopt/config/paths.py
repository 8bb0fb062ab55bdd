"""The paths that a user gives, relative to where the command was started."""

import os
import re
import shlex
from pathlib import Path

from hydra.core.hydra_config import HydraConfig


def starting_directory() -> Path:
    """The directory in which the command was started, wherever `hydra.job.chdir` has gone since."""
    return Path(HydraConfig.get().runtime.cwd if HydraConfig.initialized() else os.getcwd())


def absolute_path(given: str | Path) -> Path:
    """A path as the user meant it, `~` and what is relative resolved."""
    return starting_directory() / os.path.expanduser(given)  # of an unknown ~user, as it is


def to_paste(path: Path) -> str:
    """A path to paste into a shell where the command was started."""
    here = starting_directory()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def quote_override(text: str) -> str:
    """Quotes a text for Hydra's command line, so that it is read as it stands."""
    escaped = re.sub(r"(\\*)(?='|$)", r"\1\1", text).replace("'", r"\'")
    return "'" + escaped.replace("${", r"\${") + "'"
