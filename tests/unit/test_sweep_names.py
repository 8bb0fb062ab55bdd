"""A sweep's directories: by what differs, distinct, and the user's own where he names them."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from scratchopt.config.fields import UserError
from scratchopt.runs.sweep_names import name_sweep_runs
from tests.shared.commands import python
from tests.shared.paths import CONF, ROOT

# The command line's part of scripts/train.py, without a run.
PROGRAM = f"""
import sys
import hydra
from hydra.core.hydra_config import HydraConfig
from scratchopt.runs.sweep_names import name_sweep_runs

@hydra.main(config_path={str(CONF)!r}, config_name="train", version_base="1.3")
def run(config):
    print(HydraConfig.get().runtime.output_dir)

sys.argv[1:] = name_sweep_runs(sys.argv[1:])
run()
"""


def directories(folder: Path, *arguments: str) -> list[str]:
    """Of a sweep's runs, beneath the sweep's."""
    (folder / "program.py").write_text(PROGRAM)
    command = [python("light"), "program.py", *arguments, "hydra.sweep.dir=sweep"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    sweep = str(folder / "sweep")
    lines = [line for line in done.stdout.splitlines() if line.startswith("/")]
    return sorted(os.path.relpath(line, sweep) for line in lines)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (
            ["-m", "task=toy", "optimizer=sgd,nag", "seed=0", "optimizer.lr=0.1,1e-05"],
            ["nag,lr=0.1", "nag,lr=1e-05", "sgd,lr=0.1", "sgd,lr=1e-05"],
        ),
        (["--multirun", "seed=range(2)", "task=choice(toy)"], ["seed=0,toy", "seed=1,toy"]),
        (
            ["hydra.mode=MULTIRUN", "task=toy", "task.start=[-1,2],[3,4]"],
            ["start=[-1, 2]", "start=[3, 4]"],
        ),
        (
            ["-m", "task=toy", 'task.function="a, b=c",rosenbrock'],
            ["function=a, b=c", "function=rosenbrock"],
        ),
        (
            ["-m", "task=linear_regression", "task.seed=1,2", "seed=3,4"],
            [f"task.seed={i},seed={j}" for i in (1, 2) for j in (3, 4)],
        ),
        (
            ["-m", "task=toy", "gradient_clip_val=null,1"],
            ["gradient_clip_val=1", "gradient_clip_val=None"],
        ),
        (
            ["-m", "+task@other=toy,mnist", "seed=0"],
            ["+task@other=mnist,seed=0", "+task@other=toy,seed=0"],
        ),
        (
            ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=1", "task=toy", "seed=1,2"],
            ["seed=1", "seed=2"],
        ),
        (["-m", "task=toy", "seed=1,2", "hydra.sweep.subdir=${hydra:job.num}"], ["0", "1"]),
        (
            ["-m", "task=toy", "seed=1,2", "hydra.job.config.override_dirname.exclude_keys=[]"],
            ["seed=1,task=toy", "seed=2,task=toy"],
        ),
        (["-m"], ["."]),  # and not the root of the file system
        (["-m", "task=toy"], ["task=toy"]),
        (
            ["-m", "task=toy", "optimizer=glob(n*)"],
            ["nadam", "nag", "nag_torch", "newton"],
        ),
        (  # each is one folder, whatever the values are
            ["-m", "task=toy", "task.function=..,a/b,a_b,'a\"b'"],
            ["function=..", "function=a_b", "function=a_b-f1b5a2d8", 'function=a"b'],
        ),
        (["-m", "hydra.sweep.subdir=${name_folder:..}"], ["_-5ec1f7e7"]),
    ],
)
def test_a_sweep_s_directories(arguments, names, tmp_path):
    assert directories(tmp_path, *arguments) == sorted(names)


def test_what_only_the_sweeper_varies_keeps_the_names_distinct(tmp_path):
    (tmp_path / "mine" / "trial").mkdir(parents=True)
    (tmp_path / "mine" / "trial" / "two.yaml").write_text(
        "# @package _global_\nhydra: {sweeper: {params: {optimizer: 'sgd,nag'}}}\n"
    )
    arguments = ["--config-dir", "mine", "-m", "+trial=two", "task=toy", "seed=1,2"]
    assert directories(tmp_path, *arguments) == [
        *("seed=1/optimizer=nag", "seed=1/optimizer=sgd"),
        *("seed=2/optimizer=nag", "seed=2/optimizer=sgd"),
    ]


def test_names_that_are_too_long_are_cut_off_and_stay_distinct(tmp_path):
    values = [f"{'x' * 300}{end}" for end in "ab"], [f"'{'ä' * 150}{end}'" for end in "ab"]
    for i, long in enumerate(values):
        (tmp_path / str(i)).mkdir()
        arguments = ["-m", "task=toy", f"task.function={','.join(long)}"]
        names = directories(tmp_path / str(i), *arguments)
        assert len(set(names)) == 2
        assert all(len(name.encode()) < 255 and name.startswith("function=") for name in names)


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("optimizer=nag,sgd,nag", "nag"),
        ("optimizer.lr=0.1,1e-1", "0.1"),
        ("optimizer.lr=1,1.0", "1.0"),
        ("task.start=[1,2],[1, 2]", "['1', '2']"),
        ("task.function=toy,'toy'", "toy"),
    ],
)
def test_a_value_that_is_given_twice_is_refused(override, value):
    with pytest.raises(UserError, match=re.escape(f"{override}: {value} is there twice")):
        name_sweep_runs(["-m", "task=toy", override])


@pytest.mark.parametrize("seeds", [("range(1,1000000000)",), ("range(200)", "range(0,1000,10)")])
def test_a_sweep_of_too_many_runs_is_refused_before_they_are_listed(seeds):
    keys = [f"{key}={values}" for key, values in zip(("seed", "task.seed"), seeds, strict=False)]
    with pytest.raises(UserError, match=r": (999,999,999|20,000) runs; a sweep has at most 10,000"):
        name_sweep_runs(["-m", "task=toy", *keys])


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["task=toy", "seed=0"],
        ["task=toy", "seed=0,1"],  # for Hydra to refuse
        ["-m", "task=toy", "optimizer.lr"],
        ["--config-name", "mine", "-m", "seed=0,1"],
        ["--help"],
    ],
)
def test_other_command_lines_stay_as_they_are(arguments):
    assert name_sweep_runs(arguments) == arguments


def test_overrides_stay_together_before_and_after_a_flag():
    assert name_sweep_runs(["task=toy", "seed=0,1", "-m"])[-3:] == [
        "task=toy",
        "seed=0,1",
        "-m",
    ]
    assert name_sweep_runs(["-m", "task=toy", "seed=0,1"])[0] == "-m"


def test_groups_that_a_search_path_adds_are_named_by_hydra():
    arguments = ["-m", "hydra.searchpath=[file:///tmp]", "+extra=a,b"]  # may be a key or a group
    assert name_sweep_runs(arguments) == arguments
