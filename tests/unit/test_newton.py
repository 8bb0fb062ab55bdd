"""Newton beyond small dense problems: products, conjugate gradients, trials, Gauss–Newton."""

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from scratchopt import Newton
from scratchopt.second_order.conjugate_gradients import conjugate_gradients
from scratchopt.second_order.curvature import gauss_newton, hessian

# torch.func imports modules of torch's that warn.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")

torch.manual_seed(0)
INPUTS, LABELS = torch.randn(40, 3, dtype=torch.float64), torch.arange(40) % 4
TARGETS = torch.randn(40, 4, dtype=torch.float64)


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 4)).double()


def flat(tensors: Any) -> torch.Tensor:
    return torch.cat([t.detach().reshape(-1) for t in tensors])


def functional(model: nn.Module, loss: Any) -> Any:
    """The loss as a function of one vector, for torch.func."""
    params = dict(model.named_parameters())
    sizes = [p.numel() for p in params.values()]

    def value(theta: torch.Tensor) -> torch.Tensor:
        pieces = theta.split(sizes)
        given = {k: v.view_as(p) for (k, p), v in zip(params.items(), pieces, strict=True)}
        return loss(torch.func.functional_call(model, given, (INPUTS,)))

    return value


def cross_entropy(outputs: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(outputs, LABELS)


def squared(outputs: torch.Tensor) -> torch.Tensor:
    return F.mse_loss(outputs, TARGETS)


LOSSES = pytest.mark.parametrize("loss", [cross_entropy, squared])


@LOSSES
def test_products_with_the_hessian_are_those_of_the_whole_matrix(loss):
    model = net()
    params = list(model.parameters())
    whole = torch.func.hessian(functional(model, loss))(flat(params))
    product = hessian(loss(model(INPUTS)), params)
    v = torch.randn(3, len(whole), dtype=torch.float64)
    torch.testing.assert_close(product(v), v @ whole, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(product(v[0]), whole @ v[0], rtol=1e-10, atol=1e-12)


@LOSSES
def test_products_with_the_gauss_newton_matrix_are_those_of_its_definition(loss):
    model = net()
    params = list(model.parameters())
    theta, outputs = flat(params), model(INPUTS)
    jacobian = torch.func.jacrev(functional(model, lambda z: z.flatten()))(theta)
    of_outputs = torch.func.hessian(lambda z: loss(z.view_as(outputs)))(outputs.detach().flatten())
    whole = jacobian.T @ of_outputs @ jacobian
    product = gauss_newton(loss(outputs), outputs, params)
    v = torch.randn(3, len(whole), dtype=torch.float64)
    torch.testing.assert_close(product(v), v @ whole, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(product(v[0]), whole @ v[0], rtol=1e-10, atol=1e-12)
    assert torch.linalg.eigvalsh(whole).min() > -1e-12


def test_outputs_that_do_not_lead_to_the_loss_are_refused():
    model = net()
    with pytest.raises(RuntimeError, match="not have been used in the graph"):
        gauss_newton(squared(model(INPUTS)), model(INPUTS), list(model.parameters()))


def direction(damping: float, **settings: Any) -> torch.Tensor:
    """The step of a small network's Newton, as one vector."""
    model = net()
    before = flat(model.parameters())
    optimizer = Newton(model.parameters(), damping=damping, **settings)
    outputs = model(INPUTS)
    optimizer.backward(cross_entropy(outputs), outputs)
    optimizer.step()
    return before - flat(model.parameters())


@pytest.mark.parametrize("curvature", ["hessian", "gauss_newton"])
def test_conjugate_gradients_find_the_dense_direction(curvature):
    dense = direction(1.0, curvature=curvature)
    cg = direction(1.0, curvature=curvature, solver="cg", cg_iters=500, cg_tol=1e-12)
    error = (torch.linalg.norm(cg - dense) / torch.linalg.norm(dense)).item()
    print(f"{curvature}: relative error of the direction {error:.1e}")
    assert error < 1e-10


def test_conjugate_gradients_end_in_n_steps_on_n_numbers():
    a = torch.randn(6, 6, dtype=torch.float64)
    a = a @ a.T + torch.eye(6, dtype=torch.float64)
    b = torch.randn(6, dtype=torch.float64)
    found = conjugate_gradients(lambda v: a @ v, b, 50, 1e-10)
    torch.testing.assert_close(found.x, torch.linalg.solve(a, b), rtol=1e-8, atol=1e-10)
    assert found.products <= 7
    assert not found.indefinite


def test_conjugate_gradients_end_at_negative_curvature_with_a_direction_of_descent():
    a = torch.diag(torch.tensor([2.0, 1.0, -3.0], dtype=torch.float64))
    b = torch.tensor([1.0, 1.0, 0.1], dtype=torch.float64)
    found = conjugate_gradients(lambda v: a @ v, b, 50, 1e-10)
    assert found.indefinite
    assert found.x @ b > 0
    assert found.x @ a @ found.x > 0  # every direction so far had positive curvature
    first = conjugate_gradients(lambda v: -v, b, 50, 1e-10)
    assert first.indefinite
    assert torch.equal(first.x, b)


def test_conjugate_gradients_of_nothing_are_nothing():
    found = conjugate_gradients(lambda v: v, torch.zeros(3), 5, 0.0)
    assert found == (found.x, 0, False)
    assert not found.x.any()


def test_saddle_free_newton_leaves_a_saddle_that_newton_seeks():
    def end(solver: Any) -> list[float]:
        p = nn.Parameter(torch.tensor([1.0, 0.1], dtype=torch.float64))
        optimizer = Newton([p], solver=solver)
        optimizer.backward(p[0] ** 2 - p[1] ** 2)
        optimizer.step()
        return p.tolist()

    assert end("dense") == pytest.approx([0, 0], abs=1e-15)
    assert end("saddle_free") == pytest.approx([0, 0.2], abs=1e-15)


def steps(optimizer: Newton, f: Any, count: int, watch: Any = lambda: None) -> list[Any]:
    """Steps with a closure, and what is watched after each."""
    seen = []
    for _ in range(count):

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = f()
            optimizer.backward(loss)
            return loss

        optimizer.step(closure)
        seen.append(watch())
    return seen


def test_damping_follows_the_ratio_of_actual_to_predicted_decrease():
    """On a quadratic the model is exact; from the top of a bell the loss falls by far less."""
    x = nn.Parameter(torch.tensor([3.0], dtype=torch.float64))
    optimizer = Newton([x], damping=0.9, adapt_damping=True)
    dampings = steps(
        optimizer, lambda: (x**2).sum(), 3, lambda: optimizer.param_groups[0]["damping"]
    )
    assert dampings == pytest.approx([0.6, 0.4, 0.4 * 2 / 3], rel=1e-15)
    y = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = Newton([y], damping=0.01, adapt_damping=True)
    (damping,) = steps(
        optimizer,
        lambda: torch.log(torch.cosh(4 * y)).sum(),
        1,
        lambda: optimizer.param_groups[0]["damping"],
    )
    assert damping == pytest.approx(0.015)
    assert y.item() == 1.0  # the step overshot, so it was taken back


def test_a_line_search_halves_the_step_until_the_loss_falls():
    y = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = Newton([y], line_search=True)
    before = math.log(math.cosh(4.0))
    steps(optimizer, lambda: torch.log(torch.cosh(4 * y)).sum(), 1)
    full = math.tanh(4.0) * 4 / (16 / math.cosh(4.0) ** 2)
    halvings = math.log2(full / (1 - y.item()))
    assert halvings == pytest.approx(round(halvings), abs=1e-9)
    assert halvings >= 1
    assert math.log(math.cosh(4 * y.item())) < before


def test_a_step_that_nothing_can_shorten_is_not_taken():
    x = nn.Parameter(torch.tensor([0.0], dtype=torch.float64))
    optimizer = Newton([x], line_search=True)
    steps(optimizer, lambda: (-((x - 1) ** 2)).sum(), 1)  # Newton seeks the maximum, uphill
    assert x.item() == 0.0


def test_the_closure_of_a_trial_draws_the_same_numbers_and_leaves_gradients_and_draws_alone():
    x = nn.Parameter(torch.tensor([3.0], dtype=torch.float64))
    optimizer = Newton([x], damping=1.0, adapt_damping=True)
    drawn, grads = [], []

    def f() -> torch.Tensor:
        drawn.append(torch.rand(()).item())
        return (x**2).sum() * (1 + drawn[-1])

    torch.manual_seed(1)
    steps(optimizer, f, 2, lambda: grads.append(x.grad.item()))  # type: ignore[union-attr]
    torch.manual_seed(1)
    first, second = torch.rand(()).item(), torch.rand(()).item()
    assert drawn == [first, first, second, second]
    assert grads[0] == pytest.approx(6 * (1 + first))


def test_the_cost_counts_gradients_products_and_trials():
    model = net()
    size = sum(p.numel() for p in model.parameters())
    dense = Newton(model.parameters(), damping=1.0)
    dense.backward(squared(model(INPUTS)))
    dense.step()
    assert dense.cost == 2 + 2 * size
    cg = Newton(model.parameters(), damping=1.0, solver="cg", cg_iters=4, cg_tol=0.0)
    cg.backward(squared(model(INPUTS)))
    cg.step()
    assert cg.cost == 2 + 2 * 4
    tried = Newton(
        model.parameters(), damping=1.0, solver="cg", cg_iters=4, cg_tol=0.0, adapt_damping=True
    )
    steps(tried, lambda: squared(model(INPUTS)), 1)
    assert tried.cost == 2 + 2 * (4 + 1) + 1


@pytest.mark.parametrize("solver", ["dense", "cg"])
def test_micro_batches_and_weight_decay_and_maximize_mean_the_same_for_every_solver(solver):
    def end(parts: int, sign: int) -> torch.Tensor:
        model = net()
        options = {"solver": solver, "cg_iters": 500, "cg_tol": 1e-12, "maximize": sign < 0}
        optimizer = Newton(model.parameters(), damping=1.0, weight_decay=0.1, **options)
        for inputs, labels in zip(INPUTS.chunk(parts), LABELS.chunk(parts), strict=True):
            optimizer.backward(sign * F.cross_entropy(model(inputs), labels) / parts)
        optimizer.step()
        return flat(model.parameters())

    torch.testing.assert_close(end(1, 1), end(4, 1), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(end(1, 1), end(1, -1), rtol=1e-9, atol=1e-9)
    model = net()
    theta = flat(model.parameters())
    f = functional(model, cross_entropy)
    a = torch.func.hessian(f)(theta) + 1.1 * torch.eye(len(theta), dtype=torch.float64)
    step = torch.linalg.solve(a, torch.func.grad(f)(theta) + 0.1 * theta)
    torch.testing.assert_close(end(1, 1), theta - step, rtol=1e-9, atol=1e-9)


def test_options_travel_with_state_dict_deepcopy_and_pickle():
    model = net()
    optimizer = Newton(model.parameters(), damping=2.0, solver="cg", adapt_damping=True)
    steps(optimizer, lambda: squared(model(INPUTS)), 1)
    damping = optimizer.param_groups[0]["damping"]
    for other in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert other.param_groups[0]["damping"] == damping
        assert other.keeps_graphs
    fresh = Newton(net().parameters(), damping=2.0, solver="cg", adapt_damping=True)
    fresh.load_state_dict(optimizer.state_dict())
    assert fresh.param_groups[0]["damping"] == damping


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"curvature": "fisher"}, r"Invalid curvature: fisher \(one of hessian, gauss_newton\)"),
        ({"solver": "lu"}, r"Invalid solver: lu \(one of dense, saddle_free, cg\)"),
        ({"cg_iters": 0}, r"Invalid cg_iters value: 0 \(cg_iters >= 1\)"),
        ({"cg_tol": 1.0}, r"Invalid cg_tol value: 1.0 \(0 <= cg_tol < 1\)"),
        ({"adapt_damping": True}, r"Invalid damping value: 0.0 \(> 0 with adapt_damping\)"),
    ],
)
def test_invalid_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Newton(net().parameters(), **settings)


