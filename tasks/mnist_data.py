"""The MNIST files: handwritten digits, as LeCun, Cortes and Burges published them (1998)."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from tasks.gzip_file import read_gzip

SHIPPED = Path(__file__).parent / "data" / "mnist"

SHA256 = {  # of the unpacked files
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
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

    A process that trains several times reads them once; nobody may write into them.

    Args:
        data_dir: the folder of the four files; None, the one that ships with the project.

    Raises:
        FileNotFoundError: a file that is not there.
        ValueError: a file whose content is not, byte for byte, the published one.
    """
    paths = find(data_dir)
    stamps = [(status.st_mtime_ns, status.st_size) for status in map(Path.stat, paths)]
    return _read(tuple(paths), tuple(stamps))


@lru_cache(maxsize=1)
def _read(paths: Sequence[Path], stamps: Sequence[tuple[int, int]]) -> MNISTData:
    """Reads the files; their times and sizes are there to read them again when they change."""
    train_images, train_labels, test_images, test_labels = map(_content, paths)
    return MNISTData(
        _images(train_images), _labels(train_labels), _images(test_images), _labels(test_labels)
    )


def _content(path: Path) -> bytearray:
    content = read_gzip(path, SHA256[path.stem], "MNIST", REMEDY)
    return bytearray(content)  # torch warns of memory that cannot be written


# A header has a magic number and the length of each dimension, 4 bytes each. The checksum has
# settled what they are.
def _images(content: bytearray) -> Tensor:
    return torch.frombuffer(content, dtype=torch.uint8, offset=16).view(-1, 28, 28)


def _labels(content: bytearray) -> Tensor:
    return torch.frombuffer(content, dtype=torch.uint8, offset=8).long()
