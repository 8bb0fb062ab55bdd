"""Checkpoints of runs: whether one is whole, what is in it, and whose it is."""

from __future__ import annotations

import re
from pathlib import Path
from pickle import UnpicklingError
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

from scratchopt.config.fields import UserError, as_typed
from scratchopt.config.schedules import depends_on_length, name_schedule

if TYPE_CHECKING:  # torch is imported where a checkpoint is read
    from lightning.pytorch import LightningModule

CHECKPOINT = Path("checkpoints", "last.ckpt")  # in the directory of a run
# What a ZIP archive says of each of its parts.
DESCRIBED = (
    *("compress_type", "create_system", "create_version", "extract_version", "flag_bits"),
    *("date_time", "external_attr", "internal_attr", "reserved", "volume", "comment", "extra"),
)


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
        # Whoever looks at shapes alone reads no numbers.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
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


def check_same_run(
    content: dict[str, Any], config: dict[str, Any], module: LightningModule, where: str
) -> None:
    """Refuses a checkpoint of another task or optimizer, of other settings, or of other shapes.

    Args:
        content: of the checkpoint.
        config: of the run that is to go on from it.
        module: of that run.
        where: the checkpoint, as messages call it.

    Raises:
        UserError: with what differs.
    """
    from torch import Tensor
    from torch.nn.parameter import is_lazy

    remedy = "put back the checkpoint of this run"
    saved = content.get("run", {})
    classes = [(type(module), saved.get("module"))]
    optimizer = resolve_name(config["optimizer"]["_target_"])
    if isinstance(optimizer, type):  # of what a function makes, nobody knows yet
        classes.append((optimizer, saved.get("optimizers", [None])[0]))
    for cls, then in classes:
        now = f"{cls.__module__}.{cls.__qualname__}"
        if then not in (None, now):
            raise UserError(f"{where} is of {then}, and this run is of {now}; {remedy}")
    known = content.get("hyper_parameters", {})
    for key, value in config["task"].items():
        if key in known and known[key] != value and not key.startswith("_"):
            raise UserError(
                f"{where} is of task.{key}={as_typed(known[key])}, and this run of "
                f"{as_typed(value)}; {remedy}"
            )
    own, weights = module.state_dict(), content["state_dict"]
    for name in own.keys() & weights.keys():
        has_shape = isinstance(own[name], Tensor) and not is_lazy(own[name])
        if has_shape and own[name].shape != weights[name].shape:
            raise UserError(
                f"{where} has a {name} of shape {tuple(weights[name].shape)}, and this run one of "
                f"{tuple(own[name].shape)}; {remedy}"
            )


def check_same_length(content: dict[str, Any], config: dict[str, Any], where: str) -> None:
    """Refuses another length of a run whose schedule was made for the one it had.

    Args:
        content: of the checkpoint.
        config: of the run that is to go on from it.
        where: the run, as messages call it.

    Raises:
        UserError: with what differs.
    """
    if not depends_on_length(config["schedule"]):
        return
    for key, then in (content.get("run", {}).get("limits") or {}).items():
        now, then = (-1 if x is None else x for x in (config[key], then))
        if now != then:
            name = name_schedule(config["schedule"])
            raise UserError(
                f"{where}: schedule={name} was made for the length of the run, {key}={then}, and "
                f"would not be that of a run with {key}={now}; go on without {key}, or begin anew"
            )
