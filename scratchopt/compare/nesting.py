"""The nesting of optimizers: tuned well, one can't be worse than one it includes (Choi, 2019).

A method's file says which others it is for some settings, and by which of these.
"""

from scratchopt.method_files import methods


def _find_included(name: str) -> tuple[str, ...]:
    """Finds the methods that one includes, and those that these include."""
    direct = methods()[name].literal("includes", ()) if name in methods() else ()
    further = (special for general in direct for special in _find_included(general))
    return tuple(dict.fromkeys((*direct, *further)))


INCLUDED = {name: found for name in methods() if (found := _find_included(name))}
DECISIVE = {
    name: tuple(f"optimizer.{key}" for key in methods()[name].literal("includes_by", ()))
    for name in INCLUDED
}


def includes(general: str, special: str) -> bool:
    """Tells whether the first is the second for some settings of its own."""
    return special in INCLUDED.get(general, ())
