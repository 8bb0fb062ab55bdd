"""Nesterov's accelerated gradient as PyTorch approximates it."""

from typing_extensions import Unpack

from scratchopt.optimizer import Optimizer, Options, Params


class NAGTorch(Optimizer):
    """PyTorch's form of Nesterov's accelerated gradient: `torch.optim.SGD(nesterov=True)`.

    v ← μv + g
    θ ← θ − lr·(g + μv),      with g = ∇f(θ), v₀ = 0, μ = momentum.

    It needs no gradient away from the parameters, because the parameters are the lookahead points:
    while lr and μ are constant, its θ equals `NAG`'s θ + μv. Under any schedule the two part.
    On a quadratic of curvature λ it converges for lr·λ < (2 + 2μ)/(1 + 2μ).

    State: `momentum_buffer`, v, of the parameter's shape and dtype, as torch has it.

    Reference: Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and
    momentum in deep learning", ICML 2013; the form itself is that of torch's documentation.
    """

    buffers = ("momentum_buffer",)

    @staticmethod
    def rule(p, g, v, *, lr, momentum):
        v *= momentum
        v += g
        p -= lr * (g + momentum * v)

    includes = ("sgd",)
    includes_by = ("momentum",)  # μ = 0
    torch_twin = "SGD"
    fixed = {"dampening": 0, "nesterov": True}  # noqa: RUF012

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

        Args:
            params: parameters, or groups of them, as for any torch optimizer.
            lr: step size, lr >= 0; a number or a one-element tensor.
            momentum: fraction of the buffer kept each step, μ in [0, 1).
            cautious: move only where the step descends by the gradient of now; see `Optimizer`.
            options: weight_decay and others that every method has; see `Optimizer`.

        Raises:
            ValueError: a value out of its range.

        >>> import torch
        >>> x = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = NAGTorch([x], lr=0.25, momentum=0.5)
        >>> (x**2).sum().backward()
        >>> optimizer.step()
        >>> x.item()  # NAG has x = 0.5, v = −0.5 here, and looks ahead to 0.25
        0.25
        """
        super().__init__(params, {"lr": lr, "momentum": momentum, "cautious": cautious}, **options)
