"""What people do to an optimizer between steps, and rules that break the laws of a rule."""

import copy
from inspect import signature
from typing import Any

import pytest
import torch
from torch import Tensor

import scratchopt
from scratchopt.engine import compiled
from scratchopt.engine.operations import RuleError
from tests.shared.cases import CASES, DRIVERS, PapersLines, give

DRIVER = pytest.mark.parametrize("driver", DRIVERS.values(), ids=DRIVERS)


def twins(start: Tensor, cls: Any = scratchopt.NAGTorch, **options: Any) -> tuple[Any, ...]:
    """A parameter with a compiled optimizer, and its like with an eager one, after a step."""
    ours, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
    a = cls([ours], lr=0.5, fused=True, **options)
    b = cls([theirs], lr=0.5, foreach=False, **options)
    grad = torch.randn(start.shape)
    give(a, [ours], [grad])
    give(b, [theirs], [grad])
    return a, ours, b, theirs


# The kernel and memory that changes its meaning


def test_a_parameter_cut_short_in_place_is_not_written_beyond_its_end():
    a, ours, *_ = twins(torch.randn(8, 4), scratchopt.SGD)
    whole = ours.data
    rest = whole[2:].clone()
    ours.grad = None
    ours.data = whole[:2]  # the same address
    give(a, [ours], [torch.ones(2, 4)])
    assert torch.equal(whole[2:], rest)
    assert ours.shape == (2, 4)


@pytest.mark.parametrize("turn", [lambda p: p.t(), lambda p: p[:, ::2], lambda p: p.flip(0)])
def test_a_parameter_that_is_turned_at_its_address_is_updated_in_its_new_order(turn):
    a, ours, b, theirs = twins(torch.randn(6, 6), scratchopt.SGD)
    for p in (ours, theirs):
        p.grad = None
        p.data = turn(p.data)
    grad = torch.randn(ours.shape)
    give(a, [ours], [grad])
    give(b, [theirs], [grad])
    torch.testing.assert_close(ours, theirs)


def test_a_gradient_of_another_size_is_refused():
    a, ours, *_ = twins(torch.randn(4), scratchopt.SGD)
    ours.grad = torch.ones(4)
    ours.grad.data = torch.ones(2)
    before = ours.detach().clone()
    with pytest.raises(RuntimeError, match="differ in size"):
        a.step()
    assert torch.equal(ours, before)


def test_a_gradient_whose_memory_was_freed_is_refused():
    a, ours, *_ = twins(torch.randn(4), scratchopt.SGD)
    ours.grad = torch.ones(4)
    ours.grad.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match="was freed"):
        a.step()


def test_a_model_turned_half_under_its_optimizer_is_refused():
    model = torch.nn.Linear(3, 2)
    optimizer = scratchopt.Adam(model.parameters(), fused=True)
    for dtype in (torch.float32, torch.float16):
        model.to(dtype)
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        if dtype is torch.float32:
            optimizer.step()
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(RuntimeError, match=r"parameter of torch\.float16 .* torch\.float32: make"):
        optimizer.step()
    assert all(map(torch.equal, before, model.parameters()))


@DRIVER
def test_autograd_knows_that_a_step_changed_the_parameter(driver):
    p = torch.ones(3, requires_grad=True)
    loss = (p**3).sum()
    give(scratchopt.SGD([p], lr=0.1, **driver), [p], [torch.ones(3)])
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_compiled_step_takes_a_dtensor_s_local_part(tmp_path):
    from torch.distributed import destroy_process_group, init_process_group
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        values, grad = torch.randn(4, 3), torch.randn(4, 3)
        p = torch.nn.Parameter(distribute_tensor(values.clone(), mesh, [Shard(0)]))
        q = values.clone().requires_grad_()
        for driver in ({"fused": True}, {}):
            a = scratchopt.NAGTorch([p], lr=0.1, **driver)
            b = scratchopt.NAGTorch([q], lr=0.1)
            p.grad, q.grad = distribute_tensor(grad, mesh, [Shard(0)]), grad.clone()
            a.step()
            b.step()
            torch.testing.assert_close(p.to_local(), q)  # type: ignore[attr-defined]
    finally:
        destroy_process_group()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is:DeprecationWarning")
def test_torch_compiles_kernel_updates_parameters_that_share_memory_one_by_one(monkeypatch):
    monkeypatch.setattr(compiled, "runs_c", lambda device: False)
    monkeypatch.setattr(compiled, "_KERNELS", {})
    shared = torch.ones(4)
    params = [torch.nn.Parameter(shared), torch.nn.Parameter(shared.view(2, 2))]
    give(scratchopt.SGD(params, lr=1.0, fused=True), params, [torch.ones(4), torch.ones(2, 2)])
    assert torch.equal(shared, torch.full((4,), -1.0))


