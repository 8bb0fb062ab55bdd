"""The store: a run is addressed by what it is, done once, and never changed after that."""

import errno
import json
import os
import re
import shlex
import subprocess
from copy import deepcopy
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from scratchopt.config.fields import UserError
from scratchopt.runs import provenance
from scratchopt.runs.directory import find_runs
from scratchopt.runs.lock import Busy
from scratchopt.runs.provenance import hash_code
from scratchopt.runs.store import APART, StoredRun, complete_run, compute_address, give_up
from tasks.mnist_data import SHIPPED
from tests.shared import commands, configs
from tests.shared.odd_task import TASK, write_odd_task
from tests.shared.paths import ROOT

CHOICES = {"task": "toy", "optimizer": "nag"}


def config(*overrides: str) -> dict[str, Any]:
    return configs.config("task=toy", "figures=false", *overrides)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's own folder, with a task that can go wrong."""
    write_odd_task(tmp_path)
    return tmp_path


def train(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    asked = ["--config-dir", "conf", *arguments, "store=runs", "figures=false"]
    return commands.run("train", *asked, cwd=folder)


def results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("runs/*/result.json"))]


def stamp(path: Path) -> tuple[int, int]:
    return path.stat().st_ino, path.stat().st_mtime_ns


# ---- the address


@pytest.mark.parametrize(
    "override",
    ["seed=1", "optimizer.lr=0.5", "max_steps=7", "task.start=-3", "threads=1", "test=false",
     "accelerator.precision=64-true", "optimizer=sgd", "schedule=linear", "schedule.warmup=3"],
)  # fmt: skip
def test_what_decides_a_run_decides_its_address(override):
    assert compute_address(config(override), CHOICES) != compute_address(config(), CHOICES)


def test_a_schedule_that_changes_nothing_decides_nothing():
    asked = config("schedule=constant", "schedule.warmup=0")
    older = {key: value for key, value in asked.items() if key not in ("schedule", *APART)}
    text = json.dumps([older, dict(CHOICES), hash_code(asked)], sort_keys=True)
    assert compute_address(asked, CHOICES) == sha256(text.encode()).hexdigest()[:16]


def test_other_code_is_another_address(monkeypatch):
    before = compute_address(config(), CHOICES)
    monkeypatch.setattr("scratchopt.runs.store.hash_code", lambda _: "other")
    assert compute_address(config(), CHOICES) != before


def test_a_module_that_is_named_within_the_task_is_of_its_code(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "inner.py").write_text("one = 1")
    node = {"_target_": "tasks.toy.Toy", "nets": [{"_target_": "inner.Net"}]}
    before = hash_code(config() | {"task": node})
    assert before != hash_code(config())
    (tmp_path / "inner.py").write_text("one = 2")
    provenance._theirs.cache_clear()
    assert hash_code(config() | {"task": node}) != before


def test_an_installed_package_is_known_by_its_version_whatever_its_module_is_called():
    assert provenance._theirs.__wrapped__("hydra") == f"hydra-core {version('hydra-core')}"


