"""The contract of an optimizer, point by point, for every class and every driver.

The oracle is torch's class of the same name, and where there is none the paper's lines (`cases`).
Three drivers agree with torch to the last bit. The compiled one fuses multiplications with
additions and keeps low precision in float32 between them, so it rounds less often: `ROUNDINGS`.
"""

import ast
import copy
import inspect
import io
import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import torch
from torch import Tensor
from torch.optim import lr_scheduler

import scratchopt
from scratchopt.engine import c_kernel, compiled
from scratchopt.engine.laws import read_programs
from scratchopt.optimizer import StepOptions
from tests.shared.cases import CASES, DRIVERS, REAL, Case, give, row, take_step

# torch's compiler imports a module of torch's that warns.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is:DeprecationWarning")

ROUNDINGS = Case._field_defaults["roundings"]
DECAY = {"weight_decay": 0.125, "maximize": True}
SHAPES = [(3, 5), (), (7,), (2, 3, 4)]
BITWISE = ("list", "loop", "default")


def every(
    where: Callable[[Case], Any] = lambda case: True,
    drivers: Iterable[str] = DRIVERS,
    core: bool = False,
) -> pytest.MarkDecorator:
    """Each case that can, with each driver that it has."""
    rows = [
        row(name, case, DRIVERS[driver], driver=driver, core=core, label=f"{name}-{driver}")
        for name, case in CASES.items()
        if where(case)
        for driver in drivers
        if driver in case.drivers
    ]
    return pytest.mark.parametrize(("case", "driver"), rows)


def each(where: Callable[[Case], Any] = lambda case: True) -> pytest.MarkDecorator:
    """Each case that can."""
    rows = [row(name, case, core=True) for name, case in CASES.items() if where(case)]
    return pytest.mark.parametrize("case", rows)


def has_twin(case: Case) -> bool:
    return case.twin is not None


def random(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [torch.randn(shape, dtype=dtype) for shape in shapes]


def leaves(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Parameters of the same values and strides."""
    return [t.detach().clone().requires_grad_() for t in tensors]


def values(params: Iterable[Tensor]) -> list[Tensor]:
    return [p.detach().clone() for p in params]


def run(
    optimizer: torch.optim.Optimizer, params: list[Tensor], steps: Iterable[Sequence[Tensor | None]]
) -> list[Tensor]:
    for grads in steps:
        give(optimizer, params, grads)
    return values(params)


def state_of(optimizer: torch.optim.Optimizer, params: Iterable[Tensor]) -> list[dict[str, Any]]:
    return [dict(optimizer.state.get(p, {})) for p in params]


def is_exact(case: Case, driver: dict[str, Any]) -> bool:
    return case.twin is not None and not driver.get("fused")


def assert_same(ours: Any, theirs: Any, exact: bool, roundings: int = ROUNDINGS) -> None:
    """To the last bit, or else up to so many roundings."""
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        if isinstance(a, dict):
            assert set(a) == set(b)
            assert_same([a[key] for key in a], [b[key] for key in a], exact, roundings)
            continue
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        if exact:
            assert torch.equal(a, b), (a - b).abs().max()
        elif a.numel():
            error = (a - b).abs().max().item()
            scale = max(1.0, b.abs().max().item())
            assert error <= roundings * torch.finfo(a.dtype).eps * scale


def assert_like_its_oracle(
    case: Case,
    driver: dict[str, Any],
    make: Callable[[], list[Tensor]],
    steps: int = 5,
    exact: bool = True,
    present: Callable[[int, int], bool] = lambda step, index: True,
    gradient: Callable[[Tensor], Tensor] = torch.randn_like,
) -> None:
    """Our steps on `make()` and the oracle's lead to the same parameters and state."""
    exact = exact and is_exact(case, driver)
    ours, theirs = make(), make()
    for p, q in zip(ours, theirs, strict=True):
        q.data.copy_(p.data)
    # In low precision torch's loop rounds more.
    torchs = {"foreach": "list" in case.drivers} if case.twin else {}
    a = case.cls(ours, **case.settings, **driver)
    b = case.oracle(theirs, **case.settings, **torchs)
    for step in range(steps):
        grads = [gradient(p.detach()) if present(step, i) else None for i, p in enumerate(ours)]
        give(a, ours, grads)
        give(b, theirs, grads)
    assert_same(values(ours), values(theirs), exact, case.roundings)
    states = state_of(a, ours), state_of(b, theirs)
    if not case.alone:  # what it keeps of sums is as exact as the tensors that they are of
        coarsest = max((p.dtype for p in ours), key=lambda dtype: torch.finfo(dtype).eps).to_real()
        for state in (*states[0], *states[1]):
            state |= {key: state[key].to(coarsest) for key in case.numbers if key in state}
    assert_same(*states, exact, case.roundings)


@pytest.fixture(autouse=True)
def _same_numbers_each_time() -> None:
    torch.manual_seed(0)


# 1. A learning rate


@every()
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)], ids=["0-dim", "1-dim", "2-dim"])
def test_a_one_element_tensor_is_as_good_an_lr_as_a_number(case: Case, driver, shape):
    start, steps = random(*SHAPES), [random(*SHAPES) for _ in range(3)]
    ours, theirs = leaves(start), leaves(start)
    settings = {**case.settings, **driver}
    tensor = torch.full(shape, 0.125)
    a = run(case.cls(ours, **{**settings, "lr": tensor}), ours, steps)
    b = run(case.cls(theirs, **{**settings, "lr": 0.125}), theirs, steps)
    assert all(map(torch.equal, a, b))
    assert torch.equal(tensor, torch.full(shape, 0.125))


@each()
@pytest.mark.parametrize("lr", [torch.ones(2), torch.ones(1, 2), torch.ones(0)], ids=str)
def test_a_tensor_lr_of_another_size_is_refused(case: Case, lr):
    params = leaves(random((2,)))
    with pytest.raises(ValueError, match=r"^Tensor lr must be 1-element$"):
        case.cls(params, lr=lr)
    with pytest.raises(ValueError, match=r"^Tensor lr must be 1-element$"):
        case.cls([{"params": params, "lr": lr}], **case.settings)


BETAS = (0.75, 0.875, 0.9375)


def has_betas(case: Case) -> bool:
    return "betas" in case.settings or "betas" in inspect.signature(case.cls).parameters


def other_betas(case: Case) -> tuple[float, ...]:
    """Betas that are not the row's, as many as the method has."""
    default = inspect.signature(case.cls).parameters["betas"].default
    return BETAS[: len(case.settings.get("betas", default))]


@every(has_betas)
def test_betas_may_be_tensors(case: Case, driver):
    start, steps = random(*SHAPES), [random(*SHAPES) for _ in range(3)]
    ours, theirs = leaves(start), leaves(start)
    settings = {**case.settings, **driver}
    numbers = other_betas(case)
    betas = (torch.tensor(numbers[0]), *(torch.tensor([number]) for number in numbers[1:]))
    a = run(case.cls(ours, **settings | {"betas": betas}), ours, steps)
    b = run(case.cls(theirs, **settings | {"betas": numbers}), theirs, steps)
    assert all(map(torch.equal, a, b))


@each(has_betas)
def test_a_tensor_beta_of_another_size_is_refused(case: Case):
    with pytest.raises(ValueError, match="1-element"):
        case.cls(leaves(random((2,))), betas=(torch.ones(2) / 2, *other_betas(case)[1:]))


# 2. The gradient


