"""The pictures show what the run did, whatever it did, and are there when it has ended."""

import logging
import math
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import FSDPStrategy
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from scratchopt import SGD, Momentum
from scratchopt.batches import Endless
from scratchopt.lightning import Figures, OptimizerMonitor
from scratchopt.pictures.curves import draw_curve, training_curves
from scratchopt.pictures.style import new_figure, save
from scratchopt.problems.comparison_figure import compare_descents
from scratchopt.problems.descent import minimize
from scratchopt.problems.descent_figures import descent_figures
from scratchopt.problems.functions import functions
from scratchopt.problems.regression_figures import regression_figures
from tasks.mnist import MNIST
from tests.shared.full_disk import full_disk
from tests.shared.trainers import quiet_trainer

FUNCTIONS = functions()
SVG = "{http://www.w3.org/2000/svg}"


def descent(function, steps, lr=1e-6):
    """Points, values and iterates of Momentum on a function: it evaluates where it is."""
    x = torch.tensor(function.start, dtype=torch.float64, requires_grad=True)
    optimizer = Momentum([x], lr=lr, momentum=0.9)
    rows = []
    for _ in range(steps):
        value = function(x)
        (x.grad,) = torch.autograd.grad(value, x)
        rows.append((x.detach().clone(), value.detach(), x.detach().clone()))
        optimizer.step()
    return [torch.stack(column) for column in zip(*rows, strict=True)]


def dots(figure) -> Any:
    """The coloured points of a path."""
    return next(c for c in figure.axes[0].collections if isinstance(c, PathCollection))


def saved(figure, path):
    """The picture as it comes back from the disk."""
    save(figure, path.with_suffix(""))
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        return image.copy()


def test_descents_are_laid_over_one_another():
    runs = {f"lr {lr}": minimize(FUNCTIONS["article"], SGD, -8.0, lr=lr) for lr in (0.1, 1.0)}
    path, norms = compare_descents(runs).axes
    for line, norm, (name, run) in zip(path.lines[:2], norms.lines, runs.items(), strict=True):
        assert line.get_label() == name
        assert np.array_equal(line.get_ydata(), run.iterates[:50, 0])
        assert np.array_equal(norm.get_ydata(), run.gradients.abs()[:, 0])


@pytest.mark.parametrize(("functions", "count"), [(("article", "quadratic"), 2), (("article",), 8)])
def test_descents_that_have_no_common_picture_are_refused(functions, count):
    names = [functions[i % len(functions)] for i in range(count)]
    runs = {str(i): minimize(FUNCTIONS[n], SGD, lr=0.1, steps=1) for i, n in enumerate(names)}
    with pytest.raises(ValueError, match="give one to 7, all on one function"):
        compare_descents(runs)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_path_shows_each_point_in_the_colour_of_its_step(name):
    function = FUNCTIONS[name]
    points, values, iterates = descent(function, 60, lr=0.3 if name == "article" else 1e-4)
    figure = descent_figures(function, points, values, iterates, "title")["path"]
    expected = torch.cat([points, values[:, None]], 1) if function.dim == 1 else points
    np.testing.assert_array_equal(dots(figure).get_offsets(), expected)
    np.testing.assert_array_equal(dots(figure).get_array(), np.arange(60))
    brightness = dots(figure).to_rgba(np.arange(60))[:, :3] @ (0.299, 0.587, 0.114)
    assert (np.diff(brightness) > 0).all(), "steps could not be told apart in grey"
    assert figure.axes[-1].get_ylabel() == "Optimization step index"
    assert figure.axes[0].get_title(loc="left") == "title"


