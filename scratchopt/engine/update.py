"""The update of a group's parameters: the rule, and what comes before it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from inspect import signature
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor

from scratchopt.engine.cautious import make_cautious
from scratchopt.engine.shapes import SHAPES, Shape

Rule: TypeAlias = Callable[..., Any]  # of p, g, buffers and numbers by name; see `Optimizer`
Numbers: TypeAlias = dict[str, Any]


class GroupOptions(NamedTuple):
    """The options of a group, besides the numbers of its rule."""

    maximize: bool
    weight_decay: bool  # whether there is any
    decoupled_weight_decay: bool  # whether it shrinks θ itself, in place of a penalty
    differentiable: bool
    capturable: bool
    fused: bool
    foreach: bool | None
    compensated: bool
    cautious: bool = False

    @classmethod
    def of(cls, group: dict[str, Any]) -> "GroupOptions":
        """The options of a group as they are now."""
        return cls(
            bool(group["maximize"]),
            bool(group["weight_decay"] != 0),
            group.get("decoupled_weight_decay", False),
            bool(group["differentiable"]),
            bool(group.get("capturable", False)),
            bool(group["fused"]),
            group["foreach"],
            bool(group["compensated"]),
            bool(group.get("cautious", False)),
        )


class StepNumbers(NamedTuple):
    """The arguments and results of a method's `numbers`; see `scratchopt.engine.step_numbers`.

    Args:
        function: the method's own.
        names: of the hyperparameters that it takes.
        takes_t: whether it takes t, the number of the step.
        kept: names of those that the state of each parameter keeps from step to step.
        made: names of all that it makes, and how many numbers are in each: 0 for a single one, 2
            for a pair.
    """

    function: Rule
    names: tuple[str, ...]
    takes_t: bool
    kept: tuple[str, ...]
    made: tuple[tuple[str, int], ...]


class Sums(NamedTuple):
    """The sums over all parameters that a method takes; see `scratchopt.engine.global_sums`.

    Args:
        function: the method's own.
        names: of what it returns.
    """

    function: Rule
    names: tuple[str, ...]

    @property
    def ones(self) -> Numbers:
        """Something for each, where the rule is read before there are any."""
        return dict.fromkeys(self.names, 1.0)


@dataclass(frozen=True, eq=False)
class Update:
    """The update that a step makes to the parameters of a group.

    Args:
        rule: the method's own.
        move: the move of p to the point where the gradient is taken, or None if that is p.
        keys: of the rule's buffers in the state, in the rule's order.
        names: of the numbers that it takes from the group.
        made: names of those that it takes from what the method's own `numbers` make.
        apply: the rule with what comes before it, a function of p, g, the buffers and the numbers.
        driver: runs it on a bucket, given the gradients and the numbers.
        takes_t: whether the rule takes t, the number of the step.
        step_numbers: what `numbers` take and make, if the method has them.
        options: of the group.
        shape: of the rule.
        sums: those over all parameters that it takes, if any.
        sums_of: a function of p, g, the buffers and the numbers: the sums of a tensor.
        is_move: whether it is such a move itself.
    """

    rule: Rule
    move: "Update | None"
    keys: tuple[str, ...]
    names: tuple[str, ...]
    made: tuple[str, ...]
    apply: Callable[..., None]
    driver: Callable[..., None]
    takes_t: bool
    step_numbers: StepNumbers | None
    options: GroupOptions
    shape: Shape = SHAPES["elementwise"]
    sums: Sums | None = None
    sums_of: Callable[..., Numbers] | None = None
    is_move: bool = False

    @cached_property
    def counts_steps(self) -> bool:
        """True if the state of each parameter has the number of its steps."""
        return self.takes_t or (self.step_numbers is not None and self.step_numbers.takes_t)

    @cached_property
    def kept_numbers(self) -> tuple[str, ...]:
        """Names of the numbers that the state of each parameter keeps beside `step`."""
        return self.step_numbers.kept if self.step_numbers else ()

    @property
    def takes_tensors(self) -> bool:
        """True if its numbers stay tensors where they are, for autograd or a CUDA graph."""
        return self.options.differentiable or self.options.capturable

    @cached_property
    def state_numbers(self) -> tuple[str, ...]:
        """Keys of the numbers in the state of each parameter."""
        return (*(("step",) if self.counts_steps else ()), *self.kept_numbers)

    @property
    def shared_numbers(self) -> tuple[str, ...]:
        """Keys of those that are one for all parameters of an age."""
        return () if self.takes_tensors else self.state_numbers

    @property
    def all_keys(self) -> tuple[str, ...]:
        """Keys of the buffers, and then of the compensations, if there are any."""
        return with_compensations(self.keys) if self.options.compensated else self.keys


def compose(rule: Rule, gradient_point: Rule | None, options: GroupOptions) -> Callable[..., Any]:
    """A rule with what is around it: the sign of an ascent, the decay of weights, caution.

    It is given all numbers of an update, and gives the rule those that it takes.
    """
    prepare, own = _before(rule, gradient_point, options), _with_its_numbers(rule)
    if options.cautious:
        own = make_cautious(own)

    def whole(p: Any, g: Any, *buffers: Any, **numbers: Any) -> Any:
        g = prepare(p, g, *buffers, **numbers)
        return own(p, g, *buffers, **numbers)

    return whole


def compose_sums(
    sums: Rule, rule: Rule, gradient_point: Rule | None, options: GroupOptions
) -> Callable[..., Numbers]:
    """The sums of a tensor, with what comes before the rule: of p and g as the rule gets them."""
    prepare, own = _before(rule, gradient_point, options), _with_its_numbers(sums)
    shrinks = options.weight_decay and options.decoupled_weight_decay

    def whole(p: Any, g: Any, *buffers: Any, **numbers: Any) -> Numbers:
        p = p.clone() if shrinks else p
        g = prepare(p, g, *buffers, **numbers)
        return own(p, g, *buffers, **numbers)

    return whole


def _before(rule: Rule, gradient_point: Rule | None, options: GroupOptions) -> Callable[..., Any]:
    """The part before the rule: a function that shrinks p where it decays, and returns its g.

    The gradient of the penalty is taken where the loss's is, at the gradient point. A rule that
    takes weight_decay, or whose gradient point does, decays by itself.
    """
    maximize, decoupled = options.maximize, options.decoupled_weight_decay
    decays_itself = "weight_decay" in (*number_names(rule), *number_names(gradient_point))
    decay = options.weight_decay and not decays_itself
    decay_point = _moved(_with_its_numbers(gradient_point)) if gradient_point else _unmoved

    def prepare(p: Any, g: Any, *buffers: Any, **numbers: Any) -> Any:
        if maximize:
            g = -g
        if decay and decoupled:
            p *= 1 - numbers["lr"] * numbers["weight_decay"]
        elif decay:
            g = g + numbers["weight_decay"] * decay_point(p, *buffers, **numbers)
        return g

    return prepare


def _unmoved(p: Any, *buffers: Any, **numbers: Any) -> Any:
    return p


def _moved(gradient_point: Rule) -> Rule:
    def point(p: Any, *buffers: Any, **numbers: Any) -> Any:
        copy = 1.0 * p
        gradient_point(copy, *buffers, **numbers)
        return copy

    return point


def _with_its_numbers(function: Rule) -> Rule:
    names = number_names(function)

    def apply(*tensors: Any, **numbers: Any) -> Any:
        return function(*tensors, **{name: numbers[name] for name in names})

    return apply


@cache
def number_names(function: Rule | None) -> tuple[str, ...]:
    """The names of the numbers that a rule takes: its keyword-only arguments."""
    arguments = signature(function).parameters.values() if function is not None else ()
    return tuple(a.name for a in arguments if a.kind == a.KEYWORD_ONLY)


def label_of(function: Callable[..., Any]) -> str:
    """The name of a function in messages, such as Adam.rule."""
    name = getattr(function, "__qualname__", repr(function))
    return name.rpartition("<locals>.")[2]


def with_compensations(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Keys of buffers, and of the compensations of the parameter and of each buffer."""
    return (*keys, "compensation", *(f"{key}_compensation" for key in keys))


