"""Measures the playground in Chromium: its frames a second, its size, and what it asks for.

`python -m tests.programs.playground_frames` lets four methods race on Rosenbrock's function for
four seconds, in a window of 1400 × 900, and prints the times between frames as the page itself sees
them; then how long a frame's drawing takes, and a change of the setting with all that follows.
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from scratchopt.cli.play import play_live
from tests.shared.browser import chromium

RACE = "#function=rosenbrock&race=sgd+momentum+nag+adam&steps=500&step=0"
WATCH = """
window.times = [];
requestAnimationFrame(function frame(now) { times.push(now); requestAnimationFrame(frame); });
play();
"""
COSTS = """
pause();
const since = (start, count) => (performance.now() - start) / count;
let start = performance.now();
for (time = 0; time < 200; time++) drawPictures();
const drawing = since(start, 200);
start = performance.now();
for (let i = 0; i < 50; i++) change({ start: [-1.2, 1 + i / 1000] });
return [drawing, since(start, 50), performance.getEntriesByType("resource").length];
"""


def main() -> None:
    """Prints what was measured."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "playground.html")
        play_live(file)
        browser = chromium(Path(folder, "profile"), "1400,900")
        try:
            browser.get(file.as_uri() + RACE)
            browser.execute_script(WATCH)
            time.sleep(4)
            frames = np.diff(browser.execute_script("return times"))
            drawing, change, requests = browser.execute_script(COSTS)
        finally:
            browser.quit()
        size = file.stat().st_size
    print(f"{1000 / frames.mean():.1f} frames a second over {len(frames)} frames; between two")
    print(f"{np.median(frames):.1f} ms in the middle, {frames.max():.1f} ms at most")
    print(f"drawing a frame: {drawing:.2f} ms; a change of the setting: {change:.2f} ms")
    print(f"{size / 1e6:.2f} MB, {requests} requests")


if __name__ == "__main__":
    main()
