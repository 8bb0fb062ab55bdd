"""Gradient accumulation: the examples of the batches that a step is made of."""

from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves


class AccumulationWindow:
    """Weighs the batches of a step by their numbers of examples nᵢ.

    Lightning adds up xᵢ/k, a loss or its gradient, with k = accumulate_grad_batches. Wanted is the
    mean over all examples, Σnᵢxᵢ / Σnᵢ. In between the sum is held as Σ(nᵢ/n)·xᵢ/k, with n the
    examples of the last batch, so that nothing is multiplied where all are of one size.

    For a batch call `begin`, and `count` if it had a loss; `close` ends the window.
    """

    def __init__(self) -> None:
        self._size = 1  # of the last batch
        self._total = 0  # examples of the batches that were counted

    def begin(self, batch: Any) -> float:
        """Begins a batch; returns the factor for the sum over those before it."""
        # A batch of unknown size counts as the one before.
        size = self._size if batch is None else count_examples(batch) or self._size
        factor = self._size / size if self._total else 1.0
        self._size = size
        return factor

    def count(self) -> None:
        """Counts the batch in."""
        self._total += self._size

    def close(self, batches: int) -> float:
        """Ends the window; returns the factor that makes the sum a mean.

        Args:
            batches: k, that each summand was divided by.
        """
        total, self._total = self._total, 0
        return batches * self._size / total if total else 1.0


def count_examples(batch: Any) -> int | None:
    """The first dimension of a batch's tensors; None where they differ in it, or there is none."""
    tensors = (leaf for leaf in tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.dim())
    sizes = {len(tensor) for tensor in tensors}
    return sizes.pop() if len(sizes) == 1 else None
