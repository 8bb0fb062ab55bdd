"""Makes the updates of an optimizer's groups, chooses their drivers, and takes steps."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from scratchopt.engine import eager
from scratchopt.engine.buckets import Bucket
from scratchopt.engine.global_sums import add_up
from scratchopt.engine.shapes import CAUTIOUS, find_shape, refuse_options
from scratchopt.engine.sorting import Buckets, Group
from scratchopt.engine.step_numbers import make_numbers
from scratchopt.engine.unread_numbers import make_unread_numbers
from scratchopt.engine.update import (
    GroupOptions,
    Numbers,
    Rule,
    StepNumbers,
    Sums,
    Update,
    as_number,
    as_scalar,
    compose,
    compose_sums,
    number_names,
    refuse_together,
)
from scratchopt.engine.whole_tensors import whole_tensors


def choose_driver(options: GroupOptions) -> Callable[..., None]:
    """The driver that a group's options ask for; where they ask for none, the tensors' sizes do."""
    if options.differentiable or options.capturable:
        return eager.plain_tensors
    return _compiled_or_lists(options)


def _compiled_or_lists(options: GroupOptions) -> Callable[..., None]:
    if options.fused:
        from scratchopt.engine.compiled import compiled  # and what it imports, for who wants it

        return compiled
    return eager.lists  # foreach decides which lists; see `Bucket`


@cache
def update_for(
    rule: Rule,
    keys: tuple[str, ...],
    gradient_point: Rule | None,
    step_numbers: StepNumbers | None,
    sums: Sums | None,
    options: GroupOptions,
    shape_name: str = "elementwise",
    method: str = "the method",
) -> Update:
    """The update of a group; the same object for the same choices."""
    refuse_together(
        options.fused,
        options.foreach,
        options.differentiable,
        options.capturable,
        options.compensated,
    )
    shape = find_shape(shape_name, method, takes_sums=sums is not None)
    if options.cautious:
        shape = CAUTIOUS
    refuse_options(shape, method, options._asdict())
    names = dict.fromkeys((*number_names(rule), *number_names(gradient_point), "weight_decay"))
    made = [name for name, _ in step_numbers.made if name in names] if step_numbers else ()
    decays = options.weight_decay and options.decoupled_weight_decay
    if decays and step_numbers and "lr" in step_numbers.names:
        names["lr"] = None  # of the decay, where the rule takes what `numbers` made of it
    return Update(
        rule=rule,
        move=gradient_point and _move_for(gradient_point, keys, options),
        keys=keys,
        names=tuple(name for name in names if name != "t" and name not in made),
        made=tuple(made),
        apply=compose(rule, gradient_point, options),
        driver=whole_tensors if shape.whole else choose_driver(options),
        takes_t="t" in names,
        step_numbers=step_numbers,
        options=options,
        shape=shape,
        sums=sums,
        sums_of=sums and compose_sums(sums.function, rule, gradient_point, options),
    )


def _move_for(gradient_point: Rule, keys: tuple[str, ...], options: GroupOptions) -> Update:
    """The move to a gradient point; where an update has the gradients, it has the copies of θ."""

    def apply(p: Any, kept: Any, *buffers: Any, **numbers: Any) -> None:
        gradient_point(p, *buffers, **numbers)

    return Update(
        rule=gradient_point,
        move=None,
        keys=keys,
        names=tuple(name for name in number_names(gradient_point) if name != "t"),
        made=(),
        apply=apply,
        driver=eager.plain_tensors if options.differentiable else _compiled_or_lists(options),
        takes_t=False,
        step_numbers=None,
        options=options._replace(compensated=False, foreach=True),  # one operation, for all at once
        is_move=True,
    )


def writes_copies(bucket: Bucket) -> bool:
    """True if a move writes θ into the copies itself, as a kernel in C does in the same pass."""
    if not bucket.update.options.fused:
        return False
    from scratchopt.engine.compiled import runs_c

    return runs_c(bucket.device)


def run(buckets: Buckets, groups: list[Group], grads: list[Any]) -> None:
    """Takes a step: runs the update of each bucket on its parameters.

    Args:
        buckets: of the parameters that have a gradient.
        groups: of parameters.
        grads: of all parameters, None where there is none.
    """
    rows = buckets.walk(grads)
    totals = add_up(rows, groups)
    for index, own, bucket in rows:
        update, group = bucket.update, groups[index]
        if totals:
            group = group | totals
        plain = as_scalar if update.takes_tensors else as_number
        numbers = {name: plain(group[name]) for name in update.names}
        t = kept = None
        if update.counts_steps:
            if bucket.params[0].is_cuda and not update.takes_tensors:
                _refuse_capture()
            t = bucket.count()
        try:
            with torch.set_grad_enabled(update.options.differentiable):
                if update.step_numbers:
                    made, kept = _make_numbers(update.step_numbers, bucket, group, t)
                    numbers |= {name: made[name] for name in update.made}
                if update.takes_t:
                    numbers["t"] = t
                update.driver(bucket, own, numbers)
        except BaseException:
            if update.counts_steps:
                bucket.count(-1)
            raise
        if kept:
            bucket.keep(kept)


def _make_numbers(
    own: StepNumbers, bucket: Bucket, group: Group, t: Any
) -> tuple[Numbers, Numbers]:
    """The numbers that a method makes itself for a step of a bucket, and those of them to be kept.

    Where the numbers are tensors, these are lists: of a number for each parameter.
    """
    update = bucket.update
    if not update.takes_tensors:
        values = {name: as_number(group[name]) for name in own.names}
        made = make_numbers(own, values, t, bucket.kept_numbers())
        kept = {name: bucket.as_kept(name, made[name]) for name in own.kept}
        return {name: as_number(value) for name, value in (made | kept).items()}, kept
    values = {name: as_scalar(group[name]) for name in own.names}
    capturable = update.options.capturable
    make = make_unread_numbers if capturable else make_numbers
    counts = t if t is not None else [None] * len(bucket.states)
    if not capturable and t is not None:
        counts = [step.item() for step in t]
    rows = [
        make(own, values, count, {name: state[name] for name in own.kept})
        for state, count in zip(bucket.states, counts, strict=True)
    ]
    made = {name: [row[name] for row in rows] for name, _ in own.made}
    return made, {name: made[name] for name in own.kept}


def _refuse_capture() -> None:
    if torch.cuda.is_current_stream_capturing():
        raise RuntimeError("a CUDA graph would repeat this very step: it needs capturable=True")
