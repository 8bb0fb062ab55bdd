"""RandomState: a checkpoint knows where the random numbers were."""

import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback


class RandomState(Callback):
    """Saves the states of Python's, NumPy's and torch's generators (CPU and CUDA).

    They are set again on resuming: dropout masks and augmentations are then those of the
    uninterrupted run.
    The loader's order is its own affair (`tasks.batches.Batches`).
    """

    _loaded: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """The states, in types that a checkpoint may hold under `weights_only=True`."""
        name, keys, *rest = np.random.get_state()
        return {
            "python": random.getstate(),
            "numpy": (name, np.asarray(keys).tolist(), *rest),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keeps the states for the start of training: until then others draw numbers."""
        self._loaded = state_dict

    def on_train_start(self, *args: Any, **kwargs: Any) -> None:
        """Sets the states that were loaded, if any."""
        if self._loaded is None:
            return
        random.setstate(self._loaded["python"])
        np.random.set_state(self._loaded["numpy"])
        torch.set_rng_state(self._loaded["torch"])
        if self._loaded["cuda"]:
            torch.cuda.set_rng_state_all(self._loaded["cuda"])
        self._loaded = None
