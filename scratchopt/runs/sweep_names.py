"""Directories of a sweep's runs, named by what differs between the runs."""

import re
from pathlib import Path

from hydra._internal.utils import get_args
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException

from scratchopt.config.checkout import CONF

EXCLUDED = "hydra.job.config.override_dirname.exclude_keys"
# Whoever gives one of these names the runs himself.
NAMING = re.compile(r"hydra\.sweep(\.subdir)?|hydra\.job\.config(\.override_dirname(\.\w+)?)?")
PLAIN = re.compile(r"\w+([./]\w+)*")  # a key that an interpolation may name


def name_sweep_runs(arguments: list[str]) -> list[str]:
    """Adds to the command line's arguments that a sweep's runs are named by what it varies.

    `-m task=toy optimizer=sgd,nag optimizer.lr=0.1,1.0` makes `sgd,lr=0.1` and so on: the choice
    of a group, and values by the last part of their key, or all of it if two end in the same way.
    Hydra's own name would be `optimizer.lr=0.1,optimizer=sgd,task=toy`. It remains where a key is
    too unusual for this, as `group@package` is. What a sweeper varies beyond the command line is a
    folder more. Where nothing is varied, or the user names the directories or has a configuration
    of his own, the arguments are as they were.
    """
    given = get_args(arguments)
    if not (given.multirun or "hydra.mode=MULTIRUN" in given.overrides):
        return arguments
    try:
        overrides = OverridesParser.create().parse_overrides(given.overrides)
    except OverrideParseException:
        return arguments  # Hydra is about to say what is wrong
    swept = [o for o in overrides if o.is_sweep_override()]
    usual = all(o.package is None and PLAIN.fullmatch(o.key_or_group) for o in swept)
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
    return [
        *arguments[:first],
        f"hydra.sweep.subdir='{','.join(parts)}/${{hydra:job.override_dirname}}'",
        f"{EXCLUDED}=[{rest}]",
        *arguments[first:],
    ]
