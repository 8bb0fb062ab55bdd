"""Makes what a configuration describes: task and data, the factories of optimizer and schedule."""

import sys
from collections.abc import Callable
from functools import wraps
from inspect import signature
from pkgutil import resolve_name
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.fabric.utilities.types import Optimizable
from lightning.pytorch import LightningDataModule, LightningModule
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from scratchopt.config.fields import UserError
from scratchopt.config.schedules import SCHEDULES, name_schedule
from scratchopt.lightning.schedule import LENGTH

REMEDY = "give an optimizer's class, or a function that returns an optimizer"


def make_task(config: dict[str, Any]) -> LightningModule:
    """Makes the module that a validated configuration describes, with its optimizer's factory.

    Raises:
        UserError: a task that takes no optimizer or is no LightningModule.
    """
    _refuse_arguments("task", config["task"])
    try:
        module = instantiate(config["task"], optimizer=make_factory(config["optimizer"]))
    except InstantiationException as error:
        if "unexpected keyword argument 'optimizer'" not in str(error.__cause__):
            raise
        raise UserError(
            f"task._target_={config['task']['_target_']}: takes no optimizer; let its constructor "
            "take one, and return self.optimizer(self.parameters()) from configure_optimizers"
        ) from error
    if not isinstance(module, LightningModule):
        raise UserError(
            f"task._target_={config['task']['_target_']}: must make a LightningModule, "
            f"not {type(module).__name__}"
        )
    # For load_from_checkpoint. An optimizer would be no plain value, and is given to it anyway.
    module.hparams.pop("optimizer", None)
    module.hparams.update({k: v for k, v in config["task"].items() if not k.startswith("_")})
    return module


def make_data(node: dict[str, Any] | None) -> LightningDataModule | None:
    """Makes the data that a validated node describes; None, where there is no node.

    Raises:
        UserError: a node that makes something else.
    """
    made = instantiate(node)
    if node is not None and not isinstance(made, LightningDataModule):
        raise UserError(
            f"datamodule._target_={node['_target_']}: must make a LightningDataModule, "
            f"not {type(made).__name__}"
        )
    return made


def make_factory(node: dict[str, Any]) -> Callable[..., Optimizer]:
    """Makes the factory that a node describes.

    Args:
        node: `optimizer` of a validated configuration.

    Raises:
        UserError: a node that makes no factory of optimizers.
    """
    target = f"optimizer._target_={node['_target_']}"
    try:
        kind = resolve_name(node["_target_"])
    except Exception:  # what is made of it below says what is wrong
        kind = Optimizer
    is_class = isinstance(kind, type)
    is_pythons = node["_target_"].partition(".")[0] in sys.stdlib_module_names
    is_other = is_class and not issubclass(kind, Optimizer) and node.get("_partial_")
    if is_other or is_pythons or not callable(kind):
        raise UserError(f"{target}: is no torch.optim.Optimizer; {REMEDY}")
    _refuse_arguments("optimizer", node)
    partial = f"{target}: is given its parameters by the task; add _partial_: true to its node"
    try:
        made: Any = instantiate(node, _convert_="all")
    except InstantiationException as error:
        if node.get("_partial_") or not isinstance(error.__cause__, TypeError):
            raise
        raise UserError(partial) from error
    if not callable(made):
        raise UserError(partial)
    return made if is_class else _check_made(made, target)  # pyright: ignore[reportReturnType]


def make_schedule(node: dict[str, Any] | None) -> Callable[..., LRScheduler] | None:
    """Makes the function that makes a schedule; None, where there is none.

    Args:
        node: `schedule` of a validated configuration.

    Raises:
        UserError: a node that makes no such function; so does the function itself, if it returns
            no schedule, or none can be made for the run.
    """
    if node is None:
        return None
    _refuse_arguments("schedule", node)
    target = f"schedule._target_={node['_target_']}"
    what = f"schedule={name_schedule(node)}" if node["_target_"] in SCHEDULES else target
    factory: Any = instantiate(node, _convert_="all") if node.get("_partial_") else None
    if factory is None:
        raise UserError(f"{target}: is given the optimizer later; add _partial_: true to its node")

    @wraps(factory.func)
    def make(*arguments: Any, **named: Any) -> LRScheduler:
        try:
            made = factory(*arguments, **named)
        except (TypeError, ValueError) as error:
            raise UserError(f"{what}: {error}") from error
        if not isinstance(made, LRScheduler):
            kind = type(made).__name__
            raise UserError(f"{target}: returns no scheduler of torch's, but {kind}")
        return made

    return make


def _check_made(factory: Callable[..., Any], target: str) -> Callable[..., Any]:
    """Makes a function of the user's say in a line what it cannot take, or has not returned."""

    def make_optimizer(*arguments: Any, **named: Any) -> Any:
        try:
            signature(factory).bind(*arguments, **named)
        except TypeError as error:
            raise UserError(f"{target}: does not take what the task gives it: {error}") from error
        except ValueError:  # a function that does not tell what it takes
            pass
        made = factory(*arguments, **named)
        if not isinstance(made, (Optimizable, dict, list, tuple)):  # Lightning looks into these
            kind = type(made).__name__
            raise UserError(f"{target}: returns no torch.optim.Optimizer, but {kind}; {REMEDY}")
        return made

    return make_optimizer


def _refuse_arguments(group: str, node: dict[str, Any]) -> None:
    """Refuses keys of a node that the class or function it names does not take.

    Raises:
        UserError: with the key, and those that there are.
    """
    try:
        known = signature(resolve_name(node["_target_"])).parameters
    except Exception:  # who makes it says what is wrong
        return
    if any(parameter.kind == parameter.VAR_KEYWORD for parameter in known.values()):
        return
    keys = [key for key in node if key not in known and not key.startswith("_")]
    if keys:
        given = ("params", "optimizer", LENGTH)
        names = ", ".join(name for name in known if name not in given) or "none"
        raise UserError(
            f"{group}.{keys[0]}: {node['_target_']} takes no such argument (it takes {names}); "
            f"give ~{group}.{keys[0]}, or a YAML file of its own in {group}/ of a --config-dir"
        )
