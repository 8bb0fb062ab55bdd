"""MNIST on one process and on two: the same run."""

import pytest

from tests.programs import mnist_processes
from tests.shared.paths import OPTIMIZERS


@pytest.mark.slow
def test_two_processes_with_half_the_batch_have_the_losses_of_one():
    distances = mnist_processes.distances()
    assert list(distances) == OPTIMIZERS
    assert max(distances.values()) <= mnist_processes.TOLERANCE, distances
