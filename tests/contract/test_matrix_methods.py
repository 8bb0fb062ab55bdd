"""Muon and SOAP: their matrices held to the papers' lines, and how a module becomes groups.

In float64 both are the papers' to 1e-12. In float32 and below Muon's orthogonalization works in
bfloat16, and is torch's to the last bit.
"""

import copy
import io
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import lr_scheduler

import scratchopt
from scratchopt import SOAP, AdamW, Muon, from_torch, to_torch
from scratchopt.muon import orthogonalize
from tests.shared import paper

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
SHAPES = ((6, 6), (3, 5), (5, 3), (7, 1), (1, 7), (16, 8), (4, 2, 3), (4, 2, 2, 2))
MATRICES = SHAPES[:6]
METHODS = pytest.mark.parametrize("cls", [Muon, SOAP])
of_torch = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch 2.9 has the first")


def params(
    shapes: Iterable[tuple[int, ...]], dtype: torch.dtype = torch.float32, seed: int = 0
) -> list[Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [Parameter(torch.randn(s, generator=generator).to(dtype)) for s in shapes]


def step(optimizer: torch.optim.Optimizer, ps: list[Any], count: int = 1, seed: int = 1) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        for p in ps:
            p.grad = torch.randn(p.shape, generator=generator).to(p.dtype)
        optimizer.step()


def equal(ours: Iterable[Tensor], theirs: Iterable[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def far(ours: Iterable[Tensor], theirs: Iterable[Tensor]) -> float:
    return max((a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True))


def quintic(sigma: Tensor) -> Tensor:
    a, b, c = COEFFICIENTS
    return a * sigma + b * sigma**3 + c * sigma**5


# The orthogonalization


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("steps", [0, 1, 5, 12])
def test_orthogonalization_is_a_polynomial_of_the_singular_values(shape, steps):
    (p,) = params([shape], torch.float64)
    m = p.detach()
    u, sigma, v = torch.linalg.svd(m.flatten(1), full_matrices=False)
    sigma = sigma / sigma.norm()
    for _ in range(steps):
        sigma = quintic(sigma)
    expected = ((u * sigma) @ v).view(shape)
    torch.testing.assert_close(
        orthogonalize(m, COEFFICIENTS, steps, 1e-7), expected, rtol=0, atol=1e-12
    )


def test_the_coefficients_bring_every_singular_value_near_one():
    """Of all that are not tiny after the division by the norm, as its docstring says."""
    sigma = torch.linspace(0.01, 1, 10_000, dtype=torch.float64)
    for _ in range(5):
        sigma = quintic(sigma)
    assert sigma.min() > 0.68
    assert sigma.max() < 1.21


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_matrix_of_zeros_stays_one(dtype):
    assert not orthogonalize(torch.zeros(3, 4, dtype=dtype), COEFFICIENTS, 5, 1e-7).any()


def test_in_low_precision_it_is_the_polynomial_within_bfloat16s_roundings():
    """Of the 15 products in a row, each with numbers of 8 significant bits."""
    for p in params(SHAPES):
        exact = orthogonalize(p.detach().double(), COEFFICIENTS, 5, 1e-7)
        rounded = orthogonalize(p.detach(), COEFFICIENTS, 5, 1e-7)
        assert float((rounded - exact).abs().max()) < 0.04


# The steps


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    ("cls", "lines", "settings"),
    [
        (Muon, paper.muon_of_matrix, {}),
        (Muon, paper.muon_of_matrix, {"nesterov": False, "momentum": 0.8, "weight_decay": 0.3}),
        (SOAP, paper.soap_of_matrix, {}),
        (SOAP, paper.soap_of_matrix, {"precondition_frequency": 3, "max_precond_dim": 5}),
        (SOAP, paper.soap_of_matrix, {"precondition_frequency": 7, "betas": (0.8, 0.9)}),
    ],
    ids=["muon", "muon without nesterov", "soap", "soap with short sides", "soap that turns"],
)
def test_steps_are_the_papers_in_float64(cls, lines, settings, shape):
    (p,) = params([shape], torch.float64)
    w, memory = p.detach().clone().flatten(1), paper.Memory()
    generator = torch.Generator().manual_seed(1)
    optimizer = cls([p], lr=0.02, **settings)
    for _ in range(30):
        p.grad = torch.randn(shape, dtype=torch.float64, generator=generator)
        optimizer.step()
        w = lines(w, memory, p.grad.flatten(1), lr=0.02, linalg=torch.linalg, **settings)
    assert far([p.flatten(1)], [w]) < 1e-12


@of_torch
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"nesterov": False},
        {"adjust_lr_fn": "original", "weight_decay": 0.0, "momentum": 0.5},
        {"adjust_lr_fn": "match_rms_adamw", "ns_steps": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_muon_is_torchs_to_the_last_bit(settings, dtype):
    if dtype == torch.bfloat16:
        settings = settings | {"nesterov": True}  # without, torch's normalizes its own buffer
    ours, theirs = params(MATRICES, dtype), params(MATRICES, dtype)
    a, b = Muon(ours, lr=0.02, **settings), torch.optim.Muon(theirs, lr=0.02, **settings)
    step(a, ours, 100)
    step(b, theirs, 100)
    assert equal(ours, theirs)
    buffers = [[o.state[p]["momentum_buffer"] for p in ps] for o, ps in ((a, ours), (b, theirs))]
    assert equal(*buffers)


@of_torch
def test_in_float64_muon_is_torchs_within_the_roundings_of_bfloat16():
    """Torch orthogonalizes in bfloat16 whatever the dtype: a step of lr differs by 0.04·lr."""
    ours, theirs = params(MATRICES, torch.float64), params(MATRICES, torch.float64)
    settings: dict[str, Any] = {"lr": 0.02, "weight_decay": 0.0}
    step(Muon(ours, **settings), ours, 1)
    step(torch.optim.Muon(theirs, **settings), theirs, 1)
    scales = [max(1, p.shape[0] / p.shape[1]) ** 0.5 for p in ours]
    for p, q, scale in zip(ours, theirs, scales, strict=True):
        assert 0 < far([p], [q]) < 0.04 * 0.02 * scale


def test_without_nesterov_the_buffer_of_bfloat16_stays_what_it_is():
    """Torch's orthogonalization divides its buffer by its norm there."""
    (p,) = params([(4, 4)], torch.bfloat16)
    optimizer = Muon([p], nesterov=False, momentum=0.5)
    step(optimizer, [p])
    assert p.grad is not None
    assert torch.equal(optimizer.state[p]["momentum_buffer"], 0.5 * p.grad)


@METHODS
def test_maximize_turns_the_gradient_round(cls):
    ours, theirs = params(SHAPES), params(SHAPES)
    a, b = cls(ours, maximize=True), cls(theirs)
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn(p.shape, generator=generator)
            q.grad = -p.grad
        a.step()
        b.step()
    assert equal(ours, theirs)


def test_soaps_first_step_moves_nothing():
    """Weight decay neither; a vector, which is AdamW's, moves."""
    ps = params([(3, 4), (3,)])
    before = [p.detach().clone() for p in ps]
    optimizer = SOAP(ps, weight_decay=0.5)
    step(optimizer, ps)
    assert torch.equal(ps[0], before[0])
    assert not torch.equal(ps[1], before[1])
    assert optimizer.state[ps[0]]["step"] == 1
    step(optimizer, ps)
    assert not torch.equal(ps[0], before[0])


def test_soap_without_factors_turns_nothing_whatever_the_strides():
    """A row that is a column turned round has strides (1, 1), and no copy onto itself."""
    ps = [torch.ones(5, 1).t().requires_grad_(), torch.ones(1, 5).requires_grad_()]
    optimizer = SOAP(ps, lr=0.1, max_precond_dim=0, precondition_frequency=1)
    for g in torch.randn(4, 1, 5, generator=torch.Generator().manual_seed(0)):
        for p in ps:
            p.grad = g.clone()
        optimizer.step()
    assert torch.equal(*ps)


def test_soaps_step_is_nan_where_its_first_gradient_was():
    """As other methods', and no error of LAPACK's, whose eigenvectors do not converge."""
    p = torch.ones(6, 6, requires_grad=True)
    optimizer = SOAP([p])
    for _ in range(2):
        p.grad = torch.full_like(p, torch.nan)
        optimizer.step()
    assert p.isnan().all()


def test_soap_keeps_factors_of_the_sides_that_are_short_enough():
    ps = params([(3, 12), (12, 3), (12, 12), (2, 3, 2)])
    optimizer = SOAP(ps, max_precond_dim=8)
    step(optimizer, ps)
    found = [
        {key: tuple(value.shape) for key, value in optimizer.state[p].items() if "_" in key}
        for p in ps
    ]
    moments = [{"exp_avg": tuple(p.shape), "exp_avg_sq": tuple(p.shape)} for p in ps]
    left = [{"left_factor": (n, n), "left_basis": (n, n)} for n in (3, 2)]
    right = [{"right_factor": (n, n), "right_basis": (n, n)} for n in (3, 6)]
    assert found[0] == moments[0] | left[0]
    assert found[1] == moments[1] | right[0]
    assert found[2] == moments[2]
    assert found[3] == moments[3] | left[1] | right[1]
    assert scratchopt.memory(ps, SOAP, max_precond_dim=8).state == optimizer.state_bytes()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_soaps_factors_of_low_precision_are_float32_also_after_a_reload(dtype):
    ours = params([(6, 4), (3, 3)], dtype)
    optimizer = SOAP(ours, precondition_frequency=2)
    step(optimizer, ours, 4)
    theirs = [Parameter(p.detach().clone()) for p in ours]
    again = SOAP(theirs)
    again.load_state_dict(through_a_file(optimizer.state_dict()))
    assert again.state[theirs[0]]["left_basis"].dtype == torch.float32
    step(optimizer, ours, 4, seed=2)
    step(again, theirs, 4, seed=2)
    assert equal(ours, theirs)
    basis = optimizer.state[ours[0]]["left_basis"]
    torch.testing.assert_close(basis.mT @ basis, torch.eye(6), rtol=0, atol=1e-5)


def test_autograd_goes_through_a_step_of_muon():
    start, gradient, buffer = (
        torch.randn(2, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)
    )
    lr = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)

    def after(start: Tensor, gradient: Tensor, buffer: Tensor, lr: Tensor) -> tuple[Tensor, ...]:
        p = start.clone()
        p.grad = gradient
        optimizer = Muon([p], lr=lr, ns_steps=2, differentiable=True)
        optimizer.state[p]["momentum_buffer"] = buffer.clone()
        optimizer.step()
        return p, optimizer.state[p]["momentum_buffer"]

    assert torch.autograd.gradcheck(after, (start, gradient, buffer, lr))


# One optimizer for a module


def net() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(16, 8), torch.nn.LayerNorm(8)
    )


