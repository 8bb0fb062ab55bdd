"""The tasks against closed forms, hand-written loops and plain NumPy."""

import math
import pickle
from collections import Counter
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F
from torch.optim import SGD

from scratchopt import NAG
from scratchopt.batches import Batches, Endless
from scratchopt.config.fields import UserError
from scratchopt.lightning import Lookahead
from scratchopt.problems.functions import functions
from scratchopt.runs.instantiation import make_data, make_factory
from tasks import mnist_data
from tasks.linear_regression import LinearRegression
from tasks.mnist import MNIST
from tasks.toy import RECORDED, Toy
from tests.shared import commands
from tests.shared.configs import config
from tests.shared.trainers import quiet_trainer

NAMES = list(functions())
descent = partial(SGD, lr=1.0)


def trainer(*callbacks: Callback, **options: Any) -> Trainer:
    return quiet_trainer(callbacks, enable_checkpointing=False, **options)


def fit(task: LightningModule, *callbacks: Callback, **options: Any) -> Trainer:
    (run := trainer(*callbacks, **options)).fit(task)
    return run


def point(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64, requires_grad=True)


# ---- the toy's functions


@pytest.mark.parametrize(
    ("name", "x", "value"),
    [  # of the literature, or by hand
        ("article", [-1.306440008370], -0.794582337562),
        ("article", [3.837467106499], 0.831558557948),
        ("article", [1.977383029329], 1.309480414353),
        ("rosenbrock", [1.0, 1.0], 0.0),
        ("rosenbrock", [-1.2, 1.0], 24.2),
        ("rastrigin", [0.0, 0.0], 0.0),
        ("rastrigin", [0.5, -1.0], 0.25 + 20 + 1),
        ("beale", [3.0, 0.5], 0.0),
        ("beale", [1.0, 1.0], 1.5**2 + 2.25**2 + 2.625**2),
        ("beale", [0.0, 7.0], 1.5**2 + 2.25**2 + 2.625**2),
        ("quadratic", [0.0, 0.0], 0.0),
        ("quadratic", [3.0, -2.0], (9 + 400) / 2),
    ],
)
def test_a_function_has_its_known_value(name, x, value):
    assert functions()[name](point(*x)).item() == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_each_minimizer_is_a_stationary_point_of_positive_curvature(name):
    function = functions()[name]
    for minimizer in function.minimizers:
        x = point(*minimizer)
        (gradient,) = torch.autograd.grad(function(x), x)
        assert gradient.abs().max() < 1e-11
        hessian = torch.autograd.functional.hessian(function, x)
        assert isinstance(hessian, Tensor)
        assert torch.linalg.eigvalsh(hessian).min() > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_no_point_of_the_window_lies_below_the_minimum(name):
    function = functions()[name]
    axes = [torch.linspace(*side, 601, dtype=torch.float64) for side in function.window]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    assert function(grid).min() >= function(point(*function.minimizers[0])) - 1e-15


@pytest.mark.parametrize("name", NAMES)
def test_the_window_shows_start_and_minimizer(name):
    function = functions()[name]
    for x in (function.start, *function.minimizers):
        assert len(x) == function.dim == len(function.window)
        assert all(
            low < value < high for value, (low, high) in zip(x, function.window, strict=True)
        )


@pytest.mark.parametrize("name", NAMES)
def test_many_points_at_once_are_as_one_by_one(name):
    function = functions()[name]
    points = torch.randn(3, 2, function.dim, dtype=torch.float64)
    values = function(points)
    assert values.shape == (3, 2)
    for value, x in zip(values.flatten(), points.flatten(0, 1), strict=True):
        torch.testing.assert_close(value, function(x), rtol=1e-14, atol=0)
        assert function(x).shape == ()


@pytest.mark.parametrize("condition_number", [1, 10, 1e4])
def test_the_quadratic_has_the_curvatures_1_and_kappa(condition_number):
    quadratic = functions(condition_number)["quadratic"]
    hessian = torch.autograd.functional.hessian(quadratic, point(0.3, -0.7))
    assert isinstance(hessian, Tensor)
    assert hessian.tolist() == [[1, 0], [0, condition_number]]


