"""The state of the process that a run changes, given back when it has ended."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from hydra.core.global_hydra import GlobalHydra
from lightning.pytorch.utilities.seed import isolate_rng

VARIABLES = ("HYDRA_FULL_ERROR", "PL_GLOBAL_SEED", "PL_SEED_WORKERS")  # of the environment
LOGGERS = ("", "lightning.pytorch", "lightning.fabric")  # whose level or handlers are changed


@contextmanager
def process_unchanged() -> Iterator[None]:
    """Gives the process back, after the block, all that a run sets in it for itself.

    Those are random states, torch's threads, variables of the environment, warnings, loggers,
    `sys.argv` and Hydra's state. The block must not raise.
    """
    threads, argv = torch.get_num_threads(), sys.argv
    environment = {name: os.environ.get(name) for name in VARIABLES}
    loggers = [(found := logging.getLogger(n), found.level, found.handlers[:]) for n in LOGGERS]
    hydra_state = GlobalHydra.get_state()
    GlobalHydra.instance().clear()
    with ExitStack() as stack:
        stack.enter_context(isolate_rng())
        stack.enter_context(warnings.catch_warnings())
        yield
    GlobalHydra.set_state(hydra_state)
    for logger, level, handlers in loggers:
        logger.setLevel(level)
        logger.handlers = handlers
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    sys.argv = argv
    torch.set_num_threads(threads)
