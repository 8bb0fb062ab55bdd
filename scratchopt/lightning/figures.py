"""Pictures of a run: the house style, curves for any LightningModule, and the callback `Figures`."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.trainer.states import TrainerFn

if TYPE_CHECKING:  # matplotlib takes 0.3 s to import, so functions import it when they draw
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History = Mapping[str, Sequence[tuple[int, float]]]
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#555555"  # Okabe & Ito 2008: distinct to every eye

_DPI = 110
_STYLE = {
    "figure.dpi": _DPI,
    "font.size": 11,
    "text.usetex": False,
    "text.color": "#222222",
    "axes.edgecolor": "#888888",
    "axes.labelcolor": "#222222",
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "xtick.color": GREY,
    "ytick.color": GREY,
    "legend.frameon": False,
}
_LABELS = {
    "train/loss": "loss",
    "train/gradnorm": "gradnorm ‖g‖",
    "train/velocity": "velocity ‖Δθ‖",
}
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_log = logging.getLogger(__name__)


@contextmanager
def house_style() -> Iterator[None]:
    """The look of every figure made or drawn inside; what was set before comes back. Also a decorator."""
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        yield


def sheet(
    rows: int = 1, columns: int = 1, size: tuple[float, float] = (8.0, 5.0), *, sharex: bool = False
) -> tuple[Figure, list[Axes]]:
    """An empty figure of `size` inches and its axes, row by row.

    Its margins are fixed, in inches: a layout engine would take 30 ms, half of a picture's time.
    """
    from matplotlib.figure import Figure

    width, height = size
    figure = Figure(figsize=size)
    axes = figure.subplots(rows, columns, sharex=sharex, squeeze=False)
    figure.subplots_adjust(
        left=0.85 / width,
        right=1 - 0.25 / width,
        bottom=0.6 / height,
        top=1 - 0.5 / height,
        wspace=0.95 * columns / width,
        hspace=0.2 if sharex else 0.3,
    )
    return figure, list(axes.flat)


def log_scale(axes: Axes) -> None:
    """A logarithmic y axis with plain labels: 0.1 0.2 0.5 1 over few decades, 10⁻⁸ 10⁻⁴ 1 over many.

    matplotlib's own log labels are mathtext, whose first use takes 45 ms.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    def power(value: float, _: int | None = None) -> str:
        exponent = round(float(np.log10(value)))
        return "1" if exponent == 0 else "10" + str(exponent).translate(_SUPERSCRIPTS)

    low, high = axes.get_ylim()
    axes.set_yscale("log")
    few = 0 < high < 1000 * low
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=9))
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda y, _: f"{y:g}") if few else FuncFormatter(power)
    )
    axes.yaxis.set_minor_formatter(NullFormatter())


def curve(axes: Axes, series: Sequence[tuple[int, float]], label: str, *, log: bool = True) -> None:
    """Draw (step, value) pairs against the step; noisy ones pale, with medians on top.

    Args:
        log: logarithmic where the values are positive and span a decade; zeros are left out.
        label: of the y axis.

    Values that are not finite are left out and the first of them is marked.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    steps, values = np.asarray(series, dtype=float).reshape(-1, 2).T
    finite = np.isfinite(values)
    if not finite.all():
        axes.axvline(steps[~finite][0], color=ORANGE, linestyle=":", label="no longer finite")
        axes.legend(loc="upper left")
    steps, values = steps[finite], values[finite].clip(-1e100, 1e100)  # beyond, limits overflow
    if log and (values >= 0).all() and (positive := values > 0).any():
        steps, values = steps[positive], values[positive]
        if values.max() > 10 * values.min():
            log_scale(axes)
    noisy = len(values) > 50 and np.mean(np.diff(np.sign(np.diff(values))) != 0) > 0.3
    kept = thin(values)
    axes.plot(
        steps[kept],
        values[kept],
        color=BLUE,
        alpha=0.3 if noisy else 1.0,
        linewidth=0.8 if noisy else 1.6,
        marker="o" if len(kept) <= 30 else None,
        markersize=4,
    )
    if noisy:
        bins = min(100, len(values) // 10)
        axes.plot(
            [np.median(part) for part in np.array_split(steps, bins)],
            [np.median(part) for part in np.array_split(values, bins)],
            color=BLUE,
            linewidth=2,
        )
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))


def thin(values: np.ndarray, bins: int = 1000) -> np.ndarray:
    """Rising indices of at most 2·bins + 2 of the values: the ends, and each bin's lowest and highest."""
    n = len(values)
    if n <= 2 * bins:
        return np.arange(n)
    edges = np.linspace(0, n, bins + 1).astype(int)
    lows = [a + values[a:b].argmin() for a, b in zip(edges, edges[1:], strict=False)]
    highs = [a + values[a:b].argmax() for a, b in zip(edges, edges[1:], strict=False)]
    return np.unique([0, n - 1, *lows, *highs])


@house_style()
def training_curves(history: History, title: str) -> Figure:
    """Loss, gradnorm and velocity over the steps, as far as the history has them, one above another."""
    names = [name for name in _LABELS if history.get(name)]
    figure, panels = sheet(len(names), 1, (8.0, 1.2 + 2.0 * len(names)), sharex=True)
    for axes, name in zip(panels, names, strict=True):
        curve(axes, history[name], _LABELS[name])
    panels[0].set_title(title)
    panels[-1].set_xlabel("step")
    figure.align_ylabels(panels)
    return figure


class Figures(Callback):
    """Draws the run when it ends, by an exception too, into `<default_root_dir>/figures/<name>.png`.

    The pictures are what the module's `figures(history) -> dict[str, Figure]` returns, or
    `training_curves` where the module has no such method. `history` is that of the Monitor among
    the Trainer's callbacks (list Monitor first, so that it is complete). Loggers with an
    `experiment.add_image`, such as TensorBoard's, get each picture as `figures/<name>`.
    A picture that cannot be drawn is a warning, never the end of a run.
    """

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw what the run has come to."""
        self._draw(trainer, pl_module)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Draw what there is of an interrupted or diverged run."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._draw(trainer, pl_module)

    def _draw(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        try:
            with house_style():
                for name, figure in _figures(trainer, pl_module).items():
                    pixels = _save(figure, Path(trainer.default_root_dir, "figures", f"{name}.png"))
                    for logger in trainer.loggers:
                        experiment = getattr(logger, "experiment", None)
                        if hasattr(experiment, "add_image"):
                            experiment.add_image(
                                f"figures/{name}", pixels, trainer.global_step, dataformats="HWC"
                            )
        except Exception as error:
            message = str(error).partition("\n")[0]
            _log.warning("Figures were not drawn: %s: %s", type(error).__name__, message)


def _figures(trainer: Trainer, pl_module: LightningModule) -> dict[str, Figure]:
    histories = (getattr(callback, "history", None) for callback in trainer.callbacks)
    history: History = next((h for h in histories if isinstance(h, Mapping)), {})
    own = getattr(pl_module, "figures", None)
    sharded = isinstance(trainer.strategy, FSDPStrategy | ModelParallelStrategy)
    if own is not None and sharded:
        _log.info("Only curves are drawn: one process has no whole network when it is sharded")
    elif own is not None:
        return own(history)
    return (
        {"curves": training_curves(history, type(pl_module).__name__)}
        if any(history.values())
        else {}
    )


def _save(figure: Figure, path: Path) -> np.ndarray:
    """Write `path` whole or not at all; returns the picture's pixels, uint8 [height, width, 3]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    Image.fromarray(pixels).save(partial, "PNG", dpi=(figure.dpi, figure.dpi))
    os.replace(partial, path)
    return pixels