def test_distance_is_the_largest_coordinate_of_the_way_to_the_minimizer():
    assert functions()["beale"].distance(point(3.25, -1.5)).item() == 2.0
    assert functions()["article"].distance(point(-2.306440008370)).item() == pytest.approx(1.0)


# ---- toy


# The article's counts. It calls SGD's 17 evaluations 16 steps, and the others' by evaluations. At
# constant lr torch's momentum is the article's, and torch's Nesterov parameters are the exact
# form's lookahead points.
@pytest.mark.parametrize(
    ("start", "lr", "momentum", "nesterov", "evaluations"),
    [
        (-8.0, 1.0, 0.0, False, 17),
        (8.0, 0.1, 0.9, False, 216),
        (-8.0, 1.0, 0.9, False, 222),
        (8.0, 1.0, 0.9, False, 251),
        (8.0, 1.0, 0.9, True, 27),
        (-8.0, 1.0, 0.9, True, 34),
    ],
)
def test_a_run_ends_at_the_article_s_evaluation(start, lr, momentum, nesterov, evaluations):
    optimizer = partial(SGD, lr=lr, momentum=momentum, nesterov=nesterov)
    toy = Toy(optimizer, start=start)
    run = fit(toy, max_steps=1000)
    assert len(toy.trajectory) == evaluations
    assert run.global_step == evaluations - 1
    assert toy.distance() <= 1e-6
    assert all(toy.function.distance(x) > 1e-6 for x in toy.trajectory[:-1])


@pytest.mark.parametrize(("start", "evaluations"), [(-8.0, 34), (8.0, 27)])
def test_an_exact_nag_is_recorded_and_ended_at_its_lookahead_points(start, evaluations):
    toy = Toy(partial(NAG, lr=1.0, momentum=0.9), start=start)
    fit(toy, Lookahead(), max_steps=1000)
    theta, v = start, 0.0
    for x in toy.trajectory:
        ahead = theta + 0.9 * v
        assert x.item() == pytest.approx(ahead, abs=1e-4)  # float32, of a chaotic start
        v = 0.9 * v - (math.cos(ahead) + ahead / 5)
        theta += v
    assert len(toy.trajectory) == evaluations


def test_double_precision_of_the_trainer_reaches_x_and_its_distance():
    toy = Toy(descent, tolerance=1e-11)
    run = fit(toy, max_steps=100, precision="64-true")
    assert toy.x.dtype == torch.float64
    assert run.global_step < 100


def test_descent_from_the_right_is_stuck_in_the_local_minimum():
    toy = Toy(descent, start=8.0)
    fit(toy, max_steps=20)
    assert round(toy.x.item(), 5) == 3.83747


def test_the_record_is_each_evaluated_point_with_its_gradient():
    toy = Toy(partial(SGD, lr=0.001), "rosenbrock", dtype="float64")
    fit(toy, max_steps=50)
    x, y = -1.2, 1.0
    for visited, gradient in zip(toy.trajectory, toy.gradients, strict=True):
        by_hand = [-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2)]
        np.testing.assert_allclose(visited.numpy(), [x, y], rtol=1e-13)
        np.testing.assert_allclose(gradient.numpy(), by_hand, rtol=1e-11)
        x, y = x - 0.001 * by_hand[0], y - 0.001 * by_hand[1]
    assert len(toy.trajectory) == 50


def test_the_record_has_the_gradient_before_it_is_clipped():
    toy = Toy(partial(SGD, lr=0.001), "beale", start=[2.0, 2.0])
    fit(toy, max_steps=3, gradient_clip_val=0.1)
    for x, gradient in zip(toy.trajectory, toy.gradients, strict=True):
        (plain,) = torch.autograd.grad(toy.function(x.requires_grad_()), x)
        assert torch.equal(gradient, plain)
        assert gradient.norm() > 1


def test_the_record_has_a_limit(monkeypatch):
    monkeypatch.setattr("tasks.toy.RECORDED", 5)
    toy = Toy(partial(SGD, lr=0.001))
    fit(toy, max_steps=8)
    assert len(toy.trajectory) == len(toy.gradients) == 5
    assert RECORDED == 10_000


