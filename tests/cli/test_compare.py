"""scripts/compare.py as its users meet it: one command, a report, and one line where it can't."""

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra

from scratchopt.compare.command_keys import parse_request
from scratchopt.compare.request import Request
from scratchopt.compare.schedule import Schedule
from scratchopt.compare.trials import MARGIN
from scratchopt.config.fields import UserError
from tests.shared import commands
from tests.shared.odd_task import TASK, write_odd_task

# Mini-batches, so that a seed makes a difference.
SMALL = ["task=linear_regression", "task.batch_size=20", "max_steps=60", "comparison.target=1.5",
         "optimizers=[sgd,nag]", "budget=4", "seeds=3", "workers=2"]  # fmt: skip
FEWER = ["budget=2", "seeds=2"]
ROLES = ("trials", "tuned", "untuned")


def compare(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return commands.run("compare", *arguments, cwd=folder)


def report_of(folder: Path) -> Path:
    [page] = folder.glob("**/report.html")
    return page.parent


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with a small comparison, and what it printed."""
    folder = tmp_path_factory.mktemp("compared")
    ran = compare(folder, *SMALL)
    assert ran.returncode == 0, ran.stderr
    return folder, ran.stdout


def test_a_comparison_writes_a_report_and_prints_its_core(done):
    folder, printed = done
    where = report_of(folder)
    assert printed.splitlines()[-1] == f"report  {where.relative_to(folder) / 'report.html'}"
    for name in ("report.md", "report.json", "runs.csv", "times.md", "times.csv", "times.json"):
        assert (where / name).stat().st_size > 100, name
    report = json.loads((where / "report.json").read_text())
    roles = [run["role"] for run in report["runs"]]
    assert {role: roles.count(role) for role in set(roles)} == {
        "trials": 2 * 4,
        "tuned": 2 * 3,
        "untuned": 2 * 3,
    }


def test_its_progress_says_how_long_still(tmp_path):
    asked = ["task=toy", "optimizers=[sgd]", "budget=2", "seeds=1", "workers=1", "max_steps=5"]
    ran = compare(tmp_path, *asked)
    assert ran.returncode == 0, ran.stderr
    lines = ran.stderr.splitlines()
    assert len(lines) >= 3
    for i, line in enumerate(lines):
        assert re.fullmatch(rf"{i + 1} of at most 4: sgd lr=.*; at most \d+ s left", line)
    again = compare(tmp_path, *asked)  # nothing is left to be waited for
    assert len(again.stderr.splitlines()) == len(lines)
    assert "left" not in again.stderr


def test_only_the_runs_that_are_judged_are_tested(done):
    folder, _ = done
    report = json.loads((report_of(folder) / "report.json").read_text())
    for run in report["runs"]:
        assert bool(run["test"]) == (run["role"] != "trials" and run["status"] != "stopped")
        assert (run["seed"] >= 100) == (run["role"] != "trials")


def test_asked_again_it_does_nothing_and_writes_the_same(done):
    folder, printed = done
    where = report_of(folder)
    before = {
        path: (path.read_bytes(), path.stat().st_ino) for path in folder.glob("runs/*/result.json")
    }
    report = {path: path.read_bytes() for path in where.rglob("*") if path.is_file()}
    again = commands.run("compare", *SMALL, cwd=folder, kind="new")
    assert again.stdout == printed
    assert {path: path.read_bytes() for path in where.rglob("*") if path.is_file()} == report
    assert {
        path: (path.read_bytes(), path.stat().st_ino) for path in folder.glob("runs/*/result.json")
    } == before


def test_what_cannot_win_any_more_is_stopped(done):
    folder, _ = done
    report = json.loads((report_of(folder) / "report.json").read_text())
    runs = {role: [run for run in report["runs"] if run["role"] == role] for role in ROLES}
    nag = [run for run in runs["trials"] if run["optimizer"] == "nag"]
    stopped = [run for run in nag if run["status"] == "stopped"]
    best = min(run["cost_to_target"] for run in nag if run not in stopped)
    assert 0 < len(stopped) < len(nag)
    assert {(run["cost"], run["cost_to_target"]) for run in stopped} == {(MARGIN * best, "inf")}
    assert {run["status"] for run in runs["tuned"]} == {"finished"}


@pytest.mark.slow
def test_the_report_is_the_same_with_any_number_of_workers(done, tmp_path):
    folder, printed = done
    ran = compare(tmp_path, *SMALL, "workers=1")
    assert ran.stdout == printed
    names = ("report.json", "report.md", "report.html", "runs.csv")
    for name in names:
        assert (report_of(tmp_path) / name).read_bytes() == (report_of(folder) / name).read_bytes()


def test_to_the_end_nothing_is_stopped(tmp_path):
    ran = compare(tmp_path, *SMALL, *FEWER, "optimizers=[nag]", "until=end")
    assert ran.returncode == 0, ran.stderr
    report = json.loads((report_of(tmp_path) / "report.json").read_text())
    assert {run["updates"] for run in report["runs"]} == {60}
    assert {run["status"] for run in report["runs"]} == {"finished"}


def test_runs_that_ended_at_their_target_say_nothing_of_another(done, tmp_path):
    folder, _ = done
    for asked in ("decide=metric", "comparison.target=1.4"):
        ran = compare(folder, "--from", "runs", f"output={tmp_path}", asked)
        assert ran.returncode == 1
        assert len(ran.stderr.splitlines()) == 1
        assert re.match(
            rf"compare.py: .*{asked[-3:]}.*: runs/\w+ ended where train/loss", ran.stderr
        )
        assert ran.stderr.endswith(" was at 1.5; take runs with until=end\n")


def test_more_seeds_do_only_what_is_missing(done, tmp_path):
    folder, _ = done
    shutil.copytree(folder / "runs", tmp_path / "runs")
    before = set(tmp_path.glob("runs/*/result.json"))
    more = compare(tmp_path, *SMALL, "seeds=4")
    assert more.returncode == 0, more.stderr
    added = set(tmp_path.glob("runs/*/result.json")) - before
    assert 1 <= len(added) <= 2 * 2  # a fresh seed at the chosen and at the default settings


def test_a_multirun_of_before_is_aggregated_over_its_seeds(tmp_path):
    swept = ["optimizer=sgd,nag", "seed=range(3)", "hydra.sweep.dir=swept"]
    made = commands.run("train", "-m", *SMALL[:3], "figures=false", *swept, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    ran = compare(tmp_path, "--from", "swept", "comparison.target=1.5")
    assert ran.returncode == 0, ran.stderr
    report = json.loads((tmp_path / "swept" / "comparison" / "report.json").read_text())
    [task] = report["tasks"]
    assert [(entry["name"], entry["tuned"]["n"]) for entry in task["entries"]] == [
        ("nag, lr=0.1", 3),
        ("sgd, lr=0.05", 3),
    ]
    results = [json.loads(p.read_text()) for p in tmp_path.glob("swept/sgd*/result.json")]
    [sgd] = [entry for entry in task["entries"] if entry["name"] == "sgd, lr=0.05"]
    mean = sum(result["metrics"]["train/loss"] for result in results) / 3
    assert sgd["tuned"]["train_loss"]["value"] == pytest.approx(mean, rel=1e-6)
    again = compare(tmp_path, "--from", "swept", "comparison.target=1.5")
    assert again.stdout == ran.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs of one setting, of different seeds."""
    folder = tmp_path_factory.mktemp("pair")
    asked = ["-m", *SMALL[:3], "figures=false", "optimizer=sgd", "seed=0,1", "store=runs"]
    assert commands.run("train", *asked, cwd=folder).returncode == 0
    return folder


@pytest.fixture
def pair(made: Path, tmp_path: Path) -> Path:
    """The two, for one test to change."""
    return shutil.copytree(made, tmp_path, dirs_exist_ok=True)


def changed(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """One of the results is changed by hand."""
    path = next(folder.glob("runs/*/result.json"))
    result = json.loads(path.read_text())
    change(result)
    path.write_text(json.dumps(result))


def test_runs_of_other_code_are_put_together_apart(pair):
    changed(pair, lambda result: result["versions"].update(code="f00dfeed"))
    ran = compare(pair, "--from", "runs", "comparison.target=1.5")
    assert ran.returncode == 0, ran.stderr
    report = json.loads((pair / "runs" / "comparison" / "report.json").read_text())
    found = [(entry["name"], entry["tuned"]["n"]) for entry in report["tasks"][0]["entries"]]
    assert ("sgd, code f00dfe", 1) in found
    assert len(found) == 2


def test_a_run_that_diverged_after_its_hit_has_missed(pair):
    changed(pair, lambda result: result.update(status="diverged"))
    ran = compare(pair, "--from", "runs", "comparison.target=1000")
    assert ran.returncode == 0, ran.stderr
    report = json.loads((pair / "runs" / "comparison" / "report.json").read_text())
    [entry] = report["tasks"][0]["entries"]
    assert entry["tuned"]["missed"] == entry["tuned"]["failures"]["diverged"] == 1
    costs = sorted(float(run["cost_to_target"]) for run in report["runs"])
    assert costs[0] < costs[1] == inf


def test_the_same_run_twice_counts_once(pair):
    one, other = (path.parent for path in pair.glob("runs/*/result.json"))
    shutil.rmtree(other)  # its log, too, which would be read beside the copied one
    shutil.copytree(one, other)
    ran = compare(pair, "--from", "runs", "comparison.target=1.5")
    assert ran.returncode == 0, ran.stderr
    report = json.loads((pair / "runs" / "comparison" / "report.json").read_text())
    [entry] = report["tasks"][0]["entries"]
    assert entry["tuned"]["n"] == 1


def test_trials_of_a_comparison_are_not_put_together_with_its_judged_runs(done, tmp_path):
    folder, _ = done
    shutil.copytree(folder / "runs", tmp_path / "runs")
    ran = compare(tmp_path, "--from", "runs")
    assert ran.returncode == 0, ran.stderr
    report = json.loads((tmp_path / "runs" / "comparison" / "report.json").read_text())
    assert all(run["test"] for run in report["runs"])
    assert {run["seed"] for run in report["runs"]} == {100, 101, 102}
    assert ran.stderr == (
        "compare.py: 8 runs that were not tested, a comparison's trials, are left out\n"
        "compare.py: 6 runs of settings that were stopped before the target, for costing more than "
        "others, are left out\n"
    )
    [task] = report["tasks"]
    assert len(task["entries"]) == 2


def test_from_takes_one_task_of_several(pair):
    ran = compare(pair, "--from", "runs", "task=linear_regression", "comparison.target=1.5")
    assert ran.returncode == 0, ran.stderr
    ran = compare(pair, "--from", "runs", "task=toy")
    assert (ran.returncode, ran.stderr) == (1, "compare.py: runs: no run of task=toy\n")


@pytest.mark.slow
def test_two_equal_commands_in_one_folder_write_one_report(done, tmp_path):
    folder, printed = done
    shutil.copytree(folder / "runs", tmp_path / "runs")
    both = [commands.start("compare", *SMALL, cwd=tmp_path) for _ in range(2)]
    for process in both:
        told, _ = process.communicate(timeout=200)
        assert (process.returncode, told) == (0, printed)


def test_one_seed_twice_is_refused(pair):
    first, second = (path.parent for path in pair.glob("runs/*/result.json"))
    config = (first / ".hydra" / "config.yaml").read_text()
    (second / ".hydra" / "config.yaml").write_text(config)
    ran = compare(pair, "--from", "runs", "comparison.target=1.5")
    assert ran.returncode == 1
    assert "have one seed, yet are not the same; give a directory with one of them" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_a_run_that_was_killed_before_its_test_is_left_out(pair):
    changed(pair, lambda result: result.update(complete=False))
    ran = compare(pair, "--from", "runs", "comparison.target=1.5")
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("has not ended, and is left out") == 1


def test_runs_that_have_not_ended_are_named_and_left_out(done, tmp_path):
    folder, _ = done
    [first, *_] = sorted(path.parent for path in folder.glob("runs/*/result.json"))
    (folder / "runs" / "unended").mkdir()
    (folder / "runs" / "unended" / ".hydra").symlink_to(first / ".hydra")
    ran = compare(folder, "--from", "runs", f"output={tmp_path}", "comparison.target=1.5")
    assert ran.returncode == 0, ran.stderr
    assert "runs/unended has not ended, and is left out" in ran.stderr


@pytest.mark.slow
def test_two_comparisons_share_a_store_and_do_each_run_once(tmp_path):
    folders = [tmp_path / name for name in ("one", "other")]
    store = tmp_path / "runs"
    for folder in folders:
        folder.mkdir()
    asked = [*SMALL, *FEWER, f"store={store}", "workers=1", "max_steps=150"]
    asking = [commands.start("compare", *asked, cwd=folder) for folder in folders]
    inodes: dict[Path, int] = {}
    while any(one.poll() is None for one in asking):
        for path in store.glob("*/result.json"):
            if '"complete": true' in path.read_text():
                assert inodes.setdefault(path, path.stat().st_ino) == path.stat().st_ino
        time.sleep(0.05)
    told = [one.communicate() for one in asking]
    assert [one.returncode for one in asking] == [0, 0], told
    assert told[0][0] == told[1][0]
    pages = [report_of(folder) / "report.html" for folder in folders]
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_a_worker_that_dies_in_the_test_has_its_run_gone_on_with(tmp_path):
    write_odd_task(tmp_path)
    asked = ["--config-dir", "conf", "task=odd", "task.place=test", "optimizers=[sgd]"]
    ran = compare(tmp_path, *asked, "budget=1", "seeds=1", "workers=1")
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "been there").exists()
    report = json.loads((report_of(tmp_path) / "report.json").read_text())
    assert {run["status"] for run in report["runs"]} == {"finished"}
    assert report["runs"][-1]["test"].keys() == {"test/loss"}


@pytest.mark.slow
def test_a_run_that_ends_every_process_is_an_outcome(tmp_path):
    write_odd_task(tmp_path, TASK.replace("not mark.exists()", "True"))
    asked = ["--config-dir", "conf", "task=odd", "task.place=train", "optimizers=[sgd]"]
    ran = compare(tmp_path, *asked, "budget=1", "seeds=1", "workers=2")
    assert ran.returncode == 0, ran.stderr
    report = json.loads((report_of(tmp_path) / "report.json").read_text())
    assert {run["status"] for run in report["runs"]} == {"failed"}
    assert "it ended 4 processes, the last with 9" in report["runs"][0]["error"]


@pytest.mark.slow
def test_ctrl_c_stops_and_the_same_command_goes_on(tmp_path):
    asked = [*SMALL, *FEWER, "max_steps=200"]
    asking = commands.start("compare", *asked, cwd=tmp_path)
    until = time.monotonic() + 120
    while len(list(tmp_path.glob("runs/*/result.json"))) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    asking.send_signal(signal.SIGINT)
    _, told = asking.communicate(timeout=120)
    assert asking.returncode == 130, told
    assert told.splitlines()[-1] == "compare.py: stopped; the same command goes on"
    before = {
        path: path.stat().st_ino
        for path in tmp_path.glob("runs/*/result.json")
        if json.loads(path.read_text())["complete"]
    }
    assert before
    ran = compare(tmp_path, *asked)
    assert ran.returncode == 0, ran.stderr
    assert all(path.stat().st_ino == inode for path, inode in before.items())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("budget=0", "budget=0: must be an integer in [1, 10000]"),
        ("seeds=ten", "seeds=ten: must be an integer in [1, 10000]"),
        ("until=noon", "until=noon: must be one of target, end"),
        ("until=target decide=metric", "until=target: by decide=metric the metric at the end"),
        ("decide=luck", "decide=luck: must be one of cost, metric"),
        ("start=nowhere", "start=nowhere: must be one of library, task"),
        ("optimizers=[sgd,sgd]", 'optimizers=["sgd", "sgd"]: must be a list'),
        ("optimizers=[sgd,nagg]", "nagg"),
        ("task=mnits", "mnits"),
        ("tune=[0.9]", "tune=[0.9]: must be a dict"),
        ("optimizer.lr=0.1", "optimizer.lr=0.1: it is searched"),
        ("seed=1,2", "seed=1,2: a list is written [a,b] here"),
        ("+foo=1", "foo: no such key"),
        ("nonsense", "nonsense"),
        ("--from nowhere", "nowhere: no such directory"),
        ("--from . budget=3", "budget: with --from only"),
        ("accelerator=ddp", "one process each"),
        ("max_steps=abc", "max_steps=abc"),
        ("tune={momentun:[0.9]}", "tune=momentun: none of the optimizers has it"),
        ("tune={lr:[0.9]}", "tune=lr: none of the optimizers has it beside its lr"),
        ("tune={momentum:0.9}", "must have a list of different values"),
        ("tune={momentum:[0.1,0.2,0.3]} budget=2", "budget=2: the 3 combinations"),
        ("figures=true", "figures=true: plot.py draws the runs"),
        ("comparison=null", "does not say what to compare by"),
        ("comparison.metric=test/accuracy", "comparison.metric=test/accuracy: must be the tag"),
        ("budgett=4", "budgett=4: no such key; those of a comparison are budget, decide,"),
        ("output={file}", ": is a file; give a folder"),
        ("store={file}", ": is a file; give a folder"),
        ("--config-dir /nope", "--config-dir /nope: no such directory"),
        ("comparison=5", "comparison=5: must be keys (metric, mode, …) with values"),
        ("settings=5 start=task", "settings=5: must be optimizers with their values"),
        ("settings.sgd=5 start=task", "settings.sgd=5: must be keys of the optimizer"),
        ("comparison.target=nan", "comparison.target=nan: must be a number, or null"),
        ("budget=1000000000", "budget=1000000000: must be an integer in [1, 10000]"),
        ("seeds=1000000000", "seeds=1000000000: must be an integer in [1, 10000]"),
        ("seed=4294967295", "seed=4294967295: must be an integer in [0, 2**31)"),
        ("workers=1000000", "workers=1000000: must be an integer in [1, 1000]"),
        ("lr=0.5", "lr=0.5: it is searched; leave it out"),
        ("optimizer.foo=1", "optimizer.foo: no such key; did you mean optimizer."),
        ("store=", "store=: must be a folder"),
        (
            "task=toy optimizers=[sgd] store=/proc/x",
            "store=/proc/x: No such file or directory",
        ),
        ("task=toy optimizers=[sgd] output=/proc/x store={tmp}", "output=/proc/x: No such file or"),
        ("hydra.run.dir=x", "hydra.run.dir=x: the runs lie in the store"),
        ("comparison.foo=1", "comparison.foo: no such key; did you mean comparison."),
        ("~task", "~task: every comparison has one"),
        ("~seed", "~seed: every comparison has one"),
        ("settings.sgd.lr=0.1", "settings.sgd.lr=0.1: the optimizers begin at their own defaults"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_line(arguments, said, tmp_path):
    asked = arguments.replace("{file}", __file__).replace("{tmp}", str(tmp_path)).split()
    ran = commands.run("compare", *asked, cwd=tmp_path, kind="light")
    assert ran.returncode != 0
    assert len(ran.stderr.splitlines()) == 1, ran.stderr
    assert ran.stderr.startswith("compare.py: ")
    assert said in ran.stderr
    assert not list(tmp_path.iterdir())


def test_an_optimizer_that_fails_is_an_outcome_of_the_report(tmp_path):
    """Newton's own default solver wants few parameters, and MNIST's net has many."""
    asked = ["task=mnist", "task.hidden=[8]", "optimizers=[newton]", "budget=1", "seeds=1"]
    ran = compare(tmp_path, *asked, "max_steps=20", "workers=1")
    assert ran.returncode == 0, ran.stderr
    report = json.loads((report_of(tmp_path) / "report.json").read_text())
    assert {run["status"] for run in report["runs"]} == {"failed"}
    assert all("solver" in run["error"] for run in report["runs"])


# ---- the schedule


@pytest.fixture(autouse=True)
def _no_hydra():
    GlobalHydra.instance().clear()


def test_the_schedule_asks_for_the_same_whatever_came_first():
    request = parse_request([*SMALL, "tune={momentum:[0.5,0.9]}"])
    schedule = Schedule(request)
    missing, _ = schedule.plan(lambda *_: None)
    other, _ = Schedule(request).plan(lambda *_: None)
    assert [w.config for w in missing] == [w.config for w in other]
    momenta = {w.settings.get("optimizer.momentum") for w in missing}
    assert momenta == {None, 0.5, 0.9}


def test_the_library_s_defaults_are_not_the_task_s():
    library = parse_request(["task=mnist", "optimizers=[sgd]"])
    assert library.default_settings("mnist", "sgd") == {"optimizer.lr": 0.01}
    task = parse_request(["task=mnist", "optimizers=[sgd]", "start=task"])
    assert task.default_settings("mnist", "sgd") == {"optimizer.lr": 0.3}


def test_the_search_space_says_whose_default_it_begins_at():
    def space(*more: str) -> str:
        schedule = Schedule(parse_request(["task=mnist", "optimizers=[sgd]", *more]))
        return schedule.plan(lambda *_: None)[1].space["sgd"]

    assert space() == "lr around 0.01 (its own default)"
    assert space("start=task") == "lr around 0.3 (the task's)"
    none = space("start=task", "settings=null")
    assert none == "lr around 0.01 (its own default, as the task has none)"


def test_a_comparison_s_length_gives_way_to_the_command_line():
    def config(*more: str) -> dict:
        request: Request = parse_request(["task=mnist", "optimizers=[sgd]", *more])
        return request.compose_run("mnist", "sgd", {"optimizer.lr": 0.1}, 3, False)

    assert (config()["max_steps"], config()["validate_steps"]) == (1720, 25)
    assert config("max_steps=50")["max_steps"] == 50
    assert (config()["threads"], config("threads=2")["threads"]) == (1, 2)
    assert (config()["seed"], config()["task"]["seed"], config()["test"]) == (3, 3, False)


def test_a_schedule_is_as_long_as_the_runs_and_the_report_names_it(tmp_path):
    def plan(*more: str, folder: Path | None = None) -> Schedule:
        return Schedule(parse_request(["task=mnist", "budget=1", "seeds=1", *more], folder))

    all_of_them = plan("optimizers=[sgd,nag]", "schedule=cosine", "schedule.warmup=20")
    missing, comparison = all_of_them.plan(lambda *_: None)
    scheduled = "schedule=cosine warmup=20 end_factor=0.0"
    assert comparison.space["sgd"] == f"lr around 0.01 (its own default); {scheduled}"
    assert comparison.space["nag"].endswith(scheduled)
    assert {spec.config["schedule"]["warmup"] for spec in missing} == {20}
    assert {spec.config["max_steps"] for spec in missing} == {1720}
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "nag_cosine.yaml").write_text(
        "# @package _global_\n"
        "defaults: [nag@optimizer, override /schedule: cosine]\n"
        "schedule: {warmup: 20}\n"
    )
    one_of_them = plan("optimizers=[nag,nag_cosine]", folder=tmp_path)
    spaces = one_of_them.plan(lambda *_: None)[1].space
    assert spaces["nag"] == "lr around 0.01 (its own default)"
    assert spaces["nag_cosine"] == f"lr around 0.01 (its own default); {scheduled}"
    of_the_task = plan("optimizers=[nag_cosine]", "start=task", folder=tmp_path)
    space = of_the_task.plan(lambda *_: None)[1].space["nag_cosine"]
    assert space == f"lr around 0.03 (the task's); {scheduled}"


def test_long_commands_that_differ_at_their_end_have_reports_of_their_own():
    keys = ",".join(f"{0.9 + i / 1000:g}" for i in range(60))
    one, other = (parse_request([*SMALL, f"tune={{momentum:[{keys},{x}]}}"]) for x in (0.1, 0.2))
    assert one.output != other.output
    assert len(one.output.name) < 255


def test_the_command_in_the_report_asks_for_the_same_again():
    request = parse_request([*SMALL, "tune={momentum:[0.5,0.9]}", "store=elsewhere"])
    again = parse_request(request.command.replace("'", "").split()[2:])
    apart = {"store", "output", "workers"}
    assert {k: v for k, v in again.keys.items() if k not in apart} == {
        k: v for k, v in request.keys.items() if k not in apart
    }
    assert again.overrides == request.overrides
    assert "elsewhere" not in request.command


def test_nothing_is_imported_that_a_refusal_must_wait_for():
    code = "import sys, scratchopt.compare.schedule; print({'torch', 'scipy'} & sys.modules.keys())"
    ran = commands.run_code(code, kind="light")
    assert ran.stdout == "set()\n", ran.stderr


def test_a_sweep_is_refused_in_python_too():
    with pytest.raises(UserError, match="a list is written"):
        parse_request(["optimizers=sgd,nag"])
