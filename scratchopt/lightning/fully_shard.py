"""FSDP2 for any LightningModule: Lightning's own strategy asks each module to shard itself."""

from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import ModelParallelStrategy, StrategyRegistry
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.optim import Optimizer


class FullyShard(ModelParallelStrategy):
    """Shards parameters, gradients and optimizer states over all processes (FSDP2).

    Each child of the module that has parameters is a unit, which is whole while it computes, and
    what is left is one more. A module that shards itself in `configure_model` is left as it is.
    Checkpoints are single files with whole tensors. By name, `Trainer(strategy="fsdp2")`, once
    `scratchopt.lightning` is imported.

    Args:
        settings: of Lightning's `ModelParallelStrategy`.

    Reference: Zhao et al., "PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel",
    arXiv:2304.11277; torch's `fully_shard`.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"save_distributed_checkpoint": False, **settings})

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
        return super().optimizer_state(optimizer)

    def load_checkpoint(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Loads module and optimizers, each process its shards."""
        checkpoint = super().load_checkpoint(*args, **kwargs)
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=False):
            if not saved["state"]:
                optimizer.state.clear()  # of what torch made, as above
        return checkpoint

    def _shard(self, module: LightningModule) -> None:
        if isinstance(module, FSDPModule):  # as in a test after the training
            return
        mesh = self.device_mesh["data_parallel"]
        for child in module.children():
            if any(True for _ in child.parameters()):
                fully_shard(child, mesh=mesh)
        fully_shard(module, mesh=mesh)


StrategyRegistry.register(
    "fsdp2",
    FullyShard,
    description="FSDP2, each child module a unit",
)