@METHODS
def test_a_group_becomes_its_matrices_and_the_rest(cls):
    model = net()
    optimizer = cls(model.named_parameters(), lr=0.02, adamw_lr=0.001, weight_decay=0.05)
    matrices, rest = optimizer.param_groups
    assert matrices["param_names"] == ["0.weight", "2.weight"]
    assert rest["param_names"] == ["0.bias", "2.bias", "3.weight", "3.bias"]
    assert (matrices["method"], matrices["lr"]) == (cls.name, 0.02)
    assert (rest["method"], rest["lr"], rest["weight_decay"]) == ("adamw", 0.001, 0.05)
    assert set(AdamW(params([(1,)])).param_groups[0]) | {"method", "param_names"} == set(rest)


@METHODS
def test_a_group_of_one_kind_stays_one(cls):
    assert [g["method"] for g in cls(params(SHAPES)).param_groups] == [cls.name]
    assert [g["method"] for g in cls(params([(2,), ()])).param_groups] == ["adamw"]


@METHODS
def test_the_rest_is_adamws_to_the_last_bit(cls):
    ours, theirs = params([(5,), (3, 4), (), (7,)]), params([(5,), (3, 4), (), (7,)])
    settings = {"betas": (0.8, 0.99), "eps": 1e-6}
    a = cls(ours, lr=0.02, weight_decay=0.1, adamw_lr=0.01, adamw_betas=(0.8, 0.99), adamw_eps=1e-6)
    b = AdamW([theirs[i] for i in (0, 2, 3)], lr=0.01, weight_decay=0.1, **settings)
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = q.grad = torch.randn(p.shape, generator=generator)
        a.step()
        b.step()
    assert equal([ours[i] for i in (0, 2, 3)], [theirs[i] for i in (0, 2, 3)])


