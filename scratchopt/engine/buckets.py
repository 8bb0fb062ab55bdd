"""How the parameters are sorted, so that one call serves many, and when to sort them anew."""

from __future__ import annotations

from operator import is_
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from scratchopt.engine.update import Recipe

# Elements. A list of up to so many is updated faster at once than tensor by tensor; in a longer
# one, each operation finds the cache full of what the others left.
TOGETHER = 2**21


class Bucket:
    """Parameters of one group, device, dtype and age, with their state.

    Args:
        params: the parameters.
        states: the state of each.
        recipe: what is done to them.
    """

    def __init__(self, params: list[Tensor], states: list[dict[str, Any]], recipe: Recipe) -> None:
        self.params, self.states, self.recipe = params, states, recipe
        self.keys, self.device = recipe.all_keys, params[0].device
        self.parts = _parts(params)
        self.proven = False  # whether the rule was seen to keep the laws of a rule
        self.kernel: Any = None  # the compiled driver's
        self.layout: Any = None  # where the tensors lie; see `scratchopt.engine.c_kernel`
        self._steps: list[Tensor] = []
        if recipe.timed == "number":  # in one tensor, so that one addition counts for all
            self._all = torch.stack([state["step"] for state in states])
            self._version, self._count = self._all._version, self._all[0].item()
            self._steps = list(self._all.unbind())
            for state, step in zip(states, self._steps, strict=True):
                state["step"] = step

    @property
    def undisturbed(self) -> bool:
        """Whether nobody else has changed a step."""
        if not self._steps:
            return True
        steps = [state["step"] for state in self.states]
        return all(map(is_, steps, self._steps)) and self._all._version == self._version

    def count(self, steps: int = 1) -> Any:
        """Counts a step, or takes one back; its number, or a tensor for each parameter."""
        if self.recipe.timed == "tensor":
            tensors = [state["step"] for state in self.states]
            torch._foreach_add_(tensors, steps)
            return tensors
        self._all += steps
        self._version, self._count = self._all._version, self._count + steps
        return self._count

    def columns(self, grads: list[Tensor]) -> list[list[Tensor]]:
        """Parameters, gradients, each kind of buffer, and the compensations.

        Complex numbers are seen as pairs of real ones.
        """
        buffers = ([state[key] for state in self.states] for key in self.keys)
        columns = [self.params, grads, *buffers]
        if self.params[0].is_complex():
            columns[1] = [g.resolve_conj() for g in grads]
            return [[torch.view_as_real(t) for t in column] for column in columns]
        return columns


def _parts(params: list[Tensor]) -> list[slice]:
    """Slices that are worth one call each: on a GPU the whole list is."""
    ends, total = [], 0
    for i, p in enumerate(params if params[0].device.type == "cpu" else ()):
        if total and total + p.numel() > TOGETHER:
            ends.append(i)
            total = 0
        total += p.numel()
    return [slice(start, end) for start, end in zip([0, *ends], [*ends, None], strict=True)]


class Plan(NamedTuple):
    """The buckets, and all that the sorting depended on."""

    params: list[Tensor]
    kinds: tuple[list[Any], list[Any]]  # dtypes and layouts of the gradients
    recipes: list[Recipe]
    states: list[dict[str, Any]]
    buckets: list[tuple[int, list[int], Bucket]]  # index of the group, indices of gradients

    def fits(
        self, params: list[Tensor], kinds: Any, recipes: list[Recipe], state: dict[Any, Any]
    ) -> bool:
        """Whether it all is as it was: no group added, no gradient late, no state replaced."""
        return (
            len(params) == len(self.params)
            and all(map(is_, params, self.params))
            and kinds == self.kinds
            and all(bucket.device == bucket.params[0].device for _, _, bucket in self.buckets)
            and recipes == self.recipes
            and len(state) == len(self.states)
            and all(map(is_, state.values(), self.states))
            and all(bucket.undisturbed for _, _, bucket in self.buckets)
        )
