"""The numbers that a schedule has set for the coming step."""

from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor


def read_scheduled(trainer: Trainer) -> dict[str, Tensor]:
    """Reads lr and momentum (or β₁) of each group, as 0-dim tensors; none without a schedule.

    `lr` and `momentum` are those of the first group. `lr_1`, `lr_2` … are those of other groups in
    steps in which theirs is another; so are their momenta.
    """
    if not trainer.lr_scheduler_configs:
        return {}
    found: dict[str, Tensor] = {}
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    for i, group in enumerate(groups):
        for name, value in _numbers_of(group).items():
            number = torch.as_tensor(value, dtype=torch.float64).detach().reshape(()).clone()
            if not i or name not in found:
                found[name] = number
            elif number != found[name]:
                found[f"{name}_{i}"] = number
    return found


def _numbers_of(group: dict[str, Any]) -> dict[str, Any]:
    betas = group.get("betas")
    momentum = group.get("momentum", betas[0] if betas else None)
    return {"lr": group["lr"]} | ({} if momentum is None else {"momentum": momentum})
