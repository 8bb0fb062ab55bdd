"""Accelerators: what a machine lacks is refused, and several processes are one run."""

import json
import logging
import os
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver

from scratchopt.config import processes
from scratchopt.config.accelerator import check_float64, resolve_accelerator
from scratchopt.config.fields import UserError
from scratchopt.config.processes import adapt_to_rank, is_rank_zero
from scratchopt.runs import training as run_module
from scratchopt.runs.result import Result
from tests.shared import commands
from tests.shared.configs import config

LAUNCHERS = ("TORCHELASTIC_", "SLURM_", "RANK", "LOCAL_RANK", "NODE_RANK", "MASTER_", "OMP_")
TORCHRUN = {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "4", "GROUP_WORLD_SIZE": "2", "RANK": "0"}
SRUN = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2", "SLURM_PROCID": "0"}


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    for name in [name for name in os.environ if name.startswith(LAUNCHERS)]:
        monkeypatch.delenv(name)


@pytest.fixture
def started_by(monkeypatch):
    def by(environment: dict[str, str]) -> None:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    return by


@pytest.fixture
def machine(monkeypatch):
    """Gives this machine some GPUs, or takes them away."""

    def has(gpus: int = 0, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return has


def node(overrides: str) -> dict[str, Any]:
    return config(*overrides.split())["accelerator"]


# What no machine has


@pytest.mark.parametrize(
    ("overrides", "value", "remedy"),
    [
        ("accelerator.accelerator=tpu", "accelerator.accelerator=tpu", "auto, cpu, cuda, mps"),
        ("accelerator.strategy=foo", "accelerator.strategy=foo", "auto, ddp, .*, fsdp2"),
        ("accelerator.precision=8", "accelerator.precision=8", "32-true, .*, bf16-mixed"),
        ("accelerator.devices=0", "accelerator.devices=0", "a number >= 1"),
        ("accelerator.devices=-1", "accelerator.devices=-1", "or auto"),
        ("accelerator.devices=two", "accelerator.devices=two", "a number >= 1"),
        ("accelerator.devices=1.5", "accelerator.devices=1.5", "a number >= 1"),
        ("accelerator.devices=true", "accelerator.devices=true", "a number >= 1"),
        ("accelerator.devices=null", "accelerator.devices=null", "a number >= 1"),
        ("accelerator.devices=[]", r"accelerator.devices=\[\]", "a list of GPUs"),
        ("accelerator.devices=[0,0]", r"accelerator.devices=\[0, 0\]", "a list of GPUs"),
        ("accelerator.num_nodes=0", "accelerator.num_nodes=0", "an integer >= 1"),
        ("accelerator=cpu accelerator.precision=16-mixed", "precision=16-mixed", "bf16-mixed"),
        ("accelerator=cpu accelerator.devices=[0,1]", r"devices=\[0, 1\]", "give a number"),
        ("accelerator=mps accelerator.precision=64-true", "precision=64-true", "accelerator=cpu"),
        ("accelerator=mps accelerator.precision=64", "precision=64", "accelerator=cpu"),
        ("accelerator=mps accelerator.devices=2", "devices=2", "take devices=1"),
        ("accelerator=mps accelerator.strategy=ddp", "strategy=ddp", "take .*strategy=auto"),
        ("accelerator=ddp accelerator.num_nodes=2", "num_nodes=2", "with torchrun or srun"),
    ],
)
def test_what_no_machine_has_is_refused_with_the_remedy(overrides, value, remedy):
    with pytest.raises(UserError, match=f"{value}.*{remedy}") as refused:
        node(overrides)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("environment", "overrides", "remedy"),
    [
        (TORCHRUN, "accelerator=ddp", "accelerator.num_nodes=1: torchrun .* give .*=2"),
        (SRUN, "accelerator=ddp", "accelerator.num_nodes=1: srun .* give .*num_nodes=2"),
        (
            TORCHRUN,
            "accelerator.num_nodes=2",
            "devices=1: torchrun started 2 .*devices=2, or --nproc-per-node=1",
        ),
        (
            SRUN,
            "accelerator=ddp accelerator.devices=3 accelerator.num_nodes=2",
            "devices=3: srun started 2 .*devices=2, or --ntasks-per-node=3",
        ),
    ],
)
def test_a_launcher_s_processes_must_be_the_configuration_s(
    environment, overrides, remedy, started_by
):
    started_by(environment)
    with pytest.raises(UserError, match=remedy):
        node(overrides)


