"""The playground: what a hand does in the page, and the library does the same in Python."""

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from scratchopt import NAG, Momentum
from scratchopt.cli.play import main, play_live
from scratchopt.problems.functions import functions
from tests.shared.browser import chromium
from tests.shared.pages import PAGES

METHODS = ["sgd", "momentum", "nag", "nag_torch", "adagrad", "rmsprop", "adam", "adamw", "newton"]


class Page:
    """A browser with the playground in it."""

    def __init__(self, browser: Chrome, file: Path) -> None:
        self.browser, self.file = browser, file

    def open(self, address: str) -> None:
        """Opens the page anew with a setting."""
        self.browser.get("about:blank")
        self.browser.get(f"{self.file.as_uri()}{address}")

    def ask(self, script: str) -> Any:
        return self.browser.execute_script(f"return {script}")

    def find(self, selector: str) -> Any:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def wait(self, script: str) -> None:
        WebDriverWait(self.browser, 5, poll_frequency=0.02).until(lambda _: self.ask(script))

    def press(self, *keys: str) -> None:
        self.find("body").send_keys(*keys)

    def number(self, name: str) -> list[float]:
        """The numbers of a row of the table."""
        cells = self.browser.find_elements(By.CSS_SELECTOR, f"tr[data-name='{name}'] data")
        return [float(cell.get_attribute("value") or "") for cell in cells]

    def address(self) -> str:
        """The address, once it is written."""
        self.wait("remembering === null")
        return self.ask("location.hash")

    def drag(self, *moves: tuple[int, int]) -> None:
        """Takes the ball of the method that is shown along some moves; it is not let go."""
        canvas = self.find("#landscape")
        x, y = self.ask("landscape.ballAt(shownTrack(), time)")
        x, y = x - canvas.size["width"] / 2, y - canvas.size["height"] / 2
        actions = ActionChains(self.browser, duration=20)
        actions.move_to_element_with_offset(canvas, round(x), round(y)).click_and_hold()
        for move in moves:
            actions.move_by_offset(*move)
        actions.perform()

    def let_go(self) -> None:
        ActionChains(self.browser).release().perform()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("playground")
    logs = {"browser": "ALL", "performance": "ALL"}
    browser = chromium(folder / "profile", "1400,900", loggingPrefs=logs)
    try:
        play_live(folder / "playground.html")
        yield Page(browser, folder / "playground.html")
    finally:
        browser.quit()


def steps(method: Any, function: str, start: list[float], count: int, **settings: float) -> Any:
    """What `count` steps of a method are in float64: the last step's numbers, by their names."""
    f = functions()[function]
    theta = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer = method([theta], **settings)
    seen: dict[str, Any] = {}

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        seen["lookahead point"] = theta.tolist()
        loss = f(theta)
        [theta.grad] = torch.autograd.grad(loss, theta)
        seen["gradient"] = theta.grad.tolist()
        return loss

    for _ in range(count + 1):
        seen["θ"], seen["loss at θ"] = theta.tolist(), [f(theta).item()]
        optimizer.step(closure)
    seen["velocity after"] = (theta.detach().numpy() - seen["θ"]).tolist()
    return seen


def assert_equal(page: Page, expected: dict[str, list[float]]) -> None:
    for name, numbers in expected.items():
        np.testing.assert_allclose(page.number(name), numbers, rtol=1e-11, atol=1e-13, err_msg=name)


SENT = "#function=article&start=-8&race=nag(lr=1,momentum=0.9)+momentum(lr=1)&steps=100&step=12"


