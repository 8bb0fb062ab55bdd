"""The trajectory of a training: records of fixed size, one a step, and how they are read."""

from __future__ import annotations

import json
from dataclasses import dataclass
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
    def slices(self) -> dict[str, slice]:
        """The slice of a vector that holds each parameter, by its name."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes]).tolist()
        starts = [0, *ends[:-1]]
        return dict(zip(self.names, map(slice, starts, ends), strict=True))

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
    layout, file = read_layout(Path(directory))
    count = file.stat().st_size // layout.record.itemsize
    if not count:
        return layout, np.empty(0, layout.record)
    records = np.memmap(file, layout.record, "r", shape=(count,))
    steps = np.array(records["step"])
    if steps[0] < 0:
        raise ValueError(f"{file} is damaged: its first record is of step {steps[0]}")
    fall = np.flatnonzero(np.diff(steps) <= 0)
    return layout, records[: fall[0] + 1] if len(fall) else records


def read_layout(directory: Path) -> tuple[RecordLayout, Path]:
    """Reads the layout of the records in a directory, and finds their file."""
    described = directory / LAYOUT
    try:
        content = json.loads(described.read_text(encoding="utf-8"))
        if content.pop("version", None) != VERSION:
            raise ValueError(f"{described}: this version reads version {VERSION}")
        file = Path(content.pop("file", FILE))
        if file.name != str(file):  # whoever goes on with it would write to another place
            raise ValueError(f"its file is {file}, which is not beside it")
        layout = RecordLayout(**content)
        if layout.record.hasobject:  # bytes would be taken for addresses
            raise ValueError(f"its dtype is {layout.dtype}, which is no number")
    except FileNotFoundError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{described} is damaged: {error}") from error
    return layout, directory / file
