"""Compares optimizers, each tuned with the same budget and judged by fresh seeds."""

import _checkout  # noqa: F401  (finds the packages of this checkout)

from scratchopt.cli.compare import main

if __name__ == "__main__":
    main()