@every(core=True)
@pytest.mark.parametrize("options", [{}, DECAY], ids=["plain", "decay"])
def test_step_neither_writes_nor_deletes_a_gradient(case: Case, driver, options):
    params = leaves(random(*SHAPES, (4, 6)))
    optimizer = case.cls(params, **case.settings, **options, **driver)
    for _ in range(3):
        if isinstance(optimizer, scratchopt.Optimizer):
            optimizer.lookahead_()
        for p in params:
            p.grad = torch.randn(p.shape[::-1]).permute(tuple(range(p.dim()))[::-1])
        if isinstance(optimizer, scratchopt.Newton):
            optimizer.add_curvature(torch.stack([(p**2).sum() for p in params]).sum())
        before = [(p.grad, p.grad.clone(), p.grad._version) for p in params if p.grad is not None]
        optimizer.step()
        for p, (grad, copied, version) in zip(params, before, strict=True):
            assert p.grad is grad
            assert grad._version == version
            assert torch.equal(grad, copied)


# 3. The hyperparameters


@each(has_twin)
def test_the_groups_have_torchs_keys_and_values(case: Case):
    ours = case.cls(leaves(random((2,))), **case.settings)
    theirs = case.oracle(leaves(random((2,))), **case.settings)
    group, torchs = ours.state_dict()["param_groups"][0], theirs.state_dict()["param_groups"][0]
    missing = set(torchs) - set(group)
    assert not missing
    del torchs["foreach"]  # a driver is a choice
    assert {key: group[key] for key in torchs} == torchs


@pytest.mark.parametrize(
    "name", ["Adagrad", "RMSprop", "Adam", "AdamW", "NAdam", "RAdam", "Adafactor"]
)
def test_the_signature_is_torchs(name):
    """The same arguments in the same order, and ours come after them, by name alone."""
    cls = getattr(scratchopt, name)
    ours = list(inspect.signature(cls).parameters.values())
    theirs = list(inspect.signature(getattr(torch.optim, name)).parameters.values())
    by_place = [b for b in theirs if b.kind is not b.KEYWORD_ONLY]
    for a, b in zip(ours, by_place, strict=False):
        assert (a.name, a.kind, a.default) == (b.name, b.kind, b.default)
    more = ours[len(by_place) :]
    assert all(a.kind in (a.KEYWORD_ONLY, a.VAR_KEYWORD) for a in more)
    taken = {a.name: a.default for a in more if a.kind is a.KEYWORD_ONLY}
    assert inspect.Parameter.empty not in taken.values()
    taken |= {key: cls(leaves(random((2,)))).defaults[key] for key in get_type_hints(StepOptions)}
    for b in theirs[len(by_place) :]:
        assert taken[b.name] == b.default


@every(core=True)
@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))],
    ids=["deepcopy", "pickle"],
)
def test_a_copy_goes_on_as_the_original(case: Case, driver, copied):
    params = leaves(random(*SHAPES))
    optimizer = case.cls(params, **case.settings, **driver)
    run(optimizer, params, [random(*SHAPES) for _ in range(2)])
    again, same = copied((optimizer, params))
    rest = [random(*SHAPES) for _ in range(3)]
    before = values(same)
    a = run(optimizer, params, rest)
    assert all(map(torch.equal, before, same))  # nothing is shared
    assert all(map(torch.equal, a, run(again, same, rest)))
    assert torch.optim.Optimizer.__repr__(again) == torch.optim.Optimizer.__repr__(optimizer)


def through_a_file(thing: Any) -> Any:
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@every(core=True)
def test_a_saved_state_dict_continues_exactly(case: Case, driver):
    params = leaves(random(*SHAPES))
    optimizer = case.cls(params, **case.settings, **driver)
    run(optimizer, params, [random(*SHAPES) for _ in range(3)])
    fresh = leaves(params)
    again = case.cls(fresh, **case.settings, **driver)
    again.load_state_dict(through_a_file(optimizer.state_dict()))
    rest = [random(*SHAPES) for _ in range(3)]
    assert all(map(torch.equal, run(optimizer, params, rest), run(again, fresh, rest)))


@every(lambda case: case.alone and not case.needs_hessian, core=True)
def test_each_group_has_its_own_values(case: Case, driver):
    own: list[dict[str, Any]] = [{"lr": 0.25}, {"lr": 0.125, **DECAY}]
    if "momentum" in case.settings:
        own[1]["momentum"] = 0.75
    if has_betas(case):
        own[1]["betas"] = other_betas(case)
    start, steps = random(*SHAPES), [random(*SHAPES) for _ in range(4)]
    ours = leaves(start)
    halves = [ours[:2], ours[2:]]
    groups = [{"params": half, **values} for half, values in zip(halves, own, strict=True)]
    a = run(case.cls(groups, **case.settings, **driver), ours, steps)
    b = []
    for part, values_ in zip([slice(2), slice(2, None)], own, strict=True):
        alone = leaves(start[part])
        optimizer = case.cls(alone, **{**case.settings, **values_}, **driver)
        b += run(optimizer, alone, [grads[part] for grads in steps])
    assert all(map(torch.equal, a, b))


def cycles_momentum(case: Case) -> bool:
    return "momentum" in case.settings or has_betas(case)


SCHEDULERS: dict[str, Callable[[Any, bool], Any]] = {
    "CyclicLR": lambda o, m: lr_scheduler.CyclicLR(o, 0.01, 0.1, 3, cycle_momentum=m),
    "OneCycleLR": lambda o, m: lr_scheduler.OneCycleLR(o, 0.1, 20, cycle_momentum=m),
    "LambdaLR": lambda o, m: lr_scheduler.LambdaLR(o, lambda step: 0.9**step),
    "ReduceLROnPlateau": lambda o, m: lr_scheduler.ReduceLROnPlateau(o, patience=0),
}


@every()
@pytest.mark.parametrize("schedule", SCHEDULERS.values(), ids=SCHEDULERS)
@pytest.mark.parametrize("tensor", [False, True], ids=["number", "tensor"])
def test_it_follows_torchs_schedulers(case: Case, driver, schedule, tensor):
    settings = {**case.settings, "lr": torch.tensor(0.125) if tensor else 0.125}
    start, steps = random(*SHAPES), [random(*SHAPES) for _ in range(10)]
    ours, theirs = leaves(start), leaves(start)
    a = case.cls(ours, **settings, **driver)
    torchs = {"foreach": case.twin_settings.get("foreach", False)} if case.twin else {}
    b = case.oracle(theirs, **copy.deepcopy(settings), **torchs)
    schedulers = [schedule(optimizer, cycles_momentum(case)) for optimizer in (a, b)]
    rates = []
    for grads in steps:
        give(a, ours, grads)
        give(b, theirs, grads)
        for scheduler in schedulers:
            plateau = isinstance(scheduler, lr_scheduler.ReduceLROnPlateau)
            scheduler.step(1.0) if plateau else scheduler.step()
        rates.append(float(a.param_groups[0]["lr"]))
        assert rates[-1] == float(b.param_groups[0]["lr"])
    assert len(set(rates)) > 3
    # With a tensor torch's Adam does the arithmetic of its numbers in float32, ours in float64.
    assert_same(values(ours), values(theirs), is_exact(case, driver) and not tensor)


# 4. Bad values

BAD: list[dict[str, Any]] = [
    {"lr": -1},
    {"lr": float("nan")},
    {"lr": torch.tensor(-1.0)},
    {"momentum": -0.5},
    {"momentum": float("nan")},
    {"weight_decay": -1},
    {"weight_decay": float("nan")},
    {"eps": -1},
    {"eps": float("nan")},
    {"eps": (-1, 1e-3)},
    {"eps": (None, None)},
    {"alpha": -0.5},
    {"alpha": float("nan")},
    {"lr_decay": -0.5},
    {"initial_accumulator_value": -0.1},
    {"betas": (1.0, 0.5)},
    {"betas": (0.5, 1.0)},
    {"betas": (-0.1, 0.5)},
    {"betas": (0.5, float("nan"))},
    {"beta2_decay": 0.5},
    {"beta2_decay": float("nan")},
    {"d": 0.5},
    {"damping": -0.5},
]


