"""Runs that are shown together: a table of what came of them, and their common pictures."""

from collections.abc import Iterable
from html import escape
from pathlib import Path

from scratchopt.plots.tables import outcome_notes, outcome_rows, outcome_table
from scratchopt.runs import directory
from scratchopt.runs.directory import Run
from scratchopt.runs.html import as_html_table, embed_pictures


class Runs(list[Run]):
    """Runs that a notebook shows as a table.

    Args:
        runs: in order.
        pictures: the folder with the pictures of all of them; None, where there is none.
    """

    def __init__(self, runs: Iterable[Run], pictures: Path | None = None) -> None:
        super().__init__(runs)
        self.pictures = pictures

    def __repr__(self) -> str:
        return "\n".join([outcome_table(self), *outcome_notes(self)]) if self else "no runs"

    def _repr_html_(self) -> str:
        if not self:
            return "<p>no runs</p>"
        head, *rows = outcome_rows(self)
        notes = "".join(f"<p>{escape(note)}</p>" for note in outcome_notes(self))
        pictures = sorted(self.pictures.glob("*.png")) if self.pictures else []
        return f"{as_html_table(head, rows)}{notes}{embed_pictures(pictures)}"


def find_runs(*places: str | Path) -> Runs:
    """Finds the runs in some directories and beneath them.

    Those of one place are shown with the pictures in its `figures/`, which a sweep or plot.py has
    drawn.

    Raises:
        UserError: a directory that is not there or has no runs, or a run that cannot be read.
    """
    pictures = Path(places[0], "figures") if len(places) == 1 else None
    return Runs(directory.find_runs(places), pictures)
