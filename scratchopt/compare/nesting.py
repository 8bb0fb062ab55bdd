"""Which optimizer includes which, so that tuned well it can't be worse (Choi et al., 2019).

A method's file says which it is for some settings, and by which of them.
"""

from scratchopt.method_files import methods


def _included(name: str) -> tuple[str, ...]:
    """The methods that one includes, and those that these include."""
    direct = methods()[name].literal("includes", ()) if name in methods() else ()
    further = (special for general in direct for special in _included(general))
    return tuple(dict.fromkeys((*direct, *further)))


INCLUDED = {name: found for name in methods() if (found := _included(name))}
DECISIVE = {
    name: tuple(f"optimizer.{key}" for key in methods()[name].literal("includes_by", ()))
    for name in INCLUDED
}


def includes(general: str, special: str) -> bool:
    """Whether the first is the second for some settings of its own."""
    return special in INCLUDED.get(general, ())