@each()
@pytest.mark.parametrize("bad", BAD, ids=str)
def test_a_bad_value_is_refused_in_torchs_words(case: Case, bad):
    params = leaves(random((2,)))
    if not set(bad) <= set(case.cls([*params]).defaults):
        with pytest.raises(TypeError, match="unexpected keyword"):
            case.cls(params, **{**case.settings, **bad})
        return
    with pytest.raises(ValueError, match=r"^Invalid ") as refusal:
        case.cls(params, **{**case.settings, **bad})
    with pytest.raises(ValueError, match=r"^Invalid "):
        case.cls([{"params": params, **bad}], **case.settings)
    optimizer = case.cls(leaves(random((2,))), **case.settings)
    with pytest.raises(ValueError, match=r"^Invalid "):
        optimizer.add_param_group({"params": params, **bad})
    assert len(optimizer.param_groups) == 1
    if case.twin and not any(value != value for value in bad.values()):  # torch's SGD takes NaN
        with pytest.raises((ValueError, TypeError)) as torchs:
            case.oracle(params, **{**case.settings, **bad})
        said = str(torchs.value)  # to which newer methods of torch's do not keep
        if said.startswith("Invalid "):
            assert str(refusal.value).startswith(f"{said} (")


@each()
def test_an_unknown_keyword_is_a_type_error(case: Case):
    with pytest.raises(TypeError, match="foo"):
        case.cls(leaves(random((2,))), **case.settings, foo=1)


@each(lambda case: "compiled" in case.drivers)
@pytest.mark.parametrize("option", ["foreach", "differentiable"])
def test_fused_excludes_what_it_excludes_in_torch(case: Case, option):
    params = leaves(random((2,)))
    with pytest.raises(RuntimeError) as torchs:
        torch.optim.Adam(params, fused=True, **{option: True})  # type: ignore[arg-type]
    with pytest.raises(RuntimeError) as ours:
        case.cls(params, **case.settings, fused=True, **{option: True})
    assert str(ours.value) == str(torchs.value)


@each()
@pytest.mark.parametrize(
    "params",
    [
        [],
        torch.ones(2),
        [1.0],
        [{"params": []}, 3],
        [torch.ones(2, requires_grad=True) * 2],
        [("a", torch.ones(2)), torch.ones(2)],
    ],
    ids=["none", "a tensor", "numbers", "not a group", "not leaves", "half named"],
)
def test_what_is_no_list_of_parameters_is_refused_as_torch_does(case: Case, params):
    with pytest.raises((ValueError, TypeError)) as torchs:
        torch.optim.Adam(_with_own_groups(params))
    with pytest.raises(type(torchs.value)) as ours:
        case.cls(params, **case.settings)
    assert str(ours.value) == str(torchs.value)


def _with_own_groups(params: Any) -> Any:
    """The same, with groups in which Adam leaves none of its defaults."""
    if not isinstance(params, list):
        return params
    return [dict(p) if isinstance(p, dict) else p for p in params]


@each()
def test_a_parameter_is_in_one_place_only(case: Case):
    (p,) = leaves(random((2,)))
    with pytest.raises(ValueError, match="more than one parameter group"):
        case.cls([{"params": [p]}, {"params": [p]}], **case.settings)
    optimizer = case.cls([p], **case.settings)
    with pytest.raises(ValueError, match="more than one parameter group"):
        optimizer.add_param_group({"params": [p]})
    with (
        pytest.warns(UserWarning, match="duplicate parameters"),  # of torch's
        pytest.raises(ValueError, match="in a group twice"),
    ):
        case.cls([p, p], **case.settings)


# 5. The state


@every(core=True)
@pytest.mark.parametrize("dtype", REAL, ids=str)
def test_the_state_is_tensors_under_torchs_keys(case: Case, driver, dtype):
    ours = [*leaves(random(*SHAPES, dtype=dtype)), torch.randn(4, 6, dtype=dtype).t()]
    ours[-1] = torch.nn.Parameter(ours[-1])
    theirs = copy.deepcopy(ours)
    optimizer = case.cls(ours, **case.settings, **driver)
    oracle = case.oracle(theirs, **case.settings)
    saved = optimizer.state_dict()
    assert set(saved) == {"state", "param_groups"}
    assert len(saved["state"]) == (len(ours) if case.early else 0)
    for _ in range(2):
        grads = [torch.randn_like(p) for p in ours]
        give(optimizer, ours, grads)
        give(oracle, theirs, grads)
    saved = optimizer.state_dict()
    assert set(saved) == {"state", "param_groups"}
    assert len(saved["state"]) == (len(ours) if case.state else 0)
    for p, q in zip(ours, theirs, strict=True):
        state = optimizer.state.get(p, {})
        assert tuple(state) == case.keys(p)
        for key, value in state.items():
            assert isinstance(value, Tensor)
            assert not value.requires_grad
            if key == "step":
                assert (value.dtype, value.shape, value.item()) == (torch.float32, (), 2)
            elif key in case.numbers:
                assert value.shape == ()
            else:
                assert value.dtype == p.dtype
                assert value.shape == p.shape or key in case.other_shapes
        if case.twin:
            assert {k: (v.dtype, v.shape) for k, v in state.items()} == {
                k: (v.dtype, v.shape) for k, v in oracle.state.get(q, {}).items()
            }


# 6. Checkpoints, older ones and torch's


@every(drivers=["default", "compiled"])
def test_a_checkpoint_that_lacks_a_key_gets_its_default(case: Case, driver):
    params = leaves(random(*SHAPES))
    optimizer = case.cls(params, **case.settings, **driver)
    run(optimizer, params, [random(*SHAPES)])
    saved = optimizer.state_dict()
    for key in set(saved["param_groups"][0]) - {"params"}:
        old = copy.deepcopy(saved)
        del old["param_groups"][0][key]
        fresh = leaves(params)
        again = case.cls(fresh, **case.settings, **driver)
        again.load_state_dict(old)
        assert again.param_groups[0][key] == optimizer.param_groups[0][key], key
        run(again, fresh, [random(*SHAPES)])


@every(lambda case: "step" in case.state)
def test_a_step_saved_as_a_number_loads(case: Case, driver):
    start, steps = random(*SHAPES), [random(*SHAPES) for _ in range(2)]
    ours, theirs = leaves(start), leaves(start)
    optimizer = case.cls(ours, **case.settings, **driver)
    again = case.cls(theirs, **case.settings, **driver)
    run(optimizer, ours, steps)
    run(again, theirs, steps)
    old = copy.deepcopy(optimizer.state_dict())
    for state in old["state"].values():
        state["step"] = int(state["step"])
    again.load_state_dict(old)
    assert all(map(torch.equal, run(optimizer, ours, steps), run(again, theirs, steps)))
    assert state_of(again, theirs)[0]["step"].dtype == torch.float32


