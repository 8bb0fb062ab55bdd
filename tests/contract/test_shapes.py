"""A rule's shape, and what follows from it: what the rule is given, and which options it may have.

The oracle is the same arithmetic on plain tensors, one after another, to the last bit.
"""

import io
import re
from typing import Any

import pytest
import torch
from torch import Tensor

import scratchopt
from scratchopt import memory
from scratchopt.engine.operations import RuleError
from scratchopt.engine.shapes import SHAPES
from tests.shared.paths import ROOT

SIZES = ((3, 5), (7,), (2, 3, 4), ())


class Own(scratchopt.Optimizer):
    """A user's method."""

    def __init__(self, params: Any, lr: float = 0.1, **options: Any) -> None:
        more = {name: options.pop(name) for name in ("capturable",) if name in options}
        super().__init__(params, {"lr": lr, **more}, **options)


class ByNorm(Own):
    """m ← m/2 + g/‖g‖, r ← r + mean of each row of g² in float64, θ ← θ − lr·m."""

    shape = "tensor"
    buffers = ("m", "rows")

    def first_value(self, key: str, p: Tensor, group: dict[str, Any]) -> Tensor | None:
        if key == "rows":
            return p.new_zeros(p.shape[0], dtype=torch.float64) if p.dim() > 1 else None
        return super().first_value(key, p, group)

    @staticmethod
    def rule(p, g, m, r, *, lr):
        m *= 0.5
        m += g / g.norm()
        if r is not None:
            r += (g**2).flatten(1).mean(1)
        p -= lr * m


class Orthogonal(Own):
    """θ ← θ − lr·Q·R/‖R‖, with g = QR, and a count that changes every third step alone."""

    shape = "matrix"
    buffers = ("thirds",)

    def first_value(self, key: str, p: Tensor, group: dict[str, Any]) -> Tensor:
        return p.new_zeros(())

    @staticmethod
    def rule(p, g, thirds, *, t, lr):
        q, r = torch.linalg.qr(g.flatten(1))
        p -= lr * (q @ r / r.norm()).view_as(p)
        if t % 3 == 0:
            thirds += 1


def params(*sizes: tuple[int, ...], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(s, dtype=dtype, generator=generator).requires_grad_() for s in sizes]


def steps(optimizer: torch.optim.Optimizer, ps: list[Tensor], count: int, seed: int = 1) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        for p in ps:
            p.grad = torch.randn(p.shape, dtype=p.dtype, generator=generator)
        optimizer.step()


def same(ours: Any, theirs: Any) -> bool:
    return all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize("options", [{}, {"foreach": False}, {"maximize": True}], ids=str)
def test_a_rule_of_whole_tensors_gets_plain_tensors_one_by_one(options):
    ps = params(*SIZES)
    expected = [p.detach().clone() for p in ps]
    optimizer = ByNorm(ps, lr=0.1, weight_decay=0.25, **options)
    steps(optimizer, ps, 3)
    generator, sign = torch.Generator().manual_seed(1), -1 if options.get("maximize") else 1
    m = [torch.zeros_like(p) for p in expected]
    r: list[Any] = [torch.zeros(s[0], dtype=torch.float64) if len(s) > 1 else None for s in SIZES]
    for _ in range(3):
        for i, p in enumerate(expected):
            g = sign * torch.randn(p.shape, generator=generator) + 0.25 * p
            m[i] = m[i] * 0.5 + g / g.norm()
            if r[i] is not None:
                r[i] += (g**2).flatten(1).mean(1)
            p -= 0.1 * m[i]
    assert same([p.detach() for p in ps], expected)
    for p, *kept in zip(ps, m, r, strict=True):
        assert same(optimizer.state[p].values(), [t for t in kept if t is not None])
    assert set(optimizer.state[ps[1]]) == {"m"}


def test_a_rule_of_matrices_may_use_products_and_decompositions():
    ps = params((4, 3), (2, 3, 4), dtype=torch.float64)
    before = [p.detach().clone() for p in ps]
    optimizer = Orthogonal(ps, lr=0.5)
    steps(optimizer, ps, 1)
    for p, start in zip(ps, before, strict=True):
        assert p.grad is not None
        torch.testing.assert_close(p.detach(), start - 0.5 * p.grad / p.grad.norm())
    steps(optimizer, ps, 6)
    assert [optimizer.state[p]["thirds"].item() for p in ps] == [2, 2]


def test_state_of_another_shape_and_dtype_is_counted_saved_and_resumed_to_the_bit():
    ps = params((3, 5), (7,), dtype=torch.bfloat16)
    optimizer = ByNorm(ps)
    assert optimizer.state_bytes() == memory(ps, ByNorm).state == 2 * (15 + 7) + 8 * 3
    steps(optimizer, ps, 3)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    fresh = [p.detach().clone().requires_grad_() for p in ps]
    again = ByNorm(fresh)
    again.load_state_dict(torch.load(file, weights_only=True))
    for own, at in ((optimizer, ps), (again, fresh)):
        steps(own, at, 3, seed=2)
    assert same(ps, fresh)
    rows = again.state[fresh[0]]["rows"]
    assert rows.dtype == torch.float64
    assert torch.equal(rows, optimizer.state[ps[0]]["rows"])


