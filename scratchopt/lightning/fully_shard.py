"""FSDP2 for any LightningModule: Lightning's own strategy asks each module to shard itself."""

from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import ModelParallelStrategy, StrategyRegistry
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_optimizer_state_dict
from torch.distributed.fsdp import (
    FSDPModule,
    OptimStateKeyType,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.fsdp import FullyShardedDataParallel as FSDP
from torch.optim import Optimizer

from scratchopt.optimizer import Optimizer as OurOptimizer
from scratchopt.zero.units import find_units


class FullyShard(ModelParallelStrategy):
    """Shards parameters, gradients and optimizer states over all processes (FSDP2).

    A unit is whole only while it computes. Units are the elements of `nn.Sequential`s and
    `nn.ModuleList`s, as in `scratchopt.zero`, such as a transformer's blocks; then each child of
    the module, with what is in no list; and what is left is one more. A module that shards itself
    in `configure_model` is left as it is. Checkpoints are single files with whole tensors. By name,
    `Trainer(strategy="fsdp2")`, once `scratchopt.lightning` is imported.

    Args:
        settings: of Lightning's `ModelParallelStrategy`, but for save_distributed_checkpoint.

    Raises:
        RuntimeError: a module with a scalar parameter, or one that units share.

    Reference: Zhao et al., "PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel",
    arXiv:2304.11277; torch's `fully_shard`.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(save_distributed_checkpoint=False, **settings)

    def setup_environment(self) -> None:
        """Puts all processes into one group, and has the module shard itself."""
        if self._data_parallel_size == "auto" and self._tensor_parallel_size == "auto":
            self._data_parallel_size = self.num_nodes * self.num_processes
            self._tensor_parallel_size = 1
        super().setup_environment()
        module: Any = self.lightning_module
        if not is_overridden("configure_model", module):
            module.configure_model = lambda: self._shard(module)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The whole state, on the first process; before the first step there is none.

        torch would make one there, by a step that counts in Adam's bias correction.
        """
        if not optimizer.state:
            return optimizer.state_dict()
        state = super().optimizer_state(optimizer)
        if not state:  # on all processes but the first
            return state
        state = self._rekey(state, OptimStateKeyType.PARAM_NAME)
        return self._rekey(state, OptimStateKeyType.PARAM_ID, optimizer)

    def load_checkpoint(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Loads module and optimizers, each process its shards."""
        optimizers, self.optimizers = self.optimizers, []
        try:
            checkpoint = super().load_checkpoint(*args, **kwargs)
        finally:
            self.optimizers = optimizers
        module: Any = self.model
        options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
        for optimizer, saved in zip(optimizers, checkpoint["optimizer_states"], strict=False):
            if _has_tensors(saved["state"]):
                if isinstance(optimizer, OurOptimizer):
                    optimizer.make_state()  # or torch would, by a step with gradients of zero
                saved = self._rekey(saved, OptimStateKeyType.PARAM_NAME, optimizer)
                set_optimizer_state_dict(module, optimizer, optim_state_dict=saved, options=options)
            else:
                optimizer.load_state_dict(saved)
        return checkpoint

    def _rekey(self, state: Any, kind: OptimStateKeyType, optimizer: Any = None) -> dict[str, Any]:
        """Gives the parameters of a state their names, or their numbers.

        They are numbered in the optimizer's order, as everywhere else; where Lightning has done it,
        in the module's, which may have other parameters, too.
        """
        module: Any = self.model
        return FSDP.rekey_optim_state_dict(state, kind, module, optim=optimizer)

    def _shard(self, module: LightningModule) -> None:
        if isinstance(module, FSDPModule):  # as in a test after the training
            return
        _check_shardable(module)
        mesh = self.device_mesh["data_parallel"]
        # Whole parameters would outlive a validation, and an exact NAG's lookahead moves shards.
        for unit in (*_find_units(module).values(), module):
            fully_shard(unit, mesh=mesh, reshard_after_forward=True)
        for step in ("training_step", "validation_step", "test_step", "predict_step"):
            register_fsdp_forward_method(module, step)  # what Lightning calls in place of forward


def reshard(module: torch.nn.Module) -> None:
    """Shards again what a pass without a backward, such as a validation, has left whole."""
    for unit in module.modules():
        if isinstance(unit, FSDPModule):
            unit.reshard()


def _has_tensors(state: dict[Any, dict[str, Any]]) -> bool:
    """True if a state has more than numbers, which each process has whole."""
    values = (value for values in state.values() for value in values.values())
    return any(isinstance(value, Tensor) and value.dim() for value in values)


_CONTAINERS = torch.nn.ModuleList, torch.nn.ModuleDict  # which have no forward pass


def _find_units(module: LightningModule) -> dict[str, torch.nn.Module]:
    """The units of stage 3, and then the children, of what is in no list."""
    units = dict(find_units(module))
    for name, child in module.named_children():
        if not isinstance(child, _CONTAINERS) and any(True for _ in child.parameters()):
            units.setdefault(name, child)
    return units


def _check_shardable(module: LightningModule) -> None:
    owners: dict[Any, tuple[str, str]] = {}
    units = _find_units(module)
    for name, p in module.named_parameters(remove_duplicate=False):
        if p.dim() == 0:
            raise RuntimeError(
                f"fsdp2 does not shard a scalar, as {name} is: use strategy='ddp' (accelerator=ddp)"
            )
        unit = next((unit for unit in units if name.startswith(f"{unit}.")), "")
        other, owner = owners.setdefault(p, (name, unit))
        if owner != unit:
            raise RuntimeError(
                f"fsdp2 would make {other} and {name}, which are one parameter, two: shard the "
                "module in its configure_model, or use strategy='ddp' (accelerator=ddp)"
            )


StrategyRegistry.register(
    "fsdp2",
    FullyShard,
    description="FSDP2, each element of a list a unit, and each child",
)