@every(has_twin, core=True)
@pytest.mark.parametrize("first", ["ours", "torchs"])
def test_checkpoints_go_to_torch_and_back_in_mid_run(case: Case, driver, first):
    start, steps = random(*SHAPES), [random(*SHAPES) for _ in range(150)]
    theirs = leaves(start)
    uninterrupted = case.oracle(theirs, **case.settings)
    params = leaves(start)
    make = [
        lambda: case.cls(params, **case.settings, **driver),
        lambda: case.oracle(params, **case.settings),
    ]
    if first == "torchs":
        make.reverse()
    saved = None
    for part in range(3):
        optimizer = make[part % 2]()
        if saved is not None:
            groups = optimizer.state_dict()["param_groups"]
            saved["param_groups"][0].update(  # a driver is a choice, not a state
                {k: v for k, v in groups[0].items() if k in ("foreach", "fused")}
            )
            optimizer.load_state_dict(saved)
        run(optimizer, params, steps[50 * part : 50 * part + 50])
        saved = through_a_file(optimizer.state_dict())
    b = run(uninterrupted, theirs, steps)
    assert_same(values(params), b, is_exact(case, driver))


@each(has_twin)
def test_a_live_torch_state_dict_loads_as_it_is(case: Case):
    start, steps = random(*SHAPES), [random(*SHAPES) for _ in range(4)]
    ours, theirs = leaves(start), leaves(start)
    a, b = case.cls(ours, lr=9.0), case.oracle(theirs, **case.settings, weight_decay=0.125)
    run(b, theirs, steps)
    for p, q in zip(ours, theirs, strict=True):
        p.data.copy_(q.data)
    a.load_state_dict(copy.deepcopy(b.state_dict()))
    assert_same(run(a, ours, steps), run(b, theirs, steps), exact=True)


# 7. Every kind of parameter and gradient


def mixed() -> list[Tensor]:
    return leaves(random((3, 5), (4,)) + random((2, 3), (5,), dtype=torch.float64))


def image(*shape: int) -> Tensor:
    return torch.randn(shape).to(memory_format=torch.channels_last).requires_grad_()


KINDS: dict[str, Callable[[], list[Tensor]]] = {
    "0-dim": lambda: leaves(random(())),
    "empty": lambda: leaves(random((0,), (3, 0))),
    "empty among others": lambda: leaves(random((3, 5), (0,), (2, 0, 3), (4,))),
    "transposed": lambda: [torch.randn(6, 4).t().requires_grad_(), *leaves(random((3,)))],
    "every second column": lambda: [torch.randn(4, 6)[:, ::2].detach().requires_grad_()],
    "view of a bigger tensor": lambda: [torch.randn(40)[8:20].view(3, 4).requires_grad_()],
    "channels last": lambda: [image(4, 3, 5, 5), image(2, 3, 4, 4)],
    "mixed dtypes": mixed,
    "large": lambda: leaves(random((300, 300), (70000,), (3,))),
    "large transposed": lambda: [torch.randn(300, 290).t().requires_grad_()],
    "large channels last": lambda: [image(64, 64, 5, 5)],
    "large every second": lambda: [torch.randn(300, 600)[:, ::2].requires_grad_()],
}


def other_order(p: Tensor) -> Tensor:
    """A gradient whose elements lie in memory in another order than the parameter's."""
    return torch.randn(p.shape[::-1], dtype=p.dtype).permute(tuple(range(p.dim()))[::-1])


def expanded(p: Tensor) -> Tensor:
    """One number everywhere, without memory of its own: what p.sum() gives."""
    return torch.randn((), dtype=p.dtype).expand(p.shape)


def negative(p: Tensor) -> Tensor:
    """A gradient whose memory holds its negative, as autograd makes one of a conjugate."""
    gradient = torch.complex(torch.randn_like(p), torch.randn_like(p)).conj().imag
    assert gradient.is_neg()
    return gradient


@pytest.mark.parametrize(
    ("case", "driver", "make"),
    [
        row(name, case, DRIVERS[driver], make, driver=driver, label=f"{kind}-{name}-{driver}")
        for kind, make in KINDS.items()
        for name, case in CASES.items()
        if not (case.needs_hessian and "large" in kind)  # a dense Hessian of 70,000 columns
        if (case.empty or "empty" not in kind) and (case.alone or "mixed" not in kind)
        for driver in case.drivers
    ],
)
def test_every_kind_of_parameter_works(case: Case, driver, make):
    for gradient in (torch.randn_like, other_order, expanded, negative):
        assert_like_its_oracle(case, driver, make, steps=3, gradient=gradient)


def test_a_compiled_rule_reads_and_writes_a_parameter_that_is_held_as_its_negative():
    """Lists of such tensors torch refuses."""
    held = torch.full((3,), -1.0)
    p = torch._neg_view(held).requires_grad_()
    optimizer = scratchopt.SGD([p], lr=0.5, fused=True)
    p.grad = torch.ones(3)
    optimizer.step()
    assert p.tolist() == [0.5] * 3
    assert held.tolist() == [-0.5] * 3


@every(lambda case: torch.complex64 in case.dtypes, core=True)
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
def test_complex_numbers_are_pairs_of_real_ones(case: Case, driver, dtype):
    """SGD of torch's multiplies complex numbers instead, and rounds otherwise."""

    def make() -> list[Tensor]:
        return leaves(random((3, 5), (), (4,), dtype=dtype))

    assert_like_its_oracle(case, driver, make, exact=False)


@every(lambda case: torch.bfloat16 in case.dtypes, core=True)
def test_low_precision_works(case: Case, driver):
    dtypes = [torch.bfloat16, torch.float16]

    def make() -> list[Tensor]:
        return leaves([t for dtype in dtypes for t in random((3, 5), (4,), dtype=dtype)])

    # RMSprop's eps is below half precision's smallest number, 6e-8, and g² may be too.
    assert_like_its_oracle(case, driver, make, steps=3, gradient=lambda p: torch.rand_like(p) + 0.5)


PRESENT: dict[str, Callable[[int, int], bool]] = {
    "late": lambda step, i: step >= 2 * i,
    "one by one": lambda step, i: step % 4 == i,
    "the first one, then none": lambda step, i: step == 0 and i == 1,
    "all but one": lambda step, i: i != 2,
    "never": lambda step, i: False,
}


@every()
@pytest.mark.parametrize("present", PRESENT.values(), ids=PRESENT)
def test_gradients_may_be_missing_and_come_late(case: Case, driver, present):
    assert_like_its_oracle(case, driver, lambda: leaves(random(*SHAPES)), 8, present=present)


@every()
def test_a_frozen_parameter_stays_and_can_be_thawed(case: Case, driver):
    params = leaves(random(*SHAPES))
    params[3].requires_grad_(False)
    frozen = params[3].clone()

    def loss() -> Tensor:
        return torch.stack([(p**2).sum() for p in params]).sum()

    optimizer = case.cls(params, **case.settings, **DECAY, **driver)
    for _ in range(2):
        take_step(optimizer, loss)
    assert torch.equal(params[3], frozen)
    assert (params[3] in optimizer.state) == case.early
    params[3].requires_grad_(True)
    params[0].requires_grad_(False).grad = None
    frozen = params[0].clone()
    for _ in range(2):
        take_step(optimizer, loss)
    assert torch.equal(params[0], frozen)
    groups = optimizer.state_dict()["param_groups"]
    assert [i for group in groups for i in group["params"]] == [0, 1, 2, 3]


def sparse_gradient(rows: Sequence[int] = (0, 2), dtype: torch.dtype = torch.float32) -> Tensor:
    """A gradient of some rows; an embedding's has a row twice where the batch has."""
    values = torch.randn(len(rows), 3, dtype=dtype)
    return torch.sparse_coo_tensor(torch.tensor([rows]), values, (5, 3), check_invariants=True)


