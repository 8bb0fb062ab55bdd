"""Draws rates and limits of stability, in closed form and measured."""

import _checkout  # noqa: F401  (finds the packages of this checkout)

from scratchopt.cli.theory import main

if __name__ == "__main__":
    main()
