"""Trains a task with an optimizer; `python scripts/train.py --help` says how."""

import _checkout  # noqa: F401  (finds the packages of this checkout)

from scratchopt.cli.train import main

if __name__ == "__main__":
    main()
