"""A transformer that predicts each character from those before it."""

from math import sqrt

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Causal self-attention: softmax(QKᵀ/√(width/heads)) V in each head, with no look ahead.

    It is written out, since torch's fused kernels have no second derivative, which Newton needs.

    Args:
        width: numbers a place, a multiple of heads.
        heads: number of heads.
        context: most places.
    """

    mask: Tensor

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.heads = heads
        self.inward, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        mask = torch.ones(context, context, dtype=torch.bool).triu(1)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps shape (N, T, width) to the same shape."""
        n, t, width = x.shape
        # (3, N, heads, T, width/heads)
        q, k, v = self.inward(x).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = q @ k.mT / sqrt(width / self.heads)
        weights = scores.masked_fill(self.mask[:t, :t], float("-inf")).softmax(dim=-1)
        return self.out((weights @ v).transpose(1, 2).reshape(n, t, width))


class Block(nn.Module):
    """x ← x + attention(norm(x)); x ← x + mlp(norm(x)), the MLP four times as wide, with GELU.

    Args:
        width: numbers a place, a multiple of heads.
        heads: of the attention.
        context: most places.
    """

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(width), Attention(width, heads, context))
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps shape (N, T, width) to the same shape."""
        x = x + self.attention(x)
        return x + self.mlp(x)


class GPT(nn.Module):
    """Embeddings of character and place, blocks, and logits of the next character at each place.

    Weights start as N(0, 0.02²), those that lead back to the sum as N(0, 0.02²/2·layers), biases
    at zero; the draws are from torch's global generator.

    Args:
        characters: number of different ones, C.
        width: numbers a place, a multiple of heads.
        layers: number of blocks.
        heads: of each block's attention.
        context: most places, T.

    Reference: Radford et al., "Language Models are Unsupervised Multitask Learners" (2019); Vaswani
    et al., "Attention Is All You Need", arXiv:1706.03762.
    """

    def __init__(self, characters: int, width: int, layers: int, heads: int, context: int) -> None:
        super().__init__()
        self.character = nn.Embedding(characters, width)
        self.place = nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads, context) for _ in range(layers)))
        self.logits = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, characters))
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                back = name.endswith(("out.weight", "mlp.3.weight"))
                nn.init.normal_(parameter, std=0.02 / sqrt(2 * layers) if back else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, characters: Tensor) -> Tensor:
        """Logits, shape (N, T, C), from numbers of characters, shape (N, T)."""
        places = torch.arange(characters.shape[1], device=characters.device)
        return self.logits(self.blocks(self.character(characters) + self.place(places)))