def test_a_setting_opens_as_it_was_sent_and_its_numbers_are_the_library_s(page):
    page.open(SENT)
    assert page.find("#step-told").text == "step 12 of 100"
    assert_equal(page, steps(NAG, "article", [-8.0], 12, lr=1.0, momentum=0.9))
    assert page.ask("document.querySelector('#complaints').hidden")
    [*_, last] = page.browser.find_elements(By.CSS_SELECTOR, "#source .result")
    [expected] = steps(NAG, "article", [-8.0], 13, lr=1.0, momentum=0.9)["θ"]
    shown = float(last.text.removeprefix("p = ").replace("−", "-"))
    assert shown == pytest.approx(expected, 1e-4)
    page.press(Keys.ARROW_RIGHT)  # and the address follows
    assert page.address() == (
        "#function=article&start=-8&race=nag(lr=1)+momentum(lr=1)&steps=100&step=13"
    )


def test_a_dragged_ball_starts_anew_there_and_rolls(page):
    page.open(SENT)
    page.drag((60, 0), (40, 0))
    assert page.ask("[playing, setting.step]") == [False, 0]
    [start] = page.ask("setting.start")
    assert start > -1  # at step 12 NAG is at −1.2, from where it was taken
    page.let_go()
    assert page.ask("playing")
    page.wait("setting.step >= 2")
    page.press(" ")
    assert not page.ask("playing")
    page.press(Keys.HOME, Keys.ARROW_RIGHT, Keys.SHIFT + Keys.ARROW_RIGHT)
    assert_equal(page, steps(NAG, "article", [start], 11, lr=1.0, momentum=0.9))
    page.press(Keys.HOME)
    assert page.number("θ") == [start]


@pytest.mark.slow
def test_a_slider_leaves_the_space_bar_to_the_player_and_escape_leaves_a_number(page):
    page.open(SENT)
    page.find("#values input[type=range]").send_keys(" ")
    assert page.ask("playing")
    number = page.find("#values input[type=number]")
    number.send_keys("e", Keys.ESCAPE)
    assert number.get_attribute("value") == "1"
    assert page.ask("document.activeElement === document.body")


@pytest.mark.slow
def test_two_race_and_each_has_its_numbers(page):
    page.open("#function=rosenbrock&race=nag(lr=0.001)&steps=50&step=20")
    page.find("#race input[value=momentum]").click()
    assert page.ask("setting.race") == ["nag", "momentum"]
    start = [-1.2, 1.0]
    momentum = page.ask("setting.values.momentum")
    expected = steps(
        Momentum, "rosenbrock", start, 20, lr=momentum["lr"], momentum=momentum["momentum"]
    )
    del expected["lookahead point"]
    assert_equal(page, expected)
    [nag] = [
        b for b in page.browser.find_elements(By.CSS_SELECTOR, "#race button") if b.text == "NAG"
    ]
    nag.click()
    mu = page.ask("setting.values.nag.momentum")
    assert_equal(page, steps(NAG, "rosenbrock", start, 20, lr=0.001, momentum=mu))
    losses = page.browser.find_elements(By.CSS_SELECTOR, "#losses data")
    assert sorted(float(each.get_attribute("value")) for each in losses) == pytest.approx(
        sorted([expected["loss at θ"][0], page.number("loss at θ")[0]])
    )


@pytest.mark.slow
def test_a_slider_passes_the_largest_stable_lr_and_the_run_diverges(page):
    """On the quadratic of κ = 100 the largest is (2 + 2μ)/((1 + 2μ)·κ)."""
    page.open("#function=quadratic&race=nag(lr=0.01,momentum=0.9)&steps=500&step=0")
    limit = 3.8 / 2.8 / 100
    np.testing.assert_allclose(page.number("largest stable lr"), [limit], rtol=1e-12)
    assert "The largest stable lr here is 0.0136" in page.find("#limit").text
    assert page.find("#values .beyond").is_displayed()
    slider = page.find("#values input[type=range]")
    for _ in range(4):
        slider.send_keys(Keys.ARROW_RIGHT)
    lr = page.ask("setting.values.nag.lr")
    assert lr == 0.016
    assert page.find("#values input[type=number]").get_attribute("value") == "0.016"
    assert "lr is beyond 0.0136" in page.find("#limit").text
    page.press(Keys.END)
    assert "diverged" in page.find("#losses").text or page.number("loss at θ")[0] > 1e10
    kappa = page.find("#ground input[name=condition_number]")
    kappa.send_keys(Keys.CONTROL, "a")
    kappa.send_keys("10")  # a flatter bowl bears it
    page.press(Keys.HOME)
    np.testing.assert_allclose(page.number("largest stable lr"), [10 * limit], rtol=1e-12)
    assert "condition_number=10&" in page.address()


