"""Packages of the user's own with the names of this checkout's: found, or refused in one line."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scratchopt.config.fields import UserError
from scratchopt.runs import provenance
from scratchopt.runs.provenance import hash_code, refuse_hidden_targets
from tests.shared.paths import ROOT

# Python puts the script's folder first on the path, and the script imports _checkout.
LOCATE = """
import json, sys
sys.path[0] = sys.argv[1]
import _checkout
from importlib import import_module
found = {name: import_module(name).__file__ for name in sys.argv[2:]}
json.dump(found, sys.stdout)
"""
SCRIPTS = tuple(path.stem for path in (ROOT / "scripts").glob("[a-z]*.py"))


def files_in(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("")


def configured(target: str) -> dict[str, Any]:
    return {
        "task": {"_target_": target},
        "optimizer": {"_target_": "scratchopt.SGD"},
        "datamodule": None,
        "schedule": None,
    }


@pytest.mark.parametrize("inits", [(), ("tasks/__init__.py", "scripts/__init__.py")])
def test_a_package_called_as_ours_and_a_module_called_as_a_script_are_found(tmp_path, inits):
    theirs = {f"{top}.mine": f"{top}/mine.py" for top in ("tasks", "scripts")}
    theirs |= {name: f"{name}.py" for name in SCRIPTS}
    files_in(tmp_path, *theirs.values(), *inits)
    arguments = [str(ROOT / "scripts"), *theirs, "tasks.choices", "scratchopt.ranges"]
    done = subprocess.run(
        [sys.executable, "-c", LOCATE, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    ours = {"tasks.choices": ROOT / "tasks/choices.py"}
    ours |= {"scratchopt.ranges": ROOT / "scratchopt/ranges.py"}
    expected = ours | {module: tmp_path / file for module, file in theirs.items()}
    assert json.loads(done.stdout) == {name: str(path) for name, path in expected.items()}


@pytest.mark.parametrize(
    ("file", "target"),
    [
        ("tasks/mnist.py", "tasks.mnist.MNIST"),
        ("tasks/mnist/__init__.py", "tasks.mnist.MNIST"),
        ("tasks/__init__.py", "tasks.Mine"),
        ("scripts/train.py", "scripts.train.Mine"),
    ],
)
def test_a_file_that_ours_hides_is_refused(tmp_path, monkeypatch, file, target):
    files_in(tmp_path, file)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=rf"^_target_={target}: the name is taken by (tasks|scripts)"
    ):
        refuse_hidden_targets(configured(target))


@pytest.mark.parametrize(
    "target",
    ["tasks.mine.Mine", "tasks.cnn.CNN", "scripts.train.Mine", "train.Mine", "scratchopt.NAG"],
)
def test_what_is_not_hidden_is_not_refused(tmp_path, monkeypatch, target):
    files_in(tmp_path, "tasks/mine.py", "tasks/mnist.py", "train.py")
    files_in(tmp_path, "scripts/__init__.py", "scripts/train.py")
    monkeypatch.chdir(tmp_path)
    refuse_hidden_targets(configured(target))


def test_the_code_of_a_users_task_is_known_where_its_package_is_called_tasks(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    files_in(tmp_path, "tasks/mine.py")
    before = hash_code(configured("tasks.mine.Mine"))
    ours = hash_code(configured("tasks.mnist.MNIST"))
    (tmp_path / "tasks/mine.py").write_text("changed = True")
    provenance._theirs.cache_clear()
    assert hash_code(configured("tasks.mine.Mine")) != before
    assert hash_code(configured("tasks.mnist.MNIST")) == ours
    provenance._theirs.cache_clear()
