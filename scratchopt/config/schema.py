"""The schema of a whole configuration, which is validated before torch is imported."""

import re
from dataclasses import dataclass, fields
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError

from scratchopt.config import accelerator as machine
from scratchopt.config.fields import (
    UserError,
    any_seed,
    as_typed,
    count,
    is_finite,
    must_be,
    one_of,
    run_length,
    validate_fields,
)
from scratchopt.config.groups import SCHEMAS, Accelerator, ComparisonConfig
from scratchopt.config.optimizers import optimizer_schema
from scratchopt.config.schedules import SCHEDULES, check_schedule, is_idle
from scratchopt.method_files import read_class
from scratchopt.ranges import check_range


@dataclass
class RunConfig:
    """The keys of the top level; the content of a node has a schema of its own."""

    task: Any
    optimizer: Any
    schedule: Any
    accelerator: Any
    datamodule: Any
    comparison: Any
    settings: Any  # what suits the task, by optimizer; conf/optimizer takes its defaults from there
    settings_by_function: Any  # the same for each of the toy's functions
    start_by_function: Any  # where the toy starts, by function
    batch_size_by_solver: Any  # the batch size with Newton, by its solver
    seed: int = any_seed()
    max_epochs: int | None = run_length()
    max_steps: int | None = run_length()
    accumulate_grad_batches: int = count()
    gradient_clip_val: float | None = must_be("a number > 0, or null", lambda x: x > 0)
    gradient_clip_algorithm: str = one_of("norm", "value")
    activation_checkpointing: bool = must_be("true or false")
    validate_every: int = count()
    validate_steps: int | None = must_be("an integer >= 1, or null", lambda n: n >= 1)
    until: str = one_of("target", "end")
    test: bool = must_be("true or false")
    figures: bool | None = must_be("true, false or null")
    threads: int | None = must_be("an integer from 1 to 1024, or null", lambda n: 1 <= n <= 1024)
    store: str | None = must_be("a folder, or null")
    checkpoint_seconds: float = must_be("a number > 0", lambda x: x > 0)
    checkpoint_kept: bool = must_be("true or false")
    checkpoint_steps: int | None = must_be("an integer >= 1, or null", lambda n: n >= 1)
    sharpness_every: int | None = must_be("an integer >= 1, or null", lambda n: n >= 1)
    log_every: int = count()
    record_every: int | None = must_be("an integer >= 1, or null", lambda n: n >= 1)
    monitor_every: int | None = must_be("an integer >= 1, or null", lambda n: n >= 1)
    monitor_layers: bool = must_be("true or false")
    resume: str | None = must_be("the directory of a run")
    trusted: bool = must_be("true or false")


NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")  # of a class with its module
EXAMPLES = {"task": "tasks.toy.Toy", "optimizer": "scratchopt.NAG", "datamodule": "mine.Data"}
EXAMPLES |= {"schedule": "scratchopt.schedules.cosine"}
# Keys that are not in the configuration of an older run, which may go on or be looked at.
LATER = {
    "activation_checkpointing": False,
    "checkpoint_kept": True,
    "comparison": None,
    "figures": None,
    "monitor_every": None,
    "monitor_layers": False,
    "record_every": None,
    "schedule": None,
    "sharpness_every": None,
    "store": None,
    "test": True,
    "threads": None,
    "trusted": False,
    "until": "end",
    "validate_every": 1,
    "validate_steps": None,
}
OF_SOME_TASKS = ("datamodule", "settings", "settings_by_function", "start_by_function")
OF_SOME_TASKS += ("batch_size_by_solver",)