@DRIVER
def test_a_parameter_that_is_a_lazy_conjugate_is_refused_as_by_torch(driver):
    p = torch.nn.Parameter(torch.ones(3, dtype=torch.complex64).conj())
    with pytest.raises(RuntimeError, match="conj"):
        give(scratchopt.SGD([p], lr=0.1, **driver), [p], [torch.ones_like(p)])


# Steps that fail


def test_a_step_that_failed_does_not_count(monkeypatch):
    monkeypatch.setattr(compiled, "_KERNELS", {})
    monkeypatch.setenv("CC", "false")
    p = torch.ones(3, requires_grad=True)
    optimizer = scratchopt.Adam([p], fused=True)
    with pytest.raises(RuntimeError, match="C compiler"):
        give(optimizer, [p], [torch.ones(3)])
    optimizer.param_groups[0]["fused"] = None
    give(optimizer, [p], [torch.ones(3)])
    assert optimizer.state[p]["step"] == 1
    q = torch.ones(3, requires_grad=True)
    give(scratchopt.Adam([q]), [q], [torch.ones(3)])
    assert torch.equal(p, q)


# States of others


def test_adams_state_is_adamws_once_loaded_as_in_torch():
    p, q = (torch.ones(3, requires_grad=True) for _ in range(2))
    ours, theirs = scratchopt.AdamW([p]), torch.optim.AdamW([q])
    saved = torch.optim.Adam([torch.ones(3, requires_grad=True)], weight_decay=0.5).state_dict()
    for optimizer, x in ((ours, p), (theirs, q)):
        optimizer.load_state_dict(copy.deepcopy(saved))
        give(optimizer, [x], [torch.ones(3)])
    assert torch.equal(p, q)


def test_momentum_turned_off_in_mid_run_can_be_copied():
    p = torch.ones(3, requires_grad=True)
    optimizer = scratchopt.RMSprop([p], momentum=0.5)
    give(optimizer, [p], [torch.ones(3)])
    optimizer.param_groups[0]["momentum"] = 0.0
    assert copy.deepcopy(optimizer).param_groups[0]["momentum"] == 0.0


@pytest.mark.parametrize(
    ("giver", "taker"),
    [
        (scratchopt.Momentum, scratchopt.NAGTorch),
        (scratchopt.NAGTorch, scratchopt.Momentum),
        (scratchopt.Adam, scratchopt.RMSprop),
        (torch.optim.RMSprop, scratchopt.Adam),
        (torch.optim.Adam, scratchopt.Adagrad),
        (scratchopt.Adagrad, scratchopt.NAG),
    ],
)
def test_a_refused_state_restores_nothing(giver, taker):
    p = torch.ones(3, requires_grad=True)
    other = giver([p], lr=0.3)
    give(other, [p], [torch.ones(3)])
    optimizer = taker([p], lr=0.1)
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match="keeps no"):
        optimizer.load_state_dict(other.state_dict())
    assert str(optimizer.state_dict()) == str(before)


def test_loading_while_ahead_leaves_the_loaded_weights():
    p = torch.ones(3, requires_grad=True)
    optimizer = scratchopt.NAG([p], lr=0.1)
    give(optimizer, [p], [torch.ones(3)])
    saved = copy.deepcopy(optimizer.state_dict())
    optimizer.lookahead_()
    with torch.no_grad():
        p.fill_(5.0)
    optimizer.load_state_dict(saved)
    optimizer.restore_()
    assert torch.equal(p, torch.full((3,), 5.0))


# capturable, which a CPU runs as well


CAPTURABLE = [
    name for name, case in CASES.items() if "capturable" in signature(case.cls).parameters
]


@pytest.mark.parametrize("name", [*CAPTURABLE, "amsgrad"])
def test_capturable_takes_the_same_steps(name):
    case = CASES[name]
    ours, theirs = ([torch.ones(3, 2), torch.ones(())] for _ in range(2))
    ours, theirs = ([p.requires_grad_() for p in params] for params in (ours, theirs))
    a = case.cls(ours, **{**case.settings, "lr": torch.tensor([0.1])}, capturable=True)
    b = case.cls(theirs, **{**case.settings, "lr": 0.1})
    for _ in range(5):
        grads = [torch.randn_like(p) for p in ours]
        give(a, ours, grads)
        give(b, theirs, grads)
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)
        assert a.state[p]["step"] == 5


