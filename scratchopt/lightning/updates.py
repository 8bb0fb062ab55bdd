"""The updates of a training, with those that Lightning does not count."""

from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch.optim import Optimizer


def _do_nothing(*_: Any) -> None:
    pass


class Updates:
    """Counts updates of the parameters, as `trainer.global_step` does, and those it leaves out.

    With manual optimization Lightning counts the steps of the wrappers that `self.optimizers()`
    returns. A module that steps an optimizer itself, as by `self.optimizers().optimizer.step()` or
    with `use_pl_optimizer=False`, leaves `trainer.global_step` where it is, and no hook is called.
    """

    def __init__(self) -> None:
        self.unseen = 0  # by Lightning
        self._handles: list[Any] = []

    def count(self, trainer: Trainer) -> int:
        """Counts the updates so far."""
        return trainer.global_step + self.unseen

    def watch(
        self,
        trainer: Trainer,
        module: LightningModule,
        before_step: Callable[[Trainer, LightningModule, Optimizer], None] = _do_nothing,
    ) -> None:
        """Watches the optimizers from now on; to be called as training starts.

        Args:
            trainer: of the training.
            module: that is trained.
            before_step: is called before an update that Lightning does not see, when the gradient
                is there, as `on_before_optimizer_step` is before the others.
        """
        self.unwatch()
        if trainer.fit_loop.epoch_loop.batch_progress.total.ready == 0:
            self.unseen = 0  # of another fit
        if module.automatic_optimization:
            return
        progress = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total

        def is_seen() -> bool:
            return progress.ready > progress.completed  # in the midst of a step

        def prepare(optimizer: Optimizer, arguments: Any, options: dict[str, Any]) -> Any:
            if is_seen():
                return None
            own, *rest = arguments
            closure = rest[0] if rest else options.get("closure")
            if closure is None:
                before_step(trainer, module, optimizer)
                return None

            def evaluate() -> Any:
                loss = closure()
                before_step(trainer, module, optimizer)
                return loss

            rest = [evaluate, *rest[1:]]
            return (own, *rest), {k: v for k, v in options.items() if k != "closure"}

        def add(*_: Any) -> None:
            self.unseen += not is_seen()

        for optimizer in trainer.optimizers:
            self._handles.append(optimizer.register_step_pre_hook(prepare))
            self._handles.append(optimizer.register_step_post_hook(add))

    def unwatch(self) -> None:
        """Leaves the optimizers as they were."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
