"""The base class of methods of matrices: one optimizer for a whole module, the rest by AdamW."""

from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy
from typing_extensions import TypedDict

from scratchopt.adamw import AdamW
from scratchopt.hyperparameters import check_all
from scratchopt.method import Method
from scratchopt.optimizer import Optimizer
from scratchopt.ranges import Range

_ADAMW = "adamw"
_MEMBERS = ("params", "param_names")  # of a group, beside its hyperparameters
_FOR_THE_REST = ("adamw_lr", "adamw_betas", "adamw_eps")
_SHARED = ("weight_decay", "maximize", "foreach", "fused", "compensated", "differentiable")


class MatrixOptions(TypedDict, total=False):
    """Options of every method of matrices; see `Optimizer`."""

    maximize: bool
    compensated: bool
    differentiable: bool


class MatrixMethod(Optimizer):
    """A method of matrices that trains any module: what is no matrix is updated by AdamW.

    A matrix is a parameter of two dimensions or more; one of more than two, such as the kernel of a
    convolution, is the matrix (out, rest). A group of parameters becomes two, the matrices and the
    rest; where all are of a kind, it stays one. Each has an lr of its own, which schedulers change.

    A group that names its `method` stays as it is. With `"method": "adamw"` it is AdamW's, whatever
    its shapes, as the embeddings and the last layer of a language model should be; it may then have
    what AdamW has: lr, betas, eps, amsgrad, fused and others.

    A subclass gives the rule of a matrix, and its `name` in groups. Its hyperparameters include
    those of the rest: `adamw_lr`, None for lr; `adamw_betas`; `adamw_eps`.
    """

    name: ClassVar[str]
    shape = "matrix"
    ranges = (
        Range("adamw_lr", 0, optional=True),
        Range("adamw_betas", 0, 1),
        Range("adamw_eps", 0),
    )

    @classmethod
    def method_for(cls, group: dict[str, Any]) -> type[Method]:
        """AdamW for a group of the rest."""
        return AdamW if group.get("method") == _ADAMW else cls

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group of parameters as two, the matrices and the rest; see the class.

        Args:
            param_group: `params`, and hyperparameters of its own where it names them. An lr without
                an adamw_lr changes both in proportion.

        Raises:
            ValueError: an unknown method, a value out of its range, or parameters of lazy layers,
                which have no shape yet, where no method is named.
            RuntimeError: parameters that the method can't update.
        """
        if not isinstance(param_group, dict):
            super().add_param_group(param_group)  # torch refuses it
            return
        given = {key: value for key, value in param_group.items() if key not in _MEMBERS}
        if "method" in given and given["method"] not in (self.name, _ADAMW):
            raise ValueError(
                f"Invalid method: {given['method']!r} ({self.name!r} or {_ADAMW!r}; without one, a "
                "group is split into its matrices and the rest)"
            )
        check_all(self.defaults | given, self.ranges)
        self.check_group(self._complete(given, given.get("method", self.name)))
        count = len(self.param_groups)
        try:
            super(Optimizer, self).add_param_group(dict(param_group))  # torch's, with its checks
            for method, members in self._split(self.param_groups.pop()):
                group = members | self._complete(given, method)
                check_all(group, self.ranges)
                self.check_group(group)
                self._check_parameters(group)
                self.param_groups.append(group)
        except BaseException:
            del self.param_groups[count:]
            raise

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores a state; a group that was saved without a method keeps the one that it has."""
        if "defaults" not in state:
            groups = zip(self.param_groups, state["param_groups"], strict=True)
            named = [{"method": own["method"]} | saved for own, saved in groups]
            state = state | {"param_groups": named}
        super().__setstate__(state)

    def _split(self, group: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """The parameters of a group, and their names if they have any, by their method."""
        params = group["params"]
        if "method" in group:
            methods = [group["method"]] * len(params)
        elif any(map(is_lazy, params)):
            raise ValueError(
                f"{type(self).__name__} tells matrices from the rest, and a parameter of a lazy "
                "layer has no dimensions yet: run a batch through the model first"
            )
        else:
            methods = [self.name if p.dim() > 1 else _ADAMW for p in params]
        return [
            (
                method,
                {
                    key: [x for x, its in zip(group[key], methods, strict=True) if its == method]
                    for key in _MEMBERS
                    if key in group
                },
            )
            for method in (self.name, _ADAMW)
            if method in (methods or [group.get("method", self.name)])
        ]

    def _complete(self, given: dict[str, Any], method: str) -> dict[str, Any]:
        """The hyperparameters of a group of a method, from those that were given.

        What a group without a method was given is for its matrices, but for `_FOR_THE_REST`.
        """
        known = self.defaults | given
        if method == self.name:
            values = {key: value for key, value in known.items() if key not in _FOR_THE_REST}
            return values | {"method": method}
        values = _defaults_of_adamw() | {key: known[key] for key in _SHARED}
        values |= {
            "lr": self._lr_of_the_rest(given),
            "betas": tuple(known["adamw_betas"]),
            "eps": known["adamw_eps"],
            "method": method,
        }
        named = given.get("method") == method  # then all of it is for AdamW
        others = () if named else self.defaults
        return values | {
            key: value for key, value in given.items() if key not in (*others, *_FOR_THE_REST)
        }

    def _lr_of_the_rest(self, given: dict[str, Any]) -> Any:
        lr, rest = self.defaults["lr"], given.get("adamw_lr", self.defaults["adamw_lr"])
        if rest is None:
            own = given.get("lr", lr)
            return own.clone() if isinstance(own, Tensor) else own  # schedulers write into it
        scaled = "lr" in given and "adamw_lr" not in given and lr != 0
        return rest * given["lr"] / lr if scaled else rest

    def _defaults_of(self, group: dict[str, Any]) -> dict[str, Any]:
        return self._complete({}, group["method"])


@cache
def _defaults_of_adamw() -> dict[str, Any]:
    return AdamW([torch.zeros(0)]).defaults
