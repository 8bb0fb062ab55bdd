"""Trains, compares and reads runs in a notebook: the commands of scripts/ as functions."""

from scratchopt.notebook.comparing import compare, read_report
from scratchopt.notebook.interrupted import Interrupted
from scratchopt.notebook.runs import Runs, find_runs
from scratchopt.notebook.training import sweep, train

__all__ = ["Interrupted", "Runs", "compare", "find_runs", "read_report", "sweep", "train"]
