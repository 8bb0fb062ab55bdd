"""The point where a method takes its gradient, if that is not where its parameters are."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from scratchopt.engine.update import Rule, as_number, number_names
from scratchopt.engine.vector import Vector
from scratchopt.snapshot import Snapshot

_REMEDY = (
    "call lookahead_() before the forward pass, or step(closure) with a closure that calls "
    "optimizer.zero_grad(); under Lightning add the callback scratchopt.lightning.Lookahead, or, "
    "as its Tuner leaves callbacks out, call lookahead_() in on_train_batch_start of the module"
)


class GradientPoint:
    """Moves parameters to the point of the gradient, keeps the iterate θ meanwhile, and goes back.

    All that it knows lies in this one object, which a copy of the optimizer's `__dict__` shares, as
    Lightning's and Fabric's wrappers make one.

    Args:
        move: p, the buffers and numbers by name, to p at the point, in place; see `Optimizer`.
        name: of the method, for messages.
    """

    def __init__(self, move: Rule, name: str) -> None:
        self._move, self._name, self._number_names = move, name, number_names(move)
        self.forget()

    def forget(self) -> None:
        """Forgets the iterate, which is then not given back."""
        self.iterate = Snapshot()  # θ, while ahead; and its memory
        self._numbers: dict[str, list[Any]] | None = None  # of a move since the last step
        self.zeroed = False  # whether zero_grad was called since the closure began

    @property
    def ahead(self) -> bool:
        """True if the parameters are at the point now."""
        return self.iterate.full

    def enter(self, groups: list[Any], columns: list[list[list[Tensor]]]) -> None:
        """Moves the parameters to the point; does nothing where they are there already.

        Args:
            groups: of the optimizer.
            columns: of each group, the parameters that have all their buffers, and each kind of
                buffer.
        """
        now = self._read(groups)
        if self.iterate.full:
            if self._numbers == now:
                return
            self.leave()
        self._numbers = now
        differentiable = any(group["differentiable"] for group in groups)
        with torch.set_grad_enabled(differentiable):
            self.iterate.take([p for params, *_ in columns for p in params])
            try:
                for i, (params, *buffers) in enumerate(columns):
                    if params:
                        numbers = {name: values[i] for name, values in now.items()}
                        self._move_group(params, buffers, numbers)
            except BaseException:
                self.leave()
                raise

    def leave(self) -> None:
        """Moves the parameters back to θ, bit for bit; does nothing where they are there."""
        self.iterate.give_back()

    def evaluate(
        self, closure: Callable[[], Any] | None, enter: Callable[[], None], groups: list[Any]
    ) -> Any:
        """Runs the closure of a step at the point, and goes back to θ, whatever happens.

        Args:
            closure: of the step, or None.
            enter: moves to the point.
            groups: of the optimizer.

        Raises:
            RuntimeError: gradients in the closure from before the move, or a number of the point
                that changed since.
        """
        loss = None
        try:
            if closure is not None and self.ahead:
                with torch.enable_grad():
                    loss = closure()
            elif closure is not None:
                loss = self._look_ahead_for(closure, enter, groups)
        finally:
            self.leave()
        taken, self._numbers = self._numbers, None
        if taken is not None and taken != (now := self._read(groups)):
            (name, *_) = (name for name in now if taken[name] != now[name])
            raise RuntimeError(
                f"{self._name}'s {name} changed from {tuple(taken[name])} to {tuple(now[name])} "
                "between its lookahead and its step: change it after a step, or call lookahead_() "
                "again"
            )
        return loss

    def refuse_elsewhere(self) -> None:
        """Raises an error: the gradients of a step were not taken at the point."""
        raise RuntimeError(f"{self._name} needs its gradient at the lookahead point: {_REMEDY}")

    def _move_group(self, params: Any, buffers: list[Any], numbers: dict[str, Any]) -> None:
        if any(map(Tensor.is_complex, params)):
            params, *buffers = map(_as_pairs, (params, *buffers))
        self._move(Vector(params, role="named"), *map(Vector, buffers), **numbers)

    def _read(self, groups: list[Any]) -> dict[str, list[Any]]:
        return {name: [as_number(group[name]) for group in groups] for name in self._number_names}

    def _look_ahead_for(
        self, closure: Callable[[], Any], enter: Callable[[], None], groups: list[Any]
    ) -> Any:
        """Runs the closure at the point, and refuses gradients from before it.

        A trainer that accumulates micro-batches has run some of them at θ by now. Their gradients
        show: they are there before the closure, not zero, and still there after it.
        """
        earlier = [(p, p.grad) for group in groups for p in group["params"]]
        earlier = [(p, grad) for p, grad in earlier if grad is not None]
        norms = torch._foreach_norm([grad for _, grad in earlier]) if earlier else []
        self.zeroed = False
        enter()
        with torch.enable_grad():
            loss = closure()
        if not self.zeroed and any(
            p.grad is grad and norm > 0 for (p, grad), norm in zip(earlier, norms, strict=True)
        ):
            raise RuntimeError(
                f"{self._name} got gradients that were taken before its lookahead, at θ: {_REMEDY}"
            )
        return loss


def _as_pairs(tensors: list[Tensor]) -> list[Tensor]:
    """Complex numbers as pairs of real ones, as a rule sees them."""
    return [torch.view_as_real(t) if t.is_complex() else t for t in tensors]
