"""Compares optimizers in a notebook, as scripts/compare.py does, and reads such reports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scratchopt.cli.compare import check_folders, check_packages, describe_run, do_runs, write
from scratchopt.compare.command_keys import parse_request
from scratchopt.compare.schedule import Schedule
from scratchopt.config.checkout import check_checkout
from scratchopt.config.fields import UserError
from scratchopt.config.messages import GIVEN_WRONG, one_line
from scratchopt.notebook.interrupted import Interrupted
from scratchopt.runs.notebook_kernel import in_notebook, show_progress

if TYPE_CHECKING:
    from scratchopt.compare.runs import ScoredRun
    from scratchopt.compare.stored_report import StoredReport


def compare(*keys: str) -> StoredReport:
    """Compares optimizers, as `python scripts/compare.py` does by the same keys.

    Runs that are in the store are not done again: interrupted, it goes on when it is called again.

    Args:
        keys: such as "task=toy", "optimizers=[sgd,nag]", "budget=4".

    Raises:
        UserError: what cannot be had, in one line with the remedy.
        Interrupted: the user has stopped it.
    """
    check_checkout()
    try:
        request = parse_request(list(keys))
        check_packages()
        check_folders(request)
        schedule = Schedule(request)

        def tell(run: ScoredRun, done: int, is_fresh: bool) -> None:
            if in_notebook():
                most = schedule.max_runs
                show_progress(f"{done} of at most {most}: {describe_run(run)}", done, most)

        try:
            write(do_runs(schedule, tell), request.output)
        finally:
            if in_notebook():
                show_progress("")
    except (*GIVEN_WRONG, OSError) as error:
        raise UserError(one_line(error)) from None
    except KeyboardInterrupt:
        raise Interrupted("stopped; the same call goes on") from None
    return read_report(request.output)


def read_report(directory: str | Path) -> StoredReport:
    """Reads the report that `compare` or compare.py has written into a directory.

    Raises:
        UserError: no report, or one that cannot be read.
    """
    from scratchopt.compare.stored_report import StoredReport

    return StoredReport.read(directory)