def test_groups_cannot_differ_in_what_is_one_system():
    first, second = net(0), net(1)
    optimizer = Newton(first.parameters(), solver="cg")
    with pytest.raises(ValueError, match="Invalid solver: dense in one group, cg before"):
        optimizer.add_param_group({"params": list(second.parameters()), "solver": "dense"})


def test_what_cannot_be_done_is_refused_with_what_to_do():
    model = net()
    outputs = model(INPUTS)
    with pytest.raises(RuntimeError, match=r"backward\(loss, outputs\)"):
        Newton(model.parameters(), curvature="gauss_newton").backward(squared(outputs))
    tried = Newton(model.parameters(), damping=1.0, adapt_damping=True)
    tried.backward(squared(model(INPUTS)))
    with pytest.raises(RuntimeError, match=r"need step\(closure\)"):
        tried.step()

    def closure() -> torch.Tensor:  # without zero_grad: a second micro-batch
        loss = squared(model(INPUTS))
        tried.backward(loss)
        return loss

    with pytest.raises(RuntimeError, match="accumulate_grad_batches=1"):
        tried.step(closure)
    singular = Newton([nn.Parameter(torch.zeros(2))], solver="dense")
    singular.backward(singular.param_groups[0]["params"][0].sum())
    with pytest.raises(
        RuntimeError, match=r"singular or not finite here: raise damping \(now 0.0\)"
    ):
        singular.step()


