"""LiveLoss: Newton's curvature under a Trainer."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from scratchopt.lightning.packages import holds_all_parameters
from scratchopt.lightning.patch_method import patch_method
from scratchopt.lightning.statistics_pass import skip_step
from scratchopt.second_order.curvature import COMPILED, twice_differentiable


class LiveLoss(Callback):
    """Hands each loss to `Newton` while its graph lives.

    The closure that a Trainer gives to `optimizer.step` returns a detached loss, of which no second
    derivative can be taken. `on_before_backward` sees the loss with its graph, once a micro-batch,
    divided by the number of accumulated batches like the gradient. For conjugate gradients that
    graph is kept till the step; for the Gauss–Newton matrix the network's outputs are what
    `self(inputs)` returned last in `training_step`. Attention is computed by the kernel of torch's
    that has second derivatives. Under DDP the curvature is averaged over the processes. Without a
    `Newton` among the optimizers the callback does nothing.
    """

    def __init__(self) -> None:
        self._newtons: list[Any] = []  # of the training
        self._outputs: Any = None
        self._undo: tuple[Callable[[], Any], ...] = ()  # of the training
        self._batch = ExitStack()  # of the batch

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Arranges for what Newton needs; refuses processes with parts of the parameters."""
        newtons: list[Any] = [o for o in trainer.optimizers if hasattr(o, "add_curvature")]
        if newtons and getattr(pl_module, "_compiler_ctx", None) is not None:
            raise RuntimeError(COMPILED.format("Newton"))
        if newtons and not holds_all_parameters(trainer.strategy):
            raise RuntimeError(
                "Newton needs all parameters in each process: use strategy='ddp' "
                f"(accelerator=ddp), not {type(trainer.strategy).__name__}"
            )
        if trainer.world_size > 1:
            for optimizer in newtons:
                optimizer.average = trainer.strategy.reduce
        self._newtons, self._undo = newtons, ()
        if any(optimizer.keeps_graphs for optimizer in newtons):
            retaining = partial(pl_module.backward, retain_graph=True)
            self._undo += (patch_method(pl_module, "backward", retaining),)
        if any(optimizer.needs_outputs for optimizer in newtons):
            handle = pl_module.register_forward_hook(self._keep)
            self._undo += (handle.remove,)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        """Chooses kernels with second derivatives; takes no step where there is no backward."""
        if self._newtons:
            self._batch.enter_context(twice_differentiable())
            self._batch.callback(skip_step(trainer, pl_module))

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Gives torch its kernels back, and the module its step."""
        if self._newtons:
            self._batch.close()

    def on_train_epoch_end(self, *args: Any, **kwargs: Any) -> None:
        """Does the same where a batch was broken off."""
        self._batch.close()

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Adds the curvature of the loss, freed from the factor of a GradScaler."""
        if not self._newtons:
            return
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        for optimizer in self._newtons:
            unscaled = loss if scaler is None else loss / scaler.get_scale()
            optimizer.add_curvature(unscaled, self._outputs)
        self._outputs = None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves the module as it was."""
        self._batch.close()
        for undo in self._undo:
            undo()
        self._undo = ()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leaves the module as it was."""
        self.on_train_end(trainer, pl_module)

    def _keep(self, module: LightningModule, inputs: Any, outputs: Any) -> None:
        loss = not isinstance(outputs, Tensor) or outputs.dim() == 0  # DDP calls training_step so
        if module.training and not loss:
            self._outputs = outputs
