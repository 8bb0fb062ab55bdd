"""Measuring optimizers on quadratics, from their steps alone and not from their rules."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from scratchopt import Optimizer

Make = Callable[[list[Tensor]], Optimizer]


class Quadratic:
    """f(θ) = ½(θ − c)ᵀH(θ − c), with its gradient.

    Args:
        hessian: H, symmetric [n, n], or its diagonal [n].
        center: c, [n].
    """

    def __init__(self, hessian: Tensor, center: Tensor | float = 0.0) -> None:
        self.hessian, self.center = hessian, center

    def gradient(self, x: Tensor) -> Tensor:
        """The gradient H(θ − c)."""
        offset = x - self.center
        return self.hessian @ offset if self.hessian.dim() == 2 else self.hessian * offset

    def __call__(self, x: Tensor) -> Tensor:
        """The value, 0-dim."""
        return ((x - self.center) * self.gradient(x)).sum() / 2


def make_quadratic(smallest: float, largest: float, size: int = 4, seed: int = 0) -> Quadratic:
    """Makes a quadratic in `size` dimensions: curvatures log-spaced, axes in random directions."""
    generator = torch.Generator().manual_seed(seed)
    curvatures = torch.logspace(0, 1, size, base=largest / smallest, dtype=torch.float64) * smallest
    random = torch.randn(size, size, generator=generator, dtype=torch.float64)
    axes, _ = torch.linalg.qr(random)
    hessian = axes * curvatures @ axes.T
    return Quadratic((hessian + hessian.T) / 2)


def take_step(optimizer: Any, x: Tensor, f: Any) -> None:
    """Takes one step, with the derivatives that the method needs, where it needs them.

    Args:
        optimizer: any of ours.
        x: its parameter.
        f: a function with a `gradient`; for Newton autograd goes through f itself.
    """
    if hasattr(optimizer, "add_curvature"):
        optimizer.zero_grad()
        optimizer.backward(f(x))
    else:
        optimizer.lookahead_()
        x.grad = f.gradient(x.detach())
    optimizer.step()


def descend(make: Make, f: Any, start: Tensor, steps: int) -> Tensor:
    """Descends from a start; returns θ before the first step and after each, [steps + 1, …]."""
    x = torch.nn.Parameter(start.clone())
    optimizer = make([x])
    path = [start]
    for _ in range(steps):
        take_step(optimizer, x, f)
        path.append(x.detach().clone())
    return torch.stack(path)


def transfer_matrix(make: Make, f: Any, size: int) -> Tensor:
    """The matrix of one step of (θ, v), column by column: [k·size, k·size] with k − 1 buffers.

    Each column is a step of a new optimizer from one unit of (θ, v), of which v, the buffers, is
    put into its state.
    """
    x = torch.nn.Parameter(torch.zeros(size, dtype=torch.float64))
    optimizer = make([x])
    take_step(optimizer, x, f)
    keys = list(_buffers(optimizer, x))
    columns = []
    for unit in torch.eye(size * (1 + len(keys)), dtype=torch.float64):
        theta, *buffers = unit.split(size)
        x = torch.nn.Parameter(theta.clone())
        optimizer = make([x])
        optimizer.state[x].update(zip(keys, (buffer.clone() for buffer in buffers), strict=True))
        take_step(optimizer, x, f)
        columns.append(torch.cat([x.detach(), *(optimizer.state[x][key] for key in keys)]))
    return torch.stack(columns, dim=1)


def _buffers(optimizer: Optimizer, x: Tensor) -> dict[str, Tensor]:
    """The state tensors of the shape of x, by key."""
    return {
        key: value
        for key, value in optimizer.state.get(x, {}).items()
        if isinstance(value, Tensor) and value.shape == x.shape
    }


def spectral_radius(matrix: Tensor) -> float:
    """The largest modulus of an eigenvalue."""
    return torch.linalg.eigvals(matrix).abs().max().item()


def fit_rate(path: Tensor, *, double: bool) -> float:
    """Fits the contraction per step to ‖θ‖ over the second half of a path.

    log‖θₜ‖ = a + t·log ρ by least squares; with a double root ‖θₜ‖ is t·ρᵗ(b + c/t + …), and
    log t is taken off and a term in 1/t fitted besides.
    """
    t = torch.arange(len(path) // 2, len(path), dtype=torch.float64)
    norms = path[len(path) // 2 :].norm(dim=1).log()
    columns = [torch.ones_like(t), t, *([1 / t] if double else [])]
    fit = torch.linalg.lstsq(torch.stack(columns, dim=1), norms - double * t.log()).solution
    return fit[1].exp().item()


def measure_growth(make: Make, curvatures: Tensor, steps: int, after: int) -> Tensor:
    """Measures the factor per step of (θ, v) in a long run, for each of many curvatures: [n].

    As the step is linear, (θ, v) may be brought back to length 1 after every ten, and nothing
    overflows; the logarithms of what that takes add up to that of the growth.

    Args:
        make: the optimizer.
        curvatures: of as many directions; [n].
        steps: that are counted, a multiple of ten.
        after: steps before them, so that the slowest part prevails; a multiple of ten.
    """
    x = torch.nn.Parameter(torch.ones_like(curvatures))
    optimizer, f = make([x]), Quadratic(curvatures)
    total = torch.zeros_like(curvatures)
    for t in range(0, after + steps, 10):
        for _ in range(10):
            take_step(optimizer, x, f)
        with torch.no_grad():
            parts = [x, *_buffers(optimizer, x).values()]
            length = torch.stack(parts).norm(dim=0).clamp_min(1e-100)
            for part in parts:
                part /= length
        if t >= after:
            total += length.log()
    return (total / steps).exp()


def is_stable(optimizer: Optimizer, x: Tensor, f: Any, steps: int) -> bool:
    """Tells whether θ, one number, shrinks: |θ| in a run's last quarter stays below the third's.

    A run that has grown a million times, or is as good as at 0, is ended before.
    """
    scale, sizes = abs(x.item()), []
    for _ in range(steps):
        take_step(optimizer, x, f)
        sizes.append(abs(x.item()) / scale)
        if not sizes[-1] < 1e6:
            return False
        if max(sizes[-2:]) < 1e-100:
            return True
    third, last = sizes[steps // 2 : 3 * steps // 4], sizes[3 * steps // 4 :]
    return max(last) < max(third)


def find_largest_stable(
    runs: Callable[[float], bool], start: float, relative: float = 3e-8
) -> float:
    """Finds the largest lr whose run is stable: doubles it until it is not, then bisects."""
    low, high = start, 2 * start
    while runs(high):
        low, high = high, 2 * high
    while high - low > relative * low:
        middle = (low + high) / 2
        low, high = (middle, high) if runs(middle) else (low, middle)
    return (low + high) / 2