@pytest.mark.slow
def test_where_there_is_no_largest_stable_lr_the_page_says_why(page):
    for address, said in {
        "race=lion&step=3": "No largest stable lr is known for Lion.",
        "race=adam&step=0": "known from the first step on",
        "race=sgd&start=2&step=0": "No lr is stable here: the loss does not curve upwards.",
    }.items():
        page.open(f"#{address}")
        assert said in page.find("#limit").text
        assert not page.find("#values .beyond").is_displayed()


@pytest.mark.slow
def test_what_an_address_has_wrong_is_named_and_the_rest_is_shown(page):
    page.open(
        "#function=nope&start=1,2&race=nag(lr=-3,foo=2,momentum=0.5)+bar&steps=20&shown=adam&zzz=1&step=4"
    )
    said = page.find("[role=alert]").text
    for part in ("nope", "start=1,2", "lr=-3", "foo", "bar", "adam", "zzz"):
        assert part in said
    assert page.ask("[setting.function, setting.race, setting.steps, setting.step]") == [
        "article",
        ["nag"],
        20,
        4,
    ]
    assert page.ask("setting.values.nag.momentum") == 0.5
    page.open("#%E0%A4%A&step=0")
    assert "not whole" in page.find("[role=alert]").text


def test_the_addresses_in_the_docs_are_whole(page):
    page.open("#step=0")
    pattern = r'playground\.html(#[^"\s]+)'
    addresses = [address for text in PAGES.values() for address in re.findall(pattern, text)]
    assert len(addresses) > 5
    for address in addresses:
        found = page.browser.execute_script("return readAddress(arguments[0])", address)
        assert found["complaints"] == [], address


@pytest.mark.slow
@pytest.mark.parametrize("address", ["a" * 9_000, "&".join(map(str, range(9_000)))])
def test_a_garbled_address_is_told_of_in_a_few_lines(page, address):
    page.open(f"#step=0&{address}")
    assert page.find("#complaints").size["height"] < 150
    assert page.ask("document.documentElement.scrollWidth <= innerWidth")


ROUND_TRIP = """
return Object.keys(PLAYGROUND.functions).filter((name) => {
  const sent = { ...defaultSetting(name), race: Object.keys(PLAYGROUND.methods), shown: "adam" };
  for (const method of sent.race) {
    for (const own of PLAYGROUND.methods[method].settings) {
      const scale = sliderScale(own);
      sent.values[method][own.name] = scale ? scale.toValue(7) : 1;
    }
  }
  sent.parameters = sent.parameters.map(() => 12);
  Object.assign(sent, { step: 3, steps: 77, noise: 0.1, seed: 5 });
  const { setting: read, complaints } = readAddress(encodeURI(writeAddress(sent)));
  return complaints.length || JSON.stringify(read) !== JSON.stringify(sent);
});
"""


@pytest.mark.slow
def test_an_address_is_read_as_it_was_written(page):
    """With every setting of every method turned, as a program has encoded it on its way."""
    page.open("#step=0")
    assert page.browser.execute_script(ROUND_TRIP) == []


