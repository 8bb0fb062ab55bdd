"""The content of a checkpoint: plain values, and what the run is that saves it."""

from typing import Any

from lightning.pytorch import Trainer
from torch.distributed.fsdp import FSDPModule

from scratchopt.lightning.plain_values import PlainValues
from scratchopt.lightning.resume_warnings import read_limits

HYPERPARAMETERS = ("hyper_parameters", "datamodule_hyper_parameters")  # not needed to go on


def make_content(trainer: Trainer) -> tuple[dict[str, Any], list[str]]:
    """Makes the content of a checkpoint in plain values; its key `run` says whose it is.

    Returns:
        The content, and warnings of values that are not plain: hyperparameters, which are left out,
        and of others, with which no run can be resumed.
    """
    content = trainer._checkpoint_connector.dump_checkpoint(False)
    warnings = []
    for key in HYPERPARAMETERS:
        if key in content:
            content[key], left_out = _make_plain(content[key], key)
            warnings += [
                f"Left out of the checkpoint: {what}; load_from_checkpoint must be given it"
                for what in left_out
            ]
            content.pop(f"{key.removesuffix('hyper_parameters')}hparams_type", None)
    plain = PlainValues()
    content = {key: plain.make(value, f"[{key!r}]") for key, value in content.items()}
    warnings += [
        f"No run can be resumed from these checkpoints with weights_only=True: {what}; make it a "
        "plain value, as by float() or str()"
        for what in plain.kept + plain.lost
    ]
    module = trainer.lightning_module
    content["run"] = {
        "module": _name_class(module),
        "optimizers": [_name_class(optimizer) for optimizer in trainer.optimizers],
        "limits": read_limits(trainer),
        "trained": [name for name, p in module.named_parameters() if p.requires_grad],
        "lost": plain.lost,
    }
    return content, warnings


def _make_plain(hyperparameters: Any, place: str) -> tuple[dict[str, Any], list[str]]:
    """Makes hyperparameters plain; returns also descriptions of those that cannot be."""
    found, left_out = {}, []
    for key, value in hyperparameters.items():
        plain = PlainValues()
        made = plain.make(value, f"{place}[{key!r}]")
        if plain.kept or plain.lost:
            left_out += plain.kept + plain.lost
        else:
            found[key] = made
    return found, left_out


def _name_class(instance: Any) -> str:
    cls = type(instance)
    if FSDPModule in cls.__bases__:  # made by `fully_shard`, of the module's class
        (cls,) = (base for base in cls.__bases__ if base is not FSDPModule)
    return f"{cls.__module__}.{cls.__qualname__}"
