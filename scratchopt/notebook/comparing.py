"""Compares optimizers in a notebook, as scripts/compare.py does, and reads such reports."""

from __future__ import annotations

from argparse import ArgumentError, ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from scratchopt.cli.compare import (
    add_arguments,
    check_folders,
    check_packages,
    compare_earlier,
    describe_run,
    do_runs,
    write,
)
from scratchopt.compare.command_keys import parse_request
from scratchopt.compare.schedule import Schedule
from scratchopt.config.checkout import check_checkout
from scratchopt.config.fields import UserError
from scratchopt.config.messages import GIVEN_WRONG, one_line
from scratchopt.notebook.interrupted import Interrupted
from scratchopt.runs.notebook_kernel import in_notebook, show_progress

if TYPE_CHECKING:
    from scratchopt.compare.comparison import Comparison
    from scratchopt.compare.request import Request
    from scratchopt.compare.runs import ScoredRun
    from scratchopt.compare.stored_report import StoredReport


def compare(*arguments: str) -> StoredReport:
    """Compares optimizers, as `python scripts/compare.py` does by the same arguments.

    Runs that are in the store are not done again: interrupted, it goes on when it is called again.

    Args:
        arguments: such as "task=toy", "optimizers=[sgd,nag]", "budget=4"; "--config-dir=conf" for
            configurations of your own, "--from=runs" to compare runs that are there.

    Raises:
        UserError: what cannot be had, in one line with the remedy.
        Interrupted: the user has stopped it.
    """
    check_checkout()
    try:
        given = _parse(arguments)
        request = parse_request(given.keys, given.config_dir)
        check_packages()
        if given.place:
            comparison, output = compare_earlier(given.place, request)
        else:
            comparison, output = _do_runs(request), request.output
        write(comparison, output)
    except (*GIVEN_WRONG, OSError) as error:
        raise UserError(one_line(error)) from None
    except KeyboardInterrupt:
        raise Interrupted("stopped; the same call goes on") from None
    return read_report(output)


def _parse(arguments: tuple[str, ...]) -> Namespace:
    """Parses what a command line has before and between its keys, too."""
    if wrong := [argument for argument in arguments if not isinstance(argument, str)]:
        raise UserError(f'{wrong[0]!r}: must be a string, such as "budget=4"')
    parser = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    add_arguments(parser)
    try:
        given, unknown = parser.parse_known_intermixed_args(arguments)
    except ArgumentError as error:
        raise UserError(str(error)) from None
    if unknown:
        raise UserError(f"{unknown[0]}: no such option; there are --config-dir and --from")
    return given


def _do_runs(request: Request) -> Comparison:
    """Trains what is missing of a comparison, and shows how far it is."""
    check_folders(request)
    schedule = Schedule(request)

    def tell(run: ScoredRun, done: int, is_fresh: bool) -> None:
        if in_notebook():
            most = schedule.max_runs
            show_progress(f"{done} of at most {most}: {describe_run(run)}", done, most)

    try:
        return do_runs(schedule, tell)
    finally:
        if in_notebook():
            show_progress("")


def read_report(directory: str | Path) -> StoredReport:
    """Reads the report that `compare` or compare.py has written into a directory.

    Raises:
        UserError: no report, or one that cannot be read.
    """
    from scratchopt.compare.stored_report import StoredReport

    return StoredReport.read(directory)
