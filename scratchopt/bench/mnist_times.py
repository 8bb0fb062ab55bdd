"""The time of a training step on MNIST, and the account of where it goes."""

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from time import thread_time
from typing import Any

import torch
from lightning.pytorch.profilers import PassThroughProfiler
from torch import Tensor
from torch.nn.functional import cross_entropy

from scratchopt.batches import Batches
from scratchopt.bench.train_times import compose_config
from scratchopt.bench.turns import Side, Times, Turns, time_in_turns
from scratchopt.runs.callbacks import quiet_lightning
from scratchopt.runs.instantiation import make_task
from scratchopt.runs.trainer import make_instruments, make_trainer

BLOCK = 43  # steps of a turn
EPOCH = 10 * BLOCK  # steps of an epoch: 55,000 images in batches of 128
WRITING = "[Callback]Checkpoint.on_train_epoch_start"  # the one hook of an epoch that takes time
BARE, WHOLE, PROFILED = "bare loop", "MNIST step", "profiled"


def time_mnist(rounds: int) -> tuple[dict[str, list[Times]], dict[str, float]]:
    """Times a step of training on MNIST with NAG: bare, with more and more parts, and train.py's.

    A round is an epoch of 430 steps, with its validation and its checkpoint.

    Returns:
        The times of each round by side, and the parts of a step, as `Parts` counts them.
    """
    found = time_in_turns(SIDES, BLOCK, EPOCH, rounds)
    _, parts = found.pop(PROFILED)
    return {name: times for name, (times, _) in found.items()}, parts


class Parts(PassThroughProfiler):
    """Counts the time of the parts of a Trainer's step, each without the parts within it.

    The time is that of the processor in the thread that trains, in microseconds a step. There are
    the callbacks by their names, the writing of checkpoints, the loader, and the validation.

    Args:
        turns: of the process; their rounds are counted apart.
    """

    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self.turns = turns
        self.rounds = [defaultdict[str, float](float) for _ in range(turns.rounds + 2)]
        self._within = [0.0]  # seconds of the parts within each part under way

    @contextmanager
    def profile(self, action_name: str) -> Iterator[str]:
        """Counts the time of an action."""
        began = thread_time()
        self._within.append(0.0)
        yield action_name
        self._count(action_name, thread_time() - began, self._within.pop())

    def start(self, action_name: str) -> None:
        """Begins an action, the fetching of a batch."""
        self._began = thread_time()

    def stop(self, action_name: str) -> None:
        """Ends the action, and counts its time."""
        self._count(action_name, thread_time() - self._began)

    def medians(self) -> dict[str, float]:
        """The median of each part over the rounds."""
        counted = self.rounds[1:-1]
        return {name: median(parts[name] for parts in counted) for name in counted[0]}

    def _count(self, action: str, seconds: float, within: float = 0.0) -> None:
        self._within[-1] += seconds
        if part := _name_part(action):
            parts = self.rounds[len(self.turns.times)]
            parts[part] += 1e6 * (seconds - within) / self.turns.steps


def _name_part(action: str) -> str | None:
    """Names the part that an action of Lightning's profiler belongs to, if it is one."""
    owner, _, rest = action.strip("[").partition("]")
    if action == WRITING:
        return "writing of checkpoints"
    if owner == "Callback":
        return rest.partition(".")[0]
    if "val" in rest:
        return "validation"
    return "loader" if "dataloader" in rest else None


def _train_bare(turns: Turns, optimizer: str = "nag", loader: bool = False) -> None:
    """Trains in a loop written by hand, with nothing else in it."""
    task = _make_task(turns, compose_config(f"optimizer={optimizer}"))
    task.setup("fit")
    method = task.configure_optimizers()
    for images, labels in _draw_batches(task, loader):

        def closure(images: Tensor = images, labels: Tensor = labels) -> Tensor:
            method.zero_grad()
            loss = cross_entropy(task(images), labels)
            loss.backward()
            return loss

        method.step(closure)
        if len(turns.times) > turns.rounds:
            return


def _draw_batches(task: Any, loader: bool) -> Iterator[Any]:
    """Draws shuffled batches for ever, by `Batches` or by an index."""
    if loader:
        batches = Batches(task.train_set, task.batch_size, shuffle=True, seed=0)
        while True:
            yield from batches
    images, labels = task.train_set
    while True:
        for batch in torch.randperm(len(images)).split(task.batch_size):
            yield images[batch], labels[batch]


def _train(turns: Turns, instruments: bool = True, profiled: bool = False) -> Any:
    """Trains as train.py does; without instruments there are no callbacks, logs or validations."""
    quiet_lightning()
    steps = turns.steps * (turns.rounds + 1) + 1
    config = compose_config(
        f"max_steps={steps}", "max_epochs=-1", "figures=false", "accelerator=cpu"
    )
    with tempfile.TemporaryDirectory() as directory:
        made = make_instruments(config, Path(directory))
        trainer: Any = make_trainer(config, Path(directory), made)
        if not instruments:
            trainer.callbacks, trainer.loggers, trainer.limit_val_batches = [], [], 0
        if profiled:
            trainer.profiler = Parts(turns)
        trainer.fit(_make_task(turns, config))
        return trainer.profiler.medians() if profiled else None


def _make_task(turns: Turns, config: dict[str, Any]) -> Any:
    """Makes the task, which ticks before each of its steps."""
    torch.manual_seed(0)
    task: Any = make_task(config)

    def tick(net: Any, inputs: Any) -> None:
        if net.training:
            turns.tick()

    task.net.register_forward_pre_hook(tick)
    return task


SIDES: dict[str, Side] = {
    "bare loop, SGD": partial(_train_bare, optimizer="sgd"),
    BARE: _train_bare,
    "+ loader": partial(_train_bare, loader=True),
    "+ Trainer without callbacks": partial(_train, instruments=False),
    WHOLE: _train,
    PROFILED: partial(_train, profiled=True),
}