@every(lambda case: case.sparse, BITWISE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "options",
    [{}, {"maximize": True}, {"lr_decay": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3}],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # torch's own Adagrad
def test_sparse_gradients_step_as_in_torch(case: Case, driver, options, dtype):
    options = {
        name: value
        for name, value in options.items()
        if name in inspect.signature(case.cls).parameters
    }
    params = [p.to(dtype) for p in random((5, 3), (4,), (5,))]
    ours, theirs = leaves(params), leaves(params)
    a = case.cls(ours, **case.settings, **options, **driver)
    b = case.oracle(theirs, **case.settings, **options)
    for rows in [(0, 2), (4, 1, 4, 4, 0), None, (), (3,), (2, 2)]:
        grads = [
            torch.randn(5, 3).to(dtype) if rows is None else sparse_gradient(rows, dtype),
            torch.randn(4).to(dtype),
            torch.tensor([0.0, 1.0, 0.0, -2.0, 0.5], dtype=dtype).to_sparse(),  # of single numbers
        ]
        for p, q, g in zip(ours, theirs, grads, strict=True):
            p.grad, q.grad = g.clone(), g.clone()
        a.step()
        b.step()
    assert all(map(torch.equal, ours, theirs))
    for p, q in zip(ours, theirs, strict=True):
        assert all(torch.equal(value, b.state[q][key]) for key, value in a.state[p].items())


@every(lambda case: case.sparse, ["list"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_decay": 0.1}, "weight_decay option is not compatible with sparse gradients"),
        ({"differentiable": True}, "differentiable=True is not compatible|a leaf Variable"),
    ],
)
def test_options_that_exclude_sparse_gradients_are_refused(case: Case, driver, options, message):
    (p,) = leaves(random((5, 3)))
    optimizer = case.cls([p], **case.settings, **options)
    p.grad = sparse_gradient()
    before = p.detach().clone()
    with pytest.raises(RuntimeError, match=message):
        optimizer.step()
    assert torch.equal(p, before)


def test_an_embeddings_rows_have_compensations_of_their_own():
    """Rows that have no gradient stay as they are, with their compensations."""
    start = torch.randn(5, 3).bfloat16()
    ours, theirs = start.clone().requires_grad_(), start.float().requires_grad_()
    a = scratchopt.Adagrad([ours], compensated=True)
    b = scratchopt.Adagrad([theirs])
    for rows in ((0, 2), (2, 2, 3)):
        grad = sparse_gradient(rows).bfloat16()
        ours.grad, theirs.grad = grad, grad.float()
        a.step()
        b.step()
    whole = ours.float() + a.state[ours]["compensation"].float()
    torch.testing.assert_close(whole, theirs.detach(), rtol=1e-4, atol=1e-5)
    assert torch.equal(ours[[1, 4]], start[[1, 4]])


@every(lambda case: not case.needs_hessian)
def test_sparse_gradients_that_it_cannot_take_are_refused(case: Case, driver):
    if case.sparse and not driver.get("fused"):
        driver = {"fused": True}
    (p,) = leaves(random((5, 3)))
    optimizer = case.cls([p], **case.settings, **driver)
    if isinstance(optimizer, scratchopt.Optimizer):
        optimizer.lookahead_()
    p.grad = sparse_gradient()
    before = p.detach().clone()
    with pytest.raises(RuntimeError, match="does not support sparse gradients"):
        optimizer.step()
    assert torch.equal(p, before)


@every()
def test_a_group_added_after_steps_joins_in(case: Case, driver):
    start, steps = random(*SHAPES), [random(*SHAPES) for _ in range(6)]
    ours, theirs = leaves(start), leaves(start)
    a = case.cls(ours[:2], **case.settings, **driver)
    b = case.oracle(theirs[:2], **case.settings)
    for optimizer, params in ((a, ours), (b, theirs)):
        run(optimizer, params[:2], [grads[:2] for grads in steps[:3]])
        optimizer.add_param_group({"params": params[2:], "lr": 0.125})
        run(optimizer, params, steps[3:])
    assert_same(values(ours), values(theirs), is_exact(case, driver))


@every()
def test_a_parameter_swapped_in_a_group_is_noticed(case: Case, driver):
    start, steps = random(*SHAPES), [random(*SHAPES) for _ in range(4)]
    ours, theirs = leaves(start), leaves(start)
    for cls, params, more in (
        (case.cls, ours, driver),
        (case.oracle, theirs, {}),
    ):
        optimizer = cls(params[:3], **case.settings, **more)
        run(optimizer, params[:3], [grads[:3] for grads in steps[:2]])
        optimizer.param_groups[0]["params"][0] = params[3]
        if case.early:
            optimizer.state[params[3]] = copy.deepcopy(optimizer.state[params[0]])
            optimizer.state[params[3]]["sum"] = torch.zeros_like(params[3])
        run(optimizer, params[1:], [grads[1:] for grads in steps[2:]])
    assert_same(values(ours), values(theirs), is_exact(case, driver))


@each()
def test_hooks_run_around_a_step(case: Case):
    calls = []
    (p,) = leaves(random((2,)))
    optimizer = case.cls([p], **case.settings)
    handles = [
        optimizer.register_step_pre_hook(lambda o, args, kwargs: calls.append("before")),
        optimizer.register_step_post_hook(lambda o, args, kwargs: calls.append("after")),
        optimizer.register_state_dict_pre_hook(lambda o: calls.append("saving")),
        optimizer.register_load_state_dict_post_hook(lambda o: calls.append("loaded")),
    ]
    before = p.detach().clone()
    optimizer.register_step_pre_hook(lambda o, a, k: calls.append(bool(torch.equal(p, before))))
    take_step(optimizer, lambda: (p**2).sum())
    optimizer.load_state_dict(optimizer.state_dict())
    assert calls == ["before", True, "after", "saving", "loaded"]
    for handle in handles:
        handle.remove()
    take_step(optimizer, lambda: (p**2).sum())
    assert calls[5:] == [False]


def test_hooks_run_once_around_a_subclass_s_step():
    class Loud(scratchopt.SGD):
        def step(self, closure: Any = None) -> Any:
            calls.append("step")
            return super().step(closure)

    calls = []
    (p,) = leaves(random((2,)))
    optimizer = Loud([p], lr=0.1)
    optimizer.register_step_pre_hook(lambda o, args, kwargs: calls.append("before"))
    give(optimizer, [p], random((2,)))
    assert calls == ["before", "step"]


@each()
def test_a_profiler_sees_the_step(case: Case):
    (p,) = leaves(random((2,)))
    optimizer = case.cls([p], **case.settings)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        take_step(optimizer, lambda: (p**2).sum())
    names = {event.key for event in profile.key_averages()}
    assert f"Optimizer.step#{case.cls.__name__}.step" in names


@every(core=True)
def test_a_closure_runs_once_with_autograd_on_and_its_loss_comes_back(case: Case, driver):
    params = leaves(random((2,), (3,)))
    optimizer = case.cls(params, **case.settings, **driver)
    enabled = []

    def loss() -> Tensor:
        enabled.append(torch.is_grad_enabled())
        return torch.stack([(p**2).sum() for p in params]).sum()

    expected = loss().item()
    with torch.no_grad():
        assert take_step(optimizer, loss).item() == expected
    assert enabled == [True, True]
    assert loss().item() < expected
    assert all(p.requires_grad and p.is_leaf and p.grad_fn is None for p in params)


@each()
def test_zero_grad_forgets_or_clears(case: Case):
    (p,) = leaves(random((3,)))
    optimizer = case.cls([p], **case.settings)
    grad = p.grad = torch.ones(3)
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is grad
    assert not grad.any()
    optimizer.zero_grad()
    assert p.grad is None


@each(lambda case: not case.needs_hessian)
def test_a_zero_gradient_moves_nothing_at_first(case: Case):
    (p,) = leaves(random((3,)))
    before = p.detach().clone()
    give(case.cls([p], **case.settings, weight_decay=0.0), [p], [torch.zeros(3)])
    assert torch.equal(p, before)


@every()
def test_named_parameters_keep_their_names(case: Case, driver):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1))
    again = copy.deepcopy(model)
    named = case.cls(model.named_parameters(), **case.settings, **driver)
    plain = case.cls(again.parameters(), **case.settings, **driver)
    grads = [[torch.randn_like(p) for p in model.parameters()] for _ in range(3)]
    run(named, list(model.parameters()), grads)
    run(plain, list(again.parameters()), grads)
    assert all(map(torch.equal, model.parameters(), again.parameters()))
    saved = named.state_dict()
    names = [name for group in saved["param_groups"] for name in group["param_names"]]
    assert sorted(names) == ["0.bias", "0.weight", "1.bias", "1.weight"]
    named.load_state_dict(plain.state_dict())
    plain.load_state_dict(saved)


