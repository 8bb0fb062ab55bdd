"""The page around a figure of playback: what it shows, how to read it, no network."""

from html import escape
from pathlib import Path
from string import Template

from plotly.io import to_html

from scratchopt.playback.figure import figure
from scratchopt.playback.scene import Scene

# The policy has the browser itself see to it that nothing is fetched.
PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data: blob:;
script-src 'unsafe-inline'; style-src 'unsafe-inline'">
<title>$title</title>
<style>
body { font: 14px/1.4 system-ui, sans-serif; color: #222; margin: 0 auto; padding: 12px 16px;
  max-width: 1500px; background: white }
h1 { font-size: 20px; margin: 0 0 4px }
p { margin: 4px 0; max-width: 170ch }
.beside { height: clamp(380px, calc(100vh - 350px), 640px) }
.above { height: 960px; margin: 0 -10px }
.above .modebar { display: none }
#play { font: inherit; padding: 8px 18px; border: 1px solid #888; border-radius: 6px;
  background: #f4f4f4; cursor: pointer; min-width: 104px }
kbd { border: 1px solid #bbb; border-radius: 3px; padding: 0 4px; font-size: 13px }
#bar { display: flex; flex-wrap: wrap; gap: 6px 14px; align-items: center; margin: 8px 0 }
main { display: flex; flex-direction: column-reverse } /* the plot's script finds the numbers */
#numbers { display: flex; flex-wrap: wrap; gap: 8px; margin-top: 8px }
#numbers div { border-left: 5px solid; padding: 2px 10px; font: 12px/1.45 monospace;
  background: #f7f7f7; overflow-x: auto; min-width: 250px }
</style>
</head>
<body>
<h1>$title</h1>
$lines
<div id="bar"><button id="play">▶ play</button>
<span><kbd>space</kbd> plays and pauses, <kbd>←</kbd> <kbd>→</kbd> go a step (with
<kbd>shift</kbd> ten), <kbd>Home</kbd> <kbd>End</kbd> to the ends; the slider goes
anywhere. A click on a name hides its run.</span></div>
<main>
<div id="numbers"></div>
<div id="plot" class="beside">$plot</div>
</main>
</body>
</html>
""")


def page(scene: Scene) -> str:
    """The HTML of a page that needs nothing but a browser."""
    plot = to_html(
        figure(scene),
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
    lines = "\n".join(f"<p>{escape(line)}</p>" for line in [how_to_read(scene), *account(scene)])
    return PAGE.substitute(title=escape(title(scene)), lines=lines, plot=plot)


def title(scene: Scene) -> str:
    """What the page is called."""
    runs = [racer.recording for racer in scene.racers]
    names = list(dict.fromkeys(run.run.optimizer for run in runs))
    return f"{' against '.join(names)} on {scene.landscape.title}"


def account(scene: Scene) -> list[str]:
    """What a plane shows of the paths and what it does not, in lines; none without a plane."""
    if scene.plane is None:
        return []
    first, second = scene.plane.explained
    gaps = scene.discrepancies
    records = sum(len(racer.rows) for racer in scene.racers)
    return [
        f"The plane: {first:.1%} + {second:.1%} = {first + second:.1%} of the variance of "
        f"{records:,} recorded points, {scene.racers[0].recording.layout.size:,} numbers each.",
        f"True loss against the plane's at the projected points, over {scene.landscape.over}: "
        f"they differ by {gaps.max():.3g} at most, by {gaps.mean():.3g} on average.",
    ]


def how_to_read(scene: Scene) -> str:
    """The legend in a sentence or two."""
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
    return (
        f"First the loss{over} ({ground}){ring}. Filled markers are θ, open "
        "ones the lookahead point, where exact NAG takes its gradient. The solid arrow is the "
        "velocity, which leads to the next θ; the dotted one is −lr·gradient, from where it was "
        "taken, at most a quarter of the picture. Then the loss"
        + (
            " where the gradient was taken."
            if scene.landscape.cheap
            else " at θ, and faint, as logged."
        )
    )
