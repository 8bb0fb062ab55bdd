"""Pictures of several runs show what their logs have, to any eye, and plot.py draws them."""

import json
import math
from functools import cache
from itertools import combinations, product
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.legend import Legend
from omegaconf import OmegaConf
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from scratchopt.cli.sweep_pictures import draw_sweep
from scratchopt.config.fields import UserError
from scratchopt.config.schema import validate
from scratchopt.lightning.record_file import RecordFile
from scratchopt.lightning.trajectory import RecordLayout
from scratchopt.pictures.style import PALETTE
from scratchopt.plots.gallery import write_gallery
from scratchopt.plots.grid_figure import grid_figure
from scratchopt.plots.history_figures import history_figures
from scratchopt.plots.line_styles import choose_line_styles
from scratchopt.plots.oscillation_figure import oscillation_figures
from scratchopt.plots.outcome import DIVERGED, TOO_LONG
from scratchopt.plots.paths_figures import paths_figures
from scratchopt.plots.sensitivity_figure import sensitivity_figure
from scratchopt.plots.settings import Setting, group_by_setting
from scratchopt.plots.tables import outcome_notes, step_table
from scratchopt.plots.x_axis import compute_x_values
from scratchopt.problems.functions import functions
from scratchopt.runs.directory import find_runs
from scratchopt.runs.result import Result, hyperparameters
from tests.shared import commands, configs
from tests.shared.full_disk import full_disk

SVG = "{http://www.w3.org/2000/svg}"
composed = cache(configs.composed)  # which takes a tenth of a second


@pytest.fixture
def record(tmp_path):
    """Writes what a run leaves, but for a training; returns its directory."""

    def make(name, *overrides, logged, status="finished", evaluations=None, **metrics):
        directory = tmp_path / "sweep" / name
        keys = {"task": "mnist", "optimizer": "nag"} | dict(o.split("=") for o in overrides)
        task, optimizer = keys.pop("task"), keys.pop("optimizer")
        given = OmegaConf.from_dotlist([f"{key}={value}" for key, value in keys.items()])
        cfg: Any = OmegaConf.merge(composed(f"task={task}", f"optimizer={optimizer}"), given)
        (directory / ".hydra").mkdir(parents=True)
        OmegaConf.save(cfg, directory / ".hydra" / "config.yaml")
        choices = {"task": task, "optimizer": optimizer}
        OmegaConf.save(
            {"hydra": {"runtime": {"choices": choices}}}, directory / ".hydra" / "hydra.yaml"
        )
        with SummaryWriter(str(directory)) as writer:
            for tag, pairs in logged.items():
                for step, value in pairs:
                    writer.add_scalar(tag, value, step)
        if status is not None:
            steps = max((step + 1 for step, _ in logged.get("train/loss", ())), default=0)
            result = Result(task, optimizer, hyperparameters(validate(cfg)), cfg.seed, status)
            result.cost = steps if evaluations is None else evaluations
            result.evaluations = 1 + steps // 2  # of Newton, which counts its products as cost
            result.metrics = {f"{tag.replace('_', '/')}": value for tag, value in metrics.items()}
            result.write(directory)
        return directory

    return make


@pytest.fixture
def runs(tmp_path):
    """The recorded runs."""
    return lambda: find_runs([tmp_path / "sweep"])


def float32(values) -> np.ndarray:
    """Values by step, as a log has them."""
    return np.asarray(values, np.float32)


def decay(rate, steps=20, first=1.0):
    """(step, value) pairs."""
    return [(i, first * rate**i) for i in range(steps)]


def history(runs, **options) -> Any:
    """The axes of the one picture, without the legend's."""
    (figure,) = history_figures(group_by_setting(runs), "title", **options).values()
    return [axes for axes in figure.axes if axes.axison]


def points(line):
    """(x, y) of a line."""
    return float32(np.array(line.get_data()).T)


# Lines


def test_lines_are_the_logs(record, runs):
    logs = {
        name: {"train/loss": decay(rate), "train/gradnorm": decay(rate**2, 19)}
        for name, rate in {"adam": 0.9, "nag": 0.8, "sgd": 0.95}.items()
    }
    for name, logged in logs.items():
        record(name, f"optimizer={name}", logged=logged)
    loss, gradnorm = history(runs())
    assert (loss.get_title(loc="left"), gradnorm.get_title(loc="left")) == ("loss", "gradnorm ‖g‖")
    for axes, tag in ((loss, "train/loss"), (gradnorm, "train/gradnorm")):
        for line, logged in zip(axes.lines, logs.values(), strict=True):
            np.testing.assert_array_equal(points(line), float32(logged[tag]))


def test_validation_is_drawn_where_there_is_any(record, runs):
    validation = {"val/accuracy": [(99, 0.5), (199, 0.75)], "val/loss": [(99, 2.0), (199, 1.0)]}
    record("a", "optimizer=sgd", logged={"train/loss": decay(0.9), **validation})
    record("b", "optimizer=nag", logged={"train/loss": decay(0.8)})
    panels = history(runs())
    titles = ["loss", "validation accuracy", "validation loss"]
    assert [axes.get_title(loc="left") for axes in panels] == titles
    np.testing.assert_array_equal(points(panels[1].lines[0]), validation["val/accuracy"])
    assert len(panels[1].lines) == 1


def band(axes):
    """Lowest and highest of the shaded area at each x."""
    vertices = axes.collections[0].get_paths()[0].vertices
    xs = np.unique(vertices[:, 0])
    ys = [vertices[vertices[:, 0] == x, 1] for x in xs]
    return float32([y.min() for y in ys]), float32([y.max() for y in ys])