@every()
def test_a_view_of_a_bigger_tensor_moves_in_it(case: Case, driver):
    whole = torch.zeros(10)
    p = whole[2:6].requires_grad_()
    q = torch.zeros(4, requires_grad=True)
    optimizer = case.cls([p, q], **case.settings, **driver)
    for _ in range(3):
        give(optimizer, [p, q], [torch.ones(4), torch.ones(4)])
    assert torch.equal(p, q)
    assert torch.equal(whole[2:6], p)
    assert not whole[:2].any()
    assert not whole[6:].any()


@every()
@pytest.mark.parametrize("size", [3, 70000], ids=["small", "large"])
def test_who_holds_the_memory_of_a_parameter_sees_it_move(case: Case, driver, size):
    if case.needs_hessian:
        size = 3
    params = leaves(random((size,), (5,)))
    seen, array = params[0].detach(), params[1].detach().numpy()
    optimizer = case.cls(params, **case.settings, **driver)
    for _ in range(2):
        give(optimizer, params, list(random((size,), (5,))))
    assert torch.equal(seen, params[0])
    assert torch.equal(torch.from_numpy(array), params[1])


@every(lambda case: case.alone and not case.needs_hessian)
def test_parameters_that_share_memory_go_on_sharing_it(case: Case, driver):
    ours, theirs = [], []
    for params in (ours, theirs):
        shared = torch.ones(4)
        params += [torch.nn.Parameter(shared), torch.nn.Parameter(shared.view(2, 2))]
    a = case.cls(ours, **case.settings, **driver)
    # AdamW decays both before it moves either, as torch's foreach does; torch's loop does not.
    one_by_one = driver.get("fused") or driver.get("foreach") is False or "list" not in case.drivers
    torchs = {"foreach": not one_by_one} if case.twin else {}
    b = case.oracle(theirs, **case.settings, **torchs)
    for _ in range(3):
        grads = random((4,), (2, 2))
        give(a, ours, grads)
        give(b, theirs, grads)
        assert torch.equal(ours[0], ours[1].view(4))
    assert_same(values(ours), values(theirs), is_exact(case, driver))


@every()
def test_tied_weights_stay_tied(case: Case, driver):
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Tanh(), torch.nn.Linear(3, 3))
    model[2].weight = model[0].weight
    optimizer = case.cls(model.parameters(), **case.settings, **driver)
    x = torch.randn(5, 3)
    for _ in range(3):
        take_step(optimizer, lambda: (model(x) ** 2).mean())
    assert model[2].weight is model[0].weight
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 3
    again = copy.deepcopy(model)
    assert torch.equal(again(x), model(x))


@every()
@pytest.mark.parametrize("dtype", REAL, ids=str)
def test_a_parameter_may_be_moved_between_steps(case: Case, driver, dtype):
    start = random(*SHAPES, dtype=dtype)
    fresh = random(*SHAPES, dtype=dtype)
    ours, theirs = leaves(start), leaves(start)
    a, b = case.cls(ours, **case.settings, **driver), case.oracle(theirs, **case.settings)
    for step in range(6):
        if step == 2:
            for params in (ours, theirs):
                params[0].data = fresh[0].clone()
                params[2].data = fresh[2].repeat(2)[7:]
        if step == 4:
            for params in (ours, theirs):
                with torch.no_grad():
                    params[1].copy_(fresh[1])
                    params[3].data.mul_(2)
        grads = random(*SHAPES, dtype=dtype)
        give(a, ours, grads)
        give(b, theirs, grads)
    assert_same(values(ours), values(theirs), is_exact(case, driver))


def half_tensors(optimizer: torch.optim.Optimizer, params: list[Tensor]) -> None:
    for p in params[::2]:
        for key, value in optimizer.state[p].items():
            if key != "step":
                optimizer.state[p][key] = value / 2


def half_in_place(optimizer: torch.optim.Optimizer, params: list[Tensor]) -> None:
    for p in params[1:]:
        for key, value in optimizer.state[p].items():
            if key != "step":
                value.div_(2)


def later_step(optimizer: torch.optim.Optimizer, params: list[Tensor]) -> None:
    if "step" in optimizer.state[params[1]]:
        optimizer.state[params[1]]["step"] = torch.tensor(40.0)


def other_dicts(optimizer: torch.optim.Optimizer, params: list[Tensor]) -> None:
    for p in params:
        state = optimizer.state[p].items()
        optimizer.state[p] = {k: v.clone() if k == "step" else v / 2 for k, v in state}


def one_gone(optimizer: torch.optim.Optimizer, params: list[Tensor]) -> None:
    optimizer.state.pop(params[2], None)


def swapped_with_another(optimizer: torch.optim.Optimizer, params: list[Tensor]) -> None:
    """As many states as before, but not of the same parameters."""
    one_gone(optimizer, params)
    optimizer.state[torch.ones(1)] = {}


def all_gone(optimizer: torch.optim.Optimizer, params: list[Tensor]) -> None:
    optimizer.state.clear()


def loaded(optimizer: torch.optim.Optimizer, params: list[Tensor]) -> None:
    saved = copy.deepcopy(optimizer.state_dict())
    for state in saved["state"].values():
        for key in state:
            state[key] = state[key] + 3 if key == "step" else state[key] / 2
    optimizer.load_state_dict(saved)


def steps_in_place(optimizer: torch.optim.Optimizer, params: list[Tensor]) -> None:
    for p in params:
        if "step" in optimizer.state[p]:
            optimizer.state[p]["step"].fill_(40)


LOSSES = [one_gone, swapped_with_another, all_gone]
EDITS = [half_tensors, half_in_place, later_step, steps_in_place, other_dicts, loaded, *LOSSES]


@pytest.mark.parametrize(
    ("case", "driver", "edit"),
    [
        row(
            name,
            case,
            DRIVERS[driver],
            edit,
            driver=driver,
            label=f"{edit.__name__}-{name}-{driver}",
        )
        for edit in EDITS
        for name, case in CASES.items()
        if case.state and not (case.early and edit in LOSSES)  # torch's makes it only once
        for driver in case.drivers
    ],
)
def test_state_edited_between_steps_counts(case: Case, driver, edit):
    start = random(*SHAPES)
    ours, theirs = leaves(start), leaves(start)
    a, b = case.cls(ours, **case.settings, **driver), case.oracle(theirs, **case.settings)
    for optimizer, params in ((a, ours), (b, theirs)):
        torch.manual_seed(5)
        run(optimizer, params, [random(*SHAPES) for _ in range(2)])
        edit(optimizer, params)
        run(optimizer, params, [random(*SHAPES) for _ in range(2)])
    assert_same(values(ours), values(theirs), is_exact(case, driver))
    assert_same(state_of(a, ours), state_of(b, theirs), is_exact(case, driver))


