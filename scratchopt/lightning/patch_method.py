"""Patching: a method of an object is replaced for a while, and put back."""

from collections.abc import Callable
from typing import Any


def patch_method(owner: Any, name: str, method: Callable[..., Any]) -> Callable[[], None]:
    """Replaces a method of an object; calling the function that is returned undoes it.

    What was set on the object itself, rather than on its class, is there again then. To undo it
    twice does no harm.
    """
    own = name in vars(owner), vars(owner).get(name)
    setattr(owner, name, method)

    def undo() -> None:
        if vars(owner).get(name) is method:
            delattr(owner, name)
            if own[0]:
                setattr(owner, name, own[1])

    return undo


def do_nothing() -> None:
    """Does nothing: what there is to call while nothing is patched."""