@pytest.mark.parametrize(("n", "share"), [(2, (0, 1)), (4, (0, 1)), (5, (0.25, 0.75))])
@pytest.mark.parametrize("task", ["mnist", "linear_regression"])
def test_runs_that_differ_by_the_seed_are_one_line(task, n, share, record, runs):
    rates = 0.9 - 0.01 * np.arange(n)
    for seed, rate in enumerate(rates):
        record(f"nag{seed}", f"task={task}", f"seed={seed}", logged={"train/loss": decay(rate)})
        record(
            f"sgd{seed}",
            f"task={task}",
            f"seed={seed}",
            "optimizer=sgd",
            logged={"train/loss": decay(0.5)},
        )
    settings = group_by_setting(runs())
    assert [(s.optimizer, len(s.runs)) for s in settings] == [("nag", n), ("sgd", n)]
    axes = history(runs())[0]
    each = float32([[value for _, value in decay(rate)] for rate in rates])
    np.testing.assert_allclose(points(axes.lines[0])[:, 1], np.median(each, axis=0), rtol=1e-6)
    low, high = band(axes)
    expected = np.quantile(each, share, axis=0, method="inverted_cdf")
    np.testing.assert_allclose((low, high), expected, rtol=1e-6)
    assert len(axes.collections) == 1, "sgd's runs are the same: no band"
    (legend,) = legends(axes.figure)
    range_ = "quartiles" if n == 5 else "lowest to highest"
    assert legend.get_title().get_text() == f"medians of n = {n} runs, band: {range_}"


def test_a_run_that_goes_on_beyond_the_others_is_a_thin_line(record, runs):
    record("a", "seed=0", logged={"train/loss": decay(0.9, 10)})
    record("b", "seed=1", logged={"train/loss": decay(0.8, 15)})
    median, tail = history(runs())[0].lines
    assert list(median.get_xdata()) == list(range(10))
    np.testing.assert_array_equal(points(tail), float32(decay(0.8, 15)[10:]))
    assert tail.get_linewidth() < median.get_linewidth() / 1.9


def test_noise_is_drawn_as_medians_and_says_so(record, runs):
    noise = np.random.default_rng(0).uniform(1, 2, 1000)
    record("a", "optimizer=sgd", logged={"train/loss": list(enumerate(noise))})
    record("b", "optimizer=nag", logged={"train/loss": list(enumerate(noise + 1))})
    axes = history(runs())[0]
    raw_nag, nag, raw_sgd, sgd = axes.lines
    np.testing.assert_array_equal(raw_sgd.get_ydata(), float32(noise))
    np.testing.assert_array_equal(raw_nag.get_ydata(), float32(noise + 1))
    expected = np.median(float32(noise).reshape(100, 10), axis=1)
    np.testing.assert_allclose(sgd.get_ydata(), expected, rtol=1e-6)
    np.testing.assert_allclose(nag.get_ydata(), expected + 1, rtol=1e-6)
    np.testing.assert_array_equal(sgd.get_xdata(), np.arange(4.5, 1000, 10))
    assert axes.get_title(loc="left") == "loss, medians of 10 values"


def test_a_single_run_s_noise_is_beneath_its_medians(record, runs):
    noise = list(enumerate(np.random.default_rng(0).uniform(1, 2, 1_000)))
    record("a", logged={"train/loss": noise})
    raw, medians = history(runs())[0].lines
    np.testing.assert_array_equal(points(raw), float32(noise))
    assert len(medians.get_xdata()) == 100
    assert not legends(raw.figure)


def test_an_oscillation_is_drawn_as_it_is_beside_a_longer_run(record, runs):
    swinging = [(i, 0.949**i * (1.01 + math.cos(1.17 * i))) for i in range(222)]
    record("a", "optimizer=momentum", logged={"train/loss": swinging})
    record("b", "optimizer=sgd", logged={"train/loss": decay(0.99, 2_000)})
    axes = history(runs())[0]
    np.testing.assert_allclose(points(axes.lines[0]), float32(swinging), rtol=1e-6)
    assert axes.get_title(loc="left") == "loss"


def test_a_legend_takes_less_than_a_sixth_of_the_picture(record, runs):
    for optimizer in ("sgd", "momentum", "nag"):
        for lr in (0.1, 0.2, 1.0):
            given = f"optimizer={optimizer}", f"optimizer.lr={lr}"
            logged = {tag: decay(0.9) for tag in ("train/loss", "train/gradnorm", "train/velocity")}
            record("-".join(given), *given, logged=logged)
    figure = history_figures(group_by_setting(runs()), "title")["history"]
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (legend,) = legends(figure)
    share = legend.get_window_extent().height / figure.bbox.height
    assert share < 1 / 6


@pytest.mark.parametrize("last", [1e300, math.inf, math.nan, 50.0])
def test_a_diverged_run_ends_in_a_cross(last, record, runs):
    rising = [*decay(1.5, 9), (9, last)]
    record("a", "optimizer=sgd", logged={"train/loss": rising}, status="diverged")
    record("b", "optimizer=nag", logged={"train/loss": decay(0.9)})
    axes = history(runs())[0]
    (cross,) = [line for line in axes.lines if line.get_marker() == "X"]
    x, y = points(cross)[0]
    assert (x, cross.get_color()) == (9, axes.lines[1].get_color())
    top = axes.get_ylim()[1]
    assert y == pytest.approx(50.0 if last == 50.0 else top)
    assert "diverged" in [text.get_text() for text in legends(axes.figure)[0].get_texts()]


def test_a_line_that_rises_out_of_all_bounds_squashes_no_other(record, runs):
    record("a", "optimizer=sgd", logged={"train/loss": decay(1e3, 10)})
    record("b", "optimizer=nag", logged={"train/loss": decay(0.9)})
    axes = history(runs())[0]
    assert axes.get_ylim()[1] < 1e4
    np.testing.assert_array_equal(points(axes.lines[1]), float32(decay(1e3, 10)))


def test_a_run_that_diverged_squashes_no_other_on_a_linear_axis(record, runs):
    record("a", "optimizer=sgd", logged={"train/loss": decay(3.0, 6)}, status="diverged")
    record("b", "optimizer=nag", logged={"train/loss": [(i, 1 - 0.1 * i) for i in range(20)]})
    low, high = history(runs())[0].get_ylim()
    assert (low, high) == pytest.approx((-0.995, 1.095))


# The x axis


