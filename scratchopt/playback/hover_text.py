"""The hover text: what is known of a run at each record, shown beside its marker."""

from html import escape

import numpy as np

from scratchopt.playback.scene import Scene, Track

DIGITS = 9  # enough to tell any two float32 apart


def hover_texts(scene: Scene, track: Track) -> list[str]:
    """Formats the text beside each record that is shown."""
    recording, rows, result = track.recording, track.rows, track.recording.run.result
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
            "velocity before": recording.velocity_before(rows),
            **({"lookahead": point} if ahead else {}),
            "gradient": recording.gradient(rows),
            "velocity after": recording.velocity(rows),
        }
    losses = {"loss over the samples" if scene.landscape.over else "loss at θ": track.losses}
    if track.plane_losses is not None:
        losses["loss in the plane"] = track.plane_losses
    texts = []
    for j, step in enumerate(steps):
        last = " (the last)" if rows[j] == len(recording.steps) - 1 else ""
        lines = [f"<b>{escape(recording.label)}</b>", f"step {step}{last}"]
        lines += [f"{name}: {_format(values[j])}" for name, values in vectors.items()]
        lines += [f"{name}: {_format(values[j])}" for name, values in losses.items()]
        lines += [f"{name}, logged: {_format(values[j])}" for name, values in logged.items()]
        overflown = not np.isfinite(track.losses[j]) or np.isinf(logged["loss"][j])
        if overflown or (last and result and result.status == "diverged"):
            lines.append("diverged: the loss is not finite" if overflown else "diverged")
        texts.append("<br>".join(line for line in lines if not line.endswith("nan")))
    return texts


def _format(value: float | np.ndarray) -> str:
    """Formats a number or a vector to all its digits."""
    numbers = np.atleast_1d(value)
    if len(numbers) > 1 and np.isnan(numbers).all():
        return "nan"
    words = ", ".join(f"{x:.{DIGITS}g}" for x in numbers)
    return f"({words})" if len(numbers) > 1 else words
