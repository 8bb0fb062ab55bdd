"""What Adafactor alone promises; that it is torch's and the paper's stands in the tables."""

import pytest
import torch

import scratchopt
from scratchopt import Adafactor, memory
from scratchopt.engine.operations import RuleError
from tests.shared.cases import give


def parameter(*size: int, dtype: torch.dtype = torch.float32) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.ones(size, dtype=dtype))


@pytest.mark.parametrize(
    ("size", "numbers"), [((300, 200), 500), ((300,), 300), ((), 1), ((4, 30, 20), 200)]
)
def test_its_state_is_r_and_c_numbers_in_place_of_r_times_c(size, numbers):
    p = parameter(*size)
    assert memory([p], Adafactor).state == 4 * numbers + 4  # and the step
    theirs = torch.optim.Adafactor([p])
    give(theirs, [p], [torch.ones_like(p)])
    assert sum(value.nbytes for value in theirs.state[p].values()) == 4 * numbers + 4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_the_least_root_is_by_default_the_spacing_of_the_parameters_dtype(dtype):
    ends = []
    for eps in ((None, 1e-3), (torch.finfo(dtype).eps, 1e-3), (0.5, 1e-3)):
        p = parameter(2, 3, dtype=dtype)
        give(Adafactor([p], eps=eps), [p], [torch.full((2, 3), 1e-9, dtype=dtype)])
        ends.append(p.detach())
    assert torch.equal(ends[0], ends[1])
    assert dtype == torch.bfloat16 or not torch.equal(ends[0], ends[2])


@pytest.mark.parametrize("eps", [1e-3, (1e-3,), (None, None), (-1.0, 1e-3), (None, float("nan"))])
def test_eps_is_two_numbers_of_which_the_first_may_be_none(eps):
    with pytest.raises(ValueError, match=r"^Invalid eps"):
        Adafactor([parameter(3)], eps=eps)


def test_a_parameter_without_elements_stays_beside_others():
    params = [parameter(0), parameter(3, 0), parameter(2, 3)]
    optimizer = Adafactor(params)
    give(optimizer, params, [torch.ones_like(p) for p in params])
    assert [optimizer.state[p]["step"].item() for p in params] == [1, 1, 1]
    assert not torch.equal(params[2], torch.ones(2, 3))


def test_autograd_is_refused_as_the_rule_reads_norms():
    p = parameter(2, 3)
    optimizer = Adafactor([p], differentiable=True)
    with pytest.raises(RuleError, match=r"by item\(\), .*: leave differentiable=True out"):
        give(optimizer, [p], [torch.ones(2, 3)])
    assert torch.equal(p, torch.ones(2, 3))


def test_a_twin_of_torchs_that_goes_by_lists_is_told_what_to_leave_out():
    p = parameter(2, 3)
    theirs = torch.optim.Adafactor([p], foreach=True)
    give(theirs, [p], [torch.ones(2, 3)])
    with pytest.raises(RuntimeError, match="Adafactor does not support foreach=True"):
        scratchopt.from_torch(theirs)
