"""This process's part of what an optimizer updates, and of its state."""

from itertools import chain
from typing import Any

import torch
from torch import Tensor

from scratchopt.zero.grouping import find_shape
from scratchopt.zero.shared_bucket import Shared

# Kept once for each parameter, not for each of its numbers; by torch, and ours beside them.
NUMBERS = {"step", "mu_product", "eta", "mu"}


def give_pieces(optimizer: torch.optim.Optimizer) -> None:
    """Gives an optimizer this process's pieces in place of the parameters."""
    optimizer.state.clear()
    for group in optimizer.param_groups:
        sums = find_shape(optimizer, group).sums  # to which all processes add, even nothing
        pieces = [p.shared.piece for p in group["params"]]
        for p, piece in zip(group["params"], pieces, strict=True):
            piece.requires_grad_(p.requires_grad)
        group["params"] = [piece for piece in pieces if piece.numel() or sums]


def load_part(
    optimizer: torch.optim.Optimizer, groups: list[list[Shared]], whole: dict[str, Any]
) -> None:
    """Loads this process's part of a whole state; each process does so by itself.

    Args:
        optimizer: of this process's pieces.
        groups: the parameters of each group that it was made with.
        whole: a `state_dict()` of a single process, or what `gather_state` returned.

    Raises:
        ValueError: the state of another method, or of other groups.
    """
    counts = [len(group) for group in groups]
    found = [len(group["params"]) for group in whole["param_groups"]]
    if counts != found:
        raise ValueError(
            f"the state is of groups of {found} parameters, and {type(optimizer).__name__} has "
            f"groups of {counts}"
        )
    indices = chain.from_iterable(group["params"] for group in whole["param_groups"])
    numbers = dict(zip(chain.from_iterable(groups), indices, strict=True))
    pieces = [p for group in optimizer.param_groups for p in group["params"]]
    part = {"state": {}, "param_groups": optimizer.state_dict()["param_groups"]}
    for own, saved in zip(part["param_groups"], whole["param_groups"], strict=True):
        own |= {key: value for key, value in saved.items() if key != "params"}
    once = NUMBERS | set(getattr(optimizer, "kept_numbers", ()))
    for i, piece in enumerate(pieces):
        shared: Shared = piece.shared
        values = whole["state"].get(numbers[shared])
        if values is not None:
            part["state"][i] = {
                key: value if key in once else _cut(value, shared) for key, value in values.items()
            }
    optimizer.load_state_dict(part)


def _cut(value: Any, shared: Shared) -> Any:
    """This process's part of a buffer."""
    if shared.bucket.whole or not isinstance(value, Tensor):
        return value
    return value.reshape(-1)[slice(*shared.part)].clone()  # the whole is not needed any more
