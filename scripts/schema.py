"""What a configuration may say: a schema for every node, held against it before torch is there."""

from dataclasses import dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from scratchopt.ranges import check
from scripts import machine
from scripts.fields import (
    Refusal,
    any_seed,
    as_typed,
    count,
    counts,
    held_against,
    limit,
    must_be,
    one_of,
)


def _is_point(value: Any) -> bool:
    coordinates: list[Any] = value if isinstance(value, list) and value else [value]
    return all(type(x) in (int, float) and isfinite(x) for x in coordinates)


@dataclass
class SGD:
    """The keys of `scratchopt.SGD`; the ranges of optimizers are in `scratchopt.ranges`."""

    lr: float = must_be("a number")
    weight_decay: float = must_be("a number")
    maximize: bool = must_be("true or false")
    foreach: bool | None = must_be("true, false or null")
    fused: bool | None = must_be("true, false or null")
    compensated: bool = must_be("true or false")
    differentiable: bool = must_be("false: it is for loops of your own", lambda on: not on)


@dataclass
class Momentum(SGD):
    """The keys of `scratchopt.Momentum`, `NAG` and `NAGTorch`."""

    momentum: float = must_be("a number")


@dataclass
class Adagrad(SGD):
    """The keys of `scratchopt.Adagrad`."""

    lr_decay: float = must_be("a number")
    initial_accumulator_value: float = must_be("a number")
    eps: float = must_be("a number")


@dataclass
class RMSprop(Momentum):
    """The keys of `scratchopt.RMSprop`."""

    alpha: float = must_be("a number")
    eps: float = must_be("a number")
    centered: bool = must_be("true or false")
    capturable: bool = must_be("true or false")


@dataclass
class AdamW(SGD):
    """The keys of `scratchopt.AdamW`."""

    betas: list[float] = must_be("two numbers", lambda betas: len(betas) == 2)  # noqa: RUF009
    eps: float = must_be("a number")
    amsgrad: bool = must_be("true or false")
    capturable: bool = must_be("true or false")


@dataclass
class Adam(AdamW):
    """The keys of `scratchopt.Adam`."""

    decoupled_weight_decay: bool = must_be("true or false")


@dataclass
class Newton:
    """The keys of `scratchopt.Newton`."""

    lr: float = must_be("a number")
    damping: float = must_be("a number")
    curvature: str = one_of("hessian", "gauss_newton")
    solver: str = one_of("dense", "saddle_free", "cg")
    cg_iters: int = count()
    cg_tol: float = must_be("a number")
    adapt_damping: bool = must_be("true or false")
    line_search: bool = must_be("true or false")
    weight_decay: float = must_be("a number")
    maximize: bool = must_be("true or false")


@dataclass
class Toy:
    """The keys of `tasks.toy.Toy`."""

    function: str = one_of("article", "rosenbrock", "rastrigin", "beale", "quadratic")
    start: Any = must_be("a number or a list of numbers, such as -5 or [1,2]", _is_point)  # noqa: RUF009
    tolerance: float = must_be("a number >= 0", lambda x: x >= 0)
    dtype: str = one_of("float32", "float64")
    condition_number: float = must_be("a number >= 1", lambda x: x >= 1)


@dataclass
class LinearRegression:
    """The keys of `tasks.linear_regression.LinearRegression`."""

    loss: str = one_of("mse", "mae", "huber")
    batch_size: int | None = must_be("an integer >= 1, or null for all", lambda n: n >= 1)
    dtype: str = one_of("float32", "float64")
    data_seed: int = any_seed()
    seed: int = any_seed()
    huber_delta: float = must_be("a number > 0", lambda x: x > 0)


@dataclass
class MNIST:
    """The keys of `tasks.mnist.MNIST`."""

    hidden: list[int] = counts()  # noqa: RUF009
    activation: str = one_of("relu", "tanh", "sigmoid", "gelu")
    batch_size: int = count()
    validation_size: int = must_be("an integer in [1, 60000)", lambda n: 1 <= n < 60_000)
    data_dir: str | None = must_be("an existing folder", lambda d: Path(d).expanduser().is_dir())
    seed: int = any_seed()


@dataclass
class Accelerator:
    """The Trainer's arguments of these names; `scripts.machine` says what goes together."""

    accelerator: str = one_of("auto", "cpu", "cuda", "mps")
    devices: Any = must_be("a number >= 1, a list of GPUs such as [0,2], or auto", machine.counts)  # noqa: RUF009
    num_nodes: int = count()
    strategy: str = one_of("auto", "ddp", "ddp_find_unused_parameters_true", "fsdp2")
    precision: str = one_of(*machine.PRECISIONS)


