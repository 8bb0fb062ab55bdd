"""TensorBoard opens ready: what its pages say of a sweep, in a real browser and in the events.

Needs chromium and chromedriver, which Debian's packages chromium and chromium-driver bring.
"""

import json
import math
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.support.ui import WebDriverWait
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import api_pb2, metadata

from scratchopt.runs.dashboard import Dashboard
from scratchopt.runs.result import Result
from tests.shared import commands
from tests.shared.browser import chromium
from tests.shared.commands import python

OPTIMIZERS, LRS, SEEDS = ("sgd", "momentum", "nag"), ("0.05", "0.1", "1.0"), ("0", "1")
CHARTS = ["loss", "gradnorm", "log10 of the gradnorm"]
CHARTS += ["velocity", "update-to-weight ratio", "angle"]

# In the browser

# All elements of a page, those in its components' shadow trees too.
ALL = """
function* within(node) {
    for (const e of node.querySelectorAll('*')) {
        yield e;
        if (e.shadowRoot) yield* within(e.shadowRoot);
    }
}
const all = [...within(document)];
"""


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The 18 runs of a sweep: their `result.json` by name, and where they lie as `directory`."""
    folder = tmp_path_factory.mktemp("dashboard")
    options = [f"optimizer={','.join(OPTIMIZERS)}", f"optimizer.lr={','.join(LRS)}"]
    options += [f"seed={','.join(SEEDS)}", "task=toy", "task.start=-8", "hydra.sweep.dir=sweep"]
    options += ["figures=true"]
    done = commands.run("train", "-m", *options, cwd=folder)
    assert done.returncode == 0, done.stderr
    return {
        path.parent.name: json.loads(path.read_text()) | {"directory": path.parent}
        for path in folder.glob("sweep/*/result.json")
    }


@pytest.fixture(scope="module")
def address(sweep: dict[str, dict[str, Any]]) -> Iterator[str]:
    """The address of a TensorBoard over the sweep."""
    folder = next(iter(sweep.values()))["directory"].parent
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    serve = ["-m", "tensorboard.main", "--logdir", ".", "--port", str(port)]
    with (
        open(folder / "log", "wb") as log,
        subprocess.Popen([python("new"), *serve], cwd=folder, stdout=log, stderr=log) as server,
    ):
        answer(f"http://localhost:{port}")
        yield f"http://localhost:{port}"
        server.terminate()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    chrome = chromium(tmp_path_factory.mktemp("browser"), "1500,1600")
    yield chrome
    chrome.quit()


def answer(address: str) -> bytes:
    for _ in range(120):
        try:
            with urllib.request.urlopen(address) as page:
                return page.read()
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(address)


def until(browser: Chrome, script: str, *arguments: Any) -> Any:
    """Waits until a script's value is true, and returns it; its `all` are the page's elements."""
    wait = WebDriverWait(browser, 30, poll_frequency=0.2)
    return wait.until(lambda chrome: chrome.execute_script(ALL + script, *arguments))


def events_of(directory: Path) -> EventAccumulator:
    return EventAccumulator(str(directory), size_guidance={"scalars": 0}).Reload()


@pytest.mark.slow
def test_runs_are_named_by_what_differs(sweep):
    names = {f"{o},lr={lr},seed={seed}" for o in OPTIMIZERS for lr in LRS for seed in SEEDS}
    assert set(sweep) == names


@pytest.mark.slow
def test_time_series_have_every_run_in_every_card(sweep, address, browser):
    browser.get(f"{address}/#timeseries")
    scalars = "all.find(e => e.localName == 'button' && e.innerText.trim() == 'Scalars')"
    until(browser, f"const button = {scalars}; button?.click(); return button")

    def rows(tag: str) -> dict[str, tuple[str, str]]:
        """Value and step by run, from the card's table: name, smoothed, value, step, relative."""
        text = until(
            browser,
            """
            const cards = all.filter(e => e.localName == 'card-view');
            const card = cards.find(
                card => card.innerText.replace(/\\n/, '').startsWith(arguments[0] + '\\n'));
            if (!card) all.find(e => e.matches('mat-icon[svgicon=expand_more_24px]'))?.click();
            (card ?? cards.at(-1))?.scrollIntoView();  // what is in view is drawn
            return card && (card.innerText.match(/seed=/g) ?? []).length == 18 && card.innerText;
            """,
            tag,
        )
        row = r"(\w+,lr=\S+,seed=\d)\s+\S+\s+(\S+)\s+(\d+)\s"
        return {name: (value, step) for name, value, step in re.findall(row, text)}

    # Steps count from 0, so the last one's number is that of the updates before it.
    losses = {n: (f"{r['metrics']['train/loss']:.4f}", str(r["updates"])) for n, r in sweep.items()}
    assert rows("train/loss") == losses
    evaluations = {n: (str(r["evaluations"]), str(r["updates"])) for n, r in sweep.items()}
    assert rows("train-end/evaluations") == evaluations