def test_a_resumed_run_has_the_whole_record(tmp_path):
    whole, first, second = (Toy(partial(SGD, lr=0.1, momentum=0.9), start=8.0) for _ in range(3))
    fit(whole, max_steps=30)
    fit(first, max_steps=10).save_checkpoint(tmp_path / "last.ckpt")
    trainer(max_steps=30).fit(second, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert torch.equal(torch.stack(second.trajectory), torch.stack(whole.trajectory))
    assert torch.equal(torch.stack(second.gradients), torch.stack(whole.gradients))
    assert torch.equal(torch.stack(second.iterates), torch.stack(whole.iterates))


def test_the_record_has_x_beside_the_lookahead_point():
    """The paper's: v ← μv − lr·f′(x + μv), x ← x + v."""
    toy = Toy(partial(NAG, lr=1.0, momentum=0.9), start=-8.0, dtype="float64")
    fit(toy, max_steps=12)
    x, v = -8.0, 0.0
    for visited, iterate in zip(toy.trajectory, toy.iterates, strict=True):
        ahead = x + 0.9 * v
        assert iterate.item() == pytest.approx(x, abs=1e-12)
        assert visited.item() == pytest.approx(ahead, abs=1e-12)
        v = 0.9 * v - (np.cos(ahead) + ahead / 5)
        x += v


def test_a_checkpoint_of_an_older_version_goes_on_without_its_first_iterates():
    toy = Toy(descent)
    toy.on_load_checkpoint({"path": (torch.ones(3, 1), torch.ones(3, 1))})
    assert torch.stack(toy.iterates).isnan().all()
    assert len(toy.iterates) == 3


@pytest.mark.parametrize("name", NAMES)
def test_without_a_start_the_function_s_own_is_taken(name):
    toy = Toy(descent, name, dtype="float64")
    assert toy.x.tolist() == list(functions()[name].start)
    assert toy.x.dtype == torch.float64


@pytest.mark.parametrize("name", NAMES)
def test_the_configuration_says_where_a_function_starts(name):
    start = config("task=toy", f"task.function={name}")["task"]["start"]
    assert torch.equal(Toy(descent, name, start=start).x, Toy(descent, name).x)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"function": "sphere"}, r"Invalid function: sphere \(one of article, rosenbrock, ra"),
        ({"function": "beale", "start": 2}, r"Invalid start: 2 \(numbers for beale: 2, such as"),
        ({"start": [1, 2]}, r"Invalid start: \[1, 2\] \(numbers for article: 1, such as"),
        ({"tolerance": -1}, r"Invalid tolerance: -1 \(tolerance >= 0\)"),
        ({"tolerance": math.nan}, "Invalid tolerance: nan"),
        ({"dtype": "float16"}, r"Invalid dtype: float16 \(one of float32, float64\)"),
        ({"condition_number": 0.5}, r"Invalid condition_number: 0.5 \(condition_number >= 1\)"),
    ],
)
def test_toy_refuses_what_it_cannot_do(arguments, message):
    with pytest.raises(ValueError, match=message):
        Toy(descent, **arguments)


# ---- linear regression


@pytest.fixture(scope="module")
def article() -> tuple[np.ndarray, np.ndarray, float, float]:
    """x, y, slope and intercept, drawn as the article draws them."""
    state = np.random.get_state()
    np.random.seed(0)
    x = 2 * np.random.rand(100, 1)
    y = 4 + 3 * x + np.random.randn(100, 1)
    slope, intercept = np.random.randn() * 12, np.random.randn() * (-9)
    np.random.set_state(state)
    return x.ravel(), y.ravel(), slope, intercept


def test_data_and_first_parameters_are_the_article_s(article):
    task = LinearRegression(descent)
    x, y, slope, intercept = article
    np.testing.assert_array_equal(task.data[0], x)
    np.testing.assert_array_equal(task.data[1], y)
    assert (task.slope.item(), task.intercept.item()) == (slope, intercept)
    assert {p.shape for p in task.parameters()} == {()}


def huber(r: np.ndarray, delta: float) -> np.ndarray:
    small = np.abs(r) <= delta
    return np.where(small, r**2 / 2, delta * (np.abs(r) - delta / 2))


