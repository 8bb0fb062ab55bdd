"""The MNIST files: handwritten digits, as LeCun, Cortes and Burges published them (1998)."""

import gzip
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

SHIPPED = Path(__file__).parent / "data" / "mnist"

SHA256 = {
    "train-images-idx3-ubyte": "0b367032e93c5d0cea0925647cfdb18614af8ee15f83e6f2fc2ad904a6835971",
    "train-labels-idx1-ubyte": "1787548bbe0bff1ec2ecdc0ef292b02df999e2d1a6002d27500982c652b17203",
    "t10k-images-idx3-ubyte": "1a1a05eab793c14bb050b398624a11b0ffd1a2953baed553b1b9bd079e2a20be",
    "t10k-labels-idx1-ubyte": "b91679a0acfe4ba0e50a2437a903084cba1f5f92592b016a25a7dfd00455798b",
}

REMEDY = "take tasks/data/mnist of a fresh checkout, or leave data_dir out for the shipped files"


class MNISTData(NamedTuple):
    """Images, uint8 of shape (N, 28, 28), 0 the paper and 255 the ink; labels, int64 in 0…9."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def find(data_dir: str | Path | None = None) -> list[Path]:
    """The paths of the four files, in the order of `MNISTData`.

    Args:
        data_dir: their folder; None, the one that ships with the project.

    Raises:
        FileNotFoundError: one that is not there.
    """
    folder = SHIPPED if data_dir is None else Path(data_dir).expanduser()
    paths = [folder / f"{name}.gz" for name in SHA256]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"Missing MNIST file: {path} ({REMEDY})")
    return paths


def read(data_dir: str | Path | None = None) -> MNISTData:
    """The 60,000 training and 10,000 test images with their labels, each file checked.

    Args:
        data_dir: the folder of the four files; None, the one that ships with the project.

    Raises:
        FileNotFoundError: a file that is not there.
        ValueError: a file that is not, byte for byte, the published one.
    """
    train_images, train_labels, test_images, test_labels = map(_content, find(data_dir))
    return MNISTData(
        _images(train_images), _labels(train_labels), _images(test_images), _labels(test_labels)
    )


def _content(path: Path) -> bytearray:
    packed = path.read_bytes()
    found, published = sha256(packed).hexdigest(), SHA256[path.stem]
    if found != published:
        raise ValueError(
            f"Damaged MNIST file: {path} (SHA-256 {found[:8]}…, not {published[:8]}…; {REMEDY})"
        )
    return bytearray(gzip.decompress(packed))  # torch warns of memory that cannot be written


# A header has a magic number and the length of each dimension, 4 bytes each. The checksum has
# settled what they are.
def _images(content: bytearray) -> Tensor:
    return torch.frombuffer(content, dtype=torch.uint8, offset=16).view(-1, 28, 28)


def _labels(content: bytearray) -> Tensor:
    return torch.frombuffer(content, dtype=torch.uint8, offset=8).long()
