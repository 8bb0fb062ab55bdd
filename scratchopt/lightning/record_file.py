"""A file of records that only grows and outlives kill -9; `trajectory.py` reads it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from scratchopt.atomic_write import atomic_write
from scratchopt.lightning.trajectory import (
    FILE,
    LAYOUT,
    VERSION,
    RecordLayout,
    read_layout,
    read_records,
)

AT_ONCE = 1 << 26  # bytes of records that are rewritten at a time


class RecordFile:
    """Records to be appended to those of earlier steps.

    Nothing is written before the first `append`, so a run in which nothing happens leaves the file
    as it is.

    Args:
        directory: for the file and its layout.
        layout: of the records.
        step: the first step that may come; records from it on are cut off, and at 0 all that is
            there, whatever it is.

    Attributes:
        last: step of the last record, up to `step` itself; −1 where there is none.

    Raises:
        ValueError: records to go on from that are damaged or of another layout.
    """

    def __init__(self, directory: Path, layout: RecordLayout, step: int) -> None:
        self.directory, self.layout, self.last = directory, layout, -1
        self._path = directory / FILE
        self._kept: int | None = 0  # of the records that are there; None once they are cut
        try:
            known, records = read_records(directory)
        except FileNotFoundError:
            return
        except ValueError:
            if step:
                raise
            return
        if step and known != layout:
            raise ValueError(
                f"{directory}: its records are of other parameters than this run's; move it away"
            )
        if step:
            _, self._path = read_layout(directory)
            steps = records["step"]
            self._kept = int(np.searchsorted(steps, step))
            upto = int(np.searchsorted(steps, step, "right"))
            self.last = int(steps[upto - 1]) if upto else -1

    def append(self, steps: list[int], vectors: np.ndarray) -> None:
        """Writes records, whose vectors lie side by side in rows, shape (len(steps), fields·n)."""
        if self._kept is not None:
            self._cut(self._kept)
        records = np.empty(len(steps), self.layout.record)
        records["step"] = steps
        for name, part in zip(
            self.layout.fields, np.split(vectors, len(self.layout.fields), axis=1), strict=True
        ):
            records[name] = part
        with open(self._path, "ab") as file:
            file.write(records.tobytes())
        self.last = steps[-1]

    def widen(self, layout: RecordLayout, values: Mapping[str, np.ndarray]) -> None:
        """Adds parameters to the records; in those that are there they rest, without gradient.

        The records are written anew beside the old ones, whose place they take with the layout.

        Args:
            layout: that of this file, with more parameters.
            values: of the parameters that are new, by name, flat.
        """
        narrow, self.layout = self.layout, layout
        if self._kept is not None:
            if not self._kept:
                return  # nothing is there
            self._cut(self._kept, narrow)
        old, self._path = self._path, self.directory / f"records-{len(layout.names)}.bin"
        count = max(1, AT_ONCE // layout.record.itemsize)
        with open(old, "rb") as source, open(self._path, "wb") as target:
            while len(rows := np.fromfile(source, narrow.record, count)):
                target.write(_widen(rows, narrow, layout, values).tobytes())
            target.flush()
            os.fsync(target.fileno())
        self._write_layout(layout)
        old.unlink()

    def sync(self) -> None:
        """Waits until all is on the disk, where a power cut leaves it."""
        if self._kept is None:
            with open(self._path, "rb") as file:
                os.fsync(file.fileno())

    def _cut(self, kept: int, layout: RecordLayout | None = None) -> None:
        layout = layout or self.layout
        self.directory.mkdir(parents=True, exist_ok=True)
        with open(self._path, "ab") as file:
            file.truncate(kept * layout.record.itemsize)
        self._write_layout(layout)
        self._kept = None
        for other in self.directory.glob("records*.bin"):  # left by somebody who was killed
            if other != self._path:
                other.unlink()

    def _write_layout(self, layout: RecordLayout) -> None:
        elsewhere = {} if self._path.name == FILE else {"file": self._path.name}
        content = json.dumps({"version": VERSION} | elsewhere | asdict(layout))
        atomic_write(self.directory / LAYOUT, content + "\n")


def _widen(
    rows: np.ndarray, narrow: RecordLayout, wide: RecordLayout, values: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Adds parameters to some records, each with one value and no gradient."""
    widened = np.zeros(len(rows), wide.record)
    widened["step"] = rows["step"]
    for field in wide.fields:
        for name, place in wide.slices.items():
            if name in narrow.slices:
                widened[field][:, place] = rows[field][:, narrow.slices[name]]
            elif field != "gradient":
                widened[field][:, place] = values[name]
    return widened
