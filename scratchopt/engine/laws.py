"""The laws of a rule, checked before its first step: what it takes, and what it changes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from inspect import signature
from typing import Any

from torch import Tensor

from scratchopt.engine.cautious import check_only_adds
from scratchopt.engine.operations import RuleError
from scratchopt.engine.program import Program
from scratchopt.engine.trace import read_rule
from scratchopt.engine.update import Update, label_of, number_names

WRITES_G = "a rule must leave g as it is: write `d = lr * g` in place of `g *= lr`"
WRITES_BUFFER = "a gradient_point must leave buffers as they are: write `p += momentum * v`"
NOT_MOVED = "a gradient_point must change p in place, as in `p += momentum * v`; this one has not"
FROM_GROUP = "a gradient point has the numbers of its param group alone"


def read_programs(update: Update, group: dict[str, Any]) -> list[Program]:
    """Reads the rule of a group, once for an update; see `scratchopt.engine.trace`.

    Returns:
        A program for each way through its branches; none of a rule of whole tensors.

    Raises:
        RuleError: a rule or a gradient point that takes what is not there, or breaks a law.
    """
    if update.sums:
        group = group | update.sums.ones
    counts = [(name, _count(update, name, group)) for name in update.names]
    if update.step_numbers:
        counts += [item for item in update.step_numbers.made if item[0] in update.made]
    return _read(update, (*counts, ("t", 0)) if update.takes_t else tuple(counts))


def _count(update: Update, name: str, group: dict[str, Any]) -> int:
    """Counts the numbers in a hyperparameter, 2 in a pair; 0 stands for a single number."""
    at_rule = name in number_names(update.rule)
    taker = label_of(update.rule if at_rule or not update.move else update.move.rule)
    if name not in group:
        made = " and numbers() makes none" if update.step_numbers else ""
        raise RuleError(
            f"{taker} takes {name}, and its param group has none{made}: give it a default, as in "
            f'super().__init__(params, {{"{name}": {name}}}, **options)'
        )
    value = group[name]
    several = isinstance(value, tuple | list)
    numbers = value if several else [value]
    if update.shape.whole:  # of which a rule may take anything, such as None or a name
        numbers = ()
    for number in numbers:
        if not (isinstance(number, Tensor) or hasattr(number, "__float__")):
            raise RuleError(
                f"{taker} takes {name}, which is {value!r} and no number: choose between rules in "
                "rule_for"
            )
    return len(value) if several else 0


@cache
def _read(update: Update, numbers: tuple[tuple[str, int], ...]) -> list[Program]:
    return (_read_move if update.is_move else _read_rule)(update, dict(numbers))


def _read_rule(update: Update, counts: dict[str, int]) -> list[Program]:
    rule, options = update.rule, update.options
    label = label_of(rule)
    letters = _letters(rule, label, ("p", "g"), update.keys)
    kept = (*update.keys, "step", *update.kept_numbers)
    for name in update.keys:
        if kept.count(name) > 1:
            raise RuleError(
                f"{label}: the state would keep two things as {name}: give the buffer another name"
            )
    decays_itself = "weight_decay" in number_names(rule)
    decoupled = options.weight_decay and options.decoupled_weight_decay and not decays_itself
    if decoupled and "lr" not in counts:
        raise RuleError(
            f"{label}: decoupled_weight_decay is lr·weight_decay: the rule must take lr"
        )
    if update.move:
        if taken := [name for name in number_names(update.move.rule) if name in update.made]:
            raise RuleError(
                f"{label_of(update.move.rule)} takes {taken[0]}, which numbers() makes, and a "
                f"gradient is taken before its step: {FROM_GROUP}"
            )
        _read_move(update.move, counts)
    if update.shape.whole and not options.cautious:
        return []  # it is tried before its first step, by `scratchopt.engine.whole_tensors`
    laws = {letters[1]: WRITES_G}
    own = {name: counts[name] for name in number_names(rule)}
    programs = read_rule(label, rule, letters, laws, own)
    for program in programs:
        for i, name in enumerate(("p", "g", *update.keys)):
            if i != 1 and program.results[i] == f"x{i}":
                where = " on each way through its branches" if len(programs) > 1 else ""
                raise RuleError(
                    f"{label}: a rule must change {name} in place{where}, as in "
                    "`m *= 0.9; m += g`; this one has not"
                )
    if options.capturable and len(programs) > 1:
        raise RuleError(
            f"{label} branches on its numbers, and a CUDA graph would repeat one way for ever: "
            "leave capturable out"
        )
    if options.cautious:
        for program in programs:
            check_only_adds(label, program)
        return []
    return read_rule(label, update.apply, letters, {}, counts)


def _read_move(update: Update, counts: dict[str, int]) -> list[Program]:
    """Reads the move to a gradient point; its programs keep θ in the second tensor."""
    point = update.rule
    label, names = label_of(point), number_names(point)
    if "t" in names:
        raise RuleError(
            f"{label} takes t, and a gradient is taken before its step is counted: {FROM_GROUP}"
        )
    letters = _letters(point, label, ("p",), update.keys)
    letters.insert(1, "")  # θ's copy, of which the method knows nothing
    laws = dict.fromkeys(letters[2:], WRITES_BUFFER)
    own = {name: counts[name] for name in names}
    programs = read_rule(label, update.apply, letters, laws, own)
    if any(program.results[0] == "x0" for program in programs):
        raise RuleError(f"{label}: {NOT_MOVED}")
    return [replace(p, results=(p.results[0], "x0", *p.results[2:])) for p in programs]


def _letters(
    function: Callable[..., Any], label: str, first: Sequence[str], keys: tuple[str, ...]
) -> list[str]:
    """The names of the tensors that a function takes: p, perhaps g, and each buffer."""
    arguments = signature(function).parameters.values()
    if any(a.kind == a.VAR_POSITIONAL for a in arguments):
        return [*first, *keys]
    letters = [a.name for a in arguments if a.kind in (a.POSITIONAL_ONLY, a.POSITIONAL_OR_KEYWORD)]
    if len(letters) != len(first) + len(keys):
        raise RuleError(
            f"{label} takes {', '.join(letters)}, and must take {', '.join(first)} and a tensor "
            f"for each of its buffers, which are {', '.join(keys) or 'none'}: name a state key for "
            "each in `buffers`; numbers come after a `*`"
        )
    return letters