def validate(cfg: DictConfig) -> dict[str, Any]:
    """Validates a configuration; returns plain values of the right types, interpolations resolved.

    Returns:
        The keys of `RunConfig`, the settings without content. Task and optimizer are dicts with a
        `_target_`, and so are datamodule and schedule, unless they are None, as a schedule that
        changes nothing is; accelerator is a dict.

    Raises:
        UserError: a key that nobody knows, a wrong type, a value out of its range.
    """
    for f in fields(RunConfig):
        if f.name not in cfg and f.name not in LATER and f.name not in OF_SOME_TASKS:
            raise UserError(f"{f.name}: is missing; leave ~{f.name} out, or give a value")
    _validate_settings(cfg)
    nodes = [f.name for f in fields(RunConfig) if f.type is Any]
    run = validate_fields(RunConfig, {key: None if key in nodes else cfg[key] for key in cfg}, "")
    run = LATER | run
    if run.get("max_epochs") is None and run.get("max_steps") in (None, -1):
        raise UserError(
            "max_epochs=null: must be a number where max_steps has none, or no run ends"
        )
    run["task"] = _validate_target("task", _content(cfg, "task"))
    run["optimizer"] = _validate_target("optimizer", _content(cfg, "optimizer"))
    run["schedule"] = _content(cfg, "schedule")
    if run["schedule"] is not None:
        run["schedule"] = _validate_target("schedule", run["schedule"])
        if is_idle(run["schedule"]):
            run["schedule"] = None
    check_schedule(run)
    accelerator = _content(cfg, "accelerator")
    if not isinstance(accelerator, dict):
        raise UserError(f"accelerator={as_typed(accelerator)}: must be a group's choice")
    run["accelerator"] = validate_fields(Accelerator, accelerator, "accelerator.")
    machine.check_accelerator(run["accelerator"])
    run["datamodule"] = _content(cfg, "datamodule")
    if run["datamodule"] is not None:
        run["datamodule"] = _validate_target("datamodule", run["datamodule"])
    run["comparison"] = validate_comparison(cfg)
    if run["until"] == "target" and not has_objective(run["comparison"]):
        raise UserError(
            "until=target: the configuration names no target; give comparison.metric, .mode and "
            ".target, or until=end"
        )
    return run


def has_objective(comparison: dict[str, Any] | None) -> bool:
    """Tells whether the node `comparison` says what is compared, and what is to be reached."""
    return comparison is not None and {"metric", "mode", "target"} <= comparison.keys()


def validate_comparison(cfg: DictConfig) -> dict[str, Any] | None:
    """Validates the node `comparison`, and returns it; None, where the task has none.

    Raises:
        UserError: as `validate` does.
    """
    content = _content(cfg, "comparison")
    return None if content is None else validate_fields(ComparisonConfig, content, "comparison.")


def _validate_settings(cfg: DictConfig) -> None:
    """Validates the values that suit the optimizers, before other nodes take theirs from there."""
    for key in ("settings_by_function", "batch_size_by_solver"):
        if not (cfg.get(key) is None or OmegaConf.is_dict(cfg[key])):
            raise UserError(f"{key}={as_typed(cfg[key])}: must be keys with values, or null")
    try:
        settings = _content(cfg, "settings")
    except InterpolationKeyError:  # of a toy's function that is not there, as is said below
        return
    for name, values in settings.items() if isinstance(settings, dict) else ():
        if not (values is None or isinstance(values, dict)):
            raise UserError(
                f"settings.{name}={as_typed(values)}: must be keys of the optimizer with values, "
                "such as {lr: 0.1}"
            )
    if not (settings is None or isinstance(settings, dict)):
        raise UserError(
            f"settings={as_typed(settings)}: must be optimizers with their values, such as "
            "{nag: {lr: 0.1}}, or null"
        )


def _content(cfg: DictConfig, name: str) -> Any:
    node = cfg.get(name)
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _validate_target(name: str, content: Any) -> dict[str, Any]:
    """Validates the content of a node from which an object is made."""
    if not isinstance(content, dict) or "_target_" not in content:
        raise UserError(
            f"{name}={as_typed(content)}: must be a group's choice, or a node with _target_"
        )
    if not (isinstance(content["_target_"], str) and NAME.fullmatch(content["_target_"])):
        raise UserError(
            f"{name}._target_={as_typed(content['_target_'])}: must be a name with its module, "
            f"such as {EXAMPLES[name]}"
        )
    if content["_target_"].startswith("__main__."):
        raise UserError(
            f"{name}._target_={content['_target_']}: __main__ is the command or the notebook "
            "itself; put yours in a module of the working directory, and give its name"
        )
    source = read_class(content["_target_"])
    target = content["_target_"]
    schema = SCHEMAS.get(target) or SCHEDULES.get(target) or optimizer_schema(target)
    if schema is None:
        return content
    hydras = {key: content.pop(key) for key in ("_target_", "_partial_") if key in content}
    values = validate_fields(schema, content, f"{name}.")
    for key in values if name == "optimizer" else ():
        given = values[key] if isinstance(content[key], str) else content[key]
        try:
            check_range(key, given, source.ranges() if source else ())
        except ValueError as error:
            raise UserError(f"optimizer.{key}={given}: {error}") from error
        if not is_finite(given):
            raise UserError(f"optimizer.{key}={as_typed(given)}: must be a number, and finite")
    return hydras | values
