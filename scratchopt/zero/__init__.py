"""Data parallelism from nothing but collective operations: by hand, then ZeRO's stages 1, 2, 3."""

from scratchopt.zero.clip import clip_gradients
from scratchopt.zero.data_parallel import DataParallel
from scratchopt.zero.processes import Processes
from scratchopt.zero.stage1 import Stage1
from scratchopt.zero.stage2 import Stage2
from scratchopt.zero.stage3 import Stage3
from scratchopt.zero.whole_parameters import gather_parameters
from scratchopt.zero.whole_state import gather_state, load_state

STAGES = {1: Stage1, 2: Stage2, 3: Stage3}
"""The class of each stage, by its number."""

__all__ = [
    "STAGES",
    "DataParallel",
    "Processes",
    "Stage1",
    "Stage2",
    "Stage3",
    "clip_gradients",
    "gather_parameters",
    "gather_state",
    "load_state",
]
