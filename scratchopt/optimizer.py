"""The base class of every optimizer: all that is not arithmetic."""

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from operator import is_
from typing import Any, ClassVar, NamedTuple, TypeAlias

import torch
from torch import Tensor

from scratchopt import drivers
from scratchopt.drivers import Bucket, Update
from scratchopt.ranges import check

Params: TypeAlias = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]
Rule: TypeAlias = Callable[..., Any]

_OPTIONS = {
    "weight_decay": 0.0,
    "maximize": False,
    "foreach": None,
    "differentiable": False,
    "fused": None,
}


class Optimizer(torch.optim.Optimizer):
    """A torch optimizer that needs only its rule.

    A subclass gives `rule(p, g, *buffers, **numbers)`: the update of the paper, in place on p and
    the buffers; g is read-only. `buffers` names the state key of each buffer, in the rule's order;
    a buffer starts at zero. The keyword-only arguments of the rule are read from the param group,
    at each step; `t` is the number of the step, from 1, and kept as `step` in the state. All else
    is done here, once: weight decay, maximize, complex, sparse and missing gradients, and the way
    the tensors are walked (`scratchopt.drivers`).

    Args:
        params: parameters, or groups of them, as for any torch optimizer.
        defaults: hyperparameters by name; a group may have its own. The options that concern every
            method have their defaults where they are not among them.

    Raises:
        ValueError: a hyperparameter out of its range (see `scratchopt.ranges`).
        RuntimeError: options that exclude each other.
    """

    rule: ClassVar[Rule]
    buffers: ClassVar[tuple[str, ...]] = ()
    sparse: ClassVar[bool] = False  # whether the rule holds for a sparse g as it stands

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        defaults = _OPTIONS | defaults
        _check_all(defaults)
        self._plans: dict[int, _Plan] = {}
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group of parameters, with hyperparameters of its own where it names them."""
        if isinstance(param_group, dict):  # else torch refuses it
            _check_all(self.defaults | param_group)
        super().add_param_group(param_group)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores a state; what an older version or torch did not save gets its default."""
        super().__setstate__(state)
        self._plans = {}
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)
            for state in (self.state[p] for p in group["params"] if p in self.state):
                if "step" in state:  # older versions of torch save a number
                    state["step"] = torch.as_tensor(state["step"], dtype=torch.float32)

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

    @classmethod
    def method(cls, group: dict[str, Any]) -> tuple[Rule, tuple[str, ...]]:
        """The rule that a group asks for, and the keys of its buffers."""
        return cls.rule, cls.buffers

    @staticmethod
    def penalized(p: Any, *buffers: Any, **numbers: Any) -> Any:
        """The point where the gradient of the L2 penalty is taken."""
        return p

    def first_value(self, key: str, p: Tensor, group: dict[str, Any]) -> Tensor:
        """What a buffer of p starts with."""
        return torch.zeros_like(p, memory_format=torch.preserve_format)

    def _update(self) -> None:
        for index, group in enumerate(self.param_groups):
            rule, keys = self.method(group)
            update = _with_penalty(
                rule,
                self.penalized,
                group["maximize"],
                group["weight_decay"] != 0,
                group.get("decoupled_weight_decay", False),
            )
            driver = _driver(group)
            names = _numbers_of(rule)
            numbers = {name: group[name] for name in names if name != "t"}
            numbers["weight_decay"] = group["weight_decay"]
            if driver is not drivers.traced:
                numbers = {name: as_number(value) for name, value in numbers.items()}
            with torch.set_grad_enabled(group["differentiable"]):
                for bucket, grads in self._buckets(index, group, keys):
                    if "t" in names:
                        numbers["t"] = bucket.count(driver is drivers.traced)
                    driver(update, bucket, grads, numbers)

    def _buckets(
        self, index: int, group: dict[str, Any], keys: tuple[str, ...]
    ) -> Iterator[tuple[Bucket, list[Tensor]]]:
        """Buckets of the group's parameters that have a gradient, with the gradients."""
        params = group["params"]
        grads = [p.grad for p in params]
        kinds = [g if g is None else (g.device, g.dtype, g.layout) for g in grads]
        plan = self._plans.get(index)
        if plan is None or not plan.fits(params, kinds, keys, self.state):
            plan = self._plans[index] = self._plan(group, grads, kinds, keys)
        for members, bucket in plan.buckets:
            yield bucket, [grads[i] for i in members]  # type: ignore[misc]

    def new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """The state of p, with what the group's rule needs and is not there yet."""
        rule, keys = self.method(group)
        state = self.state[p]
        if "t" in _numbers_of(rule) and "step" not in state:
            device = p.device if group.get("capturable") or group["fused"] else "cpu"
            state["step"] = torch.tensor(0.0, dtype=torch.float32, device=device)
        for key in keys:
            if key not in state:
                state[key] = self.first_value(key, p, group)
        return state

    def _plan(
        self, group: dict[str, Any], grads: list[Any], kinds: list[Any], keys: tuple[str, ...]
    ) -> "_Plan":
        """Sorts parameters by kind, and gives those that are new their state."""
        buckets = defaultdict(list)
        timed = "t" in _numbers_of(self.method(group)[0])
        for i, (p, g, kind) in enumerate(zip(group["params"], grads, kinds, strict=True)):
            if g is None:
                continue
            if g.layout != torch.strided and not (self.sparse and not group["fused"]):
                raise RuntimeError(
                    f"{type(self).__name__} does not support sparse gradients here; "
                    "use SGD without fused=True, or an embedding with sparse=False"
                )
            state = self.new_state(p, group) if keys or timed else {}
            age = float(state["step"]) if timed else 0.0
            buckets[kind, age].append((i, p, state))
        members = [
            (
                [i for i, _, _ in rows],
                Bucket([p for _, p, _ in rows], [state for _, _, state in rows], keys),
            )
            for rows in buckets.values()
        ]
        return _Plan(list(group["params"]), kinds, keys, self.state, len(self.state), members)


