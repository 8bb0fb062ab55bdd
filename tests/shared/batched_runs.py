"""Thousands of small noisy training runs at once, by scratchopt's own optimizers.

All runs of a batch are rows of one parameter for each lr. The rules go element by element, so that
a row moves as it would alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from scratchopt.compare.runs import Reading, ScoredRun, find_first_hit
from scratchopt.compare.trials import LR
from scratchopt.lightning import SpacedValidations
from scratchopt.objective import Objective
from tests.shared.made_comparisons import make_result

FAR = 1e4  # a reading beyond it, or that is no number: the run diverged
Make = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]


class Problem(Protocol):
    """A function to minimize by `steps` updates, with a reading after each `every`."""

    objective: Objective
    steps: int
    every: int

    def start(self, runs: int, generator: torch.Generator) -> Tensor:
        """θ₀ of each run: [runs, dim]."""
        ...

    def gradient(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The gradient, with noise of its own for each run: [runs, dim]."""
        ...

    def reading(self, x: Tensor) -> Tensor:
        """The metric: [runs]."""
        ...


class Quadratic:
    """f(θ) = ½ Σ λᵢθᵢ², λ from 1 to 1000, and noise in the gradient of a covariance as λ.

    Each direction has the same share of the loss at the start.
    """

    objective = Objective("val/loss", "min", 0.01)
    steps, every, dim, noise = 180, 1, 32, 0.02

    def __init__(self) -> None:
        self.curvature = torch.logspace(0, 3, self.dim)
        self.share = (self.curvature / self.dim).sqrt()

    def start(self, runs: int, generator: torch.Generator) -> Tensor:
        """±1/√(λᵢ·dim), the sign by chance."""
        signs = torch.randint(2, (runs, self.dim), generator=generator) * 2.0 - 1.0
        return signs / (self.curvature * self.dim).sqrt()

    def gradient(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """λθ and the noise."""
        noise = torch.randn(x.shape, generator=generator)
        return self.curvature * x + self.noise * self.share * noise

    def reading(self, x: Tensor) -> Tensor:
        """2f(θ), 1 at the start."""
        return (self.curvature * x * x).sum(1)


class LinearRegression:
    """Mini-batches of synthetic data in eight dimensions of unequal scale, and held out data."""

    objective = Objective("val/loss", "min", 0.15)
    steps, every, dim, batch = 100, 1, 8, 256

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        scale = torch.logspace(0, -1.25, self.dim)
        x = torch.randn(4096, self.dim, generator=generator) * scale
        w = torch.randn(self.dim, generator=generator).sign() / scale / self.dim**0.5
        y = x @ w + 0.2 * torch.randn(4096, generator=generator)
        (inputs, held), (outputs, labels) = x.split(2048), y.split(2048)
        self.x = inputs.unfold(0, self.batch, 1).transpose(1, 2).flatten(1)  # every window
        self.y = outputs.unfold(0, self.batch, 1).contiguous()
        self.moment, self.cross = held.T @ held / len(held), held.T @ labels / len(held)
        self.square = (labels**2).mean()

    def start(self, runs: int, generator: torch.Generator) -> Tensor:
        """Small random weights."""
        return 0.01 * torch.randn(runs, self.dim, generator=generator)

    def gradient(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The gradient of a batch for each run: neighbours in the data, which are in no order."""
        picked = torch.randint(len(self.x), (len(x),), generator=generator)
        inputs = self.x[picked].unflatten(1, (self.batch, self.dim))
        off = torch.bmm(inputs, x.unsqueeze(2)).squeeze(2) - self.y[picked]
        return torch.bmm(off.unsqueeze(1), inputs).squeeze(1) / self.batch

    def reading(self, x: Tensor) -> Tensor:
        """Mean square error."""
        return (x @ self.moment * x).sum(1) - 2 * x @ self.cross + self.square


def run_batch(
    problem: Problem, make: Make, lrs: Sequence[float], generator: torch.Generator, until: str
) -> list[ScoredRun]:
    """Does a run for each lr, in their order.

    Args:
        problem: that is minimized.
        make: the optimizer, of param groups.
        lrs: one a run.
        generator: of all chance.
        until: target, where the readings are spaced as `SpacedValidations` has it and the last is
            the first at the target; or end, where only those are kept that are ever asked for: the
            first at the target and the one before, the best and the last.
    """
    values, place, counts = np.unique(lrs, return_inverse=True, return_counts=True)
    rows = np.argsort(np.argsort(place, kind="stable"), kind="stable")
    sizes = counts.tolist()
    whole = problem.start(len(lrs), generator)
    params = [torch.nn.Parameter(part.clone()) for part in whole.split(sizes)]
    groups = [
        {"params": [p], "lr": float(lr)} for p, lr in zip(params, values.tolist(), strict=True)
    ]
    optimizer = make(groups)

    def closure() -> float:
        g = problem.gradient(torch.cat([p.detach() for p in params]), generator)
        for p, part in zip(params, g.split(sizes), strict=True):
            p.grad = part
        return 0.0  # a loss, that no rule asks for

    readings = []
    for t in range(1, problem.steps + 1):
        optimizer.step(closure)
        if t % problem.every == 0:
            readings.append(problem.reading(torch.cat([p.detach() for p in params])))
    table = torch.stack(readings, 1).double().numpy()[rows]
    return [_score(problem, float(lr), row, until) for lr, row in zip(lrs, table, strict=True)]


def _score(problem: Problem, lr: float, values: np.ndarray, until: str) -> ScoredRun:
    objective, every = problem.objective, problem.every
    good = np.isfinite(values) & (np.abs(values) < FAR)
    sound = values if good.all() else values[: int(np.argmin(good))]
    known = _space if until == "target" else _pick
    readings = tuple(
        Reading((i + 1) * every, (i + 1.0) * every, 0.0, float(sound[i]))
        for i in known(problem, sound)
    )
    hit = find_first_hit(readings, objective)
    if until == "target" and hit:
        result = make_result(status="finished", cost=hit.cost)
        return ScoredRun(result, readings[: readings.index(hit) + 1], hit, {LR: lr})
    status = "finished" if good.all() else "diverged"
    result = make_result(status=status, cost=float(len(sound) * every))
    return ScoredRun(result, readings, hit if good.all() else None, {LR: lr})


def _space(problem: Problem, values: np.ndarray) -> list[int]:
    """Lists the indices of the readings that a run until the target has, and perhaps more."""
    spaced = SpacedValidations(problem.objective, problem.every)
    steps, last = [problem.every], len(values) * problem.every
    while steps[-1] <= last:
        value = float(values[steps[-1] // problem.every - 1])
        if problem.objective.is_reached(value):
            break
        steps.append(spaced.find_next(steps[-1], value))
    indices = [step // problem.every - 1 for step in steps if step <= last]
    return sorted({*indices, *([len(values) - 1] if steps[-1] > last and len(values) else [])})


def _pick(problem: Problem, values: np.ndarray) -> list[int]:
    """Lists the indices of the readings that are ever asked for."""
    if not len(values):
        return []
    signed = values if problem.objective.mode == "max" else -values
    target = problem.objective.goodness(problem.objective.target or 0.0)
    hits = np.flatnonzero(signed >= target)[:1].tolist()
    return sorted({*hits, *(i - 1 for i in hits if i), int(signed.argmax()), len(values) - 1})


def scale_cost(run: ScoredRun, factor: float) -> ScoredRun:
    """Scales the cost of each evaluation of a run."""

    def scale(reading: Reading) -> Reading:
        return replace(reading, cost=factor * reading.cost)

    return replace(
        run,
        result=replace(run.result, cost=factor * run.result.cost),
        readings=tuple(map(scale, run.readings)),
        to_target=None if run.to_target is None else scale(run.to_target),
    )
