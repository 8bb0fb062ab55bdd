"""Playback shows recorded runs as they were, in a page that needs nothing but a browser."""

import html
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from scratchopt.cli.play import play
from scratchopt.config.fields import UserError
from scratchopt.config.schema import validate
from scratchopt.lightning import Diverged
from scratchopt.lightning.trajectory import read_records
from scratchopt.playback.build_landscape import build_landscape
from scratchopt.playback.build_scene import build_scene
from scratchopt.playback.figure import _log_axis, build_figure
from scratchopt.playback.hover_text import hover_texts
from scratchopt.playback.page import explain_arrows
from scratchopt.playback.plane import principal_plane
from scratchopt.playback.recordings import read_recordings
from scratchopt.playback.scene import Scene
from scratchopt.problems.functions import functions
from scratchopt.runs.directory import Run, find_runs
from scratchopt.runs.result import Result, hyperparameters
from scratchopt.runs.training import run
from tests.shared import commands
from tests.shared.browser import chromium
from tests.shared.configs import composed
from tests.shared.full_disk import full_disk


def record(directory: Path, *overrides: str) -> Path:
    """A run, as train.py leaves it, with a run of Python's less."""
    cfg = composed(*overrides, "accelerator=cpu")
    given = dict(override.split("=", 1) for override in overrides)
    choices = {"task": given["task"], "optimizer": given["optimizer"]}
    (directory / ".hydra").mkdir(parents=True)
    OmegaConf.save(cfg, directory / ".hydra" / "config.yaml")
    OmegaConf.save(
        {"hydra": {"runtime": {"choices": choices}}}, directory / ".hydra" / "hydra.yaml"
    )
    config = validate(cfg)
    made_of: Any = {"hyperparameters": hyperparameters(config), "seed": config["seed"]}
    with suppress(Diverged):
        run(config, Result(**choices, **made_of), directory)
    return directory


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Directories of runs by name, each made when it is first asked for."""
    folder = tmp_path_factory.mktemp("runs")
    article = ["task=toy", "task.start=-8", "optimizer.lr=1.0"]
    rosenbrock = ["task=toy", "task.function=rosenbrock"]
    line = ["task=linear_regression", "max_steps=40"]
    mnist = ["task=mnist", "task.hidden=[4]", "max_steps=12"]
    overrides = {
        "nag": [*article, "optimizer=nag"],
        "momentum": [*article, "optimizer=momentum"],
        "scheduled": [*article, "optimizer=nag", "schedule=cosine", "max_steps=20"],
        "far": [*rosenbrock, "optimizer=momentum"],
        "lost": [*rosenbrock, "optimizer=sgd", "optimizer.lr=1.0"],
        "slow": [*rosenbrock, "optimizer=adam", "max_steps=900"],
        "every 7th": [*rosenbrock, "optimizer=nag", "record_every=7"],
        "line": [*line, "optimizer=nag"],
        "batches": [*line, "optimizer=sgd", "task.batch_size=9", "max_epochs=-1"],
        "digits": [*mnist, "optimizer=nag", "record_every=3"],
        "digits 2": [*mnist, "optimizer=adam", "record_every=3"],
        "unrecorded": [*mnist, "optimizer=nag"],
    }

    def make(name: str) -> Path:
        directory = folder / name
        return directory if directory.exists() else record(directory, *overrides[name])

    return make


def runs_of(*directories: Path) -> list[Run]:
    return find_runs(directories)


def scene(*directories: Path) -> Scene:
    return build_scene(read_recordings(runs_of(*directories)))


# The numbers


def test_frames_hold_the_records_and_a_run_that_ended_stays(made):
    shown = scene(made("nag"), made("momentum"))
    assert shown.frame_steps.tolist() == list(range(222))
    nag, momentum = shown.tracks
    assert [len(nag.rows), len(momentum.rows)] == [34, 222]
    assert nag.recording.row(np.array([33, 34, 221])).tolist() == [33, 33, 33]
    records = nag.recording.records
    np.testing.assert_array_equal(nag.positions[:, 0], records["parameters"][:, 0])
    np.testing.assert_array_equal(nag.points[:, 0], records["point"][:, 0])
    # v ← μv − lr·g leads from θ to the next θ, and −lr·g from the lookahead point there.
    ahead = nag.positions[:-1, 0] + 0.9 * np.concatenate([[0], nag.velocity[:-2, 0]])
    np.testing.assert_allclose(nag.points[:-1, 0], ahead, atol=1e-5)
    np.testing.assert_allclose(
        (nag.points + nag.gradient_step)[:-1, 0], nag.positions[1:, 0], atol=1e-5
    )


def test_under_a_schedule_the_gradient_s_arrow_is_that_of_the_step_s_lr(made):
    [track] = scene(made("scheduled")).tracks
    assert len(track.rows) > 5
    np.testing.assert_allclose(
        (track.points + track.gradient_step)[:-1, 0], track.positions[1:, 0], atol=1e-5
    )


def test_the_numbers_of_a_page_agree_with_the_rule(made):
    """NAG's g is taken at θ + 0.9·v, and v ← 0.9·v − g, θ ← θ + v: of the numbers as shown."""
    for name in ("nag", "momentum"):
        shown = scene(made(name))
        found = []
        for text in hover_texts(shown, shown.tracks[0])[:-1]:
            lines = dict(line.split(": ") for line in text.split("<br>") if ": " in line)
            names = ("θ", "velocity before", "lookahead", "gradient", "velocity after")
            found.append([float(lines.get(n, "nan")) for n in names])
        theta, before, ahead, gradient, after = np.array(found).T
        assert before[0] == 0
        np.testing.assert_array_equal(before[1:], after[:-1])
        np.testing.assert_allclose(after, 0.9 * before - gradient, atol=2e-6)
        np.testing.assert_allclose(theta[1:], (theta + after)[:-1], atol=2e-6)
        if name == "nag":
            np.testing.assert_allclose(ahead, theta + 0.9 * before, atol=2e-6)


