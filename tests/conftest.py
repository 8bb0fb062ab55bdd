"""Of tests that run side by side (`pytest -n auto`) each has its share of the processors."""

import os

if "PYTEST_XDIST_WORKER_COUNT" in os.environ:  # read before the first import of torch
    share = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))
