"""LiveLoss: Newton's Hessian under a Trainer."""

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from scratchopt.newton import Newton


class LiveLoss(Callback):
    """Hands each loss to `Newton` while its graph lives.

    The closure that a Trainer gives to `optimizer.step` returns a detached loss, of which no second
    derivative can be taken. `on_before_backward` sees the loss with its graph, once a micro-batch,
    divided by the number of accumulated batches like the gradient. Under DDP the Hessian is
    averaged over the processes, once a step. Without a `Newton` among the optimizers the callback
    does nothing.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lets Newton average over processes; refuses those that hold parts of the parameters."""
        if trainer.world_size == 1:
            return
        for optimizer in trainer.optimizers:
            if isinstance(optimizer, Newton):
                if not isinstance(trainer.strategy, DDPStrategy):
                    raise RuntimeError(
                        "Newton needs all parameters in each process: use strategy='ddp' "
                        f"(accelerator=ddp), not {type(trainer.strategy).__name__}"
                    )
                optimizer.average = trainer.strategy.reduce

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Adds the Hessian of the loss, freed from the factor of a GradScaler."""
        for optimizer in trainer.optimizers:
            if isinstance(optimizer, Newton):
                scaler = getattr(trainer.precision_plugin, "scaler", None)
                optimizer.add_hessian(loss if scaler is None else loss / scaler.get_scale())