# What this machine lacks


@pytest.mark.parametrize(
    ("overrides", "has", "refusal"),
    [
        ("accelerator=gpu", {}, "=cuda: torch .* finds no GPU; take accelerator=cpu"),
        ("accelerator=mps", {"gpus": 1}, "=mps: torch .* finds no GPU of a Mac"),
        ("accelerator=gpu accelerator.devices=3", {"gpus": 2}, "devices=3: there are 2 here"),
        ("accelerator=gpu accelerator.devices=[1]", {"gpus": 1}, r"=\[1\]: there is 1 here"),
        ("accelerator.precision=16-mixed", {}, "precision=16-mixed: a CPU has bf16-mixed"),
        ("accelerator.precision=64-true", {"mps": True}, "precision=64-true: mps has no float64"),
        ("accelerator.devices=2", {"mps": True}, "mps is one device"),
        ("accelerator.devices=[0]", {}, r"devices=\[0\]: a list names GPUs"),
    ],
)
def test_what_this_machine_lacks_is_refused_with_the_remedy(overrides, has, refusal, machine):
    machine(**has)
    with pytest.raises(UserError, match=refusal) as refused:
        resolve_accelerator(node(overrides))
    assert "\n" not in str(refused.value)


def test_more_cpu_processes_than_a_machine_holds_are_refused_but_two_on_a_core_are_not(
    machine, monkeypatch
):
    machine()
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert resolve_accelerator(node("accelerator=ddp accelerator.devices=2"))["devices"] == 2
    refused = pytest.raises(UserError, match=r"devices=1000: .* of 1 core; give 8 or fewer")
    for overrides in ("accelerator=ddp", "accelerator=cpu", "accelerator=fsdp"):
        with refused:
            resolve_accelerator(node(f"{overrides} accelerator.devices=1000"))
    monkeypatch.setattr("os.cpu_count", lambda: 250)
    assert resolve_accelerator(node("accelerator=ddp accelerator.devices=1000"))["devices"] == 1000


def test_it_is_refused_before_the_task_and_its_data_are_made(machine, monkeypatch, tmp_path):
    machine()
    monkeypatch.setattr(run_module, "make_task", lambda config: pytest.fail("a task was made"))
    asked = config("accelerator=gpu")
    with pytest.raises(UserError, match="finds no GPU"):
        run_module.run(asked, Result("mnist", "nag", {}, 0), tmp_path)


def test_float64_is_refused_where_there_is_none():
    doubles = torch.nn.Linear(1, 1, dtype=torch.float64)
    with pytest.raises(UserError, match=r"mps: it has no float64.*accelerator=cpu"):
        check_float64(doubles, "mps")
    check_float64(doubles, "cpu")
    check_float64(torch.nn.Linear(1, 1), "mps")


@pytest.mark.parametrize(
    ("overrides", "has", "environment", "found"),
    [
        ("", {}, {}, ("cpu", 1)),
        ("", {"gpus": 4}, {}, ("cuda", 1)),
        ("", {"mps": True}, {}, ("mps", 1)),
        ("accelerator=ddp", {}, {}, ("cpu", 2)),
        ("accelerator=ddp", {"mps": True}, {}, ("cpu", 2)),
        ("accelerator=ddp", {"gpus": 4}, {}, ("cuda", 4)),
        ("accelerator=fsdp", {}, {}, ("cpu", 2)),
        ("accelerator=fsdp", {"gpus": 4}, {}, ("cuda", 4)),
        ("accelerator=ddp accelerator.accelerator=cpu", {"gpus": 4}, {}, ("cpu", 2)),
        ("accelerator=ddp accelerator.devices=7", {}, {}, ("cpu", 7)),
        ("accelerator=gpu accelerator.devices=[0,2]", {"gpus": 4}, {}, ("cuda", [0, 2])),
        ("accelerator=cpu accelerator.devices=auto", {}, {}, ("cpu", 1)),
        ("accelerator=ddp accelerator.num_nodes=2", {}, TORCHRUN, ("cpu", 2)),
        ("accelerator=ddp accelerator.num_nodes=2", {"gpus": 2}, SRUN, ("cuda", 2)),
    ],
)
def test_auto_is_every_gpu_or_two_cpu_processes_or_the_launcher_s(
    overrides, has, environment, found, machine, started_by
):
    machine(**has)
    started_by(environment)
    arguments = resolve_accelerator(node(overrides))
    assert (arguments["accelerator"], arguments["devices"]) == found


