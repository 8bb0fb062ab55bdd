"""Trains, compares and reads runs in a notebook: the commands of scripts/ as functions."""

from scratchopt.notebook.comparing import compare as compare
from scratchopt.notebook.comparing import read_report as read_report
from scratchopt.notebook.runs import Runs as Runs
from scratchopt.notebook.runs import find_runs as find_runs
from scratchopt.notebook.training import sweep as sweep
from scratchopt.notebook.training import train as train