@METHODS
def test_a_group_may_name_its_method(cls):
    """Such as embeddings and a last layer, which are matrices and train better by AdamW."""
    body, head = params([(4, 4), (4,)]), params([(10, 4), (10,)], seed=1)
    own = {"method": "adamw", "lr": 0.3, "betas": (0.5, 0.6), "fused": True}
    optimizer = cls(
        [{"params": body}, {"params": head, **own}], lr=0.02, adamw_lr=0.001, adamw_eps=1e-5
    )
    found = [(g["method"], g["lr"], len(g["params"])) for g in optimizer.param_groups]
    assert found == [(cls.name, 0.02, 1), ("adamw", 0.001, 1), ("adamw", 0.3, 2)]
    last = optimizer.param_groups[-1]
    assert (last["betas"], last["eps"], last["fused"]) == ((0.5, 0.6), 1e-5, True)
    alone = [Parameter(p.detach().clone()) for p in head]
    weight_decay = last["weight_decay"]
    expected = AdamW(alone, 0.3, (0.5, 0.6), 1e-5, weight_decay, fused=True)
    step(optimizer, head, 3)
    step(expected, alone, 3)
    assert equal(head, alone)


@METHODS
@pytest.mark.parametrize(
    ("own", "lrs"),
    [
        ({}, [0.02, 0.001]),
        ({"lr": 0.01}, [0.01, 0.0005]),
        ({"adamw_lr": 0.1}, [0.02, 0.1]),
        ({"lr": 0.01, "adamw_lr": 0.1}, [0.01, 0.1]),
    ],
    ids=str,
)
def test_a_groups_lr_changes_both_in_proportion(cls, own, lrs):
    optimizer = cls(params([(1, 1)]), lr=0.02, adamw_lr=0.001)
    optimizer.add_param_group({"params": params([(3, 3), (3,)]), **own})
    assert [g["lr"] for g in optimizer.param_groups[1:]] == pytest.approx(lrs)


