"""Rows: the entries of parameters and buffers that sparse gradients have, as a rule sees them.

A rule that leaves an element alone where its gradient is zero may be run on the others alone. The
calls are those of torch's own optimizers, so the results agree to the last bit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scratchopt.engine.vector import Vector


class Rows(Vector):
    """The entries of dense tensors at the indices of sparse gradients.

    Args:
        whole: the dense tensors.
        grads: the gradients, as they came.
        entries: the gradients, coalesced.
        values: the entries' values.
    """

    def __init__(
        self, whole: list[Tensor], grads: list[Tensor], entries: list[Tensor], values: list[Tensor]
    ) -> None:
        super().__init__(whole, role="named")
        self._grads, self._entries, self._values = grads, entries, values

    @property
    def tensors(self) -> list[Tensor]:
        """Copies of the entries."""
        pairs = zip(self.lists[0], self._entries, strict=True)
        return [whole.sparse_mask(entries).values() for whole, entries in pairs]

    def __iadd__(self, term: Any) -> Vector:
        if not isinstance(term, Vector):
            return self._write("add", term)
        if term.lists[0] is self._values and not term.op:
            changes = self._grads  # a gradient as it came, whose entries may repeat an index
        else:
            term = term._settled()
            changes = self._make_sparse(term.tensors)
        for whole, change in zip(self.lists[0], changes, strict=True):
            whole.add_(change, alpha=term.factor)
        return self

    def _write(self, name: str, *arguments: Any, **options: float) -> Vector:
        after = getattr(torch, f"_foreach_{name}")(self.tensors, *arguments, **options)
        for whole, entries, values in zip(self.lists[0], self._entries, after, strict=True):
            whole[tuple(entries.indices())] = values
        return self

    def _make_sparse(self, values: list[Tensor]) -> list[Tensor]:
        return [
            torch.sparse_coo_tensor(
                entries.indices(), v, entries.shape, is_coalesced=True, check_invariants=False
            )
            for entries, v in zip(self._entries, values, strict=True)
        ]


def take_rows(columns: list[list[Tensor]]) -> list[Vector]:
    """The rows of p and of the buffers, and the values of g, from columns with a sparse g."""
    p, grads, *buffers = columns
    entries = [g.coalesce() for g in grads]
    values = [g.values() for g in entries]
    rows = [Rows(column, grads, entries, values) for column in (p, *buffers)]
    return [rows[0], Vector(values), *rows[1:]]