def test_losses_are_those_at_theta_and_the_log_s_are_beside_them(made):
    """NAG's log has the loss at the lookahead point, which is not θ: to float32."""
    for track in scene(made("nag"), made("momentum")).tracks:
        theta = track.recording.records["parameters"][:, 0].astype(float)
        np.testing.assert_allclose(track.losses, np.sin(theta) + theta**2 / 10, rtol=1e-12)
        np.testing.assert_array_equal(track.curve[:, 1], track.losses)
        ahead = track.recording.records["point"][:, 0].astype(float)
        expected = np.sin(ahead) + ahead**2 / 10
        np.testing.assert_allclose(track.logged[:, 1], expected, rtol=1e-6, atol=1e-7)


def test_a_page_opens_where_the_markers_are_apart(made):
    shown = scene(made("nag"), made("momentum"))
    nag, momentum = (track.positions[:34] for track in shown.tracks)
    gaps = (np.abs(nag - momentum) / np.diff(shown.window).T).max(axis=1)
    assert gaps[shown.opening] > 0.05
    assert (gaps[: shown.opening] <= 0.05).all()
    assert scene(made("nag")).opening == 0


def test_the_line_over_the_data_is_that_of_theta(made):
    shown = scene(made("line"))
    fit, (track,) = shown.landscape.fit, shown.tracks
    assert fit is not None
    assert track.fitted is not None
    np.random.seed(0)
    np.testing.assert_allclose(fit.x, 2 * np.random.rand(100), rtol=1e-15)
    for theta, line in zip(track.positions, track.fitted, strict=True):
        np.testing.assert_allclose(line, theta[0] * fit.grid + theta[1], rtol=1e-12)
    assert scene(made("digits")).landscape.fit is None


def test_a_task_of_another_class_that_declares_a_function_has_its_landscape(made, tmp_path):
    directory = tmp_path / "copy"
    shutil.copytree(made("nag"), directory)
    config = directory / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace("tasks.toy.Toy", "elsewhere.MyToy"))
    shown = scene(directory)
    assert shown.landscape.cheap
    np.testing.assert_array_equal(shown.window, scene(made("nag")).window)


