"""The base class of every optimizer: all that is not arithmetic."""

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor

from scratchopt.ranges import check
from scratchopt.vector import Vector

Params: TypeAlias = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]

_OPTIONS = {"weight_decay": 0.0, "maximize": False, "foreach": None}


class Optimizer(torch.optim.Optimizer):
    """A torch optimizer that needs only its rule.

    A subclass gives `rule(p, g, *buffers, **hyperparameters)`: the update of the paper, in place
    on p and the buffers; g is read-only. `buffers` names the state key of each buffer, in the
    rule's order; a buffer starts at zero. The keyword-only arguments of the rule are read from the
    param group, at each step. Weight decay, maximize, complex and missing gradients, and the way
    the tensors are walked, are done here, once.

    Args:
        params: parameters, or groups of them, as for any torch optimizer.
        defaults: hyperparameters by name; a group may have its own. `weight_decay`, `maximize` and
            `foreach` are 0, False and None where they are not among them.

    Raises:
        ValueError: a hyperparameter out of its range (see `scratchopt.ranges`).
    """

    rule: ClassVar[Callable[..., None]]
    buffers: ClassVar[tuple[str, ...]] = ()

    _hyperparameters: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "rule" in vars(cls):
            arguments = inspect.signature(cls.rule).parameters.values()
            cls._hyperparameters = tuple(a.name for a in arguments if a.kind == a.KEYWORD_ONLY)

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        _check_all(defaults)
        super().__init__(params, _OPTIONS | defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group of parameters, with hyperparameters of its own where it names them."""
        _check_all(param_group)
        super().add_param_group(param_group)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores a state; what an older version or torch did not save gets its default."""
        super().__setstate__(state)
        defaults = {name: v for name, v in self.defaults.items() if name != "differentiable"}
        for group in self.param_groups:  # torch adds that one to the defaults by itself
            for name, value in defaults.items():
                group.setdefault(name, value)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates the parameters once; parameters whose gradient is None stay as they are.

        Args:
            closure: computes the loss anew, with its gradients, and returns it.

        Returns:
            What the closure returned, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._update()
        return loss

    @torch.no_grad()
    def _update(self) -> None:
        for group in self.param_groups:
            hyperparameters = {name: as_number(group[name]) for name in self._hyperparameters}
            for p, g, *buffers in self._walk(group):
                g = self._direction(p, g, buffers, group)
                type(self).rule(p, g, *buffers, **hyperparameters)

    def _walk(self, group: dict[str, Any]) -> Iterable[list[Vector]]:
        """The group's p, g and buffers, as Vectors of all tensors of a kind or of one."""
        bundles = [self._bundle(p) for p in group["params"] if p.grad is not None]
        if group["foreach"] is False:
            return [[Vector([tensor]) for tensor in bundle] for bundle in bundles]
        kinds = defaultdict(list)  # foreach's fast paths want one device, dtype and layout
        for bundle in bundles:
            p, g, *_ = bundle
            kinds[p.device, p.dtype, g.layout].append(bundle)
        return [[Vector(list(ts)) for ts in zip(*kind, strict=True)] for kind in kinds.values()]

    def _bundle(self, p: Tensor) -> list[Tensor]:
        """p, its gradient and its buffers; complex ones are seen as pairs of real numbers."""
        assert p.grad is not None
        if p.grad.is_sparse:
            raise RuntimeError(
                f"{type(self).__name__} does not support sparse gradients: "
                "use an embedding with sparse=False"
            )
        state = self.state[p] if self.buffers else {}
        for key in self.buffers:
            if key not in state:
                state[key] = torch.zeros_like(p, memory_format=torch.preserve_format)
        bundle = [p, p.grad, *(state[key] for key in self.buffers)]
        return [torch.view_as_real(t) for t in bundle] if p.is_complex() else bundle

    def _direction(
        self, p: Vector, g: Vector, buffers: list[Vector], group: dict[str, Any]
    ) -> Vector:
        """The gradient that the rule shall see, after maximize and L2 weight decay."""
        if group["maximize"]:
            g = -g
        if group["weight_decay"] != 0:
            g = g + group["weight_decay"] * p
        return g


def _check_all(hyperparameters: dict[str, Any]) -> None:
    lr = hyperparameters.get("lr")
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    for name, value in hyperparameters.items():
        check(name, value)


def as_number(value: Any) -> Any:
    """A hyperparameter as a plain number; a one-element tensor is read (on a GPU, waited for)."""
    return value.item() if isinstance(value, Tensor) else value
