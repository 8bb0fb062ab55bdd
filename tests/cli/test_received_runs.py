"""Runs that somebody else has made: whatever their files name, nothing of it is obeyed."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from scratchopt.config.fields import UserError
from scratchopt.runs.targets import check_targets
from tests.shared import commands

STEAL = {"_target_": "shutil.copy", "src": "here", "dst": "stolen"}
MINE = """
import pathlib
import torch
from scratchopt import SGD
pathlib.Path("imported").touch()

class Mine(SGD):
    pass

def make(params, lr, **others):
    pathlib.Path("made").touch()
    return SGD(params, lr)
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("received")
    asked = ["task=linear_regression", "optimizer=sgd", "max_steps=3", "figures=false"]
    done = commands.run("train", *asked, "hydra.run.dir=run", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.fixture
def received(recorded: Path, tmp_path: Path) -> Path:
    """A copy of a run, beside a file that could be stolen."""
    (tmp_path / "here").touch()
    return shutil.copytree(recorded, tmp_path / "run")


def change(run: Path, **nodes: Any) -> None:
    path = run / ".hydra" / "config.yaml"
    config: Any = OmegaConf.to_container(OmegaConf.load(path))
    path.write_text(OmegaConf.to_yaml(config | nodes))


READERS = [
    pytest.param(["train", "resume=run", "max_steps=5"], id="resume"),
    pytest.param(["play", "run"], id="play"),
]


@pytest.mark.parametrize("command", READERS)
@pytest.mark.parametrize("place", ["optimizer", "within the task"])
def test_a_function_that_a_run_names_is_not_called(received, command, place):
    within = {"task": {"_target_": "theirs.Task", "net": [{"a": STEAL}]}}
    nodes = {"optimizer": STEAL} if place == "optimizer" else within
    change(received, **nodes, trusted=True)
    done = commands.run(*command, cwd=received.parent)
    assert done.returncode != 0
    [line] = done.stderr.splitlines()
    assert "_target_=shutil.copy, which is not" in line
    assert not (received.parent / "stolen").exists()


@pytest.mark.parametrize("command", READERS)
def test_a_module_in_the_run_s_own_directory_is_not_imported(received, command):
    (received / "mine.py").write_text(MINE)
    (received / "tasks").mkdir()
    (received / "tasks" / "mine.py").write_text(MINE)
    for target in ("mine.Mine", "tasks.mine.Mine"):
        change(received, optimizer={"_target_": target, "_partial_": True, "lr": 0.1})
        asked = [argument.replace("run", ".") for argument in command]
        done = commands.run(*asked, cwd=received)
        assert f"optimizer._target_={target}, which is not an optimizer class" in done.stderr
        assert not (received / "imported").exists()


@pytest.mark.parametrize("command", READERS)
def test_a_factory_of_the_user_s_own_is_made_when_the_user_says_so(received, command):
    (received.parent / "mine.py").write_text(MINE)
    change(received, optimizer={"_target_": "mine.Mine", "_partial_": True, "lr": 0.1})
    if command[0] == "play":
        assert commands.run(*command, cwd=received.parent).returncode == 0
    change(received, optimizer={"_target_": "mine.make", "_partial_": True, "lr": 0.1})
    refused = commands.run(*command, cwd=received.parent)
    assert "_target_=mine.make, which is not an optimizer class" in refused.stderr
    assert not (received.parent / "made").exists()
    remedy = "trusted=true" if command[0] == "train" else "--trusted"
    assert remedy in refused.stderr
    done = commands.run(*command, remedy, cwd=received.parent)
    assert done.returncode == 0, done.stderr
    assert command[0] == "play" or (received.parent / "made").exists()


def test_a_learning_rate_that_is_no_number_is_refused_by_playback(received):
    node = {"_target_": "torch.optim.SGD", "_partial_": True, "lr": {"a": 1}}
    change(received, optimizer=node)
    done = commands.run("play", "run", cwd=received.parent)
    [line] = done.stderr.splitlines()
    assert 'run: its optimizer.lr={"a": 1} is no number' in line


@pytest.mark.parametrize(
    "text",
    [
        "hydra: {callbacks: {x: {_target_: shutil.copy, src: here, dst: stolen}}}\n",
        "defaults: [{override hydra/launcher: basic}]\n",
        "# @package hydra\n",
    ],
)
def test_what_a_run_tells_hydra_is_refused(received, text):
    path = received / ".hydra" / "config.yaml"
    path.write_text(text + path.read_text())
    done = commands.run("train", "resume=run", "max_steps=5", cwd=received.parent, kind="light")
    [line] = done.stderr.splitlines()
    assert "resume=run: .hydra/config.yaml tells Hydra what to do" in line
    assert not (received.parent / "stolen").exists()


@pytest.mark.parametrize(
    ("group", "node", "allowed"),
    [
        ("optimizer", {"_target_": "torch.optim.Adam", "_partial_": True}, True),
        ("optimizer", {"_target_": "scratchopt.nag.NAG"}, True),
        ("optimizer", {"_target_": "torch.hub.load"}, False),
        ("optimizer", {"_target_": "torch.nn.Linear"}, False),
        ("optimizer", {"_target_": "antigravity.fly"}, False),
        ("optimizer", {"_target_": "builtins.exec"}, False),
        # A function that has the name of its module, and is found before it.
        ("optimizer", {"lr": {"_target_": "sympy.core.sympify.__call__"}}, False),
        ("task", {"_target_": "lightning.pytorch.LightningModule"}, True),
        ("task", {"_target_": "lightning.pytorch.LightningModule.load_from_checkpoint"}, False),
        ("task", {"_target_": "tasks.toy.Toy", "x": {"_target_": "torch.nn.ReLU"}}, True),
        ("task", {"_target_": "tasks.toy.Toy", "x": [{"_target_": "os.system"}]}, False),
        ("schedule", {"_target_": "scratchopt.schedules.cosine", "_partial_": True}, True),
        ("schedule", {"_target_": "torch.optim.lr_scheduler.ExponentialLR"}, True),
        ("schedule", {"_target_": "torch.optim.lr_scheduler.warnings.warn"}, False),
        ("schedule", {"_target_": "scratchopt.schedules.step.__call__"}, False),
        ("datamodule", {"_target_": "lightning.pytorch.LightningDataModule"}, True),
        ("datamodule", {"_target_": "lightning.pytorch.Trainer"}, False),
    ],
)
def test_classes_are_made_and_functions_are_not(group, node, allowed, tmp_path):
    config = {"task": None, "optimizer": None, "datamodule": None, "schedule": None}
    config |= {group: node}
    check_targets(config, tmp_path, trusted=True)
    if allowed:
        check_targets(config, tmp_path, trusted=False)
        return
    with pytest.raises(UserError, match="which is not"):
        check_targets(config, tmp_path, trusted=False)