@pytest.mark.slow
def test_custom_scalars_draw_the_runs_side_by_side(sweep, address, browser):
    browser.get(f"{address}/#custom_scalars")
    titles = until(
        browser,
        """
        const cards = all.filter(e => e.localName == 'tf-custom-scalar-multi-line-chart-card');
        const text = cards.map(card => card.shadowRoot.querySelector('.matches-text')?.innerText);
        return text.every(t => t == 'Matches (18)') && cards.map(card => card.title);
        """,
    )
    assert titles == CHARTS
    chart = browser.execute_script(
        ALL + "return all.filter(e => e.localName == 'vz-line-chart2')[arguments[0]]",
        CHARTS.index("log10 of the gradnorm"),
    )

    def pointed_at(chrome: Chrome) -> str:
        """Reads the table of what is under the cursor: name, smoothed, value, step, and times."""
        ActionChains(chrome).move_to_element(chart).pause(0.3).move_by_offset(5, 5).perform()
        tables = ALL + "return all.filter(e => e.localName == 'table').map(e => e.innerText)"
        texts = chrome.execute_script(tables)
        return next((text for text in texts if "seed=" in text), "")

    row = r"train/log10_gradnorm \((.+)\)\s+\S+\s+(\S+)\s+(\d+)\s"
    rows = re.findall(row, WebDriverWait(browser, 30).until(pointed_at))
    assert len(rows) > 9  # a run that left the chart below has no point there
    for name, shown, step in rows:
        gradnorms = events_of(sweep[name]["directory"]).Scalars("train/gradnorm")
        gradnorm = next(event.value for event in gradnorms if event.step == int(step))
        assert float(shown) == pytest.approx(math.log10(gradnorm), rel=1e-3)


@pytest.mark.slow
def test_hparams_have_a_row_for_every_run_and_sort_them(sweep, address, browser):
    browser.get(f"{address}/#hparams")

    def rows(first: str) -> list[dict[str, str]]:
        """The table, once a run that has so many evaluations stands in its first row."""
        header, *body = until(
            browser,
            """
            const grid = all.find(e => e.localName == 'vaadin-grid')?.shadowRoot;
            if (!grid) return null;
            const texts = row => [...row.querySelectorAll('th, td')].map(
                cell => cell.querySelector('slot').assignedNodes()[0]?.innerText.trim());
            const table = [...grid.querySelectorAll('thead tr, tbody tr:not([hidden])')].map(texts);
            const column = table[0].indexOf('train-end/evaluations');
            return table.length == 19 && table[1][column].startsWith(arguments[0]) && table;
            """,
            first,
        )
        return [dict(zip(header, row, strict=False)) for row in body]

    def choose(item: str) -> None:
        items = "all.filter(e => e.localName == 'paper-item')"
        first = f"{items}.find(e => e.innerText.trim() == arguments[0])"
        until(browser, f"const item = {first}; item?.click(); return item", item)

    evaluations = sorted(result["evaluations"] for result in sweep.values())
    shown = rows("")
    for row in shown:
        result = sweep[row["Trial ID"]]
        assert row["optimizer"] == result["optimizer"]
        assert float(row["optimizer.lr"]) == result["hyperparameters"]["optimizer.lr"]
        assert float(row["seed"]) == result["seed"]
        assert float(row["train-end/evaluations"]) == result["evaluations"]
        assert float(row["train-end/loss"]) == pytest.approx(result["metrics"]["train/loss"], 1e-5)
    assert len({row["Trial ID"] for row in shown}) == 18
    choose("train-end/evaluations")
    choose("Descending")
    descending = [float(row["train-end/evaluations"]) for row in rows(str(evaluations[-1]))]
    assert descending == evaluations[::-1]
    choose("Ascending")
    ascending = [float(row["train-end/evaluations"]) for row in rows(str(evaluations[0]))]
    assert ascending == evaluations


