"""The base class of every optimizer: all that is not arithmetic."""

import warnings
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy
from typing_extensions import Self, TypedDict, Unpack

from scratchopt.engine.global_sums import read_sums
from scratchopt.engine.laws import read_programs
from scratchopt.engine.operations import RuleError
from scratchopt.engine.runner import run, update_for
from scratchopt.engine.shapes import Shape, refuse_parameter
from scratchopt.engine.sorting import Sorting, kinds_of
from scratchopt.engine.step_numbers import read_step_numbers
from scratchopt.engine.update import GroupOptions, StepNumbers, Sums, Update
from scratchopt.gradient_point import GradientPoint
from scratchopt.hyperparameters import check_all
from scratchopt.method import Method
from scratchopt.optimizer_repr import describe_optimizer
from scratchopt.parameter_checks import check_parameter
from scratchopt.saved_state import fill_in, refuse_foreign, restore_dtypes, with_plain_numbers
from scratchopt.step_hooks import outside_of_graphs, without_idle_hooks

Params: TypeAlias = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]


class StepOptions(TypedDict, total=False):
    """Options of every method that say how its step is made; see `Optimizer`."""

    maximize: bool
    foreach: bool | None
    fused: bool | None
    compensated: bool
    differentiable: bool


class Options(StepOptions, total=False):
    """Options of every method; see `Optimizer`."""

    weight_decay: float


_DEFAULTS = {
    "weight_decay": 0.0,
    "maximize": False,
    "foreach": None,
    "differentiable": False,
    "fused": None,
    "compensated": False,
}


