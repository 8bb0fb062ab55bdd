"""What a rule may use is the same in every driver; the rest is refused before the first step."""

import inspect
import itertools
import math
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import scratchopt
from scratchopt import memory
from scratchopt.engine import compiled
from scratchopt.engine.operations import OPERATIONS, PERMITTED, RuleError
from tests.shared.cases import CASES, DRIVERS, give, row, take_step
from tests.shared.paths import ROOT

WAYS: dict[str, dict[str, Any]] = DRIVERS | {
    "differentiable": {"differentiable": True},
    "capturable": {"capturable": True},
    "compensated": {"compensated": True},
    "compiled, compensated": {"compensated": True, "fused": True},
}
EVERY_WAY = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


class Own(scratchopt.Optimizer):
    """A user's method: its numbers are those of its group."""

    settings: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, params: Any, capturable: bool = False, **options: Any) -> None:
        super().__init__(params, {"lr": 0.1, "capturable": capturable, **self.settings}, **options)


def make(rule: Callable[..., None], *buffers: str, **numbers: Any) -> type[Own]:
    return type(
        "Mine", (Own,), {"rule": staticmethod(rule), "buffers": buffers, "settings": numbers}
    )


# What no rule may do


def of_norm(p, g, *, lr):
    p -= lr * g / g.norm()


def of_linalg_norm(p, g, *, lr):
    p -= lr * g / torch.linalg.vector_norm(g)


def of_sum(p, g, *, lr):
    p -= lr * g.sum()


def of_mean(p, g, *, lr):
    p -= lr * g.mean()


def of_max(p, g, *, lr):
    p -= lr * g.abs().max()


def of_size(p, g, *, lr):
    p -= lr * g / p.numel()


def of_shape(p, g, *, lr):
    p -= lr * g / p.shape[0]


def of_length(p, g, *, lr):
    p -= lr * g / len(g)


def of_index(p, g, *, lr):
    p -= lr * g[0]


def of_product(p, g, *, lr):
    p -= lr * (g @ g)


def of_view(p, g, *, lr):
    p -= lr * g.view(-1)


def of_stack(p, g, *, lr):
    p -= lr * torch.stack([g, g])


def of_softmax(p, g, *, lr):
    p -= lr * torch.softmax(g, 0)


def of_float(p, g, *, lr):
    p -= lr * float(g)


def of_branch(p, g, *, lr):
    if g > 0:
        p -= lr * g


def of_builtin_max(p, g, *, lr):
    p -= lr * max(g, 0)


def of_a_tensor(p, g, *, lr):
    p -= lr * g * torch.ones(())


def of_a_tensor_first(p, g, *, lr):
    p -= torch.randn(()) * g


def of_math(p, g, *, lr):
    p -= math.sqrt(lr) * g


def of_a_loop(p, g, *, t, lr):
    while t > 1:
        t = t / 2
    p -= lr * g


def of_a_mask(p, g, *, lr):
    p -= (g > 0) * lr


def of_two_numbers(p, g, *, lr):
    p -= torch.where(g > 0, lr, 0.0)


def of_maximum(p, g, *, lr):
    p -= lr * g.maximum(0.0)


def of_method(p, g, *, lr):
    p.add_(g, alpha=-lr)


def of_data(p, g, *, lr):
    p.data -= lr * g


def of_numpy(p, g, *, lr):
    import numpy as np

    p -= lr * np.sign(g)


REFUSED = {
    of_norm: "g.norm",
    of_linalg_norm: "torch.linalg.vector_norm",
    of_sum: "g.sum",
    of_mean: "g.mean",
    of_max: "(…).max",
    of_size: "p.numel",
    of_shape: "p.shape",
    of_length: "len() of g",
    of_index: "an index of g",
    of_product: "the matrix product of g",
    of_view: "g.view",
    of_stack: "torch.stack",
    of_softmax: "torch.softmax",
    of_float: "float() of g",
    of_branch: "the truth of a comparison of tensors",
    of_builtin_max: "the truth of a comparison of tensors",
    of_a_tensor: "a tensor from outside",
    of_a_tensor_first: "a tensor from outside",
    of_math: "float() of lr",
    of_a_mask: "a comparison as a number",
    of_two_numbers: "torch.where of two numbers",
    of_maximum: "maximum with a number",
    of_method: "p.add_ (write p -= lr * g)",
    of_data: "p.data",
}