def test_arrows_lead_from_each_of_the_first_points_to_the_next():
    function = FUNCTIONS["article"]
    points, values, iterates = descent(function, 60, lr=1.0)
    axes = descent_figures(function, points, values, iterates, "")["path"].axes[0]
    arrows: Any = next(c for c in axes.collections if isinstance(c, Quiver))
    x, f = points[:, 0].numpy(), values.numpy()
    places = [int(np.flatnonzero(x == tail)[0]) for tail in arrows.X]
    assert places == sorted(set(places))
    assert 5 <= len(places) <= 12
    assert max(places) < 12
    assert arrows.scale == 1
    np.testing.assert_array_equal(arrows.Y, f[places])
    following = np.array(places) + 1
    np.testing.assert_allclose(arrows.X + arrows.U, x[following], rtol=1e-12)
    np.testing.assert_allclose(arrows.Y + arrows.V, f[following], rtol=1e-12)


def test_newton_s_first_arrow_leads_uphill_where_it_goes():
    """From −5 the article's Newton goes to −5.94, against the gradient step."""
    function = FUNCTIONS["article"]
    x = torch.tensor([[-5.0], [-5.94388576], [-7.79433605]], dtype=torch.float64)
    axes = descent_figures(function, x, function(x), x, "")["path"].axes[0]
    arrows: Any = next(c for c in axes.collections if isinstance(c, Quiver))
    assert arrows.U[0] == pytest.approx(-0.94388576)


def test_oscillation_shows_x_and_the_lookahead_as_what_it_is():
    function = FUNCTIONS["article"]
    x = torch.tensor([[-8.0], [-6.25], [-3.75], [-1.34]], dtype=torch.float64)
    ahead = torch.tensor([[-8.0], [-4.68], [-1.5], [-2.6]], dtype=torch.float64)
    figure = descent_figures(function, ahead, function(ahead), x, "")["oscillation"]
    drawn = {str(line.get_label()): line.get_ydata() for line in figure.axes[0].lines}
    np.testing.assert_array_equal(drawn["x"], x[:, 0])
    np.testing.assert_array_equal(drawn["lookahead of x"], ahead[:, 0])
    distances = [function.distance(row).item() for row in x]
    np.testing.assert_array_equal(figure.axes[1].lines[0].get_ydata(), distances)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_global_minima_are_ringed(name):
    function = FUNCTIONS[name]
    points, values, iterates = descent(function, 3)
    axes = descent_figures(function, points, values, iterates, "")["path"].axes[0]
    rings: list[Any] = [line for line in axes.lines if line.get_label() == "minimum"]
    minima = torch.tensor(function.minimizers, dtype=torch.float64)
    coordinates = [minima[:, 0], function(minima)] if function.dim == 1 else list(minima.T)
    for drawn, expected in zip(rings[0].get_data(), coordinates, strict=True):
        np.testing.assert_allclose(drawn, expected, rtol=1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_oscillation_shows_50_steps_of_each_coordinate_and_every_distance(name):
    function = FUNCTIONS[name]
    points, values, iterates = descent(function, 80)
    panels: Any = descent_figures(function, points, values, iterates, "")["oscillation"].axes
    first, whole = panels
    *rows, minimum = (line.get_ydata() for line in first.lines[: function.dim + 1])
    np.testing.assert_array_equal(rows, points[:50].T)
    assert list(minimum) == [min(function.minimizers[0])] * 2
    distances = [function.distance(x).item() for x in points]
    np.testing.assert_array_equal(whole.lines[0].get_ydata(), distances)


def run_of(kind, dim):
    """Points, values and gradients such as no picture likes to have."""
    x = torch.linspace(-1.5, 1.5, 50_000 if kind == "long" else 40, dtype=torch.float64)
    x = x[:, None].repeat(1, dim)
    if kind == "one":
        x = x[:1]
    elif kind == "diverging":
        x = (-1e6) ** torch.arange(60.0, dtype=torch.float64)[:, None].repeat(1, dim)
    elif kind == "to NaN":
        x[20:] = math.nan
    elif kind == "to infinity":
        x[20:] = math.inf
    elif kind == "nothing finite":
        x[:] = math.nan
    return x


@pytest.mark.parametrize(
    "kind", ["one", "long", "diverging", "to NaN", "to infinity", "nothing finite"]
)
@pytest.mark.parametrize("name", ["article", "rosenbrock"])
def test_any_run_can_be_drawn(name, kind, tmp_path):
    function = FUNCTIONS[name]
    x = run_of(kind, function.dim).requires_grad_()
    values = function(x)
    figures = descent_figures(function, x, values, x, kind)
    assert saved(figures["path"], tmp_path / "path.png").size == (880, 550)
    assert saved(figures["oscillation"], tmp_path / "oscillation.png").size == (1100, 440)
    low, high = figures["path"].axes[0].get_xlim()
    (window_low, window_high), *_ = function.window
    assert low <= window_low < window_high <= high
    assert high - low <= 3 * (window_high - window_low)


def test_a_long_path_is_thinned_but_keeps_its_ends():
    x = run_of("long", 2)
    function = FUNCTIONS["rosenbrock"]
    path = dots(descent_figures(function, x, function(x), x, "")["path"])
    steps = path.get_array()
    assert len(steps) <= 2000
    assert (steps[0], steps[-1]) == (0, 49_999)
    np.testing.assert_array_equal(path.get_offsets(), x[steps])


def test_points_outside_the_picture_are_counted():
    x = run_of("to NaN", 2)
    function = FUNCTIONS["rosenbrock"]
    figure = descent_figures(function, x, function(x), x, "")["path"]
    assert "20 of 40 points lie outside" in [t.get_text() for t in figure.axes[0].texts]


def drawn(values, **options) -> Any:
    """The axes of a curve."""
    figure, (axes,) = new_figure()
    draw_curve(axes, list(enumerate(values)), "label", **options)
    figure.canvas.draw()
    return axes


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([1.0, 0.5, 0.2], "linear"),
        ([1.0, 0.5, 1e-9], "log"),
        ([1.0, 0.0, 1e-9], "log"),
        ([1.0, -0.5, 1e-9], "linear"),
        ([0.0, 0.0, 0.0], "linear"),
        ([math.inf, math.nan], "linear"),
    ],
)
def test_a_curve_is_logarithmic_where_that_shows_more(values, scale):
    assert drawn(values).get_yscale() == scale


