"""A vector of parameters that are away from θ, which a rule sees at the θ that was kept."""

from typing import Any

import torch
from torch import Tensor

from scratchopt.engine.vector import Vector


class KeptVector(Vector):
    """Parameters that are read where θ was kept, until the first write goes to where they lie.

    So θ need not be copied back before a step. The results are those of the write in place, to the
    last bit.

    Args:
        kept: the values of θ, which stay as they are.
        params: the parameters, whose own values are not read.
    """

    def __init__(self, kept: list[Tensor], params: list[Tensor]) -> None:
        super().__init__(kept, role="named")
        self._params = params

    def _write(self, name: str, *arguments: Any, **options: float) -> Vector:
        if self.lists[0] is self._params:
            return super()._write(name, *arguments, **options)
        kept, self.lists = self.lists[0], (self._params, ())
        function = getattr(torch, name)
        columns = [a if isinstance(a, list | tuple) else [a] * len(kept) for a in arguments]
        for out, *row in zip(self._params, kept, *columns, strict=True):
            function(*row, **options, out=out)
        return self
