"""Memory as predicted and as allocated."""

import pytest
import torch

import scratchopt
from scratchopt import memory
from scratchopt.memory_footprint import measure_memory
from tests.shared.cases import CASES, take_step


@pytest.mark.parametrize(("count", "total"), [(1_000, 6_000), (1_000_000_000, 6_000_000_000)])
def test_it_is_the_articles_table(count, total):
    model = [torch.nn.Parameter(torch.empty(count, device="meta"))]
    third = total / 3
    assert memory(model, scratchopt.Momentum, torch.float16) == (third, third, third, 0, 0)
    assert memory(model, scratchopt.SGD, torch.float16) == (third, third, 0, 0, 0)


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
    kept = optimizer._point._memory if optimizer._point else []
    assert predicted.lookahead == sum(t.nbytes for some in kept for t in some.copies)


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
    assert plain == (2000, 2000, 2000, 0, 0)
    assert compensated == (2000, 2000, 6000, 0, 0)


def test_an_optimizer_that_takes_no_step_without_memory_is_refused_in_a_line():
    model = torch.nn.Linear(7, 5)
    with pytest.raises(ValueError, match="LBFGS takes no step on tensors without memory"):
        memory(model, torch.optim.LBFGS)
    with pytest.raises(ValueError, match="SparseAdam takes no step"):
        memory(model, torch.optim.SparseAdam)


@pytest.mark.parametrize("fused", [True, False])
def test_a_fused_optimizer_takes_what_another_takes(fused):
    model = torch.nn.Linear(7, 5)
    assert memory(model, scratchopt.Adam, fused=fused) == memory(model, scratchopt.Adam)
    assert memory(model, torch.optim.Adam, fused=fused) == memory(model, scratchopt.Adam)


def test_what_a_training_holds_is_what_was_predicted():
    model = torch.nn.Linear(7, 5)
    for kind in (scratchopt.NAG, scratchopt.Adam, torch.optim.Adam, scratchopt.Newton):
        optimizer = kind(model.parameters(), lr=0.1)
        if kind is torch.optim.Adam:
            assert measure_memory(model, [optimizer]) is None
            model(torch.ones(2, 7)).square().sum().backward()
            optimizer.step()
        assert measure_memory(model, [optimizer]) == memory(model, kind, lr=0.1)