def test_a_step_costs_its_batches_or_what_the_log_says(record, runs):
    cost = [(0, 6.0), (1, 3.0), (2, 6.0)]
    record(
        "a",
        "optimizer=newton",
        logged={"train/loss": decay(0.5, 3), "train/cost": cost},
        evaluations=15,
    )
    record("b", "accumulate_grad_batches=4", logged={"train/loss": decay(0.5, 3)}, evaluations=12)
    newton, nag = runs()
    np.testing.assert_array_equal(compute_x_values(newton, np.arange(3), "evaluations"), [6, 9, 15])
    np.testing.assert_array_equal(compute_x_values(nag, np.arange(3), "evaluations"), [4, 8, 12])
    drawn = history(runs(), against="evaluations")[0]
    assert [list(line.get_xdata()) for line in drawn.lines] == [[4, 8, 12], [6, 9, 15]]
    assert drawn.get_xlabel() == "gradient evaluations"


def test_evaluations_that_the_log_does_not_place_are_refused(record, runs):
    record("a", logged={"train/loss": decay(0.5, 30)}, evaluations=75)
    with pytest.raises(
        UserError, match=r"75 gradient evaluations in 30 steps, .* only against steps"
    ):
        history(runs(), against="evaluations")


def test_seconds_are_those_of_the_log_s_writes(record, runs):
    directory = record("a", "log_every=10", logged={})
    (events,) = directory.glob("events.*")
    events.unlink()
    with SummaryWriter(str(directory)) as writer:
        for step in range(25):
            written = 10.0 if step < 10 else 30.0 if step < 20 else 31.0
            writer.add_scalar("train/loss", 0.5**step, step, walltime=2e9 + written)
    (run,) = runs()
    begun = run.events.FirstEventTimestamp()
    found = compute_x_values(run, np.array([9, 14, 19, 24]), "seconds") + begun - 2e9
    np.testing.assert_allclose(found, [10, 20, 30, 31], atol=1e-3)


def test_a_resumed_run_has_no_clock(record, runs):
    directory = record("a", logged={"train/loss": decay(0.5)})
    SummaryWriter(str(directory), filename_suffix=".again").close()
    with pytest.raises(UserError, match="it was resumed, and the pause is in its clock"):
        history(runs(), against="seconds")


# To any eye


def sweep(
    record, lrs=(0.05, 0.1, 1.0), seeds=(0, 1), steps=60, optimizers=("sgd", "momentum", "nag")
):
    """A recorded sweep; by default of 18 runs."""
    for i, optimizer in enumerate(optimizers):
        for j, lr in enumerate(lrs):
            for seed in seeds:
                logged = {
                    tag: decay(0.9 - 0.04 * i - 0.01 * j - 0.002 * seed, steps, 1 + k)
                    for k, tag in enumerate(("train/loss", "train/gradnorm", "train/velocity"))
                }
                overrides = (f"optimizer={optimizer}", f"optimizer.lr={lr}", f"seed={seed}")
                record("-".join(overrides), *overrides, logged=logged)


# Viénot, Brettel and Mollon, Color Research and Application 24 (1999) 243: what dichromats see, as
# matrices on linear sRGB.
SEEN_BY = {
    "protanopia": np.array(
        [[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]]
    ),
    "deuteranopia": np.array(
        [[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]]
    ),
    "all cones": np.eye(3),
}


def lab(color, seen_by):
    """CIE L*a*b* (D65) of a colour as somebody sees it."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = to_xyz @ np.clip(SEEN_BY[seen_by] @ linear, 0, 1) / to_xyz.sum(axis=1)
    root = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


@pytest.mark.parametrize("eye", SEEN_BY)
def test_colours_are_apart_to_any_eye(eye):
    for one, other in combinations(PALETTE, 2):
        assert np.linalg.norm(lab(one, eye) - lab(other, eye)) > 15, (one, other)
    for color in PALETTE:  # contrast with white, as WCAG has it: 1.8 is what their amber has
        luminance = ((lab(color, "all cones")[0] + 16) / 116) ** 3
        assert 1.05 / (luminance + 0.05) > 1.8


def test_lines_of_a_sweep_are_apart_in_grey(record, runs):
    sweep(record)
    for axes in history(runs()):
        assert len(axes.lines) == 9
        kinds = [
            (
                line.get_marker(),
                line._unscaled_dash_pattern,
                round(lab(line.get_color(), "all cones")[0]),
            )
            for line in axes.lines
        ]
        for one, other in combinations(kinds, 2):
            assert one[:2] != other[:2] or abs(one[2] - other[2]) > 20
        assert all(0 < len(line.get_markevery()) <= 9 for line in axes.lines)


@pytest.mark.parametrize("optimizers", [("nag",), ("nag", "sgd"), ("adam", "nag", "sgd")])
def test_line_styles_are_never_shared(optimizers):
    lrs = [f"lr={lr:g}" for lr in np.geomspace(0.01, 1, 14)]
    settings = [Setting(optimizer, lr, lr, ()) for optimizer in optimizers for lr in lrs]
    found = choose_line_styles([setting.style_key for setting in settings])
    assert len({(style.marker, str(style.dashes)) for style in found}) == len(settings)


def test_a_colour_is_an_optimizer_and_dashes_are_an_lr(record, runs):
    sweep(record)
    settings = group_by_setting(runs())
    found = choose_line_styles([setting.style_key for setting in settings])
    names = [
        f"{name}, lr={lr}" for name in ("momentum", "nag", "sgd") for lr in ("0.05", "0.1", "1")
    ]
    assert [setting.name for setting in settings] == names
    for part, kind in (("optimizer", "color"), ("variant", "dashes")):
        pairs = {
            (getattr(setting, part), str(getattr(style, kind)))
            for setting, style in zip(settings, found, strict=True)
        }
        assert len(pairs) == 3


def test_more_than_a_dozen_lines_are_drawn_optimizer_by_optimizer(record, runs):
    lrs = (0.01, 0.02, 0.05, 0.1, 1.0)
    sweep(record, lrs)
    figures = history_figures(group_by_setting(runs()), "title")
    assert list(figures) == ["history_loss", "history_gradnorm", "history_velocity"]
    panels: Any = [axes for axes in figures["history_loss"].axes if axes.axison]
    assert [axes.get_title(loc="left") for axes in panels] == ["momentum", "nag", "sgd"]
    assert [len(axes.lines) for axes in panels] == [5, 5, 5]
    assert (
        len({axes.get_ylim() for axes in panels}) == len({axes.get_xlim() for axes in panels}) == 1
    )
    (legend,) = legends(figures["history_loss"])
    assert [text.get_text() for text in legend.get_texts()] == [f"lr={lr:g}" for lr in lrs]


def test_a_panel_of_an_optimizer_is_as_long_as_its_own_runs(record, runs):
    for name, steps in (("momentum", 20), ("sgd", 200)):
        for start in range(7):
            logged = {"train/loss": decay(0.9, steps)}
            record(
                f"{name}{start}",
                "task=toy",
                f"optimizer={name}",
                f"task.start={start}",
                logged=logged,
            )
    (figure,) = history_figures(group_by_setting(runs()), "title").values()
    panels = [axes for axes in figure.axes if axes.axison]
    assert [round(axes.get_xlim()[1], -1) for axes in panels] == [20, 210]
    assert all(axes.xaxis.get_tick_params()["labelbottom"] for axes in panels)


# Room


def legends(figure) -> list[Legend]:
    """The legends of a figure."""
    return figure.findobj(Legend)


def assert_all_is_inside(figure):
    """Checks that nothing leaves the canvas, and that no legend lies on data."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    left, bottom, right, top = figure.get_tightbbox(canvas.get_renderer()).extents
    assert 0 <= left < right <= figure.get_figwidth()
    assert 0 <= bottom < top <= figure.get_figheight()
    for legend in legends(figure):
        for axes in figure.axes:
            if axes.axison:
                assert not legend.get_window_extent().overlaps(axes.get_window_extent())


