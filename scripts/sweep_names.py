"""Directories of a sweep's runs, named by what differs between the runs."""

from hydra._internal.utils import get_args
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException

EXCLUDED = "hydra.job.config.override_dirname.exclude_keys"
NAMING = ("hydra.sweep.subdir", EXCLUDED)  # whoever gives one of them names the runs himself


def naming_what_differs(arguments: list[str]) -> list[str]:
    """The command line's arguments, such that a run's directory leaves out what all runs share.

    `-m task=toy optimizer=sgd,nag` makes `optimizer=sgd` and `optimizer=nag`, not
    `optimizer=sgd,task=toy` and `optimizer=nag,task=toy`. Without a sweep, or where the user names
    the directories, the arguments are as they were.
    """
    given = get_args(arguments)
    if not (given.multirun or "hydra.mode=MULTIRUN" in given.overrides):
        return arguments
    try:
        overrides = OverridesParser.create().parse_overrides(given.overrides)
    except OverrideParseException:
        return arguments  # Hydra is about to say what is wrong
    sweeping = {o.key_or_group for o in overrides if o.is_sweep_override()}
    shared = {o.key_or_group for o in overrides if not o.is_hydra_override()} - sweeping
    if not sweeping or not shared or any(o.key_or_group in NAMING for o in overrides):
        return arguments
    keys = ",".join(f"'{key}'" for key in sorted(shared))
    first = arguments.index(given.overrides[0])  # overrides must stand together
    return [*arguments[:first], f"{EXCLUDED}=[{keys}]", *arguments[first:]]
