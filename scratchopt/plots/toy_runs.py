"""The paths of recorded toy runs."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from scratchopt.config.fields import UserError
from scratchopt.lightning.trajectory import read_records
from scratchopt.plots.comparison import Setting
from scratchopt.problems.functions import functions
from scratchopt.problems.paths import paths_figure
from scratchopt.runs.directory import Run
from scratchopt.runs.resume import CHECKPOINT

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def paths_figures(
    settings: Sequence[Setting], leave_out: Callable[[Run, str], None]
) -> dict[str, Figure]:
    """`paths`: where the runs went, a panel for each setting; one picture for each function.

    Of runs that took the same path the first is shown. Of several functions the pictures are
    `paths_article` and so on.

    Args:
        settings: of toy runs.
        leave_out: told of each run that is not shown, and why.

    Raises:
        UserError: records that are damaged.
    """
    by_function: dict[tuple[str, float], dict[str, np.ndarray]] = {}
    for setting in settings:
        task = setting.runs[0].config["task"]
        name, condition = task["function"], task["condition_number"]
        # Only the quadratic has one.
        panels = by_function.setdefault((name, condition if name == "quadratic" else 1.0), {})
        for label, path in _distinct(setting, leave_out).items():
            panels[label] = path
    figures = {}
    for (name, condition), panels in by_function.items():
        if panels:
            alone = len(by_function) == 1
            function = functions(condition)[name]
            title = f"{function.title}: paths, with the points evaluated"
            key = name if condition == 1.0 else f"{name}_{condition:g}"
            figures["paths" if alone else f"paths_{key}"] = paths_figure(function, panels, title)
    return figures


def _distinct(setting: Setting, leave_out: Callable[[Run, str], None]) -> dict[str, np.ndarray]:
    """The paths that differ, by a name for each."""
    found: list[np.ndarray] = []
    for run in setting.runs:
        path = _path(run)
        if path is None:
            leave_out(run, "its path was not recorded")
        elif not any(np.array_equal(path, other, equal_nan=True) for other in found):
            found.append(path)
    several = len(found) > 1
    return {f"{setting.name} ({i})" if several else setting.name: x for i, x in enumerate(found, 1)}


def _path(run: Run) -> np.ndarray | None:
    """The evaluated points, [steps, dim], by the record of every step or by the checkpoint."""
    try:
        _, records = read_records(run.directory / "path")
    except FileNotFoundError:
        return _path_in_checkpoint(run)
    except ValueError as error:
        raise UserError(f"{error}; move it away, and the checkpoint's path is drawn") from error
    if not np.array_equal(records["step"], np.arange(len(records))):
        return _path_in_checkpoint(run)
    points = records["point"].astype(float)
    return points[:-1] if len(points) and np.isnan(records["gradient"][-1]).all() else points


def _path_in_checkpoint(run: Run) -> np.ndarray | None:
    import torch

    try:
        checkpoint = torch.load(run.directory / CHECKPOINT, "cpu", weights_only=True)
        return checkpoint["path"][0].double().numpy()
    except FileNotFoundError:
        return None
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError) as error:
        raise UserError(f"{run.directory / CHECKPOINT} is damaged: {error!r}") from error
