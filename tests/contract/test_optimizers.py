"""What holds for every optimizer of the table."""

import copy
import io

import pytest
import torch

import scratchopt
from tests.shared.cases import CASES, Case, row, take_step
from tests.shared.paths import OPTIMIZERS, ROOT

EVERY = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
WITH_TWIN = {name: case for name, case in CASES.items() if case.twin}


def quadratic(dtype: torch.dtype = torch.float64):
    """A well-conditioned quadratic in two parameters, and its loss."""
    torch.manual_seed(0)
    a = torch.nn.Parameter(torch.randn(3, 2, dtype=dtype))
    b = torch.nn.Parameter(torch.randn(4, dtype=dtype))
    return [a, b], lambda: (a**2).sum() + 0.5 * (b**2).sum() + 0.3 * a.sum() * b.sum() / 10


@EVERY
def test_it_goes_down_a_quadratic(case: Case):
    params, loss = quadratic()
    optimizer = case.cls(params, **case.settings)
    first = loss().item()
    for _ in range(100):
        take_step(optimizer, loss)
    assert loss().item() < 1e-3 * first


@EVERY
def test_state_dict_carries_a_run_over_exactly(case: Case):
    params, loss = quadratic()
    optimizer = case.cls(params, **case.settings)
    for _ in range(3):
        take_step(optimizer, loss)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    values = [p.detach().clone() for p in params]
    for _ in range(3):
        take_step(optimizer, loss)
    expected = [p.detach().clone() for p in params]

    again = case.cls(params, **case.settings)
    file.seek(0)
    again.load_state_dict(torch.load(file, weights_only=True))
    for p, value in zip(params, values, strict=True):
        p.data.copy_(value)
    for _ in range(3):
        take_step(again, loss)
    assert all(torch.equal(p, q) for p, q in zip(params, expected, strict=True))


@EVERY
def test_a_deep_copy_goes_its_own_way_with_the_same_state(case: Case):
    params, loss = quadratic()
    optimizer = case.cls(params, **case.settings)
    take_step(optimizer, loss)
    twin = copy.deepcopy(optimizer)
    ours, theirs = optimizer.state_dict(), twin.state_dict()
    assert theirs["param_groups"] == ours["param_groups"]
    assert set(ours) == {"state", "param_groups"}
    for key, state in ours["state"].items():
        assert all(torch.equal(theirs["state"][key][name], state[name]) for name in state)
        assert all(theirs["state"][key][name] is not state[name] for name in state)


@EVERY
def test_step_leaves_the_gradient_alone(case: Case):
    params, loss = quadratic()
    optimizer = case.cls(params, **case.settings, weight_decay=0.1, maximize=True)
    for _ in range(3):
        take_step(optimizer, loss)
        if isinstance(optimizer, scratchopt.Optimizer):
            optimizer.lookahead_()
        if isinstance(optimizer, scratchopt.Newton):
            optimizer.backward(loss())
        else:
            loss().backward()
        before = [p.grad.clone() for p in params if p.grad is not None]
        kept = [p.grad for p in params]
        optimizer.step()
        assert len(before) == 2
        assert all(p.grad is k for p, k in zip(params, kept, strict=True))
        assert all(
            torch.equal(p.grad, g)
            for p, g in zip(params, before, strict=True)
            if p.grad is not None
        )


@EVERY
def test_parameters_without_a_gradient_stay(case: Case):
    params, loss = quadratic()
    idle = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    frozen = torch.nn.Parameter(torch.ones(2, dtype=torch.float64), requires_grad=False)
    optimizer = case.cls([*params, idle, frozen], **case.settings, weight_decay=0.1)
    take_step(optimizer, loss)
    assert torch.equal(idle, torch.ones(2))
    assert torch.equal(frozen, torch.ones(2))
    assert (idle in optimizer.state) == case.early
    assert (frozen in optimizer.state) == case.early


@pytest.mark.parametrize(
    "name", [name for name, case in CASES.items() if not (case.needs_hessian or case.sparse)]
)
def test_sparse_gradients_are_refused_with_the_remedy(name):
    embedding = torch.nn.Embedding(4, 2, sparse=True)
    before = embedding.weight.detach().clone()
    optimizer = CASES[name].cls(embedding.parameters(), **CASES[name].settings)
    with pytest.raises(RuntimeError, match="sparse=False"):
        take_step(optimizer, lambda: embedding(torch.tensor([1])).sum())
    assert torch.equal(embedding.weight, before)


