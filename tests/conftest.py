"""The processors' shares, and the order, of tests that run side by side (`pytest -n auto`)."""

import os

import pytest

SIDE_BY_SIDE = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))

if SIDE_BY_SIDE > 1:  # read before the first import of torch
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // SIDE_BY_SIDE)))


@pytest.hookimpl(trylast=True)  # after those that no tier asks for are gone
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest tests first in each process's part: a late one would keep all waiting.

    They say by the mark `timeout` how long they may take. xdist gives each process an equal part of
    the tests, in their order, to begin with.
    """
    limits = {item: mark.args[0] for item in items if (mark := item.get_closest_marker("timeout"))}
    long = sorted(limits, key=limits.__getitem__, reverse=True)
    rest = [item for item in items if item not in limits]
    share = len(rest) // SIDE_BY_SIDE + 1
    items[:] = [
        item
        for i in range(SIDE_BY_SIDE)
        for item in (*long[i::SIDE_BY_SIDE], *rest[i * share : (i + 1) * share])
    ]
