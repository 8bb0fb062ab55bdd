"""All that the playground knows of methods and functions, as JavaScript."""

from scratchopt.playground.functions import write_functions
from scratchopt.playground.methods import write_methods
from scratchopt.playground.programs import write_object


def describe() -> str:
    """Writes the constant `PLAYGROUND`, with `methods` and `functions` by name.

    A method has its title, summary and settings, and its variants: what a step is for each
    choice of which of the settings in `switches` are on, that is, not 0. A variant has its buffers,
    its source lines, and programs: `move` to the gradient point, `make` of the numbers of a step,
    `update`, `limit` of lr·λ, and `preconditioner`. A program has the names of the numbers that it
    takes, and `ways`, a function for each way through its branches, which returns null on another.
    Newton has `steps` in place of variants, one for each dimension.

    A function has its title, formula, start, window, minimizers and so on, what settings suit each
    method on it, and three functions of a point: `value`, `gradient` and `hessian`.
    """
    found = {"methods": write_methods(), "functions": write_functions()}
    return f"const PLAYGROUND = {write_object(found)};\n"
