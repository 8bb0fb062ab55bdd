"""An autoencoder of MNIST's digits: Sutskever's problem for momentum, shortened."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tasks.choices import check_widths
from tasks.mnist_task import MNISTTask

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Autoencoder(MNISTTask):
    """Squeezes digits through a few numbers: x → x̂, by the mean of ‖x̂ − x‖² over the images.

    784 pixels in [0, 1] → hidden layers → code → the same layers backwards → 784 pixels. All units
    are logistic sigmoids, but for the code's, which are linear. At the start each unit has
    `incoming` connections, from units of the layer before that are drawn at random, of weights
    drawn from N(0, 1); all its other weights, and its bias, are zero. The draws are from torch's
    global generator. The depth, the sigmoids and the narrow code make it hard for a method without
    momentum. The rest is as `tasks.mnist_task.MNISTTask` has it.

    Hinton and Salakhutdinov's net is hidden=(1000, 500, 250), code=30; this one is small enough for
    a processor.

    Args:
        optimizer: makes the optimizer of the weights.
        hidden: widths of the layers from the pixels to the code, each >= 1.
        code: numbers in the code, >= 1.
        incoming: connections of each unit at the start, >= 1; all, where a layer has fewer units.
        batch_size: images per process and step, >= 1.
        validation_size: images kept for validation, in [1, 60000).
        data_dir: folder of the four MNIST files; None, the one that ships with the project.
        seed: of the batches' order, >= 0.

    Raises:
        ValueError: a value out of its range; at `setup`, a damaged file.
        FileNotFoundError: a file that is not in data_dir.

    Reference: Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and
    momentum in deep learning", ICML 2013, sections 3 and 3.1; Martens, "Deep learning via
    Hessian-free optimization", ICML 2010, for the initialisation; Hinton and Salakhutdinov,
    "Reducing the dimensionality of data with neural networks", Science 313 (2006), for the net.
    """

    title = "the autoencoder"

    def __init__(
        self,
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        hidden: Sequence[int] = (64, 32),
        code: int = 8,
        incoming: int = 15,
        batch_size: int = 500,
        validation_size: int = 5000,
        data_dir: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer, batch_size, validation_size, data_dir, seed)
        check_widths(hidden)
        for name, value in (("code", code), ("incoming", incoming)):
            if value < 1:
                raise ValueError(f"Invalid {name}: {value} ({name} >= 1)")
        widths = [784, *hidden, code, *reversed(hidden), 784]
        layers = []
        for i, (inputs, outputs) in enumerate(pairwise(widths)):
            layers.append(_sparse(nn.Linear(inputs, outputs), incoming))
            if i != len(hidden):  # the code stays linear
                layers.append(nn.Sigmoid())
        self.net = nn.Sequential(*layers)

    def pixels(self, images: Tensor) -> Tensor:
        """Pixels in [0, 1], shape (N, 784), from bytes of shape (N, 28, 28)."""
        return images.flatten(1).float().div_(255)

    def loss(self, outputs: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over the images of ‖x̂ − x‖², a sum over the pixels."""
        return (outputs - inputs).square().sum(dim=1).mean()

    def draw(self, history: dict[str, list[tuple[int, float]]], title: str) -> "dict[str, Figure]":
        """Draws curves, and the first 36 test digits with their reconstructions."""
        from tasks.figures import reconstruction_figures

        images = self.test_set[0][:36]
        return reconstruction_figures(images, self.predict(images), history, title)


@torch.no_grad()
def _sparse(layer: nn.Linear, incoming: int) -> nn.Linear:
    """The layer with `incoming` weights from N(0, 1) for each unit, the others and biases zero."""
    weight = layer.weight  # (units, inputs)
    chosen = torch.rand_like(weight).argsort(dim=1)[:, :incoming]
    weight.zero_().scatter_(1, chosen, torch.randn_like(weight).gather(1, chosen))
    layer.bias.zero_()
    return layer
