"""The keys of the command line, those of conf/compare.yaml and of runs, made into a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from omegaconf import OmegaConf

from scratchopt.compare.request import Request
from scratchopt.config.checkout import CONF
from scratchopt.config.fields import (
    UserError,
    as_typed,
    must_be,
    one_of,
    validate_fields,
)

MAX_RUNS = 10_000  # of an optimizer on a task: more take minutes to plan, and years to do
RESERVED = {  # keys of a run that the comparison itself sets
    "checkpoint_kept": "the checkpoints of so many runs would fill the disk",
    "figures": "plot.py draws the runs of the store",
    "optimizer": "the optimizers are named by optimizers=[...]",
    "optimizer.lr": "it is searched",
    "resume": "the same command goes on by itself",
    "test": "only the runs that are judged are tested",
}


def _are_names(value: Any) -> bool:
    names = value if isinstance(value, list) else [value]
    return bool(names) and all(isinstance(n, str) and n for n in names) and _are_distinct(names)


def _are_distinct(values: Sequence[Any]) -> bool:
    return len(set(map(as_typed, values))) == len(values)


@dataclass
class CommandKeys:
    """The keys of conf/compare.yaml."""

    task: Any = must_be("a task's name, or a list of several", _are_names)  # noqa: RUF009
    optimizers: Any = must_be("a list of optimizers' names, each once", _are_names)  # noqa: RUF009
    budget: int = must_be("an integer in [1, 10000]", lambda n: 1 <= n <= MAX_RUNS)
    seeds: int = must_be("an integer in [1, 10000]", lambda n: 1 <= n <= MAX_RUNS)
    seed: int = must_be("an integer in [0, 2**31)", lambda n: 0 <= n < 2**31)  # more come after it
    search: str = one_of("grid", "optuna")
    tune: Any = must_be("keys and their values, such as {momentum: [0.5, 0.9]}")  # noqa: RUF009
    start: str = one_of("library", "task")
    decide: str = one_of("cost", "metric")
    until: str | None = one_of("target", "end")
    workers: int | None = must_be("an integer in [1, 1000], or null", lambda n: 1 <= n <= 1000)
    store: str = must_be("a folder", bool)
    output: str | None = must_be("a folder, or null")


def parse_request(arguments: Sequence[str], config_dir: Path | None = None) -> Request:
    """Parses arguments, `key=value` each, into a request for a comparison.

    Raises:
        UserError: a value that no comparison can have.
        OverrideParseException: an argument that is none.
    """
    own_keys = {field.name for field in fields(CommandKeys)}
    parsed = OverridesParser.create().parse_overrides(list(arguments))
    mine = {o.key_or_group: o.value() for o in parsed if o.key_or_group in own_keys}
    rest = tuple(str(o.input_line) for o in parsed if o.key_or_group not in own_keys)
    if swept := [o.input_line for o in parsed if o.is_sweep_override()]:
        raise UserError(f"{swept[0]}: a list is written [a,b] here")
    if left_out := [o for o in parsed if o.is_delete() and o.key_or_group in own_keys]:
        words = left_out[0].input_line
        raise UserError(f"{words}: every comparison has one; leave that out for the default")
    content = OmegaConf.to_container(OmegaConf.load(CONF / "compare.yaml"))
    keys = validate_fields(CommandKeys, {**content, **mine}, "")  # pyright: ignore
    keys["tune"] = _validate_tune(keys["tune"], keys["search"])
    keys["until"] = keys["until"] or ("target" if keys["decide"] == "cost" else "end")
    if (keys["until"], keys["decide"]) == ("target", "metric"):
        raise UserError(
            "until=target: by decide=metric the metric at the end decides, to which no run would "
            "come; leave until out, or decide by the cost"
        )
    known = own_keys | _list_train_keys()
    if config_dir and not config_dir.is_dir():
        raise UserError(f"--config-dir {config_dir}: no such directory")
    for override in parsed:
        key, words = override.key_or_group, override.input_line
        if f"optimizer.{key}" in RESERVED:
            raise UserError(f"{words}: {RESERVED[f'optimizer.{key}']}; leave it out")
        first = key.replace("/", ".").partition(".")[0]
        added = override.type != OverrideType.CHANGE or config_dir  # which may have further keys
        if first not in known and not added:
            raise UserError(
                f"{words}: no such key; those of a comparison are {', '.join(sorted(own_keys))}, "
                "all others are train.py's"
            )
        if first == "hydra" and key != "hydra.searchpath":
            raise UserError(f"{words}: the runs lie in the store, and no sweeper asks for them")
        if key in RESERVED:
            raise UserError(f"{words}: {RESERVED[key]}; leave it out")
        if first == "settings" and keys["start"] == "library":
            raise UserError(
                f"{words}: the optimizers begin at their own defaults; give start=task too"
            )
    return Request(keys, tuple(mine), rest, config_dir)


def _list_train_keys() -> set[str]:
    """Lists the keys of the first level that a run may have."""
    files = CONF / "train.yaml", *(CONF / "task").glob("*.yaml")
    keys = {str(key) for file in files for key in OmegaConf.load(file)}
    return keys | {path.name for path in CONF.iterdir()} | {"hydra"}


def _validate_tune(tune: Any, search: str) -> dict[str, list[Any]]:
    """Validates the keys to be tuned beside the lr; Optuna draws their values itself."""
    if search == "optuna":
        keys = tune or []
        if not (isinstance(keys, list) and all(isinstance(key, str) for key in keys)):
            raise UserError(
                f"tune={as_typed(tune)}: must be a list of keys for Optuna, such as [momentum]"
            )
        return {key: [] for key in keys}
    if not isinstance(tune, dict):
        raise UserError(f"tune={as_typed(tune)}: must be a dict, such as {{momentum: [0.5, 0.9]}}")
    for key, values in tune.items():
        if not (isinstance(values, list) and values and _are_distinct(values)):
            raise UserError(
                f"tune={as_typed(tune)}: must have a list of different values for {key}, such as "
                f"{{{key}: [0.5, 0.9]}}"
            )
    return tune
