"""A file of records of fixed size, one a step, that only grows and outlives kill -9."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

VERSION = 1
FILE, LAYOUT = "records.bin", "layout.json"


@dataclass(frozen=True)
class RecordLayout:
    """The layout of a record.

    Args:
        names: of the parameters, in the order in which their numbers follow each other.
        shapes: of the parameters.
        dtype: NumPy's name of the numbers' type.
        gradients: whether a record has the evaluated point and the gradient there.
    """

    names: list[str]
    shapes: list[list[int]]
    dtype: str
    gradients: bool

    @property
    def size(self) -> int:
        """n, how many numbers the parameters have in all."""
        return sum(int(np.prod(shape)) for shape in self.shapes)

    @property
    def fields(self) -> list[str]:
        """The names of the vectors of n numbers in a record."""
        return ["parameters", *(("point", "gradient") if self.gradients else ())]

    @property
    def record(self) -> np.dtype[Any]:
        """A record: `step`, an int64, and the vectors, without gaps."""
        vectors = [(name, self.dtype, (self.size,)) for name in self.fields]
        return np.dtype([("step", "<i8"), *vectors])


def parameter_names(layout: RecordLayout) -> list[str]:
    """Names each of the n numbers: `slope`, or `x[0]` in a tensor of several."""
    sizes = [int(np.prod(shape)) for shape in layout.shapes]
    return [
        name if size == 1 else f"{name}[{i}]"
        for name, size in zip(layout.names, sizes, strict=True)
        for i in range(size)
    ]


def read_records(directory: str | Path) -> tuple[RecordLayout, np.ndarray]:
    """Reads what a `Recorder` has written into a directory, `<default_root_dir>/path`.

    Returns:
        The layout, and the records as an array of `layout.record`, read-only and not yet in memory.
        Their steps rise; a tail that was cut short is left out.

    Raises:
        FileNotFoundError: no records there.
        ValueError: files that are damaged or no such records.
    """
    described, file = Path(directory, LAYOUT), Path(directory, FILE)
    try:
        content = json.loads(described.read_text(encoding="utf-8"))
        if content.pop("version", None) != VERSION:
            raise ValueError(f"{described}: this version reads version {VERSION}")
        layout = RecordLayout(**content)
        count = file.stat().st_size // layout.record.itemsize
    except FileNotFoundError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{described} is damaged: {error}") from error
    if not count:
        return layout, np.empty(0, layout.record)
    records = np.memmap(file, layout.record, "r", shape=(count,))
    steps = np.array(records["step"])
    if steps[0] < 0:
        raise ValueError(f"{file} is damaged: its first record is of step {steps[0]}")
    fall = np.flatnonzero(np.diff(steps) <= 0)
    return layout, records[: fall[0] + 1] if len(fall) else records


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
        if known == layout:
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
        with open(self.directory / FILE, "ab") as file:
            file.write(records.tobytes())
        self.last = steps[-1]

    def sync(self) -> None:
        """Waits until all is on the disk, where a power cut leaves it."""
        if self._kept is None:
            with open(self.directory / FILE, "rb") as file:
                os.fsync(file.fileno())

    def _cut(self, kept: int) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        with open(self.directory / FILE, "ab") as file:
            file.truncate(kept * self.layout.record.itemsize)
        content = json.dumps({"version": VERSION} | asdict(self.layout))
        new = self.directory / f"{LAYOUT}.new"
        new.write_text(content + "\n", encoding="utf-8")
        os.replace(new, self.directory / LAYOUT)
        self._kept = None
