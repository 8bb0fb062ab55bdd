"""Gradient accumulation: the examples of the batches that a step is made of."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves


class AccumulationWindow:
    """Weighs the batches of a step by their numbers of examples nᵢ.

    Lightning adds up xᵢ/k, a loss or its gradient, with k = accumulate_grad_batches. Wanted is the
    mean over all examples, Σnᵢxᵢ / Σnᵢ. The sum is held as Σ(nᵢ/n)·xᵢ/k, with n the examples of
    the window's first batch, so that nothing is multiplied where all are of one size.

    For a batch call `begin`, weigh by `weight`, and `count` if it had a loss; `close` ends the
    window.

    Args:
        agree: n of this process to the n that is common to all.
        add: Σnᵢ of this process to its mean over all.
    """

    def __init__(
        self,
        agree: Callable[[float], float] = float,
        add: Callable[[float], float] = float,
    ) -> None:
        self._agree, self._add = agree, add
        self._size = 1  # of the last batch
        self._reference = 1.0  # n
        self._total = 0  # examples of the batches that were counted
        self._open = False

    def begin(self, batch: Any) -> bool:
        """Begins a batch; returns whether its size is known."""
        # A batch of unknown size counts as the one before, and so does an empty one, as one of a
        # loss that needs no data.
        size = None if batch is None else count_examples(batch)
        self._size = size or self._size
        if not self._open:
            self._open, self._reference = True, self._agree(self._size)
        return size is not None

    @property
    def weight(self) -> float:
        """The factor nᵢ/n of the last batch."""
        return self._size / self._reference

    def count(self) -> None:
        """Counts the batch in."""
        self._total += self._size

    def forget(self) -> None:
        """Drops the batches that were counted, and goes on."""
        self._total = 0

    def close(self, batches: int) -> float:
        """Ends the window; returns the factor that makes the sum a mean.

        Args:
            batches: k, that each summand was divided by.
        """
        total = self._add(self._total)
        self._total, self._open = 0, False
        return batches * self._reference / total if total else 1.0


def count_examples(batch: Any) -> int | None:
    """The first dimension of a batch's tensors; None where they differ in it, or there is none."""
    sizes = {len(tensor) for tensor in _tensors(batch) if tensor.dim()}
    return sizes.pop() if len(sizes) == 1 else None


def _tensors(batch: Any) -> Iterator[Tensor]:
    for leaf in tree_leaves(batch):
        if isinstance(leaf, Tensor):
            yield leaf
        elif isinstance(leaf, Mapping):  # not of torch's trees, as a UserDict
            yield from _tensors(list(leaf.values()))
        elif is_dataclass(leaf) and not isinstance(leaf, type):
            yield from _tensors([getattr(leaf, field.name) for field in fields(leaf)])
