"""What is known of a run at each record: the words beside its marker."""

from html import escape

import numpy as np

from scratchopt.playback.scene import Racer, Scene

DIGITS = 9  # enough to tell any two float32 apart


def readings(scene: Scene, racer: Racer) -> list[str]:
    """Of each record shown, what stands beside it."""
    recording, rows = racer.recording, racer.rows
    steps = recording.steps[rows]
    logged = {
        name: recording.logged(f"train/{tag}", steps)
        for name, tag in (("loss", "loss"), ("‖gradient‖", "gradnorm"), ("‖velocity‖", "velocity"))
    }
    vectors = {}
    if scene.plane is None:
        theta, point = recording.parameters(rows), recording.point(rows)
        ahead = bool((np.isfinite(point) & (point != theta)).any())
        vectors = {
            "θ": theta,
            **({"lookahead": point} if ahead else {}),
            "gradient": recording.gradient(rows),
            "velocity": recording.velocity(rows),
        }
    losses = {"loss over the samples": racer.losses} if not scene.landscape.cheap else {}
    if racer.flat is not None:
        losses["loss in the plane"] = racer.flat
    texts = []
    for j, step in enumerate(steps):
        last = " (the last)" if rows[j] == len(recording.steps) - 1 else ""
        lines = [f"<b>{escape(recording.label)}</b>", f"step {step}{last}"]
        lines += [f"{name}: {_words(values[j])}" for name, values in vectors.items()]
        lines += [f"{name}: {_words(values[j])}" for name, values in losses.items()]
        lines += [f"{name}, logged: {_words(values[j])}" for name, values in logged.items()]
        lines += [] if np.isfinite(racer.losses[j]) else ["diverged: the loss is not finite"]
        texts.append("<br>".join(line for line in lines if not line.endswith("nan")))
    return texts


def _words(value: float | np.ndarray) -> str:
    """A number or a vector to all its digits."""
    numbers = np.atleast_1d(value)
    if len(numbers) > 1 and np.isnan(numbers).all():
        return "nan"
    words = ", ".join(f"{x:.{DIGITS}g}" for x in numbers)
    return f"({words})" if len(numbers) > 1 else words