def test_gpus_that_no_launcher_started_a_process_for_are_refused(machine, started_by):
    machine(gpus=8)
    started_by(TORCHRUN)
    with pytest.raises(UserError, match="devices=8: torchrun started 2 on each node"):
        resolve_accelerator(node("accelerator=ddp accelerator.num_nodes=2"))


def test_a_short_name_of_a_precision_is_its_long_one():
    found = resolve_accelerator(node("accelerator=cpu accelerator.precision=64"))
    assert found["precision"] == "64-true"


# Who is first


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, True),
        ({"LOCAL_RANK": "1", "NODE_RANK": "0"}, False),
        ({"NODE_RANK": "1", "MASTER_ADDR": "here"}, False),
        (TORCHRUN, True),
        (TORCHRUN | {"RANK": "2", "LOCAL_RANK": "0"}, False),
        (TORCHRUN | {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}, True),
        (SRUN, True),
        (SRUN | {"SLURM_PROCID": "3"}, False),
        (SRUN | {"SLURM_PROCID": "0", "SLURM_JOB_NAME": "bash"}, True),
    ],
)
def test_one_process_is_rank_zero_and_the_others_make_no_directory(environment, first, started_by):
    started_by(environment)
    assert is_rank_zero() == first
    added = [] if first else ["hydra.run.dir=."]
    assert adapt_to_rank(["task=toy"]) == ["task=toy", *added]
    assert adapt_to_rank(["hydra.run.dir=run"]) == ["hydra.run.dir=run"]


# What ends a process that is stuck


def test_a_killed_process_is_told_of_and_one_that_spoke_is_not(monkeypatch, capsys):
    monkeypatch.setattr(processes, "PATIENCE", 0.0)
    processes.watch_processes()
    log = logging.getLogger("lightning.fabric.strategies.launchers.subprocess_script")
    log.info("Child process with PID 7 terminated with code 1. Forcefully terminating all")
    assert capsys.readouterr().err == ""
    log.info("Child process with PID 7 terminated with code -9. Forcefully terminating all")
    assert capsys.readouterr().err.count("a process of this run was killed") == 1


def test_lightning_says_in_that_log_which_process_has_ended(caplog, monkeypatch):
    ended = SimpleNamespace(pid=7, returncode=-9, poll=lambda: -9, send_signal=lambda signum: None)
    observer = _ChildProcessObserver(main_pid=0, child_processes=[cast(Any, ended)])
    monkeypatch.setattr(observer, "_terminate_all", lambda: None)
    log = logging.getLogger(type(observer).__module__)
    monkeypatch.setattr(log, "propagate", True)
    monkeypatch.setattr(log, "handlers", [])
    with caplog.at_level(logging.INFO, log.name):
        observer._run()
    [record] = caplog.records
    assert record.name == "lightning.fabric.strategies.launchers.subprocess_script"
    assert "code -9" in record.getMessage()


def test_a_stuck_process_ends_after_the_first_one_is_gone(monkeypatch):
    stuck = (
        "import time; from scratchopt.config import processes; processes.PATIENCE = 0; "
        "processes.watch_processes(); print('watches', flush=True); time.sleep(60)"
    )
    first = (
        "import subprocess, sys; "
        f"command = [sys.executable, '-c', {stuck!r}]; "
        "print(subprocess.Popen(command, stdout=-1, text=True).stdout.readline())"
    )
    monkeypatch.setenv("LOCAL_RANK", "1")
    began = time.monotonic()
    done = commands.run_code(first, kind="new")  # till both end, who hold the standard error
    assert time.monotonic() - began < 30
    assert "watches" in done.stdout, done.stderr