@EVERY
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"lr": -1}, "Invalid learning rate: -1"),
        ({"lr": float("nan")}, "Invalid learning rate: nan"),
        ({"lr": torch.tensor([0.1, 0.2])}, "Tensor lr must be 1-element"),
        ({"weight_decay": -1}, "Invalid weight_decay value: -1"),
        ({"momentum": -0.5}, "Invalid momentum value: -0.5"),
        ({"momentum": 1.2}, r"Invalid momentum value: 1.2 \(0 <= momentum < 1\)"),
        ({"damping": -0.5}, "Invalid damping value: -0.5"),
    ],
    ids=str,
)
def test_a_bad_value_is_named_with_its_range(case: Case, bad, message):
    params, _ = quadratic()
    if not set(bad) <= set(case.cls([*params]).defaults):
        with pytest.raises(TypeError):
            case.cls(params, **bad)
        return
    with pytest.raises(ValueError, match=message):
        case.cls(params, **bad)
    with pytest.raises(ValueError, match=message):
        case.cls([{"params": params, **bad}])


@EVERY
def test_an_unknown_keyword_is_a_type_error(case: Case):
    with pytest.raises(TypeError):
        case.cls(quadratic()[0], foo=1)


@EVERY
def test_lr_may_be_a_tensor_and_groups_may_differ(case: Case):
    def run(first, second):
        params, loss = quadratic()
        settings = {**case.settings, "lr": first}
        optimizer = case.cls(
            [{"params": params[:1]}, {"params": params[1:], "lr": second}], **settings
        )
        for _ in range(3):
            take_step(optimizer, loss)
        return params

    plain = run(0.125, 0.25)
    tensors = run(torch.tensor(0.125), torch.tensor([[0.25]]))
    assert all(torch.equal(p, q) for p, q in zip(plain, tensors, strict=True))
    same = run(0.125, 0.125)
    assert not torch.equal(plain[1], same[1])


@pytest.mark.parametrize(
    ("case", "foreach", "twin_foreach"),
    [
        row(name, case, foreach, twin_foreach, label=f"{name}-{foreach}-{twin_foreach}")
        for name, case in WITH_TWIN.items()
        for foreach in (True, False)
        for twin_foreach in (True, False)
        if "list" in case.drivers or not (foreach or twin_foreach)
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "options", [{}, {"weight_decay": 0.1}, {"weight_decay": 0.1, "maximize": True}], ids=str
)
def test_it_equals_torch_bit_for_bit(case: Case, dtype, foreach, twin_foreach, options):
    torch.manual_seed(0)
    shapes = [(3, 5), (), (7,), (2, 3, 4)]
    ours = [torch.randn(s, dtype=dtype).requires_grad_() for s in shapes]
    theirs = [p.detach().clone().requires_grad_() for p in ours]
    a = case.cls(ours, **case.settings, **options, foreach=foreach)
    b = case.oracle(theirs, **case.settings, **options, foreach=twin_foreach)
    for _ in range(100):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        a.step()
        b.step()
        if twin_foreach or "foreach" not in case.twin_settings:
            assert all(map(torch.equal, ours, theirs))
        for p, q in zip(ours, theirs, strict=True):
            torch.testing.assert_close(p, q)


class Averaged(scratchopt.Optimizer):
    """A method of a user's own."""

    buffers = ("average",)

    def __init__(self, params, lr=1e-2, momentum=0.9, **options):
        super().__init__(params, {"lr": lr, "momentum": momentum}, **options)

    @staticmethod
    def rule(p, g, m, *, t, lr, momentum):
        m *= momentum
        m += (1 - momentum) * g
        deviation = g - m
        p -= lr / (1 - momentum**t) * m / ((deviation * deviation).sqrt() + 1.0)


def test_a_rule_of_ones_own_has_every_option_and_driver():
    ends = []
    for options in ({"foreach": True}, {"foreach": False}, {}, {"fused": True}):
        params, loss = quadratic()
        optimizer = Averaged(params, 0.5, **options, weight_decay=0.01, maximize=False)
        for _ in range(30):
            take_step(optimizer, loss)
        ends.append(params)
    for params in ends[1:]:
        for p, q in zip(params, ends[0], strict=True):
            torch.testing.assert_close(p, q, rtol=1e-13, atol=1e-13)
    with pytest.raises(TypeError, match=r"Averaged got an unexpected keyword argument 'foo'"):
        Averaged(quadratic()[0], foo=1)


@pytest.mark.parametrize("name", ["adam", "amsgrad", "rmsprop_centered"])
def test_a_kernel_that_does_not_say_that_it_has_written_is_believed(name, monkeypatch):
    """As torch's lerp of lists on a GPU, which leaves the tensors' versions as they were."""

    def run():
        params, loss = quadratic()
        optimizer = CASES[name].cls(params, **CASES[name].settings, foreach=True)
        for _ in range(3):
            take_step(optimizer, loss)
        return params

    def silent(tensors, ends, weight):
        for tensor, end in zip(tensors, ends, strict=True):
            tensor.data.lerp_(end, weight)

    expected = run()
    monkeypatch.setattr(torch, "_foreach_lerp_", silent)
    assert all(map(torch.equal, run(), expected))


def test_every_method_has_a_file_a_configuration_and_a_row_of_the_table():
    assert set(OPTIMIZERS) <= set(CASES)
    assert set(OPTIMIZERS) <= {path.stem for path in (ROOT / "scratchopt").glob("*.py")}
