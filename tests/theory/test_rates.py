"""The contraction per step on a quadratic is the closed form of the literature.

`scratchopt.theory.closed_forms` has the formulas with their sources, and knows no optimizer;
`scratchopt.theory.measurements` measures, and knows no formula but for how long to run.
"""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import scratchopt
from scratchopt import Momentum
from scratchopt.theory.closed_forms import TUNED, best_momentum, rate
from scratchopt.theory.measurements import measure_rate_of_step
from scratchopt.theory.quadratics import Quadratic, descend

from .checks import (
    RECURRENCES,
    check_constant_lr_schedule,
    check_constant_momentum_schedule,
    check_rate,
    check_schedule,
)

CASES = [(method, name) for name, tuned in TUNED.items() for method in tuned.methods]
examples = settings(derandomize=True, deadline=None, max_examples=30)


@pytest.mark.parametrize("kappa", [10.0, 100.0, 1e4])
@pytest.mark.parametrize(("method", "name"), CASES, ids=["-".join(case) for case in CASES])
def test_the_contraction_per_step_is_the_closed_form(method, name, kappa):
    """Two measures. The matrix of one step, column by column from steps of the optimizer; its
    spectral radius is the rate, and a double root costs it half the digits: 1e-6. And a long run
    on a dense quadratic of four curvatures, with the t·ρᵗ of a double root in the fit: 2e-4.
    """
    check_rate(getattr(scratchopt, method), name, kappa)


def test_the_closed_forms_are_those_of_the_reference_at_100():
    figures = {
        "gradient descent": 0.980198,
        "heavy ball": 0.818182,
        "NAG, standard": 0.9,
        "NAG, optimal": 0.884722,
    }
    for name, figure in figures.items():
        assert TUNED[name].rate(100.0) == pytest.approx(figure, abs=5e-7)


def test_heavy_ball_contracts_at_its_double_root():
    """‖θ‖/(t·ρᵗ) comes to rest; without the t it would grow on, and with t² fall."""
    tuned = TUNED["heavy ball"]
    chosen = tuned.settings(1.0, 100.0)
    ends = Quadratic(torch.tensor([1.0, 100.0], dtype=torch.float64))
    start = torch.ones(2, dtype=torch.float64)
    path = descend(
        partial(Momentum, lr=chosen["lr"], momentum=chosen["momentum"]), ends, start, 200
    )
    t = torch.arange(1, 201, dtype=torch.float64)
    scaled = path[1:].norm(dim=1) / (t * tuned.rate(100.0) ** t)
    assert scaled[199] == pytest.approx(scaled[99].item(), rel=0.03)


@pytest.mark.parametrize("method", ["SGD", "Momentum", "NAG", "NAGTorch"])
@examples
@given(s=st.floats(0.0, 5.0), mu=st.floats(0.0, 0.999))
def test_the_rate_in_one_direction_is_the_closed_form_wherever_it_is(method, s, mu):
    momentum = {} if method == "SGD" else {"momentum": mu}
    measured = measure_rate_of_step(getattr(scratchopt, method), np.ones(1), lr=s, **momentum)
    assert measured == pytest.approx(float(rate(method, s, mu)), abs=1e-6)


@pytest.mark.parametrize("method", ["Momentum", "NAG"])
@examples
@given(s=st.floats(0.001, 0.99), mu=st.floats(0.0, 0.999))
def test_no_momentum_is_better_than_the_best(method, s, mu):
    cls = getattr(scratchopt, method)
    best = measure_rate_of_step(cls, np.ones(1), lr=s, momentum=float(best_momentum(method, s)))
    assert best <= measure_rate_of_step(cls, np.ones(1), lr=s, momentum=mu) + 1e-6


@examples
@given(lr=st.floats(0.0, 2.5), kappa=st.floats(1.0, 1e6))
def test_newtons_rate_knows_no_curvature(lr, kappa):
    curvatures = np.array([1.0, -np.sqrt(kappa), kappa])
    measured = measure_rate_of_step(scratchopt.Newton, curvatures, lr=lr)
    assert measured == pytest.approx(abs(1 - lr), abs=1e-12)


@pytest.mark.parametrize("method", RECURRENCES)
def test_each_recurrence_holds_under_a_schedule_of_lr_and_one_of_momentum(method):
    check_constant_momentum_schedule(getattr(scratchopt, method), method)
    check_constant_lr_schedule(getattr(scratchopt, method), method)


@pytest.mark.parametrize("method", RECURRENCES)
@examples
@given(
    schedule=st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 0.95)), min_size=1, max_size=20)
)
def test_each_recurrence_holds_under_any_schedule(method, schedule):
    lr, momentum = map(list, zip(*schedule, strict=True))
    check_schedule(getattr(scratchopt, method), method, lr, momentum)
