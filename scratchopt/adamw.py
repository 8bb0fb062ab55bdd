"""AdamW: Adam whose weight decay does not pass through the gradient."""

from typing import Any

from torch import Tensor

from scratchopt.adam import Adam
from scratchopt.optimizer import Params


class AdamW(Adam):
    """AdamW (Loshchilov and Hutter, 2019).

    θ ← (1 − lr·weight_decay)·θ, and then `Adam`'s step without a penalty.

    A penalty would be divided by √v with the rest of the gradient, so that weights with large
    gradients would decay less; here all decay alike.

    Args:
        params: parameters, or groups of them, as for any torch optimizer.
        lr: step size, lr >= 0; a number or a one-element tensor.
        betas: memories of the mean gradient and the mean square, β₁ and β₂, each in [0, 1).
        eps: keeps off a division by zero; >= 0.
        weight_decay: fraction of θ, in units of lr, that each step takes away; >= 0.
        amsgrad: the AMSGrad variant.
        maximize: ascend instead of descend.
        foreach: True, all tensors of a group at once; False, one by one; None, by their size.
        capturable: for CUDA graphs.
        differentiable: lets autograd through the step.
        fused: True, the rule is compiled to one kernel that updates all tensors.
        compensated: keep what rounding takes from parameters and state, and add it in the next
            step: for bf16, at twice the memory.

    State: `Adam`'s.

    Raises:
        ValueError: a value out of its range.

    Reference: Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, arXiv
    1711.05101.

    >>> import torch
    >>> x = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = AdamW([x], lr=0.25, weight_decay=0.5)
    >>> (x**2).sum().backward()
    >>> optimizer.step()
    >>> round(x.item(), 6)  # 1 − 0.25·0.5, less the first step of lr
    0.625
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        compensated: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            compensated=compensated,
            decoupled_weight_decay=True,
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores a state; Adam's, too, is AdamW's from then on, as in torch."""
        super().__setstate__(state)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True
