"""Stochastic gradient descent."""

from typing_extensions import Unpack

from scratchopt.optimizer import Optimizer, Options, Params


class SGD(Optimizer):
    """Stochastic gradient descent (Robbins and Monro, 1951).

    θ ← θ − lr·g, with g = ∇f(θ) on the mini-batch at hand.

    No state. On a quadratic of curvature λ it converges for lr·λ < 2.

    Reference: Robbins and Monro, "A stochastic approximation method", Annals of Mathematical
    Statistics 22 (1951).
    """

    @staticmethod
    def rule(p, g, *, lr):
        p -= lr * g

    sparse = True
    torch_twin = "SGD"
    fixed = {"momentum": 0, "dampening": 0, "nesterov": False}  # noqa: RUF012

    @staticmethod
    def stability_limit():
        return 2.0

    def __init__(self, params: Params, lr: float = 1e-3, **options: Unpack[Options]) -> None:
        """Creates the optimizer of some parameters.

        Args:
            params: parameters, or groups of them, as for any torch optimizer.
            lr: step size, lr >= 0; a number or a one-element tensor.
            options: weight_decay and others that every method has; see `Optimizer`.

        Raises:
            ValueError: a value out of its range.

        >>> import torch
        >>> x = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = SGD([x], lr=0.25)
        >>> (x**2).sum().backward()
        >>> optimizer.step()
        >>> x.item()
        0.5
        """
        super().__init__(params, {"lr": lr}, **options)