def test_a_damping_that_adapts_stays_where_the_loss_has_converged_to_its_rounding():
    torch.manual_seed(0)
    model = nn.Linear(3, 4)
    optimizer = Newton(model.parameters(), damping=1.0, adapt_damping=True)
    inputs = INPUTS.float()
    steps(optimizer, lambda: F.cross_entropy(model(inputs), LABELS), 60)
    assert 1e-4 < optimizer.param_groups[0]["damping"] < 10


def test_a_predicted_increase_raises_the_damping_until_the_step_goes_downhill():
    x = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))  # where log(1 + x²) is concave
    optimizer = Newton([x], damping=0.01, adapt_damping=True)
    steps(optimizer, lambda: torch.log(1 + x**2).sum(), 60)
    assert abs(x.item()) < 1e-6


def test_a_damping_that_adapts_does_so_to_a_singular_system():
    x = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimizer = Newton([x], damping=1e-300, adapt_damping=True)
    steps(optimizer, lambda: (x[0] - 1) ** 2 + 0 * x[1], 3)
    assert x.tolist() == pytest.approx([1, 0])


def test_what_is_not_finite_is_refused_by_every_solver():
    for solver in ("dense", "saddle_free", "cg"):
        x = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        optimizer = Newton([x], damping=1.0, solver=solver)
        optimizer.backward((x.abs() ** 1.5 + x).sum())
        with pytest.raises(RuntimeError, match="not finite"):
            optimizer.step()


