"""The targets that a configuration names, and which of them a received run may have made."""

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra._internal.utils import _locate

from scratchopt.config.fields import UserError
from scratchopt.config.groups import SCHEMAS
from scratchopt.config.schedules import SCHEDULES
from scratchopt.method_files import read_class

# The nodes of a configuration from which objects are made, and what these must be.
MADE = {
    "task": "a LightningModule",
    "datamodule": "a LightningDataModule",
    "optimizer": "an optimizer class",
    "schedule": "a scheduler class of torch's kind",
}
WITHIN = "a class of modules, data or optimizers"  # of what is made for one of these


def list_targets(node: Any, key: str) -> Iterator[tuple[str, str]]:
    """Lists each `_target_` in a node and in all nodes within it, after the key of its node."""
    inner = node.items() if isinstance(node, dict) else []
    if isinstance(node, list):
        inner = enumerate(node)
    for name, value in inner:
        if name == "_target_":
            yield key, str(value)
        else:
            yield from list_targets(value, f"{key}.{name}")


def check_targets(config: dict[str, Any], directory: Path, trusted: bool) -> None:
    """Checks each `_target_` of a configuration that was read from the directory of a run.

    A task has to be a LightningModule, a datamodule a LightningDataModule, an optimizer a class of
    torch's kind, a schedule one of this project or a class of torch's kind. What is made for one of
    them has to be a class of one of these kinds, another module or a dataset. Anything else, as a
    function, could do whatever Python can.

    To see what a name is, its module has to be imported, which runs it. So a module of Python's own
    is refused unseen, and so is one that lies in the directory of the run; all others are those
    that are installed on this machine, or found on Python's path: in the working directory, too.

    Args:
        config: as `scratchopt.config.schema.validate` returns it.
        directory: of the run.
        trusted: true if the user has said that whatever the files name may be made.

    Raises:
        UserError: a target that is none of these.
    """
    for group in MADE:
        for key, target in () if trusted else list_targets(config[group], group):
            wanted = MADE.get(key, WITHIN)
            if not _is_known(target) and not _is_allowed(target, key, directory):
                raise UserError(
                    f"{directory}: its configuration has {key}._target_={target}, which is not "
                    f"{wanted}, and nothing else is made of what a file says; if you trust that "
                    "file, give trusted=true to train.py, or --trusted to play.py"
                )


def _is_known(target: str) -> bool:
    """Tells whether it is of this project, for which nothing is imported."""
    source = read_class(target)
    return target in SCHEMAS or target in SCHEDULES or (source is not None and source.is_method())


def _is_allowed(target: str, key: str, directory: Path) -> bool:
    if target.partition(".")[0] in sys.stdlib_module_names:
        return False
    if any(place.is_relative_to(directory.resolve()) for place in _places(target)):
        return False
    try:
        found = _locate(target)  # as Hydra does, for which an attribute comes before a module
    except ImportError:  # it is not there, and Hydra is about to say so
        return True
    except Exception:
        return False
    return isinstance(found, type) and issubclass(found, _kinds(key))


def _places(target: str) -> Iterator[Path]:
    """Finds where the modules of a dotted name lie, the outermost first, each before it is run."""
    names = target.split(".")
    for i in range(1, len(names)):
        try:
            spec = find_spec(".".join(names[:i]))  # which imports the module around it
        except (ImportError, AttributeError, ValueError):
            return
        if spec is None:
            return
        found = [spec.origin, *(spec.submodule_search_locations or [])]
        yield from (Path(place).resolve() for place in found if place)


def _kinds(key: str) -> tuple[type, ...]:
    """The classes of which the target of a key may be."""
    from lightning.pytorch import LightningDataModule, LightningModule
    from torch.nn import Module
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler
    from torch.utils.data import Dataset, Sampler

    kinds: dict[str, tuple[type, ...]] = {
        "task": (LightningModule,),
        "datamodule": (LightningDataModule,),
        "optimizer": (Optimizer,),
        "schedule": (LRScheduler,),
    }
    within = (Module, LightningDataModule, Optimizer, LRScheduler, Dataset, Sampler)
    return kinds.get(key, within)
