"""Checks of a parameter and its gradient, made before the first step that they take part in."""

import torch
from torch import Tensor

from scratchopt.engine.eager import WIDER
from scratchopt.engine.shapes import refuse_parameter
from scratchopt.engine.update import Update
from scratchopt.method import Method


def check_parameter(method: type[Method], p: Tensor, update: Update) -> None:
    """Refuses a parameter that the options of its group, or the method, cannot update.

    Args:
        method: of the optimizer.
        p: the parameter, with its gradient if it has one.
        update: of its group.

    Raises:
        RuntimeError: with the remedy.
    """
    options = update.options
    refuse_parameter(update.shape, method.__name__, p)
    if p.grad is not None and p.grad.layout != torch.strided:
        _check_sparse(method, update)
    if options.fused and p.is_meta:
        raise RuntimeError(
            "fused=True works on memory, and a parameter on the meta device has none: move the "
            "model to another device before the first step, or use foreach=True"
        )
    if options.compensated and p.dtype not in WIDER:
        raise RuntimeError(f"compensated=True is for bfloat16 and float32, not for {p.dtype}")


def _check_sparse(method: type[Method], update: Update) -> None:
    """Refuses a sparse gradient where it can't be taken."""
    name, options = method.__name__, update.options
    if not method.sparse or options.fused:
        raise RuntimeError(
            f"{name} does not support sparse gradients here: use an embedding with "
            "sparse=False, or SGD or Adagrad without fused=True"
        )
    if options.weight_decay:
        raise RuntimeError(
            f"weight_decay option is not compatible with sparse gradients: set {name}'s to 0, "
            "or use an embedding with sparse=False"
        )
    if update.takes_tensors and update.keys:
        raise RuntimeError(
            f"differentiable=True is not compatible with {name}'s sparse gradients: use an "
            "embedding with sparse=False"
        )
