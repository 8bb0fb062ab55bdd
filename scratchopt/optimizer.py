"""The base class of every optimizer: all that is not arithmetic."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor

from scratchopt.engine import eager as drivers
from scratchopt.engine.buckets import Bucket, Plan
from scratchopt.engine.update import Recipe, Rule, numbers_of, recipe, with_compensations
from scratchopt.hyperparameters import as_number, as_scalar, check_all
from scratchopt.step_hooks import quiet

Params: TypeAlias = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]

_OPTIONS = {
    "weight_decay": 0.0,
    "maximize": False,
    "foreach": None,
    "differentiable": False,
    "fused": None,
    "compensated": False,
}


class Optimizer(torch.optim.Optimizer):
    """A torch optimizer that needs only its rule.

    A subclass gives `rule(p, g, *buffers, **numbers)`: the update of the paper, in place on p and
    the buffers; g is read-only. `buffers` names the state key of each buffer, in the rule's order;
    a buffer starts at zero. The keyword-only arguments of the rule are read from the param group,
    at each step; `t` is the number of the step, from 1, and kept as `step` in the state. All else
    is done here, once: weight decay, maximize, complex, sparse and missing gradients, and the way
    the tensors are walked (`scratchopt.engine.eager`).

    Args:
        params: parameters, or groups of them, as for any torch optimizer.
        defaults: hyperparameters by name; a group may have its own.
        options: those that concern every method: weight_decay, maximize, foreach, differentiable,
            fused, compensated.

    Raises:
        TypeError: another option.
        ValueError: a hyperparameter out of its range (see `scratchopt.ranges`).
        RuntimeError: options that exclude each other.
    """

    rule: ClassVar[Rule]
    buffers: ClassVar[tuple[str, ...]] = ()
    sparse: ClassVar[bool] = False  # whether the rule holds for a sparse g as it stands
    fixed: ClassVar[dict[str, Any]] = {}  # torch's keys for what is one method among several there

    foreign: ClassVar[tuple[str, ...]] = ()  # keys of states that would be lost on it

    _plan: Plan | None = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "step" in vars(cls):
            cls.step = quiet(cls.step)

    def __init__(self, params: Params, defaults: dict[str, Any], **options: Any) -> None:
        for name in options.keys() - _OPTIONS.keys():
            raise TypeError(f"{type(self).__name__} got an unexpected keyword argument {name!r}")
        defaults = _OPTIONS | defaults | options
        check_all(defaults)
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group of parameters, with hyperparameters of its own where it names them."""
        if isinstance(param_group, dict):  # else torch refuses it
            check_all(self.defaults | param_group)
            param_group = self.fixed | param_group
        super().add_param_group(param_group)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores a state; what an older version or torch did not save gets its default.

        Raises:
            ValueError: the state of another method. Nothing was restored then.
        """
        self._refuse(state)
        super().__setstate__(state)
        self._plan = None
        for group in self.param_groups:
            for name, value in (self.fixed | self.defaults).items():
                group.setdefault(name, value)
            for state in (self.state[p] for p in group["params"] if p in self.state):
                if "step" in state:  # older versions of torch save a number
                    place = state["step"] if group.get("capturable") else None
                    state["step"] = torch.as_tensor(
                        state["step"], dtype=torch.float32, device=getattr(place, "device", "cpu")
                    )

    def _refuse(self, state: dict[str, Any]) -> None:
        remedy = "scratchopt.from_torch and to_torch convert optimizers"
        for name, value in self.fixed.items():
            for group in state["param_groups"]:
                if group.get(name, value) != value:
                    raise ValueError(f"{type(self).__name__} has no {name}={group[name]}: {remedy}")
        for key in self.foreign:
            if any(key in values for values in state["state"].values()):
                raise ValueError(f"{type(self).__name__} keeps no {key}: {remedy}")

    @quiet
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

    def new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """The state of p, with what the group's rule needs and is not there yet."""
        rule, keys = self.method(group)
        timed = "t" in numbers_of(rule)
        keys = with_compensations(keys) if group["compensated"] else keys
        if not keys and not timed:
            return {}
        state = self.state[p]
        if timed and "step" not in state:
            device = p.device if group.get("capturable") else "cpu"
            state["step"] = torch.tensor(0.0, dtype=torch.float32, device=device)
        if timed and group.get("capturable"):
            state["step"] = state["step"].to(p.device)
        for key in keys:
            if key not in state:
                state[key] = (
                    torch.zeros_like(p, memory_format=torch.preserve_format)
                    if key.endswith("compensation")
                    else self.first_value(key, p, group)
                )
        return state

    def _update(self) -> None:
        for index, grads, bucket in self._buckets():
            group, how = self.param_groups[index], bucket.recipe
            numbers = {name: group[name] for name in how.names}
            read = as_scalar if how.driver is drivers.traced else as_number
            numbers = {name: read(value) for name, value in numbers.items()}
            if how.timed == "number" and bucket.params[0].is_cuda:
                _refuse_capture()
            if how.timed:
                numbers["t"] = bucket.count()
            try:
                with torch.set_grad_enabled(how.differentiable):
                    how.driver(how.update, bucket, grads, numbers)
            except BaseException:
                if how.timed:
                    bucket.count(-1)
                raise

    def _buckets(self) -> list[tuple[int, list[Any], Bucket]]:
        """For each bucket of parameters that have a gradient: its group's index, the gradients."""
        params = [p for group in self.param_groups for p in group["params"]]
        grads = [p.grad for p in params]
        kinds = (
            [g if g is None else g.dtype for g in grads],
            [g if g is None else g.layout for g in grads],
        )
        recipes = [self._recipe(group) for group in self.param_groups]
        plan = self._plan
        if plan is None or not plan.fits(params, kinds, recipes, self.state):
            buckets = self._sorted(grads, recipes)
            plan = self._plan = Plan(params, kinds, recipes, list(self.state.values()), buckets)
        if len(plan.buckets) == 1 and len(plan.buckets[0][1]) == len(grads):
            return [(plan.buckets[0][0], grads, plan.buckets[0][2])]
        return [(i, [grads[j] for j in members], bucket) for i, members, bucket in plan.buckets]

    def _recipe(self, group: dict[str, Any]) -> Recipe:
        return recipe(
            *self.method(group),
            self.penalized,
            bool(group["maximize"]),
            bool(group["weight_decay"] != 0),
            group.get("decoupled_weight_decay", False),
            bool(group["differentiable"]),
            bool(group.get("capturable", False)),
            bool(group["fused"]),
            group["foreach"],
            bool(group["compensated"]),
        )

    @torch.no_grad()
    def _sorted(
        self, grads: list[Any], recipes: list[Recipe]
    ) -> list[tuple[int, list[int], Bucket]]:
        """Puts parameters of a kind together, and gives those that are new their state."""
        rows = defaultdict(list)
        numbered = enumerate(grads)
        for index, (group, how) in enumerate(zip(self.param_groups, recipes, strict=True)):
            for p, (i, g) in zip(group["params"], numbered, strict=False):
                if g is None:
                    continue
                if g.layout != torch.strided and not (self.sparse and not how.fused):
                    raise RuntimeError(
                        f"{type(self).__name__} does not support sparse gradients here: "
                        "use an embedding with sparse=False, or SGD without fused=True"
                    )
                if how.compensated and p.dtype not in drivers.WIDER:
                    raise RuntimeError(
                        f"compensated=True is for bfloat16 and float32, not for {p.dtype}"
                    )
                state = self.new_state(p, group)
                age = state["step"].item() if how.timed == "number" else 0.0
                rows[index, p.device, p.dtype, g.dtype, g.layout, age].append((i, p, state))
        return [
            (
                index,
                [i for i, _, _ in members],
                Bucket([p for _, p, _ in members], [s for _, _, s in members], recipes[index]),
            )
            for (index, *_), members in rows.items()
        ]


def _refuse_capture() -> None:
    if torch.cuda.is_current_stream_capturing():
        raise RuntimeError("a CUDA graph would repeat this very step: it needs capturable=True")
