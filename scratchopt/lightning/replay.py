"""Repeating a training_step, as if it had not been called before."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn

from scratchopt.lightning.random_state import random_states, set_random_states
from scratchopt.snapshot import Snapshot

Attributes = dict[str, Any]


class Replay:
    """A call of `training_step` that can be made again, at whatever the parameters hold then.

    It is made just before the call. Each time it runs with a copy of the same batch, the same
    random numbers (dropout masks), and the buffers and attributes that the module had (statistics
    of a BatchNorm, counts of a metric), so that the loss is one function of the parameters. What it
    changes of these is undone, and `self.log` logs nothing.

    What lies outside the module is not: a training_step that writes a file does so again, and one
    that reads `trainer.global_step` reads what it is then.

    Args:
        trainer: whose precision the call has.
        module: of the call.
        step: `module.training_step`.
        arguments: of the call.
    """

    def __init__(
        self,
        trainer: Trainer,
        module: LightningModule,
        step: Callable[..., Any],
        arguments: tuple[Any, ...],
    ) -> None:
        self._trainer, self._module, self._step = trainer, module, step
        self._arguments = copy.deepcopy(arguments)
        self._random = random_states()
        self._attributes = {part: _copy_attributes(vars(part)) for part in module.modules()}

    def __call__(self) -> Tensor | None:
        """The loss, with its graph where autograd is on; None where there is none."""
        with isolate_rng(), self._earlier_state():
            set_random_states(self._random)
            with self._trainer.precision_plugin.train_step_context():
                return extract_loss(self._step(*copy.deepcopy(self._arguments)))

    @contextmanager
    def _earlier_state(self) -> Iterator[None]:
        now = {part: dict(vars(part)) for part in self._module.modules()}
        try:
            for part, attributes in self._attributes.items():
                _replace(part, _copy_attributes(attributes))
            vars(self._module).update(log=_do_nothing, log_dict=_do_nothing)
            yield
        finally:
            for part, attributes in now.items():
                _replace(part, attributes)


@contextmanager
def set_parameters(parameters: list[Tensor], values: Sequence[Tensor]) -> Iterator[None]:
    """Sets the parameters to these values for the block, then back, bit for bit."""
    kept = Snapshot(parameters)
    with torch.no_grad():
        kept.take()
        for p, value in zip(parameters, values, strict=True):
            p.copy_(value)
    try:
        yield
    finally:
        with torch.no_grad():
            kept.give_back()


def extract_loss(outputs: Any) -> Tensor | None:
    """The loss among what a training_step returned."""
    return outputs.get("loss") if isinstance(outputs, dict) else outputs


def _copy_attributes(attributes: Attributes) -> Attributes:
    """Copies attributes, so that they may be changed in place; parameters stay the module's own."""
    copies = {name: _copy(value) for name, value in attributes.items()}
    buffers = attributes["_buffers"].items()
    return copies | {"_buffers": {name: _copy(value) for name, value in buffers}}


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
        return value.detach().clone()
    return copy.copy(value) if isinstance(value, (dict, list, set)) else value


def _replace(part: nn.Module, attributes: Attributes) -> None:
    vars(part).clear()
    vars(part).update(attributes)


def _do_nothing(*args: Any, **kwargs: Any) -> None:
    pass