def test_a_name_in_the_legend_is_no_html(made):
    shown = scene(made("nag"))
    (track,) = shown.tracks
    named = replace(track.recording, label="<a href='x'>a & b</a>")
    figure = build_figure(replace(shown, tracks=[replace(track, recording=named)]))
    names = [trace["name"] for trace in figure["data"] if trace.get("name")]
    assert names == ["minimum", "&lt;a href='x'&gt;a &amp; b&lt;/a&gt;"]


def test_many_steps_are_thinned_out_and_the_first_stay_densest(made):
    shown = scene(made("far"), made("slow"))
    assert len(shown.frame_steps) <= 302
    assert shown.frame_steps[-1] == 900
    last = shown.tracks[0].recording.steps[-1]
    assert last in shown.frame_steps
    gaps = np.diff(shown.frame_steps)
    assert gaps[0] == 1
    assert gaps[:50].max() < gaps[-50:].mean()


def test_a_diverged_run_leaves_the_window_to_the_others(made):
    alone, with_it = scene(made("far")), scene(made("far"), made("lost"))
    assert np.abs(with_it.tracks[1].positions).max() > 1e6
    np.testing.assert_array_equal(with_it.window, alone.window)


def test_a_page_says_where_the_arrow_keys_go(made):
    """They go several steps where not every step is shown."""
    assert explain_arrows(scene(made("nag"))) == "go a step"
    assert explain_arrows(sparse := scene(made("every 7th"))) == (
        f"go to the next of the {len(sparse.frame_steps)} recorded steps"
    )
    assert explain_arrows(thinned := scene(made("slow"))) == (
        f"go to the next of {len(thinned.frame_steps)} steps shown, of 901 recorded, the first "
        "ones densest"
    )


def test_sparse_records_have_no_velocity(made):
    (track,) = scene(made("every 7th")).tracks
    assert np.isnan(track.velocity).all()
    assert np.isnan(track.recording.velocity_before(track.rows[1:])).all()
    assert np.isfinite(track.points[:-1]).all()


def test_the_landscape_of_a_line_is_its_loss_over_all_points(made):
    (full,) = read_recordings(runs_of(made("line")))
    landscape = build_landscape(full)
    assert (landscape.axes, landscape.over) == (["slope", "intercept"], "100 training samples")
    np.random.seed(0)
    x = 2 * np.random.rand(100)
    y = 4 + 3 * x + np.random.randn(100)
    points = np.array([[3.0, 4.0], [-2.0, 1.5]])
    expected = [np.mean((slope * x + intercept - y) ** 2) for slope, intercept in points]
    np.testing.assert_allclose(landscape.loss(points), expected, rtol=1e-13)
    (batches,) = read_recordings(runs_of(made("batches")))
    np.testing.assert_allclose(build_landscape(batches).loss(points), expected, rtol=1e-12)


def test_the_landscape_of_a_function_is_exact(made):
    (recording,) = read_recordings(runs_of(made("far")))
    points = np.array([[1.0, 1.0], [0.5, -0.25]])
    expected = functions()["rosenbrock"](torch.from_numpy(points)).numpy()
    np.testing.assert_array_equal(build_landscape(recording).loss(points), expected)


def test_the_plane_is_that_of_the_singular_vectors():
    random = np.random.default_rng(0)
    points = random.normal(size=(30, 500)) @ np.diag(np.r_[9, 5, np.ones(498)])
    plane = principal_plane(points.astype(np.float32))
    centred = points - points.mean(0)
    _, singular, vectors = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(plane.explained, (singular**2 / (singular**2).sum())[:2], rtol=1e-6)
    np.testing.assert_allclose(np.abs(plane.directions @ vectors[:2].T), np.eye(2), atol=1e-6)
    np.testing.assert_allclose(plane.directions @ plane.directions.T, np.eye(2), atol=1e-12)
    inside = plane.place(np.array([[1.0, -2.0]]))
    np.testing.assert_allclose(plane.project(inside), [[1.0, -2.0]], rtol=1e-10)


