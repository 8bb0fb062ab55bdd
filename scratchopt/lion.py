"""Lion: the sign of a momentum, whose steps are all of one length."""

import torch
from torch import Tensor
from typing_extensions import Unpack

from scratchopt.optimizer import Optimizer, Params, StepOptions


class Lion(Optimizer):
    """Lion (Chen et al., 2023), found by a search among programs.

    θ ← (1 − lr·weight_decay)·θ − lr·sign(β₁·m + (1 − β₁)·g)
    m ← β₂·m + (1 − β₂)·g,      with g = ∇f(θ), element by element.

    Each number moves by lr, however large its gradient is: lr is to be 3 to 10 times smaller than
    AdamW's, and weight_decay as much larger. It keeps one tensor where Adam keeps two.

    State: `exp_avg`, m, of the parameter's shape and dtype.

    Reference: Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS 2023, arXiv
    2302.06675, algorithm 2.
    """

    buffers = ("exp_avg",)

    @staticmethod
    def rule(p, g, m, *, lr, betas):
        p -= lr * torch.sign(betas[0] * m + (1 - betas[0]) * g)
        m *= betas[1]
        m += (1 - betas[1]) * g

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-4,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        cautious: bool = False,
        **options: Unpack[StepOptions],
    ) -> None:
        """Creates the optimizer of some parameters; the signature is the authors', and more.

        Args:
            params: parameters, or groups of them, as for any torch optimizer.
            lr: step size, lr >= 0; a number or a one-element tensor.
            betas: β₁, the share of the mean gradient in the step, and β₂, its memory; each in
                [0, 1).
            weight_decay: fraction of θ, in units of lr, that each step takes away; >= 0.
            cautious: move only where the step descends by the gradient of now; see `Optimizer`.
            options: others that every method has; see `Optimizer`.

        Raises:
            ValueError: a value out of its range.

        >>> import torch
        >>> x = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = Lion([x], lr=0.25)
        >>> (x**2).sum().backward()
        >>> optimizer.step()
        >>> round(x.item(), 6)  # each step is lr in each direction
        0.75
        """
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas) if isinstance(betas, list) else betas,
                "decoupled_weight_decay": True,
                "cautious": cautious,
            },
            weight_decay=weight_decay,
            **options,
        )
