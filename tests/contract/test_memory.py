"""Memory as predicted and as allocated."""

from typing import Any

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


class MixedAdam(scratchopt.Optimizer):
    """Adam as of mixed precision: parameters and moments in float32 are its state."""

    buffers = ("master", "m", "v")
    shape = "tensor"

    def __init__(self, params, lr: float = 0.1) -> None:
        super().__init__(params, {"lr": lr})

    @staticmethod
    def rule(p, g, master, m, v, *, lr):
        p.add_(g)

    def first_value(self, key, p, group):
        return torch.zeros_like(p, dtype=torch.float32)


@pytest.mark.parametrize(("stage", "gigabytes"), [(0, 120), (1, 31.4), (2, 16.6), (3, 1.9)])
def test_it_is_the_table_of_the_zero_paper(stage, gigabytes):
    """7.5·10⁹ parameters, 64 processes: Rajbhandari et al., figure 1."""
    count = 7_500_000_000 // 64 // 8 * 8  # at multiples of 8 a whole tensor may begin
    model = [torch.nn.Parameter(torch.empty(count, device="meta")) for _ in range(64)]
    processes = {"stage": stage, "processes": 64, "bucket_bytes": 2**40}  # all in a single bucket
    found = memory(model, MixedAdam, torch.float16, rank=7, **processes)
    assert (found.total / 1e9, found.padding) == (pytest.approx(gigabytes, abs=0.05), 0)


def test_of_several_processes_that_counts_which_has_most():
    model = torch.nn.Sequential(torch.nn.Linear(9, 7), torch.nn.Linear(7, 2, bias=False))
    for kind in (scratchopt.Adam, scratchopt.Muon):
        ranks = [memory(model, kind, stage=3, processes=3, rank=r) for r in range(3)]
        assert memory(model, kind, stage=3, processes=3) == max(ranks, key=lambda r: r.total)
        assert sum(r.parameters for r in ranks) == memory(model, kind).parameters
        assert sum(r.gradients for r in ranks) == memory(model, kind).gradients


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_one_process_has_it_all_at_any_stage(stage):
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Linear(16, 8))  # no padding
    for kind in (scratchopt.NAG, scratchopt.Adafactor, torch.optim.Adam):
        assert memory(model, kind, stage=stage, processes=1) == memory(model, kind)


def test_an_optimizer_in_place_of_its_class_is_refused():
    model = [torch.nn.Parameter(torch.empty(9))]
    with pytest.raises(TypeError, match=r"give its class, memory\(model, SGD\)"):
        memory(model, scratchopt.SGD(model, lr=0.1))  # type: ignore[arg-type]


def test_stages_and_processes_that_there_are_not_are_refused():
    model = [torch.nn.Parameter(torch.empty(9))]
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"stage": 4}, "Invalid stage: 4"),
        ({"processes": 0}, "Invalid number of processes: 0"),
        ({"stage": 1, "processes": 2, "rank": 2}, "Invalid rank: 2"),
    )
    for wrong, message in cases:
        with pytest.raises(ValueError, match=message):
            memory(model, scratchopt.SGD, **wrong)
    with pytest.raises(RuntimeError, match=r"Newton needs all parameters .* strategy='ddp'"):
        memory(model, scratchopt.Newton, stage=1, processes=2)


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
