"""Nesterov's accelerated gradient, exactly: the gradient is taken at the lookahead point."""

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch

from scratchopt.engine.vector import Vector
from scratchopt.hyperparameters import as_number
from scratchopt.momentum import Momentum
from scratchopt.snapshot import Snapshot

_REMEDY = (
    "call lookahead_() before the forward pass, or step(closure) with a closure that calls "
    "optimizer.zero_grad(); under Lightning add the callback scratchopt.lightning.Lookahead"
)


class NAG(Momentum):
    """Nesterov's accelerated gradient (1983), in the form of Sutskever et al. (2013).

    v ← μv − lr·∇f(θ + μv)
    θ ← θ + v,      with v₀ = 0, μ = momentum.

    The rule is `Momentum`'s. What differs is where the gradient is taken: at the lookahead point
    θ + μv. Between steps the parameters hold θ, so that nobody ever validates or saves a shifted
    weight. There are two ways to take a step:

    1. `step(closure)` moves to θ + μv, runs the closure there, goes back and updates.
    2. `lookahead_()`, then forward and backward passes, as many as wanted, then `step()`.

    `scratchopt.lightning.Lookahead` does the second under a Lightning Trainer. On a quadratic of
    curvature λ it converges for lr·λ < (2 + 2μ)/(1 + 2μ).

    Args:
        params: parameters, or groups of them, as for any torch optimizer.
        lr: step size, lr >= 0; a number or a one-element tensor.
        momentum: fraction of the velocity kept each step, μ in [0, 1).
        weight_decay: L2 penalty, added to the gradient as weight_decay·(θ + μv), its gradient at
            the lookahead point; >= 0.
        maximize: ascend instead of descend.
        foreach: True, all tensors of a group at once; False, one by one; None, by their size.
        differentiable: lets autograd through the step.
        fused: True, the rule is compiled to one kernel that updates all tensors.
        compensated: keep what rounding takes from parameters and state, and add it in the next
            step: for bf16, at twice the memory.

    State: `velocity`, v, of the parameter's shape and dtype. Besides, from the second step on, the
    memory of a copy of θ.

    Raises:
        ValueError: a value out of its range.
        RuntimeError: a step whose gradients were not taken at the lookahead point.

    Reference: Nesterov, "A method for solving the convex programming problem with convergence rate
    O(1/k²)", Soviet Mathematics Doklady 27 (1983); Sutskever, Martens, Dahl and Hinton, "On the
    importance of initialization and momentum in deep learning", ICML 2013.

    >>> x = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = NAG([x], lr=0.25, momentum=0.5)
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (x**2).sum()
    ...     loss.backward()
    ...     return loss
    >>> for _ in range(2):
    ...     loss = optimizer.step(closure)
    >>> x.item()  # 1 → 0.5; there v = −0.5, and the gradient is taken at 0.25
    0.125
    """

    _kept: Snapshot | None = None  # θ, while ahead; and its memory
    _momenta: tuple[Any, ...] | None = None  # of the groups, at a lookahead since the last step
    _zeroed = False  # whether zero_grad was called since the closure began

    @property
    def ahead(self) -> bool:
        """Whether the parameters hold the lookahead point θ + μv now."""
        return self._kept is not None and self._kept.full

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores a state; a θ that was kept before it is not given back."""
        super().__setstate__(state)
        self._kept = self._momenta = None

    def lookahead_(self) -> None:
        """Moves the parameters to θ + μv and keeps θ; does nothing where they are there already."""
        if self.ahead:
            if self._momenta == self._momenta_now():
                return
            self.restore_()
        self._momenta = self._momenta_now()
        moving = [
            [p for p in group["params"] if "velocity" in self.state.get(p, ())]
            for group in self.param_groups
        ]
        differentiable = any(group["differentiable"] for group in self.param_groups)
        with torch.set_grad_enabled(differentiable):
            self._kept = self._kept or Snapshot()
            self._kept.take(list(chain.from_iterable(moving)))
            for group, params in zip(self.param_groups, moving, strict=True):
                if params:
                    velocities = [self.state[p]["velocity"] for p in params]
                    p, v = Vector(params, role="named"), Vector(velocities)
                    p += as_number(group["momentum"]) * v

    def restore_(self) -> None:
        """Moves the parameters back to θ, bit for bit; does nothing where they are there."""
        if self._kept is not None:
            self._kept.give_back()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients, as torch does."""
        super().zero_grad(set_to_none)
        self._zeroed = True

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates θ with the gradients taken at the lookahead point, and ends at the new θ.

        Args:
            closure: computes the loss anew, with its gradients, and returns it. It runs at the
                lookahead point.

        Returns:
            What the closure returned, or None.

        Raises:
            RuntimeError: neither a closure nor a lookahead before it (without velocity, as in the
                first step, the lookahead point is θ, and none is needed), a closure that adds to
                gradients taken before the lookahead, or a momentum that changed since then. θ is
                then where it was.
        """
        if closure is None and not self.ahead and any("velocity" in s for s in self.state.values()):
            raise RuntimeError(f"NAG needs its gradient at the lookahead point: {_REMEDY}")
        loss = None
        try:
            if closure is not None and self.ahead:
                with torch.enable_grad():
                    loss = closure()
            elif closure is not None:
                loss = self._look_ahead_for(closure)
        finally:
            self.restore_()
        taken, self._momenta = self._momenta, None
        if taken is not None and taken != self._momenta_now():
            raise RuntimeError(
                f"NAG's momentum changed from {taken} to {self._momenta_now()} between its "
                "lookahead and its step: change it after a step, or call lookahead_() again"
            )
        self._update()
        return loss

    def _momenta_now(self) -> tuple[Any, ...]:
        return tuple(as_number(group["momentum"]) for group in self.param_groups)

    def _look_ahead_for(self, closure: Callable[[], Any]) -> Any:
        """Runs the closure at the lookahead point, and refuses gradients from before it.

        A trainer that accumulates micro-batches has run some of them at θ by now. Their gradients
        show: they are there before the closure, not zero, and still there after it.
        """
        earlier = [(p, p.grad) for group in self.param_groups for p in group["params"]]
        earlier = [(p, grad) for p, grad in earlier if grad is not None]
        norms = torch._foreach_norm([grad for _, grad in earlier]) if earlier else []
        self._zeroed = False
        self.lookahead_()
        with torch.enable_grad():
            loss = closure()
        if not self._zeroed and any(
            p.grad is grad and norm > 0 for (p, grad), norm in zip(earlier, norms, strict=True)
        ):
            raise RuntimeError(
                f"NAG got gradients that were taken before its lookahead, at θ: {_REMEDY}"
            )
        return loss

    @staticmethod
    def penalized(p: Any, v: Any, *, momentum: Any, **numbers: Any) -> Any:
        """The lookahead point: there the penalty's gradient is taken, as the loss's is."""
        return p + momentum * v
