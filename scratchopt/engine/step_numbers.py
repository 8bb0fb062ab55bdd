"""The numbers of a step that a method makes itself: what its `numbers` take, and how they run."""

from collections.abc import Mapping
from inspect import signature
from typing import Any

from torch import Tensor

from scratchopt.engine.operations import RuleError
from scratchopt.engine.update import Numbers, Rule, StepNumbers, label_of, number_names


def read_step_numbers(
    function: Rule | None, kept: tuple[str, ...], group: dict[str, Any], first: Mapping[str, Any]
) -> StepNumbers:
    """Reads what the `numbers` of a method take and make, by calling them as in a first step.

    Args:
        function: the method's own.
        kept: names of those that are kept from step to step.
        group: with the hyperparameters.
        first: the first values of the kept ones.

    Raises:
        RuleError: they take what is not there, or do not make what they must.
    """
    if function is None:
        raise RuleError(
            f"kept_numbers are {', '.join(kept)}, and no numbers() makes them: add a static method "
            f"numbers(*, {', '.join(kept)}) that returns them anew by name"
        )
    if not callable(function):
        raise RuleError(
            f"numbers is {function!r}, and must be a static method that makes the numbers of a "
            "step by name: give the attribute another name"
        )
    label, takes = label_of(function), number_names(function)
    if len(takes) < len(signature(function).parameters):
        raise RuleError(f"{label} must take numbers alone, by name, as in numbers(*, t, lr)")
    names = tuple(name for name in takes if name != "t" and name not in kept)
    for name in names:
        if name not in group:
            raise RuleError(
                f"{label} takes {name}, which is not among kept_numbers, and its param group has "
                f'none: give it a default, as in super().__init__(params, {{"{name}": {name}}}, '
                "**options)"
            )
    numbers = StepNumbers(function, names, "t" in takes, kept, ())
    made = _call(numbers, group, 1.0, first)
    before, again = repr(made), repr(_call(numbers, group, 1.0, first))
    if before != again:
        raise RuleError(
            f"{label} made {before}, and {again} when it was called again: it may depend on what "
            "it takes alone, and must leave that as it is"
        )
    if missing := [name for name in kept if name not in made]:
        raise RuleError(f"{label} must return {', '.join(missing)}: kept_numbers name them")
    return numbers._replace(made=tuple((k, _count(label, k, value)) for k, value in made.items()))


def make_numbers(numbers: StepNumbers, group: Numbers, t: Any, kept: Mapping[str, Any]) -> Numbers:
    """Makes the numbers of a step.

    Args:
        numbers: of the method.
        group: its hyperparameters, as numbers, or as tensors for autograd.
        t: the number of the step.
        kept: those that are kept, as the state has them.
    """
    made = _call(numbers, group, t, kept)
    if len(made) != len(numbers.made) or any(name not in made for name, _ in numbers.made):
        label = label_of(numbers.function)
        before = ", ".join(name for name, _ in numbers.made)
        raise RuleError(
            f"{label} made {', '.join(made)}, and before {before}: in each step the names must be "
            "the same"
        )
    return made


def _call(numbers: StepNumbers, group: Numbers, t: Any, kept: Mapping[str, Any]) -> Numbers:
    function, takes = numbers.function, number_names(numbers.function)
    arguments = {name: group[name] for name in numbers.names}
    arguments |= {name: kept[name] for name in numbers.kept if name in takes}
    if numbers.takes_t:
        arguments["t"] = t
    made = function(**arguments)
    if not isinstance(made, dict):
        raise RuleError(f"{label_of(function)} must return numbers by name, and not {made!r}")
    return made


def _count(label: str, name: str, value: Any) -> int:
    several = isinstance(value, tuple | list)
    for number in value if several else [value]:
        if not (isinstance(number, Tensor) or hasattr(number, "__float__")):
            raise RuleError(f"{label} made {name}, which is {value!r} and no number")
    return len(value) if several else 0
