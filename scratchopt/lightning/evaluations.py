"""The evaluations that a training is made of: how many, at what cost, and the loss of a step."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from scratchopt.lightning.accumulation import AccumulationWindow


class Evaluations:
    """Counts backward passes, and adds up the loss of a step over its micro-batches.

    For a batch call `add_pass` at each backward pass, then `end_batch`; after an update call
    `end_step`, and at the end of an epoch `end_unused`.

    `count` is of the backward passes; `cost` of gradient evaluations, the same but for an optimizer
    that says what a step costs, as `Newton` does; `first` the loss of the first backward pass of
    the batch under way, if there was one.
    """

    def __init__(self) -> None:
        self.count = 0
        self.cost = 0.0
        self._costly: list[Any] = []  # the optimizers that say what a step costs
        self.begin(())

    def begin(self, optimizers: Iterable[Optimizer]) -> None:
        """Begins a fit, and drops what another one was broken off at."""
        self._costly = [o for o in optimizers if hasattr(o, "cost")]
        self._passes = 0  # of the batch under way
        self._spent = 0  # passes of the step under way
        self._loss: Tensor | None = None  # of the step under way, over its micro-batches
        self._window = AccumulationWindow()
        self._last: Tensor | None = None  # the loss of a backward pass not yet accounted for
        self.first: Tensor | None = None

    def add_pass(self, loss: Tensor) -> None:
        """Counts a backward pass; the batch's first is at the step's point, others are trials."""
        self.count += 1
        self._last = loss.detach()
        self._passes += 1
        if self._passes == 1:
            self.first = self._last

    def end_batch(self, batch: Any, outputs: Any, automatic: bool) -> Tensor | None:
        """Takes the loss of a batch, and returns it.

        Args:
            batch: that `training_step` was given; None where it is a step by itself.
            outputs: of `training_step`, as Lightning hands them on.
            automatic: whether Lightning takes the steps, so that their first evaluation counts.
        """
        self._last = None
        passes, self._passes = self._passes, 0
        self._spent += passes
        self.cost += 0 if self._costly else passes
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, Tensor) and passes > 1 and automatic:
            loss = self.first
        if not isinstance(loss, Tensor):
            return None
        weighed = loss.detach()
        if automatic:  # else the module weighs its losses itself
            self._window.begin(batch)
            self._window.count()
            if self._window.weight != 1:
                weighed = weighed * self._window.weight
        self._loss = weighed if self._loss is None else self._loss + weighed
        return loss

    def end_step(self, batches: int) -> tuple[Tensor | None, float | None]:
        """The loss of a step that was taken, and its cost unless that is one pass a batch.

        Args:
            batches: that Lightning has divided the losses by, `accumulate_grad_batches`.
        """
        spent, self._spent = self._spent, 0
        factor = self._window.close(batches)
        loss, self._loss = None if self._loss is None else self._loss * factor, None
        if not self._costly:
            return loss, None if spent == batches else spent
        cost = sum(optimizer.cost for optimizer in self._costly)
        self.cost += cost
        return loss, cost

    def end_unused(self, counts: bool, batches: int) -> Tensor | None:
        """The loss of an evaluation that no update has followed, if there is one.

        Args:
            counts: whether it is one; under a GradScaler the update was skipped instead.
            batches: as in `end_step`.
        """
        last, self._last = self._last, None
        passes, self._passes = self._passes, 0
        if last is None or not counts:
            return None
        self.cost += 0 if self._costly else passes
        self._window.begin(None)
        self._window.count()
        last = last * self._window.weight
        return (last if self._loss is None else last + self._loss) * self._window.close(batches)

    def state_dict(self) -> dict[str, Any]:
        """The counts."""
        return {"evaluations": self.count, "cost": self.cost}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues saved counts."""
        self.count = state_dict["evaluations"]
        self.cost = state_dict.get("cost", self.count)