@pytest.mark.slow
def test_text_has_the_summary_and_the_configuration(sweep, address, browser):
    browser.get(f"{address}/#text")
    console, configuration = until(
        browser,
        """
        const texts = all.filter(e => e.localName == 'code').map(e => e.innerText);
        const both = ['evaluations', 'optimizer:'].map(w => texts.find(t => t.includes(w)));
        return both.every(t => t) && both;
        """,
    )
    shown = dict(line.split(maxsplit=1) for line in console.splitlines())
    name = Path(shown["run"]).name
    assert shown["evaluations"] == str(sweep[name]["evaluations"])
    assert shown["status"] == "converged"
    assert shown["dashboard"] == "tensorboard --logdir sweep"
    config = yaml.safe_load(configuration)
    assert config["task"]["start"] == -8
    assert str(config["optimizer"]["lr"]) in LRS


@pytest.mark.slow
def test_images_are_there(sweep, address, browser):
    browser.get(f"{address}/#images")
    loaded = "all.filter(e => e.localName == 'img' && e.naturalWidth > 300).length"
    assert until(browser, f"return {loaded} >= 12 && {loaded}") == 12  # on each page of them


# In the events


@pytest.fixture
def result() -> Result:
    metrics = {"train/loss": 0.5, "test/accuracy": 0.25}
    result = Result("toy", "nag", {"optimizer.lr": 0.1}, 0, metrics=metrics)
    result.updates, result.evaluations, result.cost, result.seconds = 3, 4, 3, 1.5
    return result


def hparams(events: EventAccumulator) -> dict[str, bytes]:
    return events.PluginTagToContent(metadata.PLUGIN_NAME)


def charts(events: EventAccumulator) -> dict[str, dict[str, str]]:
    """The layout that is valid, which is the last: regular expressions by part and title."""
    layout = layout_pb2.Layout()  # pyright: ignore[reportAttributeAccessIssue]
    (*_, last) = events.Tensors("custom_scalars__config__")
    layout.ParseFromString(last.tensor_proto.string_val[0])
    return {
        part.title: {chart.title: "".join(chart.multiline.tag) for chart in part.chart}
        for part in layout.category
    }


def text(events: EventAccumulator, tag: str) -> str:
    (event,) = events.Tensors(f"{tag}/text_summary")
    return event.tensor_proto.string_val[0].decode()


