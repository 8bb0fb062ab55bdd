"""A record of who holds what at each moment of a step: two processes, by the stages of ZeRO.

The model has four equal layers, each of which is a bucket and a unit, and a batch is small beside
it. What is held is read off the live storages of the second step, when the optimizer has its state.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from scratchopt.adam import Adam
from scratchopt.bench.two_processes import run_by_two
from scratchopt.zero import DataParallel, Processes, Stage1, Stage2, Stage3

LAYERS, WIDTH = 4, 512
LAYER_BYTES = 4 * WIDTH**2
KINDS = "parameters", "gradients", "optimizer state"


class Moment(NamedTuple):
    """The tensors that one process holds at a moment of a step.

    Args:
        name: of the moment, such as "forward 1".
        operations: collective ones since the moment before.
        size: bytes of live storages, by kind.
        held: by kind, for each layer the bytes of its largest storage: a layer's, if the process
            holds all of it; half of that, if it holds its own half; 0, if it holds nothing.
    """

    name: str
    operations: list[str]
    size: dict[str, int]
    held: dict[str, list[int]]


def record_stages() -> dict[str, list[list[Moment]]]:
    """Records a step by each stage, in two processes.

    Returns:
        The moments of each process, by the name of the stage.
    """
    by_process = run_by_two(_record)
    return {name: [moments[name] for moments in by_process] for name in by_process[0]}


def _record() -> dict[str, list[Moment]]:
    return {cls.__name__: _Record(cls).moments for cls in (DataParallel, Stage1, Stage2, Stage3)}


class _Record:
    def __init__(self, cls: type[DataParallel]) -> None:
        torch.manual_seed(0)
        layers = [nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS)]
        self.model = nn.Sequential(*layers)
        self.parameters = [layer.weight for layer in layers]
        self.optimizer: Any = Adam(self.model.parameters())
        self.stage = cls(self.model, [self.optimizer], _Listening(self), LAYER_BYTES)
        for number, layer in enumerate(layers, 1):
            name = f"forward {number}"  # the stage's own hook is called before
            layer.register_forward_pre_hook(lambda *_, name=name: self.add(name))
        self.optimizer.register_step_pre_hook(lambda *_: self.add("step"))
        for _ in range(2):  # Adam's state is made in the first
            self.moments: list[Moment] = []
            self.operations: list[str] = []
            self.optimizer.zero_grad()
            self.model(torch.randn(1, WIDTH)).sum().backward()
            self.optimizer.step()
            self.add("end")

    def note(self, operation: str) -> None:
        """Notes a collective operation; reducing a layer's gradient is a moment of its own."""
        self.operations.append(operation)
        if operation != "all-gather":
            reduced = sum(moment.name.startswith("backward") for moment in self.moments)
            self.add(f"backward {LAYERS - reduced}")

    def add(self, name: str) -> None:
        """Adds a moment."""
        storages = {kind: [self._find(kind, i) for i in range(LAYERS)] for kind in KINDS}
        size = {kind: sum(sum(row.values()) for row in rows) for kind, rows in storages.items()}
        held = {
            kind: [max(row.values(), default=0) for row in rows] for kind, rows in storages.items()
        }
        self.moments.append(Moment(name, self.operations, size, held))
        self.operations = []

    def _find(self, kind: str, layer: int) -> dict[int, int]:
        """The bytes of the storages that a layer has of a kind, by their address."""
        p: Any = self.parameters[layer]
        (bucket,) = (b for b in self.stage.buckets if b.parameters[0] is p)
        piece = p.shared.piece if hasattr(p, "shared") else p
        found: Iterable[Any]
        if kind == "parameters":
            found = [p, piece, getattr(bucket, "values", None), getattr(bucket, "mine", None)]
        elif kind == "gradients":
            found = [p.grad, piece.grad, bucket.gradient, bucket.own]
        else:
            found = self.optimizer.state[piece].values() if piece in self.optimizer.state else ()
        storages = [x.untyped_storage() for x in found if isinstance(x, Tensor) and x.dim()]
        return {s.data_ptr(): s.nbytes() for s in storages}


class _Listening(Processes):
    """Processes that tell a record of each operation on parameters and gradients, as it begins."""

    def __init__(self, record: _Record) -> None:
        super().__init__()
        self._record = record

    def count_bytes(self, operation: str, size: int) -> None:
        super().count_bytes(operation, size)
        if operation != "other":
            self._record.note(operation)
