"""Numbers that a method makes itself, and keeps: alike in every driver, exact through a file."""

import copy
import io
import itertools
import math
import pickle
import re
from typing import Any

import pytest
import torch
from torch import Tensor

import scratchopt
from scratchopt.engine import compiled
from scratchopt.engine.operations import RuleError
from tests.shared.cases import CASES, DRIVERS, give
from tests.shared.paths import ROOT

SHAPES = [(3, 5), (), (7,)]
LATE = [(0, 1, 2), (0,), (0, 2), (0, 1, 2), (1,)]  # which parameters have a gradient, step by step
WAYS = {
    **DRIVERS,
    "compensated": {"compensated": True},
    "differentiable": {"differentiable": True},
    "capturable": {"capturable": True},
}
EVERY = pytest.mark.parametrize("driver", WAYS.values(), ids=WAYS)


class Weighted(scratchopt.Optimizer):
    """θ ← θ − d·g with d = lr·w/Σw, where w = lr² doubles after a warm-up: as Schedule-Free's."""

    kept_numbers = ("weight_sum", "most")

    def __init__(self, params, lr: Any = 0.25, warmup=2, capturable=False, **options):
        settings = {"lr": lr, "warmup": warmup, "capturable": capturable}
        super().__init__(params, settings, **options)

    @staticmethod
    def numbers(*, t, lr, warmup, weight_sum, most):
        weight = lr**2
        if t > warmup:
            weight = 2 * weight
        weight_sum = weight_sum + weight
        return {
            "weight_sum": weight_sum,
            "most": max(most, weight),
            "d": (lr * weight / weight_sum, 1.0),
        }

    @staticmethod
    def rule(p, g, *, d, most):
        p -= d[0] * g + d[1] * most * p


def theta_of(start: Tensor, grads: list[Tensor | None], rates: list[float]) -> Tensor:
    """The same lines in plain Python on float64."""
    theta, t, total, most = start.double(), 0, 0.0, 0.0
    for g, lr in zip(grads, rates, strict=True):
        if g is not None:
            t += 1
            weight = lr**2 * (2 if t > 2 else 1)
            total, most = total + weight, max(most, weight)
            theta = theta - lr * weight / total * g.double() - most * theta
    return theta


def make(dtype: torch.dtype, driver: dict[str, Any]) -> list[Tensor]:
    torch.manual_seed(0)
    params = [torch.randn(shape, dtype=dtype).requires_grad_() for shape in SHAPES]
    if driver.get("differentiable"):
        params = [p.clone() for p in params]
        for p in params:
            p.retain_grad()
    return params


def steps(count: int, dtype: torch.dtype = torch.float64) -> list[list[Tensor | None]]:
    torch.manual_seed(1)
    rows = [[torch.randn(shape, dtype=dtype) for shape in SHAPES] for _ in range(count)]
    return [
        [g if i in LATE[step % len(LATE)] else None for i, g in enumerate(row)]
        for step, row in enumerate(rows)
    ]


def run(optimizer: Any, params: list[Tensor], rows: list[list[Tensor | None]]) -> None:
    for step, grads in enumerate(rows):
        optimizer.param_groups[0]["lr"] = 0.25 / (1 + step)
        give(optimizer, params, grads)


@EVERY
def test_a_rule_takes_what_the_method_makes_and_keeps_in_every_driver(driver):
    dtype = torch.float32 if driver.get("compensated") else torch.float64
    params, rows = make(dtype, driver), steps(8, dtype)
    start = [p.detach().clone() for p in params]
    optimizer = Weighted(params, **driver)
    run(optimizer, params, rows)
    rates = [0.25 / (1 + step) for step in range(8)]
    loose = 1e-6 if driver.get("compensated") or driver.get("capturable") else 1e-13
    for i, p in enumerate(params):
        expected = theta_of(start[i], [row[i] for row in rows], rates)
        torch.testing.assert_close(p.detach().double(), expected, rtol=loose, atol=loose)
        state = optimizer.state[p]
        assert list(state)[:3] == ["step", "weight_sum", "most"]
        assert state["step"] == sum(row[i] is not None for row in rows)
        assert state["weight_sum"].dtype == torch.float64
        assert state["weight_sum"].shape == ()