# Two processes on this machine, as its users start them

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="it has a GPU")
DDP = ("accelerator=ddp", "accelerator.accelerator=cpu")
ZERO = ("accelerator=zero3", "accelerator.accelerator=cpu")
ENDLESS = (
    *("task=linear_regression", "task.batch_size=10", "log_every=1", "hydra.run.dir=run"),
    *("max_steps=-1", "max_epochs=-1"),
)


def start(cwd: Path, *arguments: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """A run in a process group of its own, as a shell starts it."""
    python, *command = commands.command("train", *arguments, kind="new")
    return subprocess.Popen(
        [python, *launcher, *command],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], seconds: float = 100) -> tuple[str, str]:
    """What it printed; both processes have ended then, as both hold the pipes."""
    try:
        return process.communicate(timeout=seconds)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def until_it_logs(process: subprocess.Popen[str], cwd: Path) -> None:
    deadline = time.monotonic() + 60
    while not any(b"train/gradnorm" in path.read_bytes() for path in cwd.rglob("events*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def second_of(process: subprocess.Popen[str]) -> int:
    """The process that Lightning started beside it."""
    table = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True).stdout
    rows = [[int(word) for word in line.split()] for line in table.splitlines()]
    [child] = [pid for pid, parent in rows if parent == process.pid]
    return child


def result_of(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "result.json").read_text())


@NO_GPU
def test_a_missing_gpu_is_one_line_and_exit_code_1(tmp_path):
    done = commands.run("train", "accelerator=gpu", cwd=tmp_path)
    [line] = done.stderr.splitlines()
    assert done.returncode == 1
    assert line.startswith("train.py: accelerator.accelerator=cuda: ")


def test_two_processes_make_one_directory_and_one_table(tmp_path):
    process = start(tmp_path, *DDP, "max_steps=20")
    stdout, stderr = finish(process)
    assert (process.returncode, stderr) == (0, "")
    assert stdout.count("status ") == 1
    [directory] = tmp_path.glob("outputs/*/*/*")
    assert {path.name for path in tmp_path.iterdir()} == {"outputs"}
    result = result_of(directory)
    assert (result["status"], result["updates"]) == ("finished", 20)
    assert result["hyperparameters"]["accelerator.devices"] == 2


@pytest.fixture(scope="module", params=[DDP, ZERO], ids=["ddp", "zero3"])
def stopped(request, tmp_path_factory):
    """A run of two processes that Ctrl-C ended."""
    cwd = tmp_path_factory.mktemp("stopped")
    process = start(cwd, *request.param, *ENDLESS)
    until_it_logs(process, cwd)
    os.killpg(process.pid, signal.SIGINT)
    stdout, _ = finish(process)
    return process.returncode, stdout, cwd / "run"


@pytest.mark.slow
def test_ctrl_c_ends_both_processes_with_all_of_it_saved(stopped):
    code, stdout, directory = stopped
    result = result_of(directory)
    assert code == 128 + signal.SIGINT
    assert stdout.count("status ") == 1
    assert result["status"] == "interrupted"
    checkpoint = torch.load(directory / "checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == result["steps"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher", [(), ("-m", "torch.distributed.run", "--nproc-per-node=2")], ids=["own", "torchrun"]
)
def test_two_processes_go_on_where_they_were_stopped(stopped, launcher, tmp_path):
    goal = result_of(stopped[2])["steps"] + 20
    process = start(tmp_path, f"resume={stopped[2]}", f"max_steps={goal}", launcher=launcher)
    stdout, stderr = finish(process)
    assert process.returncode == 0, stderr
    assert stdout.count("status ") == 1
    result = result_of(stopped[2])
    assert (result["status"], result["steps"], result["evaluations"]) == ("finished", goal, goal)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["first", "group"])
def test_sigterm_ends_both_processes_with_all_of_it_saved(whom, tmp_path):
    process = start(tmp_path, *DDP, *ENDLESS)
    until_it_logs(process, tmp_path)
    {"first": os.kill, "group": os.killpg}[whom](process.pid, signal.SIGTERM)
    finish(process)
    assert process.returncode == 128 + signal.SIGTERM
    assert result_of(tmp_path / "run")["status"] == "interrupted"
    assert (tmp_path / "run/checkpoints/last.ckpt").exists()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [DDP, ZERO], ids=["ddp", "zero3"])
def test_the_loss_of_a_process_is_one_line_and_ends_the_other(strategy, tmp_path):
    process = start(tmp_path, *strategy, *ENDLESS)
    until_it_logs(process, tmp_path)
    os.kill(second_of(process), signal.SIGKILL)
    _, stderr = finish(process, 40)
    [line] = stderr.splitlines()
    assert process.returncode == 1
    assert "another process of this run has ended" in line


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [DDP, ZERO], ids=["ddp", "zero3"])
def test_the_loss_of_the_first_process_ends_the_other(strategy, tmp_path):
    process = start(tmp_path, *strategy, *ENDLESS)
    until_it_logs(process, tmp_path)
    process.kill()
    finish(process, 40)


@pytest.mark.slow
def test_divergence_is_told_once_and_ends_both_processes(tmp_path):
    process = start(
        tmp_path, *DDP, "task=toy", "optimizer=sgd", "optimizer.lr=1000", "hydra.run.dir=run"
    )
    _, stderr = finish(process, 60)
    [line] = [line for line in stderr.splitlines() if line.startswith("train.py: ")]
    assert process.returncode == 1
    assert "diverged at step 9" in line
    assert result_of(tmp_path / "run")["status"] == "diverged"


FAILING = """
import os
from tasks.mnist import MNIST
from tasks.toy import Toy

class Ending(MNIST):
    def training_step(self, batch, batch_idx):
        if self.global_step == 5 and self.global_rank == int(os.environ["FAIL"]):
            raise OSError("no more data")
        return super().training_step(batch, batch_idx)

class Failing(Toy):
    def __init__(self, ranks, **settings):
        if os.environ.get("LOCAL_RANK", "0") in ranks:
            raise OSError("no such data here")
        super().__init__(**settings)

    def on_train_start(self):
        if "all" in os.environ.get("FAIL", ""):
            raise OSError("no more data")
"""


@pytest.mark.slow
def test_what_the_second_process_alone_refuses_is_told_and_ends_the_first(tmp_path):
    (tmp_path / "failing.py").write_text(FAILING)
    process = start(tmp_path, *DDP, "task=toy", "task._target_=failing.Failing", "+task.ranks='1'")
    _, stderr = finish(process, 60)
    [line] = stderr.splitlines()
    assert process.returncode != 0
    assert line == "train.py: no such data here"


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_in_one_process_in_mid_training_ends_the_other(rank, tmp_path, monkeypatch):
    """The first draws what it can of the run, and asks the other for nothing."""
    monkeypatch.setenv("FAIL", str(rank))
    (tmp_path / "failing.py").write_text(FAILING)
    asked = ("task._target_=failing.Ending", "checkpoint_steps=3", "hydra.run.dir=run")
    process = start(tmp_path, *ZERO, *asked)
    _, stderr = finish(process, 60)
    assert process.returncode == 1
    assert "train.py: no more data" in stderr.splitlines()
    checkpoint = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 3


@pytest.mark.slow
def test_what_all_processes_refuse_is_told_once(tmp_path, monkeypatch):
    monkeypatch.setenv("FAIL", "all")
    (tmp_path / "failing.py").write_text(FAILING)
    process = start(tmp_path, *DDP, "task=toy", "task._target_=failing.Failing", "+task.ranks=''")
    _, stderr = finish(process, 60)
    assert (process.returncode, stderr) == (1, "train.py: no more data\n")


def test_a_sweep_of_several_processes_is_refused(tmp_path):
    asked = ("-m", *DDP, "accelerator.devices=2", "task=toy")
    done = commands.run("train", *asked, cwd=tmp_path)
    assert done.returncode == 1
    assert "accelerator.devices=2: a sweep's runs have one process each" in done.stderr
    assert not list(tmp_path.rglob("result.json"))
