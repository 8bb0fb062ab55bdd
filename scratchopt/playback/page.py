"""The page around a figure of playback: what it shows, how to read it, no network."""

from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from plotly.io import to_html

from scratchopt.playback.figure import build_figure
from scratchopt.playback.scene import Scene


def render_page(scene: Scene) -> str:
    """Renders the HTML of a page that needs nothing but a browser."""
    plot = to_html(
        build_figure(scene),
        config={
            "responsive": True,
            "displaylogo": False,
            "modeBarButtonsToRemove": ["select2d", "lasso2d", "sendChartToCloud"],
        },
        include_plotlyjs=True,
        post_script=Path(__file__).with_name("page.js").read_text(encoding="utf-8"),
        full_html=False,
        auto_play=False,
        validate=False,
        default_height="100%",
    )
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html.jinja").render(
        title=title(scene),
        lines=[explain_picture(scene), *describe_plane(scene)],
        ends=find_ends(scene),
        arrows=explain_arrows(scene),
        plot=plot,
    )


def title(scene: Scene) -> str:
    """The page's title."""
    runs = [track.recording for track in scene.tracks]
    names = list(dict.fromkeys(run.run.optimizer for run in runs))
    return f"{' against '.join(names)} on {scene.landscape.title}"


def find_ends(scene: Scene) -> dict[int, str]:
    """Finds the steps at which runs end while others go on, rising, with their labels."""
    last = {track.recording.label: int(track.recording.steps[-1]) for track in scene.tracks}
    steps = sorted({step for step in last.values() if 0 < step < scene.frame_steps[-1]})
    return {step: ", ".join(k for k, end in last.items() if end == step) for step in steps}


def explain_arrows(scene: Scene) -> str:
    """Explains where the arrow keys go: a step further only where every step is shown."""
    shown = scene.frame_steps
    if len(shown) == shown[-1] - shown[0] + 1:
        return "go a step"
    recorded = np.unique(np.concatenate([track.recording.steps for track in scene.tracks]))
    if len(shown) == len(recorded):
        return f"go to the next of the {len(shown):,} recorded steps"
    return (
        f"go to the next of {len(shown):,} steps shown, of {len(recorded):,} recorded, the first "
        "ones densest"
    )


def describe_plane(scene: Scene) -> list[str]:
    """Describes, in lines, what a plane shows of the paths and what it hides."""
    if scene.plane is None:
        return []
    first, second = scene.plane.explained
    gaps = scene.discrepancies
    records = sum(len(track.rows) for track in scene.tracks)
    return [
        f"The plane: {first:.1%} + {second:.1%} = {first + second:.1%} of the variance of "
        f"{records:,} recorded points, {scene.tracks[0].recording.layout.size:,} numbers each.",
        f"True loss against the plane's at the projected points, over {scene.landscape.over}: "
        f"they differ by {gaps.max():.3g} at most, by {gaps.mean():.3g} on average.",
    ]


def explain_picture(scene: Scene) -> str:
    """Explains the picture in a sentence or two."""
    if scene.plane is not None:
        return (
            "First the paths in the plane of their two first principal directions, over the loss "
            "in that plane, darker where it is lower; filled markers are θ, projected. Then the "
            "true loss of the recorded θ (solid), the plane's at their projections (dashed), and "
            "the logged loss of each batch (faint)."
        )
    ground = "darker where it is lower" if scene.y is not None else "the curve"
    ring = "; the ring is the minimum" if len(scene.landscape.minimizers) else ""
    over = scene.landscape.over and f", over {scene.landscape.over}"
    fit = " Last the data, and what each run makes of them." if scene.landscape.fit else ""
    return (
        f"First the loss{over} ({ground}){ring}. Filled markers are θ, open ones the lookahead "
        "point, where some methods take their gradient: exact NAG at θ + μ·velocity before the "
        "step, Schedule-Free at its y, and θ is its x. The solid arrow is the velocity after the "
        "step, which leads to the next θ; the dotted one is −lr·gradient, from where it was taken, "
        "at most a quarter of the picture. Then the loss at θ, and faint, as logged: where the "
        f"gradient was taken.{fit}"
    )