def test_a_layout_has_charts_of_what_the_run_logs_and_of_nothing_else(tmp_path):
    dashboard = Dashboard(tmp_path)
    dashboard.log_metrics({"train/loss": 1.0, "train/gradnorm": 2.0}, 0)
    dashboard.log_metrics({"val/accuracy": 0.5, "val/loss": 1.0, "epoch": 0}, 1)
    dashboard.log_metrics({"train/gradnorm_clipped": 1.0, "train/my_norm": 1.0}, 1)
    dashboard.log_metrics({"train/momentum": 0.9, "train/lr": 0.1}, 1)
    dashboard.log_metrics({"train/sharpness": 2.0, "train/sharpness_limit": 4.0}, 1)
    dashboard.finalize("success")
    events = events_of(tmp_path)
    parts = charts(events)
    assert list(parts) == ["training", "validation and test"]
    assert list(parts["training"]) == [
        *("loss", "lr", "momentum", "gradnorm", "log10 of the gradnorm", "gradnorm after clipping"),
        *("sharpness, and the most that is stable", "my_norm"),
    ]
    assert list(parts["validation and test"]) == ["validation loss", "validation accuracy"]
    tags = events.Tags()["scalars"]
    assert "epoch" not in tags
    drawn = [
        [tag for tag in tags if re.match(pattern, tag)]
        for part in parts.values()
        for pattern in part.values()
    ]
    assert sorted(tag for tags in drawn for tag in tags) == sorted(tags)  # each tag in one chart
    assert ["train/sharpness", "train/sharpness_limit"] in drawn


def test_the_logarithm_leaves_out_what_has_none(tmp_path):
    dashboard = Dashboard(tmp_path)
    for step, gradnorm in enumerate((100.0, 0.0, 1e-3)):
        dashboard.log_metrics({"train/gradnorm": gradnorm}, step)
    dashboard.finalize("success")
    logs = events_of(tmp_path).Scalars("train/log10_gradnorm")
    assert [(event.step, event.value) for event in logs] == [(0, 2.0), (2, -3.0)]


def test_numbers_of_a_step_are_one_event(tmp_path):
    dashboard = Dashboard(tmp_path)
    tensor = torch.tensor(3.0)
    dashboard.log_metrics({"train/loss": 1, "train/gradnorm": 1.0, "train/velocity": tensor}, 7)
    dashboard.finalize("success")
    (path,) = tmp_path.glob("events*")
    (event,) = [e for e in EventFileLoader(str(path)).Load() if e.step == 7]
    assert [value.tag for value in event.summary.value] == [
        *("train/loss", "train/gradnorm", "train/velocity", "train/log10_gradnorm")
    ]


@pytest.mark.parametrize(
    ("status", "ended"),
    [
        ("converged", "STATUS_SUCCESS"),
        ("diverged", "STATUS_FAILURE"),
        ("interrupted", None),
    ],
)
def test_hparams_and_text_tell_of_the_run(status, ended, result, tmp_path):
    dashboard = Dashboard(tmp_path)
    values = {"optimizer": "nag", "lr": 0.1, "fused": True, "betas": [0.9, 0.99], "clip": None}
    dashboard.begin(values, {"optimizer": {"lr": 0.1}, "seed": 0})
    result.status = status
    if status == "diverged":
        result.metrics["train/loss"] = math.nan
    dashboard.end(result, tmp_path)
    events = events_of(tmp_path)
    content = hparams(events)
    assert metadata.EXPERIMENT_TAG not in content  # it would hide other tasks' metrics
    start = metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG])
    shown = {name: getattr(v, v.WhichOneof("kind")) for name, v in start.hparams.items()}
    assert shown == {"optimizer": "nag", "lr": 0.1, "fused": True, "betas": "[0.9, 0.99]"}
    assert (metadata.SESSION_END_INFO_TAG in content) == (ended is not None)
    if ended is not None:
        end = metadata.parse_session_end_info_plugin_data(content[metadata.SESSION_END_INFO_TAG])
        assert api_pb2.Status.Name(end.status) == ended  # pyright: ignore[reportAttributeAccessIssue]
    last = {tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"]}
    loss = {} if status == "diverged" else {"loss": 0.5}
    numbers = {"evaluations": 4, "seconds": 1.5, "updates": 3} | loss
    assert last == {f"train-end/{name}": value for name, value in numbers.items()}
    assert text(events, "console") == f"```\n{result.table(tmp_path)}\n```"
    fence, *lines, end = text(events, "resolved_configuration").splitlines()
    assert (fence, end) == ("```yaml", "```")
    assert yaml.safe_load("\n".join(lines)) == {"optimizer": {"lr": 0.1}, "seed": 0}
