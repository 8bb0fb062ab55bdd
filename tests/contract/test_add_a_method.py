"""CONTRIBUTING's walk to a new method, taken in a copy of the checkout.

Held by no test before: three files are enough for a method to be trained, compiled, resumed,
refused its bad values, and held to its paper.
"""

import json
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FENCED = re.compile(r"^( *)```\w+\n\1# (\S+\.\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
HELD = """
import torch
from scratchopt import memory
from scratchopt.qhm import QHM
from tests.programs import semantics
from tests.shared.cases import CASES, give

ends = []
for options in ({"foreach": True}, {"fused": True}):
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(shape)) for shape in ((3, 5), (), (7,))]
    optimizer = QHM(params, lr=0.1, weight_decay=0.1, **options)
    for _ in range(20):
        give(optimizer, params, [torch.randn_like(p) for p in params])
    ends.append(params)
for p, q in zip(*ends, strict=True):
    torch.testing.assert_close(p, q)
for row in ("qhm", "lars", "normalized"):
    for column in ("float64", "accumulate 2"):
        assert semantics.verdict(row, column, semantics.run(row, column)) == "right"
assert list(semantics.METHODS) == list(CASES)
"""


@pytest.fixture(scope="module")
def walked(tmp_path_factory) -> Path:
    """A copy of the checkout in which the walk was taken."""
    copy = tmp_path_factory.mktemp("walk") / "checkout"
    ignored = shutil.ignore_patterns("__pycache__", "data")
    for name in ("conf", "scratchopt", "scripts", "tasks", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    (copy / "tasks" / "data").symlink_to(ROOT / "tasks" / "data")
    _, found, section = (ROOT / "CONTRIBUTING.md").read_text().partition("## Add a method\n")
    assert found
    written = []
    blocks = FENCED.findall(section.partition("\n## ")[0])
    shaped = FENCED.findall((ROOT / "docs" / "reference" / "rules.md").read_text())
    for _, name, text in shaped:
        if name in ("lars.py", "normalized.py"):
            (copy / "scratchopt" / name).write_text(text)
    for _, name, text in blocks:
        file, text = copy / name, textwrap.dedent(text)
        if file.exists():  # then it goes to the end, and its imports to the top
            imports, rest = text.split("\n\n\n", 1)
            before = file.read_text().replace(
                "import scratchopt\n", f"import scratchopt\n{imports}\n"
            )
            text = f"{before}\n\n{rest}"
        file.write_text(text)
        written.append(name)
    walk = ["scratchopt/qhm.py", "conf/optimizer/qhm.yaml", "tests/shared/cases.py"]
    assert written == [*walk, "tests/shared/cases.py"]  # the second time of other shapes
    return copy


def run(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", *arguments]
    return subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=280)


def test_three_files_make_a_method_that_is_trained_and_resumed(walked):
    train = ["scripts/train.py", "task=toy", "optimizer=qhm", "figures=false"]
    done = run(walked, *train, "max_steps=5")
    assert done.returncode == 0, done.stderr
    (result,) = walked.glob("outputs/toy/qhm/*/result.json")
    assert json.loads(result.read_text())["updates"] == 5
    done = run(walked, "scripts/train.py", f"resume={result.parent}", "max_steps=9")
    assert done.returncode == 0, done.stderr
    assert json.loads(result.read_text())["updates"] == 9
    whole = run(walked, *train, "max_steps=9")
    assert whole.returncode == 0, whole.stderr
    (other,) = set(walked.glob("outputs/toy/qhm/*/result.json")) - {result}
    ends = [json.loads(path.read_text())["metrics"] for path in (result, other)]
    assert ends[0] == ends[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qhm", "lars", "normalized"])
def test_a_row_is_enough_for_the_whole_contract(walked, name):
    tests = ("tests/contract/test_contract.py", "tests/contract/test_compensated.py")
    done = run(walked, "-m", "pytest", "-q", *tests, "-m", "not none", "-k", name)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_its_kernel_agrees_with_its_list_and_it_stands_in_the_semantics_matrix(walked):
    done = run(walked, "-c", HELD)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_it_runs_in_the_playground_as_in_the_library(walked):
    tests = "tests/unit/test_playground.py"
    done = run(walked, "-m", "pytest", "-q", tests, "-m", "not none", "-k", "qhm")
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("optimizer.nu=1.5", "optimizer.nu=1.5: Invalid nu value: 1.5 (0 <= nu < 1)"),
        ("optimizer.nu=abc", "optimizer.nu=abc: must be a number"),
        ("+optimizer.foo=1", "optimizer.foo: no such key"),
    ],
)
def test_a_bad_value_of_it_is_refused_in_one_line(walked, override, why):
    done = run(walked, "scripts/train.py", "task=toy", "optimizer=qhm", override)
    assert done.returncode != 0
    assert why in done.stderr
    assert done.stderr.count("\n") == 1
