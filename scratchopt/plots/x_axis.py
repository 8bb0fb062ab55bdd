"""The x axis: steps, or what they have cost."""

from __future__ import annotations

import numpy as np

from scratchopt.config.fields import UserError
from scratchopt.runs.directory import Run

X_AXES = {
    "steps": "step",
    "evaluations": "gradient evaluations",
    "seconds": "seconds since the log was begun",
}


def compute_x_values(run: Run, steps: np.ndarray, against: str) -> np.ndarray:
    """Computes where the values of some steps stand on the x axis.

    `evaluations`: of the gradient, up to and with each step's own; a step costs its accumulated
    batches, or what `train/cost` says that it cost, as Newton's products with a curvature do.
    `seconds`: by the clock of the log, which is written every `log_every` steps; the steps between
    two writes are taken to be equally long. Validation and checkpoints are in it.

    Args:
        run: a recorded one.
        steps: that it has logged, rising.
        against: a key of `X_AXES`.

    Raises:
        UserError: a run whose log does not say.
    """
    if against == "evaluations":
        total = _evaluations(run)
        return total[np.minimum(steps.astype(int), len(total) - 1)]
    if against == "seconds":
        return np.interp(steps, *_clock(run))
    return steps


def _evaluations(run: Run) -> np.ndarray:
    """The total number of gradient evaluations after each step, from step 0 on."""
    steps, batches = 1 + run.history["train/loss"][-1][0], run.config["accumulate_grad_batches"]
    each = np.full(steps, batches, dtype=float)
    for step, cost in run.history.get("train/cost", ()):
        each[step] = cost
    total = each.cumsum()
    spent = run.result.cost if run.result else total[-1]
    if abs(spent - total[-1]) > max(1, 0.02 * spent):
        raise UserError(
            f"{run.directory}: {spent:,g} gradient evaluations in {len(each):,} steps, and no "
            "train/cost in its log to say in which; only against steps is it known"
        )
    return total


def _clock(run: Run) -> tuple[list[float], list[float]]:
    """Steps whose time is known, and the seconds then."""
    if len(list(run.directory.glob("events.out.tfevents.*"))) > 1:
        raise UserError(
            f"{run.directory}: it was resumed, and the pause is in its clock; take --against steps"
        )
    every, begun = run.config["log_every"], run.events.FirstEventTimestamp()
    written = run.events.Scalars("train/loss")
    known = [event for event in written[:-1] if (event.step + 1) % every == 0]
    known.append(written[-1])
    return [-1.0, *(e.step for e in known)], [0.0, *(e.wall_time - begun for e in known)]