def test_zeros_are_left_out_of_a_logarithmic_curve():
    np.testing.assert_array_equal(drawn([1.0, 0.0, 1e-9]).lines[0].get_xdata(), [0, 2])


def test_log_labels_are_plain_text():
    def labels(values):
        axes = drawn(values)
        low, high = axes.get_ylim()
        ticks = zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
        return [label.get_text() for tick, label in ticks if low <= tick <= high]

    assert labels([1e-8, 10.0, 1.0]) == ["10⁻⁸", "10⁻⁶", "10⁻⁴", "10⁻²", "1"]
    assert labels([0.09, 2.1, 1.0]) == ["0.1", "0.2", "0.5", "1", "2"]


def test_a_long_curve_keeps_its_peaks():
    values = np.ones(50_000)
    values[33_333], values[44_444] = 5.0, -5.0
    x, y = drawn(values).lines[0].get_data()
    assert len(x) <= 2002
    assert (x[y.argmax()], x[y.argmin()]) == (33_333, 44_444)
    assert (x[0], x[-1]) == (0, 49_999)


def test_a_noisy_curve_is_pale_under_its_medians():
    values = np.random.default_rng(0).normal(size=1000)
    raw, medians = drawn(values).lines
    assert raw.get_alpha() == 0.3
    np.testing.assert_array_equal(medians.get_ydata(), np.median(values.reshape(100, 10), axis=1))
    assert len(drawn(np.linspace(0, 1, 1000)).lines) == 1


def test_a_diverged_curve_says_where():
    mark, line = drawn([1.0, 2.0, 1e250, 3.0, math.nan]).lines
    assert (mark.get_label(), list(mark.get_xdata())) == ("diverged", [2, 2])
    np.testing.assert_array_equal(line.get_data(), [[0, 1, 3], [1, 2, 3]])


