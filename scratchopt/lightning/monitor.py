"""OptimizerMonitor: what an optimizer does, measured while a Trainer trains."""

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from scratchopt.lightning.clipping import call_after_clipping
from scratchopt.lightning.divergence import (
    BadLoss,
    Diverged,
    LossCheck,
    check_parameters,
    check_values,
    diverged_at,
)
from scratchopt.lightning.evaluations import Evaluations
from scratchopt.lightning.fully_shard import reshard
from scratchopt.lightning.named_parameters import find_trained
from scratchopt.lightning.patch_method import do_nothing
from scratchopt.lightning.scalars import Rows, Scalars
from scratchopt.lightning.scheduled import read_scheduled
from scratchopt.lightning.shards import shape_of
from scratchopt.lightning.step_metrics import Quantity, StepMetrics
from scratchopt.lightning.updates import Updates

PARTIAL = ("angle", "update_ratio")  # undefined where nothing moves, or all is zero
SMALL = 10_000  # parameters of a net whose every step is measured, unless told otherwise


class OptimizerMonitor(Callback):
    """Logs the numbers of a step, for any module and any torch optimizer.

    `train/loss`, of every step: at the evaluated point; of accumulated batches their mean, weighted
    by their sizes, as `MeanGradient` makes the gradient.

    From every `every`-th step:
    `train/gradnorm`: 2-norm of the gradient over all parameters, unscaled and before clipping (with
    manual optimization after it).
    `train/gradnorm_clipped`: the same after clipping, where the Trainer or the module clips.
    `train/velocity`: 2-norm of Δθ = θ_after − θ_before, the displacement of the step.
    `train/update_ratio`: ‖Δθ‖ / ‖θ_before‖.
    `train/angle`: between Δθ and −g, in degrees, with g the gradient before clipping: 0 for plain
    gradient descent, more than 90 where the step climbs.

    `train/lr` and `train/momentum` (β₁ of Adam and its kin) of the step, where there is a schedule;
    of several groups the first one's, and `train/lr_1` and so on where another's differ.

    `train/cost`, of an optimizer that says what a step costs, as `Newton` does: gradient
    evaluations of the batch, products with the curvature among them. Of others, the backward passes
    of a step that takes more or fewer than accumulate_grad_batches, as LBFGS does, or the last step
    of an epoch.

    Parameters are those that require a gradient or are an optimizer's; those that join later, as
    from a part that is thawed or of a lazy layer, are measured from the next measurement on. With
    several optimizers each one's gradients are those of its own step. With several processes the
    loss is the mean, and norms are those of the whole parameters, under DDP and where they are
    sharded (FSDP2, ZeRO).

    Steps count from 0: step i is evaluated at θ_i (an exact NAG: at its lookahead point) and leads
    to θ_{i+1}. The numbers are gathered as 0-dim tensors and written together, because reading one
    waits for the device, and Lightning's `self.log` takes as long as a small network's step.

    `history` has all that was logged; a checkpoint keeps it. `evaluations` counts the backward
    passes, `cost` gradient evaluations, the same for all but `Newton`.

    Args:
        every: steps between two measurements, >= 1; None: 1 up to 10,000 parameters, 20 beyond.
            They take twice the memory of the parameters.
        write_every: steps between two writes, >= 1; the memory for the numbers is all it decides.
        layers: whether to log all but the loss of each parameter tensor too, as
            `gradnorm/<its name>` and so on.

    Raises:
        ValueError: a number of steps below 1.
        Diverged: a loss, velocity or parameter that is NaN or infinite, after it was logged; and a
            checkpoint after it is not written. A loss is found as its step ends, on a GPU a step
            later; the others at the next write. It says so if it was the batch that was not finite.
    """

    def __init__(
        self, every: int | None = None, write_every: int = 50, *, layers: bool = False
    ) -> None:
        for name, steps in (("every", every), ("write_every", write_every)):
            if steps is not None and steps < 1:
                raise ValueError(f"Invalid {name}: {steps} ({name} >= 1)")
        self.every, self.write_every, self.layers = every, write_every, layers
        self._scalars = Scalars(PARTIAL)
        self._evaluations = Evaluations()
        self._step = 0
        self._measured: int | None = None  # the last step that was measured, or is being
        self._normed = False  # whether its gradient was measured
        self._clipping = False  # whether its gradient is to be measured again, clipped
        self._names: list[str] = []
        self._parameters: list[Tensor] = []
        self._metrics = StepMetrics([])
        self._batch: Any = None  # under way
        self._updates = Updates()
        self._losses: LossCheck  # of the training under way
        self._unpatch: Callable[[], None] = do_nothing

    @property
    def evaluations(self) -> int:
        """Backward passes so far."""
        return self._evaluations.count

    @property
    def cost(self) -> float:
        """Gradient evaluations so far."""
        return self._evaluations.cost

    @property
    def history(self) -> Rows:
        """The logged values by tag, as (step, value) pairs."""
        return self._scalars.history

    @property
    def latest(self) -> dict[str, float]:
        """The last value by tag; none of what was not defined when all was measured last."""
        last = {tag: rows[-1] for tag, rows in self.history.items()}
        measured, _ = last.get("train/velocity", (0, 0.0))
        return {tag: value for tag, (step, value) in last.items() if step >= measured}

    def count_updates(self, trainer: Trainer) -> int:
        """The updates so far, those that Lightning does not see among them."""
        return self._updates.count(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the first θ."""
        reshard(pl_module)
        self._names, self._parameters, self._metrics = [], [], StepMetrics([])
        self._take_parameters(trainer, pl_module)
        self._evaluations.begin(trainer.optimizers)
        self._losses = LossCheck(trainer)
        self._updates.watch(trainer, pl_module, self.on_before_optimizer_step)
        self._step = self._updates.count(trainer)
        if self._measured is not None and self._measured >= self._step:  # of another fit, or begun
            self._measured = None
        self._unpatch = call_after_clipping(trainer, pl_module, self._take_clipped)
        self._begin_step()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keeps the batch for as long as it lasts."""
        self._batch = batch

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Counts the evaluation."""
        self._evaluations.add_pass(loss)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Takes the gradnorm: here the gradient is whole, unscaled and not yet clipped."""
        if not self._measuring:
            return
        self._take_parameters(trainer, pl_module)
        if len(trainer.optimizers) > 1:
            self._normed = True
            self._metrics.take_gradient(
                [p for group in optimizer.param_groups for p in group["params"]]
            )
        elif not self._normed:  # the first of a step
            self._normed = self._clipping = True
            for name, value in read_scheduled(trainer).items():
                self._gather(f"train/{name}", value)
            self._metrics.take_gradient()
            self._gather_with_layers("gradnorm", self._metrics.gradnorm())

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Takes the loss, and after a step the velocity."""
        batches, automatic = trainer.accumulate_grad_batches, pl_module.automatic_optimization
        self._batch = None
        loss = self._evaluations.end_batch(batch if batches > 1 else None, outputs, automatic)
        updates = self._updates.count(trainer)
        stepped = updates != self._step
        self._losses.take(loss, batch)
        bad = self._losses.find(self._step, stepped=stepped)
        if not (stepped or bad):
            return
        loss, cost = self._evaluations.end_step(batches)
        if loss is not None:
            self._gather("train/loss", loss)
        if cost is not None:
            self._gather("train/cost", torch.tensor(float(cost)))
        if stepped and self._measuring and self._normed:
            if len(trainer.optimizers) > 1:
                self._gather_with_layers("gradnorm", self._metrics.gradnorm())
            for kind, quantity in self._metrics.end().items():
                self._gather_with_layers(kind, quantity)
        self._step = updates
        self._begin_step()
        if bad or self._step % self.write_every == 0:
            self.write(trainer, bad)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the loss of an evaluation that no update followed."""
        loss = self._evaluations.end_unused(
            counts=getattr(trainer.precision_plugin, "scaler", None) is None,
            batches=trainer.accumulate_grad_batches,
        )
        if loss is not None:
            self._gather("train/loss", loss)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the rest, and leaves the module as it was."""
        self._leave()
        self.write(trainer)
        self._check_parameters(trainer)

    def on_exception(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Writes what there is; of several processes not the losses, which want their mean."""
        if trainer.world_size > 1:  # the others may be elsewhere
            self._scalars.forget("train/loss")
        self._leave()
        self._scalars.write(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Writes what there is; a diverged state is not worth a checkpoint and raises."""
        self.write(trainer)
        self._check_parameters(trainer)
        checkpoint["callbacks"][self.state_key] = self.state_dict()  # the one in there is older
        for logger in trainer.loggers:
            logger.save()  # or a run that is killed and goes on from here leaves a gap in the log

    def state_dict(self) -> dict[str, Any]:
        """The history and the counts."""
        counts, rows = self._evaluations.state_dict(), self._scalars.state_dict()
        return {**counts, "unseen": self._updates.unseen, "measured": self._measured, **rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues a saved history."""
        self._evaluations.load_state_dict(state_dict)
        self._updates.unseen = state_dict.get("unseen", 0)
        self._measured = state_dict.get("measured")
        self._scalars.load_state_dict(state_dict)

    def describe_divergence(self, trainer: Trainer, error: Exception) -> Diverged:
        """Describes as a divergence an error that ended a step, such as Newton's.

        If the loss of that step is not finite, it is that, and is in the history.
        """
        loss = self._evaluations.first
        if loss is not None and not loss.isfinite():
            self._losses.take(loss, self._batch)
            self._gather("train/loss", loss)
            try:
                self.write(trainer, self._losses.find(self._step, stepped=True))
            except Diverged as diverged:
                return diverged
        return Diverged(f"{diverged_at(self._step)}: {error}")

    def write(self, trainer: Trainer, bad: BadLoss | None = None) -> None:
        """Writes the gathered numbers to the loggers; raises `Diverged` if one is not finite."""
        written = self._scalars.write(trainer, mean=("train/loss",))
        check_values(trainer, written, bad)

    def _check_parameters(self, trainer: Trainer) -> None:
        """Looks at the parameters: the last update may have been too much, yet not measured."""
        check_parameters(trainer, self._parameters, self._step - 1)

    def _take_parameters(self, trainer: Trainer, module: LightningModule) -> None:
        """Finds the parameters; those that are new start this step from what they hold now."""
        named = find_trained(module, trainer.optimizers)
        if list(named) == self._names:
            return
        self._names, self._parameters = list(named), list(named.values())
        count = sum(shape_of(p).numel() for p in self._parameters)
        self._every = self.every or (1 if count <= SMALL else 20)
        self._metrics = StepMetrics(self._parameters, self._metrics)

    def _leave(self) -> None:
        """Leaves module and optimizers as they were."""
        self._unpatch()
        self._updates.unwatch()

    def _begin_step(self) -> None:
        """Decides whether the coming step is measured, and takes the θ that it starts from."""
        self._normed = False
        if self._measured is None or self._step - self._measured >= self._every:
            self._measured = self._step
            self._metrics.begin()

    @property
    def _measuring(self) -> bool:
        return self._measured == self._step

    def _take_clipped(self) -> None:
        """Measures the gradient again, clipped."""
        if self._clipping:
            self._clipping = False
            self._gather_with_layers("gradnorm_clipped", self._metrics.current_gradnorm())

    def _gather_with_layers(self, kind: str, quantity: Quantity) -> None:
        self._gather(f"train/{kind}", quantity.overall)
        for name, value in (
            zip(self._names, quantity.per_tensor, strict=True) if self.layers else ()
        ):
            self._gather(f"{kind}/{name}", value)

    def _gather(self, tag: str, value: Tensor) -> None:
        self._scalars.gather(tag, self._step, value)
