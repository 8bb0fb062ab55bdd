"""Stochastic gradient descent with momentum: the heavy ball."""

from typing import Any

from typing_extensions import Unpack

from scratchopt.engine.update import as_number
from scratchopt.optimizer import Optimizer, Options, Params


class Momentum(Optimizer):
    """Gradient descent with momentum (Polyak, 1964), in the form of Sutskever et al. (2013).

    v ← μv − lr·g
    θ ← θ + v,      with g = ∇f(θ), v₀ = 0, μ = momentum.

    The velocity is a displacement: torch's `momentum_buffer` is −v/lr, so the two methods agree
    while lr is constant and part when it changes. On a quadratic of curvature λ it converges for
    lr·λ < 2(1 + μ).

    State: `velocity`, v, of the parameter's shape and dtype.

    Reference: Polyak, "Some methods of speeding up the convergence of iteration methods", USSR
    Computational Mathematics and Mathematical Physics 4 (1964); Sutskever, Martens, Dahl and
    Hinton, "On the importance of initialization and momentum in deep learning", ICML 2013.
    """

    buffers = ("velocity",)

    @staticmethod
    def rule(p, g, v, *, lr, momentum):
        v *= momentum
        v -= lr * g
        p += v

    includes = ("sgd",)
    includes_by = ("momentum",)  # μ = 0
    torch_twin = "SGD"

    @staticmethod
    def stability_limit(*, momentum):
        return 2 * (1 + momentum)

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0.9,
        *,
        cautious: bool = False,
        **options: Unpack[Options],
    ) -> None:
        """Creates the optimizer of some parameters.

        Args:
            params: parameters, or groups of them, as for any torch optimizer.
            lr: step size, lr >= 0; a number or a one-element tensor.
            momentum: fraction of the velocity kept each step, μ in [0, 1).
            cautious: move only where the step descends by the gradient of now; see `Optimizer`.
            options: weight_decay and others that every method has; see `Optimizer`.

        Raises:
            ValueError: a value out of its range.

        >>> import torch
        >>> x = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = Momentum([x], lr=0.25, momentum=0.5)
        >>> for _ in range(2):
        ...     optimizer.zero_grad()
        ...     (x**2).sum().backward()
        ...     optimizer.step()
        >>> x.item()  # 1 → 0.5 → 0.5 + 0.5·(−0.5) − 0.25·1
        0.0
        """
        super().__init__(params, {"lr": lr, "momentum": momentum, "cautious": cautious}, **options)

    @classmethod
    def is_twin_of(cls, group: dict[str, Any]) -> bool:
        """True if a group of torch's SGD has momentum, and neither of its variants."""
        return group["momentum"] != 0 and not group["nesterov"] and not group["dampening"]

    @staticmethod
    def from_torch_state(state: dict[str, Any], group: dict[str, Any]) -> dict[str, Any]:
        """The velocity of a buffer: v = −lr·buffer, at the lr of now."""
        buffer = state.get("momentum_buffer")
        return {} if buffer is None else {"velocity": -as_number(group["lr"]) * buffer}

    @staticmethod
    def to_torch_state(state: dict[str, Any], group: dict[str, Any]) -> dict[str, Any]:
        """The buffer of a velocity: −v/lr."""
        lr = as_number(group["lr"])
        if lr == 0:
            raise ValueError("Invalid learning rate: 0 (a velocity has no buffer there; lr > 0)")
        return {"momentum_buffer": -state["velocity"] / lr} if "velocity" in state else {}
