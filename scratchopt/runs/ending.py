"""How a run ended, in a word and in a sentence."""

from lightning.pytorch import Trainer

from scratchopt.lightning import Convergence, Diverged, StopAtTarget
from scratchopt.pictures.curves import History

LATEST = 100  # measured steps that say whether anything still moves
SMALL = 1e-6  # of ‖θ‖; a float32 has 6e-8


def describe_ending(
    trainer: Trainer,
    history: History,
    *,
    failure: Diverged | None,
    interrupted: bool,
    stopped: bool,
) -> tuple[str, str]:
    """The status of a run, and in words why it ended and whether the parameters still moved.

    If none of the last 100 measured steps was longer than a millionth of ‖θ‖, that is said, with
    the gradient's norm: a run may be at its end, or have hardly begun with a small lr. It may be
    converged and still move, too: its criterion is one point that is near enough.

    Args:
        trainer: of the run.
        history: what the OptimizerMonitor has logged.
        failure: what the training has ended with.
        interrupted: by a signal.
        stopped: at a cost beyond which it did not matter.
    """
    if failure:
        return "diverged", str(failure)
    criteria = _list_criteria(trainer)
    within = ", ".join(f"{criterion.tolerance:g}" for criterion in criteria)
    motion = _describe_motion(history)
    if interrupted:
        return "interrupted", f"stopped by a signal{motion}"
    if stopped:
        return "stopped", f"at a cost beyond which its outcome did not matter{motion}"
    if any(criterion.converged for criterion in criteria):
        return "converged", f"the last evaluated point is within the tolerance of {within}{motion}"
    missed = f", not within the tolerance of {within}" if criteria else ""
    return "finished", f"{_describe_limit(trainer)}{missed}{motion}"


def describe_convergence(trainer: Trainer) -> str:
    """Says by which tolerance a run that cannot go on has converged, or that it is at its target.

    It is empty where a run has done neither.
    """
    if at_target := _describe_target(trainer):
        return f"{at_target}; train a new run with until=end"
    within = ", ".join(f"{c.tolerance:g}" for c in _list_criteria(trainer) if c.converged)
    return within and f"it has converged, within the tolerance of {within}; train a new run"


def _list_criteria(trainer: Trainer) -> list[Convergence]:
    callbacks = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    return [callback for callback in callbacks if isinstance(callback, Convergence)]


def _describe_target(trainer: Trainer) -> str:
    """Says that a metric is at its target, such as "val/accuracy=0.9704, at the target of 0.97"."""
    callbacks = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    for callback in callbacks:
        if isinstance(callback, StopAtTarget) and callback.reached is not None:
            metric, target = callback.objective.metric, callback.objective.target
            return f"{metric}={callback.reached:.6g}, at the target of {target:g}"
    return ""


def _describe_limit(trainer: Trainer) -> str:
    if at_target := _describe_target(trainer):
        return at_target
    if trainer.global_step >= trainer.max_steps > -1:
        return f"max_steps={trainer.max_steps} reached"
    stopped = any(callback.stopped_epoch for callback in trainer.early_stopping_callbacks)
    if stopped:
        return "stopped early by EarlyStopping"
    if trainer.should_stop:
        return "stopped by a callback"
    return f"max_epochs={trainer.max_epochs} reached"


def _describe_motion(history: History) -> str:
    """Words on the last steps, such as "; still moving: the last step by 0.3, 0.1 of ‖θ‖"."""
    moves = history.get("train/velocity")
    if not moves:
        return ""
    ratios = dict(history.get("train/update_ratio", ()))
    latest = moves[-LATEST:]
    if all(ratios.get(step, float(move > 0)) <= SMALL for step, move in latest):
        lasts = f"each of the last {len(latest)} measured steps"
        longest = max(move for _, move in latest)
        length = f"at most {longest:.2g}, a millionth of ‖θ‖ or less" if longest else "of length 0"
        gradnorm = dict(history.get("train/gradnorm", ())).get(latest[-1][0])
        gradient = "" if gradnorm is None else f", and the last gradnorm {gradnorm:.2g}"
        return f"; {lasts} was {length}{gradient}"
    step, last = latest[-1]
    part = f", {ratios[step]:.2g} of ‖θ‖" if step in ratios else ""
    return f"; still moving: the last step by {last:.2g}{part}"
