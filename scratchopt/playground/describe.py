"""All that the playground knows of methods and functions, as JavaScript."""

from scratchopt.playground.functions import write_functions
from scratchopt.playground.methods import write_methods


def describe() -> str:
    """Writes the object `PLAYGROUND`, with `methods` and `functions` by name."""
    return (
        f"const PLAYGROUND = {{\nmethods: {write_methods()},\nfunctions: {write_functions()}\n}};\n"
    )