@every()
def test_a_model_saved_after_steps_loads_in_a_fresh_one(case: Case, driver):
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    optimizer = case.cls(model.parameters(), **case.settings, **driver)
    x = torch.randn(5, 3)
    size = len(pickled(model.state_dict()))
    for _ in range(2):
        take_step(optimizer, lambda: (model(x) ** 2).mean())
    fresh = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    fresh.load_state_dict(through_a_file(model.state_dict()))
    assert torch.equal(fresh(x), model(x))
    assert len(pickled(model.state_dict())) < 1.2 * size
    half = {key: value for key, value in model.state_dict().items() if "bias" in key}
    assert all(torch.equal(through_a_file(half)[key], half[key]) for key in half)
    model.load_state_dict(fresh.state_dict())  # between steps, in place
    take_step(optimizer, lambda: (model(x) ** 2).mean())
    assert not torch.equal(fresh(x), model(x))


def pickled(thing: Any) -> bytes:
    file = io.BytesIO()
    torch.save(thing, file)
    return file.getvalue()


@every(lambda case: not case.needs_hessian)
def test_one_saved_parameter_takes_its_own_size(case: Case, driver):
    params = leaves(random((10,), (5000,)))
    optimizer = case.cls(params, **case.settings, **driver)
    run(optimizer, params, [random((10,), (5000,)) for _ in range(2)])
    file = pickled(params[0])
    assert torch.equal(torch.load(io.BytesIO(file), weights_only=False), params[0])
    assert len(file) < 4 * 5000


@every(drivers=BITWISE)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_the_default_dtype_does_not_matter(case: Case, driver, dtype):
    start, steps = random(*SHAPES), [random(*SHAPES) for _ in range(3)]
    ours, theirs = leaves(start), leaves(start)
    b = run(case.cls(theirs, **case.settings, **driver), theirs, steps)
    torch.set_default_dtype(dtype)
    try:
        a = run(case.cls(ours, **case.settings, **driver), ours, steps)
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(map(torch.equal, a, b))


@every(lambda case: not (case.needs_hessian or case.needs_closure))
def test_a_grad_scaler_skips_infinite_gradients(case: Case, driver):
    start = random((3,), (2, 2))
    ours, theirs = leaves(start), leaves(start)
    a = case.cls(ours, **case.settings, **driver)
    b = case.cls(theirs, **case.settings, **driver)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=1000)
    for step in range(4):
        grads = random((3,), (2, 2))
        factor = float("inf") if step == 1 else 1.0
        a.zero_grad()
        loss = torch.stack([(p * g).sum() for p, g in zip(ours, grads, strict=True)]).sum()
        scaler.scale(loss * factor).backward()
        scaler.step(a)
        scaler.update()
        if step != 1:
            give(b, theirs, list(grads))
    assert all(map(torch.equal, ours, theirs))


# 8. The same state from every driver


@every(has_twin, BITWISE, core=True)
@pytest.mark.parametrize("dtype", REAL, ids=str)
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1}, {"maximize": True}, DECAY], ids=str)
def test_it_equals_torchs_loop_and_foreach_bit_for_bit(case: Case, driver, dtype, options):
    start = random(*SHAPES, dtype=dtype)
    settings = {**case.settings, **options}
    ours, loop, foreach = (leaves(start) for _ in range(3))
    optimizers = [
        (case.cls(ours, **settings, **driver), ours),
        (case.oracle(loop, **settings, foreach=False), loop),
        (case.oracle(foreach, **settings, foreach=True), foreach),
    ][: 3 if "list" in case.drivers else 2]  # of whole tensors torch's two differ
    for _ in range(100):
        grads = random(*SHAPES, dtype=dtype)
        for optimizer, params in optimizers:
            give(optimizer, params, grads)
    states = [state_of(optimizer, params) for optimizer, params in optimizers]
    for (torchs, params), state in zip(optimizers[1:], states[1:], strict=True):
        alike = case.twin_settings.get("foreach") in (None, torchs.defaults["foreach"])
        assert_same(values(ours), values(params), alike)
        assert_same(states[0], state, alike and is_exact(case, driver))


@every(lambda case: "compiled" in case.drivers, ["compiled"], core=True)
@pytest.mark.parametrize(
    ("dtype", "options"), [(torch.float32, {}), (torch.float32, DECAY), (torch.float64, {})]
)
def test_compiled_equals_list_within_roundings(case: Case, driver, dtype, options):
    shapes = [*SHAPES, (300, 300)]
    start = random(*shapes, dtype=dtype)
    ours, theirs = leaves(start), leaves(start)
    a = case.cls(ours, **case.settings, **options, **driver)
    b = case.cls(theirs, **case.settings, **options, foreach=True)
    for _ in range(100):
        grads = random(*shapes, dtype=dtype)
        give(a, ours, grads)
        give(b, theirs, grads)
    assert_same(values(ours), values(theirs), is_exact(case, driver))
    assert_same(state_of(a, ours), state_of(b, theirs), is_exact(case, driver))


@every(lambda case: "list" in case.drivers, ["loop", "default"], core=True)
def test_list_loop_and_default_are_the_same_without_a_twin_too(case: Case, driver):
    start = random(*SHAPES)
    ours, theirs = leaves(start), leaves(start)
    a = case.cls(ours, **case.settings, **DECAY, **driver)
    b = case.cls(theirs, **case.settings, **DECAY, foreach=True)
    steps = [random(*SHAPES) for _ in range(100)]
    assert all(map(torch.equal, run(a, ours, steps), run(b, theirs, steps)))
    for s, t in zip(state_of(a, ours), state_of(b, theirs), strict=True):
        assert all(torch.equal(s[key], t[key]) for key in case.state)


# 9. Through a step


def is_differentiable(case: Case) -> bool:
    return case.differentiable and not case.needs_hessian


@each(lambda case: is_differentiable(case) and not case.other_shapes)
def test_autograd_goes_through_a_step(case: Case):
    p0 = torch.rand(4, dtype=torch.float64, requires_grad=True)
    g0 = torch.rand(4, dtype=torch.float64, requires_grad=True)
    keys = case.buffers
    buffers = [torch.rand_like(p0).add(1 + i).requires_grad_() for i, _ in enumerate(keys)]

    def step(p0: Tensor, g0: Tensor, *buffers: Tensor) -> tuple[Tensor, ...]:
        p = p0.clone()
        p.grad = g0
        settings = {**case.settings, "weight_decay": 0.125}
        optimizer = case.cls([p], **settings, differentiable=True)
        optimizer.state[p].update({k: b.clone() for k, b in zip(keys, buffers, strict=True)})
        if "step" in case.state:
            optimizer.state[p]["step"] = torch.tensor(10.0)
        if "square_avg" in keys:  # more than the square of the mean
            optimizer.state[p]["square_avg"] += 10
        if isinstance(optimizer, scratchopt.Optimizer):
            optimizer.lookahead_()
        optimizer.step()
        return p, *(optimizer.state[p][key] for key in keys)

    assert torch.autograd.gradcheck(step, (p0, g0, *buffers))


