"""A small character transformer on the text of "Alice's Adventures in Wonderland"."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tasks import text_data
from tasks.gpt import GPT
from tasks.supervised import Supervised


class Transformer(Supervised):
    """Predicts each character from those before it, by the mean cross entropy, in nats a character.

    The text's first 80 % are for training, the next 10 % for validation, the last 10 % for the
    test. A batch is windows of context + 1 characters: the first `context` are what the net is
    given, the last `context` what it must predict, each from those up to its place. An epoch of
    training has every window once, wherever it begins; validation and test have windows side by
    side, so each of their characters is predicted once.

    Args:
        optimizer: makes the optimizer of the weights.
        width: numbers at each place, >= 1, a multiple of heads.
        layers: number of blocks, >= 1.
        heads: of each block's attention, >= 1.
        context: characters that the net sees, in [1, 10000].
        batch_size: windows per process and step, >= 1.
        seed: of the batches' order, >= 0.

    Raises:
        ValueError: a value out of its range, a damaged text.
        FileNotFoundError: no text.

    Reference: `tasks.gpt.GPT`; the text is `tasks.text_data`.
    """

    title = "the transformer"
    evaluation_batch = 128

    def __init__(
        self,
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        context: int = 32,
        batch_size: int = 16,
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer, batch_size, seed)
        for name, value in (("width", width), ("layers", layers), ("heads", heads)):
            if value < 1:
                raise ValueError(f"Invalid {name}: {value} ({name} >= 1)")
        if width % heads:
            raise ValueError(f"Invalid width: {width} (a multiple of heads, {heads})")
        if not 1 <= context <= 10_000:
            raise ValueError(f"Invalid context: {context} (1 <= context <= 10000)")
        text, self.alphabet = text_data.read()
        first, second = len(text) * 8 // 10, len(text) * 9 // 10
        self.train_set = _pairs(text[:first], context, 1)
        self.val_set = _pairs(text[first:second], context, context)
        self.test_set = _pairs(text[second:], context, context)
        self.net = GPT(len(self.alphabet), width, layers, heads, context)

    def loss(self, outputs: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy of the logits, shape (N, T, C), in nats a character."""
        return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())


def _pairs(text: Tensor, context: int, step: int) -> tuple[Tensor, Tensor]:
    """The windows' inputs and targets, shape (windows, context) each: views of the text."""
    windows = text.unfold(0, context + 1, step)
    return windows[:, :-1], windows[:, 1:]
