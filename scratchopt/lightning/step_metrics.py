"""Metrics of a step: norms of gradient and displacement, and the angle between them."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from scratchopt.lightning.shards import find_sharers, full_tensor, is_counted, shard_of
from scratchopt.second_order.flat import dense_gradient

LOW = (torch.bfloat16, torch.float16)  # their products would be rounded to 8 or 11 bits


class Quantity(NamedTuple):
    """A quantity of all parameters together, 0-dim, and of each tensor by itself, (tensors,)."""

    overall: Tensor
    per_tensor: Tensor


class StepMetrics:
    """Measures steps of some parameters: `begin`, `take_gradient`, `gradnorm`, then `end`.

    It keeps copies of θ and of the gradient: twice the memory of the parameters. Sharded ones
    (DTensor) are measured as wholes, which takes all processes.

    Args:
        parameters: the tensors that move.
        earlier: the measurement under way of fewer of them, which this one goes on with; the others
            start from what they hold now.
    """

    def __init__(self, parameters: Sequence[Tensor], earlier: "StepMetrics | None" = None) -> None:
        self._ids = [id(p) for p in parameters]
        self._parameters = [shard_of(p) for p in parameters]
        self._sharers = find_sharers(parameters)
        counted = [is_counted(p, self._sharers) for p in parameters]
        self._counted = torch.tensor(counted, dtype=torch.float64)
        kept = {} if earlier is None else earlier._copies()
        rows = zip(self._ids, self._parameters, strict=True)
        copies = [kept.get(number) or _copy(p) for number, p in rows]
        self._start = [start for start, _ in copies]
        self._gradient = [gradient for _, gradient in copies]

    def _copies(self) -> dict[int, tuple[Tensor, Tensor]]:
        """The start and the gradient of each parameter, by its id."""
        return dict(zip(self._ids, zip(self._start, self._gradient, strict=True), strict=True))

    @torch.no_grad()
    def begin(self) -> None:
        """Takes θ before the step."""
        for start, p in zip(self._start, self._parameters, strict=True):
            start.copy_(p)  # no foreach: sharded tensors have none

    @torch.no_grad()
    def take_gradient(self, of: Collection[Tensor] | None = None) -> None:
        """Keeps the gradient of some parameters, or of all, for what is asked later."""
        chosen = None if of is None else {id(p) for p in of}
        for kept, p, number in zip(self._gradient, self._parameters, self._ids, strict=True):
            if chosen is None or number in chosen or id(p) in chosen:
                kept.copy_(dense_gradient(p))

    @torch.no_grad()
    def gradnorm(self) -> Quantity:
        """The 2-norm of the gradient that was taken; a missing one counts as zero."""
        self._gradnorm = self._norm(self._gradient)
        return self._gradnorm

    @torch.no_grad()
    def current_gradnorm(self) -> Quantity:
        """The 2-norm of the gradient as it is now."""
        return self._norm([dense_gradient(p) for p in self._parameters])

    @torch.no_grad()
    def end(self) -> dict[str, Quantity]:
        """Measures what the step has moved.

        `velocity`: ‖Δθ‖, the 2-norm of Δθ = θ_after − θ_before.
        `update_ratio`: ‖Δθ‖ / ‖θ_before‖.
        `angle`: degrees between Δθ and −g, in [0, 180]; g is the gradient that was taken. NaN where
        one of them is zero.
        """
        size = self._norm(self._start)
        moved = self._start  # in place: new memory costs more
        torch._foreach_sub_(moved, self._parameters)
        velocity, gradnorm = self._norm(moved), self._gradnorm
        # Of −Δθ, which `moved` is, and g.
        along = torch.stack([_dot(a, b) for a, b in zip(moved, self._gradient, strict=True)])
        along = self._add_up(along)
        return {
            "velocity": velocity,
            "update_ratio": Quantity(
                velocity.overall / size.overall, velocity.per_tensor / size.per_tensor
            ),
            "angle": Quantity(
                _angle(along.sum(), velocity.overall * gradnorm.overall),
                _angle(along, velocity.per_tensor * gradnorm.per_tensor),
            ),
        }

    def _norm(self, tensors: list[Tensor]) -> Quantity:
        if not tensors:
            return Quantity(torch.tensor(0.0), torch.zeros(0))
        each = full_tensor(torch.stack(torch._foreach_norm([_wide(t) for t in tensors])))
        if self._sharers:
            each = self._add_up(each.double().square()).sqrt().to(each.dtype)
        return Quantity(torch.linalg.vector_norm(each), each)

    def _add_up(self, each: Tensor) -> Tensor:
        """Adds up what each process has of each parameter."""
        if self._sharers is None:
            return each
        counted = self._counted.to(each.device, each.dtype)
        return self._sharers.add_up(each * counted)


def _copy(p: Tensor) -> tuple[Tensor, Tensor]:
    """Copies what a parameter holds, and makes a gradient of zero."""
    return p.detach().clone(), torch.zeros_like(p, requires_grad=False)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Σ ab, 0-dim; of complex numbers as of pairs of real ones."""
    if isinstance(a, DTensor):
        return full_tensor((a * b).sum())
    return torch.vdot(_wide(a).flatten(), _wide(b).flatten()).real


def _wide(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in LOW else tensor


def _angle(along: Tensor, lengths: Tensor) -> Tensor:
    return torch.rad2deg(torch.acos((along / lengths).clamp(-1, 1)))