def test_the_cost_of_micro_batches_is_that_of_the_batch():
    def cost(parts: int) -> float:
        model = net()
        optimizer = Newton(model.parameters(), damping=1.0, solver="cg", cg_iters=3, cg_tol=0.0)
        for inputs, labels in zip(INPUTS.chunk(parts), LABELS.chunk(parts), strict=True):
            optimizer.backward(F.cross_entropy(model(inputs), labels) / parts)
        optimizer.step()
        return optimizer.cost

    assert cost(1) == cost(4) == 2 + 2 * 3


def test_the_cost_of_a_step_stands_until_the_next_loss():
    model = net()
    optimizer = Newton(model.parameters(), damping=1.0, solver="cg")
    optimizer.backward(cross_entropy(model(INPUTS)))
    optimizer.step()
    cost = optimizer.cost
    optimizer.zero_grad()
    assert optimizer.cost == cost > 2
    optimizer.backward(cross_entropy(model(INPUTS)))
    assert optimizer.cost == 0


def test_the_loss_that_a_step_returns_has_no_graph():
    model = net()
    optimizer = Newton(model.parameters(), damping=1.0, solver="cg")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = squared(model(INPUTS))
        optimizer.backward(loss)
        return loss

    assert optimizer.step(closure).grad_fn is None


def test_a_graph_that_is_gone_is_named():
    model = net()
    optimizer = Newton(model.parameters(), solver="cg")
    loss = squared(model(INPUTS))
    optimizer.add_curvature(loss)
    loss.backward()
    with pytest.raises(RuntimeError, match="needs the graph of the loss till the step"):
        optimizer.step()


def test_at_a_minimum_nothing_moves_and_the_damping_stays():
    x = nn.Parameter(torch.tensor([0.0], dtype=torch.float64))
    optimizer = Newton([x], damping=1.0, adapt_damping=True, solver="cg")
    steps(optimizer, lambda: (x**2).sum(), 2)
    assert x.item() == 0.0
    assert optimizer.param_groups[0]["damping"] == 1.0


def test_a_trial_that_fails_leaves_theta():
    x = nn.Parameter(torch.tensor([3.0], dtype=torch.float64))
    optimizer = Newton([x], damping=1.0, adapt_damping=True)
    calls = iter([None, RuntimeError("out of memory")])

    def f() -> torch.Tensor:
        if error := next(calls):
            raise error
        return (x**2).sum()

    with pytest.raises(RuntimeError, match="out of memory"):
        steps(optimizer, f, 1)
    assert x.item() == 3.0
    assert np.isfinite(x.grad.item())  # type: ignore[union-attr]
