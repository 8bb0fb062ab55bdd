"""scripts/train.py as its users meet it: what a run leaves, what is refused, how it ends."""

import json
import math
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from scratchopt.batches import Batches
from scratchopt.config.fields import UserError
from scratchopt.lightning import Diverged
from scratchopt.runs.directory import find_runs, label_runs
from scratchopt.runs.lock import lock_directory
from scratchopt.runs.result import Result, hyperparameters
from scratchopt.runs.training import run
from tasks import mnist_data
from tasks.toy import Toy
from tests.shared import commands
from tests.shared.cases import CASES
from tests.shared.configs import config
from tests.shared.paths import OPTIMIZERS, SCRIPTS, TASKS

TAGS = {"train/loss", "train/gradnorm", "train/velocity", "train/update_ratio", "train/angle"}


def train(
    cwd: Path, *arguments: str, kind: str = "warm", **environment: str
) -> subprocess.CompletedProcess[str]:
    return commands.run("train", *arguments, cwd=cwd, kind=kind, **environment)


def result_of(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "result.json").read_text())


def in_process(directory: Path, *overrides: str) -> Result:
    """A run without a new process, for what does not concern the command line."""
    asked = config(*overrides)
    result = Result("task", "optimizer", hyperparameters(asked), asked["seed"])
    run(asked, result, directory)
    return result


def state_of(directory: Path) -> dict[str, torch.Tensor]:
    return torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


