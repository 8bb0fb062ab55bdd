"""RandomState: a checkpoint knows where the random numbers were."""

import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import distributed


class RandomState(Callback):
    """Saves the states of Python's, NumPy's and torch's generators (CPU and CUDA).

    They are set again on resuming: dropout masks and augmentations are then those of the
    uninterrupted run. The loader's order is its own affair (`scratchopt.batches.Batches`).

    Each of several processes has its own numbers: seeded alike, as they must be for equal weights,
    they would all drop the same units. So those beyond the first are seeded anew when training
    starts, from the seed and their rank.
    """

    _loaded: list[dict[str, Any]] | None = None

    def state_dict(self) -> dict[str, Any]:
        """The states of all processes, as `weights_only=True` allows; all must ask for them."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return {"processes": [random_states()]}
        processes: list[Any] = [None] * distributed.get_world_size()
        distributed.all_gather_object(processes, random_states())
        return {"processes": processes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keeps the states for the start of training: until then others draw numbers."""
        self._loaded = state_dict["processes"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sets the states that were loaded; a process without one is seeded."""
        loaded, self._loaded = self._loaded, None
        rank, count = trainer.global_rank, trainer.world_size
        if loaded is not None and len(loaded) != count:
            rank_zero_warn(
                f"The run that is resumed had {len(loaded)} processes, and this has {count}: its "
                "random numbers are others"
            )
        if loaded is not None and rank < len(loaded):
            set_random_states(loaded[rank])
        elif rank > 0:
            seeds = np.random.SeedSequence(torch.initial_seed(), spawn_key=(rank,))
            first, second, third = map(int, seeds.generate_state(3))
            random.seed(first)
            np.random.seed(second)
            torch.manual_seed(third)


def random_states() -> dict[str, Any]:
    """The states of this process's generators."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, np.asarray(keys).tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_states(states: dict[str, Any]) -> None:
    """Sets the generators to saved states."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"][: torch.cuda.device_count()])
