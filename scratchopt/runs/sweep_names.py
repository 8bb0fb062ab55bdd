"""Directories of a sweep's runs, named by what differs between the runs."""

import re
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from math import ceil, prod
from os import fsencode
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    Override,
    QuotedString,
    RangeSweep,
    Transformer,
)
from hydra.errors import OverrideParseException
from omegaconf import OmegaConf

from scratchopt.config.checkout import CONF
from scratchopt.config.fields import UserError

BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
EXCLUDED = "hydra.job.config.override_dirname.exclude_keys"
TRIAL = "${name_trial:${hydra:sweeper._target_},${hydra:job.num}}"
# Whoever gives one of these names the runs himself.
NAMING = re.compile(r"hydra\.sweep(\.subdir)?|hydra\.job\.config(\.override_dirname(\.\w+)?)?")
PLAIN = re.compile(r"\w+([./]\w+)*")  # a key that an interpolation may name
NOT_IN_NAMES = re.compile(r"[/\\\x00-\x1f\x7f]|^\.{1,2}$")
MOST_RUNS = 10_000  # of a sweep; Hydra lists them all before the first
MAX_BYTES = 200  # of a name; file systems have room for 255, and files beside it have longer names


def name_folder(text: Any) -> str:
    """Makes the name of one folder of a text; it is the text itself, if a folder can be called so.

    What a name cannot have is replaced by _, what is too long is cut off, and then a hash keeps the
    names of different texts distinct. It is a resolver of OmegaConf, `name_folder`.

    >>> name_folder("nag,lr=0.1")
    'nag,lr=0.1'
    >>> name_folder("note=../a")
    'note=.._a-000b8bfe'
    """
    text = str(text)
    name = NOT_IN_NAMES.sub("_", text)
    if len(fsencode(name)) > MAX_BYTES:
        name = fsencode(name)[:MAX_BYTES].decode(errors="ignore")
    return name if name == text else f"{name}-{sha256(fsencode(text)).hexdigest()[:8]}"


def name_trial(sweeper: str, number: int) -> str:
    """Names a run of a sweeper that searches, which may ask for the same run twice: "trial=7".

    It is empty for Hydra's own sweeper, which does not. It is a resolver of OmegaConf, too.

    Args:
        sweeper: the class.
        number: of the job.
    """
    return "" if sweeper == BASIC_SWEEPER else f"trial={number}"


OmegaConf.register_new_resolver("name_folder", name_folder, replace=True)
OmegaConf.register_new_resolver("name_trial", name_trial, replace=True)


def name_sweep_runs(arguments: list[str]) -> list[str]:
    """Adds to the command line's arguments that a sweep's runs are named by what it varies.

    `-m task=toy optimizer=sgd,nag optimizer.lr=0.1,1.0` makes `sgd,lr=0.1` and so on: the choice
    of a group, and values by the last part of their key, or all of it if two end in the same way.
    Hydra's own name would be `optimizer.lr=0.1,optimizer=sgd,task=toy`. It remains where a key is
    too unusual for this, as `group@package` is. What a sweeper varies beyond the command line is a
    folder more. Where nothing is varied, or the user names the directories or has a configuration
    of his own, the arguments are as they were.

    Raises:
        UserError: a value that is given twice, whose runs would be one, or too many runs.
    """
    given = get_args(arguments)
    if not (given.multirun or "hydra.mode=MULTIRUN" in given.overrides):
        return arguments
    try:
        overrides = OverridesParser.create().parse_overrides(given.overrides)
    except OverrideParseException:
        return arguments  # Hydra is about to say what is wrong
    swept = [o for o in overrides if o.is_sweep_override()]
    searching = any(o.key_or_group == "hydra/sweeper" for o in overrides)
    if not searching and (runs := prod(map(_count_values, swept))) > MOST_RUNS:
        varied = " ".join(str(o.input_line) for o in swept)
        raise UserError(f"{varied}: {runs:,} runs; a sweep has at most {MOST_RUNS:,}, give fewer")
    for override in swept:
        _refuse_values_given_twice(override)
    usual = all(o.package is None and PLAIN.fullmatch(o.key_or_group) for o in swept)
    # Which keys are groups in the folders of a search path, Hydra alone knows.
    usual = usual and all(o.key_or_group != "hydra.searchpath" for o in overrides)
    own = given.config_path or given.config_name
    if not swept or not usual or own or any(NAMING.fullmatch(o.key_or_group) for o in overrides):
        return arguments
    keys = [o.key_or_group for o in swept]
    ends = [key.rpartition(".")[2] for key in keys]
    folders = [Path(folder) for folder in (CONF, given.config_dir) if folder]
    parts = [
        f"${{hydra:runtime.choices.{key}}}"
        if any((folder / key).is_dir() for folder in folders)
        else f"{end if ends.count(end) == 1 else key}=${{{key}}}"
        for key, end in zip(keys, ends, strict=True)
    ]
    rest = ",".join(f"'{o.key_or_group}'" for o in overrides if not o.is_hydra_override())
    first = arguments.index(given.overrides[0])  # overrides must stand together
    names = f'${{name_folder:"{",".join(parts)}"}}'
    beneath = f'${{name_folder:"${{hydra:job.override_dirname}}"}}/{TRIAL}'
    return [
        *arguments[:first],
        f"hydra.sweep.subdir='./{names}/{beneath}'",
        f"{EXCLUDED}=[{rest}]",
        *arguments[first:],
    ]


def _refuse_values_given_twice(override: Override) -> None:
    if not override.is_discrete_sweep() or isinstance(override.value(), Glob):
        return
    seen = set()
    for value in override.sweep_iterator(Transformer.identity):
        if (number := _number(value)) in seen:
            raise UserError(
                f"{override.input_line}: {_text(value)} is there twice, and its runs would be one; "
                "give each value once"
            )
        seen.add(number)


def _count_values(override: Override) -> int:
    """Counts the values of an override without making them; 1 of what is not known yet."""
    value = override.value()
    if isinstance(value, RangeSweep):
        start, stop, step = value.start or 0, value.stop or 0, value.step
        return max(0, ceil((stop - start) / step)) if step else 1
    return len(value.list) if isinstance(value, ChoiceSweep) else 1


def _text(value: Any) -> str:
    """A value as it stands in a folder's name."""
    if isinstance(value, list):
        return str([_text(inner) for inner in value])
    return value.text if isinstance(value, QuotedString) else str(value)


def _number(value: Any) -> Any:
    """A value as it is compared with others: 1 is 1.0, whatever the names of their folders."""
    if isinstance(value, list):
        return tuple(map(_number, value))
    try:
        number = Decimal(_text(value))
    except InvalidOperation:
        return _text(value)
    return number if number.is_finite() else _text(value)