# What a run leaves


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The article's NAG from −8, from a directory that is not the project's."""
    cwd = tmp_path_factory.mktemp("elsewhere")
    done = train(
        cwd,
        "task=toy",
        "task.start=-8",
        "optimizer=nag",
        "optimizer.lr=1.0",
        "optimizer.momentum=0.9",
        kind="new",
    )
    assert (done.returncode, done.stderr) == (0, "")
    (directory,) = cwd.glob("outputs/toy/nag/*")
    return done, directory


def test_the_article_s_nag_converges_at_its_34th_evaluation(toy):
    result = result_of(toy[1])
    assert result["status"] == "converged"
    assert (result["evaluations"], result["updates"], result["steps"]) == (34, 33, 33)
    assert result["metrics"]["train/loss"] == pytest.approx(-0.794582337562, abs=1e-6)


def test_result_json_has_its_keys(toy):
    result = result_of(toy[1])
    assert list(result) == [
        *("task", "optimizer", "hyperparameters", "seed", "status", "ending", "steps"),
        *(
            "evaluations",
            "cost",
            "updates",
            "validations",
            "metrics",
            "seconds",
            "training_seconds",
            "memory",
            "traffic",
        ),
        *("versions", "commit", "error", "complete"),
    ]
    assert (result["task"], result["optimizer"], result["seed"]) == ("toy", "nag", 0)
    assert result["hyperparameters"]["optimizer.lr"] == 1.0
    assert result["hyperparameters"]["task.start"] == -8
    assert set(result["metrics"]) == TAGS | {"train/x"}
    assert abs(result["metrics"]["train/x"] + 1.30644) < 2e-6
    assert set(result["versions"]) == {"python", "torch", "lightning", "scratchopt", "hydra-core"}
    assert 0 < result["training_seconds"] < result["seconds"] < 60
    assert (result["validations"], result["error"], result["complete"]) == ([], None, True)
    one = 4  # bytes of x in float32
    kept = dict.fromkeys(("parameters", "gradients", "state", "lookahead"), one)
    assert (result["memory"], result["traffic"]) == (kept | {"padding": 0}, None)


def test_a_run_leaves_its_files_and_no_half_written_ones(toy):
    _, directory = toy
    files = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    events = {name for name in files if name.startswith("events.out.tfevents.")}
    names = {Path(name).stem for name in files if name.startswith("figures/")}
    pictures = {f"figures/{name}.{kind}" for name in names for kind in ("png", "svg")}
    assert events
    assert pictures
    assert pictures <= files
    assert files - events - pictures == {
        *(".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml"),
        *("checkpoints/last.ckpt", "hparams.yaml", "result.json", ".lock"),
        *("path/layout.json", "path/records.bin"),
    }


def test_the_dashboard_has_every_step_and_the_hyperparameters(toy):
    events = EventAccumulator(str(toy[1]))
    events.Reload()
    ends = {f"train-end/{name}" for name in ("evaluations", "loss", "seconds", "updates")}
    assert set(events.Tags()["scalars"]) == TAGS | ends | {"train/log10_gradnorm"}
    assert [event.step for event in events.Scalars("train/loss")] == list(range(34))
    assert [event.step for event in events.Scalars("train/velocity")] == list(range(33))
    content = events.PluginTagToContent("hparams")
    assert metadata.EXPERIMENT_TAG not in content  # it would hide other tasks' metrics
    start = metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG])
    assert start.hparams["optimizer"].string_value == "nag"
    assert start.hparams["optimizer.lr"].number_value == 1.0


def test_the_console_gets_a_table_and_nothing_else(toy):
    done, directory = toy
    assert done.stderr == ""
    rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if line)
    assert (rows["status"], rows["evaluations"]) == ("converged", "34")
    assert rows["run"] == str(Path("outputs", "toy", "nag", directory.name))
    assert rows["dashboard"] == "tensorboard --logdir outputs"


def test_newton_in_double_precision_ends_where_the_article_s_does(tmp_path):
    result = in_process(
        tmp_path,
        *("task=toy", "task.start=-5", "optimizer=newton", "accelerator.precision=64-true"),
        *("task.tolerance=0", "max_steps=12"),
    )
    assert (result.status, result.updates) == ("finished", 12)
    assert state_of(tmp_path)["x"].item() == pytest.approx(-1.30644001, abs=5e-9)
    assert f"{result.metrics['train/x']:.8f}" == "-1.30644001"


# Every pair


def pairs() -> list[Any]:
    """Each task with two methods by default, and each method with two tasks, or with one."""
    return [
        pytest.param(
            task,
            optimizer,
            id=f"{task}-{optimizer}",
            marks=()
            if optimizer in ("nag", "newton")
            or task == "toy"
            or (task == "mnist" and CASES[optimizer].core)
            else pytest.mark.full,
        )
        for task in TASKS
        for optimizer in OPTIMIZERS
    ]


@pytest.mark.parametrize(("task", "optimizer"), pairs())
def test_every_task_trains_with_every_optimizer(task, optimizer, tmp_path):
    large = task not in ("toy", "linear_regression", "noisy_quadratic")
    steps = 2 if large and optimizer == "newton" else 12  # each of them takes seconds
    asked = [f"task={task}", f"optimizer={optimizer}", f"max_steps={steps}", "figures=false"]
    result = in_process(tmp_path, *asked)
    assert result.status == ("finished" if result.updates == steps else "converged")
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    losses = [event.value for event in events.Scalars("train/loss")]
    assert losses[-1] < losses[0]
    if task == "mnist":
        assert {"test/loss", "test/accuracy"} <= set(result.metrics)


def test_steps_between_validations_are_counted_across_epochs_and_the_end_is_read(tmp_path):
    asked = ["task=logistic_regression", "task.batch_size=20000", "optimizer=sgd", "max_epochs=10"]
    asked += ["validate_steps=2", "max_steps=5", "figures=false"]
    result = in_process(tmp_path, *asked)
    assert [row["steps"] for row in result.validations] == [2, 4, 5]
    assert result.validations[-1]["val/loss"] == result.metrics["val/loss"]


@pytest.mark.parametrize("optimizer", ["nag", "newton"])
def test_accumulated_batches_are_a_large_batch_to_the_last_step_of_an_epoch(optimizer, tmp_path):
    """Of 100 points: steps of 64 and of 36, which are batches of 16, 16 and 4."""
    results, ends = [], []
    for batch, accumulated in ((16, 4), (64, 1)):
        directory = tmp_path / str(batch)
        overrides = ("max_steps=5", "monitor_every=1", "figures=false", f"optimizer={optimizer}")
        overrides += (f"task.batch_size={batch}", f"accumulate_grad_batches={accumulated}")
        results.append(in_process(directory, "task=linear_regression", *overrides))
        events = EventAccumulator(str(directory), size_guidance={"scalars": 0}).Reload()
        tags = ("train/loss", "train/gradnorm", "train/velocity")
        logged = [[event.value for event in events.Scalars(tag)] for tag in tags]
        ends.append((state_of(directory), logged))
    assert [result.evaluations for result in results] == [18, 5]
    torch.testing.assert_close(*ends, rtol=1e-6, atol=1e-12)


@pytest.mark.slow
def test_a_long_run_says_how_far_it_is_where_there_is_no_terminal(tmp_path, monkeypatch, capsys):
    asked = ["task=logistic_regression", "task.batch_size=20000", "max_epochs=4", "log_every=1"]
    in_process(tmp_path / "short", *asked)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr("scratchopt.runs.callbacks.LINES_EVERY", 0.0)
    in_process(tmp_path / "long", *asked)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 * 3
    assert re.fullmatch(r"step 2, epoch 1, train/loss [\d.]+", lines[1])
    assert re.match(r"step 12, epoch 4, train/loss [\d.]+, val/.+ [\d.]+", lines[-1])


def test_what_is_not_asked_for_is_not_there(tmp_path):
    asked = ["task=logistic_regression", "optimizer=sgd", "max_steps=2", "threads=1"]
    threads = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.set_num_threads", threads.append)
        result = in_process(
            tmp_path, *asked, "test=false", "figures=false", "checkpoint_kept=false"
        )
    assert threads == [1]
    assert not any(tag.startswith("test/") for tag in result.metrics)
    assert not (tmp_path / "figures").exists()
    assert not (tmp_path / "checkpoints" / "last.ckpt").exists()


# What is refused


@pytest.fixture(scope="module")
def without_torch(tmp_path_factory):
    """An environment in which importing torch is an error."""
    trap = tmp_path_factory.mktemp("trap")
    (trap / "torch.py").write_text("raise AssertionError('torch was imported')")
    return {"PYTHONPATH": str(trap)}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("optimizer=foo", ["optimizer/foo", " momentum muon nadam nag nag_torch newton "]),
        ("optimizer.lr=abc", ["optimizer.lr=abc: must be a number"]),
        ("optimizer.lr=-1", ["optimizer.lr=-1: Invalid learning rate: -1 (lr >= 0)"]),
        ("+optimizer.foo=1", ["optimizer.foo: no such key", "momentum"]),
        ("task=toy task.start=abc", ["task.start=abc: must be a number"]),
        ("task=mnist task.data_dir=/nonexistent", ["data_dir=/nonexistent", "existing folder"]),
        ("resume=/nonexistent", ["resume=/nonexistent: no such directory"]),
        ("optimzer.lr=1", ["optimzer.lr: no such key; did you mean optimizer.lr?"]),
        ("foo=1", ["foo: no such key; --help lists them"]),
        ("lr=0.5", ["lr: no such key; did you mean optimizer.lr?"]),
        ("precision=64", ["precision: no such key; did you mean accelerator.precision?"]),
        ("optimizer.foo=1", ["optimizer.foo: no such key", "is added by +optimizer.foo=1"]),
        ("optimizer=sgd optimizer.momentum=0.5", ["the chosen optimizer has no such key"]),
        (
            "optimizer=sgd optimizer.betas=[0.9]",
            ["the chosen optimizer has no such key", "is added by +optimizer.betas=[0.9]"],
        ),
        ("~seed", ["seed: is missing; leave ~seed out"]),
        ("~task", ["task: is missing; leave ~task out"]),
        ("~log_every", ["log_every: is missing; leave ~log_every out"]),
        ("task.hidden=[[3]]", ["task.hidden=[[3]]: must be a list of integers >= 1"]),
        ("task=[toy,mnist]", ["takes one choice; -m task=toy,mnist runs each"]),
        ("task=5", ["task=5: must be the name of a choice"]),
        ("optimizer=sgd,nag", ["optimizer=sgd,nag: several values are a sweep, add -m"]),
        ("optimizer.lr=${nope}", ["optimizer.lr: Interpolation key 'nope' not found"]),
        ("--foo task=toy", ["--foo: no such option"]),
        ("task=toy --config-dir", ["--config-dir: give its value, too"]),
        ("task=toy --config-dir /nope optimizer=sgd", ["'/nope' not found"]),
        ("resume=", ["resume=: give the directory of a run"]),
        ("store=a,b -m task=toy", ["store=a,b: the runs of a sweep have one store"]),
        ("optimizer.lr=[1", ["optimizer.lr=[1"]),
        ("optimizer.lr", ["optimizer.lr", "missing EQUAL"]),
        ("optimizer=null", ["optimizer=null: must be the name of a choice"]),
        ("hydra.output_subdir=x", ["hydra.output_subdir=x: a run's configuration is found in"]),
        ("-m optimizer=nag,nag", ["optimizer=nag,nag: nag is there twice"]),
    ],
)
def test_a_mistake_is_answered_in_one_line_before_torch_is_imported(
    arguments, words, without_torch, tmp_path
):
    done = train(tmp_path, *arguments.split(), kind="light", **without_torch)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("train.py: ")
    assert all(word in line for word in words), line


@pytest.mark.parametrize("script", ["train", "compare"])
@pytest.mark.parametrize("content", [b"a: [1\nb: }", b"\x96\xff\x00", b"5", b"!!python/x 1"])
def test_a_file_of_configurations_that_cannot_be_read_is_named(content, script, tmp_path):
    (tmp_path / "conf" / "task").mkdir(parents=True)
    (tmp_path / "conf" / "task" / "x.yaml").write_bytes(content)
    asked = ["task=x", "--config-dir", "conf", "seed=0"]
    done = commands.run(script, *asked, cwd=tmp_path, kind="light")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"{script}.py: ")
    assert "conf/task/x.yaml" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            "task=mnist task.hidden=[1000000,1000000]",
            "task.hidden: the task's tensors take 4,003",
        ),
        ("task=noisy_quadratic task.dim=10000000", "task.dim: the task's tensors take 400,000 GB"),
        ("task=mnist task.hidden=[10000000000,10000000000]", "more bytes than there are numbers"),
        ("optimizer._target_=torch.optim.SGD", "optimizer.cautious: torch.optim.SGD takes no"),
        ("optimizer._target_=torch.nn.Linear", "torch.nn.Linear: is no torch.optim.Optimizer"),
        ("optimizer._target_=os.system", "os.system: is no torch.optim.Optimizer; give"),
        ("optimizer._target_=torch.optim.Nope", "_target_=torch.optim.Nope: "),
        ("task._target_=nowhere.T", "there is no module nowhere here; give the command where it"),
        ("task._target_=tasks.toy.Nope", "tasks.toy has no Nope"),
        ("task._target_=wrong.T", "wrong.py, line 2: "),
        ("task=toy activation_checkpointing=true", "Toy has no blocks in an nn.Sequential or"),
    ],
)
@pytest.mark.parametrize(
    "store", [[], pytest.param(["store=runs"], marks=pytest.mark.slow)], ids=["", "store"]
)
def test_what_only_the_machine_or_a_module_can_tell_is_one_line_too(
    store, arguments, words, tmp_path
):
    (tmp_path / "wrong.py").write_text("import torch\ndef f(:\n")
    done = train(tmp_path, *arguments.split(), *store)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("train.py: ")
    assert words in line
    assert not list(tmp_path.rglob("result.json"))


def test_an_optimizer_that_lacks_its_partial_is_told(tmp_path):
    (tmp_path / "conf" / "optimizer").mkdir(parents=True)
    path = tmp_path / "conf" / "optimizer" / "mine.yaml"
    path.write_text("_target_: torch.optim.SGD\nlr: 0.1\n")
    done = train(tmp_path, "task=toy", "--config-dir", "conf", "optimizer=mine")
    [line] = done.stderr.splitlines()
    assert line.endswith("is given its parameters by the task; add _partial_: true to its node")
    path.write_text(path.read_text() + "_partial_: true\n")
    asked = ["task=toy", "--config-dir", "conf", "optimizer=mine", "max_steps=2", "figures=false"]
    assert train(tmp_path, *asked).returncode == 0


def test_help_comes_before_torch_is_imported(without_torch, tmp_path):
    done = train(tmp_path, "--help", kind="light", **without_torch)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"optimizer: {', '.join(OPTIMIZERS)}" in done.stdout


def test_a_traceback_is_to_be_had(tmp_path):
    done = train(tmp_path, "optimizer.lr=-1", kind="light", HYDRA_FULL_ERROR="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.endswith("Invalid learning rate: -1 (lr >= 0)\n")


def test_a_damaged_data_file_is_refused_in_one_line(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for path in mnist_data.SHIPPED.glob("*.gz"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= path.name.startswith("t10k-labels")
        (data / path.name).write_bytes(content)
    done = train(tmp_path, f"task.data_dir={data}")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "Damaged MNIST file" in line
    assert "t10k-labels" in line


def test_a_directory_that_another_run_writes_to_is_refused(tmp_path, without_torch):
    (tmp_path / "run").mkdir()
    with lock_directory(tmp_path / "run"):
        done = train(tmp_path, "task=toy", "hydra.run.dir=run", kind="light", **without_torch)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.endswith("run: another run is writing there; wait for its end")


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_directory_that_holds_a_run_is_refused_and_left_as_it_was(toy, without_torch):
    _, directory = toy
    before = contents(directory)
    for arguments in (["optimizer=sgd"], ["-m", "optimizer=sgd", "hydra.sweep.dir=.."]):
        run = "hydra.sweep.subdir=" if arguments[0] == "-m" else "hydra.run.dir="
        asked = [*arguments, f"{run}'{directory}'"]
        done = train(directory.parent, *asked, kind="light", **without_torch)
        assert done.returncode == 1
        assert f"{directory}: holds a run already; go on with it by resume=" in done.stderr
    assert contents(directory) == before


def test_a_folder_of_another_run_and_a_folder_without_a_name_are_refused(toy, without_torch):
    _, directory = toy
    before = contents(directory)
    for folder, words in (
        (f"'{directory}/checkpoints'", f"is a folder of the run {directory}; give one outside"),
        ("", "hydra.run.dir=: must be a folder"),
    ):
        asked = ["task=toy", f"hydra.run.dir={folder}"]
        done = train(directory.parent, *asked, kind="light", **without_torch)
        assert done.returncode == 1
        assert words in done.stderr
    assert contents(directory) == before


def test_a_sweep_without_a_run_is_refused(tmp_path, without_torch):
    asked = ["-m", "task=toy", "seed=range(0)"]
    done = train(tmp_path, *asked, kind="light", **without_torch)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("train.py: -m: the sweep has no run;")


def test_a_directory_without_a_checkpoint_is_refused_with_another_remedy(tmp_path, without_torch):
    (tmp_path / "run" / ".hydra").mkdir(parents=True)
    done = train(tmp_path, "task=toy", "hydra.run.dir=run", kind="light", **without_torch)
    (line,) = done.stderr.splitlines()
    assert line.endswith("run: holds a run already; delete it, or give another folder")


def test_two_jobs_of_a_sweep_never_share_a_directory(tmp_path):
    asked = ["-m", "task=toy", "seed=0,1", "hydra.sweep.dir=sweep", "hydra.sweep.subdir=one"]
    done = train(tmp_path, *asked, "figures=false")
    assert done.returncode == 1
    assert "sweep/one: holds a run already" in done.stderr
    assert result_of(tmp_path / "sweep" / "one")["seed"] == 0
    events = EventAccumulator(str(tmp_path / "sweep" / "one"))
    steps = [event.step for event in events.Reload().Scalars("train/loss")]
    assert steps == list(range(len(steps)))


# How it ends


def test_divergence_is_one_line_and_what_came_before_is_kept(tmp_path):
    done = train(tmp_path, "task=toy", "optimizer=sgd", "optimizer.lr=1000", "hydra.run.dir=run")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "step 9" in line
    assert line.startswith("train.py: run: diverged")
    assert "SGD, lr=1000" in line
    result = result_of(tmp_path / "run")
    assert result["status"] == "diverged"
    assert result["metrics"]["train/loss"] is None
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    assert len(events.Scalars("train/loss")) >= 9


def test_short_steps_of_a_run_that_has_hardly_begun_are_said_with_its_gradnorm(tmp_path):
    asked = ["task=toy", "task.start=-8", "optimizer=sgd", "optimizer.lr=1e-6", "max_steps=120"]
    result = in_process(tmp_path, *asked, "task.dtype=float64", "figures=false")
    assert result.ending.endswith(
        "; each of the last 100 measured steps was at most 1.7e-06, a millionth of ‖θ‖ or less, "
        "and the last gradnorm 1.7"
    )
    assert result.metrics["train/gradnorm"] == pytest.approx(1.7, abs=0.05)


class BrokenOff(Toy):
    """Ends with an error at a step, after all before it was logged."""

    at = -1

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        if self.global_step == self.at:
            raise KeyError("broken off")
        return super().training_step(batch, batch_idx)


def test_a_run_broken_off_after_its_checkpoint_shows_each_step_once(tmp_path, monkeypatch):
    asked = config("task=toy", "optimizer=sgd", "max_steps=20", "figures=false", "task.tolerance=0")
    asked |= {"checkpoint_steps": 10, "log_every": 1}
    asked["optimizer"]["lr"] = 0.1
    asked["task"]["_target_"] = f"{__name__}.BrokenOff"
    monkeypatch.setattr(BrokenOff, "at", 13)
    with pytest.raises(KeyError):
        run(asked, Result("toy", "sgd", hyperparameters(asked), 0), tmp_path)
    monkeypatch.setattr(BrokenOff, "at", -1)
    time.sleep(1)  # the files of a log are read in the order of the seconds in their names
    result = Result("toy", "sgd", hyperparameters(asked), 0)
    run(asked | {"resume": str(tmp_path)}, result, tmp_path)
    assert result.updates == 20
    events = EventAccumulator(str(tmp_path)).Reload()
    for tag in ("train/loss", "train/velocity", "train/gradnorm"):
        assert [event.step for event in events.Scalars(tag)] == list(range(20))


class Steep(Toy):
    """√(1 + x²), on which Newton's step from x leads to −x³, and soon to where it has no curvature.

    From step `bad` on the loss is NaN.
    """

    bad = 1000

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        factor = math.nan if self.global_step >= self.bad else 1.0
        return factor * (1 + self.x.square()).sqrt().sum()


@pytest.mark.parametrize(
    ("bad", "words", "updates"),
    [
        (1000, "diverged at step 3, counted from 0: Newton's curvature is singular or not", 3),
        (2, "diverged at step 2, counted from 0: train/loss is nan with Newton", 2),
    ],
)
def test_newton_s_blow_up_is_a_divergence(bad, words, updates, tmp_path, monkeypatch):
    monkeypatch.setattr(Steep, "bad", bad)
    asked = config("task=toy", "task.start=1.5", "optimizer=newton", "figures=false")
    asked["task"]["_target_"] = f"{__name__}.Steep"
    result = Result("toy", "newton", hyperparameters(asked), 0)
    with pytest.raises(Diverged, match=words):
        run(asked, result, tmp_path)
    result = Result.read(tmp_path / "result.json")
    assert (result.status, result.updates, result.evaluations) == ("diverged", updates, updates + 1)
    assert result.ending.startswith(words)
    assert result.complete


JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
LAUNCHERS = [
    pytest.param((), id="basic"),
    pytest.param(JOBLIB, id="joblib", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_sweep_goes_on_when_a_job_diverges(launcher, tmp_path):
    done = train(
        tmp_path,
        *("-m", *launcher, "hydra.sweep.dir=sweep", "task=toy", "task.start=-8"),
        *("optimizer=sgd,nag", "optimizer.lr=1000,1.0", "figures=true"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("4 runs drawn together in sweep/figures: ")
    assert len(list(tmp_path.glob("sweep/figures/history.png"))) == 1
    assert len(list(tmp_path.glob("sweep/*/figures/path.png"))) == 4
    results = {
        (result["optimizer"], result["hyperparameters"]["optimizer.lr"]): result
        for result in (result_of(path.parent) for path in tmp_path.rglob("result.json"))
    }
    assert {key: result["status"] for key, result in results.items()} == {
        ("sgd", 1000.0): "diverged",
        ("nag", 1000.0): "diverged",
        ("sgd", 1.0): "converged",
        ("nag", 1.0): "converged",
    }
    assert results["sgd", 1.0]["updates"] == 16
    assert results["nag", 1.0]["evaluations"] == 34


@pytest.mark.parametrize(
    ("launcher", "store"),
    [
        ((), None),
        ((), "runs"),
        pytest.param(JOBLIB, None, marks=pytest.mark.slow),
        pytest.param(JOBLIB, "runs", marks=pytest.mark.slow),
    ],
)
def test_each_failed_job_of_a_sweep_is_told_of_with_its_folder(launcher, store, tmp_path):
    place = ["hydra.sweep.dir=sweep"] if store is None else [f"store={store}"]
    asked = ["task=toy", "max_steps=3", "figures=false", "optimizer.lr=-1,0.1,-2"]
    done = train(tmp_path, "-m", *launcher, *place, *asked)
    assert done.returncode == 1
    *told, last = [line for line in done.stderr.splitlines() if "train.py: " in line]
    assert last == "train.py: 2 of 3 runs failed: optimizer.lr=-1; optimizer.lr=-2"
    where = {lr: f"sweep/lr={lr}" if store is None else "runs (" for lr in (-1, -2)}
    for lr in (-1, -2):
        [line] = [line for line in told if f"optimizer.lr={lr}: Invalid learning rate" in line]
        assert line.startswith(f"train.py: {where[lr]}")
    [result] = tmp_path.rglob("result.json")
    assert result_of(result.parent)["hyperparameters"]["optimizer.lr"] == 0.1
    assert "Error executing job" not in done.stderr


# A sweeper that searches, as Optuna's does: it goes by what the runs return.
SWEEPER = """
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper

class Searcher(Sweeper):
    def __init__(self, direction):
        self.direction = direction

    def setup(self, *, hydra_context, task_function, config):
        launcher = {"hydra_context": hydra_context, "task_function": task_function}
        self.launcher = Plugins.instance().instantiate_launcher(config=config, **launcher)

    def sweep(self, arguments):
        for i, lr in enumerate((0.1, 0.1, 1000.0)):
            [job] = self.launcher.launch([[*arguments, f"optimizer.lr={lr}"]], i)
            print("told", job.return_value)

node = {"_target_": "hydra_plugins.searcher.Searcher", "direction": "minimize"}
ConfigStore.instance().store("searcher", node, group="hydra/sweeper")
"""


def search(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "hydra_plugins").mkdir()
    (tmp_path / "hydra_plugins" / "searcher.py").write_text(SWEEPER)
    asked = ["-m", "hydra/sweeper=searcher", "task=toy", "figures=false", *arguments]
    return train(tmp_path, *asked, PYTHONPATH=str(tmp_path))


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_sweeper_that_searches_is_told_what_the_comparison_names(mode, tmp_path):
    direction = {"min": "minimize", "max": "maximize"}[mode]
    asked = [f"comparison.mode={mode}", f"hydra.sweeper.direction={direction}"]
    done = search(tmp_path, "max_steps=20", "task.tolerance=0", *asked)
    assert done.returncode == 0, done.stderr
    runs = [result_of(path.parent) for path in sorted(tmp_path.rglob("result.json"))]
    assert [run["status"] for run in runs] == ["finished", "finished", "diverged"]
    told = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("told")]
    losses = [str(run["metrics"]["train/loss"]) for run in runs[:2]]
    assert told == [*losses, "inf" if mode == "min" else "-inf"]


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("comparison=null", "hydra/sweeper: nothing says what it is to search for"),
        ("comparison.mode=max", "hydra.sweeper.direction=minimize: train/loss is the better the"),
    ],
)
def test_a_search_for_nothing_or_the_wrong_way_is_refused_before_its_first_run(
    argument, said, tmp_path
):
    done = search(tmp_path, argument)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert said in line
    assert not list(tmp_path.rglob("events*"))


@pytest.mark.slow
@pytest.mark.parametrize("sweep", [[], ["-m", "seed=0,1"]], ids=["run", "sweep"])
@pytest.mark.parametrize(
    "closing",
    [
        "| head -1",
        "2>&1 | head -1",
        pytest.param(">&-", marks=pytest.mark.slow),
        pytest.param("<&- >&- 2>&-", marks=pytest.mark.slow),
    ],
)
def test_a_run_ends_well_though_nobody_reads_its_output(closing, sweep, tmp_path):
    command = commands.command("train", *sweep, "task=toy", "figures=false")
    shell = ["bash", "-o", "pipefail", "-c", f"{shlex.join(command)} {closing}"]
    if "|" not in closing:  # the forked process has its streams from elsewhere
        shell[-1] = shell[-1].replace(command[0], sys.executable)
    done = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    results = [result_of(path.parent) for path in tmp_path.rglob("result.json")]
    assert [result["status"] for result in results] == ["converged"] * (2 if sweep else 1)


def test_a_directory_that_has_been_deleted_is_said_in_one_line(tmp_path):
    code = "import os, runpy, sys; os.rmdir(os.getcwd()); runpy.run_path(sys.argv[0])"
    for script in ("train", "compare", "play", "plot", "bench", "theory"):
        (tmp_path / script).mkdir()
        path = SCRIPTS / f"{script}.py"
        run_it = f"import sys; sys.argv = [{str(path)!r}]; sys.path[0] = {str(SCRIPTS)!r}; {code}"
        command = [sys.executable, "-c", run_it]
        done = subprocess.run(command, cwd=tmp_path / script, capture_output=True, text=True)
        assert done.returncode == 1
        words = "the working directory has been deleted; go to one that is there"
        assert done.stderr == f"{script}.py: {words}\n"


def interrupted(cwd: Path, signum: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A run that gets a signal when its first steps are logged."""
    length = ("task=linear_regression", "task.batch_size=10", "log_every=1")
    with commands.start("train", *arguments, *length, cwd=cwd) as process:
        try:
            deadline = time.monotonic() + 60
            while not any(b"train/gradnorm" in path.read_bytes() for path in cwd.rglob("events*")):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            process.send_signal(signum)
            stdout, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


ENDLESS = ("max_steps=-1", "max_epochs=-1")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run ended by Ctrl-C, its directory, and its .hydra/ at that time."""
    cwd = tmp_path_factory.mktemp("stopped")
    done = interrupted(cwd, signal.SIGINT, *ENDLESS, "hydra.run.dir='a run, μ=1'")
    directory = cwd / "a run, μ=1"
    saved = {path.name: path.read_text() for path in (directory / ".hydra").iterdir()}
    return done, directory, saved, result_of(directory)


def test_ctrl_c_ends_a_run_with_all_of_it_saved(stopped):
    done, directory, _, result = stopped
    assert done.returncode == 128 + signal.SIGINT
    assert result["status"] == "interrupted"
    assert list((directory / "figures").glob("*.png"))
    checkpoint = torch.load(directory / "checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == result["steps"] > 0


def test_sigterm_ends_a_run_with_all_of_it_saved(tmp_path):
    done = interrupted(tmp_path, signal.SIGTERM, *ENDLESS, "hydra.run.dir=run")
    assert done.returncode == 128 + signal.SIGTERM
    assert result_of(tmp_path / "run")["status"] == "interrupted"


def test_ctrl_c_ends_a_sweep(tmp_path):
    done = interrupted(
        tmp_path, signal.SIGINT, "-m", *ENDLESS, "hydra.sweep.dir=sweep", "optimizer=sgd,nag"
    )
    assert done.returncode == 128 + signal.SIGINT
    (directory,) = (path for path in (tmp_path / "sweep").iterdir() if path.is_dir())
    assert result_of(directory)["status"] == "interrupted"
    assert "drawn" not in done.stdout


def test_a_sweep_over_schedules_is_named_and_logged_by_them(tmp_path):
    swept = ["schedule=constant,cosine", "schedule.warmup=0,2", "hydra.sweep.dir=sweep"]
    asked = ["task=toy", "max_steps=6", "task.tolerance=0", "figures=false"]
    done = train(tmp_path, "-m", *asked, *swept)
    assert done.returncode == 0, done.stderr
    names = ["constant,warmup=0", "constant,warmup=2", "cosine,warmup=0", "cosine,warmup=2"]
    runs = find_runs([tmp_path / "sweep" / name for name in names])
    assert label_runs(runs) == [
        "constant",
        "constant, warmup=2",
        "cosine, warmup=0",
        "cosine, warmup=2",
    ]
    lrs = [[x for _, x in run.history.get("train/lr", ())] for run in runs]
    assert lrs[0] == []
    assert lrs[1] == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1])
    assert lrs[3] == pytest.approx(
        [1 / 3, 2 / 3, *((1 + math.cos(math.pi * t / 4)) / 2 for t in range(4))]
    )
    assert result_of(runs[3].directory)["hyperparameters"]["schedule"] == "cosine"
    assert "schedule.warmup" not in result_of(runs[0].directory)["hyperparameters"]


# Going on


def test_a_resumed_run_is_as_if_it_had_never_stopped(stopped, tmp_path):
    _, directory, saved, before = stopped
    goal = before["steps"] + 37
    done = train(tmp_path, f"resume={directory}", f"max_steps={goal}")
    assert done.returncode == 0, done.stderr
    after = result_of(directory)
    assert (after["status"], after["steps"], after["evaluations"]) == ("finished", goal, goal)
    assert (after["task"], after["optimizer"]) == ("linear_regression", "nag")
    assert {p.name: p.read_text() for p in (directory / ".hydra").iterdir()} == saved
    in_process(tmp_path, "task=linear_regression", "task.batch_size=10", f"max_steps={goal}")
    once, resumed = state_of(tmp_path), state_of(directory)
    assert all(torch.equal(once[key], resumed[key]) for key in once)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["optimizer.lr=1"],
            "max_epochs and trusted may be given, not optimizer.lr",
        ),
        (["-m"], "max_epochs and trusted may be given, not -m"),
    ],
)
def test_a_resumed_run_keeps_its_configuration(stopped, arguments, words, without_torch, tmp_path):
    done = train(tmp_path, f"resume={stopped[1]}", *arguments, kind="light", **without_torch)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert words in line


def test_a_directory_that_holds_no_run_is_refused(toy, without_torch, tmp_path):
    def refused(words: str) -> None:
        done = train(tmp_path, "resume=run", kind="light", **without_torch)
        (line,) = done.stderr.splitlines()
        assert done.returncode == 1
        assert words in line

    hydras, checkpoint = tmp_path / "run" / ".hydra", tmp_path / "run/checkpoints/last.ckpt"
    hydras.mkdir(parents=True)
    refused("there is no .hydra/config.yaml in it")
    for path in (toy[1] / ".hydra").iterdir():
        (hydras / path.name).write_text(path.read_text())
    refused("there is no checkpoints/last.ckpt in it")
    checkpoint.parent.mkdir()
    checkpoint.write_bytes((toy[1] / "checkpoints/last.ckpt").read_bytes()[:1000])
    refused("checkpoints/last.ckpt is damaged")


def test_a_finished_run_has_nothing_to_resume(toy, tmp_path):
    before = (toy[1] / "result.json").read_text()
    done = train(tmp_path, f"resume={toy[1]}", "max_steps=20")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert "nothing is left to do after 33 updates; it has converged, within the toler" in line
    assert (toy[1] / "result.json").read_text() == before


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optimizer=momentum", "is of scratchopt.nag.NAG, and this run is of .*momentum.Momentum;"),
        ("task=linear_regression", "is of tasks.toy.Toy, and this run is of tasks.linear_reg"),
        ("task.function=rosenbrock", "is of task.function=article, and this run of rosenbrock;"),
    ],
)
def test_another_run_s_checkpoint_is_refused(override, words, tmp_path):
    in_process(tmp_path, "task=toy", "optimizer=nag", "max_steps=3", "figures=false")
    asked = ["task=toy", "optimizer=nag", "max_steps=6", "figures=false", override]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=rf"^resume={tmp_path}: checkpoints/last.ckpt {words}"):
        in_process(tmp_path, *asked, f"resume={tmp_path}")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_run_whose_schedule_was_made_for_its_length_keeps_that(tmp_path):
    asked = ["task=toy", "optimizer=nag", "figures=false"]
    ends = ["schedule=linear", "schedule.warmup=1"]
    in_process(tmp_path / "a", *asked, *ends, "max_steps=3")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    words = r"schedule=linear was made for the length of the run, max_steps=3, and would not be "
    with pytest.raises(UserError, match=rf"^resume={tmp_path}/a: {words}.*max_steps=6; go on with"):
        in_process(tmp_path / "a", *asked, *ends, "max_steps=6", f"resume={tmp_path}/a")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    endless = ["schedule=step", "schedule.warmup=2", "schedule.step_size=2"]
    in_process(tmp_path / "b", *asked, *endless, "max_steps=3")
    in_process(tmp_path / "b", *asked, *endless, "max_steps=6", f"resume={tmp_path}/b")
    in_process(tmp_path / "whole", *asked, *endless, "max_steps=6")
    assert state_of(tmp_path / "b") == state_of(tmp_path / "whole")


def test_an_older_version_s_checkpoint_of_other_shapes_is_refused(tmp_path):
    """It did not say what it is of."""
    in_process(tmp_path, "task=toy", "optimizer=nag", "max_steps=3", "figures=false")
    path = tmp_path / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    del content["run"], content["hyper_parameters"]
    torch.save(content, path)
    asked = ["task=toy", "optimizer=nag", "max_steps=6", "figures=false", f"resume={tmp_path}"]
    with pytest.raises(UserError, match=r"has a x of shape \(1,\), and this run one of \(2,\)"):
        in_process(tmp_path, *asked, "task.function=rosenbrock")
    assert in_process(tmp_path, *asked).updates == 6


# Other people's tasks

THEIRS = """
import os

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch.utils.data import DataLoader, TensorDataset

class Task(LightningModule):
    def __init__(self, optimizer, width):
        super().__init__()
        self.save_hyperparameters()
        self.optimizer, self.net = optimizer, torch.nn.Linear(2, width)

    def training_step(self, batch, batch_idx):
        return self.net(batch[0]).square().mean()

    def configure_optimizers(self):
        return self.optimizer(self.parameters())

class Data(LightningDataModule):
    def train_dataloader(self):
        return DataLoader(TensorDataset(torch.ones(8, 2)), batch_size=4)

class Closed(LightningModule):
    pass

class Broken(Task):
    def training_step(self, batch, batch_idx):
        if self.global_step < 3 or "MENDED" in os.environ:
            return super().training_step(batch, batch_idx)
        return {}["loss"]
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A directory with a task, data and an optimizer that the project does not know."""
    cwd = tmp_path_factory.mktemp("theirs")
    (cwd / "theirs.py").write_text(THEIRS)
    for path, text in {
        "conf/task/theirs.yaml": "# @package _global_\ntask: {_target_: theirs.Task, width: 3}\n"
        "datamodule: {_target_: theirs.Data}\nmax_epochs: 2\n",
        "conf/optimizer/torch_adam.yaml": "{_target_: torch.optim.Adam, _partial_: true, lr: 0.01}",
    }.items():
        (cwd / path).parent.mkdir(parents=True, exist_ok=True)
        (cwd / path).write_text(text)
    return cwd


CHOICE = ("--config-dir=conf", "task=theirs", "optimizer=torch_adam")


def test_a_task_and_an_optimizer_from_outside_train_log_and_resume(elsewhere):
    done = train(elsewhere, *CHOICE, "hydra.run.dir=run")
    assert (done.returncode, done.stderr) == (0, "")
    result = result_of(elsewhere / "run")
    assert (result["task"], result["optimizer"]) == ("theirs", "torch_adam")
    assert (result["status"], result["steps"]) == ("finished", 4)
    assert result["hyperparameters"]["optimizer.lr"] == 0.01
    assert set(result["metrics"]) == TAGS
    done = train(elsewhere, "resume=run", "max_epochs=3")
    assert (done.returncode, done.stderr) == (0, "")
    assert result_of(elsewhere / "run")["steps"] == 6


def test_a_task_that_takes_no_optimizer_is_told_to(elsewhere):
    done = train(elsewhere, *CHOICE, "~task.width", "task._target_=theirs.Closed")
    (line,) = done.stderr.splitlines()
    assert "theirs.Closed: takes no optimizer; let its constructor take one" in line


def test_a_mistake_in_a_task_shows_where_it_is_and_its_result_is_that_of_a_store(elsewhere):
    broken = (*CHOICE, "task._target_=theirs.Broken", "max_epochs=2", "checkpoint_steps=1")
    done = train(elsewhere, *broken, "hydra.run.dir=broken")
    assert done.returncode == 1
    assert 'return {}["loss"]' in done.stderr
    assert done.stderr.splitlines()[-1] == "train.py: broken: KeyError: 'loss'"
    in_store = train(elsewhere, *broken, "store=store")
    assert in_store.stderr.splitlines()[-1].endswith(": KeyError: 'loss'; it stays so in the store")
    [stored] = (elsewhere / "store").glob("*/result.json")
    result, theirs = result_of(elsewhere / "broken"), result_of(stored.parent)
    kept = [key for key in result if key not in ("seconds", "training_seconds", "versions")]
    assert {key: result[key] for key in kept} == {key: theirs[key] for key in kept}
    assert (result["status"], result["error"]) == ("failed", "KeyError: 'loss'")
    assert (result["updates"], result["evaluations"], result["complete"]) == (3, 3, True)

    done = train(elsewhere, *broken, "hydra.run.dir=broken")  # refused, with a remedy that works
    assert "holds a run already; mend what it ended in and go on with it by resume=" in done.stderr
    assert train(elsewhere, "resume=broken", MENDED="1").returncode == 0
    result = result_of(elsewhere / "broken")
    assert (result["status"], result["error"], result["updates"]) == ("finished", None, 4)


class Line(LightningModule):
    """Least squares with layers that are there from the start, or are made `late`, or are lazy."""

    def __init__(self, optimizer, late: str = "", sparse: bool = False) -> None:
        super().__init__()
        self.optimizer, self.late = optimizer, late
        self.embed = torch.nn.Embedding(4, 3, sparse=sparse) if sparse else None
        self.net = torch.nn.LazyLinear(2, bias=False) if late == "lazy" else None
        if not (late or sparse):
            self._make()

    def _make(self) -> None:
        self.net = torch.nn.Linear(3, 2, bias=False)

    def setup(self, stage: str) -> None:
        if self.late == "setup" and self.net is None:
            self._make()

    def configure_model(self) -> None:
        if self.late == "configure_model" and self.net is None:
            self._make()

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.embed is not None:
            return (self.embed(batch[0].long()) - 1).square().mean()
        return (self.net(batch[0]) - 1).square().mean()  # type: ignore[misc]

    def configure_optimizers(self) -> Any:
        return self.optimizer(self.parameters())

    def train_dataloader(self) -> Batches:
        return Batches([torch.ones(8, 3)], 4, shuffle=False, seed=0)


class Careful(torch.optim.Optimizer):
    """Looks at its gradient, which tensors without memory do not have."""

    def __init__(self, params, lr: float, seen: str = "") -> None:
        super().__init__(params, {"lr": lr})
        self.seen = seen

    @torch.no_grad()
    def step(self, closure=None) -> Any:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for p in (p for group in self.param_groups for p in group["params"]):
            if p.grad is not None and p.grad.norm() > 1e-9:
                p.sub_(p.grad, alpha=self.param_groups[0]["lr"])
                self.state[p]["last"] = p.grad.clone()
        return loss


FLOATS = 6 * 4  # bytes of a Linear(3, 2) without bias, and of as many numbers of its gradient
OTHERS: dict[str, tuple[dict[str, Any], dict[str, Any], int | None]] = {
    # optimizer; task; bytes of state, where they are easily said
    "LBFGS": ({"_target_": "torch.optim.LBFGS", "lr": 0.1}, {}, None),
    "Adafactor": ({"_target_": "torch.optim.Adafactor", "lr": 0.1}, {}, (2 + 3 + 1) * 4),
    "ASGD": ({"_target_": "torch.optim.ASGD", "lr": 0.1}, {}, FLOATS + 3 * 4),
    "Muon": ({"_target_": "torch.optim.Muon", "lr": 0.1}, {}, FLOATS),
    "SparseAdam": ({"_target_": "torch.optim.SparseAdam", "lr": 0.1}, {"sparse": True}, 2 * 12 * 4),
    "looks": ({"_target_": f"{__name__}.Careful", "lr": 0.1}, {}, FLOATS),
    "a target": (
        {"_target_": f"{__name__}.Careful", "lr": {"_target_": "builtins.float", "_args_": [0.1]}},
        {},
        FLOATS,
    ),
    "setup": ({"_target_": "torch.optim.Adam", "lr": 0.1}, {"late": "setup"}, 2 * FLOATS + 4),
    "configure_model": (
        {"_target_": "scratchopt.Adam", "lr": 0.1},
        {"late": "configure_model"},
        2 * FLOATS + 4,
    ),
    "lazy": ({"_target_": "scratchopt.NAG", "lr": 0.1}, {"late": "lazy"}, FLOATS),
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_cannot_be_foreseen_trains_and_its_memory_is_known_afterwards(case, tmp_path):
    optimizer, task, state = OTHERS[case]
    asked = config("task=toy", "optimizer=sgd", "max_steps=4", "figures=false")
    asked |= {"max_epochs": 3, "optimizer": optimizer | {"_partial_": True}}
    asked["task"] = {"_target_": f"{__name__}.Line", **task}
    result = Result("line", case, hyperparameters(asked), 0)
    run(asked, result, tmp_path)
    assert (result.status, result.updates) == ("finished", 4)
    events = EventAccumulator(str(tmp_path)).Reload()
    losses = [event.value for event in events.Scalars("train/loss")]
    assert losses[-1] < losses[0]
    assert result.memory is not None
    assert (
        result.memory["parameters"]
        == result.memory["gradients"]
        == (2 if task.get("sparse") else 1) * FLOATS
    )
    assert state is None or result.memory["state"] == state
