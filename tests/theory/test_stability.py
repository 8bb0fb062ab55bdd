"""The largest stable lr·λ, by bisection on runs, is the closed form."""

from functools import partial

import numpy as np
import pytest
import torch

import scratchopt
from scratchopt.stability import LIMITS, adam_limit
from scratchopt.theory.measurements import measure_adam_limit, measure_adam_sharpness
from scratchopt.theory.quadratics import Quadratic, descend

from .checks import check_bias_correction, check_limit

MOMENTA = [0.0, 0.5, 0.9, 0.99]
CASES = [(method, mu) for method in LIMITS for mu in MOMENTA if method != "SGD" or mu == 0]


@pytest.mark.parametrize(("method", "mu"), CASES)
def test_the_largest_stable_lr_is_the_closed_form(method, mu):
    """They agree to 1e-7: a run just inside shrinks in its second half, one just outside grows."""
    check_limit(getattr(scratchopt, method), method, mu)


@pytest.mark.parametrize(("method", "mu"), [case for case in CASES if case[1] < 0.99])
def test_one_per_cent_inside_it_comes_to_rest_and_one_outside_it_runs_away(method, mu):
    settings = {} if method == "SGD" else {"momentum": mu}
    f, start = Quadratic(torch.ones(1, dtype=torch.float64)), torch.ones(1, dtype=torch.float64)
    for factor, comes_to_rest in ((0.99, True), (1.01, False)):
        make = partial(getattr(scratchopt, method), lr=factor * LIMITS[method](mu), **settings)
        path = descend(make, f, start, 500).abs()
        assert (path[-1] < 0.2 * path.max()) if comes_to_rest else (path[-1] > 5 * path[50])


@pytest.mark.parametrize("beta1", [0.0, 0.5, 0.9, 0.95])
def test_adams_limit_is_the_closed_form_where_v_is_constant(beta1):
    """They agree to 1e-6: β₂ = 1 − 2⁻⁵³ and small gradients keep v to 1e-12, t = 1e30 the bias
    corrections to 1. That is the frozen preconditioner of Cohen et al. (2022).
    """
    assert measure_adam_limit(scratchopt.Adam, beta1) == pytest.approx(adam_limit(beta1), rel=1e-6)


@pytest.mark.parametrize("beta1", [0.0, 0.5, 0.9])
def test_adam_comes_to_its_limit_by_itself(beta1):
    """Under an ordinary β₂ the preconditioned curvature rises to the limit and stays about it:
    the median of the last quarter of 2,000 steps is within 10 % of it (Cohen et al. (2022):
    the adaptive edge of stability).
    """
    edge = measure_adam_sharpness(beta1)
    assert edge[0] < 0.1 * adam_limit(beta1)
    assert np.median(edge[-500:]) == pytest.approx(adam_limit(beta1), rel=0.1)


def radius(x: float, now: float, averages: list[tuple[float, float]]) -> float:
    """The spectral radius of θ ← θ − x·(now·θ + Σ c·m), where each m ← β·m + (1 − β)·θ."""
    weights, betas = np.transpose(averages)
    step = np.diag([1 - x * (now + weights @ (1 - betas)), *betas])
    step[0, 1:], step[1:, 0] = -x * weights * betas, 1 - betas
    return abs(np.linalg.eigvals(step)).max()


@pytest.mark.parametrize("beta1", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("t", [1, 1000, 100_000])
def test_nadams_and_ademamixs_limits_are_those_of_their_averages(beta1, t):
    mu = beta1 * (1 - 0.96 ** (t / 100) / 2)
    schedules = {"alpha": 5.0, "alpha_warmup": 2000, "beta3_warmup": 2000}
    betas = (beta1, 0.999, 0.9999)
    made = scratchopt.AdEMAMix.numbers(t=t, betas=betas, **schedules)
    cases = [
        (
            scratchopt.NAdam.stability_limit(t=t, betas=(beta1, 0.999), momentum_decay=0.01),
            (1 - mu, [(mu, beta1)]),
        ),
        (
            scratchopt.AdEMAMix.stability_limit(t=t, betas=betas, **schedules),
            (0.0, [(1.0, beta1), (made["alpha"], made["beta3"])]),
        ),
    ]
    for limit, averages in cases:
        assert radius(0.999 * limit, *averages) < 1 < radius(1.001 * limit, *averages)


@pytest.mark.parametrize("cls", [scratchopt.Adam, partial(scratchopt.AdamW, weight_decay=0.0)])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.5), (0.99, 0.9)], ids=str)
def test_adams_step_is_lr_where_the_gradient_is_constant(cls, betas):
    check_bias_correction(cls, *betas)


def test_adagrads_and_rmsprops_steps_are_as_their_sums_say_where_the_gradient_is_constant():
    """lr/√t, as Σg² = t·g²; and lr/√(1 − αᵗ), as RMSprop's average is not corrected."""
    lr, alpha, gradient = 0.1, 0.9, torch.tensor([1e-3, -2.0, 50.0], dtype=torch.float64)
    cases = {
        scratchopt.Adagrad: ({}, lambda t: lr / t**0.5),
        scratchopt.RMSprop: ({"alpha": alpha}, lambda t: lr / (1 - alpha**t) ** 0.5),
    }
    for cls, (settings, length) in cases.items():
        x = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
        optimizer = cls([x], lr=lr, eps=0.0, **settings)
        place = torch.zeros(3, dtype=torch.float64)
        for t in range(1, 51):
            x.grad = gradient.clone()
            optimizer.step()
            place -= length(t) * gradient.sign()
            torch.testing.assert_close(x.detach(), place, rtol=1e-12, atol=0)
