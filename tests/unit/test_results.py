"""A run's result: what is written is what is read, and an older version's file is read too."""

import json
import subprocess
import sys
from math import inf, isnan, nan

import pytest

from scratchopt.runs.result import Result
from tests.shared.paths import ROOT

GIVEN = {
    "task": "mnist",
    "optimizer": "nag",
    "hyperparameters": {"optimizer.lr": 0.03},
    "seed": 3,
    "status": "diverged",
    "updates": 5,
    "cost": 6.0,
    "seconds": 2.5,
}


def test_a_result_that_is_read_and_written_again_keeps_its_bytes(tmp_path):
    memory = {"parameters": 4, "gradients": 4, "state": 0, "lookahead": 4}
    result = Result(**GIVEN, memory=memory, metrics={"train/loss": nan, "val/loss": inf})
    result.validations = [{"steps": 0, "val/loss": 0.5}, {"steps": 4, "val/loss": inf}]
    result.write(tmp_path)
    text = (tmp_path / "result.json").read_text()
    again = Result.read(tmp_path / "result.json")
    assert again.memory == memory
    assert isnan(again.metrics["train/loss"])
    assert isnan(again.validations[1]["val/loss"])
    again.write(tmp_path)
    assert (tmp_path / "result.json").read_text() == text


def test_an_older_result_is_read(tmp_path):
    older = {**GIVEN, "metrics": {"train/loss": None}, "no longer": "a key"}
    (tmp_path / "result.json").write_text(json.dumps(older))
    result = Result.read(tmp_path / "result.json")
    assert (result.complete, result.commit, result.versions) == (True, None, {})
    assert (result.training_seconds, result.validations, result.memory) == (2.5, [], None)
    assert isnan(result.metrics["train/loss"])


@pytest.mark.parametrize("text", ["", "{", "[]", '"status"', '{"status": "finished"}'])
def test_what_is_no_result_is_refused(tmp_path, text):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(ValueError):
        Result.read(tmp_path / "result.json")


def test_a_result_is_read_without_torch():
    code = "import sys, scratchopt.runs.directory, scratchopt.runs.store as _\n"
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