@pytest.mark.parametrize("option", ["fused", "foreach"])
def test_capturable_excludes_drivers_that_read_numbers(option):
    p = torch.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match=f"`{option}` does not support `capturable`"):
        scratchopt.Adam([p], capturable=True, **{option: True})  # type: ignore[arg-type]
    optimizer = scratchopt.Adam([p], **{option: True})  # type: ignore[arg-type]
    optimizer.param_groups[0]["capturable"] = True
    with pytest.raises(RuntimeError, match=f"`{option}` does not support `capturable`"):
        give(optimizer, [p], [torch.ones(3)])


@pytest.mark.parametrize("shape", [(1,), (1, 1)])
@pytest.mark.parametrize(
    "name", [n for n, case in CASES.items() if case.differentiable and not case.needs_hessian]
)
def test_a_one_element_lr_is_as_good_as_a_number_where_autograd_goes_through(name, shape):
    ends = []
    for lr in (torch.full(shape, 0.125), 0.125):
        params = [torch.ones(2, requires_grad=True).clone(), torch.tensor(1.0).requires_grad_() * 1]
        for p in params:
            p.retain_grad()
        settings = {**CASES[name].settings, "lr": lr}
        optimizer = CASES[name].cls(params, **settings, differentiable=True)
        for _ in range(2):
            give(optimizer, params, [torch.ones(2), torch.tensor(1.0)])
        ends.append(params)
    for p, q in zip(*ends, strict=True):
        assert p.shape == q.shape
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


# Rules that break the laws of a rule


class Rebinds(scratchopt.Optimizer):
    buffers = ("average",)

    def __init__(self, params, lr=0.1, **options):
        super().__init__(params, {"lr": lr}, **options)

    @staticmethod
    def rule(p, g, m, *, lr):
        m = 0.5 * m + g
        p -= lr * m


class WritesG(Rebinds):
    @staticmethod
    def rule(p, g, m, *, lr):
        g *= lr
        m += g
        p -= m


class Halves(Rebinds):
    @staticmethod
    def rule(p, g, m, *, lr):
        m /= 2
        m += g
        p -= lr * m


ALL_DRIVERS = pytest.mark.parametrize(
    "driver", [*DRIVERS.values(), {"differentiable": True}], ids=[*DRIVERS, "differentiable"]
)


def own(p: Tensor, driver: dict[str, Any]) -> Tensor:
    if driver.get("differentiable"):
        p = p.clone()
        p.retain_grad()
    return p


@ALL_DRIVERS
def test_a_buffer_that_a_rule_rebinds_is_not_lost_in_silence(driver):
    p = own(torch.ones(3, requires_grad=True), driver)
    with pytest.raises(RuntimeError, match=r"a rule must change average in place"):
        give(Rebinds([p], **driver), [p], [torch.ones(3)])


@ALL_DRIVERS
def test_a_rule_that_writes_into_g_is_refused(driver):
    p = own(torch.ones(3, requires_grad=True), driver)
    with pytest.raises(RuntimeError, match="a rule must leave g as it is"):
        give(WritesG([p], **driver), [p], [torch.ones(3)])


@pytest.mark.parametrize("same", [lambda p: p, Tensor.detach, Tensor.flatten])
def test_a_buffer_that_would_be_its_parameter_is_refused(same):
    cls = type("Mine", (scratchopt.Momentum,), {"first_value": lambda self, key, p, group: same(p)})
    p = torch.ones(3, requires_grad=True)
    with pytest.raises(RuleError, match=r"Mine.first_value returns p itself as velocity.*clone"):
        give(cls([p]), [p], [torch.ones(3)])


@pytest.mark.parametrize("keys", [("step", "v"), ("m", "m")], ids=str)
def test_a_state_that_would_keep_two_things_by_one_name_is_refused(keys):
    cls = type("Mine", (scratchopt.NAdam,), {"buffers": keys})
    with pytest.raises(RuleError, match=f"would keep two things as {keys[0]}: give the buffer"):
        cls([torch.ones(3, requires_grad=True)])


class Numbers(Rebinds):
    """With a number before a minus and a division, and as a floor."""

    @staticmethod
    def rule(p, g, m, *, lr):
        m += 1 - g
        m.clamp_min_(0.5)
        p -= lr / (2 - lr * m) + (1 - 2 / m)


