"""Low precision: what rounding takes away comes back with compensated=True."""

import pytest
import torch
from cases import CASES, DRIVERS, Case, give
from torch.nn.functional import cross_entropy

import scratchopt
from tasks.mnist_data import load

WITH_RULE = {name: case for name, case in CASES.items() if not case.needs_hessian}
EVERY = pytest.mark.parametrize(
    ("case", "driver"),
    [
        pytest.param(case, driver, id=f"{name}-{label}")
        for name, case in WITH_RULE.items()
        for label, driver in DRIVERS.items()
    ],
)