@pytest.mark.parametrize("lrs", [(0.1,), (0.05, 0.1, 1.0), (0.01, 0.02, 0.05, 0.1, 1.0)])
def test_all_text_has_room(lrs, record, runs):
    for optimizer in ("adam", "momentum", "nag_torch"):
        for lr in lrs:
            overrides = ("task=linear_regression", f"optimizer={optimizer}", f"optimizer.lr={lr}")
            logged = {"train/loss": decay(0.9, 400, 1e5), "train/gradnorm": decay(0.5, 400)}
            record("-".join(overrides), *overrides, logged=logged, test_loss=0.99 + 1e-4 * lr)
    found = runs()
    figures = list(history_figures(group_by_setting(found), "linear_regression").values())
    figures += filter(None, [sensitivity_figure(found, "linear_regression")])
    for figure in figures:
        assert_all_is_inside(figure)


# What the lr decides


def dots(axes):
    """(lr, value) of the runs of each line, by their colour."""
    return {
        line.get_color(): points(line).tolist()
        for line in axes.lines
        if line.get_linestyle() == "None" and line.get_transform() == axes.transData
    }


def marks(axes, marker):
    """The lrs of the marks of a kind."""
    return [
        x
        for line in axes.lines
        if line.get_transform() != axes.transData
        if line.get_marker() == marker
        for x in line.get_xdata()
    ]


