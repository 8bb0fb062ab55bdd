"""Where Lightning clips the gradient."""

from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden

from scratchopt.lightning.patch_method import nothing, replaced


def behind_clipping(
    trainer: Trainer, module: LightningModule, then: Callable[[], None]
) -> Callable[[], None]:
    """Has something called behind each call of the hook that clips, if anything clips.

    Args:
        trainer: that calls the hook.
        module: whose hook it is.
        then: what is called.

    Returns:
        What leaves the module as it was.
    """
    clips = is_overridden("configure_gradient_clipping", module)
    if not clips and trainer.gradient_clip_val is None:
        return nothing
    clip = module.configure_gradient_clipping

    def clipped(*args: Any, **kwargs: Any) -> None:
        clip(*args, **kwargs)
        then()

    return replaced(module, "configure_gradient_clipping", clipped)