def test_compensated_sums_hold_for_whole_tensors():
    ours = params((3, 5), (7,), dtype=torch.bfloat16)
    exact = [p.detach().double().requires_grad_() for p in ours]
    optimizer = ByNorm(ours, lr=1e-4, compensated=True)
    other = ByNorm(exact, lr=1e-4)
    generator = torch.Generator().manual_seed(1)
    for _ in range(100):
        for p, q in zip(ours, exact, strict=True):
            p.grad = torch.randn(p.shape, generator=generator).bfloat16()
            q.grad = p.grad.double()
        optimizer.step()
        other.step()
    for p, q in zip(ours, exact, strict=True):
        sums = p.double() + optimizer.state[p]["compensation"].double()
        torch.testing.assert_close(sums, q, rtol=1e-4, atol=1e-5)
    assert optimizer.state[ours[0]]["rows_compensation"].shape == (3,)
    assert set(optimizer.state[ours[1]]) == {"m", "compensation", "m_compensation"}


def test_autograd_goes_through_a_step_of_whole_tensors():
    def end(lr: Tensor) -> Tensor:
        p = params((3, 2), dtype=torch.float64)[0].detach()
        p = (p * torch.ones((), dtype=torch.float64)).requires_grad_()
        optimizer = ByNorm([p], lr=lr, differentiable=True)  # type: ignore[arg-type]
        q = p.clone()
        optimizer.param_groups[0]["params"][0] = q
        for k in range(3):
            q.grad = torch.linspace(-1, 1, 6, dtype=torch.float64).view(3, 2) + k
            optimizer.step()
        return q.sum()

    lr = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(end, (lr,))


# What is refused


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("option", ["fused", "foreach", "capturable", "differentiable"])
def test_an_option_that_a_shape_excludes_is_refused_in_one_line(shape, option):
    sums = staticmethod(_sums) if SHAPES[shape].sums else None
    cls = type("Mine", (Own,), {"shape": shape, "rule": staticmethod(_plain), "sums": sums})
    if option not in SHAPES[shape].refused:
        assert cls(params((3, 2)), **{option: True}).defaults[option]
        return
    message = f"^Mine does not support {option}=True, as its rule takes [^\n]*: leave it out$"
    with pytest.raises(RuntimeError, match=message):
        cls(params((3, 2)), **{option: True})
    optimizer = cls(params((3, 2)))
    optimizer.param_groups[0][option] = True
    with pytest.raises(RuntimeError, match=message):
        steps(optimizer, optimizer.param_groups[0]["params"], 1)


def _sums(p, g):
    return {"square": (g * g).sum()}


def _plain(p, g, *, lr):
    p -= lr * g


@pytest.mark.parametrize(
    ("cls", "size", "dtype", "said"),
    [
        (ByNorm, (3, 2), torch.complex64, "complex parameters.*keep torch.view_as_real of it"),
        (Orthogonal, (3,), torch.float32, r"the shape \(3,\): give it to another optimizer"),
        (Orthogonal, (), torch.float32, r"the shape \(\): give it to another optimizer"),
    ],
)
def test_a_parameter_that_a_shape_excludes_is_refused_with_its_group(cls, size, dtype, said):
    with pytest.raises(RuntimeError, match=said):
        cls(params((3, 2), size, dtype=dtype))
    optimizer = cls(params((3, 2)))
    with pytest.raises(RuntimeError, match=said):
        optimizer.add_param_group({"params": params(size, dtype=dtype)})
    assert len(optimizer.param_groups) == 1


def test_a_sparse_gradient_of_a_whole_tensor_is_refused():
    layer = torch.nn.Embedding(4, 2, sparse=True)
    optimizer = ByNorm(layer.parameters())
    layer(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="sparse=False"):
        optimizer.step()


@pytest.mark.filterwarnings("ignore:.*FSDP")
@pytest.mark.parametrize("originals", [False, True])
def test_flat_parameters_of_fsdp1_are_refused_with_the_remedy(originals, tmp_path):
    from torch.distributed import destroy_process_group, init_process_group
    from torch.distributed.fsdp import FullyShardedDataParallel

    init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model = FullyShardedDataParallel(
            torch.nn.Linear(3, 2), use_orig_params=originals, device_id=torch.device("cpu")
        )
        with pytest.raises(RuntimeError, match=r"ByNorm needs whole parameters.*use FSDP2"):
            ByNorm(model.parameters())
    finally:
        destroy_process_group()


def test_a_shape_that_there_is_not_is_refused_with_those_that_there_are():
    cls = type("Mine", (ByNorm,), {"shape": "tensors"})
    with pytest.raises(RuleError, match=r"has shape = .tensors.: one of .elementwise., .tensor."):
        cls(params((3,)))


def test_an_elementwise_rule_that_needs_a_whole_tensor_is_told_which_shape_to_declare():
    cls = type("Mine", (ByNorm,), {"shape": "elementwise"})
    with pytest.raises(RuleError, match=r"uses g\.norm.*declares shape = \"tensor\" in its class"):
        cls(params((3,)))