@EVERY_WAY
@pytest.mark.parametrize("rule", REFUSED, ids=lambda rule: rule.__name__)
def test_what_is_not_elementwise_is_refused_in_one_message_whatever_the_driver(rule, way):
    with pytest.raises(RuleError) as refusal:
        make(rule)([torch.ones(3, requires_grad=True)], **way)
    said = str(refusal.value)
    assert said.startswith(f"{rule.__name__} uses {REFUSED[rule]}")
    assert "may use + - * / **, comparisons, abs, sign" in said
    assert "\n" not in said


def test_the_list_in_the_message_is_the_list():
    for operation in OPERATIONS.values():
        word = re.sub(r"torch\.|\ba\.|\(.*|\b[abcd]\b", "", operation.spelling).strip()
        assert word in PERMITTED or operation.gives_mask, word


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (of_numpy, "of_numpy "),
        (of_a_loop, "of_a_loop branches on its numbers in more than 32 ways"),
    ],
)
def test_what_else_goes_wrong_in_a_rule_is_said_in_one_line(rule, says):
    with pytest.raises(RuleError, match=says) as refusal:
        make(rule)([torch.ones(3, requires_grad=True)])
    assert "\n" not in str(refusal.value)


def test_a_rule_that_is_refused_in_mid_run_changes_nothing():
    """The rule of a group changes with its settings; the new one is read before it is run."""

    class Changes(Own):
        settings = {"wild": False}  # noqa: RUF012
        rule = staticmethod(CASES["sgd"].cls.rule)  # type: ignore[attr-defined]

        @classmethod
        def rule_for(cls, group):
            return (of_norm if group["wild"] else cls.rule), ()

    p = torch.ones(3, requires_grad=True)
    optimizer = Changes([p])
    give(optimizer, [p], [torch.ones(3)])
    before = p.detach().clone()
    optimizer.param_groups[0]["wild"] = True
    with pytest.raises(RuleError, match=r"of_norm uses g\.norm"):
        give(optimizer, [p], [torch.ones(3)])
    with pytest.raises(RuleError, match=r"of_norm uses g\.norm"):
        optimizer.add_param_group({"params": [torch.ones(1, requires_grad=True)], "wild": True})
    assert torch.equal(p, before)
    assert len(optimizer.param_groups) == 1


# What a rule freezes


COUNTER = itertools.count()


class _Rising:
    """An attribute that changes each time it is read."""

    @property
    def value(self) -> int:
        return next(COUNTER)


@EVERY_WAY
@pytest.mark.parametrize(
    "read", [random.random, lambda: _Rising().value, lambda: torch.rand(()).item()]
)
def test_a_rule_that_reads_something_else_each_time_is_refused(read, way):
    def of_factors(p, g, *, lr):
        p -= lr * (read() * g)

    def of_arithmetic(p, g, *, lr):
        p -= (lr + read()) * g

    for rule in (of_factors, of_arithmetic):
        with pytest.raises(RuleError, match="came to something else when it was read again"):
            make(rule)([torch.ones(3, requires_grad=True)], **way)


def test_a_constant_that_is_no_number_compares_with_itself():
    def rule(p, g, *, lr):
        p -= lr * (g + float("nan"))

    (p,) = [torch.ones(3, requires_grad=True)]
    give(make(rule)([p], fused=True), [p], [torch.ones(3)])
    assert p.isnan().all()


# What a rule takes