@pytest.mark.slow
def test_settings_that_hardly_make_sense_are_shown_all_the_same(page):
    for address in (
        "#race=&step=0",
        "#start=1e200&step=3",
        "#function=beale&start=1e60,-1e60&race=newton+adam&steps=1&step=1",
        "#function=quadratic&start=0,0&race=sgd(lr=0)&step=1",
        f"#function=regression&race={'+'.join(METHODS)}&step=7",
    ):
        page.open(address)
        page.wait("landscape.drawnGround && !requested")
        assert page.find("[role=alert]").text == ""
        assert page.ask("tracks.length > 0 || !$('limit').textContent")
        page.press(Keys.END, Keys.ARROW_LEFT)
    looks = page.ask("[...$('losses').querySelectorAll('.swatch')].map((s) => s.style.cssText)")
    assert len(set(looks)) == len(looks) == len(METHODS)  # more than the seven colours


@pytest.mark.slow
def test_the_chosen_function_is_in_sight_where_not_all_are(page):
    page.open("#function=regression&step=0")
    page.ask("$('functions').style.cssText = 'width: 200px; flex-wrap: nowrap; overflow-x: auto'")
    page.browser.execute_script("built = {}; showControls()")
    chosen, bar = page.ask(
        "[document.querySelector('#functions :checked').parentElement, $('functions')]"
        ".map((e) => e.getBoundingClientRect().right)"
    )
    assert chosen <= bar


@pytest.mark.slow
def test_the_names_of_those_outside_stand_within_the_landscape(page):
    page.open("#function=quadratic&race=sgd(lr=1)+momentum(lr=1)+nag(lr=1)&start=0,1.5&step=4")
    heights, top = page.browser.execute_script("""
        const heights = [], write = CanvasRenderingContext2D.prototype.fillText;
        CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
          if (String(text).endsWith("outside")) heights.push(y);
          return write.call(this, text, x, y);
        };
        try { drawPictures(); } finally { CanvasRenderingContext2D.prototype.fillText = write; }
        return [heights.sort((a, b) => a - b), landscape.box.top];
    """)
    assert len(heights) == 3
    assert heights[0] > top
    assert heights[2] - heights[1] >= 14 <= heights[1] - heights[0]


@pytest.mark.slow
def test_the_limit_with_a_decoupled_decay_does_not_move_with_lr(page):
    """It is below 2/λ, where the decay alone swings."""
    found = []
    for lr in (0.001, 1.0):
        page.open(f"#function=quadratic&race=adamw(weight_decay=100,lr={lr})&steps=3&step=1")
        found += page.number("largest stable lr")
    assert all(0 < each < 0.02 for each in found)
    assert "until the rule divides by more" in page.find("#limit").text
    page.wait("$('told').textContent.includes('lr is beyond')")  # to those who hear it, too


@pytest.mark.slow
def test_every_control_has_a_name_and_what_comes_to_rest_is_told(page):
    page.open(SENT)
    tree = page.browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = {"slider", "spinbutton", "checkbox", "button", "radio", "combobox", "image", "textbox"}
    named = [
        (n["role"]["value"], n["name"].get("value")) for n in tree if n["role"]["value"] in roles
    ]
    assert len(named) > 40
    assert [each for each in named if not each[1]] == []
    page.press(Keys.ARROW_RIGHT)
    page.wait("document.getElementById('told').textContent.startsWith('Step 13 of 100. NAG: loss')")


