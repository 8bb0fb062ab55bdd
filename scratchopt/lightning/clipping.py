"""The hook in which Lightning clips the gradient."""

from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from scratchopt.lightning.packages import overrides
from scratchopt.lightning.patch_method import do_nothing, patch_method


def call_after_clipping(
    trainer: Trainer, module: LightningModule, function: Callable[[], None]
) -> Callable[[], None]:
    """Patches the hook that clips, if anything clips, so that a function is called after it.

    Args:
        trainer: that calls the hook.
        module: whose hook it is.
        function: what is called each time.

    Returns:
        What undoes the patch.
    """
    clips = overrides("configure_gradient_clipping", module)
    if not clips and trainer.gradient_clip_val is None:
        return do_nothing
    clip = module.configure_gradient_clipping

    def clip_and_call(*args: Any, **kwargs: Any) -> None:
        clip(*args, **kwargs)
        function()

    return patch_method(module, "configure_gradient_clipping", clip_and_call)