@pytest.mark.parametrize(
    ("rule", "buffers", "says"),
    [
        (lambda p, g, *, lr, beta: None, (), r"takes beta, and its param group has none: give it"),
        (lambda p, g, m, *, lr: None, (), r"takes p, g, m, and must take p, g and a tensor for"),
        (lambda p, g, *, lr: None, ("a", "b"), r"each of its buffers, which are a, b"),
        (lambda p, g, lr: None, (), r"numbers come after a `\*`"),
        (lambda p, g, *, lr, kind: None, (), r"takes kind, which is 'odd' and no number"),
    ],
)
def test_what_a_rule_asks_for_in_vain_is_named(rule, buffers, says):
    with pytest.raises(RuleError, match=says):
        make(rule, *buffers, kind="odd")([torch.ones(3, requires_grad=True)])


@pytest.mark.parametrize(
    ("point", "says"),
    [
        (lambda p, v, *, radius: None, "takes radius, and its param group has none"),
        (lambda p, v, *, t: None, "takes t, and a gradient is taken before its step is counted"),
        (lambda p, *, lr: None, "takes p, and must take p and a tensor for each of its buffers"),
    ],
)
def test_what_a_gradient_point_asks_for_in_vain_is_named(point, says):
    method = type("Mine", (scratchopt.NAG,), {"gradient_point": staticmethod(point)})
    with pytest.raises(RuleError, match=says):
        method([torch.ones(3, requires_grad=True)])


def test_a_gradient_point_may_use_what_a_rule_may():
    def point(p, v, *, lr):
        p += lr * v.norm()

    method = type("Mine", (scratchopt.NAG,), {"gradient_point": staticmethod(point)})
    with pytest.raises(RuleError, match=r"point uses v\.norm"):
        method([torch.ones(3, requires_grad=True)])


def test_a_method_without_a_rule_says_that_it_needs_one():
    with pytest.raises(RuleError, match="Own has no rule: give it one"):
        Own([torch.ones(3, requires_grad=True)])


# What it may use: each operation, and methods that need them

SPECIAL = torch.tensor([-2.0, -0.5, -0.0, 0.0, 0.5, 1.0, 3.0, math.inf, -math.inf, math.nan])


@EVERY_WAY
@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_is_torchs(name, way):
    spelling = OPERATIONS[name].spelling
    line = f"torch.where({spelling}, a, b)" if OPERATIONS[name].gives_mask else spelling
    code = compile(line, name, "eval")

    def value(a: Any, b: Any) -> Any:
        return eval(code, {"torch": torch, "a": a, "b": b, "c": a > 0.5, "d": b < a})

    def rule(p, g, m, *, lr):
        m += g * 0.5
        p += value(g, m)

    a, b = (x.flatten() for x in torch.meshgrid(SPECIAL, SPECIAL.flip(0), indexing="ij"))
    p = torch.zeros_like(a).requires_grad_()
    q = p.clone() if way.get("differentiable") else p
    optimizer = make(rule, "buffer")([q], **way)
    optimizer.state[q]["buffer"] = b.clone()
    give(optimizer, [q], [a])
    torch.testing.assert_close(
        q.detach(), 0 + value(a, b + a * 0.5), rtol=3e-7, atol=0, equal_nan=True
    )


IN_PLACE = {
    "a += b": lambda a, b: a + b,
    "a -= b": lambda a, b: a - b,
    "a *= b": lambda a, b: a * b,
    "a /= b": lambda a, b: a / b,
    "a **= b": lambda a, b: a**b,
    "a.clamp_min_(b)": torch.maximum,
    "a.clamp_max_(b)": torch.minimum,
}


@EVERY_WAY
@pytest.mark.parametrize("spelling", IN_PLACE)
@pytest.mark.parametrize("by", ["b", "2 * b", "0.5"])
def test_each_change_in_place_is_torchs(spelling, by, way):
    code = compile(re.sub(r"\bb\b", by, spelling), spelling, "exec")

    def rule(p, g, m, *, lr):
        m += g
        exec(code, {"a": m, "b": g})
        p += m

    p = torch.zeros(3).requires_grad_()
    q = p.clone() if way.get("differentiable") else p
    optimizer = make(rule, "buffer")([q], **way)
    start, g = torch.tensor([0.5, 1.0, 4.0]), torch.tensor([1.5, 0.25, 2.0])
    optimizer.state[q]["buffer"] = start.clone()
    give(optimizer, [q], [g])
    expected = IN_PLACE[spelling](start + g, eval(by, {"b": g}) + 0 * g)
    torch.testing.assert_close(q.detach(), expected)


