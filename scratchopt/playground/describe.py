"""All that the playground knows of methods and functions, as JavaScript."""

from scratchopt.playground.functions import write_functions
from scratchopt.playground.methods import write_methods
from scratchopt.playground.programs import write_object


def describe() -> str:
    """Writes the constant `PLAYGROUND`, with `methods` and `functions` by name."""
    found = {"methods": write_methods(), "functions": write_functions()}
    return f"const PLAYGROUND = {write_object(found)};\n"
