"""Loaders over data that lie in memory as tensors: a batch is one index_select, or none."""

from collections.abc import Iterator, Sequence
from itertools import repeat
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Batches:
    """Shuffled mini-batches for training, that a checkpoint can stop and resume anywhere.

    The order of epoch e is a function of (seed, e) alone. Of it a global batch is the next
    batch_size·world_size entries, and rank r takes the r-th of world_size equal slices; so one
    process with batch_size 128 sees the same global batches as two with 64. The last one of an
    epoch may be smaller. Entries that would not divide evenly among the ranks, fewer than
    world_size at the end of an epoch's order, are left out of that epoch: every rank gets the same
    number of batches, none of them empty, and the mean over ranks is the mean over the batch.

    `epoch` and `position`, the batches already handed out in it, say what comes next. Only handing
    out a batch moves them; `iter()` does not, and the iterator ends with the epoch. After the last
    batch they are (epoch + 1, 0).

    Args:
        tensors: the data, of equal first dimension, N; a batch has a slice of each.
        batch_size: entries per process, >= 1; None, all N.
        shuffle: False takes the entries in their order, in every epoch.
        seed: of the orders, >= 0.
        rank: of this process, in [0, world_size).
        world_size: number of processes.
        drop_last: leaves out a last global batch that is not full.

    Raises:
        ValueError: tensors of unequal length, a batch_size below 1, or no batch at all.

    >>> batches = Batches([torch.arange(4)], 3, shuffle=False, seed=0)
    >>> list(batches)
    [(tensor([0, 1, 2]),), (tensor([3]),)]
    >>> batches.state_dict()
    {'epoch': 1, 'position': 0}
    """

    def __init__(
        self,
        tensors: Sequence[Tensor],
        batch_size: int | None,
        *,
        shuffle: bool,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
    ) -> None:
        lengths = {len(tensor) for tensor in tensors}
        if len(lengths) != 1:
            raise ValueError(f"Tensors of unequal length: {[len(t) for t in tensors]}")
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"Invalid batch_size: {batch_size} (batch_size >= 1, or None for all)")
        self.tensors, self.shuffle, self.seed = tensors, shuffle, seed
        self.rank, self.world_size = rank, world_size
        self.epoch = self.position = 0
        self._entries = max(lengths)
        self._used = self._entries - self._entries % world_size
        self._global = self._used if batch_size is None else batch_size * world_size
        if drop_last and self._used:
            self._used -= self._used % self._global
        if not self._used:
            raise ValueError(
                f"No batch of {batch_size} for each of {world_size} processes in "
                f"{self._entries} entries: choose a smaller batch_size"
            )

    def __len__(self) -> int:
        """Batches in an epoch, the same for every rank."""
        return ceil(self._used / self._global)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        """Iterates over the rest of the epoch; nothing happens before the first batch is taken."""
        epoch, order = self.epoch, self._order(self.epoch)
        tensors = self._contents(epoch)
        for start in range(self.position * self._global, self._used, self._global):
            self._go_to(epoch, start // self._global + 1)
            whole = order[start : start + self._global]
            part = whole.view(self.world_size, -1)[self.rank]
            yield tuple(tensor.index_select(0, part) for tensor in tensors)

    def state_dict(self) -> dict[str, int]:
        """The loader's place in the data: the same on every rank."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continues from a saved state.

        Raises:
            ValueError: a position beyond the end, as after a change of the batch size.
        """
        if state_dict["position"] > len(self):
            raise ValueError(
                f"Invalid position: {state_dict['position']} in an epoch of {len(self)} batches "
                "(resume with the batch size of the saved run)"
            )
        self._go_to(state_dict["epoch"], state_dict["position"])

    @property
    def sampler(self) -> "Batches":
        """The loader itself: a Lightning Trainer calls `sampler.set_epoch` before each epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of a loader that has not handed out a batch yet; else does nothing.

        A Trainer that resumes from the end of an epoch does not load the state of its loader.
        """
        if self.epoch == self.position == 0:
            self.epoch = epoch

    def _go_to(self, epoch: int, position: int) -> None:
        self.epoch, self.position = (epoch + 1, 0) if position == len(self) else (epoch, position)

    def _order(self, epoch: int) -> Tensor:
        if not self.shuffle:
            return torch.arange(self._used)
        return torch.randperm(self._entries, generator=self._generator(epoch))[: self._used]

    def _contents(self, epoch: int) -> Sequence[Tensor]:
        return self.tensors

    def _generator(self, epoch: int) -> torch.Generator:
        # torch's generator uses only the lowest 32 bits of its seed, so the two are hashed to 32.
        mixed = np.random.SeedSequence(self.seed, spawn_key=(epoch,)).generate_state(1)
        return torch.Generator().manual_seed(int(mixed[0]))


class Draws(Batches):
    """Standard normal vectors, for tasks whose noise is drawn: no two epochs have the same.

    All draws of epoch e are a function of (seed, e) alone, handed out as `Batches` hands out its
    entries: so two processes have the halves of one's batch, and a checkpoint resumes anywhere.

    Args:
        steps: batches in an epoch, >= 1.
        batch_size: vectors per process, >= 1.
        dim: numbers in a vector, d; a batch is one tensor of shape (batch_size, d), float64.
        seed: of the draws, >= 0.
        rank: of this process, in [0, world_size).
        world_size: number of processes.

    Raises:
        ValueError: a batch_size or steps below 1.
    """

    def __init__(
        self,
        steps: int,
        batch_size: int,
        dim: int,
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.dim = dim
        super().__init__(
            [torch.empty(steps * batch_size * world_size, 0)],
            batch_size,
            shuffle=False,
            seed=seed,
            rank=rank,
            world_size=world_size,
        )

    def _contents(self, epoch: int) -> Sequence[Tensor]:
        generator = self._generator(epoch)
        return [torch.randn(self._entries, self.dim, generator=generator, dtype=torch.float64)]


class InOrder:
    """Every entry once, in order, for evaluation; each iteration starts at the beginning.

    Each rank gets the same number of batches, whose sizes differ by one at most; N entries need
    N >= world_size. The batches are views, so they cost nothing.

    Args:
        tensors: the data, of equal first dimension, N.
        batch_size: at most this many entries in a batch, >= 1; of several ranks, >= 2.
        rank: of this process, in [0, world_size).
        world_size: number of processes.

    >>> list(InOrder([torch.arange(3)], 2))
    [(tensor([0, 1]),), (tensor([2]),)]
    """

    def __init__(
        self, tensors: Sequence[Tensor], batch_size: int, *, rank: int = 0, world_size: int = 1
    ) -> None:
        count = ceil(len(tensors[0]) / (batch_size * world_size))
        shards = [tensor.tensor_split(world_size)[rank].tensor_split(count) for tensor in tensors]
        self._batches = list(zip(*shards, strict=True))

    def __len__(self) -> int:
        """Batches of this rank."""
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        """Iterates over all batches."""
        return iter(self._batches)


class Endless:
    """The same batch for ever: for full-batch tasks, whose length is counted in steps.

    It has no length and no state.

    Args:
        batch: what each step is given.
    """

    def __init__(self, batch: Any) -> None:
        self.batch = batch

    def __iter__(self) -> Iterator[Any]:
        """The batch, again and again."""
        return repeat(self.batch)
