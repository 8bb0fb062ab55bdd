"""Compares optimizers, each tuned with the same budget and judged by fresh seeds.

    python scripts/compare.py task=mnist optimizers=[sgd,momentum,nag,adam] budget=16 seeds=10
    python scripts/compare.py --from multirun/<time>

The first trains what is missing in the store and writes a report; killed, it goes on when it is
given again. The second makes the report of runs that are there already, those that differ by the
seed alone put together. Keys and their values if they are not given:

{keys}
"""

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tqdm import tqdm

from scratchopt.cli.parser import Parser
from scratchopt.cli.streams import guard_streams
from scratchopt.compare.command_keys import parse_request
from scratchopt.compare.comparison import Comparison
from scratchopt.compare.request import Request
from scratchopt.compare.runs import ScoredRun
from scratchopt.compare.schedule import Schedule
from scratchopt.config.checkout import CONF
from scratchopt.config.fields import UserError
from scratchopt.config.messages import GIVEN_WRONG, one_line
from scratchopt.config.paths import absolute_path
from scratchopt.runs.lock import lock_directory

if TYPE_CHECKING:
    from scratchopt.compare.report import Report

NEEDED = ("scipy", "tabulate")


def main() -> None:
    """Does what the command line says, or says in one line why not."""
    guard_streams()
    keys = (CONF / "compare.yaml").read_text(encoding="utf-8")
    parser = Parser((__doc__ or "").replace("{keys}", keys.rstrip().replace("\n", "\n    ")))
    add_arguments(parser)
    worker = "do the runs that are asked for on standard input, as compare.py does with many"
    parser.add_argument("--worker", action="store_true", help=worker)
    given = parser.parse_intermixed_args()
    if given.worker:
        from scratchopt.runs.worker import work

        work()
        return
    try:
        request = parse_request(given.keys, given.config_dir)
        check_packages()
        if given.place:
            write_and_print(*compare_earlier(given.place, request))
        else:
            compare(request)
    except (UserError, *GIVEN_WRONG, OSError) as error:
        parser.exit(1, f"compare.py: {one_line(error)}\n")
    except KeyboardInterrupt:
        parser.exit(130, "\ncompare.py: stopped; the same command goes on\n")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what is given for a comparison: its keys, and whence runs and configurations are."""
    parser.add_argument("keys", nargs="*", metavar="key=value")
    found = "of runs, or of a multirun"
    parser.add_argument("--from", dest="place", metavar="DIR", type=Path, help=found)
    parser.add_argument("--config-dir", type=Path, help="a further folder of configurations")


def check_packages() -> None:
    """Refuses to begin where a package is missing that is needed in the end.

    Raises:
        UserError: with the remedy.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise UserError(f"{missing[0]} is not installed: pip install -e '.[compare]'")


def compare(request: Request) -> None:
    """Trains what is missing, and reports."""
    check_folders(request)
    interrupted = threading.Event()

    def interrupt(*_: object) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    schedule = Schedule(request)
    with tqdm(total=schedule.max_runs, unit="run", disable=None) as bar:
        began, fresh = time.monotonic(), 0

        def report_progress(run: ScoredRun, done: int, is_fresh: bool) -> None:
            nonlocal fresh
            if interrupted.is_set():  # and what was under way, as an import, has swallowed it
                raise KeyboardInterrupt
            bar.update()
            fresh += is_fresh
            if not sys.stderr.isatty():
                words = f"{done} of at most {schedule.max_runs}: {describe_run(run)}"
                if fresh:
                    each = (time.monotonic() - began) / fresh
                    words += f"; at most {_format_time(each * (schedule.max_runs - done))} left"
                print(words, file=sys.stderr, flush=True)

        comparison = do_runs(schedule, report_progress)
        bar.total = bar.n  # fewer, where defaults are the best settings or trials all failed
    write_and_print(comparison, request.output)


def do_runs(schedule: Schedule, on_run: Callable[[ScoredRun, int, bool], None]) -> Comparison:
    """Trains what is missing of a comparison, in several processes.

    Args:
        schedule: of the comparison.
        on_run: called with each run, as `scratchopt.compare.executor.Executor` does.

    Raises:
        UserError: a run that this machine cannot do.
    """
    from scratchopt.compare.executor import Executor, Workers

    keys = schedule.request.keys
    with Workers(keys["workers"] or _count_cores(), absolute_path(keys["store"])) as workers:
        return Executor(schedule, workers, on_run).execute()


def check_folders(request: Request) -> None:
    """Refuses, before hours of work, folders in which there will be no room for files.

    Raises:
        UserError: with the remedy.
    """
    for key in ("store", "output"):
        if given := request.keys[key]:
            check_folder(key, given)


def check_folder(key: str, given: str) -> None:
    """Refuses a folder in which there will be no room for files.

    Raises:
        UserError: with the remedy.
    """
    place = absolute_path(given)
    if place.is_file():
        raise UserError(f"{key}={given}: is a file; give a folder")
    try:
        with TemporaryDirectory(dir=next(p for p in [place, *place.parents] if p.exists())):
            pass
    except OSError as error:
        raise UserError(f"{key}={given}: {error.strerror}; give another folder") from error


def compare_earlier(place: Path, request: Request) -> tuple[Comparison, Path]:
    """Compares runs that are there, and says where their report is to lie."""
    from scratchopt.compare.collect import collect_runs

    comparison, unended, left_out = collect_runs(place, request)
    for directory in unended:
        print(f"compare.py: {directory} has not ended, and is left out", file=sys.stderr)
    for what, directories in left_out.items():
        if directories:
            print(f"compare.py: {len(directories)} runs {what}, are left out", file=sys.stderr)
    given = request.keys["output"]
    return comparison, request.output if given else place / "comparison"


def write_and_print(comparison: Comparison, directory: Path) -> None:
    """Writes the report, and prints its core."""
    from scratchopt.compare.render import render_console

    report = write(comparison, directory)
    print(render_console(report))
    print(f"\nreport  {directory / 'report.html'}")


def write(comparison: Comparison, directory: Path) -> "Report":
    """Writes the files of a report; the same command may be at its end elsewhere."""
    from scratchopt.compare.files import write_report

    directory.mkdir(parents=True, exist_ok=True)
    with lock_directory(directory, wait=True):
        return write_report(comparison, directory)


def describe_run(run: ScoredRun) -> str:
    """Describes what came of a run in a line."""
    result = run.result
    settings = " ".join(f"{k.rpartition('.')[2]}={v}" for k, v in run.settings.items())
    reached = f"{run.cost_to_target:,g} evaluations" if run.to_target else "target not reached"
    if run.stopped:
        reached = f"stopped after {run.more_than:,g} evaluations"
    ending = result.error or (result.status if run.failed else reached)
    return f"{result.optimizer} {settings} seed={result.seed}: {ending}"


def _format_time(seconds: float) -> str:
    """A time with the precision that a guess has."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _count_cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1