@dataclass
class Run:
    """The top level. What a node holds is checked by itself."""

    task: Any
    optimizer: Any
    accelerator: Any
    datamodule: Any
    settings: Any  # by optimizer: where optimizers' interpolations look for what suits the task
    settings_by_function: Any  # where the toy's settings come from
    batch_size_by_solver: Any  # where MNIST's batch size comes from, with Newton
    seed: int = any_seed()
    max_epochs: int | None = limit()
    max_steps: int | None = limit()
    accumulate_grad_batches: int = count()
    gradient_clip_val: float | None = must_be("a number > 0, or null", lambda x: x > 0)
    gradient_clip_algorithm: str = one_of("norm", "value")
    validate_every: int = count()
    checkpoint_seconds: float = must_be("a number > 0", lambda x: x > 0)
    checkpoint_steps: int | None = must_be("an integer >= 1, or null", lambda n: n >= 1)
    sharpness_every: int | None = must_be("an integer >= 1, or null", lambda n: n >= 1)
    log_every: int = count()
    record_every: int | None = must_be("an integer >= 1, or null", lambda n: n >= 1)
    monitor_every: int | None = must_be("an integer >= 1, or null", lambda n: n >= 1)
    monitor_layers: bool = must_be("true or false")
    resume: str | None = must_be("the directory of a run")


# Keys that are not in the configuration of an older run, which may go on or be looked at.
LATER = {
    "monitor_every": None,
    "monitor_layers": False,
    "record_every": None,
    "sharpness_every": None,
    "validate_every": 1,
}
# A target that is not among these checks its own arguments.
SCHEMAS = {
    "scratchopt.SGD": SGD,
    "scratchopt.Momentum": Momentum,
    "scratchopt.NAG": Momentum,
    "scratchopt.NAGTorch": Momentum,
    "scratchopt.Adagrad": Adagrad,
    "scratchopt.RMSprop": RMSprop,
    "scratchopt.Adam": Adam,
    "scratchopt.AdamW": AdamW,
    "scratchopt.Newton": Newton,
    "tasks.toy.Toy": Toy,
    "tasks.linear_regression.LinearRegression": LinearRegression,
    "tasks.mnist.MNIST": MNIST,
}


def validate(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as plain values of the right types, interpolations resolved.

    Returns:
        The keys of `Run`, the settings without content. Task and optimizer are dicts with a
        `_target_`, and so is datamodule if it is not None; accelerator is a dict.

    Raises:
        Refusal: a key that nobody knows, a wrong type, a value out of its range.
    """
    nodes = [f.name for f in fields(Run) if f.type is Any]
    run = held_against(Run, {key: None if key in nodes else cfg[key] for key in cfg}, "")
    run = LATER | run
    if run.get("max_epochs") is None and run.get("max_steps") in (None, -1):
        raise Refusal("max_epochs=null: must be a number where max_steps has none, or no run ends")
    run["task"] = _made_of("task", _content(cfg, "task"))
    run["optimizer"] = _made_of("optimizer", _content(cfg, "optimizer"))
    accelerator = _content(cfg, "accelerator")
    if not isinstance(accelerator, dict):
        raise Refusal(f"accelerator={as_typed(accelerator)}: must be a group's choice")
    run["accelerator"] = held_against(Accelerator, accelerator, "accelerator.")
    machine.check(run["accelerator"])
    run["datamodule"] = _content(cfg, "datamodule")
    if run["datamodule"] is not None:
        run["datamodule"] = _made_of("datamodule", run["datamodule"])
    return run


def _content(cfg: DictConfig, name: str) -> Any:
    node = cfg.get(name)
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _made_of(name: str, content: Any) -> dict[str, Any]:
    """The content of a node from which an object is made."""
    if not isinstance(content, dict) or "_target_" not in content:
        raise Refusal(
            f"{name}={as_typed(content)}: must be a group's choice, or a node with _target_"
        )
    schema = SCHEMAS.get(content["_target_"])
    if schema is None:
        return content
    hydras = {key: content.pop(key) for key in ("_target_", "_partial_") if key in content}
    values = held_against(schema, content, f"{name}.")
    for key in values if name == "optimizer" else ():
        given = values[key] if isinstance(content[key], str) else content[key]
        try:
            check(key, given)
        except ValueError as error:
            raise Refusal(f"optimizer.{key}={given}: {error}") from error
    return hydras | values
