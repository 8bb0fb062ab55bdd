"""The text: Lewis Carroll's "Alice's Adventures in Wonderland" (1865), character by character."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tasks.gzip_file import read_gzip

SHIPPED = Path(__file__).parent / "data" / "alice" / "alice29.txt.gz"
SHA256 = "7467306ee0feed4971260f3c87421154a05be571d944e9cb021a5713700c38f0"
REMEDY = "take tasks/data/alice of a fresh checkout"


class Text(NamedTuple):
    """The text's characters as numbers, int64 of shape (N,): the i-th stands for alphabet[i]."""

    characters: Tensor
    alphabet: str


def read(path: Path = SHIPPED) -> Text:
    """The text, its file checked; lines end in newlines alone, and nothing follows the last.

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file whose content is not, byte for byte, the published one.
    """
    content = read_gzip(path, SHA256, "text", REMEDY)
    text = content.removesuffix(b"\x1a").replace(b"\r\n", b"\n")  # as DOS wrote it
    used, numbers = np.unique(np.frombuffer(text, dtype=np.uint8), return_inverse=True)
    return Text(torch.from_numpy(numbers.astype(np.int64)), bytes(used).decode("ascii"))
