"""Draws recorded runs: curves, paths, and what the learning rate decides."""

import _checkout  # noqa: F401  (finds the packages of this checkout)

from scratchopt.cli.plot import main

if __name__ == "__main__":
    main()
