"""TensorBoard shows two runs side by side, in a real browser.

Needs chromium and chromedriver, which Debian's packages chromium and chromium-driver bring.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

TRAIN = Path(__file__).parents[1] / "scripts" / "train.py"
QUIET = ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"]
QUIET += ["disable-background-networking", "disable-component-update", "disable-sync"]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a TensorBoard over two toy runs."""
    folder = tmp_path_factory.mktemp("dashboard")
    for optimizer in ("nag", "momentum"):
        run = [sys.executable, TRAIN, "task=toy", f"optimizer={optimizer}", "task.start=-8"]
        subprocess.run([*run, "optimizer.lr=1.0"], cwd=folder, check=True, capture_output=True)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", "outputs", "--port", str(port)]
    with (
        open(folder / "log", "wb") as log,
        subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as server,
    ):
        yield f"http://localhost:{port}"
        server.terminate()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        complain = pytest.fail if "CI" in os.environ else pytest.skip
        complain("chromium and chromedriver are not installed (Debian: chromium-driver)")
    options = ChromeOptions()
    options.binary_location = chromium
    for flag in [*QUIET, "window-size=1500,1600"]:
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('browser')}")
    chrome = Chrome(options=options, service=Service(driver))
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


def test_tensorboard_shows_loss_gradnorm_and_velocity_of_two_runs(address: str, browser: Chrome):
    answer(address)
    browser.get(f"{address}/#timeseries")

    def cards(chrome: Chrome) -> dict[str, str]:
        script = "return [...document.querySelectorAll('card-view')].map(card => card.innerText)"
        texts = [re.sub(r"\n/", "/", text) for text in chrome.execute_script(script)]
        return {text.split("\n")[0]: text for text in texts}

    def drawn(chrome: Chrome) -> dict[str, str]:
        # The last card is below the fold; TensorBoard draws what is in view.
        chrome.execute_script("document.querySelector('card-view:last-of-type')?.scrollIntoView()")
        return {
            tag: text
            for tag, text in cards(chrome).items()
            if tag.startswith("train/") and "toy/nag/" in text and "toy/momentum/" in text
        }

    tags = ["train/gradnorm", "train/loss", "train/velocity"]
    shown = WebDriverWait(browser, 60).until(lambda c: set(tags) <= set(drawn(c)) and drawn(c))
    loss = shown["train/loss"]
    # In its table each run has a row: name, smoothed, value, step. 34 and 222 evaluations, from 0.
    rows = dict(re.findall(r"toy/(nag|momentum)/\S+\s+-0\.7946\s+-0\.7946\s+(\d+)", loss))
    assert rows == {"nag": "33", "momentum": "221"}