@pytest.mark.parametrize(
    ("options", "by_hand"),
    [
        ({"loss": "mse"}, lambda r: r**2),
        ({"loss": "mae"}, np.abs),
        ({"loss": "huber"}, partial(huber, delta=1.0)),
        ({"loss": "huber", "huber_delta": 2.5}, partial(huber, delta=2.5)),
    ],
    ids=["mse", "mae", "huber", "huber-2.5"],
)
def test_the_loss_is_its_formula(article, options, by_hand):
    x, y, slope, intercept = article
    task = LinearRegression(descent, **options)
    loss = task.training_step(task.data, 0).item()
    assert loss == pytest.approx(by_hand(slope * x + intercept - y).mean(), rel=1e-14)


def test_a_thousand_full_steps_print_the_article_s_losses_and_gradients():
    losses, gradients = [], []

    class Record(Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
            losses.append(f"{task.training_step(task.data, 0).item():.4f}")
            gradients.append([f"{p.grad:.4e}" for p in task.parameters()])

    task = LinearRegression(partial(SGD, lr=0.05))
    fit(task, Record(), max_steps=1000)
    assert " ".join(losses[:450:50]) == (
        "20.0717 4.7583 1.7357 1.1392 1.0214 0.9982 0.9936 0.9927 0.9925"
    )
    assert set(losses[450::50]) == {"0.9924"}
    assert gradients[0] == ["-2.2857e+00", "2.6574e+00"]
    assert gradients[-1] == ["-2.1221e-07", "2.3915e-07"]


def test_momentum_finds_least_squares(article):
    x, y, *_ = article
    task = LinearRegression(partial(SGD, lr=0.1, momentum=0.8))
    fit(task, max_steps=400)
    (slope, intercept), *_ = np.linalg.lstsq(np.stack([x, np.ones(100)], axis=1), y)
    assert task.slope.item() == pytest.approx(slope, abs=1e-12)
    assert task.intercept.item() == pytest.approx(intercept, abs=1e-12)


def test_the_test_loss_is_that_of_all_data():
    task = LinearRegression(descent, loss="mae")
    (metrics,) = trainer().test(task, verbose=False)
    x, y = task.data
    by_hand = (task.slope * x + task.intercept - y).abs().mean().item()
    assert metrics == {"test/loss": pytest.approx(by_hand, rel=1e-14)}


class Seen(Callback):
    """The batches that a fit was given to train on, and to validate on."""

    def __init__(self) -> None:
        self.training: list[tuple[Tensor, Tensor]] = []
        self.validation: list[tuple[Tensor, Tensor]] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.training.append(batch)

    def on_validation_batch_start(self, trainer, pl_module, batch, *args, **kwargs) -> None:
        self.validation.append(batch)


def test_mini_batches_are_shuffled_by_the_seed():
    task, seen = LinearRegression(partial(SGD, lr=0.01), batch_size=32, seed=5), Seen()
    fit(task, seen, max_epochs=1)
    assert [len(x) for x, _ in seen.training] == [32, 32, 32, 4]
    for batch, expected in zip(
        seen.training, Batches(task.data, 32, shuffle=True, seed=5), strict=True
    ):
        assert all(torch.equal(*pair) for pair in zip(batch, expected, strict=True))


def test_the_full_batch_comes_without_end():
    task = LinearRegression(descent)
    loader = task.train_dataloader()
    assert isinstance(loader, Endless)
    assert loader.batch is task.data


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_holds_for_data_and_parameters(dtype):
    task = LinearRegression(descent, dtype=dtype)
    assert {t.dtype for t in (*task.data, *task.parameters())} == {getattr(torch, dtype)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": "l2"}, r"Invalid loss: l2 \(one of mse, mae, huber\)"),
        ({"batch_size": 0}, r"Invalid batch_size: 0 \(batch_size >= 1, or None for all\)"),
        ({"huber_delta": 0}, r"Invalid huber_delta: 0 \(huber_delta > 0\)"),
        ({"dtype": "half"}, r"Invalid dtype: half \(one of float32, float64\)"),
    ],
)
def test_linear_regression_refuses_what_it_cannot_do(arguments, message):
    with pytest.raises(ValueError, match=message):
        LinearRegression(descent, **arguments)


