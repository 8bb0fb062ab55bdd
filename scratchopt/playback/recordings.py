"""The recorded paths of runs, read back and checked to be of one loss."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from scratchopt.config.fields import UserError, as_typed
from scratchopt.lightning.trajectory import RecordLayout, read_records
from scratchopt.runs.directory import Run, label_runs

# The keys of a task that do not change its loss.
NOT_OF_LOSS = ("start", "tolerance", "dtype", "seed", "batch_size")


@dataclass(frozen=True)
class Recording:
    """The path of a run, a record for each recorded step.

    Args:
        run: whose path.
        label: what to call it beside the others.
        layout: of its parameters.
        records: as `scratchopt.lightning.trajectory.read_records` returns them.
    """

    run: Run
    label: str
    layout: RecordLayout
    records: np.ndarray

    @cached_property
    def steps(self) -> np.ndarray:
        """The step of each record, rising; shape (k,)."""
        return np.array(self.records["step"])

    def parameters(self, rows: np.ndarray) -> np.ndarray:
        """θ in some records, float64, shape (len(rows), n)."""
        return self._vectors("parameters", rows)

    def point(self, rows: np.ndarray) -> np.ndarray:
        """The point where the gradient was evaluated; NaN where none was, or none recorded."""
        return self._vectors("point", rows)

    def gradient(self, rows: np.ndarray) -> np.ndarray:
        """The gradient at that point; NaN where none was taken, or none recorded."""
        return self._vectors("gradient", rows)

    def velocity(self, rows: np.ndarray) -> np.ndarray:
        """θ of the next step less θ; NaN where the next step is not recorded."""
        following = np.minimum(rows + 1, len(self.steps) - 1)
        moved = self.parameters(following) - self.parameters(rows)
        moved[self.steps[following] != self.steps[rows] + 1] = np.nan
        return moved

    def velocity_before(self, rows: np.ndarray) -> np.ndarray:
        """θ less that of the step before, and 0 at step 0; NaN where that is not recorded.

        It is the v of the rules before a step: an exact NAG takes its gradient at θ + μ times it.
        """
        earlier = self.velocity(np.maximum(rows - 1, 0))
        earlier[rows == 0] = np.nan if self.steps[0] else 0
        return earlier

    def row(self, steps: np.ndarray) -> np.ndarray:
        """The record in force at each step: the last one that is not later."""
        return np.maximum(np.searchsorted(self.steps, steps, "right") - 1, 0)

    def logged(self, tag: str, steps: np.ndarray) -> np.ndarray:
        """The logged values of a tag at each step; NaN where the log has none."""
        found = dict(self.run.history.get(tag, ()))
        return np.array([found.get(int(step), np.nan) for step in steps])

    def _vectors(self, name: str, rows: np.ndarray) -> np.ndarray:
        if name not in self.layout.fields:
            return np.full((len(rows), self.layout.size), np.nan)
        return np.asarray(self.records[rows][name], np.float64)


def read_recordings(runs: Sequence[Run]) -> list[Recording]:
    """Reads the paths of runs of one loss.

    Of several runs those whose path cannot be shown are left out, and standard error says why.

    Raises:
        UserError: no run whose path can be shown, or runs that minimize different losses.
    """
    found, refused = [], []
    for run, label in zip(runs, label_runs(runs), strict=True):
        try:
            found.append(_read(run, label))
        except UserError as refusal:
            refused.append(refusal)
    if not found:
        more = f"; nor can the {len(refused) - 1} others be shown" if len(refused) > 1 else ""
        raise UserError(f"{refused[0]}{more}") from refused[0]
    for other in found[1:]:
        _check_same_loss(found[0], other)
    for refusal in refused:
        print(f"play.py: left out: {refusal}", file=sys.stderr)
    return found


def _read(run: Run, label: str) -> Recording:
    try:
        layout, records = read_records(run.directory / "path")
    except FileNotFoundError as error:
        raise UserError(
            f"{run.directory}: no records of its path; train it again with record_every=1, or a "
            "large net with record_every=20"
        ) from error
    except ValueError as error:
        raise UserError(f"{error}; {run.retrain}") from error
    # What raised an error in an older version's store has no count of its updates.
    uncounted = run.result is None or (run.result.status == "failed" and not run.result.updates)
    updates = np.inf if uncounted or run.result is None else run.result.updates
    if len(records) and records["step"][-1] > updates:
        raise UserError(
            f"{run.directory}/path is damaged: it has a step {records['step'][-1]} of a run of "
            f"{updates} updates; {run.retrain}"
        )
    if not len(records):
        raise UserError(
            f"{run.directory}: it was stopped before the first record of its path; {run.retrain}"
        )
    if layout.dtype.startswith("complex"):
        raise UserError(
            f"{run.directory}: its parameters are complex, and have no place in a plane"
        )
    return Recording(run, label, layout, records)


def _check_same_loss(one: Recording, other: Recording) -> None:
    for part in ("task", "datamodule"):
        a, b = ({} if r.run.config[part] is None else r.run.config[part] for r in (one, other))
        for key in sorted((a.keys() | b.keys()) - set(NOT_OF_LOSS)):
            if a.get(key) != b.get(key):
                raise UserError(
                    f"{part}.{key}={as_typed(a.get(key))} and {as_typed(b.get(key))}: the runs of "
                    "a page must minimize the same loss; make a page of each"
                )
    if one.layout.shapes != other.layout.shapes:
        raise UserError(
            f"{one.run.directory} and {other.run.directory}: the shapes of their parameters differ"
        )
