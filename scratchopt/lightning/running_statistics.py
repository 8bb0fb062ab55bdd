"""The running statistics of BatchNorm layers, where gradients are taken away from θ."""

from inspect import signature
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from scratchopt.lightning.packages import holds_all_parameters
from scratchopt.lightning.replay import Replay

# A batch has a pass of its own at θ if its number n is a multiple of max(1, n // DENSITY): each at
# first, and later one in n/DENSITY, as θ moves by a part of 1/n. A BatchNorm's momentum of 0.1
# looks ten passes back, and these are then of the last twentieth of the run. With 50 the loss of a
# net of eleven such layers was a quarter larger, with 200 that of statistics made anew.
DENSITY = 200

_REMEDY = (
    "the running statistics of BatchNorm layers are of the points of {name}'s gradients, and not "
    "of the weights that are validated and saved ({why}): call torch.optim.swa_utils.update_bn"
    "(loader, model) before you use them"
)


class RunningStatistics:
    """Keeps running statistics those of θ in a training whose gradients are taken far from it.

    While the parameters are away, the layers normalize as ever and leave their statistics alone.
    These come from passes at θ, before a batch: its `training_step`, made once more by `Replay`,
    of which nothing remains but the statistics. They are those of a training at θ at any time, for
    validations and for whatever is saved; and as n alone says which batches have a pass, a resumed
    run has the same.

    Args:
        trainer: of the training.
        module: that is trained.
        name: of the method, for a warning where no pass can be made.
    """

    def __init__(self, trainer: Trainer, module: LightningModule, name: str) -> None:
        self._trainer, self._module = trainer, module
        self._layers = [part for part in module.modules() if isinstance(part, _BatchNorm)]
        self._held: list[_BatchNorm] = []
        if self._layers and (why := _find_obstacle(trainer, module)):
            rank_zero_warn(_REMEDY.format(name=name, why=why))
            self._layers = []

    def hold(self, *arguments: Any) -> None:
        """Makes a pass at θ, if it is time for one, and has the layers leave their statistics.

        Args:
            arguments: of the coming `training_step`, of which it may take the first alone.
        """
        tracking = [part for part in self._layers if part.training and part.track_running_stats]
        if not tracking or any(map(is_lazy, self._module.parameters())):
            return
        n = self._trainer.fit_loop.total_batch_idx
        if n % max(1, n // DENSITY) == 0:
            step = self._module.training_step
            takes_index = is_param_in_hook_signature(step, "batch_idx", min_args=2)
            self._pass(tracking, arguments[: 1 + takes_index])
        for part in tracking:
            part.track_running_stats = False
        self._held = tracking

    def release(self) -> None:
        """Has the layers track again."""
        for part in self._held:
            part.track_running_stats = True
        self._held = []

    def _pass(self, layers: list[_BatchNorm], arguments: tuple[Any, ...]) -> None:
        found: list[Tensor] = []

        def train(*arguments: Any) -> None:
            self._module.training_step(*arguments)
            found.extend(_buffers(layers))

        Replay(self._trainer, self._module, train, arguments)()
        for buffer, value in zip(_buffers(layers), found, strict=True):
            buffer.copy_(value)


def _buffers(layers: list[_BatchNorm]) -> list[Tensor]:
    return [buffer for layer in layers for buffer in layer.buffers()]


def _find_obstacle(trainer: Trainer, module: LightningModule) -> str:
    """Says why training_step cannot be made once more; empty, where it can."""
    if not module.automatic_optimization:
        return "a training_step that takes the step itself is not made again for them"
    if "dataloader_iter" in signature(module.training_step).parameters:
        return "training_step takes a dataloader_iter"
    if not holds_all_parameters(trainer.strategy):
        return f"{type(trainer.strategy).__name__} shards the parameters"
    return ""