class _Plan(NamedTuple):
    """How a group was sorted into buckets, and what that depended on."""

    params: list[Tensor]
    kinds: list[Any]
    keys: tuple[str, ...]
    state: dict[Tensor, Any]
    size: int
    buckets: list[tuple[list[int], Bucket]]

    def fits(
        self,
        params: list[Tensor],
        kinds: list[Any],
        keys: tuple[str, ...],
        state: dict[Tensor, Any],
    ) -> bool:
        """Whether nothing that it depended on has changed."""
        return (
            len(params) == len(self.params)
            and all(map(is_, params, self.params))
            and kinds == self.kinds
            and keys == self.keys
            and state is self.state
            and len(state) == self.size
        )


def _driver(group: dict[str, Any]) -> drivers.Driver:
    if group["differentiable"] or group.get("capturable", False):
        return drivers.traced
    if group["fused"]:
        from scratchopt.compiled import compiled  # fx and what it imports, for who wants them

        return compiled
    if group["foreach"] is None:
        return drivers.by_size
    return drivers.together if group["foreach"] else drivers.one_by_one


@cache
def _numbers_of(rule: Rule) -> tuple[str, ...]:
    arguments = inspect.signature(rule).parameters.values()
    return tuple(a.name for a in arguments if a.kind == a.KEYWORD_ONLY)


@cache
def _with_penalty(
    rule: Rule, penalized: Rule, maximize: bool, decay: bool, decoupled: bool
) -> Update:
    """The rule with maximize and weight decay before it; the same object for the same choices."""

    def update(p: Any, g: Any, *buffers: Any, weight_decay: Any, **numbers: Any) -> None:
        if maximize:
            g = -g
        if decay and decoupled:
            p *= 1 - numbers["lr"] * weight_decay
        elif decay:
            g = g + weight_decay * penalized(p, *buffers, **numbers)
        rule(p, g, *buffers, **numbers)

    return update


def _check_all(hyperparameters: dict[str, Any]) -> None:
    lr = hyperparameters.get("lr")
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    for i, beta in enumerate(hyperparameters.get("betas", ())):
        if isinstance(beta, Tensor) and beta.numel() != 1:
            raise ValueError(f"Tensor betas[{i}] must be 1-element")
    for name, value in hyperparameters.items():
        check(name, value)
    if hyperparameters.get("fused"):
        if hyperparameters.get("foreach"):
            raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
        if hyperparameters.get("differentiable"):
            raise RuntimeError("`fused` does not support `differentiable`")


def as_number(value: Any) -> Any:
    """A hyperparameter as plain numbers; a one-element tensor is read (on a GPU, waited for)."""
    if isinstance(value, tuple | list):
        return tuple(as_number(part) for part in value)
    return value.item() if isinstance(value, Tensor) else value