def test_the_plane_of_a_straight_path_has_all_of_it():
    points = np.linspace(0, 1, 9)[:, None] * np.arange(1.0, 5.0)
    plane = principal_plane(points)
    np.testing.assert_allclose(plane.explained, [1, 0], atol=1e-12)
    np.testing.assert_allclose(plane.directions @ plane.directions.T, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(plane.place(plane.project(points)), points, atol=1e-12)


def test_networks_share_a_plane_whose_discrepancy_is_measured(made):
    shown = scene(made("digits"), made("digits 2"))
    assert shown.plane is not None
    assert shown.frame_steps.tolist() == [0, 3, 6, 9, 12]
    assert shown.y is not None
    loss = shown.landscape.loss
    for track in shown.tracks:
        theta = track.recording.records["parameters"]
        np.testing.assert_allclose(track.losses, loss(theta))
        assert track.plane_losses is not None
        projected = shown.plane.place(shown.plane.project(theta))
        np.testing.assert_allclose(track.plane_losses, loss(projected))
    gaps = np.concatenate([track.losses - track.plane_losses for track in shown.tracks])
    np.testing.assert_allclose(np.sort(shown.discrepancies), np.sort(np.abs(gaps)))
    assert shown.discrepancies.max() > 1e-3
    assert 0.5 < shown.plane.explained.sum() <= 1
    x, y = np.meshgrid(shown.x, shown.y)
    corner = shown.plane.place(np.array([[x[3, 20], y[3, 20]]]))
    np.testing.assert_allclose(shown.surface[3, 20], loss(corner)[0])


def test_the_first_loss_of_a_network_is_that_of_its_first_batch(made):
    """The same weights, and samples in the run's own order."""
    (track,) = scene(made("digits")).tracks
    logged = dict(track.recording.run.history["train/loss"])
    assert track.losses[0] == pytest.approx(logged[0], rel=0.05)
    assert track.losses[0] != track.losses[-1]


# The page


def written(tmp_path: Path, *directories: Path) -> str:
    output = tmp_path / "page.html"
    play([str(directory) for directory in directories], output)
    return output.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "names",
    [("nag", "momentum"), ("far", "slow", "lost"), ("line", "batches"), ("digits", "digits 2")],
    ids=lambda names: names[0],
)
def test_a_page_is_small_and_fetches_nothing(names, made, tmp_path):
    page = written(tmp_path, *map(made, names))
    assert len(page.encode()) < 8e6
    own = re.sub(r"<script[^>]*>/\*\*\n\* plotly\.js.*?</script>", "", page, flags=re.DOTALL)
    assert len(own) < len(page) - 3e6  # Plotly itself is in it
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?!#)""", own)
    assert "NaN" not in own
    assert "Infinity" not in own
    assert "default-src 'none'" in own


def test_a_page_says_what_its_plane_hides(made, tmp_path):
    output = tmp_path / "page.html"
    said = play([str(made("digits"))], output)
    assert re.search(r"The plane: [\d.]+% \+ [\d.]+% = [\d.]+% of the variance of 5 recorded", said)
    assert "over 2,048 training samples: they differ by" in said
    page = html.unescape(output.read_text(encoding="utf-8"))
    for line in said.splitlines()[:-1]:
        assert line in page


