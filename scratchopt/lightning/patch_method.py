"""A method of a module, replaced for a while."""

from collections.abc import Callable
from typing import Any


def replaced(module: Any, name: str, method: Callable[..., Any]) -> Callable[[], None]:
    """Has an object's calls of `name` go to `method`; the function that is returned ends it.

    What was set on the object itself, rather than on its class, is there again then. To end it
    twice does no harm.
    """
    own = name in vars(module), vars(module).get(name)
    setattr(module, name, method)

    def undo() -> None:
        if vars(module).get(name) is method:
            delattr(module, name)
            if own[0]:
                setattr(module, name, own[1])

    return undo


def nothing() -> None:
    """Ends nothing: what there is to call before anything is replaced."""
