"""Puts this checkout's packages first on Python's path, and the user's own last.

The folder of the scripts, which Python puts first, comes at the very end: names such as `train`
are too common to be found by everyone, but a process that is spawned looks for this module again.
"""

import os
import sys
from pathlib import Path

FIRST, LAST = str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)
try:
    working_directory = os.getcwd()
except FileNotFoundError:
    command = Path(sys.argv[0]).name
    sys.exit(f"{command}: the working directory has been deleted; go to one that is there")
between = [place for place in sys.path if place not in (FIRST, LAST)]
sys.path[:] = [FIRST, *between, working_directory, LAST]