def test_the_outcome_is_the_test_error_run_by_run(record, runs):
    for lr, accuracies in {0.01: (0.9, 0.92), 0.1: (0.97, 0.98), 1.0: (0.5, None)}.items():
        for seed, accuracy in enumerate(accuracies):
            record(
                f"{lr}-{seed}",
                f"optimizer.lr={lr}",
                f"seed={seed}",
                logged={"train/loss": decay(0.9)},
                status="diverged" if accuracy is None else "finished",
                **({} if accuracy is None else {"test_accuracy": accuracy}),
            )
    figure: Any = sensitivity_figure(runs(), "title")
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert figure.texts[0].get_text() == "title: test error, 1 − accuracy"
    (found,) = dots(axes).values()
    expected = [[0.01, 0.1], [0.01, 0.08], [0.1, 0.03], [0.1, 0.02], [1.0, 0.5]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    median = axes.lines[0]
    np.testing.assert_allclose(median.get_ydata(), [0.09, 0.025, math.inf])
    assert marks(axes, "X") == [1.0]
    assert legends(figure)[0].get_texts()[-1].get_text() == DIVERGED


def test_the_toy_s_outcome_is_when_it_converged(record, runs):
    toy = ("task=toy", "optimizer=sgd")
    for lr, status, steps in (
        (0.1, "converged", 200),
        (1.0, "converged", 17),
        (0.01, "finished", 2000),
        (9.0, "diverged", 8),
    ):
        record(
            f"{lr}",
            *toy,
            f"optimizer.lr={lr}",
            logged={"train/loss": decay(0.9)},
            status=status,
            evaluations=steps,
        )
    figure: Any = sensitivity_figure(runs(), "title")
    (axes,) = figure.axes
    assert figure.texts[0].get_text() == "title: gradient evaluations to converge"
    (found,) = map(sorted, dots(axes).values())
    np.testing.assert_allclose(found, [[0.1, 200], [1.0, 17]], rtol=1e-6)
    assert (marks(axes, "X"), marks(axes, "^")) == ([9.0], [0.01])
    assert {DIVERGED, TOO_LONG} < {text.get_text() for text in legends(figure)[0].get_texts()}


def test_without_a_test_the_outcome_is_what_the_task_is_compared_by(record, runs):
    for lr, accuracy in ((0.1, 0.9), (1.0, 0.6)):
        record(
            f"{lr}",
            f"optimizer.lr={lr}",
            logged={"train/loss": decay(0.9)},
            val_accuracy=accuracy,
            train_loss=0.01,
        )
    figure: Any = sensitivity_figure(runs(), "title")
    assert figure.texts[0].get_text() == "title: validation error, 1 − accuracy"
    (found,) = dots(figure.axes[0]).values()
    np.testing.assert_allclose(found, [[0.1, 0.1], [1.0, 0.4]], rtol=1e-6)


def test_runs_of_which_some_were_not_tested_have_the_outcome_that_all_have(record, runs):
    """As the trials of a comparison beside its judged runs."""
    for lr, accuracy, tested in ((0.1, 0.9, {"test_accuracy": 0.8}), (1.0, 0.6, {})):
        logged = {"train/loss": decay(0.9)}
        record(f"{lr}", f"optimizer.lr={lr}", logged=logged, val_accuracy=accuracy, **tested)
    figure: Any = sensitivity_figure(runs(), "title")
    assert figure.texts[0].get_text() == "title: validation error, 1 − accuracy"
    assert marks(figure.axes[0], "X") == []
    (found,) = dots(figure.axes[0]).values()
    np.testing.assert_allclose(found, [[0.1, 0.1], [1.0, 0.4]], rtol=1e-6)


def test_two_lrs_are_dots_and_no_line(record, runs):
    for lr, loss in ((0.1, 0.5), (1.0, 0.7)):
        record(f"{lr}", f"optimizer.lr={lr}", logged={"train/loss": decay(0.9)}, test_loss=loss)
    figure: Any = sensitivity_figure(runs(), "title")
    assert [line.get_linestyle() for line in figure.axes[0].lines] == ["None"]


def test_settings_of_two_lrs_are_told_apart_by_their_markers(record, runs):
    for name in ("nag", "sgd"):
        for start in (-8, 8):
            for lr in (0.1, 1.0):
                keys = (f"optimizer={name}", f"task.start={start}", f"optimizer.lr={lr}")
                record(
                    " ".join(keys),
                    "task=toy",
                    *keys,
                    logged={"train/loss": decay(0.9)},
                    train_loss=1,
                )
    figure: Any = sensitivity_figure(runs(), "title")
    kinds = {(line.get_color(), line.get_marker()) for line in figure.axes[0].lines}
    assert len(kinds) == len({marker for _, marker in kinds}) == 4
    (legend,) = legends(figure)
    assert [line.get_linestyle() for line in legend.get_lines()] == ["None"] * 4


def test_many_settings_of_one_number_are_drawn_as_no_grid_has_them(record, runs, monkeypatch):
    monkeypatch.setattr("scratchopt.plots.sensitivity_figure.TOGETHER", 1)
    for name, lr in product(("sgd", "nag"), (0.1, 1.0)):
        keys = ("task=toy", f"optimizer={name}", f"optimizer.lr={lr}")
        record(f"{name} {lr}", *keys, logged={}, status="converged", evaluations=9)
    assert grid_figure(runs(), "title") is None
    (legend,) = legends(sensitivity_figure(runs(), "title"))
    assert len(legend.get_lines()) == 2


def test_a_loss_out_of_all_bounds_has_diverged(record, runs):
    for lr, loss in ((0.1, 0.5), (1.0, 1e58)):
        record(f"{lr}", f"optimizer.lr={lr}", logged={"train/loss": decay(0.9)}, test_loss=loss)
    figure: Any = sensitivity_figure(runs(), "title")
    np.testing.assert_allclose([*dots(figure.axes[0]).values()], [[[0.1, 0.5]]], rtol=1e-6)
    assert marks(figure.axes[0], "X") == [1.0]


def test_one_lr_decides_nothing(record, runs):
    sweep(record, lrs=[0.1])
    assert sensitivity_figure(runs(), "title") is None


def test_a_number_other_than_the_lr_has_its_line_too(record, runs):
    for momentum in (0.5, 0.7, 0.9):
        logged = {"train/loss": decay(momentum)}
        record(f"{momentum}", f"optimizer.momentum={momentum}", logged=logged, test_loss=momentum)
    figure: Any = sensitivity_figure(runs(), "title")
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_xscale()) == ("momentum", "linear")
    (found,) = dots(axes).values()
    np.testing.assert_allclose(found, [[0.5, 0.5], [0.7, 0.7], [0.9, 0.9]])


def record_trials(record, trials):
    """Records toy runs by (lr, momentum): the evaluations until they converged, or a status."""
    for i, ((lr, momentum), outcome) in enumerate(trials.items()):
        converged = isinstance(outcome, int)
        record(
            f"{i}",
            *("task=toy", f"optimizer.lr={lr}", f"optimizer.momentum={momentum}"),
            logged={"train/loss": decay(0.9)},
            status="converged" if converged else outcome,
            evaluations=outcome if converged else 2000,
        )


def test_a_grid_has_each_run_s_outcome_at_its_place(record, runs):
    lrs, momenta = (0.01, 0.1, 1.0, 10.0), (0.0, 0.5, 0.9)
    steps = {
        (lr, mu): round(200 / (1 + i) / (1 + mu)) for i, lr in enumerate(lrs) for mu in momenta
    }
    trials: dict[Any, Any] = steps | {(10.0, 0.9): "diverged", (0.01, 0.0): "finished"}
    del trials[0.1, 0.5]  # which was not run
    record_trials(record, trials)
    figure: Any = grid_figure(runs(), "title")
    axes = figure.axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("lr", "momentum")
    assert figure.texts[0].get_text() == "title: gradient evaluations to converge"
    (mesh,) = axes.collections
    shown = mesh.get_array().reshape(len(momenta), len(lrs)).filled(np.nan)
    for row, momentum in zip(shown, momenta, strict=True):
        for value, lr in zip(row, lrs, strict=True):
            outcome = trials.get((lr, momentum))
            assert value == outcome if isinstance(outcome, int) else np.isnan(value)
    best = min((key for key in trials if isinstance(trials[key], int)), key=lambda k: trials[k])
    at = {line.get_marker(): line.get_xydata().tolist() for line in axes.lines}
    assert at == {"x": [[10.0, 0.9]], "^": [[0.01, 0.0]], "o": [list(best)]}


def test_a_random_search_is_dots_and_what_has_one_number_is_no_grid(record, runs):
    lrs = 10 ** np.random.default_rng(0).uniform(-3, 0, 20)
    trials = {(lr, 0.5 + 0.02 * i): 100 + i for i, lr in enumerate(lrs.tolist())}
    record_trials(record, trials)
    figure: Any = grid_figure(runs(), "title")
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    (scattered,) = axes.collections
    np.testing.assert_allclose(sorted(scattered.get_offsets().tolist()), sorted(trials))
    assert grid_figure(runs()[:2], "title") is None


