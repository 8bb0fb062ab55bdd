"""The entries of parameters and buffers that sparse gradients have, as a rule sees them.

A rule that leaves an element alone where its gradient is zero may be run on the others alone. The
calls are those of torch's own optimizers, so the results agree to the last bit.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from scratchopt.engine.vector import Vector


class Entries:
    """Sparse gradients as they came, and coalesced where a rule asks for it.

    Args:
        grads: an index may be in them more than once.
    """

    def __init__(self, grads: list[Tensor]) -> None:
        self.grads = grads

    @cached_property
    def coalesced(self) -> list[Tensor]:
        """The gradients with each index once."""
        return [g.coalesce() for g in self.grads]

    @cached_property
    def values(self) -> list[Tensor]:
        """The values of the coalesced gradients."""
        return [g.values() for g in self.coalesced]

    def make_sparse(self, values: list[Tensor]) -> list[Tensor]:
        """Sparse tensors that have other values at the same indices."""
        return [
            torch.sparse_coo_tensor(
                g.indices(), v, g.shape, is_coalesced=True, check_invariants=False
            )
            for g, v in zip(self.coalesced, values, strict=True)
        ]


class SparseGradient(Vector):
    """The values of sparse gradients times a number."""

    def __init__(self, entries: Entries, factor: float = 1.0) -> None:
        super().__init__(entries.grads, factor)
        self.entries = entries

    @property
    def tensors(self) -> list[Tensor]:
        """Each index once."""
        return self.entries.values

    def __mul__(self, by: float | Vector) -> Vector:
        if isinstance(by, Vector):
            return super().__mul__(by)
        return SparseGradient(self.entries, self.factor * by)

    __rmul__ = __mul__


class SparseRows(Vector):
    """The entries of dense tensors at the indices of sparse gradients.

    Args:
        whole: the dense tensors.
        entries: the gradients.
    """

    def __init__(self, whole: list[Tensor], entries: Entries) -> None:
        super().__init__(whole, role="named")
        self.entries = entries

    @property
    def tensors(self) -> list[Tensor]:
        """Copies of the entries."""
        pairs = zip(self.lists[0], self.entries.coalesced, strict=True)
        return [whole.sparse_mask(entries).values() for whole, entries in pairs]

    def __iadd__(self, term: Any) -> Vector:
        if not isinstance(term, Vector):
            return self._write("add", term)
        if isinstance(term, SparseGradient):
            changes = self.entries.grads
        else:
            term = term._settled()
            changes = self.entries.make_sparse(term.tensors)
        for whole, change in zip(self.lists[0], changes, strict=True):
            whole.add_(change, alpha=term.factor)
        return self

    def _write(self, name: str, *arguments: Any, **options: float) -> Vector:
        after = getattr(torch, f"_foreach_{name}")(self.tensors, *arguments, **options)
        for whole, g, values in zip(self.lists[0], self.entries.coalesced, after, strict=True):
            whole[tuple(g.indices())] = values
        return self


def take_sparse_rows(columns: list[list[Tensor]]) -> list[Vector]:
    """The rows of p and of the buffers, and the values of g, from columns with a sparse g."""
    p, grads, *buffers = columns
    entries = Entries(grads)
    rows = [SparseRows(column, entries) for column in (p, *buffers)]
    return [rows[0], SparseGradient(entries), *rows[1:]]
