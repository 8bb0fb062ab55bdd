"""OptimizerMonitor: loss, gradnorm and velocity of every step, at next to no cost."""

import math
from collections import defaultdict
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from scratchopt.lightning.fully_shard import reshard


class Diverged(RuntimeError):
    """A loss or a parameter became NaN or infinite."""


class OptimizerMonitor(Callback):
    """Logs three numbers of each step, for any module and any torch optimizer.

    `train/loss`: the loss at the evaluated point, the mean over accumulated micro-batches.
    `train/gradnorm`: 2-norm of the gradient over all parameters, unscaled and before clipping.
    `train/velocity`: 2-norm of θ_after − θ_before, the displacement of the step.

    `train/cost`, of an optimizer that says what a step costs, as `Newton` does: gradient
    evaluations of the batch, products with the curvature among them.

    Of several processes the loss is the mean, and norms are those of the whole parameters, under
    DDP and where they are sharded (FSDP2).

    Steps count from 0: step i is evaluated at θ_i (an exact NAG: at its lookahead point) and leads
    to θ_{i+1}. The numbers are gathered as 0-dim tensors and written together, because reading one
    waits for the device, and Lightning's `self.log` takes as long as a small network's step.

    `history` has all that was logged, by tag, as (step, value) pairs; a checkpoint keeps it.
    `evaluations` counts the backward passes, `cost` gradient evaluations, the same for all but
    `Newton`.

    Args:
        every: steps between two writes, >= 1; the memory for the numbers is all it decides.

    Raises:
        Diverged: a loss or velocity that is NaN or infinite, found at the next write, after it was
            logged; and a checkpoint after it is not written.
    """

    def __init__(self, every: int = 50) -> None:
        if every < 1:
            raise ValueError(f"Invalid OptimizerMonitor interval: {every} (every >= 1)")
        self.every = every
        self.evaluations = 0
        self.cost = 0.0
        self.history: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self._waiting: dict[str, list[tuple[int, Tensor]]] = defaultdict(list)
        self._loss: Tensor | None = None  # of the step under way, over its micro-batches
        self._evaluated: Tensor | None = None  # the loss of a backward pass not yet accounted for
        self._first: Tensor | None = None  # the loss of the batch's first backward pass
        self._step = self._passes = 0
        self._normed = -1  # the step whose gradnorm was taken last

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the first θ."""
        reshard(pl_module)
        self._parameters: list[torch.Tensor] = [
            p for p in pl_module.parameters() if p.requires_grad
        ]
        self._before = [p.detach().clone() for p in self._parameters]
        self._costly: list[Any] = [o for o in trainer.optimizers if hasattr(o, "cost")]
        self._step, self._passes, self._normed = trainer.global_step, 0, -1

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Counts the evaluation; the batch's first is at the step's point, others are trials."""
        self.evaluations += 1
        self._evaluated = loss.detach()
        self._passes += 1
        if self._passes == 1:
            self._first = self._evaluated

    @torch.no_grad()
    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Takes the gradnorm: here the gradient is whole, unscaled and not yet clipped."""
        grads = [p.grad for p in self._parameters if p.grad is not None]
        if grads and self._normed != self._step:  # the first of a step
            self._normed = self._step
            self._gather("train/gradnorm", _norm(grads))

    @torch.no_grad()
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Takes the loss, and after a step the velocity."""
        self._evaluated = None
        passes, self._passes = self._passes, 0
        self.cost += 0 if self._costly else passes
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, Tensor) and passes > 1 and pl_module.automatic_optimization:
            loss = self._first
        if isinstance(loss, Tensor):
            self._loss = loss if self._loss is None else self._loss + loss
        if trainer.global_step == self._step:
            return
        if self._loss is not None:
            self._gather("train/loss", self._loss)
        if self._costly:
            cost = sum(optimizer.cost for optimizer in self._costly)
            self.cost += cost
            self._gather("train/cost", torch.tensor(cost))
        torch._foreach_sub_(self._before, self._parameters)  # in place: new memory costs more
        self._gather("train/velocity", _norm(self._before))
        for before, after in zip(self._before, self._parameters, strict=True):
            before.copy_(after)  # no foreach: sharded tensors have none
        self._loss, self._step = None, trainer.global_step
        if self._step % self.every == 0:
            self.write(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes an evaluation that no update followed."""
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        if self._evaluated is not None and not scaled:
            loss = self._evaluated if self._loss is None else self._evaluated + self._loss
            self._gather("train/loss", loss)
        self._evaluated = None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the rest."""
        self.write(trainer)

    def on_exception(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Writes what there is; of several processes not the losses, which want their mean."""
        if trainer.world_size > 1:  # the others may be elsewhere
            self._waiting.pop("train/loss", None)
        self._write(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Writes what there is; a diverged state is not worth a checkpoint and raises."""
        self.write(trainer)
        checkpoint["callbacks"][self.state_key] = self.state_dict()  # the one in there is older

    def state_dict(self) -> dict[str, Any]:
        """The history, as tensors, and the count of evaluations."""
        return {
            "evaluations": self.evaluations,
            "cost": self.cost,
            "steps": {tag: torch.tensor([s for s, _ in row]) for tag, row in self.history.items()},
            "values": {
                tag: torch.tensor([v for _, v in row], dtype=torch.float64)
                for tag, row in self.history.items()
            },
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from a saved history."""
        self.evaluations = state_dict["evaluations"]
        self.cost = state_dict.get("cost", self.evaluations)
        for tag, steps in state_dict["steps"].items():
            values = state_dict["values"][tag]
            self.history[tag] = list(zip(steps.tolist(), values.tolist(), strict=True))

    def write(self, trainer: Trainer) -> None:
        """Writes the gathered numbers to the loggers; raises `Diverged` if one is not finite."""
        written = self._write(trainer)
        bad = [
            (step, tag, value)
            for tag in ("train/loss", "train/velocity")
            for step, value in written.get(tag, ())
            if not math.isfinite(value)
        ]
        if bad:
            step, tag, value = min(bad)
            optimizer = trainer.optimizers[0]
            raise Diverged(
                f"diverged at step {step}: {tag} is {value} with {type(optimizer).__name__}, "
                f"lr={float(optimizer.param_groups[0]['lr']):g}: try a smaller lr"
            )

    def _gather(self, tag: str, value: Tensor) -> None:
        self._waiting[tag].append((self._step, value))

    def _write(self, trainer: Trainer) -> dict[str, list[tuple[int, float]]]:
        written: dict[str, list[tuple[int, float]]] = {}
        rows: dict[int, dict[str, float]] = defaultdict(dict)
        for tag, waiting in self._waiting.items():
            values = torch.stack([value for _, value in waiting])
            if tag == "train/loss" and trainer.world_size > 1:
                values = trainer.strategy.reduce(values, reduce_op="mean")
            pairs = zip(waiting, values.tolist(), strict=True)
            written[tag] = [(step, value) for (step, _), value in pairs]
            self.history[tag] += written[tag]
            for step, value in written[tag]:
                rows[step][tag] = value
        self._waiting.clear()
        for step, metrics in sorted(rows.items()):
            for logger in trainer.loggers:
                logger.log_metrics(metrics, step)
        return written


def _norm(tensors: list[Tensor]) -> Tensor:
    """2-norm of all together; of sharded ones, over all processes."""
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))
    return norm.full_tensor() if isinstance(norm, DTensor) else norm
