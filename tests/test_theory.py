"""Rates and stability limits on a quadratic, against their closed forms.

References: Lessard, Recht and Packard, arXiv 1408.3595; Polyak (1964); Nesterov (2004).
"""

from math import sqrt

import pytest
import torch
from cases import take_step

from scratchopt import NAG, SGD, Momentum, NAGTorch

SMALLEST, LARGEST = 1.0, 100.0  # curvatures, so κ = 100
KAPPA = LARGEST / SMALLEST
ROOT = sqrt(KAPPA)
OPTIMAL = sqrt(3 * KAPPA + 1)


def norms(optimizer_of, curvatures: list[float], steps: int) -> list[float]:
    """‖θ‖ by step, from a start with a part in every direction."""
    x = torch.nn.Parameter(torch.ones(len(curvatures), dtype=torch.float64))
    h = torch.tensor(curvatures, dtype=torch.float64)
    optimizer = optimizer_of([x])
    sizes = []
    for _ in range(steps):
        take_step(optimizer, lambda: (h * x**2).sum() / 2)
        sizes.append(x.detach().norm().item())
    return sizes


RATES = {
    "gd": (lambda p: SGD(p, lr=2 / (LARGEST + SMALLEST)), (KAPPA - 1) / (KAPPA + 1)),
    "nag-standard": (
        lambda p: NAG(p, lr=1 / LARGEST, momentum=(ROOT - 1) / (ROOT + 1)),
        1 - 1 / ROOT,
    ),
    "nag-optimal": (
        lambda p: NAG(p, lr=4 / (3 * LARGEST + SMALLEST), momentum=(OPTIMAL - 2) / (OPTIMAL + 2)),
        1 - 2 / OPTIMAL,
    ),
}


@pytest.mark.parametrize(("optimizer", "rate"), RATES.values(), ids=RATES)
def test_the_contraction_per_step_is_the_closed_form(optimizer, rate):
    sizes = norms(optimizer, [SMALLEST, LARGEST], 400)
    a, b = 150, 200
    measured = (sizes[b] / sizes[a]) ** (1 / (b - a))
    # A double root gives t·ρᵗ, where t alone contributes (b/a)^(1/(b − a)) = 1.0058.
    assert rate * (1 - 1e-6) <= measured <= rate * 1.006


def test_heavy_ball_contracts_at_its_double_root():
    rate = (ROOT - 1) / (ROOT + 1)
    lr = 4 / (sqrt(LARGEST) + sqrt(SMALLEST)) ** 2
    sizes = norms(lambda p: Momentum(p, lr=lr, momentum=rate**2), [SMALLEST, LARGEST], 150)
    scaled = [size / (t * rate**t) for t, size in enumerate(sizes, start=1)]
    assert scaled[-1] == pytest.approx(scaled[99], rel=0.03)


LIMITS = {
    "sgd": (lambda lr, mu: lambda p: SGD(p, lr=lr), lambda mu: 2.0),
    "momentum": (
        lambda lr, mu: lambda p: Momentum(p, lr=lr, momentum=mu),
        lambda mu: 2 * (1 + mu),
    ),
    "nag": (
        lambda lr, mu: lambda p: NAG(p, lr=lr, momentum=mu),
        lambda mu: (2 + 2 * mu) / (1 + 2 * mu),
    ),
    "nag_torch": (
        lambda lr, mu: lambda p: NAGTorch(p, lr=lr, momentum=mu),
        lambda mu: (2 + 2 * mu) / (1 + 2 * mu),
    ),
}


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("mu", [0.0, 0.5, 0.9])
def test_it_is_stable_up_to_the_closed_form_and_no_further(name, mu):
    make, limit = LIMITS[name]
    below = norms(make(limit(mu) * 0.99, mu), [1.0], 1000)
    above = norms(make(limit(mu) * 1.01, mu), [1.0], 1000)
    assert below[-1] < 0.2 * max(below)
    assert above[-1] > 5 * above[100]