class Optimizer(Method, torch.optim.Optimizer):
    """A torch optimizer that needs only its rule.

    A subclass gives `rule(p, g, *buffers, **numbers)`: the update of the paper, in place on p and
    the buffers; g is read-only. `buffers` names the state key of each buffer, in the rule's order;
    a buffer starts at zero. The keyword-only arguments of the rule are read from the param group,
    at each step; `t` is the number of the step, from 1, and kept as `step` in the state. Numbers
    that are none of these the method makes itself, in `numbers(*, t, **hyperparameters)`; those of
    `kept_numbers` it keeps from step to step. All else is done here, once: weight decay, unless the
    rule takes it, maximize, complex, sparse and missing gradients, and the way the tensors are
    walked (`scratchopt.engine`). A rule works on each number by itself, unless the class has
    another `shape` (`docs/reference/rules.md`).

    A method whose gradient is taken elsewhere than at its parameters θ says where:
    `gradient_point(p, *buffers, **numbers)` moves p from θ to that point, in place, and leaves the
    buffers alone. Between steps the parameters hold θ, so that nobody ever validates or saves a
    shifted weight. There are two ways to take a step, and both serve every method:

    1. `step(closure)` moves to the point, runs the closure there, goes back and updates.
    2. `lookahead_()`, then forward and backward passes, as many as wanted, then `step()`.

    `scratchopt.lightning.Lookahead` does the second under a Lightning Trainer.

    Args:
        params: parameters, or groups of them, as for any torch optimizer.
        defaults: hyperparameters by name; a group may have its own.
        options: those of every method:
            weight_decay: L2 penalty, added to the gradient as weight_decay·θ, or its gradient at
                the gradient point; >= 0.
            maximize: ascend instead of descend.
            foreach: True, all tensors of a group at once; False, one by one; None, by their size.
            fused: True, the rule is compiled to one kernel that updates all tensors.
            compensated: keep what rounding takes from parameters and state, and add it in the next
                step: for bf16, at twice the memory.
            differentiable: lets autograd through the step.

    RMSprop, Adam, AdamW, NAdam and RAdam also take capturable, for CUDA graphs. Methods with
    momentum take cautious: only elements move where step·gradient < 0, and, if these are k of n,
    n/k times as far, 1000 times at most (Liang et al., 2024, arXiv 2411.16085); the decay of
    weights goes on in all. It needs whole tensors: not with fused or foreach.

    Raises:
        TypeError: another option.
        ValueError: a hyperparameter out of its range (see `scratchopt.ranges`).
        RuntimeError: options that exclude each other.
    """

    _sorting: Sorting
    _point: GradientPoint | None
    _step_numbers: dict[Any, tuple[Sums | None, StepNumbers | None]]  # by the method of a group

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "step" in vars(cls):
            cls.step = without_idle_hooks(cls.step)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        self._make_objects()  # here, for copies and pickles are made by it too
        return self

    def _make_objects(self) -> None:
        """Makes the objects that outlive a step; wrappers that copy `__dict__` share them."""
        point = type(self).gradient_point
        self._point = point and GradientPoint(point, type(self).__name__)
        self._sorting, self._step_numbers = Sorting(), {}

    def __init__(
        self, params: Params, defaults: dict[str, Any], **options: Unpack[Options]
    ) -> None:
        for name in options.keys() - _DEFAULTS.keys():
            raise TypeError(f"{type(self).__name__} got an unexpected keyword argument {name!r}")
        defaults = _DEFAULTS | defaults | options
        check_all(defaults, self.ranges)
        super().__init__(params, defaults)

    def __repr__(self) -> str:
        """A line about the optimizer, or one for each group: its settings and state; makes none."""
        return describe_optimizer(self, _DEFAULTS, self.ahead)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group of parameters, with hyperparameters of its own where it names them.

        Raises:
            ValueError: a hyperparameter out of its range, or a parameter that is there already.
            RuntimeError: options that exclude each other, or parameters that can't be updated.
        """
        if isinstance(param_group, dict):  # else torch refuses it
            check_all(self.defaults | param_group, self.ranges)
            param_group = self.fixed | param_group
            self.check_group(_DEFAULTS | self.defaults | param_group)
        super().add_param_group(param_group)
        try:
            self._check_parameters(self.param_groups[-1])
        except (RuntimeError, ValueError):
            del self.param_groups[-1]
            raise

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores a state; what an older version or torch did not save gets its default.

        A θ that was kept before it is not given back.

        Raises:
            ValueError: the state of another method. Nothing was restored then.
        """
        if "defaults" in state:  # a copy or a pickle of its own kind
            super().__setstate__(state)
        else:  # a state_dict: in place, for a wrapper of Lightning's or Fabric's shares these two
            refuse_foreign(type(self), state)
            states, groups = dict(state["state"]), list(state["param_groups"])
            self.state.clear()
            self.state.update(states)
            self.param_groups[:] = groups
        self._sorting.forget()
        if self._point:
            self._point.forget()
        fill_in(self.param_groups, self.state, self._defaults_of)
        for group in self.param_groups:
            for p in group["params"]:
                self._keep_as_tensors(p, group)

    def _keep_as_tensors(self, p: Tensor, group: dict[str, Any]) -> None:
        """Makes tensors of the numbers that a parameter keeps, where they were loaded."""
        method, values = cast(Any, self.method_for(group)), self.state.get(p, {})
        for name in method.kept_numbers:
            if name in values and not isinstance(values[name], Tensor):
                values[name] = method.first_value(self, name, p, group).fill_(values[name])

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads a state as torch does, and leaves to each buffer the dtype that its method chose.

        Raises:
            ValueError: the state of another method, or of other groups. Nothing was loaded then.
        """
        super().load_state_dict(with_plain_numbers(state_dict, self.kept_numbers))
        restore_dtypes(self.state, self.param_groups, state_dict, self._dtype_of)

    def _dtype_of(self, key: str, p: Tensor, group: dict[str, Any]) -> torch.dtype:
        """The dtype in which a method keeps a buffer of p."""
        method: Any = self.method_for(group)
        value = method.first_value(self, key, torch.empty_like(p, device="meta"), group)
        return p.dtype if value is None else value.dtype

    def _defaults_of(self, group: dict[str, Any]) -> dict[str, Any]:
        """The values of a group's keys where it does not give them."""
        return self.fixed | self.defaults

    def state_dict(self) -> dict[str, Any]:
        """The state, as torch has it; warns where the parameters are at the gradient point.

        Returns:
            `state` and `param_groups`.
        """
        self._warn_if_ahead()
        return super().state_dict()

    def __getstate__(self) -> dict[str, Any]:
        """The state for a copy or a pickle; warns as `state_dict` does."""
        self._warn_if_ahead()
        return super().__getstate__()

    def _warn_if_ahead(self) -> None:
        if self.ahead:
            warnings.warn(
                "the parameters are at the gradient point, and what is saved or copied now has "
                "these in place of θ: call restore_() before",
                stacklevel=3,
            )

    @property
    def ahead(self) -> bool:
        """True if the parameters are at the gradient point now, away from θ."""
        return self._point is not None and self._point.ahead

    @property
    def moves(self) -> int:
        """The number of times that the parameters were moved to the gradient point or back."""
        return self._point.moves if self._point else 0

    def lookahead_(self) -> None:
        """Moves the parameters to the gradient point and keeps θ; does nothing if they are there.

        Without state, as before the first step, or in a method without `gradient_point`, that is θ.
        """
        if self._point:
            self._look_ahead(self._point)

    @outside_of_graphs
    def _look_ahead(self, point: GradientPoint) -> None:
        moves = [move for g in self.param_groups if (move := self.update_of(g).move)]
        point.enter(self.param_groups, moves, self.state)

    def restore_(self) -> None:
        """Moves the parameters back to θ, bit for bit; does nothing where they are there."""
        if self._point:
            self._point.leave()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients, as torch does."""
        super().zero_grad(set_to_none)
        if self._point:
            self._point.zeroed = True

    @without_idle_hooks
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates the parameters once; parameters whose gradient is None stay as they are.

        Args:
            closure: computes the loss anew, with its gradients, and returns it. It runs at the
                gradient point.

        Returns:
            What the closure returned, or None.

        Raises:
            RuntimeError: in a method with a `gradient_point`, neither a closure nor a lookahead
                before it (before the first step the point is θ, and none is needed), a closure that
                adds to gradients taken before the lookahead, or numbers of the point that changed
                since then. The parameters are then at θ.
        """
        loss = None
        if self._point is None:
            if closure is not None:
                with torch.enable_grad():
                    loss = closure()
            self._update()
            return loss
        if closure is None and not self.ahead and self._may_be_elsewhere():
            self._point.refuse_elsewhere()
        try:
            loss = self._point.evaluate(closure, self.lookahead_, self.param_groups)
            self._update()
        finally:
            self._point.leave()
        return loss

    def first_value(self, key: str, p: Tensor, group: dict[str, Any]) -> Tensor | None:
        """The value that a buffer of p, or a number of `kept_numbers`, starts with.

        A rule of whole tensors may have buffers of any shape and dtype; None, and the rule is given
        None, where p needs no such buffer.
        """
        if key in self.method_for(group).kept_numbers:
            return torch.zeros((), dtype=torch.float64)
        return _zeros_like(p)

    def new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """The state of p, with what the group's rule needs and is not there yet."""
        update, method = self.update_of(group), cast(Any, self.method_for(group))
        keys = update.all_keys
        if not (keys or update.state_numbers):
            return {}
        state = self.state[p]
        if update.counts_steps and "step" not in state:
            state["step"] = torch.tensor(0.0, dtype=torch.float32)
        for name in update.kept_numbers:
            if name not in state:
                state[name] = method.first_value(self, name, p, group)
        if group.get("capturable"):
            for name in update.state_numbers:
                state[name] = state[name].to(p.device)
        for key in keys:
            if key in state:
                continue
            if key.endswith("compensation"):
                kept = p if key == "compensation" else state.get(key.removesuffix("_compensation"))
                value = kept if kept is None else _zeros_like(kept)
            else:
                with torch.set_grad_enabled(bool(group["differentiable"])):
                    value = method.first_value(self, key, p, group)
                if value is not None and cast(Any, torch._C)._is_alias_of(value, p):
                    raise RuleError(
                        f"{method.__name__}.first_value returns p itself as {key}, which would "
                        "change with it: return p.clone()"
                    )
            if value is not None:
                state[key] = value
        return state

    def make_state(self) -> None:
        """Makes the state that steps need, where it is not there yet."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.requires_grad:
                    self.new_state(p, group)

    def state_bytes(self) -> int:
        """Bytes of the state that steps need; makes it where it is not there yet."""
        self.make_state()
        return sum(value.nbytes for values in self.state.values() for value in values.values())

    def check_group(self, group: dict[str, Any]) -> None:
        """Refuses a group whose rule takes what is not there or breaks a law, or its options."""
        cls = type(self)
        if self._has_rule():
            read_programs(self.update_of(group), group)
        elif cls.step is Optimizer.step:
            raise RuleError(
                f"{cls.__name__} has no rule: give it one, a static method rule(p, g, *, lr) "
                "(docs/how-to/extend.md)"
            )

    def shape_of(self, group: dict[str, Any]) -> Shape | None:
        """The shape of a group's rule, which says what it sees at once; None without a rule."""
        return self.update_of(group).shape if self._has_rule() else None

    def _has_rule(self) -> bool:
        cls = type(self)
        return hasattr(cls, "rule") or cls.rule_for.__func__ is not Method.rule_for.__func__

    def _check_parameters(self, group: dict[str, Any]) -> None:
        """Refuses parameters that the group's rule can't update; lazy ones are checked later."""
        if len(set(map(id, group["params"]))) < len(group["params"]):
            raise ValueError(
                "a parameter is in a group twice, as the weight that two layers share is in a list "
                "of their parameters: give it once, as the parameters() of the whole module do"
            )
        for p in group["params"] if self._has_rule() else ():
            if not is_lazy(p):
                refuse_parameter(self.update_of(group).shape, self.method_for(group).__name__, p)

    def update_of(self, group: dict[str, Any]) -> Update:
        """The update of a group by its options; the same object for the same options."""
        method, options = self.method_for(group), GroupOptions.of(group)
        try:
            sums, numbers = self._step_numbers[method]
        except KeyError:
            sums, numbers = self._step_numbers[method] = self._read_numbers(method, group)
        return update_for(
            *method.rule_for(group),
            type(self).gradient_point,
            numbers,
            sums,
            options,
            method.shape,
            method.__name__,
        )

    def _read_numbers(
        self, method: Any, group: dict[str, Any]
    ) -> tuple[Sums | None, StepNumbers | None]:
        """Reads which sums a group's method takes, and what its `numbers` take and make."""
        sums, kept = None, method.kept_numbers
        first = {key: method.first_value(self, key, torch.empty(0), group) for key in kept}
        if method.sums:
            buffers = len(method.rule_for(group)[1])
            sums = read_sums(method.sums, buffers, first, group, type(self).gradient_point)
            group = group | sums.ones
        if not (method.numbers or kept):
            return sums, None
        return sums, read_step_numbers(method.numbers, kept, group, first)

    def _update(self) -> None:
        """Runs the rule on the parameters that have a gradient."""
        groups, point = self.param_groups, self._point
        updates = [self.update_of(group) for group in groups]
        grads = [p.grad for group in groups for p in group["params"]]
        away = point.away if point else ()
        found = self._sorting.sort(
            groups, lambda: grads, kinds_of(grads), updates, self.state, self._prepare, away
        )
        if point:
            point.leave(but=found.from_kept)
        run(found, groups, grads)
        if point:
            point.land()

    def _prepare(self, p: Tensor, group: dict[str, Any], update: Update) -> dict[str, Any]:
        check_parameter(self.method_for(group), p, update)
        return self.new_state(p, group)

    def _may_be_elsewhere(self) -> bool:
        """True if the gradient point may differ from θ, as it may once there are buffers."""
        kept = (key in state for state in self.state.values() for key in self.buffers)
        return not self.buffers or any(kept)


def _zeros_like(tensor: Tensor) -> Tensor:
    return torch.zeros_like(tensor, memory_format=torch.preserve_format)
