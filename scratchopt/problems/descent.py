"""The descent of a method on a function, recorded step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from scratchopt.problems.functions import Function


@dataclass(frozen=True)
class Descent:
    """The steps of a method on a function: a row of each tensor is the state before a step.

    Args:
        function: what was minimized.
        method: the name of the optimizer's class.
        iterates: θ; [evaluations, dim].
        points: where the gradient was taken; [evaluations, dim]. For an exact NAG these are the
            lookahead points, for most methods the iterates.
        losses: the function at the points; [evaluations].
        gradients: its gradient there; [evaluations, dim].
        end: θ at the end; [dim].
        converged: whether the last point is within the tolerance; no step was taken from it.
    """

    function: Function
    method: str
    iterates: Tensor
    points: Tensor
    losses: Tensor
    gradients: Tensor
    end: Tensor
    converged: bool

    @property
    def evaluations(self) -> int:
        """The number of gradients taken."""
        return len(self.points)

    @property
    def updates(self) -> int:
        """The number of steps taken, one less than gradients where the last ended the descent."""
        return self.evaluations - self.converged

    @property
    def gradnorms(self) -> Tensor:
        """The length of each gradient; [evaluations]."""
        return self.gradients.norm(dim=1)

    @property
    def distances(self) -> Tensor:
        """Max-norm distance of each iterate to the nearest global minimizer; [evaluations]."""
        return torch.stack([self.function.distance(x) for x in self.iterates])

    def figures(self, title: str | None = None) -> dict[str, Figure]:
        """Draws `path` and `oscillation`, as in the figures of a run of one or two variables.

        Args:
            title: of both; None, the method and the function.
        """
        from scratchopt.problems.descent_figures import descent_figures

        title = f"{self.method} on {self.function.title}" if title is None else title
        return descent_figures(self.function, self.points, self.losses, self.iterates, title)


def minimize(
    function: Function,
    method: Callable[..., Any],
    start: float | Sequence[float] | None = None,
    *,
    steps: int = 1000,
    tolerance: float | None = 1e-6,
    dtype: torch.dtype = torch.float32,
    **settings: Any,
) -> Descent:
    """Minimizes a function from a start, and records every step.

    Args:
        function: what is minimized.
        method: the class of an optimizer, of this project or of torch.
        start: the first θ, a number for each variable; None, the function's own.
        steps: how many there are at most, >= 1.
        tolerance: the distance of an evaluated point to a global minimizer, in the max-norm, that
            ends the descent; None, it goes on for all steps.
        dtype: of θ.
        settings: arguments of the method, such as lr.

    >>> from scratchopt import SGD
    >>> from scratchopt.problems.functions import functions
    >>> descent = minimize(functions()["article"], SGD, start=-8.0, lr=1.0)
    >>> descent.converged, descent.updates, descent.evaluations
    (True, 16, 17)
    """
    first = function.start if start is None else start
    x = torch.nn.Parameter(torch.atleast_1d(torch.tensor(first, dtype=dtype)))
    optimizer = method([x], **settings)
    rows: list[tuple[Tensor, ...]] = []
    converged = False
    while len(rows) < steps and not converged:
        iterate = x.detach().clone()
        optimizer.zero_grad()
        if hasattr(optimizer, "lookahead_"):  # torch's have no such point
            optimizer.lookahead_()
        loss = function(x)
        # Newton's curvature is taken of the live loss.
        optimizer.backward(loss) if hasattr(optimizer, "add_curvature") else loss.backward()
        assert x.grad is not None
        rows.append((iterate, x.detach().clone(), loss.detach(), x.grad.clone()))
        if tolerance is not None:
            converged = bool(function.distance(x.detach()) <= tolerance)
        if converged:
            x.data.copy_(iterate)
        else:
            optimizer.step()
    iterates, points, losses, gradients = map(torch.stack, zip(*rows, strict=True))
    end = x.detach().clone()
    name = getattr(method, "__name__", type(optimizer).__name__)
    return Descent(function, name, iterates, points, losses, gradients, end, converged)
