"""Which optimizer includes which, so that tuned well it can't be worse (Choi et al., 2019)."""

from __future__ import annotations

_MOMENTUM = "optimizer.momentum"
# The first is the second for some settings: μ = 0; a great eps with lr·eps in place of lr, with
# which the division by the root of the mean square goes; no decay of the weights.
INCLUDED: dict[str, tuple[str, ...]] = {
    "momentum": ("sgd",),
    "nag": ("sgd",),
    "nag_torch": ("sgd",),
    "rmsprop": ("sgd",),
    "adam": ("sgd", "momentum", "rmsprop"),
    "adamw": ("sgd", "momentum", "rmsprop", "adam"),
}
DECISIVE = {
    "momentum": (_MOMENTUM,),
    "nag": (_MOMENTUM,),
    "nag_torch": (_MOMENTUM,),
    "rmsprop": ("optimizer.eps", _MOMENTUM),
    "adam": ("optimizer.eps", "optimizer.betas"),
    "adamw": ("optimizer.eps", "optimizer.betas", "optimizer.weight_decay"),
}


def includes(general: str, special: str) -> bool:
    """Whether the first is the second for some settings of its own."""
    return special in INCLUDED.get(general, ())
