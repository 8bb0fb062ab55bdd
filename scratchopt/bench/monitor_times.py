"""The time that OptimizerMonitor adds to a step of MNIST's training, within one training."""

import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from scratchopt.bench.train_times import compose_config
from scratchopt.lightning import Lookahead, OptimizerMonitor
from scratchopt.runs.callbacks import NoProfiler, quiet_lightning
from scratchopt.runs.dashboard import Dashboard
from scratchopt.runs.instantiation import make_task

BLOCK = 50  # steps, as many as lie between two writes


class Alternation(Callback):
    """Gives each block of steps to the next of some callbacks in turn, and times it.

    `times` has milliseconds a step, by the callback's name. None stands for no callback.
    """

    def __init__(self, callbacks: dict[str, Callback | None]) -> None:
        self.callbacks = callbacks
        self.times: dict[str, list[float]] = {name: [] for name in callbacks}
        self._turns: Iterator[str] = cycle(callbacks)
        self._name: str | None = None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Times a block that has ended, and begins the next."""
        now = time.perf_counter()
        if trainer.global_step % BLOCK:
            return
        if self._name is not None:
            self.times[self._name].append(1000 * (now - self._began) / BLOCK)
        self._name = next(self._turns)
        self._callback = self.callbacks[self._name] or Callback()
        self._callback.on_train_start(trainer, pl_module)
        self._began = time.perf_counter()

    def on_before_backward(self, *args: Any, **kwargs: Any) -> None:
        """Calls the hook of the block's callback."""
        self._callback.on_before_backward(*args, **kwargs)

    def on_before_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Calls the hook of the block's callback."""
        self._callback.on_before_optimizer_step(*args, **kwargs)

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Calls the hook of the block's callback."""
        self._callback.on_train_batch_end(*args, **kwargs)


def time_monitors(rounds: int, directory: Path) -> dict[str, list[float]]:
    """Times a step without a monitor, with one, and with one that measures each step, in ms.

    Args:
        rounds: blocks of each.
        directory: of the logs, which are part of what it costs.
    """
    quiet_lightning()
    alternation = Alternation(
        {
            "none": None,
            "default": OptimizerMonitor(),
            "every step": OptimizerMonitor(1),
        }
    )
    trainer = Trainer(
        max_steps=BLOCK * (3 * rounds + 1),
        callbacks=[Lookahead(), alternation],
        logger=Dashboard(directory),
        accelerator="cpu",
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        limit_val_batches=0,
        log_every_n_steps=1,
        profiler=NoProfiler(),
    )
    trainer.fit(make_task(compose_config()))
    return alternation.times
