"""Ways to save memory beside ZeRO: bytes and time of a transformer's step, with and without it."""

import copy
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function

from scratchopt.bench.train_times import compose_config
from scratchopt.lightning import checkpoint_activations
from scratchopt.runs.instantiation import make_task

SIZE = ("task.layers=8", "task.width=128", "task.context=64")  # 1.6 million parameters
FUSED = ("optimizer.fused=true",)  # or the step itself needs several numbers a parameter
STEPS = 3  # of which the peak is taken; the state is there from the first
RESTING = "resting"  # the mark in a profile at which a step has ended


@dataclass(frozen=True)
class Way:
    """A way to make the same step of 16 windows.

    Args:
        is_checkpointed: whether blocks are computed again in backward.
        dtype: of parameters, activations and state.
        compensated: whether the optimizer keeps what rounding cuts off.
        batches: that the windows are gone through in, whose gradients add up.
    """

    is_checkpointed: bool = False
    dtype: torch.dtype = torch.float32
    compensated: bool = False
    batches: int = 1


BF16 = torch.bfloat16
PLAIN = "float32"
WAYS = {
    PLAIN: Way(),
    "activation checkpointing": Way(is_checkpointed=True),
    "accumulate 2": Way(batches=2),
    "accumulate 4": Way(batches=4),
    "bf16-true": Way(dtype=BF16),
    "bf16-true, compensated": Way(dtype=BF16, compensated=True),
    "checkpointing, accumulate 2": Way(is_checkpointed=True, batches=2),
    "checkpointing, bf16-true compensated": Way(is_checkpointed=True, dtype=BF16, compensated=True),
    "all three": Way(is_checkpointed=True, dtype=BF16, compensated=True, batches=2),
}


class Training:
    """A training of the transformer task with Adam, all ways from the same start."""

    def __init__(self, way: Way) -> None:
        self.way = way
        compensated = f"optimizer.compensated={way.compensated}"
        self.task: Any = make_task(
            compose_config("task=transformer", "optimizer=adam", *SIZE, *FUSED, compensated)
        )
        torch.manual_seed(0)
        self.net: Any = None
        self._numbers = count()

    def begin(self) -> None:
        """Makes the net, which is new memory, and the optimizer."""
        generator = torch.Generator().manual_seed(0)
        self.net = copy.deepcopy(self.task.net)
        with torch.no_grad():
            for p in self.net.parameters():
                if p.dim() > 1:
                    p.normal_(std=0.02, generator=generator)
        self.net.to(self.way.dtype)
        if self.way.is_checkpointed:
            checkpoint_activations(self.net)
        self.optimizer = self.task.optimizer(self.net.parameters())

    def step(self) -> float:
        """Makes a step, and returns the mean loss before it."""
        losses = []
        for inputs, targets in self._batches():
            loss = self.task.loss(self.net(inputs), inputs, targets) / self.way.batches
            loss.backward()
            losses.append(loss.item())
        self.optimizer.step()
        self.optimizer.zero_grad()
        return sum(losses)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The windows of the next step, side by side in the text, in parts."""
        size, context = self.task.batch_size, self.task.train_set[0].shape[1]
        windows = [data[:: context // 2] for data in self.task.train_set]
        start = next(self._numbers) * size % (len(windows[0]) - size)
        chosen = [data[start : start + size].chunk(self.way.batches) for data in windows]
        return zip(*chosen, strict=True)


def measure_bytes(way: Way) -> tuple[int, int]:
    """Measures the most bytes that torch has allocated at any moment of three steps.

    torch's profiler notes each allocation of its CPU allocator and each end of one: parameters,
    state, gradients, activations and what a kernel needs for itself. The text is not among them.

    Returns:
        The most, and what is left between two steps, which is parameters and state.
    """
    training = Training(way)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        training.begin()
        for _ in range(STEPS):
            training.step()
        with record_function(RESTING):
            pass
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "trace.json")
        recorded.export_chrome_trace(str(file))
        events = json.loads(file.read_text(encoding="utf-8"))["traceEvents"]
    (mark,) = (event["ts"] for event in events if event["name"] == RESTING)
    allocated = sorted(
        (event["ts"], event["args"]["Total Allocated"])
        for event in events
        if event["name"] == "[memory]"
    )
    left = [number for when, number in allocated if when < mark][-1]
    return max(number for _, number in allocated), left


@dataclass(frozen=True)
class Cost:
    """The cost of a way to save memory, and how far it leads from the plain one.

    Args:
        ratios: of the seconds of a step to those of the plain one, by round.
        seconds: of a step, the median.
        difference: of the loss of the last step.
    """

    ratios: list[float]
    seconds: float
    difference: float


def time_steps(ways: dict[str, Way], rounds: int) -> dict[str, Cost]:
    """Times a step of each way in turn, A B C A B C, after one uncounted step of each.

    It is the processor's time, so that other programs on the machine add less.
    """
    trainings = {name: Training(way) for name, way in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    losses = {}
    for training in trainings.values():
        training.begin()
        training.step()
    for _ in range(rounds):
        for name, training in trainings.items():
            start = time.process_time()
            losses[name] = training.step()
            seconds[name].append(time.process_time() - start)
    return {
        name: Cost(
            [a / b for a, b in zip(seconds[name], seconds[PLAIN], strict=True)],
            median(seconds[name]),
            abs(losses[name] - losses[PLAIN]),
        )
        for name in ways
    }