# ---- mnist


@pytest.fixture(scope="module")
def mnist() -> MNIST:
    torch.manual_seed(0)
    task = MNIST(partial(SGD, lr=0.1), hidden=(32,))
    task.setup("fit")
    return task


def rows(*sets: tuple[Tensor, Tensor]) -> Counter[bytes]:
    """The count of each image, as its 784 bytes, with each label."""
    images, labels = map(torch.cat, zip(*sets, strict=True))
    pixels = ((images * 0.3081 + 0.1307) * 255).round().to(torch.uint8)
    return Counter(row.tobytes() for row in torch.cat([pixels, labels[:, None]], 1).byte().numpy())


def test_validation_and_training_set_are_the_60000_training_images(mnist):
    data = mnist_data.read()
    assert [len(t) for t in mnist.val_set] == [5000, 5000]
    assert [len(t) for t in mnist.train_set] == [55_000, 55_000]
    published = torch.cat([data.train_images.flatten(1), data.train_labels[:, None]], 1).byte()
    assert rows(mnist.train_set, mnist.val_set) == Counter(r.tobytes() for r in published.numpy())


def test_the_validation_set_does_not_depend_on_the_seed(mnist):
    other = MNIST(descent, hidden=(), seed=1)
    torch.manual_seed(123)
    other.setup("fit")
    assert torch.equal(other.val_set[0], mnist.val_set[0])
    assert torch.equal(other.val_set[1], mnist.val_set[1])


def test_pixels_have_mean_0_and_deviation_1(mnist):
    images = torch.cat([mnist.train_set[0], mnist.val_set[0]])
    assert images.dtype == torch.float32
    assert abs(images.mean()) < 2e-4
    assert abs(images.std() - 1) < 2e-4


def test_the_net_is_784_hidden_10():
    task = MNIST(descent, hidden=(30, 20), activation="tanh")
    shapes = [tuple(p.shape) for p in task.parameters()]
    assert shapes == [(30, 784), (30,), (20, 30), (20,), (10, 20), (10,)]
    w1, b1, w2, b2, w3, b3 = task.parameters()
    images = torch.randn(5, 784)
    by_hand = torch.tanh(torch.tanh(images @ w1.T + b1) @ w2.T + b2) @ w3.T + b3
    torch.testing.assert_close(task(images), by_hand)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "gelu"])
def test_an_activation_is_torch_s_of_that_name(activation):
    (_, layer, _) = MNIST(descent, hidden=(4,), activation=activation).net.children()
    x = torch.linspace(-3, 3, 13)
    function = {"tanh": torch.tanh, "sigmoid": torch.sigmoid}.get(activation) or getattr(
        F, activation
    )
    assert torch.equal(layer(x), function(x))


@pytest.mark.parametrize("stage", ["val", "test"])
def test_logged_loss_and_accuracy_are_those_of_the_whole_set(mnist, stage):
    run = trainer()
    (metrics,) = (run.validate if stage == "val" else run.test)(mnist, verbose=False)
    images, labels = mnist.val_set if stage == "val" else mnist.test_set
    with torch.no_grad():
        logits = mnist(images).double()
    correct = (logits.argmax(1) == labels).double().mean().item()
    loss = -logits.log_softmax(1)[torch.arange(len(labels)), labels].mean().item()
    assert metrics[f"{stage}/accuracy"] == pytest.approx(correct, abs=1e-7)
    assert metrics[f"{stage}/loss"] == pytest.approx(loss, rel=1e-5)
    assert len(metrics) == 2


def test_a_fit_trains_on_one_set_and_validates_on_the_other_and_never_sees_the_test_set(mnist):
    task, seen = MNIST(partial(SGD, lr=0.1), hidden=(), batch_size=5000), Seen()
    run = fit(task, seen, max_epochs=1)
    assert rows(*seen.training) == rows(mnist.train_set)
    assert rows(*seen.validation) == rows(mnist.val_set)
    assert not rows(mnist.test_set) & rows(mnist.train_set, mnist.val_set)
    assert set(run.callback_metrics) == {"val/loss", "val/accuracy"}


