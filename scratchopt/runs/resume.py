"""`resume=<run directory>`: a command line that goes on with an earlier run."""

import re
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import ZipFile

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from scratchopt.config.fields import UserError
from scratchopt.config.paths import quote_override

CHECKPOINT = Path("checkpoints", "last.ckpt")
DESCRIBED = (
    *("compress_type", "create_system", "create_version", "extract_version", "flag_bits"),
    *("date_time", "external_attr", "internal_attr", "reserved", "volume", "comment", "extra"),
)
# What Hydra would obey in a primary configuration; that of a run has values alone.
HYDRAS = ("hydra", "defaults")
PACKAGE = re.compile(r"^\s*#\s*@", re.MULTILINE)


def expand_resume(arguments: list[str]) -> list[str]:
    """Replaces the arguments by those of the run that `resume=` names, if it is among them.

    The configuration is then the one that was saved, whatever has become of conf/ since.

    Raises:
        UserError: a directory that holds no run with a checkpoint, or an argument that would change
            the run.
    """
    given = {key: value for key, _, value in (a.partition("=") for a in arguments)}
    if "+resume" in given:
        given["resume"] = given.pop("+resume")
    directory = given.pop("resume", "null").strip("'\"")
    if directory == "null":
        return arguments
    if not directory:
        raise UserError("resume=: give the directory of a run")
    if changed := [key for key in given if key not in ("max_steps", "max_epochs", "trusted")]:
        raise UserError(
            f"resume={directory}: a run goes on as it was configured; beside it only max_steps, "
            f"max_epochs and trusted may be given, not {', '.join(changed)}"
        )
    path = Path(directory).expanduser().absolute()
    choices = _read_choices(path, directory)
    quoted = quote_override(str(path))
    return [
        "--config-path",
        str(path / ".hydra"),
        "--config-name",
        "config",
        "hydra/job_logging=none",
        "hydra.job.chdir=false",
        f"hydra.run.dir={quoted}",
        *(f"+hydra.runtime.choices.{group}={name}" for group, name in choices.items()),
        f"++resume={quoted}",  # so spelt, it is not taken for a new one by the other ranks of DDP
        f"++trusted={given.pop('trusted', 'false')}",  # whatever the run's own file says
        *(f"{key}={value}" for key, value in given.items()),
    ]


def _read_choices(path: Path, directory: str) -> dict[str, str]:
    """Reads by which choices a run was configured, quoted, and checks that it can be resumed.

    Args:
        path: of the run's directory.
        directory: the same, as it was given.

    Raises:
        UserError: one that cannot be resumed.
    """
    for needed in (".", ".hydra/config.yaml", ".hydra/hydra.yaml", str(CHECKPOINT)):
        if not (path / needed).exists():
            missing = "no such directory" if needed == "." else f"there is no {needed} in it"
            remedy = "; give the directory of a run that has begun to train"
            raise UserError(f"resume={directory}: {missing}{remedy if needed != '.' else ''}")
    if not is_sound(path / CHECKPOINT):
        raise UserError(f"resume={directory}: {CHECKPOINT} is damaged; put back a copy of it")
    try:
        config: Any
        choices: Any = OmegaConf.load(path / ".hydra" / "hydra.yaml").hydra.runtime.choices
        names = {group: quote_override(str(choices[group])) for group in ("task", "optimizer")}
        config = OmegaConf.load(path / ".hydra" / "config.yaml")
        config.task  # noqa: B018  (is it there?)
        commands = PACKAGE.search((path / ".hydra" / "config.yaml").read_text(encoding="utf-8"))
    except (YAMLError, OmegaConfBaseException, AttributeError, UnicodeDecodeError) as error:
        raise UserError(f"resume={directory}: a file in its .hydra is damaged") from error
    if config.get("store"):
        raise UserError(
            f"resume={directory}: a run of a store goes on when it is asked for again, and is "
            "longer as another run; give the command that asked for it"
        )
    if commands or any(key in HYDRAS for key in config):
        raise UserError(
            f"resume={directory}: .hydra/config.yaml tells Hydra what to do, as no run has left "
            "it; take hydra, defaults and @package out of that file"
        )
    return names


class DamagedCheckpoint(UserError):
    """A checkpoint that cannot be read."""


def is_sound(checkpoint: Path) -> bool:
    """Tells whether a checkpoint's bytes are as they were written.

    Each of its parts has a checksum; what describes a part is the same for all of them but for
    name, place, size and checksum.
    """
    try:
        with ZipFile(checkpoint) as parts:
            described = {
                (*(getattr(part, name) for name in DESCRIBED), part.file_size - part.compress_size)
                for part in parts.infolist()
            }
            return len(described) == 1 and parts.testzip() is None
    except Exception:  # of many kinds, as the bytes may say anything
        return False


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint, as plain values and tensors on the CPU.

    Raises:
        DamagedCheckpoint: one that is damaged, is none of a run, or holds other values.
        OSError: one that is not there.
    """
    import torch

    path.stat()
    damaged = DamagedCheckpoint(f"{path} is damaged; put back a copy of it")
    if not is_sound(path):
        raise damaged
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        if not named:
            raise damaged from error
        raise DamagedCheckpoint(
            f"{path} holds a {named[1]}, which is no plain value and is not loaded; have the task "
            "save it as a number, a string or a tensor, and begin anew"
        ) from error
    except Exception as error:  # of many kinds, as the bytes may say anything
        raise damaged from error
    if not isinstance(content, dict) or "pytorch-lightning_version" not in content:
        raise DamagedCheckpoint(f"{path} is no checkpoint of a run; put back that of this run")
    return content


def is_resumable(checkpoint: Path) -> bool:
    """Tells whether a run can go on from a checkpoint. If there is one, it imports torch."""
    try:
        read_checkpoint(checkpoint)
    except (DamagedCheckpoint, FileNotFoundError):
        return False
    return True