def test_of_many_settings_the_best_dozen_have_lines(record, runs, tmp_path):
    trials = {(0.01 * (1 + i), 0.9): 300 - i for i in range(20)}
    record_trials(record, trials)
    names = [path.name for path in write_gallery(runs(), tmp_path / "figures")]
    assert names == ["sensitivity.png", "sensitivity.svg", "history.png", "history.svg"]
    text = (tmp_path / "figures" / "history.svg").read_text(encoding="utf-8")
    assert "the 12 best of 20 settings" in text
    assert "lr=0.2<" in text
    assert "lr=0.09<" in text
    assert "lr=0.08<" not in text


def test_of_settings_that_did_not_converge_the_best_have_the_least_loss(record, runs, tmp_path):
    for i in range(20):
        record(
            f"{i}",
            *("task=toy", f"optimizer.lr={0.01 * (1 + i)}"),
            logged={"train/loss": decay(0.9)},
            status="converged" if i == 19 else "finished",
            train_loss=math.nan if i == 18 else 1 / (1 + i),
        )
    list(write_gallery(runs(), tmp_path / "figures"))
    text = (tmp_path / "figures" / "history.svg").read_text(encoding="utf-8")
    drawn = {i for i in range(20) if f"lr={0.01 * (1 + i):.2g}<" in text}
    assert drawn == {*range(7, 18), 19}


# Paths


def write_path(directory, x):
    """A toy run's record of the points x [steps, dim], and of a last θ."""
    steps, dim = x.shape
    layout = RecordLayout(["x"], [[dim]], "float64", gradients=True)
    rows = np.hstack([x, x, np.ones_like(x)])
    last = np.hstack([x[-1:], np.full((1, 2 * dim), np.nan)])
    RecordFile(directory / "path", layout, 0).append(
        list(range(steps + 1)), np.vstack([rows, last])
    )


def offsets(axes):
    """The coloured points of a panel."""
    return np.asarray(axes.collections[-1].get_offsets())


def test_paths_show_the_recorded_points(record, runs):
    x = np.linspace([-1.2, 1.0], [1.0, 1.0], 30)
    toy = ("task=toy", "task.function=rosenbrock")
    for seed in (0, 1):
        write_path(record(f"nag{seed}", *toy, f"seed={seed}", logged={"train/loss": decay(0.9)}), x)
    adam = record("adam", *toy, "optimizer=adam", logged={"train/loss": decay(0.9)})
    (adam / "checkpoints").mkdir()
    kept = {"path": (torch.tensor(x[:9]), torch.ones(9, 2)), "pytorch-lightning_version": "2"}
    torch.save(kept, adam / "checkpoints" / "last.ckpt")
    record("sgd", *toy, "optimizer=sgd", logged={"train/loss": decay(0.9)})
    told = []
    figures = paths_figures(
        group_by_setting(runs()), lambda run, why: told.append((run.optimizer, why))
    )
    assert told == [("sgd", "its path was not recorded")]
    panels: Any = [axes for axes in figures["paths"].axes if axes.get_xlabel() == "x"]
    first, second = panels
    assert first.get_title(loc="left").startswith("adam")
    assert second.get_title(loc="left").startswith("nag"), "seeds with the same path are one panel"
    np.testing.assert_array_equal(offsets(first), x[:9])
    np.testing.assert_array_equal(offsets(second), x)
    assert_all_is_inside(figures["paths"])


def test_paths_on_the_article_s_function_lie_on_its_graph(record, runs):
    x = np.append(np.linspace(-8, 8, 30), [100.0, 1e9, math.inf])[:, None]
    write_path(record("a", "task=toy", logged={"train/loss": decay(0.9)}), x)
    figure: Any = paths_figures(group_by_setting(runs()), lambda *_: None)["paths"]
    expected = np.hstack([x[:30], np.sin(x[:30]) + x[:30] ** 2 / 10])
    np.testing.assert_allclose(offsets(figure.axes[0]), expected, rtol=1e-12)
    assert [text.get_text() for text in figure.axes[0].texts] == ["33 points, 3 outside"]


def test_theta_of_all_runs_is_laid_over_each_other(record, runs):
    swinging = 8 * 0.9 ** np.arange(60.0)[:, None] * np.cos(np.arange(60.0))[:, None]
    for optimizer, x in {"momentum": swinging, "nag": 0.5 * swinging}.items():
        made = record(
            optimizer, "task=toy", f"optimizer={optimizer}", logged={"train/loss": decay(0.9)}
        )
        write_path(made, x)
    figures = oscillation_figures(group_by_setting(runs()), "title", lambda *_: None)
    (axes,) = figures["oscillation"].axes
    minimum, momentum, nag = axes.lines
    assert set(np.asarray(minimum.get_ydata()).tolist()) == {
        functions()["article"].minimizers[0][0]
    }
    np.testing.assert_array_equal(momentum.get_ydata(), swinging[:50, 0])
    np.testing.assert_array_equal(nag.get_ydata(), 0.5 * swinging[:50, 0])
    names = [text.get_text() for text in legends(axes.figure)[0].get_texts()]
    assert names == ["momentum, lr=0.1", "nag, lr=1"]
    assert_all_is_inside(axes.figure)


def test_more_than_a_dozen_oscillations_are_drawn_optimizer_by_optimizer(record, runs):
    for i in range(14):
        optimizer = ("momentum", "nag")[i % 2]
        given = ("task=toy", f"optimizer={optimizer}", f"optimizer.lr={0.1 + 0.01 * i}")
        write_path(
            record(f"{i}", *given, logged={"train/loss": decay(0.9)}), np.full((9, 1), 0.1 * i)
        )
    left_out: list[Any] = []
    figures = oscillation_figures(group_by_setting(runs()), "", lambda *run: left_out.append(run))
    assert list(figures) == ["oscillation_momentum", "oscillation_nag"]
    assert [len(figure.axes[0].lines) for figure in figures.values()] == [8, 8]
    assert left_out == []


