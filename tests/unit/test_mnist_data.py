"""The shipped data are the published ones, and whatever is not is refused in one clear line."""

import gzip
import shutil
from hashlib import md5

import pytest
import torch

from tasks import mnist_data

# Of the uncompressed files, as they are published.
MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


@pytest.fixture(scope="module")
def data() -> mnist_data.MNISTData:
    return mnist_data.read()


@pytest.fixture
def folder(tmp_path):
    """A folder of its own with the four files."""
    for path in mnist_data.find():
        shutil.copy(path, tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", MD5)
def test_the_shipped_file_holds_the_published_bytes(name):
    content = gzip.decompress((mnist_data.SHIPPED / f"{name}.gz").read_bytes())
    assert md5(content).hexdigest() == MD5[name]


@pytest.mark.parametrize(("part", "count"), [("train", 60_000), ("test", 10_000)])
def test_images_are_bytes_of_28_by_28_and_labels_are_long(data, part, count):
    images, labels = getattr(data, f"{part}_images"), getattr(data, f"{part}_labels")
    assert (images.dtype, images.shape) == (torch.uint8, (count, 28, 28))
    assert (labels.dtype, labels.shape) == (torch.int64, (count,))


@pytest.mark.parametrize(
    ("part", "counts"),
    [
        ("train", [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]),
        ("test", [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]),
    ],
)
def test_each_digit_is_there_as_often_as_published(data, part, counts):
    assert getattr(data, f"{part}_labels").bincount().tolist() == counts


@pytest.mark.parametrize("index", [0, 1, 59_999])
def test_an_image_is_its_784_bytes_of_the_file_row_by_row(data, index):
    path = mnist_data.SHIPPED / "train-images-idx3-ubyte.gz"
    content = gzip.decompress(path.read_bytes())[16 + 784 * index :][:784]
    assert data.train_images[index].flatten().tolist() == list(content)


def test_the_checksums_in_the_readme_are_those_in_the_code():
    readme = (mnist_data.SHIPPED / "README.md").read_text()
    for name, checksum in mnist_data.SHA256.items():
        assert f"{checksum}  {name.removesuffix('.gz')}" in readme


def test_another_folder_with_the_same_files_is_read_alike(data, folder):
    assert all(torch.equal(*pair) for pair in zip(data, mnist_data.read(folder), strict=True))


def test_the_same_content_packed_otherwise_is_read_alike(data, folder):
    for path in folder.iterdir():
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=1))
    assert all(torch.equal(*pair) for pair in zip(data, mnist_data.read(folder), strict=True))


@pytest.mark.parametrize("name", MD5)
def test_a_missing_file_is_named_with_the_remedy(folder, name):
    (folder / f"{name}.gz").unlink()
    with pytest.raises(FileNotFoundError) as error:
        mnist_data.find(folder)
    message = str(error.value)
    assert message.startswith(f"Missing MNIST file: {folder / name}.gz (take tasks/data/mnist of")
    assert "\n" not in message


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"Missing MNIST file: {tmp_path / 'none'}"):
        mnist_data.read(tmp_path / "none")


def flip_a_bit(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def cut_short(content: bytes) -> bytes:
    return content[:-1]


def change_the_last_byte(content: bytes) -> bytes:
    return gzip.compress(gzip.decompress(content)[:-1] + b"\x09", compresslevel=1)


@pytest.mark.parametrize("name", MD5)
@pytest.mark.parametrize("damage", [flip_a_bit, cut_short, change_the_last_byte])
def test_a_damaged_file_is_named_with_the_remedy(folder, name, damage):
    path = folder / f"{name}.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError) as error:
        mnist_data.read(folder)
    message = str(error.value)
    assert message.startswith(f"Damaged MNIST file: {path} (")
    assert "take tasks/data/mnist of a fresh checkout" in message
    assert "\n" not in message
