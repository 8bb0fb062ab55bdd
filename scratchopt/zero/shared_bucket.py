"""A bucket whose parameters lie side by side too, so that each process can update a share."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import Parameter

from scratchopt.zero.bucket import Bucket
from scratchopt.zero.processes import wait_for


@dataclass(frozen=True)
class Shared:
    """The knowledge that a parameter, and this process's piece of it, have of other pieces."""

    bucket: "SharedBucket"
    index: int  # of the parameter in the bucket

    @property
    def piece(self) -> Parameter:
        """The numbers of the parameter that this process updates."""
        return self.bucket.pieces[self.index]

    @property
    def shape(self) -> torch.Size:
        """The shape of the whole parameter."""
        return self.bucket.shapes[self.index]

    @property
    def part(self) -> tuple[int, int]:
        """Start and stop of this process's piece, counted in the parameter."""
        return self.bucket.layout.part(self.index, self.bucket.processes.rank)

    @property
    def is_cut(self) -> bool:
        """True if several processes have a piece of the parameter."""
        layout, ranks = self.bucket.layout, range(self.bucket.processes.count)
        return sum(start < stop for start, stop in (layout.part(self.index, r) for r in ranks)) > 1

    def gather(self, piece: Tensor) -> Tensor:
        """The whole of which this process has a piece, a value or a gradient; all must ask."""
        whole = piece.new_zeros(self.shape.numel())
        whole[slice(*self.part)] = piece.detach().flatten()
        return self.bucket.processes.add_up(whole).view(self.shape)


class SharedBucket(Bucket):
    """A bucket of which this process updates a segment, by pieces of the parameters.

    `values` is a buffer laid out as that of the gradients, in which the parameters lie, `mine` this
    process's segment of it. `pieces` has views of that, for each parameter one; the piece of a
    parameter of which the process has nothing is empty.

    Args:
        arguments: as `Bucket` takes them. Where tensors stay whole, pieces have their shape.
    """

    values: Tensor
    mine: Tensor
    pieces: list[Parameter]

    @torch.no_grad()
    def share(self, *, apart: bool = False) -> None:
        """Moves the parameters into one buffer, and makes the pieces.

        Args:
            apart: whether `mine` is memory of its own, so that the buffer can be freed.
        """
        self.values = self.parameters[0].new_zeros(self.layout.length)
        self._views = [self.view(self.values, i) for i in range(len(self.parameters))]
        for p, view in zip(self.parameters, self._views, strict=True):
            view.copy_(p)
            p.data = view
        segment = self.segment(self.values)
        self.mine = segment.clone() if apart else segment
        self.pieces = [Parameter(piece) for piece in self.cut(self.mine)]
        for index, pair in enumerate(zip(self.parameters, self.pieces, strict=True)):
            for tensor in pair:
                cast(Any, tensor).shared = Shared(self, index)

    def cut(self, segment: Tensor) -> list[Tensor]:
        """The pieces of all parameters, views of this process's segment."""
        rank, pieces = self.processes.rank, []
        for index, shape in enumerate(self.shapes):
            start, stop = self.layout.part(index, rank)
            place = self.layout.offsets[index] + start - self.layout.bounds[rank]
            if start == stop:  # memory of its own, or it would keep the buffer's
                pieces.append(segment.new_empty(0))
                continue
            piece = segment[place : place + stop - start]
            pieces.append(piece.view(shape) if self.whole else piece)
        return pieces

    def give_gradients(self, segment: Tensor, found: list[bool]) -> None:
        """Gives pieces their gradients, added to those that they have.

        Args:
            segment: of the gradients, this process's.
            found: of each parameter, whether it has a gradient in any process.
        """
        rows = zip(self.parameters, self.pieces, self.cut(segment), found, strict=True)
        for p, piece, gradient, is_found in rows:
            piece.requires_grad_(p.requires_grad)  # it may have been thawed
            if is_found:
                piece.grad = gradient if piece.grad is None else piece.grad + gradient

    @property
    def is_whole(self) -> bool:
        """True if the parameters are whole in this process."""
        return self.values.untyped_storage().nbytes() > 0 or not self.values.numel()

    @torch.no_grad()
    def fill(self) -> None:
        """Makes the parameters whole, with what all processes have of them."""
        storage, before = self.values.untyped_storage(), self.values.untyped_storage().nbytes()
        storage.resize_(self.values.nbytes)
        self.segment(self.values).copy_(self.mine)
        try:
            wait_for(self.processes.all_gather(self.values, self.layout.bounds))
        except RuntimeError:  # another process is gone: what were pieces are pieces still
            storage.resize_(before)
            raise
        for p, view in zip(self.parameters, self._views, strict=True):
            p.data = view

    def free(self) -> None:
        """Frees the parameters, of which the pieces are left."""
        for p, piece in zip(self.parameters, self.pieces, strict=True):
            p.data = piece.data
        self.values.untyped_storage().resize_(0)

    @torch.no_grad()
    def adopt(self) -> None:
        """Takes over what a user has set as a parameter's `.data`, which must be of its kind."""
        places = self._views if self.is_whole else [piece.data for piece in self.pieces]
        for p, place in zip(self.parameters, places, strict=True):
            if p.data_ptr() == place.data_ptr() and p.dtype == place.dtype:
                continue
            new, old = ((tuple(t.shape), t.dtype, t.device) for t in (p, place))
            if new != old:
                raise RuntimeError(
                    "shape, dtype and device of a parameter that is shared out were changed from "
                    f"{old} to {new}: change them before"
                )
            place.copy_(p)
            p.data = place

    @torch.no_grad()
    def keep(self) -> None:
        """Keeps this process's segment of what was written to parameters that are whole."""
        if self.is_whole:
            self.adopt()
            self.mine.copy_(self.segment(self.values))