REFUSED = {
    "no such directory": (["missing"], "missing: no such directory"),
    "another function": (
        ["nag", "far"],
        "task.function=article and rosenbrock: the runs of a page must minimize the same loss",
    ),
    "another task": (["nag", "line"], "and tasks.linear_regression.LinearRegression: the runs"),
    "no records": (["unrecorded"], "no records of its path; train it again"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_shown_is_refused(case, made, tmp_path):
    names, message = REFUSED[case]
    places = [name if name == "missing" else str(made(name)) for name in names]
    with pytest.raises(UserError) as refusal:
        play(places, tmp_path / "page.html")
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_damaged_or_empty_records_are_refused(made, tmp_path):
    directory = tmp_path / "copy"
    shutil.copytree(made("nag"), directory)
    (directory / "path" / "records.bin").write_bytes(b"")
    with pytest.raises(UserError, match="stopped before the first record of its path"):
        scene(directory)
    steps = np.arange(3) + 10**15
    damaged = np.zeros(3, read_records(made("nag") / "path")[0].record)
    damaged["step"] = steps
    (directory / "path" / "records.bin").write_bytes(damaged.tobytes())
    with pytest.raises(UserError, match=r"path is damaged: .* of a run of \d+ updates; train this"):
        scene(directory)
    (directory / "path" / "layout.json").write_text("{}")
    with pytest.raises(
        UserError, match=r"layout\.json is damaged: .*version 1; train this run again"
    ):
        scene(directory)


def test_a_failed_run_of_an_older_store_is_shown_though_its_updates_were_not_counted(
    made, tmp_path
):
    directory = tmp_path / "copy"
    shutil.copytree(made("nag"), directory)
    file = directory / "result.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"status": "failed", "updates": 0}))
    (track,) = scene(directory).tracks
    assert len(track.rows) == 34


def test_of_several_runs_one_that_cannot_be_shown_is_left_out_and_named(made, tmp_path, capsys):
    directory = tmp_path / "copy"
    shutil.copytree(made("momentum"), directory)
    shutil.rmtree(directory / "path")
    (track,) = scene(made("nag"), directory).tracks
    assert track.recording.run.directory == made("nag")
    said = capsys.readouterr().err
    assert said.startswith(
        f"play.py: left out: {directory}: no records of its path; train it again"
    )
    assert said.count("\n") == 1
    other = tmp_path / "other"
    shutil.copytree(directory, other)
    with pytest.raises(UserError, match=r"record_every=20; nor can the 1 others be shown"):
        scene(directory, other)


def test_the_advice_for_a_damaged_path_in_a_store_is_one_that_works(made, tmp_path):
    directory = tmp_path / "a store"
    shutil.copytree(made("nag"), directory)
    config = directory / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace("store: null", "store: somewhere"))
    (directory / "path" / "layout.json").write_text("{")
    with pytest.raises(UserError) as refusal:
        scene(directory)
    assert str(refusal.value).endswith(f"; remove '{directory}' and train this run again")


def test_a_module_that_is_not_to_be_found_is_refused_in_one_line(made, tmp_path):
    directory = tmp_path / "copy"
    shutil.copytree(made("digits"), directory)
    config = directory / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace("tasks.mnist.MNIST", "elsewhere.Net"))
    with pytest.raises(
        UserError, match=r"task\._target_=elsewhere\.Net cannot be made here"
    ) as refusal:
        scene(directory)
    assert "\n" not in str(refusal.value)


def test_a_full_disk_leaves_the_page_that_was_there_and_no_piece_of_another(made, tmp_path):
    output, run = tmp_path / "page.html", str(made("nag"))
    output.write_text("an older page")
    with full_disk(), pytest.raises(OSError, match="File too large"):
        play([run], output)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert output.read_text() == "an older page"


def test_a_device_is_no_file_and_a_link_stays_one(made, tmp_path):
    with pytest.raises(UserError, match=r"--output /dev/null: must be a file in a directory"):
        play([str(made("nag"))], Path("/dev/null"))
    (tmp_path / "link.html").symlink_to(tmp_path / "page.html")
    play([str(made("nag"))], tmp_path / "link.html")
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "page.html").stat().st_size > 1e6


def test_an_axis_of_less_than_two_decades_has_whole_numbers_at_its_ticks():
    axis = _log_axis(np.log10([0.3, 4.0]))
    assert {"0.5", "1", "2"} <= set(axis["ticktext"])
    assert [float(text) for text in axis["ticktext"]] == pytest.approx(axis["tickvals"])