def through_a_file(thing: Any) -> Any:
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize(
    ("driver", "carried"),
    [
        pytest.param(driver, carried, id=f"{carried}-{name}")
        for name, driver in WAYS.items()
        # A parameter that autograd has made is not copied.
        for carried in ("state_dict", "deepcopy", "pickle")[: 1 if name == "differentiable" else 3]
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_what_is_kept_goes_on_exactly(driver, dtype, carried):
    params, rows = make(dtype, driver), steps(9, dtype)
    optimizer = Weighted(params, **driver)
    run(optimizer, params, rows[:4])
    if carried == "deepcopy":
        again, same = copy.deepcopy((optimizer, params))
    elif carried == "pickle":
        again, same = pickle.loads(pickle.dumps((optimizer, params)))
    else:
        same = [p.detach().clone().requires_grad_() for p in params]
        if driver.get("differentiable"):
            same = [p * 1 for p in same]
            for p in same:
                p.retain_grad()
        again = Weighted(same, **driver)
        again.load_state_dict(through_a_file(optimizer.state_dict()))
    for p, q in zip(params, same, strict=True):
        a, b = optimizer.state[p], again.state[q]
        assert all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)
        assert all(a[k] is not b[k] for k in a)
    run(optimizer, params, rows[4:])
    run(again, same, rows[4:])
    assert all(map(torch.equal, params, same))


@EVERY
def test_a_step_that_fails_takes_back_what_it_would_have_kept(driver, monkeypatch):
    params, rows = make(torch.float32, driver), steps(2, torch.float32)
    optimizer = Weighted(params, **driver)
    run(optimizer, params, rows[:1])
    before = copy.deepcopy([dict(optimizer.state[p]) for p in params])

    def fail(*arguments: Any, **numbers: Any) -> None:
        raise KeyboardInterrupt

    bucket = optimizer._sorting._found.rows[0][2]  # type: ignore[union-attr]
    with monkeypatch.context() as patched:
        patched.setitem(vars(bucket.update), "driver", fail)
        with pytest.raises(KeyboardInterrupt):
            give(optimizer, params, [torch.ones_like(p) for p in params])
    for p, state in zip(params, before, strict=True):
        assert all(torch.equal(optimizer.state[p][key], value) for key, value in state.items())


def test_numbers_that_fail_leave_the_count_as_it_was():
    class Fails(Weighted):
        @staticmethod
        def numbers(*, t, lr, warmup, weight_sum, most):
            return {"weight_sum": 1.0, "most": 1.0 / (2 - t), "d": (1.0, 1.0)}

    (p,) = params = [torch.ones(3, requires_grad=True)]
    optimizer = Fails(params)
    give(optimizer, params, [torch.ones(3)])
    with pytest.raises(ZeroDivisionError):
        give(optimizer, params, [torch.ones(3)])
    assert optimizer.state[p]["step"] == 1


def test_no_kernel_is_made_because_a_number_has_changed():
    params, rows = make(torch.float32, {}), steps(8, torch.float32)
    optimizer = Weighted(params, fused=True)
    run(optimizer, params, rows[:1])
    kernels = len(compiled._KERNELS)
    run(optimizer, params, rows[1:])  # past the warm-up, with other rates
    assert len(compiled._KERNELS) == kernels


def test_one_edited_number_parts_a_parameter_from_the_others():
    ends = []
    for driver in ({"foreach": True}, {"foreach": False}):
        params, rows = make(torch.float64, {}), steps(6)
        optimizer = Weighted(params, **driver)
        run(optimizer, params, rows[:3])
        optimizer.state[params[0]]["weight_sum"].fill_(2.0)
        optimizer.state[params[2]]["most"] = torch.tensor(0.5, dtype=torch.float64)
        run(optimizer, params, rows[3:])
        ends.append([*params, *(optimizer.state[p]["weight_sum"] for p in params)])
    assert all(map(torch.equal, *ends))
    assert ends[0][3] > 2


def straight(p, g, *, d):
    p -= d[0] * g


def test_autograd_goes_through_the_numbers():
    lr = torch.tensor(0.25, dtype=torch.float64, requires_grad=True)
    cls = type("Straight", (Weighted,), {"rule": staticmethod(straight)})

    def end(rate: Tensor) -> Tensor:
        start = torch.ones(2, dtype=torch.float64, requires_grad=True)
        p = start * 1
        p.retain_grad()
        optimizer = cls([p], lr=rate, differentiable=True)
        for _ in range(3):
            give(optimizer, [p], [torch.full((2,), 0.5, dtype=torch.float64)])
        return p.sum()

    assert torch.autograd.gradcheck(end, [lr])


def test_a_number_that_a_cuda_graph_would_freeze_is_refused():
    class Reads(Weighted):
        @staticmethod
        def numbers(*, t, lr, warmup, weight_sum, most):
            return {"weight_sum": weight_sum, "most": most, "d": (math.sqrt(t), 1.0)}

    (p,) = params = [torch.ones(3, requires_grad=True)]
    give(Reads(params), params, [torch.ones(3)])
    optimizer = Reads(params, capturable=True)
    with pytest.raises(RuleError, match=r"Reads\.numbers reads a number, .* leave capturable out"):
        give(optimizer, params, [torch.ones(3)])
    assert optimizer.state[p]["step"] == 0


class Averaging(scratchopt.Optimizer):
    """Schedule-Free SGD: the gradient at y = (1 − β)z + βx, x the mean of all z, decay at y."""

    buffers = ("z",)
    kept_numbers = ("weight_sum",)

    def __init__(self, params, lr=0.5, momentum=0.9, **options):
        super().__init__(params, {"lr": lr, "momentum": momentum}, **options)

    def first_value(self, key, p, group):
        if key == "z":
            return p.detach().clone(memory_format=torch.preserve_format)
        return super().first_value(key, p, group)

    @staticmethod
    def gradient_point(p, z, *, momentum):
        p += (1 - momentum) * (z - p)

    @staticmethod
    def numbers(*, lr, weight_sum):
        weight_sum = weight_sum + lr**2
        return {"weight_sum": weight_sum, "c": lr**2 / weight_sum}

    @staticmethod
    def rule(p, g, z, *, lr, momentum, weight_decay, c):
        y = p + (1 - momentum) * (z - p)
        z -= lr * g + lr * weight_decay * y
        p += c * (z - p)


@pytest.mark.parametrize("driver", list(DRIVERS.values()), ids=DRIVERS)
@pytest.mark.parametrize("maximize", [False, True])
def test_a_rule_that_takes_weight_decay_decays_itself(driver, maximize):
    torch.manual_seed(0)
    p = torch.randn(4, dtype=torch.float64, requires_grad=True)
    x = z = p.detach().clone()
    total = 0.0
    optimizer = Averaging([p], weight_decay=0.1, maximize=maximize, **driver)
    for step in range(6):
        lr = optimizer.param_groups[0]["lr"] = 0.5 / (1 + step)
        y = 0.1 * z + 0.9 * x
        g = torch.randn(4, dtype=torch.float64)
        optimizer.lookahead_()
        torch.testing.assert_close(p.detach(), y if step else x, rtol=1e-14, atol=1e-14)
        p.grad = -g if maximize else g
        optimizer.step()
        z = z - lr * g - lr * 0.1 * y
        total += lr**2
        x = x + lr**2 / total * (z - x)
        torch.testing.assert_close(p.detach(), x, rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(optimizer.state[p]["z"], z, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", ["nadam", "radam"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_twin_with_numbers_of_its_own_is_torchs_bit_for_bit(name, dtype):
    case = CASES[name]
    options = [{}, {"maximize": True, "weight_decay": 0.1}]
    options += [{"weight_decay": 0.1, "decoupled_weight_decay": True, "betas": (0.8, 0.6)}]
    for driver, chosen in itertools.product(({"foreach": True}, {"foreach": False}), options):
        torch.manual_seed(0)
        ours = [torch.randn(shape, dtype=dtype).requires_grad_() for shape in SHAPES]
        theirs = [p.detach().clone().requires_grad_() for p in ours]
        a = case.cls(ours, lr=0.05, **chosen, **driver)
        b = case.oracle(theirs, lr=0.05, **chosen)
        for _ in range(100):
            grads = [torch.randn_like(p) for p in ours]
            give(a, ours, grads)
            give(b, theirs, grads)
        assert all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize("driver", [{"foreach": True}, {"foreach": False}], ids=str)
def test_radam_leaves_alone_what_has_had_no_gradient_though_eps_is_0(driver):
    """Before it is adaptive, too, when torch's foreach form divides 0 by 0."""
    p = torch.ones(2, requires_grad=True)
    optimizer = CASES["radam"].cls([p], lr=0.1, eps=0.0, **driver)
    give(optimizer, [p], [torch.tensor([0.0, 1.0])])
    assert p.tolist() == [1.0, pytest.approx(0.9)]


def without(name: str) -> Any:
    def numbers(*, t, lr, warmup, weight_sum, most):
        made = Weighted.numbers(t=t, lr=lr, warmup=warmup, weight_sum=weight_sum, most=most)
        del made[name]
        return made

    return numbers


def unknown(*, t, learning_rate, weight_sum, most):
    return {}


def positional(t, *, lr):
    return {}


def a_list(*, t, lr):
    return [lr]


def writes(*, t, weight_sum, most):
    weight_sum += 1.0
    return {"weight_sum": weight_sum, "most": most, "d": (0.1, 1.0)}


def text(*, t, weight_sum, most):
    return {"weight_sum": weight_sum, "most": most, "d": "much"}


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (None, r"kept_numbers are weight_sum, most, and no numbers\(\) makes them"),
        (
            unknown,
            "unknown takes learning_rate, which is not among kept_numbers, and its param gro",
        ),
        (positional, "positional must take numbers alone, by name"),
        (a_list, r"a_list must return numbers by name, and not \[0\.25\]"),
        (writes, "writes made .* when it was called again"),
        (text, "text made d, which is 'much' and no number"),
        (without("most"), "must return most: kept_numbers name them"),
        (without("d"), r"rule takes d, and its param group has none and numbers\(\) makes none"),
    ],
)
def test_numbers_that_cannot_serve_a_rule_are_refused_when_the_optimizer_is_made(numbers, message):
    numbers = staticmethod(numbers) if callable(numbers) else numbers
    cls = type("Other", (Weighted,), {"numbers": numbers})
    with pytest.raises(RuleError, match=message):
        cls([torch.ones(3, requires_grad=True)])


def test_names_that_change_are_refused_and_the_step_is_taken_back():
    class Changing(Weighted):
        @staticmethod
        def numbers(*, t, lr, warmup, weight_sum, most):
            made = {"weight_sum": weight_sum, "most": most, "d": (lr, 1.0)}
            return made if t == 1 else made | {"e": 1.0}

    (p,) = params = [torch.ones(3, requires_grad=True)]
    optimizer = Changing(params)
    give(optimizer, params, [torch.ones(3)])
    with pytest.raises(RuleError, match="in each step the names must be the same"):
        give(optimizer, params, [torch.ones(3)])
    assert optimizer.state[p]["step"] == 1


def test_a_gradient_point_takes_no_number_that_the_method_makes():
    def point(p, z, *, c):
        p += c * (z - p)

    cls = type("Ahead", (Averaging,), {"gradient_point": staticmethod(point)})
    with pytest.raises(RuleError, match=r"point takes c, which numbers\(\) makes"):
        cls([torch.ones(3, requires_grad=True)])


def test_the_page_s_method_warms_up():
    page = (ROOT / "docs" / "reference" / "rules.md").read_text()
    [block] = re.findall(r"^```python\n# warm\.py\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    found: dict[str, Any] = {}
    exec(block, found)
    p = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = found["Warm"]([p], lr=1.0, warmup=4)
    for _ in range(6):
        give(optimizer, [p], [torch.ones((), dtype=torch.float64)])
    weights = [(1 - math.cos(math.pi * min(t / 4, 1))) / 2 for t in range(1, 7)]
    moved = sum(weight / sum(weights[: t + 1]) for t, weight in enumerate(weights))
    assert p.item() == pytest.approx(-moved, rel=1e-14)


def test_a_state_without_what_the_method_keeps_is_anothers():
    params = [torch.ones(3, requires_grad=True)]
    other = scratchopt.Adam(params)
    give(other, params, [torch.ones(3)])

    class Keeps(scratchopt.Adam):
        kept_numbers = ("product",)

        @staticmethod
        def numbers(*, product):
            return {"product": product + 1}

    optimizer = Keeps(params)
    with pytest.raises(ValueError, match="Keeps keeps product, and the state has none"):
        optimizer.load_state_dict(other.state_dict())
    assert not optimizer.state
