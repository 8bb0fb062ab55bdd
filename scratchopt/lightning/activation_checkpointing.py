"""Activation checkpointing: a block keeps its inputs alone, and is computed again in backward."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

from scratchopt.lightning.patch_method import patch_method
from scratchopt.zero.units import find_units


class ActivationCheckpointing(Callback):
    """Computes the module's blocks again in backward, rather than keep what lies within them.

    Blocks are the elements of `nn.Sequential`s and `nn.ModuleList`s (`scratchopt.zero.units`). Of
    n blocks of a activations each, na numbers are kept between forward and backward; so it is what
    goes into each block, and while it is in backward the a numbers of one. It costs one more
    forward pass of the blocks, a third of a step at most. `checkpoint_activations` does the same
    without a Trainer, and says what a block must be.

    Training is the same to the last bit, and so are checkpoints. The blocks are as they were when
    the fit ends.

    Raises:
        RuntimeError: a module without blocks; a compiled one, whose compiler decides what to keep.

    Reference: Chen et al., "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174.
    """

    def __init__(self) -> None:
        self._undo: Callable[[], None] | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Has the blocks computed again."""
        parts = [part for part in pl_module.modules() if hasattr(part, "_orig_mod")]
        if parts or getattr(pl_module, "_compiler_ctx", None) is not None:
            raise RuntimeError(
                "ActivationCheckpointing: torch.compile decides itself what to compute again: set "
                "torch._functorch.config.activation_memory_budget below 1, or leave one of them out"
            )
        self._restore()
        self._undo = checkpoint_activations(pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves the module as it was."""
        self._restore()

    def on_exception(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Leaves the module as it was."""
        self._restore()

    def _restore(self) -> None:
        if self._undo is not None:
            self._undo()
        self._undo = None


def checkpoint_activations(module: nn.Module) -> Callable[[], None]:
    """Has a model's blocks computed again in backward; calling what is returned undoes it.

    The second time a block gets the same inputs, random numbers (dropout), buffers (a BatchNorm's
    statistics, which count one batch), autocast and default dtype, so that gradients are the same
    to the last bit, second derivatives too. What else a block's `forward` changes it changes twice.

    A block is wrapped within its hooks: FSDP's, stage 3's and the user's own run once. Names in the
    `state_dict()` are the same. A block that is not called, but by another method, keeps all.

    Args:
        module: the model.

    Raises:
        RuntimeError: a model without blocks; in backward, one whose parameters have been updated
            since its forward pass.
    """
    units = dict(find_units(module))
    if not units:
        raise RuntimeError(
            f"activation checkpointing: {type(module).__name__} has no blocks to compute again: "
            "put its layers into an nn.Sequential or nn.ModuleList, or leave it out"
        )
    patches = [
        patch_method(unit, "forward", partial(_run, unit, name, unit.forward))
        for name, unit in units.items()
    ]

    def undo() -> None:
        for unpatch in patches:
            unpatch()

    return undo


def _run(unit: nn.Module, name: str, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Runs a block's forward pass, of which only the inputs are kept.

    In a copy of the block this is the copy's, as partial and bound methods are copied deeply.
    """
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    first = _FirstPass(unit, name)
    return checkpoint(
        forward,
        *args,
        use_reentrant=False,
        context_fn=lambda: (first, _SecondPass(first)),
        **kwargs,
    )


class _FirstPass:
    """A context that notes what a second pass of a block needs to be the same."""

    def __init__(self, unit: nn.Module, name: str) -> None:
        self.unit, self.name = unit, name
        self.dtype = torch.get_default_dtype()  # which Lightning sets for the forward pass alone
        self.versions = [p._version for p in unit.parameters()]
        self.buffers: list[tuple[nn.Module, str, Tensor]] = []  # that it changes, as they were

    def __enter__(self) -> None:
        self._before = [
            (part, name, buffer.clone(), buffer, buffer._version)
            for part in self.unit.modules()
            for name, buffer in part.named_buffers(recurse=False)
        ]

    def __exit__(self, *error: Any) -> None:
        # torch's batch_norm changes statistics, and does not count it as a version.
        self.buffers = [
            (part, name, copy)
            for part, name, copy, buffer, version in self._before
            if isinstance(part, _NormBase) or buffer._version != version
        ]
        self._before = []


class _SecondPass:
    """A context in which all is as before the first pass; it may be entered again and again."""

    def __init__(self, first: _FirstPass) -> None:
        self._first = first

    def __enter__(self) -> None:
        first = self._first
        if [p._version for p in first.unit.parameters()] != first.versions:
            raise RuntimeError(
                f"activation checkpointing: the parameters of {first.name} were updated between "
                "its forward and its backward pass, which computes it again: update them after it"
            )
        self._dtype = torch.get_default_dtype()
        torch.set_default_dtype(first.dtype)
        self._now = [(part, name, part._buffers[name]) for part, name, _ in first.buffers]
        for part, name, before in first.buffers:
            part._buffers[name] = before.clone()

    def __exit__(self, *error: Any) -> None:
        torch.set_default_dtype(self._dtype)
        for part, name, buffer in self._now:
            part._buffers[name] = buffer