def test_the_command_line_writes_where_it_says(made, tmp_path):
    runs = made("nag").parent / "nag", made("momentum")
    done = commands.run("play", *runs, cwd=tmp_path, kind="new")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"playback\.html  \d\.\d MB\n", done.stdout)
    assert (tmp_path / "playback.html").exists()
    for arguments, message in (
        (["nowhere"], "play.py: nowhere: no such directory\n"),
        ([made("nag"), "--output", "no/page.html"], "must be a file in a directory that is there"),
    ):
        failed = commands.run("play", *arguments, cwd=tmp_path)
        assert failed.returncode == 2
        assert message in failed.stderr
        assert failed.stderr.count("\n") == 1
    elsewhere = tmp_path / "elsewhere"  # the working directory itself comes last on the path
    elsewhere.mkdir()
    (elsewhere / "plotly.py").write_text("raise ModuleNotFoundError('', name='plotly')")
    trap = {"PYTHONPATH": str(elsewhere)}
    failed = commands.run("play", made("nag"), cwd=tmp_path, kind="light", **trap)
    assert failed.stderr == 'play.py: plotly is not installed: pip install -e ".[play]"\n'


# In a browser

PLOT = "document.querySelector('.js-plotly-plot')"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """A browser without a network."""
    profile = tmp_path_factory.mktemp("browser")
    logged = {"browser": "ALL", "performance": "ALL"}
    chrome = chromium(profile, "1500,1100", loggingPrefs=logged)
    chrome.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    chrome.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    yield chrome
    chrome.quit()


