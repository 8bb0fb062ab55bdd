"""The common part of all tasks on MNIST: the images, and how they are split."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tasks import mnist_data
from tasks.supervised import Supervised

MEAN, STD = 0.1307, 0.3081  # of the training set's pixels, in [0, 1]


class MNISTTask(Supervised):
    """Trains a net on MNIST's images, validates and tests it. A task says its `loss` and its net.

    The validation set is a fixed part of the 60,000 training images, the same for every seed; the
    10,000 test images serve nothing but the test.

    `train_set`, `val_set` and `test_set`, known after `setup`, are (images, labels): images
    float32 of shape (N, 784), as `pixels` makes them; labels int64 of shape (N,), 0…9.

    Args:
        optimizer: makes the optimizer of the weights.
        batch_size: images per process and step, >= 1.
        validation_size: images kept for validation, in [1, 60000).
        data_dir: folder of the four MNIST files; None, the one that ships with the project.
        seed: of the batches' order, >= 0.

    Raises:
        ValueError: a value out of its range; at `setup`, a damaged file.
        FileNotFoundError: a file that is not in data_dir.
    """

    title = "MNIST"

    def __init__(
        self,
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        batch_size: int,
        validation_size: int,
        data_dir: str | Path | None,
        seed: int,
    ) -> None:
        super().__init__(optimizer, batch_size, seed)
        if not 1 <= validation_size < 60_000:
            raise ValueError(
                f"Invalid validation_size: {validation_size} (1 <= validation_size < 60000)"
            )
        mnist_data.find(data_dir)  # now, not when half the run is set up
        self.validation_size, self.data_dir = validation_size, data_dir

    def pixels(self, images: Tensor) -> Tensor:
        """Pixels of mean 0 and deviation 1, shape (N, 784), from bytes of shape (N, 28, 28)."""
        return images.flatten(1).float().sub_(255 * MEAN).div_(255 * STD)

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """The net's outputs for images, float32 and on the processor, without a graph."""
        return self(images.to(next(self.parameters()))).float().cpu()

    def setup(self, stage: str) -> None:
        """Reads the data, once."""
        if hasattr(self, "train_set"):
            return
        data = mnist_data.read(self.data_dir)
        # Seeded with a constant: a seed changes the run, never the question.
        order = torch.randperm(60_000, generator=torch.Generator().manual_seed(0))
        val, train = order[: self.validation_size], order[self.validation_size :]
        self.train_set = self.pixels(data.train_images[train]), data.train_labels[train]
        self.val_set = self.pixels(data.train_images[val]), data.train_labels[val]
        self.test_set = self.pixels(data.test_images), data.test_labels
