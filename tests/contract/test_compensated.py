"""Low precision: compensated=True keeps what rounding takes away."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

import scratchopt
from tasks.mnist_data import read
from tests.shared.cases import CASES, DRIVERS, give, row

WITH_RULE = {name: case for name, case in CASES.items() if not case.needs_hessian}
EVERY = pytest.mark.parametrize("name", WITH_RULE)
DRIVER = pytest.mark.parametrize("driver", DRIVERS.values(), ids=DRIVERS)
EVERY_WITH_DRIVER = pytest.mark.parametrize(
    ("name", "driver"),
    [
        row(name, name, settings, driver=driver, core=True, label=f"{driver}-{name}")
        for name in WITH_RULE
        for driver, settings in DRIVERS.items()
        if driver in WITH_RULE[name].drivers and WITH_RULE[name].alone
    ],
)


def after_small_steps(name: str, dtype: torch.dtype, **options: Any) -> Tensor:
    """Where 300 steps lead that are each too small for bf16, in float64; g is 1 or 2."""
    case = WITH_RULE[name]
    values = torch.linspace(1, 2, 50)
    p = values.to(torch.bfloat16).to(dtype).requires_grad_()
    optimizer = case.cls([p], **{**case.settings, "lr": 1e-4, **options})
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        give(optimizer, [p], [1 + torch.randint(0, 2, (50,), generator=generator).to(dtype)])
    whole = p.detach().double()
    return whole + optimizer.state[p].get("compensation", torch.zeros(50)).double()


@EVERY_WITH_DRIVER
def test_small_steps_add_up_as_in_float32(name, driver):
    expected = after_small_steps(name, torch.float32)
    start = torch.linspace(1, 2, 50).to(torch.bfloat16).double()
    way = (expected - start).abs().max()
    stalled = after_small_steps(name, torch.bfloat16, **driver)
    compensated = after_small_steps(name, torch.bfloat16, **driver, compensated=True)
    if "centered" in name:
        assert stalled.isnan().any()  # as in torch: v − m² is below zero once rounded
    else:
        assert (stalled - start).abs().max() < 0.2 * way
    assert (compensated - expected).abs().max() < 0.05 * way  # 300 roundings to 16 bits


@EVERY
def test_list_loop_and_default_agree_bit_for_bit_and_compiled_nearly(name):
    ends = {
        driver: after_small_steps(name, torch.bfloat16, **DRIVERS[driver], compensated=True)
        for driver in WITH_RULE[name].drivers
    }
    first, *others = (end for driver, end in ends.items() if driver != "compiled")
    assert all(torch.equal(first, end) for end in others)
    if "compiled" in ends:
        torch.testing.assert_close(ends["compiled"], first, rtol=2**-14, atol=0)


@EVERY_WITH_DRIVER
def test_its_state_goes_through_a_state_dict(name, driver):
    case = WITH_RULE[name]
    values = [torch.randn(3, 5, dtype=torch.bfloat16).requires_grad_() for _ in range(2)]
    optimizer = case.cls(values, **case.settings, **driver, compensated=True)
    give(optimizer, values, [torch.randn_like(p) for p in values])
    twins = [p.detach().clone().requires_grad_() for p in values]
    again = case.cls(twins, **case.settings, **driver)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert again.param_groups[0]["compensated"] is True
    for _ in range(3):
        grads = [torch.randn_like(p) for p in values]
        give(optimizer, values, grads)
        give(again, twins, grads)
    assert all(map(torch.equal, values, twins))
    keys = case.keys(values[0])
    expected = {*keys, "compensation"}
    numbers = ("step", *optimizer.kept_numbers)
    expected |= {f"{key}_compensation" for key in keys if key not in numbers}
    assert set(optimizer.state[values[0]]) == expected


@DRIVER
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
def test_other_dtypes_are_refused(driver, dtype):
    p = torch.ones(3, dtype=dtype, requires_grad=True)
    with pytest.raises(RuntimeError, match=f"compensated=True is for bfloat16 .* not for {dtype}"):
        give(scratchopt.SGD([p], **driver, compensated=True), [p], [torch.ones_like(p)])


def test_autograd_does_not_go_through_it():
    p = torch.ones(3, dtype=torch.bfloat16, requires_grad=True)
    with pytest.raises(RuntimeError, match="`compensated` does not support `differentiable`"):
        scratchopt.SGD([p], differentiable=True, compensated=True)


SMALL_LR = {
    "sgd": (scratchopt.SGD, {"lr": 0.003}),
    "momentum": (scratchopt.Momentum, {"lr": 0.003, "momentum": 0.9}),
    "nag": (scratchopt.NAG, {"lr": 0.001, "momentum": 0.9}),
    "adam": (scratchopt.Adam, {"lr": 1e-4}),
}


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    data = read()
    x, y = (
        (t.view(-1, 784) / 255 - 0.1307) / 0.3081 for t in (data.train_images, data.test_images)
    )
    return x, data.train_labels, y, data.test_labels


def loss_on_test_set(digits: Any, cls: Any, dtype: torch.dtype, **settings: Any) -> float:
    """The loss on MNIST's test set of a 784-64-10 network after an epoch of batches of 128."""
    torch.manual_seed(0)
    images, labels, test_images, test_labels = digits
    net = torch.nn.Sequential(
        torch.nn.Linear(784, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10)
    ).to(dtype)
    optimizer = cls(net.parameters(), **settings)
    for batch in torch.randperm(len(images)).split(128):
        if isinstance(optimizer, scratchopt.Optimizer):
            optimizer.lookahead_()
        optimizer.zero_grad()
        cross_entropy(net(images[batch].to(dtype)).float(), labels[batch]).backward()
        optimizer.step()
    with torch.no_grad():
        return cross_entropy(net(test_images.to(dtype)).float(), test_labels).item()


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL_LR)
def test_on_mnist_bf16_stalls_and_compensated_is_within_one_percent_of_fp32(name, digits):
    cls, settings = SMALL_LR[name]
    expected = loss_on_test_set(digits, cls, torch.float32, **settings)
    plain = loss_on_test_set(digits, cls, torch.bfloat16, **settings)
    compensated = loss_on_test_set(digits, cls, torch.bfloat16, **settings, compensated=True)
    assert plain > 1.1 * expected
    assert compensated == pytest.approx(expected, rel=0.01)