class SignSGD(Own):
    """Bernstein et al. (2018), arXiv 1802.04434."""

    @staticmethod
    def rule(p, g, *, lr):
        p -= lr * torch.sign(g)


class Lion(Own):
    """Chen et al. (2023), arXiv 2302.06675."""

    buffers = ("exp_avg",)
    settings = {"betas": (0.9, 0.99)}  # noqa: RUF012

    @staticmethod
    def rule(p, g, m, *, lr, betas):
        p -= lr * (betas[0] * m + (1 - betas[0]) * g).sign()
        m *= betas[1]
        m += (1 - betas[1]) * g


class ClampedAdam(Own):
    """Adam with a clamped gradient and a clamped mean square."""

    buffers = ("exp_avg", "exp_avg_sq")
    settings = {"betas": (0.9, 0.999), "bound": 0.5}  # noqa: RUF012

    @staticmethod
    def rule(p, g, m, v, *, t, lr, betas, bound):
        m += (1 - betas[0]) * (g - m)
        v *= betas[1]
        v += (1 - betas[1]) * torch.clamp(g, -bound, bound) ** 2
        v.clamp_max_(bound)
        root = torch.sqrt(v.clamp(min=1e-8)) / (1 - betas[1] ** t) ** 0.5
        p -= lr / (1 - betas[0] ** t) * m / (root + 1e-8)


class Cautious(Own):
    """Momentum where it agrees with the gradient (Liang et al. (2024), arXiv 2411.16085)."""

    buffers = ("velocity",)
    settings = {"momentum": 0.9}  # noqa: RUF012

    @staticmethod
    def rule(p, g, m, *, lr, momentum):
        m *= momentum
        m += g
        p -= lr * torch.where((m * g > 0) & ~(abs(g) < 1e-3), m, 0)


class Branches(Own):
    """It has a warm-up, another first step, and every third step is a long one."""

    buffers = ("average",)
    settings = {"momentum": 0.9}  # noqa: RUF012

    @staticmethod
    def rule(p, g, m, *, t, lr, momentum):
        if t == 1:
            m += g
        else:
            m += (1 - momentum) * (g - m)
        if lr > 0.06 and t % 3 == 0:
            lr = 2 * lr
        p -= lr * min(1, t / 4) * m


class UsesTwice(Own):
    """A product after its parts have changed, and a root after it was added to."""

    buffers = ("velocity", "square")
    settings = {"momentum": 0.5}  # noqa: RUF012

    @staticmethod
    def rule(p, g, m, v, *, lr, momentum):
        before = momentum * m
        m += g
        v += m * g
        m -= before
        root = abs(v).sqrt()
        p -= lr * m / (root + 1.0) + lr * root / (root + 2.0)


# Compensated numbers are narrower than float64, and alone bfloat16's roundings decide over signs.
PAIRS = [
    pytest.param(
        dtype,
        way,
        id=f"{dtype}-{name}",
        marks=() if dtype is torch.float32 or way.get("compensated") else pytest.mark.full,
    )
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.complex64)
    for name, way in WAYS.items()
    if dtype is not (torch.float64 if way.get("compensated") else torch.bfloat16)
]
METHODS = (SignSGD, Lion, ClampedAdam, Cautious, Branches, UsesTwice)


def naive(method: type[Own], params: list[Tensor], steps: list[list[Tensor]]) -> None:
    """The rule on one tensor after another, in float64; a complex number is a pair."""
    names = inspect.signature(method.rule).parameters
    group = {"lr": 0.1, **method.settings}
    buffers = [[torch.zeros_like(p) for _ in method.buffers] for p in params]
    for t, grads in enumerate(steps, 1):
        group["lr"] = 0.1 / t
        numbers = {name: {**group, "t": float(t)}[name] for name in names if name in {*group, "t"}}
        for p, g, own in zip(params, grads, buffers, strict=True):
            method.rule(p, g, *own, **numbers)