@pytest.mark.slow
def test_a_finger_takes_the_ball_and_scrolls_elsewhere(page):
    device = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    command = page.browser.execute_cdp_cmd
    command("Emulation.setDeviceMetricsOverride", device)
    command("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        page.open(SENT)
        assert page.ask("document.documentElement.scrollWidth") == 390
        left, top = page.ask(
            "[...['left', 'top'].map((k) => $('landscape').getBoundingClientRect()[k])]"
        )

        def touch(x: float, y: float, dx: float, dy: float) -> None:
            for part in range(11):
                kind = "touchMove" if part else "touchStart"
                finger = {"x": x + dx * part / 10, "y": y + dy * part / 10}
                command("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [finger]})
            command("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

        x, y = page.ask("landscape.ballAt(shownTrack(), time)")
        touch(left + x, top + y, -60, -30)
        assert page.ask("scrollY") == 0
        assert page.ask("setting.start[0]") < -4
        before = page.ask("setting.start")
        page.press(Keys.HOME)
        touch(left + 300, top + 30, 0, -200)
        page.wait("scrollY > 100")
        assert page.ask("setting.start") == before

        before = page.ask("setting.values.nag.lr")
        place = "$('values').querySelector('[type=range]').getBoundingClientRect()"
        page.browser.execute_script(f"scrollBy(0, {place}.top - 500)")
        left, top = page.ask(f"[{place}.left, {place}.top]")
        touch(left + 20, top + 10, 0, -150)  # the page scrolls, though a slider is under the finger
        page.wait(f"{place}.top < {top} - 100")
        assert page.ask("setting.values.nag.lr") == before
        touch(left + 20, page.ask(f"{place}.top") + 10, 40, 0)
        assert page.ask("setting.values.nag.lr") != before
    finally:
        command("Emulation.clearDeviceMetricsOverride", {})
        command("Emulation.setTouchEmulationEnabled", {"enabled": False})


@pytest.mark.slow
def test_it_plays_when_opened_but_for_readers_who_want_no_motion(page):
    page.open("")
    page.wait("playing && setting.step > 0")
    still = {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", still)
    try:
        page.open("")
        page.ask("landscape.drawnGround")
        page.drag((20, 0))
        page.let_go()
        assert page.ask("[playing, setting.step]") == [False, 0]
    finally:
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.slow
def test_a_page_within_another_is_compact(page, tmp_path):
    frame = f'<iframe src="{page.file.as_uri()}{SENT}" style="width:700px;height:520px"></iframe>'
    outer = tmp_path / "outer.html"
    outer.write_text(frame, encoding="utf-8")
    page.browser.get(outer.as_uri())
    page.browser.switch_to.frame(0)
    assert not page.find("h1").is_displayed()
    assert page.find("#open").get_attribute("href") == page.ask("location.href")
    bottom = page.ask("$('losses').lastChild.getBoundingClientRect().bottom")
    assert bottom <= page.ask("innerHeight")
    page.browser.switch_to.default_content()


@pytest.mark.slow
def test_the_file_is_small_asks_for_nothing_and_complains_of_nothing(page):
    """After all that the tests before have done in it."""
    page.open(SENT)
    assert page.file.stat().st_size < 2e6
    assert page.ask("performance.getEntriesByType('resource').length") == 0
    sent = [
        json.loads(entry["message"])["message"] for entry in page.browser.get_log("performance")
    ]
    asked = {
        message["params"]["request"]["url"].split(":")[0]
        for message in sent
        if message["method"] == "Network.requestWillBeSent"
    }
    assert asked <= {"file", "data", "chrome"}  # the last is the browser's own first page
    assert [e["message"] for e in page.browser.get_log("browser")] == []


@pytest.mark.slow
def test_python_s_own_server_brings_it_to_telephones(page):
    """On a free port; what a server of a classroom's computer sends is the file, and enough."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    serve = [sys.executable, "-m", "http.server", str(port)]
    with subprocess.Popen(serve, cwd=page.file.parent, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(50):
                with suppress(OSError), socket.create_connection(("localhost", port), 1):
                    break
                time.sleep(0.1)
            page.browser.get(f"http://localhost:{port}/{page.file.name}#step=3")
            page.wait("document.querySelector(\"tr[data-name='t'] data\")?.value")
            assert page.number("t") == [4]
        finally:
            server.terminate()


def test_runs_beside_live_and_no_runs_without_it_are_refused_in_a_line(monkeypatch, capsys):
    for arguments, said in ([["--live", "outputs"], "give it none"], [[], "--live for the"]):
        monkeypatch.setattr("sys.argv", ["play.py", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert said in capsys.readouterr().err.splitlines()[-1]
