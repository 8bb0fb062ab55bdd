"""The arguments of train.py, made into those that Hydra is given."""

from hydra._internal.utils import get_args, get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException

from scratchopt.config.fields import UserError
from scratchopt.config.messages import GROUPS
from scratchopt.config.processes import adapt_to_rank
from scratchopt.runs.resume import expand_resume
from scratchopt.runs.store import direct_to_store
from scratchopt.runs.sweep_names import name_sweep_runs

SUBDIR = "hydra.output_subdir"
PLACES = ("hydra.run.dir", "hydra.sweep.dir")


def rewrite_arguments(arguments: list[str]) -> list[str]:
    """Rewrites the arguments of train.py where `resume=`, `store=` or a sweep ask for it.

    Raises:
        UserError: arguments that cannot be had, or not together.
    """
    given = name_sweep_runs(expand_resume(put_options_first(arguments)))
    check_choices(given)
    return adapt_to_rank(keep_hydra_from_writing(direct_to_store(given)))


def put_options_first(arguments: list[str]) -> list[str]:
    """Puts options before overrides, which Hydra's parser wants to stand together."""
    known = get_args_parser()._option_string_actions
    options, overrides = [], []
    rest = iter(arguments)
    for argument in rest:
        action = known.get(argument)
        if not argument.startswith("-"):
            overrides.append(argument)
            continue
        name = argument.partition("=")[0]
        if not any(option.startswith(name) or argument.startswith(option) for option in known):
            raise UserError(f"{argument}: no such option; --hydra-help lists them, --help the keys")
        options.append(argument)
        if action is not None and action.nargs is None:  # its value is the next argument
            value = next(rest, None)
            if value is None:
                raise UserError(f"{argument}: give its value, too")
            options.append(value)
    return [*options, *overrides]


def check_choices(arguments: list[str]) -> None:
    """Refuses what cannot be the choice of a group, or the folder of a run.

    Raises:
        UserError: with the remedy.
    """
    try:
        given = OverridesParser.create().parse_overrides(get_args(arguments).overrides)
    except OverrideParseException:
        return  # Hydra is about to say what is wrong
    for override in given:
        value = override.value()
        if override.key_or_group in PLACES and value in ("", None):
            raise UserError(f"{override.input_line}: must be a folder")
        if override.key_or_group not in GROUPS or override.is_delete():
            continue
        if isinstance(value, list):
            names = ",".join(map(str, value))
            raise UserError(
                f"{override.input_line}: takes one choice; -m {override.key_or_group}={names} runs "
                "each"
            )
        if value in ("", None) or isinstance(value, (int, float)):
            raise UserError(f"{override.input_line}: must be the name of a choice")


def keep_hydra_from_writing(arguments: list[str]) -> list[str]:
    """Adds an argument that keeps Hydra from writing `.hydra`.

    It would write it before the directory is known to be free.

    Raises:
        UserError: another name for it, under which a run would not be found.
    """
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key.lstrip("+~") == SUBDIR and value != "null":
            raise UserError(
                f"{argument}: a run's configuration is found in .hydra and nowhere else; leave it "
                "out"
            )
    return [*arguments, f"{SUBDIR}=null"]
