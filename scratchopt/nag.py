"""Nesterov's accelerated gradient, exactly: the gradient is taken at the lookahead point."""

from typing_extensions import Unpack

from scratchopt.optimizer import Optimizer, Options, Params


class NAG(Optimizer):
    """Nesterov's accelerated gradient (1983), in the form of Sutskever et al. (2013).

    v ← μv − lr·∇f(θ + μv)
    θ ← θ + v,      with v₀ = 0, μ = momentum.

    Reference: Nesterov, "A method for solving the convex programming problem with convergence rate
    O(1/k²)", Soviet Mathematics Doklady 27 (1983); Sutskever, Martens, Dahl and Hinton, "On the
    importance of initialization and momentum in deep learning", ICML 2013, equations 3 and 4.
    """

    buffers = ("velocity",)

    @staticmethod
    def gradient_point(p, v, *, momentum):
        p += momentum * v  # ∇f is taken at θ + μv

    @staticmethod
    def rule(p, g, v, *, lr, momentum):
        v *= momentum
        v -= lr * g  # v ← μv − lr·∇f(θ + μv)
        p += v  # θ ← θ + v

    includes = ("sgd",)
    includes_by = ("momentum",)  # μ = 0

    @staticmethod
    def stability_limit(*, momentum):
        return (2 + 2 * momentum) / (1 + 2 * momentum)

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

        The rule is `Momentum`'s. What differs is where the gradient is taken: at the lookahead
        point θ + μv, to which `step(closure)` or `lookahead_()` moves; see `Optimizer`. The
        gradient of the penalty, weight_decay·(θ + μv), is taken there too. On a quadratic of
        curvature λ the method converges for lr·λ < (2 + 2μ)/(1 + 2μ).

        Every process must hold all parameters that its closure uses, or a shard of each, as under
        DDP and FSDP2. Inside torch's `ZeroRedundancyOptimizer`, which gives each process some
        parameters whole, the closure sees the others at θ, and the step is wrong without a word,
        unless its first line is `_sync_params()` of that optimizer.

        State: `velocity`, v, of the parameter's shape and dtype. Besides, from the second step on,
        the memory of a copy of θ.

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
        super().__init__(params, {"lr": lr, "momentum": momentum, "cautious": cautious}, **options)
