"""AdamW: Adam whose weight decay does not pass through the gradient."""

from typing import Any

from torch import Tensor
from typing_extensions import Unpack

from scratchopt.adam import Adam
from scratchopt.optimizer import Params, StepOptions


class AdamW(Adam):
    """AdamW (Loshchilov and Hutter, 2019).

    θ ← (1 − lr·weight_decay)·θ, and then `Adam`'s step without a penalty.

    A penalty would be divided by √v with the rest of the gradient, so that weights with large
    gradients would decay less; here all decay alike.

    Reference: Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, arXiv
    1711.05101.
    """

    torch_twin = "AdamW"
    includes = ("adam",)
    includes_by = ("eps", "betas", "weight_decay")  # weight_decay = 0

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        capturable: bool = False,
        cautious: bool = False,
        **options: Unpack[StepOptions],
    ) -> None:
        """Creates the optimizer of some parameters; the signature is torch's, and more.

        State: `Adam`'s.

        Args:
            params: parameters, or groups of them, as for any torch optimizer.
            lr: step size, lr >= 0; a number or a one-element tensor.
            betas: memories of the mean gradient and the mean square, β₁ and β₂, each in [0, 1).
            eps: keeps off a division by zero; >= 0.
            weight_decay: fraction of θ, in units of lr, that each step takes away; >= 0.
            amsgrad: the AMSGrad variant.
            capturable: for CUDA graphs.
            cautious: move only where the step descends by the gradient of now; see `Optimizer`.
            options: others that every method has; see `Optimizer`.

        Raises:
            ValueError: a value out of its range.

        >>> import torch
        >>> x = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = AdamW([x], lr=0.25, weight_decay=0.5)
        >>> (x**2).sum().backward()
        >>> optimizer.step()
        >>> round(x.item(), 6)  # 1 − 0.25·0.5, less the first step of lr
        0.625
        """
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            capturable=capturable,
            cautious=cautious,
            decoupled_weight_decay=True,
            **options,
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores a state; Adam's, too, is AdamW's from then on, as in torch."""
        super().__setstate__(state)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True
