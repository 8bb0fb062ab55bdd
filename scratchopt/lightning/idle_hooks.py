"""Idle hooks: what a callback does not define is not called, either."""

from collections.abc import Iterable

from lightning.pytorch import Callback

EACH_STEP = (
    *("on_train_batch_start", "on_before_zero_grad", "on_before_backward", "on_after_backward"),
    *("on_before_optimizer_step", "on_train_batch_end"),
)


def skip_idle_hooks(callbacks: Iterable[Callback]) -> None:
    """Makes a Trainer pass over the hooks of a step that callbacks have from `Callback`.

    They do nothing, and a Trainer prepares the call of each of them in each step: of eleven
    callbacks that is a hundredth of a small network's step. It passes over what is not callable.
    """
    for callback in callbacks:
        for hook in EACH_STEP:
            inherited = getattr(type(callback), hook) is getattr(Callback, hook)
            if inherited and hook not in vars(callback):  # where somebody may have put another
                setattr(callback, hook, None)
