"""The command line's part in a Trainer: interrupts, progress bar, profiler, warnings."""

import logging
import os
import signal
import threading
import time
import warnings
from contextlib import nullcontext
from math import isfinite
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.profilers import PassThroughProfiler

from scratchopt.config.processes import is_rank_zero
from scratchopt.lightning import OptimizerMonitor
from scratchopt.runs.notebook_kernel import in_notebook, show_progress

LINES_EVERY = 60.0  # seconds between two lines about a training
BAR_EVERY, BAR_AFTER = 0.25, 1.0  # the same of a notebook's bar, and how long a training has none


def quiet_lightning() -> None:
    """Has Lightning say what is worth a warning, and nothing less."""
    for chatty in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # The processor was asked for; torch's own threads begin without a context; DDP's have streams.
    for said in ("GPU available but not used", ".*no current CUDA context", "The AccumulateGrad"):
        warnings.filterwarnings("ignore", said)
    # Older torch's own SequentialLR says so of itself where a warmup ends.
    warnings.filterwarnings("ignore", r"The epoch parameter in `scheduler.step\(\)`", UserWarning)
    # Lightning 2.6 asks torch 2.13 in the old way, and nobody here can mend it.
    warnings.filterwarnings("ignore", r".isinstance\(treespec, LeafSpec\)", FutureWarning)


class Interrupt(Callback):
    """A callback that ends training after the current step on Ctrl-C or SIGTERM, as if planned.

    It is a context, and handles the two signals within, if in the main thread. The second signal
    kills; but the second Ctrl-C, or ■, does not kill the kernel of a notebook.
    """

    signum = 0  # of the signal that came
    trained = False  # whether there was a batch, so that there was something to end
    stopped = False  # whether the training was ended

    def __init__(self) -> None:
        self._previous: dict[int, Any] = {}  # the handlers that it has replaced

    def __enter__(self) -> "Interrupt":
        """Handles the signals from now on."""
        main = threading.current_thread() is threading.main_thread()  # the others get no signals
        handled = (signal.SIGINT, signal.SIGTERM) if main else ()
        self._previous = {s: signal.getsignal(s) for s in handled}
        for signum in self._previous:
            signal.signal(signum, self._receive)
        return self

    def __exit__(self, *args: Any) -> None:
        """Gives the signals back to those who handled them before."""
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes SIGTERM back from Lightning, which would end training by an exception."""
        if self._previous and not self.signum:
            signal.signal(signal.SIGTERM, self._receive)

    def on_train_batch_start(self, *args: Any, **kwargs: Any) -> None:
        """Notes that there is a batch."""
        self.trained = True

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Stops all processes after the same batch, the last of a step."""
        if trainer.world_size == 1 and not self.signum:
            return
        if trainer.fit_loop.epoch_loop._should_accumulate():
            return
        if trainer.strategy.reduce_boolean_decision(bool(self.signum), all=False):
            trainer.should_stop = self.stopped = True
            self.signum = self.signum or signal.SIGTERM  # another process's

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum
        kept_alive = in_notebook() and signum == signal.SIGINT
        signal.signal(signum, signal.default_int_handler if kept_alive else signal.SIG_DFL)
        # print() may be what the signal came into, and must not be entered twice.
        if is_rank_zero():
            once_more = b"stops at once" if kept_alive else b"kills"
            os.write(2, b"\nStopping after this step. Once more %b.\n" % once_more)


class StopAtCost(Callback):
    """A callback that ends training after the step that takes it beyond a cost.

    Args:
        max_cost: gradient evaluations, > 0; ∞, for as many as the run takes.
        monitor: a callback of the same Trainer.
    """

    stopped = False  # whether the training was ended

    def __init__(self, max_cost: float, monitor: OptimizerMonitor) -> None:
        self.max_cost, self.monitor = max_cost, monitor

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Stops after a whole step."""
        if (
            self.monitor.cost > self.max_cost
            and not trainer.fit_loop.epoch_loop._should_accumulate()
        ):
            trainer.should_stop = self.stopped = True


class Progress(TQDMProgressBar):
    """Lightning's progress bar with the loss that the OptimizerMonitor wrote last."""

    def __init__(self, monitor: OptimizerMonitor) -> None:
        super().__init__(refresh_rate=monitor.write_every)
        self.monitor = monitor

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """The numbers behind the bar."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)  # the logger's version number, and there is none
        loss = self.monitor.history.get("train/loss")
        return metrics | ({"train/loss": f"{loss[-1][1]:.4g}"} if loss else {})


class Lines(Callback):
    """A line every minute, where there is no terminal for a progress bar."""

    def __init__(self, monitor: OptimizerMonitor) -> None:
        self.monitor = monitor
        self._due = time.monotonic() + LINES_EVERY

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Says how far the training is, unless it did a short while ago."""
        if time.monotonic() < self._due or not trainer.is_global_zero:
            return
        self._due = time.monotonic() + LINES_EVERY
        print(", ".join(self.describe(trainer)), flush=True)

    def describe(self, trainer: Trainer) -> list[str]:
        """Describes how far the training is: the step, the epoch, the latest numbers."""
        known = {tag: self.monitor.latest.get(tag) for tag in ("train/loss",)}
        known |= {tag: float(value) for tag, value in trainer.callback_metrics.items()}
        words = [f"{tag} {value:.4g}" for tag, value in known.items() if value is not None]
        updates = self.monitor.count_updates(trainer)
        return [f"step {updates:,}", f"epoch {trainer.current_epoch + 1}", *words]


class Bar(Lines):
    """A bar in a notebook, of a training that takes a while; it goes when the training ends."""

    def __init__(self, monitor: OptimizerMonitor) -> None:
        super().__init__(monitor)
        self._due = time.monotonic() + BAR_AFTER

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Shows how far the training is, unless it did a moment ago."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + BAR_EVERY
        step, *words = self.describe(trainer)
        total = trainer.estimated_stepping_batches
        if isfinite(total):
            step = f"{step} of {total:,}"
        updates = self.monitor.count_updates(trainer)
        show_progress(", ".join([step, *words]), updates, total if isfinite(total) else 0)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the bar away."""
        show_progress("")

    def on_exception(self, *args: Any, **kwargs: Any) -> None:
        """Takes the bar away."""
        show_progress("")


class NoProfiler(PassThroughProfiler):
    """A profiler that does nothing, and fast: Lightning enters one some 60 times a step."""

    _nothing = nullcontext()

    def profile(self, action_name: str) -> Any:
        """A context that does nothing."""
        return self._nothing