def test_a_run_that_diverged_leaves_the_scale_of_an_oscillation_alone(record, runs):
    x = 8 * 0.9 ** np.arange(20.0)[:, None]
    for optimizer, factor, status in (("nag", 1.0, "finished"), ("sgd", -1.5, "diverged")):
        given = ("task=toy", f"optimizer={optimizer}")
        made = record(optimizer, *given, logged={"train/loss": decay(0.9)}, status=status)
        write_path(made, x if factor == 1.0 else 8 * factor ** np.arange(300.0)[:, None])
    (axes,) = oscillation_figures(group_by_setting(runs()), "", lambda *_: None)["oscillation"].axes
    assert axes.get_ylim()[1] < 10
    points_of_each = [len(points(line)) for line in axes.lines]
    assert [n for n in points_of_each if n > 2] == [21]  # what diverged ends at its first outside


def test_a_task_of_any_name_that_declares_a_function_has_its_paths(record, runs):
    made = record("mine", "task=toy", logged={"train/loss": decay(0.9)})
    x = np.linspace(-8.0, -1.3, 20)[:, None]
    write_path(made, x)
    choices = {"task": "my_function", "optimizer": "nag"}
    OmegaConf.save({"hydra": {"runtime": {"choices": choices}}}, made / ".hydra" / "hydra.yaml")
    figures = paths_figures(group_by_setting(runs()), lambda *_: None)
    np.testing.assert_array_equal(offsets(figures["paths"].axes[0])[:, 0], x[:, 0])


def test_a_damaged_path_is_refused(record, runs):
    directory = record("a", "task=toy", logged={"train/loss": decay(0.9)})
    (directory / "path").mkdir()
    (directory / "path" / "layout.json").write_text("{")
    with pytest.raises(UserError, match=r"layout.json is damaged"):
        paths_figures(group_by_setting(runs()), lambda *_: None)


# Files


def test_files_are_png_and_svg_with_text_as_text_and_always_the_same(record, runs, tmp_path):
    sweep(record)
    first, again = (list(write_gallery(runs(), tmp_path / place)) for place in ("first", "again"))
    assert [path.name for path in first] == [
        "sensitivity.png",
        "sensitivity.svg",
        "history.png",
        "history.svg",
    ]
    for one, other in zip(first, again, strict=True):
        assert one.read_bytes() == other.read_bytes()
    svg = ElementTree.parse(tmp_path / "first" / "history.svg").getroot()
    assert svg.tag == f"{SVG}svg"
    texts = {"".join(element.itertext()) for element in svg.iter(f"{SVG}text")}
    assert {"mnist", "loss", "gradnorm ‖g‖", "velocity ‖Δθ‖", "step"} < texts
    assert any(text.startswith("nag, lr=0.05") for text in texts)
    with Image.open(tmp_path / "first" / "history.png") as image:
        assert (image.format, image.size[0]) == ("PNG", 990)
    assert not list(tmp_path.glob("first/*.new"))


@pytest.mark.parametrize("name", ["$x_$", "$\\frac{", "_x", "a$b$", "x^2_3"])
def test_a_name_is_words_and_no_formula(name, record, runs, tmp_path):
    for lr in ("0.1", "0.2", "0.4"):
        given = record(f"{lr}", f"optimizer.lr={lr}", logged={"train/loss": decay(0.9)})
        written = given / ".hydra" / "hydra.yaml"
        choices = {"task": "mnist", "optimizer": name}
        OmegaConf.save({"hydra": {"runtime": {"choices": choices}}}, written)
    record("other", "optimizer=sgd", logged={"train/loss": decay(0.8)})
    list(write_gallery(runs(), tmp_path / "figures"))
    for picture in ("history", "sensitivity"):
        svg = ElementTree.parse(tmp_path / "figures" / f"{picture}.svg").getroot()
        texts = ["".join(text.itertext()).strip() for text in svg.iter(f"{SVG}text")]
        assert any(text.startswith(name) for text in texts), picture


def test_a_full_disk_leaves_the_pictures_that_were_there_and_no_pieces(record, runs, tmp_path):
    sweep(record)
    output = tmp_path / "figures"
    before = {path: path.read_bytes() for path in write_gallery(runs(), output)}
    with full_disk(), pytest.raises(OSError, match="File too large"):
        list(write_gallery(runs(), output))
    assert {path: path.read_bytes() for path in output.iterdir()} == before


def test_a_run_that_has_logged_nothing_is_left_out_and_named(record, runs, tmp_path, capsys):
    record("a", logged={"train/loss": decay(0.9)})
    late = record("b", "optimizer=sgd", logged={}, status=None)
    assert len(list(write_gallery(runs(), tmp_path / "figures"))) == 2
    assert capsys.readouterr().err == (
        f"plot.py: {late}: left out, it has logged no loss yet; a run's first write comes after "
        "log_every=50 steps\n"
    )


def test_runs_that_have_logged_nothing_are_refused(record, runs, tmp_path):
    directory = record("a", logged={}, status=None)
    with pytest.raises(UserError) as refusal:
        list(write_gallery(runs(), tmp_path / "figures"))
    assert str(refusal.value) == (
        f"{directory}: there is nothing to draw; it has logged no loss yet; a run's first write "
        "comes after log_every=50 steps"
    )
    assert not (tmp_path / "figures").exists()


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (
            {"status": "finished", "updates": 1_200},
            "its events are gone or damaged, though result.json knows of 1,200 updates: put a copy "
            "of them back, or train this run again",
        ),
        (
            {"status": "failed", "error": "TypeError: no closure"},
            "it failed before its first step: TypeError: no closure",
        ),
    ],
)
def test_why_there_is_nothing_to_draw_is_said(found, why, record, runs, tmp_path):
    directory = record("a", logged={})
    file = directory / "result.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | found))
    with pytest.raises(UserError) as refusal:
        list(write_gallery(runs(), tmp_path / "figures"))
    assert str(refusal.value) == f"{directory}: there is nothing to draw; {why}"


