"""Writes a page that plays recorded runs back, step by step."""

import _checkout  # noqa: F401  (finds the packages of this checkout)

from scratchopt.cli.play import main

if __name__ == "__main__":
    main()