def _writes_g(p, g, *, lr):
    g /= g.norm()
    p -= lr * g


def _replaces_p(p, g, *, lr):
    p = p - lr * g / g.norm()


def _replaces_m(p, g, m, *, t, lr):
    m = 0.9 * m + g / g.norm()
    p -= lr * m


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (_writes_g, "must leave g as it is"),
        (_replaces_p, "must change p in place"),
        (_replaces_m, "must change m in place"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1}, {"compensated": True}], ids=str)
def test_a_rule_that_breaks_a_law_is_refused_before_anything_has_changed(rule, said, options):
    keys = ("m",) if rule is _replaces_m else ()
    cls = type("Mine", (Own,), {"shape": "tensor", "rule": staticmethod(rule), "buffers": keys})
    ps = params((3, 2), (4,))
    before = [p.detach().clone() for p in ps]
    optimizer = cls(ps, **options)
    with pytest.raises(RuleError, match=f"^{rule.__name__}: a rule {said}"):
        steps(optimizer, ps, 1)
    assert same(ps, before)
    assert all(state.get("step", 0) == 0 for state in optimizer.state.values())
    assert not any(state["m"].any() for state in optimizer.state.values() if "m" in state)


def _draws(p, g, *, lr):
    if g.norm() > 0:  # the first gradient is zero
        p -= lr * torch.rand_like(g)


def test_the_trial_of_a_rule_takes_no_random_number_and_allows_for_a_first_gradient_of_zero():
    ps = params((3, 2))
    cls = type("Mine", (Own,), {"shape": "tensor", "rule": staticmethod(_draws)})
    optimizer = cls(ps)
    start = ps[0].detach().clone()
    torch.manual_seed(3)
    for gradient in (torch.zeros(3, 2), torch.ones(3, 2)):
        ps[0].grad = gradient
        optimizer.step()
    torch.manual_seed(3)
    assert torch.equal(ps[0], start - 0.1 * torch.rand(3, 2))


# docs/reference/rules.md


def written(name: str) -> Any:
    """A class of the page, as its lines make it."""
    page = (ROOT / "docs" / "reference" / "rules.md").read_text()
    [block] = re.findall(rf"^```python\n# {name}\.py\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    found: dict[str, Any] = {}
    exec(block, found)
    return next(v for v in found.values() if isinstance(v, type) and v.__module__ == "builtins")


def test_the_page_s_lars_moves_each_tensor_by_its_own_size():
    ps = params((3, 2), (4,))
    before = [p.detach().clone() for p in ps]
    optimizer = written("lars")(ps, lr=0.1)
    steps(optimizer, ps, 1)
    for p, start in zip(ps, before, strict=True):
        assert ((p - start).norm() / start.norm()).item() == pytest.approx(0.1, rel=1e-5)


def test_the_page_s_spectral_descent_moves_all_singular_vectors_alike():
    ps = params((4, 3), (2, 3, 2))
    before = [p.detach().clone() for p in ps]
    steps(written("spectral")(ps, lr=0.25), ps, 1)
    for p, start in zip(ps, before, strict=True):
        values = torch.linalg.svdvals((p - start).flatten(1))
        torch.testing.assert_close(values, torch.full_like(values, 0.25))


def test_the_page_has_every_shape_and_what_it_excludes():
    page = (ROOT / "docs" / "reference" / "rules.md").read_text()
    rows = dict(re.findall(r'^\| `"(\w+)"`.*?\|(.*)$', page, re.MULTILINE))
    assert rows.keys() == SHAPES.keys()
    for name, shape in SHAPES.items():
        _, _, lists, capturable, *_ = (cell.strip() for cell in rows[name].split("|"))
        assert (lists == "refused") is ("fused" in shape.refused) is ("foreach" in shape.refused)
        assert (capturable == "refused") is ("capturable" in shape.refused)


# Groups of several methods


class Mixed(ByNorm):
    """ByNorm, and Adam for the groups that say so."""

    def __init__(self, params: Any, **options: Any) -> None:
        super().__init__(params, **options)

    @classmethod
    def method_for(cls, group: dict[str, Any]) -> type[scratchopt.Optimizer]:
        return scratchopt.Adam if group.get("adam") else cls


def test_each_group_has_the_method_that_the_class_names_for_it():
    ours, theirs = params((3, 5), (7,)), params((3, 5), (7,))
    rest = {"params": ours[1:], "adam": True, "betas": (0.9, 0.99), "eps": 1e-8, "amsgrad": False}
    mixed = Mixed([{"params": ours[:1]}, rest], lr=0.05)
    each = [ByNorm(theirs[:1], lr=0.05), scratchopt.Adam(theirs[1:], lr=0.05, betas=(0.9, 0.99))]
    assert mixed.state_bytes() == sum(optimizer.state_bytes() for optimizer in each)
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = q.grad = torch.randn(p.shape, generator=generator)
        for optimizer in (mixed, *each):
            optimizer.step()
    assert same(ours, theirs)
    assert set(mixed.state[ours[1]]) == {"step", "exp_avg", "exp_avg_sq"}
