"""Runs the rules of an optimizer's groups: chooses drivers, sorts parameters, counts steps."""

from collections import defaultdict
from collections.abc import Callable
from functools import cache
from operator import is_
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from scratchopt.engine import eager
from scratchopt.engine.buckets import Bucket
from scratchopt.engine.laws import read_programs
from scratchopt.engine.update import (
    GroupOptions,
    Rule,
    Update,
    as_number,
    as_scalar,
    compose,
    number_names,
    refuse_together,
)

Group: TypeAlias = dict[str, Any]


def choose_driver(options: GroupOptions) -> Callable[..., None]:
    """The driver that a group's options ask for; where they ask for none, the tensors' sizes do."""
    if options.differentiable or options.capturable:
        return eager.plain_tensors
    if options.fused:
        from scratchopt.engine.compiled import compiled  # and what it imports, for who wants it

        return compiled
    return eager.lists  # foreach decides which lists; see `Bucket`


@cache
def update_for(
    rule: Rule, keys: tuple[str, ...], gradient_point: Rule | None, options: GroupOptions
) -> Update:
    """The update of a group; the same object for the same choices."""
    refuse_together(
        options.fused,
        options.foreach,
        options.differentiable,
        options.capturable,
        options.compensated,
    )
    names = dict.fromkeys((*number_names(rule), *number_names(gradient_point), "weight_decay"))
    return Update(
        rule=rule,
        gradient_point=gradient_point,
        keys=keys,
        names=tuple(name for name in names if name != "t"),
        apply=compose(rule, gradient_point, options),
        driver=choose_driver(options),
        counts_steps="t" in names,
        options=options,
    )


class _Sorting(NamedTuple):
    """The buckets, and all that the sorting depended on."""

    params: list[Tensor]
    kinds: tuple[list[Any], list[Any]]  # dtypes and layouts of the gradients
    updates: list[Update]
    states: list[dict[str, Any]]
    buckets: list[tuple[int, list[int], Bucket]]  # index of the group, indices of gradients

    def fits(
        self, params: list[Tensor], kinds: Any, updates: list[Update], state: dict[Any, Any]
    ) -> bool:
        """True if all is as it was: no group added, no gradient late, no state replaced."""
        return (
            len(params) == len(self.params)
            and all(map(is_, params, self.params))
            and kinds == self.kinds
            and all(bucket.device == bucket.params[0].device for _, _, bucket in self.buckets)
            and updates == self.updates
            and len(state) == len(self.states)
            and all(map(is_, state.values(), self.states))
            and all(bucket.undisturbed for _, _, bucket in self.buckets)
        )


class Runner:
    """Runs updates on the parameters that have a gradient, those of a kind at once."""

    def __init__(self) -> None:
        self._sorting: _Sorting | None = None

    def forget(self) -> None:
        """Sorts the parameters anew in the next step."""
        self._sorting = None

    def run(
        self,
        groups: list[Group],
        updates: list[Update],
        state: dict[Any, Any],
        prepare: Callable[[Tensor, Group, Update], dict[str, Any]],
    ) -> None:
        """Takes a step.

        Args:
            groups: of parameters.
            updates: of the groups.
            state: of the parameters.
            prepare: gives a parameter of a group its state, or refuses it.
        """
        for index, grads, bucket in self._buckets(groups, updates, state, prepare):
            group, update = groups[index], bucket.update
            plain = as_scalar if update.takes_tensors else as_number
            numbers = {name: plain(group[name]) for name in update.names}
            if update.counts_steps:
                if bucket.params[0].is_cuda and not update.takes_tensors:
                    _refuse_capture()
                numbers["t"] = bucket.count()
            try:
                with torch.set_grad_enabled(update.options.differentiable):
                    update.driver(bucket, grads, numbers)
            except BaseException:
                if update.counts_steps:
                    bucket.count(-1)
                raise

    def _buckets(
        self, groups: list[Group], updates: list[Update], state: Any, prepare: Any
    ) -> list[tuple[int, list[Any], Bucket]]:
        """The buckets of parameters with a gradient, each with its group's index and gradients."""
        params = [p for group in groups for p in group["params"]]
        grads = [p.grad for p in params]
        kinds = (
            [g if g is None else g.dtype for g in grads],
            [g if g is None else g.layout for g in grads],
        )
        found = self._sorting
        if found is None or not found.fits(params, kinds, updates, state):
            buckets = _sort(groups, grads, updates, prepare)
            found = _Sorting(params, kinds, updates, list(state.values()), buckets)
            self._sorting = found
        if len(found.buckets) == 1 and len(found.buckets[0][1]) == len(grads):
            return [(found.buckets[0][0], grads, found.buckets[0][2])]
        return [(i, [grads[j] for j in members], bucket) for i, members, bucket in found.buckets]


@torch.no_grad()
def _sort(
    groups: list[Group], grads: list[Any], updates: list[Update], prepare: Any
) -> list[tuple[int, list[int], Bucket]]:
    """Puts parameters of a kind together, and gives those that are new their state."""
    rows = defaultdict(list)
    numbered = enumerate(grads)
    for index, (group, update) in enumerate(zip(groups, updates, strict=True)):
        for p, (i, g) in zip(group["params"], numbered, strict=False):
            if g is None:
                continue
            state = prepare(p, group, update)
            age = state["step"].item() if update.counts_alike else 0.0
            rows[index, p.device, p.dtype, g.dtype, g.layout, age].append((i, p, state))
    return [
        (
            index,
            [i for i, _, _ in members],
            Bucket(
                [p for _, p, _ in members],
                [s for _, _, s in members],
                updates[index],
                read_programs(updates[index], groups[index]),
            ),
        )
        for (index, *_), members in rows.items()
    ]


def _refuse_capture() -> None:
    if torch.cuda.is_current_stream_capturing():
        raise RuntimeError("a CUDA graph would repeat this very step: it needs capturable=True")