@pytest.mark.parametrize("n", [1, 2, 49, 50_000])
@pytest.mark.parametrize("value", [0.0, 1.0, 1e-300, 1e199, math.nan, math.inf])
def test_curves_of_any_history_can_be_drawn(n, value, tmp_path):
    history = {"train/loss": list(enumerate([value] * n)), "train/velocity": [(0, 1.0)]}
    figures = training_curves(history, "title")
    assert saved(figures["curves"], tmp_path / "curves.png").size == (880, 572)
    assert [axes.get_ylabel() for axes in figures["curves"].axes] == ["loss", "velocity ‖Δθ‖"]


def test_no_history_makes_no_curves():
    assert training_curves({"train/loss": [], "val/loss": [(0, 1.0)]}, "") == {}


X = torch.linspace(0, 2, 30, dtype=torch.float64)
HISTORY = {
    "train/loss": [(i, 1 + 19 * 0.9**i) for i in range(200)],
    "train/gradnorm": [(i, 0.9**i) for i in range(200)],
}


def test_the_regression_shows_data_line_least_squares_and_curves(tmp_path):
    y = 4 + 3 * X
    figures = regression_figures(X, y, (-4.0, 12.0), (-2.5, -1.0), HISTORY, "title")
    assert saved(figures["fit"], tmp_path / "fit.png").size == (880, 550)
    assert saved(figures["curves"], tmp_path / "curves.png").size == (1100, 440)
    lines: Any = figures["fit"].axes[0].lines
    data, start, best, fit = lines
    np.testing.assert_array_equal(data.get_data(), torch.stack([X, y]))
    assert (fit.get_xy1(), fit.get_slope()) == ((0, -1.0), -2.5)
    assert fit.get_label() == "fit: y = −2.5 x − 1"
    assert (start.get_xy1(), start.get_slope()) == ((0, 12.0), -4.0)
    assert start.get_label() == "start: y = −4 x + 12"
    assert best.get_slope() == pytest.approx(3)
    panels: Any = figures["curves"].axes
    loss, gradnorm = panels
    assert (loss.get_yscale(), gradnorm.get_yscale()) == ("linear", "log")
    assert list(zip(*loss.lines[0].get_data(), strict=True)) == HISTORY["train/loss"]


@pytest.mark.parametrize("slope", [math.nan, math.inf, 1e300, -1e30])
def test_a_regression_that_diverged_can_be_drawn(slope, tmp_path):
    history = {key: [*pairs, (200, 1e300), (201, slope)] for key, pairs in HISTORY.items()}
    figures = regression_figures(X, 3 * X, (1.0, 1.0), (slope, 1.0), history, "")
    for name, figure in figures.items():
        saved(figure, tmp_path / f"{name}.png")
    assert len(figures["fit"].axes[0].lines) == 3 + math.isfinite(slope)


@pytest.fixture
def mnist():
    def make(hidden=(7,)):
        torch.manual_seed(0)
        module = MNIST(SGD, hidden=hidden)
        module.test_set = torch.randn(200, 784), torch.arange(200) % 10
        return module

    return make


def test_the_most_confident_mistakes_come_first(mnist):
    module = mnist()
    images, labels = module.test_set
    confidence, read = module(images).softmax(1).max(1)
    wrong = (read != labels).nonzero().flatten()
    worst = wrong[confidence[wrong].argsort(descending=True)].tolist()
    axes: Any = module.draw({}, "title")["mistakes"].axes[0]
    expected = [f"{labels[i]}→{read[i]}  {confidence[i]:.0%}" for i in worst[:40]]
    assert [text.get_text() for text in axes.texts] == expected
    assert axes.get_title(loc="left").startswith(f"title: {len(wrong)} of 200 test digits misread")
    first = axes.images[0].get_array()[12:40, 6:34]
    assert np.corrcoef(first.flatten(), images[worst[0]])[0, 1] == pytest.approx(1)


