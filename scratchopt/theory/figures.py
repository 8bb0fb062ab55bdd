"""Pictures of theory beside measurement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import scratchopt
from scratchopt.pictures.curves import set_log_scale
from scratchopt.pictures.style import BLUE, GREY, ORANGE, house_style, new_figure
from scratchopt.stability import LIMITS, adam_limit
from scratchopt.theory.closed_forms import best_momentum, eigenvalues, rate
from scratchopt.theory.measurements import (
    MINIMUM,
    Article,
    RateMap,
    measure_adam_sharpness,
    measure_momentum_map,
    measure_oscillation,
    measure_rate_of_step,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLACK = "#222222"
KAPPA = 100.0
MOMENTUM = 0.9  # the article's
OSCILLATING = {"Momentum": (BLUE, "--", "o"), "NAG": (ORANGE, "--", "s")}
NAMES = {"Momentum": "Momentum", "NAG": "NAG", "NAGTorch": "NAG, PyTorch's form"}


def draw_figures() -> dict[str, Figure]:
    """Draws all pictures, by file name, measured anew."""
    return {
        "theory_map": draw_map(),
        "theory_rates": draw_rates(),
        "theory_oscillation": draw_oscillation(),
        "theory_adam": draw_adam(),
    }


@house_style()
def draw_map() -> Figure:
    """Draws the rate over lr·λ and μ: measured above, by the closed form below."""
    figure, axes = new_figure(2, 3, (10.0, 6.0))
    figure.subplots_adjust(wspace=0.14, hspace=0.32, right=0.88)
    for column, (method, name) in enumerate(NAMES.items()):
        measured, closed = axes[column], axes[3 + column]
        data = measure_momentum_map(method)
        gap = np.abs(data.measured - data.closed).max()
        ball = method == "Momentum"
        labels = [(1, 0.25), (1.3, 0.64), (1.6, 0.81)] if ball else [(0.55, 0.55), (0.2, 0.75)]
        _draw_heatmap(measured, data, data.measured, labels)
        _draw_heatmap(closed, data, data.closed, labels)
        measured.set_title(f"{name}: measured")
        closed.set_title(f"closed form (gap < {np.ceil(gap * 1000) / 1000:.3f})")
        closed.set_xlabel("lr·λ")
        _draw_lines(closed, method)
        for panel in (measured, closed):
            x, y = (3.35, 0.25) if ball else (2.75, 0.5)
            panel.text(x, y, "diverges", color=BLACK, ha="center")
    for k, panel in enumerate(axes):
        panel.set_xlim(0, 4)
        panel.set_ylim(0, 0.97)
        panel.grid(visible=False)
        if k % 3:
            panel.tick_params(labelleft=False)
        else:
            panel.set_ylabel("momentum μ")
        if k < 3:
            panel.tick_params(labelbottom=False)
    axes[4].legend(loc="upper right", fontsize=8, facecolor="#999999", labelcolor="white")
    place = figure.add_axes((0.905, 0.15, 0.018, 0.7))
    figure.colorbar(axes[0].collections[0], cax=place, label="contraction per step ρ")
    return figure


def _draw_heatmap(
    axes: Axes, data: RateMap, values: np.ndarray, labels: list[tuple[float, float]]
) -> None:
    from matplotlib import colormaps

    colors = colormaps["viridis"].with_extremes(over="#EEEEEE")
    axes.pcolormesh(
        data.s, data.mu, values, cmap=colors, vmin=0, vmax=1, shading="nearest", rasterized=True
    )
    levels = axes.contour(data.s, data.mu, values, [0.5, 0.8, 0.9], colors="white")
    levels.set_linewidth(0.8)
    axes.clabel(levels, fmt="%g", fontsize=8, manual=labels)


def _draw_lines(axes: Axes, method: str) -> None:
    """Draws the limit of stability, and the μ that is best for each lr·λ."""
    mu = np.linspace(0, 1, 200)
    limit = [LIMITS[method](m) for m in mu]
    axes.plot(limit, mu, color=ORANGE, linewidth=2.5, label="limit of stability")
    s = np.linspace(0.001, 4 if method == "Momentum" else 1, 300)
    best = best_momentum(method, s)
    axes.plot(s, best, color="white", linestyle="--", linewidth=2, label="best μ for each lr·λ")


@house_style()
def draw_rates() -> Figure:
    """Draws the rate against lr in one direction, and against μ in all; lines are closed forms."""
    figure, (left, right) = new_figure(1, 2, (11.0, 4.6))
    styles = {"SGD": (GREY, ":", "s"), "Momentum": (BLUE, "-", "o"), "NAG": (ORANGE, "--", "^")}
    styles["NAGTorch"] = (BLACK, "", "x")  # its line is NAG's
    s, many_s = np.linspace(0, 4.2, 29)[1:], np.linspace(0.001, 4.2, 800)
    mu, many_mu = np.linspace(0, 0.96, 17), np.linspace(0, 0.99, 400)
    curvatures = np.geomspace(1, KAPPA, 5)
    for method, (color, line, marker) in styles.items():
        cls = getattr(scratchopt, method)
        momentum = {} if method == "SGD" else {"momentum": MOMENTUM}
        dots = [measure_rate_of_step(cls, np.ones(1), lr=x, **momentum) for x in s]
        left.plot(s, dots, marker, color=color, markersize=5)
        if method != "SGD":
            dots = [measure_rate_of_step(cls, curvatures, lr=1 / KAPPA, momentum=m) for m in mu]
            right.plot(mu, dots, marker, color=color, markersize=5)
        if line:
            left.plot(many_s, rate(method, many_s, MOMENTUM), color=color, linestyle=line)
            each = rate(method, curvatures[:, None] / KAPPA, many_mu)
            right.plot(many_mu, each.max(axis=0), color=color, linestyle=line)
        name = NAMES.get(method, method)
        left.plot([], [], color=color, linestyle=line, marker=marker, label=name)
    some = np.array([0.3, 0.6, 1.0, 1.35, 1.65, 1.95, 2.25])
    dots = [measure_rate_of_step(scratchopt.Newton, curvatures, lr=x) for x in some]
    rings = {"marker": "o", "linestyle": "", "markersize": 10, "markerfacecolor": "none"}
    left.plot(some, dots, color=BLACK, label="Newton, over lr", **rings)
    left.axhline(1, color=BLACK, linewidth=1)
    left.set(xlim=(0, 4.2), ylim=(0, 1.5), xlabel="lr·λ", ylabel="contraction per step ρ")
    left.set_title(f"one direction, μ = {MOMENTUM}: above 1 it diverges")
    left.legend(loc="lower right", fontsize=9)
    right.set(xlim=(0, 1), ylim=(0.88, 1.0), xlabel="momentum μ")
    right.set_title(f"curvatures 1 to {KAPPA:g}, lr = 1/{KAPPA:g}: the slowest direction")
    return figure


@house_style()
def draw_oscillation() -> Figure:
    """Draws why momentum swings and NAG does not: x, the distance, and both pairs of roots."""
    figure, (first, second, plane) = new_figure(1, 3, (13.0, 4.6))
    figure.subplots_adjust(wspace=0.3, left=0.06, right=0.985)
    for method, (color, line, marker) in OSCILLATING.items():
        x, fitted = measure_oscillation(getattr(scratchopt, method))
        kind: dict[str, Any] = {"color": color, "marker": marker, "linewidth": 1}
        first.plot(x[:51], markersize=4, label=method, **kind)
        distances = np.abs(x - MINIMUM)[:201]
        distances = distances[: np.flatnonzero(np.append(distances, 0) < 1e-9)[0]]
        t = np.arange(len(distances))
        second.plot(t, distances, markersize=2, **kind)
        ratio, late = abs(fitted), len(t) // 2
        through = (distances[late:] / ratio ** t[late:]).max()
        label = f"{method}: times {ratio:.3f} a step"
        second.plot(t, through * ratio**t, color=color, linestyle=line, label=label)
        _draw_roots(plane, method, fitted)
    first.axhline(MINIMUM, color=GREY, linestyle="--", label="minimum")
    first.set(xlabel="step", ylabel="x")
    first.set_title("from −8, lr 1.0, μ 0.9")
    first.legend(loc="lower right")
    set_log_scale(second, decades=11)
    second.set(xlabel="step", ylabel="distance to the minimum", ylim=(1e-9, 100))
    second.set_title("how it shrinks")
    second.legend(loc="upper right", fontsize=9)
    angle = np.linspace(0, 2 * np.pi, 400)
    plane.plot(np.cos(angle), np.sin(angle), color=GREY, linewidth=1)
    plane.set(aspect="equal", xlim=(-1.15, 1.15), ylim=(-1.15, 1.55))
    plane.set(xlabel="real part", ylabel="imaginary part")
    plane.set_title(f"roots at lr·f″(x*) = {Article().curvature(MINIMUM):.6f}")
    plane.legend(loc="upper right", fontsize=7, ncols=2, columnspacing=0.6, handletextpad=0.1)
    return figure


def _draw_roots(axes: Axes, method: str, fitted: complex) -> None:
    """Draws both roots: their curves over all stable lrs, the article's, and the fitted ones."""
    color, _, marker = OSCILLATING[method]
    for z in eigenvalues(method, np.linspace(0, LIMITS[method](MOMENTUM), 4001), MOMENTUM):
        axes.plot(np.real(z), np.imag(z), ".", color=color, markersize=1.5, alpha=0.5)
    roots = np.array(eigenvalues(method, Article().curvature(MINIMUM), MOMENTUM))
    ring: dict[str, Any] = {"linestyle": "none", "markersize": 9, "markerfacecolor": "white"}
    ring |= {"marker": marker, "color": color, "label": f"{method}: roots"}
    axes.plot(np.real(roots), np.imag(roots), **ring)
    seen = np.unique([fitted, np.conj(fitted)])
    label = f"{method}: fitted to the run"
    axes.plot(np.real(seen), np.imag(seen), marker, color=color, markersize=4, label=label)


@house_style()
def draw_adam() -> Figure:
    """Draws how Adam comes to the edge of its stability by itself, and stays there."""
    figure, (axes,) = new_figure(1, 1, (8.0, 4.6))
    styles = {0.9: (BLUE, "-"), 0.5: (ORANGE, "-"), 0.0: (GREY, "-")}
    for beta1, (color, line) in styles.items():
        edge = adam_limit(beta1)
        axes.plot(measure_adam_sharpness(beta1), color=color, linestyle=line, linewidth=1.4)
        axes.axhline(edge, color=BLACK, linestyle="--", linewidth=1)
        axes.annotate(f"β₁ = {beta1:g}: {edge:g}", (1980, edge * 1.35), ha="right", color=color)
    set_log_scale(axes, decades=3)
    axes.set(xlabel="step", ylabel="lr · largest λ/√v", xlim=(0, 2000), ylim=(0.08, 100))
    axes.set_title("Adam on curvatures 1 to 100, lr 0.1, β₂ 0.99: dashed (2 + 2β₁)/(1 − β₁)")
    return figure