@METHODS
def test_without_an_lr_of_its_own_the_rest_has_that_of_its_group(cls):
    optimizer = cls(params([(1, 1), (1,)]), lr=0.02)
    optimizer.add_param_group({"params": params([(3, 3), (3,)]), "lr": 0.5})
    assert [g["lr"] for g in optimizer.param_groups] == [0.02, 0.02, 0.5, 0.5]


@METHODS
@pytest.mark.parametrize(
    ("group", "error", "message"),
    [
        ({"method": "sgd"}, ValueError, "Invalid method: 'sgd' ('{name}' or 'adamw'"),
        ({"method": None}, ValueError, "Invalid method: None"),
        ({"lr": -1}, ValueError, "Invalid learning rate: -1"),
        ({"adamw_lr": -1}, ValueError, "Invalid adamw_lr value: -1 (adamw_lr >= 0)"),
        ({"adamw_betas": (0.9,)}, ValueError, "Invalid betas: (0.9,) (two numbers)"),
        ({"adamw_betas": (0.9, 1.0)}, ValueError, "Invalid adamw_betas value at index 1: 1.0"),
        ({"adamw_eps": -1}, ValueError, "Invalid adamw_eps value: -1"),
        ({"fused": True}, RuntimeError, "{cls} does not support fused=True"),
        ({"foreach": True}, RuntimeError, "{cls} does not support foreach=True"),
    ],
    ids=str,
)
def test_a_group_that_cannot_be_is_refused_and_adds_nothing(cls, group, error, message):
    optimizer = cls(params([(1, 1)]))
    with pytest.raises(error) as refusal:
        optimizer.add_param_group({"params": params([(3,), (3, 3)]), **group})
    assert message.format(cls=cls.__name__, name=cls.name) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(optimizer.param_groups) == 1


