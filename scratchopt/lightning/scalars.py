"""Numbers of many steps, gathered on the device and written to a Trainer's loggers together."""

import math
from collections import defaultdict
from collections.abc import Collection
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

Rows = dict[str, list[tuple[int, float]]]


class Scalars:
    """Gathers numbers and writes many at a time, because reading one waits for the device.

    `history` has all that was written, by tag, as (step, value) pairs.

    Args:
        partial: kinds of numbers, such as "angle", that are not defined everywhere: where they are
            NaN or infinite they are left out. A kind is a part of a tag between slashes.
    """

    def __init__(self, partial: Collection[str] = ()) -> None:
        self.history: Rows = defaultdict(list)
        self._partial = frozenset(partial)
        self._waiting: dict[str, list[tuple[int, Tensor]]] = defaultdict(list)

    def gather(self, tag: str, step: int, value: Tensor) -> None:
        """Takes a 0-dim tensor, to be read later."""
        self._waiting[tag].append((step, value))

    def forget(self, tag: str) -> None:
        """Drops what waits under a tag."""
        self._waiting.pop(tag, None)

    def write(self, trainer: Trainer, mean: Collection[str] = ()) -> Rows:
        """Reads what waits and writes it to the loggers; returns it.

        Args:
            trainer: its loggers.
            mean: tags whose values are averaged over the processes; all of them must come here.
        """
        written: Rows = {}
        rows: dict[int, dict[str, float]] = defaultdict(dict)
        for tag, waiting in self._waiting.items():
            values = torch.stack([value for _, value in waiting])
            if tag in mean and trainer.world_size > 1:
                values = trainer.strategy.reduce(values, reduce_op="mean")
            optional = not self._partial.isdisjoint(tag.split("/"))
            pairs = [
                (step, value)
                for (step, _), value in zip(waiting, values.tolist(), strict=True)
                if math.isfinite(value) or not optional
            ]
            if pairs:
                written[tag] = pairs
                self.history[tag] += pairs
            for step, value in pairs:
                rows[step][tag] = value
        self._waiting.clear()
        for step, metrics in sorted(rows.items()):
            for logger in trainer.loggers:
                logger.log_metrics(metrics, step)
        return written

    def state_dict(self) -> dict[str, Any]:
        """The history, as tensors."""
        return {
            "steps": {tag: torch.tensor([s for s, _ in row]) for tag, row in self.history.items()},
            "values": {
                tag: torch.tensor([v for _, v in row], dtype=torch.float64)
                for tag, row in self.history.items()
            },
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues a saved history."""
        for tag, steps in state_dict["steps"].items():
            values = state_dict["values"][tag]
            self.history[tag] = list(zip(steps.tolist(), values.tolist(), strict=True))
