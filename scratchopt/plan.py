"""How the parameters are sorted, so that one call serves many, and when to sort them anew."""

from __future__ import annotations

from operator import is_
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Recipe(NamedTuple):
    """What is done to the parameters of a group.

    Args:
        rule: the method.
        keys: of its buffers in the state, in the rule's order.
        timed: whether the rule counts its steps; as a number ("number"), as a tensor where
            autograd or a CUDA graph must see it ("tensor"), or not at all ("").
        compensated: whether parameters and buffers are sums of two numbers of their dtype.
        fused: whether it is compiled.
    """

    rule: Any
    keys: tuple[str, ...]
    timed: str
    compensated: bool
    fused: bool

    @property
    def compensations(self) -> tuple[str, ...]:
        """Keys of what the parameter and each buffer are short of, in their order."""
        if not self.compensated:
            return ()
        return "compensation", *(f"{key}_compensation" for key in self.keys)


class Bucket:
    """Parameters of one group, device, dtype and age, with their state.

    Args:
        params: the parameters.
        states: the state of each.
        recipe: what is done to them.
    """

    def __init__(self, params: list[Tensor], states: list[dict[str, Any]], recipe: Recipe) -> None:
        self.params, self.states, self.recipe = params, states, recipe
        self.layout: Any = None  # where the tensors lie; see `scratchopt.c_kernel`
        self._steps: list[Tensor] = []
        if recipe.timed == "number":  # in one tensor, so that one addition counts for all
            self._all = torch.stack([state["step"] for state in states])
            self._steps = list(self._all.unbind())
            for state, step in zip(states, self._steps, strict=True):
                state["step"] = step

    @property
    def undisturbed(self) -> bool:
        """Whether nobody else has changed a step."""
        if not self._steps:
            return True
        if not all(map(is_, [state["step"] for state in self.states], self._steps)):
            return False
        low, high = self._all.aminmax()
        return low.item() == high.item()

    def count(self) -> Any:
        """Counts a step; its number, or a tensor for each parameter."""
        if self.recipe.timed == "number":
            self._all += 1
            return self._steps[0].item()
        steps = [state["step"] for state in self.states]
        torch._foreach_add_(steps, 1)
        return steps

    def columns(self, grads: list[Tensor]) -> list[list[Tensor]]:
        """Parameters, gradients, each kind of buffer, and the compensations.

        Complex numbers are seen as pairs of real ones.
        """
        keys = (*self.recipe.keys, *self.recipe.compensations)
        columns = [self.params, grads, *([state[key] for state in self.states] for key in keys)]
        if self.params[0].is_complex():
            return [[torch.view_as_real(t.resolve_conj()) for t in column] for column in columns]
        return columns


class Plan(NamedTuple):
    """The buckets, and all that the sorting depended on."""

    params: list[Tensor]
    kinds: list[Any]
    recipes: list[Recipe]
    states: list[dict[str, Any]]
    buckets: list[tuple[int, list[int], Bucket]]  # index of the group, indices of gradients

    def fits(self, params: list[Tensor], kinds: list[Any], recipes: list[Recipe], state: Any):
        """Whether it all is as it was: no group added, no gradient late, no state replaced."""
        return (
            len(params) == len(self.params)
            and all(map(is_, params, self.params))
            and kinds == self.kinds
            and recipes == self.recipes
            and len(state) == len(self.states)
            and all(map(is_, state.values(), self.states))
            and all(bucket.undisturbed for _, _, bucket in self.buckets)
        )