@METHODS
@pytest.mark.parametrize("option", ["fused", "foreach", "capturable"])
def test_options_of_lists_are_refused_for_the_whole_optimizer(cls, option):
    with pytest.raises((RuntimeError, TypeError), match=option):
        cls(params([(3,)]), **{option: True})


@METHODS
def test_a_vector_cannot_be_declared_a_matrix(cls):
    optimizer = cls(params([(1, 1)]))
    with pytest.raises(RuntimeError, match=r"a parameter has the shape \(3,\)"):
        optimizer.add_param_group({"params": params([(3, 3), (3,)]), "method": cls.name})
    assert len(optimizer.param_groups) == 1


@METHODS
def test_a_complex_matrix_is_refused_and_a_complex_vector_is_not(cls):
    with pytest.raises(RuntimeError, match="does not support complex parameters"):
        cls(params([(2, 2), (2,)], torch.complex64))
    ps = params([(2, 2)]) + params([(2,)], torch.complex64)
    step(cls(ps), ps)


@METHODS
def test_lazy_parameters_have_no_dimensions_yet(cls):
    lazy = torch.nn.LazyLinear(3)
    with pytest.raises(ValueError, match="run a batch through the model first"):
        cls(lazy.parameters())
    lazy(torch.ones(2, 4))
    assert len(cls(lazy.parameters()).param_groups) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"adjust_lr_fn": "rms"}, "Invalid adjust_lr_fn: 'rms' ('original', 'match_rms_adamw'"),
        ({"ns_coefficients": (1.0, 2.0)}, "Invalid ns_coefficients: (1.0, 2.0) (three numbers)"),
        ({"ns_steps": 100}, "Invalid ns_steps value: 100 (0 <= ns_steps < 100)"),
    ],
    ids=str,
)
def test_muon_refuses_what_it_does_not_know(settings, message):
    with pytest.raises(ValueError) as refusal:
        Muon(params([(2, 2)]), **settings)
    assert message in str(refusal.value)


def test_soap_refuses_a_derivative_that_is_not_there():
    with pytest.raises(RuntimeError, match="SOAP does not support differentiable=True"):
        SOAP(params([(2, 2)]), differentiable=True)


@METHODS
def test_schedulers_change_each_lr(cls):
    optimizer = cls(params([(3, 3), (3,)]), lr=0.02, adamw_lr=0.001)
    half = lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    optimizer.step()
    half.step()
    assert [g["lr"] for g in optimizer.param_groups] == [0.01, 0.0005]
    optimizer = cls(params([(3, 3), (3,)]), lr=0.02, adamw_lr=0.001)
    most = [g["lr"] for g in optimizer.param_groups]
    lr_scheduler.OneCycleLR(optimizer, most, 10, div_factor=10)
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.002, 0.0001])


@METHODS
def test_parameters_may_join_in_mid_run_and_a_reload_goes_on(cls):
    """As Lightning's BaseFinetuning unfreezes a backbone."""
    head, backbone = params([(2, 4), (2,)]), params([(4, 4), (4,)], seed=1)
    optimizer = cls(head, lr=0.02, adamw_lr=0.001)
    step(optimizer, head, 2)
    optimizer.add_param_group({"params": backbone, "lr": 0.002})
    step(optimizer, [*head, *backbone], 3)
    assert [len(g["params"]) for g in optimizer.param_groups] == [1, 1, 1, 1]
    copies = [Parameter(p.detach().clone()) for p in (*head, *backbone)]
    again = cls(copies[:2])
    again.add_param_group({"params": copies[2:]})
    again.load_state_dict(through_a_file(optimizer.state_dict()))
    step(optimizer, [*head, *backbone], 2, seed=3)
    step(again, copies, 2, seed=3)
    assert equal([*head, *backbone], copies)