@pytest.mark.parametrize("hidden", [(), (7,), (200, 20)])
def test_the_first_layer_is_shown_unit_by_unit(hidden, mnist, tmp_path):
    module = mnist(hidden)
    figure = module.draw({}, "")["weights"]
    assert saved(figure, tmp_path / "weights.png").width == 880
    units = min(96, module.net[0].out_features)
    image: Any = figure.axes[0].images[0].get_array()
    shown = image.filled(np.nan)
    assert np.isfinite(shown).sum() == units * 784
    strongest = module.net[0].weight[module.net[0].weight.norm(dim=1).argmax()].detach()
    assert np.corrcoef(shown[2:30, 1:29].flatten(), strongest)[0, 1] == pytest.approx(1)


def test_a_diverged_net_has_curves_only(mnist):
    module = mnist()
    torch.nn.init.constant_(module.net[0].weight, math.nan)
    assert list(module.draw(HISTORY, "")) == ["curves"]


class Plain(LightningModule):
    """x²; it knows nothing of figures."""

    def __init__(self, fail_at=None):
        super().__init__()
        self.x = torch.nn.Parameter(torch.tensor(1.0))
        self.fail_at = fail_at

    def training_step(self, batch, batch_idx):
        if batch_idx == self.fail_at:
            raise RuntimeError("broken batch")
        return self.x**2

    def configure_optimizers(self):
        return SGD(self.parameters(), lr=0.1)

    def train_dataloader(self):
        return Endless(torch.empty(0))


class Drawing(Plain):
    """A module that draws its own figure, from the history."""

    def figures(self, history):
        figure = Figure()
        figure.subplots().plot([value for _, value in history["train/loss"]])
        return {"own": figure}


class Broken(Plain):
    """A module whose figures cannot be drawn."""

    def figures(self, history):
        raise ZeroDivisionError("first line\nsecond line")


@pytest.fixture
def fit(tmp_path):
    def run(module, *callbacks, logger=False, max_steps=5, **options):
        options |= {"max_steps": max_steps, "max_epochs": -1, "logger": logger}
        trainer = quiet_trainer([*callbacks, Figures()], default_root_dir=tmp_path, **options)
        trainer.fit(module)
        return trainer

    return run


@pytest.fixture
def said(caplog):
    """The records that the library has logged."""
    return lambda: [record for record in caplog.records if record.name.startswith("scratchopt")]


def pictures(tmp_path):
    return sorted(path.name for path in tmp_path.glob("figures/*"))


def test_any_module_leaves_its_curves(fit, tmp_path):
    fit(Plain(), OptimizerMonitor())
    assert pictures(tmp_path) == ["curves.png", "curves.svg"]


def test_each_fit_in_a_folder_has_its_figures_and_a_fast_dev_run_none(fit, tmp_path):
    fit(Plain(), OptimizerMonitor())
    before = (tmp_path / "figures" / "curves.svg").read_bytes()
    fit(Plain(), OptimizerMonitor(), max_steps=3)
    fit(Plain(), OptimizerMonitor(), fast_dev_run=True)
    assert (tmp_path / "figures" / "curves.svg").read_bytes() == before
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["figures", "figures-v1"]


def test_a_module_draws_its_own_figures(fit, tmp_path):
    fit(Drawing(), OptimizerMonitor())
    assert pictures(tmp_path) == ["own.png", "own.svg"]


def test_without_a_monitor_there_is_nothing_to_draw(fit, tmp_path, said):
    fit(Plain())
    assert pictures(tmp_path) == []
    assert not said()


def test_a_run_that_fails_leaves_its_figures(fit, tmp_path):
    with pytest.raises(RuntimeError, match="broken batch"):
        fit(Plain(fail_at=3), OptimizerMonitor())
    assert pictures(tmp_path) == ["curves.png", "curves.svg"]


def test_a_run_that_fails_before_its_first_step_has_none(fit, tmp_path, said):
    with pytest.raises(RuntimeError, match="broken batch"):
        fit(Broken(fail_at=0), OptimizerMonitor())
    assert pictures(tmp_path) == []
    assert not said()