def check_derivative_after_two_steps(case: Case, name: str, value: float) -> None:
    """Holds the derivative of θ² with respect to a hyperparameter to a difference."""
    start = torch.tensor([1.0, -0.5], dtype=torch.float64)

    def after_two_steps(number: Tensor) -> Tensor:
        p = start.clone().requires_grad_().clone()
        p.retain_grad()
        settings = {**case.settings, name: number}
        optimizer = case.cls([p], **settings, differentiable=True)

        def closure() -> Tensor:
            x = p.clone()  # the step changes p in place, and autograd needs what it was
            loss = (x**4 / 4 + x**2).sum()
            (p.grad,) = torch.autograd.grad(loss, p, create_graph=True)
            return loss

        for _ in range(2):
            if isinstance(optimizer, scratchopt.Optimizer):
                optimizer.step(closure)
            else:
                closure()
                optimizer.step()
        return (p**2).sum()

    number = torch.tensor(value, dtype=torch.float64, requires_grad=True)
    (hypergradient,) = torch.autograd.grad(after_two_steps(number), number)
    h = 1e-5
    ends = [after_two_steps(torch.tensor(value + s * h, dtype=torch.float64)) for s in (1, -1)]
    difference = (ends[0] - ends[1]).item() / (2 * h)
    assert hypergradient.item() == pytest.approx(difference, rel=1e-6)


@each(is_differentiable)
def test_two_steps_have_a_derivative_with_respect_to_lr(case: Case):
    check_derivative_after_two_steps(case, "lr", 0.05)


@each(lambda case: case.needs_closure and "momentum" in case.settings)
def test_a_derivative_goes_through_the_numbers_of_the_gradient_point(case: Case):
    check_derivative_after_two_steps(case, "momentum", 0.5)


@each(is_differentiable)
def test_differentiable_takes_the_same_steps(case: Case):
    start = random((3, 5), (), (7,))
    theirs = leaves(start)
    ours = [p.clone() for p in leaves(start)]
    a = case.cls(ours, **case.settings, differentiable=True)
    b = case.oracle(theirs, **case.settings)
    for p in ours:
        p.retain_grad()
    for _ in range(2):
        grads = random((3, 5), (), (7,))
        give(a, ours, grads)
        give(b, theirs, grads)
    assert_same(values(ours), values(theirs), exact=False)


# 10. Compilations


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sources that the C compiler is given, in a process that has compiled nothing so far."""
    sources = []
    build = c_kernel._built
    monkeypatch.setattr(c_kernel, "_built", lambda source: sources.append(source) or build(source))
    monkeypatch.setattr(compiled, "_KERNELS", {})
    return sources


def count_kernels(case: Case) -> range:
    """For each way that is taken a step; and a move to the gradient point, and a step from its θ.

    How many ways are taken depends on the numbers; one at least.
    """
    optimizer = case.cls(leaves(random((2,))), **case.settings)
    (group,) = optimizer.param_groups
    ways = len(read_programs(optimizer.update_of(group), group))
    if getattr(case.cls, "gradient_point", None):
        return range(3, 2 + 2 * ways)
    return range(1, 1 + ways)


@every(lambda case: "compiled" in case.drivers, ["compiled"], core=True)
def test_a_schedule_compiles_nothing(case: Case, driver, builds):
    params = leaves(random(*SHAPES))
    optimizer = case.cls(params, **case.settings, **driver)
    run(optimizer, params, [random(*SHAPES)] * 2)
    assert len(builds) in count_kernels(case)
    (group,) = optimizer.param_groups
    for step in range(1, 9):
        group["lr"] = [0.1 / step, 1, torch.tensor(0.1)][step % 3]
        if "momentum" in case.settings:
            group["momentum"] = 0.9 - 0.1 / step
        if "betas" in group:
            group["betas"] = (0.9 - 0.1 / step, 0.99 - 0.1 / step, *group["betas"][2:])
        if "eps" in group:
            group["eps"] = 1e-8 * step
        run(optimizer, params, [random(*SHAPES)])
    assert len(builds) in count_kernels(case)


@every(lambda case: "compiled" in case.drivers, ["compiled"])
def test_another_model_compiles_nothing(case: Case, driver, builds):
    for shapes in ([(3, 5), (7,)], [(2, 3, 4), (6,), (300, 290)], [(4, 4)], [(11, 3), (2,), (5,)]):
        params = leaves(random(*shapes))
        run(case.cls(params, **case.settings, **driver), params, [random(*shapes)] * 2)
        assert len(builds) in count_kernels(case)


@each(lambda case: bool(case.buffers) and "compiled" in case.drivers)
def test_a_kernel_is_kept_from_state_of_another_size(case: Case):
    (p,) = leaves(random((40,)))
    optimizer = case.cls([p], **case.settings, fused=True)
    give(optimizer, [p], random((40,)))
    for key in case.buffers:
        optimizer.state[p][key] = torch.zeros(3)
    # The latter is torch's, where a global rule sums first.
    with pytest.raises(RuntimeError, match=r"differ in size|must match the size"):
        optimizer._update()


# 11. No compiler


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [
        ("/nonexistent/cc", "No such file or directory: '/nonexistent/cc'"),
        ("false", "exit status 1"),
    ],
)
def test_without_a_compiler_fused_says_what_to_do(monkeypatch, builds, compiler, reason):
    monkeypatch.setenv("CC", compiler)
    (p,) = leaves([torch.ones(3)])
    with pytest.raises(RuntimeError, match=r"^fused=True needs a C compiler") as refusal:
        give(scratchopt.SGD([p], fused=True), [p], [torch.ones(3)])
    assert "foreach=True" in str(refusal.value)
    assert reason in str(refusal.value)
    assert torch.equal(p, torch.ones(3))
    give(scratchopt.SGD([p], lr=0.5), [p], [torch.ones(3)])
    assert torch.equal(p, torch.full((3,), 0.5))


# 12. The rules

SOURCES = sorted(Path(scratchopt.__file__).parent.glob("*.py"))


def functions() -> dict[str, ast.FunctionDef]:
    """Every function of the package that works on a gradient, by module and name."""
    found = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and "g" in [a.arg for a in node.args.args]:
                found[f"{path.stem}.{node.name}"] = node
    return found


def quantities(name: str, known: dict[str, ast.FunctionDef]) -> set[str]:
    """What a rule writes, with the functions that it calls."""
    module = name.split(".")[0]
    found = set()
    for node in ast.walk(known[name]):
        if isinstance(node, ast.AugAssign):
            found.add(ast.unparse(node.target))
        if isinstance(node, ast.Assign):
            found |= {ast.unparse(target) for target in node.targets}
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if f"{module}.{called}" in known:
                found |= quantities(f"{module}.{called}", known)
            elif called.endswith("_"):  # n.clamp_min_(v)
                found.add(called.split(".")[0])
    return found


@each(lambda case: not case.needs_hessian)
def test_a_rule_has_no_more_equations_than_its_paper(case: Case):
    """In place, `v ← μv + g` is two lines, `v *= μ` and `v += g`, and one equation."""
    optimizer = case.cls(leaves(random((1, 1))), **case.settings)
    rule, _ = optimizer.rule_for(optimizer.param_groups[0])
    module = inspect.getmodule(rule)
    assert module is not None
    name = f"{module.__name__.split('.')[-1]}.{rule.__name__}"  # type: ignore[attr-defined]
    assert len(quantities(name, functions())) <= case.equations
    body = functions()[name].body
    lines = (body[-1].end_lineno or 0) - body[0].lineno + 1
    assert lines <= case.equations + 1  # one update may be split in two


def test_no_rule_is_written_twice():
    bodies = Counter(
        "\n".join(ast.unparse(line) for line in node.body) for node in functions().values()
    )
    assert len(bodies) > 10
    momentum = "\n".join(ast.unparse(line) for line in functions()["momentum.rule"].body)
    nag = "\n".join(ast.unparse(line) for line in functions()["nag.rule"].body)
    assert nag == momentum  # in the paper too: they differ in where the gradient is taken
    assert [body for body, times in bodies.items() if times > 1] == [nag]
    assert bodies[nag] == 2