class Page:
    """A page of playback in a browser."""

    def __init__(self, browser: Chrome, path: Path) -> None:
        self.browser = browser
        browser.get_log("browser")
        browser.get_log("performance")
        browser.get(path.as_uri())
        self.wait(lambda: browser.find_elements(By.CSS_SELECTOR, "#numbers div"))

    def wait(self, until: Callable[[], Any]) -> Any:
        return WebDriverWait(self.browser, 30).until(lambda _: until())

    def step(self) -> int:
        """The frame that the slider stands at."""
        return self.browser.execute_script(f"return {PLOT}.layout.sliders[0].active")

    def press(self, key: str, step: int) -> None:
        """Presses a key, and waits for the slider to come to a frame."""
        ActionChains(self.browser).send_keys(key).perform()
        self.wait(lambda: self.step() == step)

    def card(self, label: str) -> str:
        """The numbers of a run beneath the picture."""
        cards = self.browser.find_elements(By.CSS_SELECTOR, "#numbers div")
        (found,) = [card.text for card in cards if card.text.split("\n")[0] == label]
        return found

    def marker(self, label: str) -> Any:
        """The filled marker of a run."""
        trace = f"{PLOT}.calcdata.find(d => d[0].trace.name === {json.dumps(label)})[0]"
        uid = self.browser.execute_script(f"return {trace}.trace.uid")
        return self.browser.find_element(By.CSS_SELECTOR, f".trace{uid} .point")

    def hover(self, label: str) -> str:
        """The text that comes when the pointer is on a run's marker."""
        ActionChains(self.browser).move_to_element(self.marker(label)).perform()
        texts = "[...document.querySelectorAll('.hoverlayer .hovertext')].map(t => t.textContent)"
        (text,) = self.wait(lambda: self.browser.execute_script(f"return {texts}"))
        return text

    def close(self) -> None:
        """Checks that nothing went wrong meanwhile, and that no network was asked for anything."""
        assert self.browser.get_log("browser") == []
        events = [json.loads(e["message"])["message"] for e in self.browser.get_log("performance")]
        asked = [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]
        assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def test_keys_slider_and_button_go_through_the_steps_and_hover_tells_the_log(
    made, tmp_path, browser
):
    written(tmp_path, made("nag"), made("momentum"))
    page = Page(browser, tmp_path / "page.html")
    assert page.step() == 2  # where the two are apart
    page.press(Keys.HOME, 0)
    page.press(Keys.ARROW_RIGHT, 1)
    page.press(Keys.ARROW_RIGHT, 2)
    page.press(Keys.ARROW_LEFT, 1)
    page.press(Keys.END, 221)
    assert "step 33 (the last)" in page.card("nag")
    page.press(Keys.HOME, 0)
    page.press(Keys.ARROW_LEFT, 0)
    for _ in range(7):
        page.press(Keys.ARROW_RIGHT, page.step() + 1)
    for directory, label in ((made("nag"), "nag"), (made("momentum"), "momentum")):
        (recorded,) = find_runs([directory])
        text = page.hover(label)
        assert text.startswith(label)
        assert "step 7" in text
        for name, tag in (("loss", "loss"), ("‖gradient‖", "gradnorm"), ("‖velocity‖", "velocity")):
            value = dict(recorded.history[f"train/{tag}"])[7]
            shown = re.search(rf"{name}, logged: (-?[\d.e-]+?\d)(?=[‖a-zθ]|$)", text)
            assert shown, text
            assert np.float32(shown[1]) == np.float32(value)
        assert page.card(label).replace("\n", "") == text

    # The slider, by the pointer.
    rail = browser.find_element(By.CSS_SELECTOR, ".slider-rail-touch-rect")
    grip = browser.find_element(By.CSS_SELECTOR, ".slider-grip-rect")
    ActionChains(browser).drag_and_drop_by_offset(grip, rail.size["width"] // 2, 0).perform()
    page.wait(lambda: 90 < page.step() < 150)

    # Space plays and pauses; so does the button.
    page.press(Keys.HOME, 0)
    ActionChains(browser).send_keys(Keys.SPACE).perform()
    page.wait(lambda: page.step() > 4)
    ActionChains(browser).send_keys(Keys.SPACE).perform()
    button = browser.find_element(By.ID, "play")
    page.wait(lambda: "play" in button.text)
    paused = page.wait(lambda: page.step())
    ActionChains(browser).pause(0.5).perform()
    assert page.step() == paused
    button.click()
    page.wait(lambda: page.step() > paused + 2)
    assert "pause" in button.text
    button.click()
    page.press(Keys.END, 221)
    button.click()  # from the end it begins again
    page.wait(lambda: 0 < page.step() < 221)
    button.click()
    page.close()


@pytest.mark.slow
def test_the_slider_goes_to_the_end_of_the_shorter_run_and_the_speed_changes(
    made, tmp_path, browser
):
    written(tmp_path, made("nag"), made("momentum"))
    page = Page(browser, tmp_path / "page.html")
    until = Select(browser.find_element(By.ID, "until"))
    assert [option.text for option in until.options] == ["the last", "33, the end of nag"]
    until.select_by_index(1)
    steps = f"return {PLOT}.layout.sliders[0].steps.length"
    page.wait(lambda: browser.execute_script(steps) == 34)
    page.press(Keys.END, 33)
    assert "step 33 (the last)" in page.card("nag")
    assert browser.execute_script(f"return {PLOT}.layout.xaxis2.range[1]") == pytest.approx(33.66)
    until.select_by_index(0)
    page.wait(lambda: browser.execute_script(steps) == 222)
    assert page.step() == 33
    page.press(Keys.END, 221)

    def seconds(speed: str) -> float:
        Select(browser.find_element(By.ID, "speed")).select_by_visible_text(speed)
        page.press(Keys.HOME, 0)
        browser.find_element(By.ID, "play").click()
        began = time.monotonic()
        page.wait(lambda: page.step() >= 12)
        browser.find_element(By.ID, "play").click()
        return time.monotonic() - began

    assert seconds("¼") > 1.5 * seconds("4")
    page.close()


@pytest.mark.parametrize(
    ("names", "width", "height"),
    [
        (("nag", "momentum"), 1500, 1100),
        pytest.param(("nag", "momentum"), 1024, 768, marks=pytest.mark.slow),
        pytest.param(("line", "batches"), 1280, 720, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_numbers_are_within_the_window_and_pause_moves_nothing(
    names, width, height, made, tmp_path, browser
):
    def edge(name: str, side: str) -> float:
        box = f"document.getElementById('{name}').getBoundingClientRect()"
        return browser.execute_script(f"return {box}.{side}")

    written(tmp_path, *map(made, names))
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        page = Page(browser, tmp_path / "page.html")
        page.wait(lambda: edge("numbers", "bottom") <= height)
        top, button = edge("plot", "top"), browser.find_element(By.ID, "play")
        button.click()
        page.wait(lambda: "pause" in button.text)
        assert edge("plot", "top") == top
        page.close()
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_line_of_a_regression_moves_over_its_data(made, tmp_path, browser):
    written(tmp_path, made("line"))
    page = Page(browser, tmp_path / "page.html")
    line = f"return {PLOT}.data.find(t => t.xaxis === 'x3' && t.mode === 'lines').y"
    for step in (0, 1):
        page.press(Keys.HOME, 0)
        if step:
            page.press(Keys.ARROW_RIGHT, step)
        (track,) = scene(made("line")).tracks
        assert track.fitted is not None
        expected = track.fitted[step].tolist()
        page.wait(lambda y=expected: np.allclose(browser.execute_script(line), y, rtol=1e-6))
    page.close()


@pytest.mark.parametrize(
    "names", [("far", "slow", "lost"), ("line", "batches"), ("digits", "digits 2")], ids=" ".join
)
def test_every_kind_of_page_opens_and_moves(names, made, tmp_path, browser):
    written(tmp_path, *map(made, names))
    page = Page(browser, tmp_path / "page.html")
    ranges = f"return [{PLOT}.layout.xaxis.range, {PLOT}.layout.yaxis.range]"
    before, bands = browser.execute_script(ranges), ".shapelayer path"
    assert len(browser.find_elements(By.CSS_SELECTOR, bands)) > 5
    page.press(Keys.HOME, 0)
    first = [page.marker(label).get_attribute("transform") for label in labels_on(page)]
    page.press(Keys.ARROW_RIGHT, 1)
    count = browser.execute_script(f"return {PLOT}.layout.sliders[0].steps.length")
    page.press(Keys.END, count - 1)
    if "lost" in names:
        assert "diverged: the loss is not finite" in page.card(labels_on(page)[2])
    assert browser.execute_script(ranges) == before
    assert len(browser.find_elements(By.CSS_SELECTOR, bands)) > 5
    moved = zip(first[:2], labels_on(page)[:2], strict=True)
    assert all(place != page.marker(label).get_attribute("transform") for place, label in moved)
    page.close()


def labels_on(page: Page) -> list[str]:
    names = f"return {PLOT}.data.filter(t => t.name && t.hovertext).map(t => t.name)"
    return page.browser.execute_script(names)


def test_a_phone_has_the_panels_above_each_other_and_a_finger_plays(made, tmp_path, browser):
    written(tmp_path, made("nag"), made("momentum"))
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        page = Page(browser, tmp_path / "page.html")
        page.wait(lambda: browser.execute_script(f"return {PLOT}.layout.yaxis.domain[0]") > 0.4)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
        page.wait(lambda: browser.execute_script(f"return {PLOT}.clientHeight") > 900)
        button = browser.find_element(By.ID, "play")
        assert button.size["height"] >= 32
        tap(browser, button)
        page.wait(lambda: page.step() > 2)
        tap(browser, button)
        page.wait(lambda: "play" in button.text)
        tap(browser, browser.find_element(By.CSS_SELECTOR, ".slider-rail-touch-rect"))
        page.wait(lambda: 90 < page.step() < 130)
        page.close()
    finally:
        browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def tap(browser: Chrome, element: Any) -> None:
    """Taps an element with a finger, in its middle."""
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    box = browser.execute_script(
        "const r = arguments[0].getBoundingClientRect(); return [r.x, r.y, r.width, r.height]",
        element,
    )
    point = {"x": box[0] + box[2] / 2, "y": box[1] + box[3] / 2}
    for kind, points in (("touchStart", [point]), ("touchEnd", [])):
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
