"""The parameters that a training moves, which may become more while it runs."""

from collections.abc import Collection, Iterable

from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer


def find_trained(
    module: LightningModule,
    optimizers: Iterable[Optimizer] = (),
    known: Collection[str] = (),
) -> dict[str, Tensor]:
    """Finds the parameters that require a gradient now, by name, in the module's order.

    More of them join where a frozen part is thawed and its parameters are added to an optimizer,
    and where a lazy layer gets its shape, which it does in its first forward pass.

    Args:
        module: whose parameters they are.
        optimizers: whose parameters are among them, frozen ones too.
        known: names of parameters that are among them, frozen ones too.
    """
    held = {id(p) for o in optimizers for group in o.param_groups for p in group["params"]}
    return {
        name: p
        for name, p in module.named_parameters()
        if (p.requires_grad or id(p) in held or name in known) and not is_lazy(p)
    }
