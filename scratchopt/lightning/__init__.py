"""Callbacks for any LightningModule: they run the optimizers, and record what these do.

They work under a Trainer of `lightning.pytorch` and of `pytorch_lightning`.

Their order in `Trainer(callbacks=[...])` matters in three points: `Lookahead` comes first,
`MeanGradient` before all that look at the gradient, and `Figures` after `OptimizerMonitor`.
"""

from scratchopt.lightning.activation_checkpointing import (
    ActivationCheckpointing,
    checkpoint_activations,
)
from scratchopt.lightning.checkpoint import Checkpoint
from scratchopt.lightning.convergence import Convergence
from scratchopt.lightning.divergence import Diverged
from scratchopt.lightning.figures import Figures
from scratchopt.lightning.fully_shard import FullyShard
from scratchopt.lightning.live_loss import LiveLoss
from scratchopt.lightning.lookahead import Lookahead
from scratchopt.lightning.mean_gradient import MeanGradient
from scratchopt.lightning.monitor import OptimizerMonitor
from scratchopt.lightning.random_state import RandomState
from scratchopt.lightning.recorder import Recorder
from scratchopt.lightning.schedule import Schedule
from scratchopt.lightning.sharpness import Sharpness
from scratchopt.lightning.spaced_validations import SpacedValidations
from scratchopt.lightning.stop_at_target import StopAtTarget
from scratchopt.lightning.trajectory import read_records
from scratchopt.lightning.validations import Validations
from scratchopt.lightning.zero_strategy import ZeRO

__all__ = [
    "ActivationCheckpointing",
    "Checkpoint",
    "Convergence",
    "Diverged",
    "Figures",
    "FullyShard",
    "LiveLoss",
    "Lookahead",
    "MeanGradient",
    "OptimizerMonitor",
    "RandomState",
    "Recorder",
    "Schedule",
    "Sharpness",
    "SpacedValidations",
    "StopAtTarget",
    "Validations",
    "ZeRO",
    "checkpoint_activations",
    "read_records",
]