@ALL_DRIVERS
def test_a_number_may_come_first_and_be_a_floor(driver):
    """Held by no test before: a number less a vector, over a vector, and under one."""
    p = own(torch.ones(3, requires_grad=True), driver)
    optimizer = Numbers([p], lr=0.25, **driver)
    expected, m = torch.ones(3), torch.zeros(3)
    for g in (torch.tensor([0.25, 2.0, -1.0]), torch.tensor([3.0, 0.5, float("nan")])):
        give(optimizer, [p], [g])
        m = (m + 1 - g).clamp_min(0.5)
        expected = expected - (0.25 / (2 - 0.25 * m) + (1 - 2 / m))
    torch.testing.assert_close(p.detach(), expected, equal_nan=True)
    torch.testing.assert_close(optimizer.state[p]["average"].detach(), m, equal_nan=True)


@ALL_DRIVERS
def test_a_rule_may_divide_in_place(driver):
    p = own(torch.ones(3, requires_grad=True), driver)
    optimizer = Halves([p], **driver)
    for _ in range(2):
        give(optimizer, [p], [torch.ones(3)])
    torch.testing.assert_close(p, torch.full((3,), 0.75))


# Gradient points


class Away(scratchopt.Optimizer):
    """A gradient point at a fixed distance, which needs no state."""

    def __init__(self, params, lr=0.1, radius=0.5, **options):
        super().__init__(params, {"lr": lr, "radius": radius}, **options)

    @staticmethod
    def gradient_point(p, *, radius):
        p += radius

    @staticmethod
    def rule(p, g, *, lr):
        p -= lr * g


class PointNotMoved(scratchopt.NAG):
    @staticmethod
    def gradient_point(p, v, *, momentum):
        p = p + momentum * v


class PointWritesBuffer(scratchopt.NAG):
    @staticmethod
    def gradient_point(p, v, *, momentum):
        v *= momentum
        p += v


def test_a_gradient_point_without_state_is_looked_ahead_to_or_refused():
    """Held by no test before: its gradient is never taken at θ without a word."""
    x = torch.nn.Parameter(torch.ones(1))
    optimizer = Away([x])
    (x**2).sum().backward()
    with pytest.raises(RuntimeError, match="Away needs its gradient at the lookahead point"):
        optimizer.step()
    for _ in range(2):
        optimizer.lookahead_()
        optimizer.zero_grad()
        (x**2).sum().backward()
        optimizer.step()
    assert x.item() == pytest.approx(0.46)


@pytest.mark.parametrize(
    ("method", "message"),
    [(PointNotMoved, "must change p in place"), (PointWritesBuffer, "must leave buffers")],
)
def test_a_gradient_point_that_breaks_its_laws_is_refused(method, message):
    with pytest.raises(RuntimeError, match=message):
        method([torch.nn.Parameter(torch.ones(1))], lr=0.1)


def test_an_own_method_may_keep_more_in_its_state():
    """Held by no test before: such a state is copied, pickled and loaded."""
    x = torch.nn.Parameter(torch.ones(1))
    optimizer = Halves([x])
    give(optimizer, [x], [torch.ones(1)])
    optimizer.state[x]["extra"] = torch.ones(1)
    assert copy.deepcopy(optimizer).state_dict()["state"][0]["extra"] == 1
    again = Halves([x])
    again.load_state_dict(optimizer.state_dict())
    assert again.state[x]["extra"] == 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_the_lines_of_a_row_are_an_oracle_that_counts_steps_and_sees_pairs(dtype):
    """Held by no test before: of a method without a twin they are the only oracle there is."""

    def lines(theta, s, gradient, *, lr, betas, eps):
        g = gradient(theta)
        s.t += 1
        s.m = betas[0] * s.m + (1 - betas[0]) * g
        s.v = betas[1] * s.v + (1 - betas[1]) * g**2
        m, v = s.m / (1 - betas[0] ** s.t), s.v / (1 - betas[1] ** s.t)
        return theta - lr * m / (v**0.5 + eps)

    case = CASES["adam"]._replace(paper=lines)
    ours, theirs = (torch.nn.Parameter(torch.ones(3, dtype=dtype)) for _ in range(2))
    settings = {"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8}
    oracle, adam = PapersLines([ours], case, **settings), torch.optim.Adam([theirs], **settings)
    for seed in range(3):
        grad = torch.randn(3, dtype=dtype, generator=torch.Generator().manual_seed(seed))
        give(oracle, [ours], [grad])
        give(adam, [theirs], [grad])
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    assert oracle.state[ours]["exp_avg"].dtype == dtype
    assert oracle.state[ours]["step"] == 3
