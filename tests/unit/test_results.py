"""A run's result: what is written is what is read, and an older version's file is read too."""

import json
import re
import subprocess
import sys
from math import inf, isnan, nan
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from scratchopt.config.fields import UserError
from scratchopt.runs.directory import read_run
from scratchopt.runs.result import Result
from tests.shared.configs import config
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


NONE = ["", "{", "[]", "null", "3", '"status"', '{"status": "finished"}', '{"complete": true}']
WRONG: dict[str, Any] = {
    "updates": "x",
    "cost": None,
    "seconds": "1",
    "metrics": [],
    "status": None,
    "seed": 1.5,
    "hyperparameters": None,
    "validations": {},
    "complete": "yes",
    "memory": 3,
    "traffic": [4],
    "ending": 4,
    "steps": True,
    "evaluations": [1],
    "versions": [],
    "error": 1,
}


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_result_is_refused(tmp_path, text):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(ValueError):
        Result.read(tmp_path / "result.json")
    directory = written_by_a_run(tmp_path)
    with pytest.raises(UserError, match=r"result\.json cannot be read: .*; put a copy back, or"):
        read_run(directory)


@pytest.mark.parametrize("key", WRONG)
def test_a_value_of_another_type_is_refused_by_its_name(tmp_path, key):
    content = GIVEN | {"metrics": {}} | {key: WRONG[key]}
    (tmp_path / "result.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"its {key} is {re.escape(json.dumps(WRONG[key]))}"):
        Result.read(tmp_path / "result.json")


@pytest.mark.parametrize(
    "bad", [{"metrics": {"train/loss": "x"}}, {"validations": [{"steps": "x"}]}]
)
def test_a_metric_that_is_no_number_is_refused(tmp_path, bad):
    (tmp_path / "result.json").write_text(json.dumps(GIVEN | {"metrics": {}} | bad))
    with pytest.raises(ValueError, match=r"its (metrics|validations) is"):
        Result.read(tmp_path / "result.json")


def written_by_a_run(directory: Path) -> Path:
    """A directory with the files of a run but for its result."""
    hydras = directory / ".hydra"
    hydras.mkdir()
    choices = {"hydra": {"runtime": {"choices": {"task": "toy", "optimizer": "nag"}}}}
    OmegaConf.save(OmegaConf.create(choices), hydras / "hydra.yaml")
    OmegaConf.save(OmegaConf.create(config("task=toy", "optimizer=nag")), hydras / "config.yaml")
    return directory


def test_a_result_is_read_without_torch():
    code = "import sys, scratchopt.runs.directory, scratchopt.runs.store as _\n"
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_control_characters_of_a_run_s_files_are_escaped(tmp_path):
    hydras = tmp_path / ".hydra"
    hydras.mkdir()
    bad = "nag\x1b]0;x\x07\x9b"
    choices = {"hydra": {"runtime": {"choices": {"task": "toy", "optimizer": bad}}}}
    node = config("task=toy") | {"optimizer": {"_target_": "torch.optim.SGD", f"lr{bad}": bad}}
    (hydras / "hydra.yaml").write_text(OmegaConf.to_yaml(choices))
    (hydras / "config.yaml").write_text(OmegaConf.to_yaml(node))
    Result("toy", bad, {bad: bad}, 0, ending=bad, metrics={bad: 1.0}).write(tmp_path)
    run = read_run(tmp_path)
    escaped = r"nag\x1b]0;x\x07\x9b"
    assert (run.optimizer, run.settings[f"optimizer.lr{escaped}"]) == (escaped, escaped)
    assert run.result is not None
    assert (run.result.ending, run.result.metrics) == (escaped, {escaped: 1.0})
    (hydras / "config.yaml").write_text(OmegaConf.to_yaml(node | {bad: 1}))
    with pytest.raises(UserError) as refused:
        read_run(tmp_path)
    assert str(refused.value).isprintable()
