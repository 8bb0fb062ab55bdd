"""The arguments of train.py, made into those that Hydra is given."""

from hydra._internal.utils import get_args_parser

from scratchopt.config.fields import UserError
from scratchopt.config.processes import adapt_to_rank
from scratchopt.runs.resume import expand_resume
from scratchopt.runs.store import direct_to_store
from scratchopt.runs.sweep_names import name_sweep_runs

SUBDIR = "hydra.output_subdir"


def rewrite_arguments(arguments: list[str]) -> list[str]:
    """Rewrites the arguments of train.py where `resume=`, `store=` or a sweep ask for it.

    Raises:
        UserError: arguments that cannot be had, or not together.
    """
    given = name_sweep_runs(expand_resume(put_options_first(arguments)))
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
        options.append(argument)
        if action is not None and action.nargs is None:  # its value is the next argument
            options += [value for value in [next(rest, None)] if value is not None]
    return [*options, *overrides]


def keep_hydra_from_writing(arguments: list[str]) -> list[str]:
    """Adds that Hydra writes no `.hydra`: it would before a directory is known to be free.

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
