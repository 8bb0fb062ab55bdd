"""Puts this checkout's packages first on Python's path, and the user's own last.

The folder of the scripts, which Python puts first, comes at the very end: names such as `train`
are too common to be found by everyone, but a process that is spawned looks for this module again.
"""

import os
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent
FIRST, LAST = str(SCRIPTS.parent), str(SCRIPTS)
try:
    here = os.getcwd()
except FileNotFoundError:
    name = Path(sys.argv[0]).name
    sys.exit(f"{name}: the working directory has been deleted; go to one that is there")
between = [place for place in sys.path if place not in (FIRST, LAST)]
sys.path[:] = [FIRST, *between, here, LAST]