def test_runs_of_several_tasks_are_refused(record, runs):
    record("a", "task=toy", logged={"train/loss": decay(0.9)})
    record("b", "task=mnist", logged={"train/loss": decay(0.9)})
    with pytest.raises(UserError, match=r"several tasks \(mnist, toy\) have no common scale"):
        group_by_setting(runs())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such directory"),
        (["."], ".: no run in it; give a directory that train.py has written"),
        ([".", "."], "argument --output: say where, if runs of several places are drawn together"),
        ([".", "--against", "joules"], "argument --against: invalid choice: 'joules'"),
        ([], "the following arguments are required: runs"),
    ],
    ids=["nowhere", "empty", "several", "against", "none"],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(arguments, message, tmp_path):
    done = commands.run("plot", *arguments, cwd=tmp_path, kind="light")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"plot.py: {message}")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_pictures_of_a_sweep_that_cannot_be_drawn_lose_nothing(record, runs, tmp_path, capsys):
    record("one", "task=toy", logged={"train/loss": decay(0.9)})
    (tmp_path / "figures").write_text("a file, where there should be a folder")
    draw_sweep(runs(), tmp_path / "figures")
    printed, told = capsys.readouterr()
    assert not printed
    assert told.startswith("train.py: the sweep's pictures were not drawn: ")
    assert len(told.splitlines()) == 1


def test_runs_of_several_tasks_are_drawn_apart(record, runs, tmp_path, capsys):
    for task in ("toy", "linear_regression"):
        record(task, f"task={task}", logged={"train/loss": decay(0.9)})
    draw_sweep(runs(), tmp_path / "figures")
    pictures = sorted(path.relative_to(tmp_path) for path in tmp_path.glob("figures/*/*.png"))
    assert [str(path) for path in pictures] == [
        "figures/linear_regression/history.png",
        "figures/toy/history.png",
    ]
    assert capsys.readouterr().out.count("1 run drawn in ") == 2


def test_a_sweep_is_drawn_into_its_figures_when_it_ends_and_by_plot_py(tmp_path):
    asked = ["task=toy", "task.start=-8", "optimizer=nag", "optimizer.lr=0.1,1.0"]
    swept = commands.run("train", "-m", *asked, "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert swept.returncode == 0, swept.stderr
    names = ["sensitivity", "history", "paths", "oscillation"]
    told = f"2 runs drawn together in sweep/figures: {', '.join(names)}"
    assert swept.stdout.splitlines()[-1] == told
    assert not list(tmp_path.glob("sweep/lr=*/figures"))  # nobody has asked for each run's own
    at_its_end = {path.name: path.read_bytes() for path in tmp_path.glob("sweep/figures/*")}
    done = commands.run("plot", "sweep", cwd=tmp_path, kind="new")
    assert (done.returncode, done.stderr) == (0, "")
    expected = [f"sweep/figures/{name}.{kind}" for name in names for kind in ("png", "svg")]
    table, note, paths = done.stdout.split("\n\n")
    assert note.count("converged: ") == 1
    assert [row.split()[1:4] for row in table.splitlines()[1:]] == [
        ["-8", "0.1", "0.9"],
        ["-8", "1", "0.9"],
    ]
    assert paths.split() == expected
    assert all((tmp_path / path).stat().st_size < 500_000 for path in expected)
    drawn = {path.name: path.read_bytes() for path in tmp_path.glob("sweep/figures/*")}
    assert drawn == at_its_end


def test_the_tables_have_a_row_for_each_run_and_for_each_step_asked_for(tmp_path):
    asked = ["task=toy", "task.start=-8,8", "optimizer=nag", "optimizer.lr=1.0", "figures=false"]
    swept = commands.run("train", "-m", *asked, "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert swept.returncode == 0, swept.stderr
    done = commands.run("plot", "sweep", "--rows", "30", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    head, *runs, _, note, _, label, columns, first, later, last = done.stdout.splitlines()[:11]
    assert note.startswith("converged: the last evaluated point is within the tolerance of 1e-06")
    assert head.split()[:4] == ["optimizer", "start", "lr", "momentum"]
    assert [row.split()[1:7] for row in runs] == [
        ["-8", "1", "0.9", "converged", "33", "34"],
        ["8", "1", "0.9", "converged", "26", "27"],
    ]
    assert label == "start=-8"
    assert columns.split("  ")[-1].strip() == "d/dx"
    assert columns.split() == ["step", "x", "lookahead", "x", "loss", "d/dx"]
    assert first.split() == ["0", "-8", "-8", "5.41064", "-1.74550009"]
    assert [row.split()[0] for row in (later, last)] == ["30", "33"]
    assert not (tmp_path / "sweep" / "figures").exists()


def test_notes_say_by_which_criterion_runs_are_converged_or_finished(record, runs):
    endings = {
        "converged": "the last evaluated point is within the tolerance of 1e-06; still moving: …",
        "finished": "max_steps=9 reached, not within the tolerance of 1e-06; at rest: …",
    }
    for status, ending in endings.items():
        for seed in (0, 1):
            name = f"{status}{seed}"
            where = record(name, f"seed={seed}", logged={"train/loss": decay(0.9)}, status=status)
            file = where / "result.json"
            file.write_text(json.dumps(json.loads(file.read_text()) | {"ending": ending}))
    assert outcome_notes(runs()) == [
        "converged: the last evaluated point is within the tolerance of 1e-06 "
        "(not θ where a method looks ahead)",
        "finished: max_steps=9 reached, not within the tolerance of 1e-06",
    ]
    record("net", logged={"train/loss": decay(0.9)})
    assert outcome_notes(runs()[-1:]) == []


def test_rows_of_a_net_are_the_log_s(record, runs):
    record("a", logged={"train/loss": decay(0.9), "train/gradnorm": [(0, 2.0)]})
    (run,) = runs()
    head, first, *_, last = step_table(run, 50).splitlines()
    assert head.split() == ["step", "loss", "gradnorm", "velocity"]
    assert first.split() == ["0", f"{decay(0.9)[0][1]:g}", "2"]
    assert last.split()[0] == str(decay(0.9)[-1][0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "0"], "argument --rows: 0: must be an integer >= 1"),
        (["--rows", "x"], "argument --rows: invalid int value: 'x'"),
        (["--rows", "9", "--output", "o"], "argument --output: --rows draws no pictures"),
    ],
)
def test_rows_that_cannot_be_had_are_refused(arguments, message, tmp_path):
    done = commands.run("plot", ".", *arguments, cwd=tmp_path, kind="light")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"plot.py: {message}")