@METHODS
def test_a_copy_takes_new_parameters_as_the_original_does(cls):
    optimizer = copy.deepcopy(cls(params([(3, 3), (3,)]), lr=0.02, adamw_lr=0.001))
    optimizer.add_param_group({"params": params([(2, 2), (2,)])})
    assert [g["lr"] for g in optimizer.param_groups] == [0.02, 0.001, 0.02, 0.001]


# To torch and back


@of_torch
@pytest.mark.parametrize("first", ["ours", "torchs"])
def test_checkpoints_of_matrices_are_torchs_in_both_directions(first):
    whole, ps = params(MATRICES), params(MATRICES)
    makers: list[Callable[..., Any]] = [Muon, torch.optim.Muon]
    makers = makers if first == "ours" else makers[::-1]
    uninterrupted = torch.optim.Muon(whole, lr=0.02)
    optimizer = makers[0](ps, lr=0.02)
    for part in range(3):
        step(uninterrupted, whole, 5, seed=part)
        step(optimizer, ps, 5, seed=part)
        saved = through_a_file(optimizer.state_dict())
        optimizer = makers[(part + 1) % 2](ps, lr=9.0)  # all else comes with the state
        optimizer.load_state_dict(saved)
    assert equal(ps, whole)


@of_torch
def test_live_optimizers_convert_both_ways():
    whole, ps = params(MATRICES), params(MATRICES)
    uninterrupted = torch.optim.Muon(whole, lr=0.02, nesterov=False)
    optimizer: Any = torch.optim.Muon(ps, lr=0.02, nesterov=False)
    kinds: list[Any] = [Muon, torch.optim.Muon, Muon]
    for part, kind in enumerate(kinds):
        step(uninterrupted, whole, 5, seed=part)
        step(optimizer, ps, 5, seed=part)
        convert: Callable[[Any], Any] = from_torch if kind is Muon else to_torch
        optimizer = convert(optimizer)
        assert type(optimizer) is kind
    assert equal(ps, whole)
    assert optimizer.param_groups[0]["method"] == "muon"


@of_torch
def test_what_torchs_cannot_be_is_not_converted():
    with pytest.raises(ValueError, match="a group of this Muon is AdamW's"):
        to_torch(Muon(params([(2, 2), (2,)])))
    with pytest.raises(ValueError, match="a group of this Muon is AdamW's"):
        to_torch(Muon([{"params": params([(2, 2)]), "method": "adamw"}]))
    with pytest.raises(ValueError, match="2D"):
        to_torch(Muon(params([(2, 2, 2)])))
    with pytest.raises(ValueError, match=r"SOAP has no counterpart in torch\.optim"):
        to_torch(SOAP(params([(2, 2)])))


def test_a_torch_without_muon_converts_all_others(monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    ps = params([(2, 2)])
    assert type(from_torch(torch.optim.Adam(ps))) is scratchopt.Adam
    with pytest.raises(ValueError, match=r"Muon has no counterpart in torch\.optim"):
        to_torch(Muon(ps))


@METHODS
def test_the_state_of_another_method_is_refused(cls):
    ps = params([(2, 2), (2,)])
    optimizer = cls(ps)
    adam = scratchopt.Adam([{"params": [p]} for p in ps], amsgrad=True)
    step(adam, ps)
    with pytest.raises(ValueError, match=f"{cls.__name__} keeps no "):
        optimizer.load_state_dict(adam.state_dict())


def through_a_file(thing: Any) -> Any:
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    return torch.load(file, weights_only=True)
