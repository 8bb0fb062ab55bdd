"""The kernel of a notebook: whether this process is one, and a place in a cell's output."""

import sys
from html import escape
from typing import Any

_latest: list[Any] = [None, None]  # the number of a cell, and the place in its output


def in_notebook() -> bool:
    """Tells whether this process is the kernel of a notebook, which shows what a cell returns."""
    return hasattr(_find_shell(), "kernel")


def _find_shell() -> Any:
    ipython: Any = sys.modules.get("IPython")  # no kernel, nor IPython's shell, is without it
    return ipython and ipython.get_ipython()


def show_progress(words: str, done: int = 0, total: float = 0) -> None:
    """Shows words in the one place that each cell has for them, in place of those before.

    Args:
        words: of a training at hand; empty, when it has ended.
        done: steps.
        total: steps; 0, without a bar.
    """
    cell = _find_shell().execution_count
    bar = f'<progress max="{total}" value="{done}"></progress> ' if total else ""
    content = {"text/plain": words, "text/html": f"{bar}{escape(words)}"}
    if _latest[0] == cell:
        _latest[1].update(content, raw=True)
    elif words:
        from IPython.display import display  # pyright: ignore[reportMissingImports]

        _latest[:] = [cell, display(content, raw=True, display_id=True)]
