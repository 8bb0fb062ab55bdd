"""Refuses a run for which this machine has not the memory."""

import os
from typing import Any

from scratchopt.config.fields import UserError
from scratchopt.config.groups import SCHEMAS


def check_memory(config: dict[str, Any]) -> None:
    """Refuses a task of this project whose tensors are more than the machine's memory.

    They are made on the meta device, which holds no numbers. A task of the user's own could do
    there what it cannot, and is left alone.

    Args:
        config: as `scratchopt.config.schema.validate` returns it.

    Raises:
        UserError: with what they would take.
    """
    import torch
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    if config["task"]["_target_"] not in SCHEMAS or "SC_PHYS_PAGES" not in os.sysconf_names:
        return
    held = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            module = instantiate(config["task"], optimizer=None)
    except InstantiationException as error:
        if "overflow" not in str(error):
            return  # whatever it is, it comes again
        needed = "more bytes than there are numbers for"
    else:
        tensors = [*module.parameters(), *module.buffers()]
        bytes_needed = sum(t.numel() * t.element_size() for t in tensors)
        if bytes_needed <= held:
            return
        needed = f"{bytes_needed / 1e9:,.0f} GB"
    sizes = ", ".join(
        f"task.{key}" for key in ("hidden", "channels", "width", "dim") if key in config["task"]
    )
    raise UserError(
        f"{sizes or 'task'}: the task's tensors take {needed}, and this machine has "
        f"{held / 1e9:,.0f} GB of memory; give less"
    )
