"""The standard streams of a command, which goes on where they are closed."""

import io
import os
import sys
from typing import Any


class _Pipe(io.FileIO):
    """A file that takes what nobody reads any more, as after `| head -1`."""

    def write(self, data: Any, /) -> int | None:
        try:
            return super().write(data)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            return super().write(data)


class _Output(io.TextIOWrapper):
    """A standard stream that is guarded."""


def guard_streams() -> None:
    """Lets a command go on when its output is closed, as it has more to do than to print."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed, and the next file to be opened would take its place
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream: Any = getattr(sys, name)
        if stream is None:
            setattr(sys, name, _Output(open(os.devnull, "wb"), "utf-8"))  # noqa: SIM115
        elif type(stream) is io.TextIOWrapper:  # as Python opens it, and no other has since
            setattr(sys, name, _guard(stream))


def _guard(stream: io.TextIOWrapper) -> _Output:
    stream.flush()
    raw: Any = _Pipe(stream.fileno(), "wb", closefd=False)
    return _Output(
        raw if stream.write_through else io.BufferedWriter(raw),  # unbuffered, if Python is
        stream.encoding,
        stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