def test_a_fit_is_a_plain_loop_over_the_batches(mnist):
    task = MNIST(partial(SGD, lr=0.1), hidden=(32,), batch_size=64, seed=3)
    net = deepcopy(task.net)
    fit(task, max_steps=20, limit_val_batches=0)
    batches = Batches(mnist.train_set, 64, shuffle=True, seed=3)
    for _, (images, labels) in zip(range(20), batches, strict=False):
        net.zero_grad()
        F.cross_entropy(net(images), labels).backward()
        with torch.no_grad():
            for p in net.parameters():
                assert p.grad is not None
                p -= 0.1 * p.grad
    for ours, plain in zip(task.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(ours, plain, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"activation": "swish"}, r"Invalid activation: swish \(one of relu, tanh, sigmoid, gelu"),
        ({"hidden": (10, 0)}, r"Invalid hidden: \[10, 0\] \(each width >= 1\)"),
        ({"batch_size": 0}, r"Invalid batch_size: 0 \(batch_size >= 1\)"),
        ({"validation_size": 60_000}, r"Invalid validation_size: 60000 \(1 <= validation_size"),
    ],
)
def test_mnist_refuses_what_it_cannot_do(arguments, message):
    with pytest.raises(ValueError, match=message):
        MNIST(descent, **arguments)


def test_mnist_without_its_data_is_refused_when_it_is_made(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"Missing MNIST file: {tmp_path}"):
        MNIST(descent, data_dir=tmp_path)


# ---- all


@pytest.mark.parametrize("name", NAMES)
def test_toy_pictures_are_figures_by_name(name):
    toy = Toy(partial(SGD, lr=1e-4), name)
    assert toy.figures({}) == {}
    fit(toy, max_steps=3)
    pictures = toy.figures({})
    assert pictures
    assert all(isinstance(picture, Figure) for picture in pictures.values())


def test_linear_regression_pictures_are_figures_by_name():
    task = LinearRegression(partial(SGD, lr=0.01))
    fit(task, max_steps=3)
    history = {"train/loss": [(0, 2.0), (1, 1.0)], "train/gradnorm": [(0, 1.0), (1, 0.5)]}
    assert all(isinstance(picture, Figure) for picture in task.figures(history).values())


def test_mnist_pictures_are_figures_by_name():
    task = MNIST(partial(SGD, lr=0.01), hidden=(8,))
    fit(task, max_steps=3, limit_val_batches=0)
    history = {"train/loss": [(0, 2.0), (1, 1.0)], "train/gradnorm": [(0, 1.0), (1, 0.5)]}
    assert all(isinstance(picture, Figure) for picture in task.figures(history).values())


@pytest.mark.parametrize("make", [Toy, partial(Toy, function="quadratic"), LinearRegression])
def test_a_task_can_be_copied_and_pickled(make):
    task = make(descent)
    for copy in (deepcopy(task), pickle.loads(pickle.dumps(task))):
        assert [p.tolist() for p in copy.parameters()] == [p.tolist() for p in task.parameters()]


def test_importing_the_package_does_not_import_torch():
    code = "import tasks, sys; sys.exit('torch' in sys.modules)"
    assert commands.run_code(code, kind="light").returncode == 0


def takes_keywords_alone(**_: Any) -> None: ...


def returns_nothing(params: Any, **_: Any) -> None: ...


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (takes_keywords_alone, "does not take what the task gives it: too many positional"),
        (returns_nothing, "returns no torch.optim.Optimizer, but NoneType; give an optimizer's"),
    ],
)
def test_a_factory_that_makes_no_optimizer_is_refused_when_it_is_called(function, words):
    target = f"{__name__}.{function.__name__}"
    factory = make_factory({"_target_": target, "_partial_": True, "lr": 0.1})
    with pytest.raises(UserError, match=f"optimizer._target_={target}: {words}"):
        factory([torch.zeros(1, requires_grad=True)])


def test_a_datamodule_that_is_none_is_refused():
    with pytest.raises(UserError, match=r"os.getcwd: must make a LightningDataModule, not str"):
        make_data({"_target_": "os.getcwd"})
    assert isinstance(make_data({"_target_": "lightning.LightningDataModule"}), LightningDataModule)
    assert make_data(None) is None