@pytest.mark.parametrize(("dtype", "way"), PAIRS)
@pytest.mark.parametrize("method", METHODS)
def test_methods_of_signs_bounds_choices_and_branches_are_a_plain_loop(method, dtype, way):
    if way.get("capturable") and method is Branches:
        with pytest.raises(RuleError, match="a CUDA graph would repeat one way for ever"):
            method([torch.ones(3, requires_grad=True)], **way)
        return
    shapes = [(3, 5), (), (7,), (0,), (70, 1000)]
    generator = torch.Generator().manual_seed(0)

    def draw() -> list[Tensor]:  # numbers of few digits: sums of them are exact, and so are signs
        wide = torch.complex128 if dtype.is_complex else torch.float64
        numbers = [torch.randn(s, generator=generator, dtype=wide) for s in shapes]
        return [(torch.view_as_real(x) if dtype.is_complex else x) for x in numbers]

    def to(x: Tensor) -> Tensor:
        x = x.to(torch.float32 if dtype.is_complex else dtype)
        return torch.view_as_complex(x) if dtype.is_complex else x

    start, steps = draw(), [draw() for _ in range(6)]
    params = [to(x.clone()).requires_grad_() for x in start]
    if way.get("differentiable"):
        params = [p.clone() for p in params]
    expected = [_wide(to(x)) for x in start]
    naive(method, expected, [[_wide(to(x)) for x in grads] for grads in steps])
    optimizer = method(params, **way)
    for t, grads in enumerate(steps, 1):
        optimizer.param_groups[0]["lr"] = 0.1 / t
        give(optimizer, params, [to(x) for x in grads])
    tolerance = {torch.float64: 1e-12, torch.bfloat16: 1e-4}.get(dtype, 1e-6)
    if (way.get("differentiable") or way.get("capturable")) and method in (ClampedAdam, Branches):
        tolerance = 1e-4  # its count of steps is a float32, as in torch, and 1 − β₂ᵗ small
    for p, q in zip(params, expected, strict=True):
        came = _wide(p.detach())
        if way.get("compensated"):
            came = came + _wide(optimizer.state[p]["compensation"]) if p.numel() else came
        torch.testing.assert_close(came, q, rtol=tolerance, atol=5 * tolerance)


def _wide(x: Tensor) -> Tensor:
    return (torch.view_as_real(x) if x.is_complex() else x).double().clone()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is:DeprecationWarning")
@pytest.mark.parametrize("method", METHODS)
def test_torch_compiles_kernel_takes_the_same_steps(method, monkeypatch):
    monkeypatch.setattr(compiled, "runs_c", lambda device: False)
    monkeypatch.setattr(compiled, "_KERNELS", {})
    ends = []
    for way in ({"fused": True}, {"foreach": True}):
        generator = torch.Generator().manual_seed(0)
        params = [
            torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
            for shape in [(3, 5), (), (300, 300)]
        ]
        optimizer = method(params, **way)
        for t in range(1, 6):
            optimizer.param_groups[0]["lr"] = 0.1 / t
            grads = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in params]
            give(optimizer, params, grads)
        ends.append(params)
    for p, q in zip(*ends, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-12)


def test_equal_rules_share_a_kernel(monkeypatch):
    monkeypatch.setattr(compiled, "_KERNELS", {})
    for _ in range(2):
        p = torch.ones(3, requires_grad=True)
        give(make(lambda p, g, *, lr: p.__isub__(lr * g))([p], fused=True), [p], [torch.ones(3)])
    assert len(compiled._KERNELS) == 1


def test_the_page_has_the_list():
    page = (ROOT / "docs" / "reference" / "rules.md").read_text().replace(r"\|", "|")
    for spelling in (*IN_PLACE, *(operation.spelling for operation in OPERATIONS.values())):
        assert f"`{spelling}`" in page