def test_nothing_is_done_with_code_that_has_changed_since_it_was_first_read(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mine.py").write_text("one = 1")
    kept = StoredRun(tmp_path / "runs", config() | {"task": {"_target_": "mine.Task"}}, CHOICES)
    (tmp_path / "mine.py").write_text("one = 2")
    with pytest.raises(UserError, match="the code has changed since this began"):
        complete_run(kept, wait=False)
    assert kept.result is None


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def flock(*_: Any) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(UserError, match=r"/\w{16}/\.lock: cannot be locked \(Function not impl"):
        complete_run(StoredRun(tmp_path, config("max_steps=5"), CHOICES), wait=False)


@pytest.mark.parametrize("override", ["store=elsewhere", "comparison.target=3", "resume=there"])
def test_what_is_asked_of_a_run_later_does_not(override):
    assert compute_address(config(override), CHOICES) == compute_address(config(), CHOICES)


def test_where_a_run_ends_at_its_target_the_target_decides_its_address():
    def address(*overrides: str) -> str:
        asked = config("until=target", "comparison.target=0.5", *overrides)
        return compute_address(asked, CHOICES)

    others = ["comparison.target=3", "comparison.mode=max", "comparison.metric=val/loss"]
    others += ["until=end"]
    assert len({address(), *map(address, others)}) == 5
    assert address("+comparison.max_steps=7") == address()  # which is in max_steps


def test_an_address_is_the_same_in_every_process(tmp_path):
    told_of = "compute_address(config(), CHOICES), hash_code(config())"
    code = f"from tests.cli.test_store import *; print({told_of})"
    told = {
        subprocess.run(
            [commands.python("new"), "-c", code],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": str(seed), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2)
    }
    assert told == {f"{compute_address(config(), CHOICES)} {hash_code(config())}\n"}


def test_the_code_is_that_of_the_project_and_of_the_users_module(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    theirs = config() | {"task": {"_target_": "odd.Odd"}}
    before = hash_code(theirs)
    assert before != hash_code(config())
    (folder / "odd.py").write_text(TASK + "\n# another line")
    provenance._theirs.cache_clear()
    assert hash_code(theirs) != before


def test_the_code_has_every_file_of_the_project_that_a_run_imports():
    code = (
        "import sys, scratchopt.runs.training\n"
        "ours = 'scratchopt.runs.', 'scratchopt.config.'\n"
        "print(*(m for m in sys.modules if m.startswith(ours)))"
    )
    command = [commands.python("warm"), "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    imported = {m.removeprefix("scratchopt.").replace(".", "/") for m in done.stdout.split()}
    # The rest decides what is asked, refused, shown or kept, and no number.
    names = (
        "checkout",
        "fields",
        "groups",
        "optimizers",
        "paths",
        "processes",
        "schedules",
        "schema",
    )
    apart = {f"config/{name}" for name in names}
    names = (
        "checkpoints",
        "control_characters",
        "dashboard",
        "ending",
        "lock",
        "machine_limits",
        "notebook_kernel",
        "provenance",
    )
    apart |= {f"runs/{name}" for name in (*names, "targets")}
    assert imported - apart == set(provenance.FILES)


# ---- done once


def test_a_run_that_is_there_is_not_done_again(tmp_path):
    kept = StoredRun(tmp_path, config("max_steps=5"), CHOICES)
    done = complete_run(kept, wait=False)
    assert done is not None
    result, signum = done
    assert (result.status, result.updates, signum) == ("finished", 5, 0)
    before = stamp(kept.directory / "result.json")
    assert complete_run(kept, wait=False) is None
    assert stamp(kept.directory / "result.json") == before
    assert kept.result is not None
    assert kept.result.updates == 5


LONG = ("max_steps=30", "task.tolerance=0", "checkpoint_kept=false")


def outcome(stored: StoredRun) -> dict[str, Any]:
    """What came of a run, the times aside."""
    result = json.loads((stored.directory / "result.json").read_text())
    for key in ("seconds", "training_seconds"):
        del result[key]
    return result


def test_a_run_is_stopped_after_the_step_that_is_beyond_its_cost(tmp_path):
    stored = StoredRun(tmp_path, config(*LONG), CHOICES)
    done = complete_run(stored, wait=False, max_cost=10)
    assert done is not None
    assert (done[0].status, done[0].updates, done[0].cost, done[1]) == ("stopped", 11, 11, 0)
    assert done[0].ending.startswith("at a cost beyond which its outcome did not matter")
    assert stored.result is None
    found = stored.find_result(10.9)
    assert found is not None
    assert found.status == "stopped"
    before = stamp(stored.directory / "result.json")
    for enough in (4, 10):
        assert complete_run(stored, wait=False, max_cost=enough) is None
    assert stamp(stored.directory / "result.json") == before
    assert not (stored.directory / "checkpoints" / "last.ckpt").exists()


@pytest.mark.parametrize(
    "more",
    [["checkpoint_kept=false"], ["checkpoint_kept=true", "schedule=cosine", "optimizer.lr=0.1"]],
    ids=["anew", "from its checkpoint, under a schedule"],
)
def test_a_run_that_was_stopped_too_early_comes_to_the_same(tmp_path, more):
    stored = StoredRun(tmp_path / "one", config(*LONG, *more), CHOICES)
    complete_run(stored, wait=False, max_cost=10)
    assert stored.find_result(11) is None
    done = complete_run(stored, wait=False, max_cost=20)
    assert done is not None
    assert (done[0].status, done[0].cost) == ("stopped", 21)
    done = complete_run(stored, wait=False)
    assert done is not None
    assert stored.result is not None
    whole = StoredRun(tmp_path / "two", stored.config, CHOICES)
    complete_run(whole, wait=False)
    assert outcome(stored) == outcome(whole)
    assert outcome(whole)["updates"] == 30
    [run, other] = find_runs([tmp_path / "one", tmp_path / "two"])
    assert len(run.history["train/loss"]) == 30
    assert all(run.history[tag] == other.history[tag] for tag in run.history if "loss" in tag)


def test_a_run_that_ends_before_its_cost_is_complete(tmp_path):
    for name, most in (("some", 30), ("many", 1e9)):
        stored = StoredRun(tmp_path / name, config(*LONG), CHOICES)
        complete_run(stored, wait=False, max_cost=most)
        assert stored.result is not None
        assert (stored.result.status, stored.result.updates) == ("finished", 30)
    diverging = StoredRun(tmp_path, config("optimizer.lr=50", "max_steps=300"), CHOICES)
    complete_run(diverging, wait=False, max_cost=200)
    assert diverging.result is not None
    assert diverging.result.status == "diverged"


def test_a_run_that_somebody_else_does_is_left_to_him(tmp_path):
    kept = StoredRun(tmp_path, config("max_steps=5"), CHOICES)
    with kept.lock(wait=False), pytest.raises(Busy, match="another run is writing there"):
        complete_run(StoredRun(tmp_path, config("max_steps=5"), CHOICES), wait=False)
    assert kept.result is None


def test_a_diverged_run_is_an_outcome(tmp_path):
    kept = StoredRun(tmp_path, config("optimizer.lr=50", "max_steps=300"), CHOICES)
    done = complete_run(kept, wait=False)
    assert done is not None
    assert done[0].status == "diverged"
    assert kept.result is not None
    assert kept.result.status == "diverged"
    assert complete_run(kept, wait=False) is None


def test_a_run_that_wants_memory_is_none(tmp_path, monkeypatch):
    from scratchopt.runs import training as run

    def grasp(*args: Any) -> int:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(run, "run", grasp)
    kept = StoredRun(tmp_path, config("max_steps=5"), CHOICES)
    with pytest.raises(RuntimeError, match="allocate memory"):
        complete_run(kept, wait=False)
    assert kept.result is None


def test_a_run_that_ends_its_processes_is_given_up(tmp_path):
    kept = StoredRun(tmp_path, config("max_steps=5"), CHOICES)
    give_up(kept, "it ended 4 processes")
    assert kept.result is not None
    assert kept.result.status == "failed"
    assert kept.result.error == "it ended 4 processes"
    assert complete_run(kept, wait=False) is None


def test_a_damaged_result_is_named_and_not_replaced(tmp_path):
    kept = StoredRun(tmp_path, config("max_steps=5"), CHOICES)
    complete_run(kept, wait=False)
    file = kept.directory / "result.json"
    file.write_text(file.read_text()[:100])
    with pytest.raises(UserError, match=r"result.json is damaged; put a copy back, or delete"):
        complete_run(kept, wait=False)
    assert len(file.read_text()) == 100


@pytest.mark.parametrize("override", ["accelerator=ddp", "accelerator.devices=2"])
def test_runs_of_several_processes_are_refused(tmp_path, override):
    with pytest.raises(UserError, match="one process each"):
        StoredRun(tmp_path, config(override), CHOICES)


def test_its_runs_are_read_as_any_others_are(tmp_path):
    asked = config("max_steps=5")
    kept = StoredRun(tmp_path, asked, CHOICES)
    complete_run(kept, wait=False)
    [run] = find_runs([tmp_path])
    assert (run.task, run.optimizer) == ("toy", "nag")
    assert run.config == asked | {"store": str(tmp_path)}
    assert len(run.history["train/loss"]) == 5


# ---- through the command line


@pytest.mark.slow
@pytest.mark.parametrize("name", ["my runs", "it's", 'the "best"', "a$b", "~runs"])
def test_a_store_may_have_any_name(tmp_path, name):
    asked = ["task=toy", "max_steps=2", "figures=false", f"store={name}"]
    done = commands.run("train", *asked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [run] = (path.parent for path in tmp_path.glob("*/*/result.json"))
    assert run.parent.name == name
    assert f"run                 {shlex.quote(f'{name}/{run.name}')}" in done.stdout


@pytest.mark.parametrize("asked", [["store=runs"], [], ["-m", "store=runs"], ["-m"]])
def test_paths_are_relative_to_where_the_command_was_started(tmp_path, asked):
    (tmp_path / "data").symlink_to(SHIPPED)
    what = ["task=logistic_regression", "task.data_dir=data", "max_steps=2", "test=false"]
    asked = [*asked, "hydra.job.chdir=true", "figures=false", *what]
    done = commands.run("train", *asked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [run] = (path.parent for path in tmp_path.rglob("result.json"))
    assert f"{run.relative_to(tmp_path)}\n" in done.stdout
    if "store=runs" in asked:
        assert run.parent == tmp_path / "runs"
        again = commands.run("train", *asked, cwd=tmp_path)
        assert again.stdout.endswith(f"{run}: complete already\n")


def test_an_error_in_training_is_an_outcome_and_the_sweep_goes_on(folder):
    asked = ["-m", "task=odd", "task.always=true", "task.place=train,nowhere"]
    done = train(folder, *asked)
    assert done.returncode == 1
    told = r"train.py: runs/\w{16}: RuntimeError: odd: this never; it stays so in the store\n"
    assert re.search(told, done.stderr)
    assert done.stderr.endswith("train.py: 1 of 2 runs failed: task.place=train\n")
    by_status = {result["status"]: result for result in results(folder)}
    assert set(by_status) == {"failed", "finished"}
    broken = by_status["failed"]  # as far as it came
    assert (broken["updates"], broken["evaluations"], broken["cost"]) == (30, 30, 30)
    assert [row["steps"] for row in broken["validations"]] == [4, 8, 12, 16, 20, 24, 28]
    assert by_status["failed"]["error"] == "RuntimeError: odd: this never"
    before = {path: stamp(path) for path in folder.glob("runs/*/result.json")}
    again = train(folder, *asked)
    assert again.stdout.count("complete already") == 2
    assert again.returncode == 1
    assert re.search(told, again.stderr)
    assert {path: stamp(path) for path in folder.glob("runs/*/result.json")} == before


@pytest.mark.parametrize("place", ["train", "test"])
def test_a_killed_run_goes_on_and_comes_to_the_same(folder, place):
    """At step 30 of 48, a checkpoint behind it; or in the middle of the test."""
    asked = ["task=odd", f"task.place={place}"]
    assert train(folder, *asked).returncode == 9
    assert not any(result["complete"] for result in results(folder))
    assert train(folder, *asked).returncode == 0
    [broken] = results(folder)
    (folder / "runs").rename(folder / "earlier")
    assert train(folder, *asked).returncode == 0
    [whole] = results(folder)
    for result in (broken, whole):
        for key in ("seconds", "training_seconds"):
            del result[key]
        for row in result["validations"]:
            del row["seconds"]
    assert "test/loss" in whole["metrics"]
    assert [row["steps"] for row in whole["validations"]] == list(range(4, 49, 4))
    assert broken == whole


def test_a_worker_whose_code_has_changed_does_nothing(tmp_path):
    kept = StoredRun(tmp_path, config("max_steps=5"), CHOICES)
    asked = {"store": str(tmp_path), "config": kept.config, "choices": kept.choices}
    done = subprocess.run(
        commands.command("compare", "--worker", kind="new"),
        input=json.dumps(asked | {"address": "0" * 16}) + "\n",
        capture_output=True,
        text=True,
        timeout=100,
    )
    answer = json.loads(done.stdout)
    assert answer["state"] == "refused"
    assert "the code has changed" in answer["reason"]
    assert not list(tmp_path.iterdir())


def test_a_worker_ends_after_a_run_that_failed(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    provenance._theirs.cache_clear()
    compose_from = f"hydra.searchpath=[{folder / 'conf'}]"
    odd = configs.config("task=odd", "task.place=train", "task.always=true", compose_from)
    lines = []
    for seed in (0, 1):
        kept = StoredRun(folder / "runs", odd | {"seed": seed}, CHOICES)
        asked = {"store": str(folder / "runs"), "config": kept.config, "choices": kept.choices}
        lines.append(json.dumps(asked | {"address": kept.address, "max_cost": None}))
    done = subprocess.run(
        commands.command("compare", "--worker"),
        input="\n".join(lines) + "\n",
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stdout == '{"state": "failed"}\n', done.stderr
    assert done.returncode == 0


def test_what_was_left_without_a_checkpoint_is_begun_anew(tmp_path):
    kept = StoredRun(tmp_path, config("max_steps=5"), CHOICES)
    (kept.directory / ".hydra").mkdir(parents=True)
    (kept.directory / ".hydra" / "config.yaml").write_text("half")
    (kept.directory / "events.out.tfevents.1").write_text("half")
    complete_run(kept, wait=False)
    assert kept.result is not None
    assert kept.result.updates == 5
    assert len(list(kept.directory.glob("events.out.tfevents.*"))) == 1
    assert OmegaConf.load(kept.directory / ".hydra" / "config.yaml").max_steps == 5  # pyright: ignore


@pytest.mark.parametrize("part", ["a part's bytes", "what describes a part"])
def test_a_run_whose_checkpoint_is_damaged_is_done_anew(part, tmp_path):
    kept = StoredRun(tmp_path, config("max_steps=5"), CHOICES)
    complete_run(kept, wait=False)
    whole = kept.result
    (kept.directory / "result.json").unlink()
    path = kept.directory / "checkpoints" / "last.ckpt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if part == "a part's bytes" else -150] ^= 1
    path.write_bytes(content)
    complete_run(kept, wait=False)
    assert whole is not None
    assert kept.result is not None
    assert (kept.result.updates, kept.result.metrics) == (whole.updates, whole.metrics)


def test_two_sweeps_share_a_store_and_do_each_run_once(folder):
    asked = ["-m", "task=toy", "store=runs", "figures=false", "max_steps=40", "task.tolerance=0"]
    seeds = [f"seed={','.join(map(str, order))}" for order in ([0, 1, 2, 3], [3, 2, 1, 0])]
    sweeps = [commands.start("train", *asked, seed, cwd=folder) for seed in seeds]
    told = [sweep.communicate(timeout=200) for sweep in sweeps]
    assert [sweep.returncode for sweep in sweeps] == [0, 0], told
    assert sum(out.count("complete already") for out, _ in told) == 4
    assert sum(out.count("status ") for out, _ in told) == 4
    assert sorted(result["seed"] for result in results(folder)) == [0, 1, 2, 3]


@pytest.mark.slow
def test_joblib_s_launcher_does_the_same(folder):
    asked = ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "task=toy", "seed=0,1"]
    done = train(folder, *asked, "max_steps=5")
    assert done.returncode == 0, done.stderr
    assert [result["complete"] for result in results(folder)] == [True, True]


def test_a_run_of_a_store_is_not_made_longer(folder):
    assert train(folder, "task=toy", "max_steps=5").returncode == 0
    [run] = (path.parent for path in folder.glob("runs/*/result.json"))
    done = commands.run("train", f"resume={run}", "max_steps=9", cwd=folder)
    assert done.returncode == 1
    assert "a run of a store goes on when it is asked for again" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_configuration_is_left_as_it_was(tmp_path):
    asked = config("max_steps=5")
    before = deepcopy(asked)
    complete_run(StoredRun(tmp_path, asked, CHOICES), wait=False)
    assert asked == before