def test_a_drawing_error_is_one_line_and_costs_no_run(fit, said):
    trainer = fit(Broken(), OptimizerMonitor())
    assert trainer.global_step == 5
    (record,) = said()
    assert record.levelno == logging.WARNING
    assert record.getMessage() == "Figures were not drawn: ZeroDivisionError: first line"


def test_tensorboard_gets_the_very_picture(fit, tmp_path):
    fit(Drawing(), OptimizerMonitor(), logger=TensorBoardLogger(tmp_path, name="", version=""))
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0}).Reload()
    (event,) = events.Images("views/own")
    assert event.step == 5
    (tmp_path / "logged.png").write_bytes(event.encoded_image_string)
    with (
        Image.open(tmp_path / "logged.png") as logged,
        Image.open(tmp_path / "figures" / "own.png") as kept,
    ):
        np.testing.assert_array_equal(np.asarray(logged), np.asarray(kept))


@pytest.mark.parametrize("png_fits", [False, True])
def test_a_file_of_a_picture_is_replaced_whole_or_not_at_all(png_fits, tmp_path):
    path = tmp_path / "figures" / "name"
    save(new_figure(size=(4.0, 4.0))[0], path)
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    save(new_figure()[0], tmp_path / "new")
    room = (tmp_path / "new.png").stat().st_size if png_fits else 1_000
    assert room < (tmp_path / "new.svg").stat().st_size
    with full_disk(room), pytest.raises(OSError, match="File too large"):
        save(new_figure()[0], path)
    after = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    new_png = {"name.png": (tmp_path / "new.png").read_bytes()} if png_fits else {}
    assert after == before | new_png


@pytest.mark.parametrize("name", ["article", "rosenbrock"])
def test_vector_files_have_their_text_as_text_and_stay_small(name, tmp_path):
    function = FUNCTIONS[name]
    x = run_of("long", function.dim)
    for key, figure in descent_figures(function, x, function(x), x, "a title").items():
        save(figure, tmp_path / key)
        file = tmp_path / f"{key}.svg"
        texts = ["".join(text.itertext()) for text in ElementTree.parse(file).iter(f"{SVG}text")]
        assert {"a title", "x", "0"} < set(texts)
        assert file.stat().st_size < 200_000


def test_the_same_figure_is_always_the_same_files(tmp_path):
    for name in ("one", "other"):
        save(
            regression_figures(X, 3 * X, (1.0, 1.0), (1.0, 1.0), HISTORY, "")["fit"],
            tmp_path / name,
        )
    for kind in ("png", "svg"):
        files = [(tmp_path / f"{name}.{kind}").read_bytes() for name in ("one", "other")]
        assert files[0] == files[1]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"is_global_zero": False}, []),
        ({"strategy": FSDPStrategy()}, ["curves.png", "curves.svg"]),
        ({}, ["own.png", "own.svg"]),
    ],
    ids=["another process", "sharded", "one process"],
)
def test_only_rank_zero_draws_and_only_what_it_has(options, expected, tmp_path):
    monitor = OptimizerMonitor()
    monitor.history["train/loss"] = [(0, 1.0)]
    trainer = SimpleNamespace(
        **{"is_global_zero": True, "strategy": None, "global_step": 1, **options},
        callbacks=[monitor],
        loggers=[],
        fast_dev_run=False,
        default_root_dir=tmp_path,
    )
    Figures().on_fit_end(trainer, Drawing())  # pyright: ignore[reportArgumentType]
    assert pictures(tmp_path) == expected


def test_drawing_leaves_matplotlib_as_it_was(tmp_path):
    from matplotlib import pyplot

    before = dict(matplotlib.rcParams)
    for figure in regression_figures(X, 3 * X, (1.0, 1.0), (1.0, 1.0), HISTORY, "").values():
        save(figure, tmp_path / "picture")
    assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == []
