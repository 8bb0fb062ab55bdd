"""The accelerator of a configuration: what it may be, and what it is on this machine."""

import os
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from scratchopt.config.fields import UserError, as_typed
from scratchopt.config.processes import launcher

PROCESSES = 2  # on CPUs, where a strategy for several has devices=auto; the fewest that are several
# More would wait for a core; each holds a copy of torch, 300 MB or more.
PER_CORE, ALWAYS = 4, 8  # processes on CPUs
SAME = {"32": "32-true", "64": "64-true"}  # Lightning's short names of precisions
STRATEGIES = (
    *("auto", "ddp", "ddp_find_unused_parameters_true", "fsdp2"),
    *("zero1", "zero2", "zero3"),
)
PRECISIONS = ("32-true", "64-true", "16-true", "bf16-true", "16-mixed", "bf16-mixed", *SAME)


def are_devices(devices: Any) -> bool:
    """Tells whether a value says how many devices, or which."""
    if isinstance(devices, list):
        proper = all(type(index) is int and index >= 0 for index in devices)
        return bool(devices) and proper and len(set(devices)) == len(devices)
    return devices == "auto" or (type(devices) is int and devices >= 1)


def check_accelerator(node: dict[str, Any]) -> None:
    """Refuses what no machine has, and processes that nobody starts; lets `auto` pass.

    Raises:
        UserError: with the value and the remedy.
    """
    kind, devices, precision = node["accelerator"], node["devices"], node["precision"]
    if devices is None:
        raise UserError("accelerator.devices=null: give a number >= 1, or auto")
    if kind == "cpu" and precision == "16-mixed":
        raise UserError("accelerator.precision=16-mixed: a CPU has bf16-mixed instead")
    if kind == "mps" and precision in ("64", "64-true"):
        raise UserError(
            f"accelerator.precision={precision}: mps has no float64; take 32-true, or "
            "accelerator=cpu"
        )
    if kind == "cpu" and isinstance(devices, list):
        raise UserError(
            f"accelerator.devices={as_typed(devices)}: a list names GPUs; give a number of CPU "
            "processes"
        )
    several = node["strategy"] != "auto" or devices not in (1, [0], "auto")
    if kind == "mps" and several:
        raise UserError(
            f"accelerator.devices={as_typed(devices)} accelerator.strategy={node['strategy']}: "
            "mps is one device; take devices=1 and strategy=auto, or accelerator.accelerator=cpu"
        )
    _check_processes(devices, node.get("num_nodes", 1))


def _check_processes(devices: Any, nodes: int) -> None:
    started = launcher()
    by_hand = {"MASTER_ADDR", "NODE_RANK"} <= os.environ.keys()
    if nodes > 1 and not (started or by_hand):
        raise UserError(
            f"accelerator.num_nodes={nodes}: nobody has started the other nodes, and this one "
            "would wait for them; start it with torchrun or srun on each"
        )
    if started and started.nodes != nodes:
        raise UserError(
            f"accelerator.num_nodes={nodes}: {started.name} runs on {started.nodes}; give "
            f"accelerator.num_nodes={started.nodes}"
        )
    if devices == "auto":
        return
    count = len(devices) if isinstance(devices, list) else devices
    if started and started.processes != count * nodes:
        each = started.processes // nodes
        raise UserError(
            f"accelerator.devices={as_typed(devices)}: {started.name} started {each} on each node; "
            f"give accelerator=ddp and accelerator.devices={each}, or {started.per_node}={count}"
        )
    in_sweep = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    if in_sweep and count * nodes > 1:
        raise UserError(
            f"accelerator.devices={as_typed(devices)}: a sweep's runs have one process each; take "
            "accelerator.devices=1, or start the runs one by one, without -m"
        )


def resolve_accelerator(node: dict[str, Any]) -> dict[str, Any]:
    """Replaces `auto` by what it is on this machine; returns the Trainer's arguments.

    Raises:
        UserError: for what this machine lacks.
    """
    import torch  # not before the configuration is known to be right

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = torch.backends.mps.is_available()
    kind, devices, several = node["accelerator"], node["devices"], node["strategy"] != "auto"
    if kind == "auto":
        kind = "cuda" if gpus else "mps" if mps and not several else "cpu"
    if kind == "cuda" and not gpus:
        raise UserError(
            f"accelerator.accelerator=cuda: torch {torch.__version__} finds no GPU; take "
            "accelerator=cpu, or auto for the best there is"
        )
    if kind == "mps" and not mps:
        raise UserError(
            f"accelerator.accelerator=mps: torch {torch.__version__} finds no GPU of a Mac; take "
            "accelerator=cpu, or auto for the best there is"
        )
    if devices == "auto":
        devices = _all(kind, gpus, several)
    if kind == "cpu" and not launcher():  # which has started them already
        _check_cores(devices)
    wanted = devices if isinstance(devices, list) else range(devices)
    if kind == "cuda" and max(wanted) >= gpus:
        raise UserError(
            f"accelerator.devices={as_typed(devices)}: there {'is' if gpus == 1 else 'are'} {gpus} "
            f"here; give up to {gpus}, counted from 0 in a list, or auto for all"
        )
    precision = SAME.get(node["precision"], node["precision"])
    found = node | {"accelerator": kind, "devices": devices, "precision": precision}
    check_accelerator(found)
    return found


def _check_cores(devices: Any) -> None:
    """Refuses more CPU processes than a machine can be expected to hold, before any is started."""
    cores = os.cpu_count() or 1
    most = max(PER_CORE * cores, ALWAYS)
    if isinstance(devices, int) and devices > most:
        raise UserError(
            f"accelerator.devices={devices}: so many processes would exhaust this machine of "
            f"{cores} core{'s' * (cores > 1)}; give {most} or fewer"
        )


def _all(kind: str, gpus: int, several: bool) -> int:
    """The number of devices that `auto` means: every GPU, or CPU processes."""
    if kind != "cpu":
        return gpus if kind == "cuda" else 1
    if started := launcher():
        return max(1, started.processes // started.nodes)
    return PROCESSES if several else 1


def check_float64(module: Any, accelerator: str) -> None:
    """Refuses a model in float64 on an accelerator that has none.

    Raises:
        UserError: with the remedy.
    """
    tensors = [*module.parameters(), *module.buffers()]
    if accelerator == "mps" and any(str(tensor.dtype) == "torch.float64" for tensor in tensors):
        raise UserError(
            "accelerator.accelerator=mps: it has no float64, which the task computes in; take "
            "accelerator=cpu, or the task in float32"
        )
