"""Times a start, a training step and an optimizer's step, against the least they could cost."""

import _checkout  # noqa: F401  (finds the packages of this checkout)

from scratchopt.cli.bench import main

if __name__ == "__main__":
    main()
