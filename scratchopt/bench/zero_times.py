"""The time of a step of two processes: the stages of ZeRO, against torch's DDP and FSDP2.

All sides train the same transformer with the same optimizer, in the same two processes, and take
turns. FSDP2's units are those of stage 3: each block is one, and what is in no block another.
"""

from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from scratchopt.adam import Adam
from scratchopt.bench.two_processes import run_by_two
from scratchopt.zero import DataParallel, Stage1, Stage2, Stage3
from scratchopt.zero.units import find_units

CHARACTERS, BATCH = 65, 4


class Size(NamedTuple):
    """The size of a transformer, of its sequences, and of a turn.

    Args:
        layers: number of blocks.
        width: numbers a place; a block has about 12 width² parameters.
        places: in a sequence.
        steps: of a turn, in a row.
    """

    layers: int
    width: int
    places: int
    steps: int


SIZES = {
    "few large tensors": Size(layers=2, width=768, places=32, steps=2),
    "many small tensors": Size(layers=16, width=64, places=32, steps=4),
}


class Transformer(nn.Module):
    """A transformer of torch's own layers, and its loss in predicting the next character."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.character = nn.Embedding(CHARACTERS, size.width)
        self.blocks = nn.Sequential(*(_make_block(size.width) for _ in range(size.layers)))
        self.logits = nn.Linear(size.width, CHARACTERS)

    def forward(self, characters: Tensor) -> Tensor:
        """The mean loss, 0-dim, over all places of sequences, shape (N, T), but the last."""
        logits = self.logits(self.blocks(self.character(characters[:, :-1])))
        return cross_entropy(logits.flatten(0, 1), characters[:, 1:].flatten())


def _make_block(width: int) -> nn.Module:
    return nn.TransformerEncoderLayer(
        width, 4, 4 * width, dropout=0.0, norm_first=True, batch_first=True
    )


def _wrap_with_ddp(model: nn.Module) -> tuple[nn.Module, Any]:
    return DistributedDataParallel(model), Adam(model.parameters(), lr=1e-3)


def _wrap_with_fsdp2(model: nn.Module) -> tuple[nn.Module, Any]:
    for _, unit in find_units(model):
        fully_shard(unit)
    fully_shard(model)
    return model, Adam(model.parameters(), lr=1e-3)


def _wrap_with(stage: type[DataParallel]) -> Callable[[nn.Module], tuple[nn.Module, Any]]:
    def wrap(model: nn.Module) -> tuple[nn.Module, Any]:
        optimizer: Any = Adam(model.parameters(), lr=1e-3)
        stage(model, [optimizer])
        return model, optimizer

    return wrap


SIDES = {"DDP": _wrap_with_ddp, "FSDP2": _wrap_with_fsdp2}
SIDES |= {stage.__name__: _wrap_with(stage) for stage in (DataParallel, Stage1, Stage2, Stage3)}


def time_stages(size: str, rounds: int) -> dict[str, list[float]]:
    """Times a step of each side in turn, in two processes of one thread each.

    Args:
        size: a key of `SIZES`.
        rounds: that are counted, of one turn a side; one goes before.

    Returns:
        Milliseconds of a step in each round, by the side's name.

    Raises:
        RuntimeError: sides that have not done the same, by their losses.
    """
    times, _ = run_by_two(_time_sides, SIZES[size], rounds)
    return times


def _time_sides(size: Size, rounds: int) -> dict[str, list[float]]:
    steps = {name: _make_step(wrap, size) for name, wrap in SIDES.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    losses: dict[str, float] = {}
    for _ in range(1 + rounds):
        for name, step in steps.items():
            dist.barrier()
            start = perf_counter()
            for _ in range(size.steps):
                losses[name] = step()
            dist.barrier()
            times[name].append(1000 * (perf_counter() - start) / size.steps)
    if max(losses.values()) - min(losses.values()) > 1e-5:
        raise RuntimeError(f"the sides have not done the same: their losses are {losses}")
    return {name: column[1:] for name, column in times.items()}


def _make_step(
    wrap: Callable[[nn.Module], tuple[nn.Module, Any]], size: Size
) -> Callable[[], float]:
    """Makes a step of a side, which returns the loss; model and batches are the same for all."""
    torch.manual_seed(0)
    model, optimizer = wrap(Transformer(size))
    draws = torch.Generator().manual_seed(dist.get_rank())

    def step() -> float:
        batch = torch.randint(CHARACTERS, (BATCH, size.places + 1), generator=draws)
        optimizer.zero_grad()
        loss = model(batch)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step
