"""Schemas of the nodes in conf/schedule, and what a schedule wants of the rest of a run."""

from dataclasses import dataclass
from math import inf
from typing import Any

from scratchopt.config.fields import UserError, must_be
from scratchopt.config.optimizers import optimizer_schema

MOMENTUM = ("momentum_rise", "base_momentum")  # keys that schedule the momentum
ENDLESS = (None, -1)


@dataclass
class Constant:
    """The keys of `scratchopt.schedules.constant`, and of all but `one_cycle`."""

    warmup: int = must_be("an integer >= 0", lambda n: n >= 0)
    momentum_rise: int | None = must_be("an integer >= 1, or null", lambda n: n >= 1)


@dataclass
class Cosine(Constant):
    """The keys of `scratchopt.schedules.cosine` and `linear`."""

    end_factor: float = must_be("a number in [0, 1]", lambda x: 0 <= x <= 1)


@dataclass
class Step(Constant):
    """The keys of `scratchopt.schedules.step`."""

    step_size: int | None = must_be("an integer >= 1, or null", lambda n: n >= 1)
    gamma: float = must_be("a number > 0", lambda x: x > 0)


@dataclass
class OneCycle:
    """The keys of `scratchopt.schedules.one_cycle`."""

    warmup: int | None = must_be("an integer >= 0, or null", lambda n: n >= 0)
    div_factor: float = must_be("a number > 0", lambda x: x > 0)
    final_div_factor: float = must_be("a number > 0", lambda x: x > 0)
    base_momentum: float | None = must_be("a number in [0, 1), or null", lambda x: 0 <= x < 1)


SCHEDULES = {
    "scratchopt.schedules.constant": Constant,
    "scratchopt.schedules.cosine": Cosine,
    "scratchopt.schedules.linear": Cosine,
    "scratchopt.schedules.step": Step,
    "scratchopt.schedules.one_cycle": OneCycle,
}


def name_schedule(node: dict[str, Any] | None) -> str:
    """Names the schedule of a validated configuration, as its choice in conf/schedule."""
    return "constant" if node is None else node["_target_"].rpartition(".")[2]


def is_idle(node: dict[str, Any]) -> bool:
    """Tells whether a schedule changes nothing: a constant one without warmup and rise."""
    if SCHEDULES.get(node["_target_"]) is not Constant:
        return False
    return not node.get("warmup") and node.get("momentum_rise") is None


def depends_on_length(node: dict[str, Any] | None) -> bool:
    """Tells whether a schedule of this project is made from the number of the run's steps."""
    schema = None if node is None else SCHEDULES.get(node["_target_"])
    return schema not in (None, Constant) and (node or {}).get("step_size") is None


def check_schedule(run: dict[str, Any]) -> None:
    """Checks a schedule against the optimizer and the length of a run.

    Raises:
        UserError: a momentum that is not there, or a length that nobody knows, or that the warmup
            fills.
    """
    node, optimizer = run["schedule"], run["optimizer"]
    if not node:
        return
    asked = [key for key in MOMENTUM if node.get(key) is not None]
    known = optimizer_schema(optimizer["_target_"]) is not None
    if asked and known and not optimizer.keys() & {"momentum", "betas"}:
        name = optimizer["_target_"].rpartition(".")[2]
        raise UserError(
            f"schedule.{asked[0]}={node[asked[0]]}: {name} has no momentum; leave it out, or take "
            "an optimizer that has one"
        )
    if not depends_on_length(node):
        return
    endless = run.get("max_steps") in ENDLESS and run.get("max_epochs") in ENDLESS
    if endless:
        raise UserError(
            f"schedule={name_schedule(node)}: is made for the steps of the run, and this one has "
            "no end that is known; give max_steps"
        )
    limit = inf if run.get("max_steps") in ENDLESS else run["max_steps"]
    if (warmup := node.get("warmup") or 0) >= limit:
        raise UserError(f"schedule.warmup={warmup}: must be less than max_steps={limit}")