def refuse_together(
    fused: Any, foreach: Any, differentiable: Any, capturable: Any, compensated: Any
) -> None:
    """Raises a RuntimeError where options exclude each other."""
    if fused and foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
    if fused and differentiable:
        raise RuntimeError("`fused` does not support `differentiable`")
    if compensated and differentiable:
        raise RuntimeError("`compensated` does not support `differentiable`")
    for name, option in (("fused", fused), ("foreach", foreach)):
        if capturable and option:
            raise RuntimeError(f"`{name}` does not support `capturable`: leave one of them out")


def of_each(numbers: Numbers, count: int) -> list[Numbers]:
    """The numbers of each parameter: of a list each has one, as of t where that is a tensor."""
    several = {name: value for name, value in numbers.items() if isinstance(value, list)}
    if not several:
        return [numbers] * count
    return [numbers | {name: value[i] for name, value in several.items()} for i in range(count)]


def as_scalar(value: Any) -> Any:
    """A hyperparameter as autograd and broadcasting want it: a one-element tensor without shape."""
    if isinstance(value, tuple | list):
        return tuple(as_scalar(part) for part in value)
    return value.reshape(()) if isinstance(value, Tensor) else value


def as_number(value: Any) -> Any:
    """A hyperparameter as plain numbers; a one-element tensor is read (on a GPU, waited for)."""
    if type(value) is float:  # as most are
        return value
    if isinstance(value, tuple | list):
        return tuple(as_number(part) for part in value)
    return value.item() if isinstance(value, Tensor) else value