def test_the_page_s_lion_decays_apart_from_its_sign():
    """Decoupled weight decay: θ ← (1 − lr·weight_decay)·θ, and then the rule."""
    page = (ROOT / "docs" / "reference" / "rules.md").read_text()
    [block] = re.findall(r"^```python\n# lion\.py\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    found: dict[str, Any] = {}
    exec(block, found)
    ends = []
    for way in DRIVERS.values():
        p = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
        optimizer = found["Lion"]([p], lr=0.5, weight_decay=0.5, **way)
        give(optimizer, [p], [torch.tensor([3.0, 0.0])])
        ends.append(p.tolist())
    assert ends == [[0.75 - 0.5, -1.5]] * len(ends)


def test_a_decoupled_decay_without_lr_is_refused():
    method = make(lambda p, g, *, size: p.__isub__(size * g), size=1.0, decoupled_weight_decay=True)
    with pytest.raises(RuleError, match=r"decoupled_weight_decay is lr·weight_decay: .* take lr"):
        method([torch.ones(3, requires_grad=True)], weight_decay=0.1)


# The meta device


@pytest.mark.parametrize(
    "name", [name for name, case in CASES.items() if "compiled" in case.drivers]
)
def test_fused_refuses_the_meta_device_and_memory_is_known_without_a_step(name):
    case = CASES[name]
    params = [torch.empty(3, device="meta", requires_grad=True)]
    optimizer = case.cls(params, **case.settings, fused=True)
    with pytest.raises(RuntimeError, match="fused=True works on memory, and a parameter on the"):
        give(optimizer, params, [torch.empty(3, device="meta")])
    model = torch.nn.Linear(3, 2)
    alone, fused = (
        memory(model, case.cls, **case.settings, **driver)  # type: ignore[arg-type]
        for driver in ({}, {"fused": True})
    )
    assert alone == fused


# torch.compile around a whole step


def closures(optimizer: torch.optim.Optimizer, loss: Callable[[], Tensor]) -> Callable[[], Any]:
    def run() -> Tensor:
        return take_step(optimizer, loss)

    return run


def steps_alone(optimizer: Any, loss: Callable[[], Tensor]) -> Callable[[], Any]:
    def run() -> None:
        optimizer.step()

    return run


def whole_steps(optimizer: Any, loss: Callable[[], Tensor]) -> Callable[[], Any]:
    def run() -> None:
        optimizer.lookahead_()
        optimizer.zero_grad()
        if isinstance(optimizer, scratchopt.Newton):
            optimizer.backward(loss())
        else:
            loss().backward()
        optimizer.step()

    return run


@pytest.mark.parametrize("kind", [closures, steps_alone, whole_steps])
@pytest.mark.parametrize(
    ("name", "driver"),
    [
        row(name, name, DRIVERS[driver], label=f"{name}-{driver}")
        for name, case in CASES.items()
        for driver in ("default", "compiled")
        if driver in case.drivers
    ],
)
def test_a_compiled_step_is_two_graphs_at_most_and_compiles_nothing_anew(name, kind, driver):
    """As many as with torch's Adam."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    case, ends, graphs = CASES[name], [], []
    for wrap in (lambda run: torch.compile(run, backend="eager"), lambda run: run):
        torch.manual_seed(0)
        model, inputs = torch.nn.Linear(3, 2), torch.randn(4, 3)

        def loss(model=model, inputs=inputs) -> Tensor:
            return (model(inputs) ** 2).sum()

        optimizer = case.cls(model.parameters(), **case.settings, **driver)
        run = wrap(kind(optimizer, loss))
        for step in range(20):
            optimizer.param_groups[0]["lr"] = case.settings["lr"] / (1 + step)
            if kind is steps_alone:
                optimizer.lookahead_()
                optimizer.zero_grad()
                if isinstance(optimizer, scratchopt.Newton):
                    optimizer.backward(loss())
                else:
                    loss().backward()
            run()
            graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
        ends.append(model.weight.detach())
    assert torch.equal(*ends)
    assert set(graphs) == {graphs[0]}
    assert graphs[0] <= 2
