"""Memory as predicted and as allocated."""

import pytest
import torch

import scratchopt
from scratchopt import memory
from tests.shared.cases import CASES, take_step


@pytest.mark.parametrize(("count", "total"), [(1_000, 6_000), (1_000_000_000, 6_000_000_000)])
def test_it_is_the_articles_table(count, total):
    model = [torch.nn.Parameter(torch.empty(count, device="meta"))]
    assert memory(model, scratchopt.Momentum, torch.float16) == (total / 3, total / 3, total / 3, 0)
    assert memory(model, scratchopt.SGD, torch.float16) == (total / 3, total / 3, 0, 0)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.needs_hessian])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_prediction_is_what_is_allocated(name, dtype):
    case = CASES[name]
    model = torch.nn.Sequential(torch.nn.Linear(7, 5), torch.nn.Linear(5, 3)).to(dtype)
    model[0].weight.requires_grad_(False)
    predicted = memory(model, case.cls, **case.settings)  # type: ignore[arg-type]
    optimizer = case.cls(model.parameters(), **case.settings)
    for _ in range(2):  # NAG looks ahead from the second on
        take_step(optimizer, lambda: model(torch.ones(2, 7, dtype=dtype)).square().sum())
    state = [t for values in optimizer.state.values() for t in values.values()]
    assert predicted.parameters == sum(p.nbytes for p in model.parameters())
    assert predicted.gradients == sum(
        p.grad.nbytes for p in model.parameters() if p.grad is not None
    )
    assert predicted.state == sum(t.nbytes for t in state)
    copies = optimizer._point.iterate._copies if optimizer._point else []
    assert predicted.lookahead == sum(t.nbytes for t in copies)


@pytest.mark.parametrize("amsgrad", [False, True])
def test_torchs_own_optimizers_take_what_ours_take(amsgrad):
    model = torch.nn.Linear(7, 5)
    theirs = memory(model, torch.optim.Adam, amsgrad=amsgrad)
    assert theirs == memory(model, scratchopt.Adam, amsgrad=amsgrad)
    assert theirs.state == (3 if amsgrad else 2) * 40 * 4 + 2 * 4  # with a step for each parameter


def test_compensation_doubles_parameters_and_state():
    model = [torch.nn.Parameter(torch.empty(1000, device="meta"))]
    plain = memory(model, scratchopt.Momentum, torch.bfloat16)
    compensated = memory(model, scratchopt.Momentum, torch.bfloat16, compensated=True)
    assert plain == (2000, 2000, 2000, 0)
    assert compensated == (2000, 2000, 6000, 0)
