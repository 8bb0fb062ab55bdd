"""A notebook: what scratchopt.notebook trains, reads and shows there, and leaves behind."""

import gc
import json
import logging
import os
import random
import re
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import numpy as np
import pytest
import torch

from scratchopt.config.fields import UserError
from scratchopt.notebook import Runs, compare, find_runs, read_report, train, training
from scratchopt.notebook.interrupted import Interrupted
from scratchopt.runs.directory import Run
from scratchopt.runs.result import Result
from tasks.toy import Toy
from tests.shared import commands
from tests.shared.paths import ROOT

TOY = ("task=toy", "optimizer=nag", "optimizer.lr=0.1")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


# What it shows


def make_run(directory: Path, **others) -> Run:
    result = Result("toy", "nag", {}, 0, updates=27, metrics={"train/loss": -0.5}, **others)
    return Run(directory, "toy", "nag", {"store": None}, result)


def test_a_run_is_a_line_and_in_a_notebook_its_table_and_its_figures(tmp_path):
    run = make_run(tmp_path / "a<b", status="converged")
    assert repr(run) == f"toy, nag: converged, 27 updates, train/loss -0.5; '{tmp_path}/a<b'"
    (run.directory / "figures").mkdir(parents=True)
    (run.directory / "figures" / "path.png").write_bytes(b"\x89PNG")
    shown = run._repr_html_()
    assert "a&lt;b" in shown
    assert shown.count("<tr>") == len(run.result.rows(run.directory))  # pyright: ignore[reportOptionalMemberAccess]
    assert '<img alt="path"' in shown
    assert "data:image/png;base64,iVBORw==" in shown
    begun = Run(tmp_path, "toy", "nag", {"store": None}, None)
    assert "not ended" in repr(begun)
    assert "not ended" in begun._repr_html_()


def test_no_runs_are_shown_as_such():
    assert repr(Runs([])) == "no runs"
    assert "no runs" in Runs([])._repr_html_()


# What it refuses, in one line and without a traceback


def train_beside_another():
    with training._one_at_a_time():
        train(*TOY)


@pytest.mark.parametrize("code", [0, None, 3, "no data"])
def test_an_exit_of_a_user_s_code_is_told_and_goes_on(here, monkeypatch, code):
    monkeypatch.setattr(Toy, "training_step", lambda *_: sys.exit(code))
    with pytest.raises(Interrupted, match="no data: stopped; " if code == "no data" else "stopped"):
        train(*TOY)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: train("-m", *TOY), "-m: one run at a time; sweep()"),
        (lambda: train("task=toy", "task.strat=1"), "task.strat: no such key; did you mean"),
        (lambda: train("task=toy", "accelerator=ddp"), "a notebook is one process"),
        (lambda: train(["task=toy"]), "['task=toy']: must be a string"),  # pyright: ignore
        (lambda: train_beside_another(), "another thread of this process is training"),
        (lambda: train("task._target_=torch.nn.Linear"), "task.hidden: torch.nn.Linear takes no"),
        (lambda: train("task=toy", "optimizer=sgd,nag"), "in a notebook call sweep()"),
        (lambda: compare("task=toy", "seeds=0"), "seeds=0: must be an integer in"),
        (lambda: compare("--config-dir=no", "task=toy"), "--config-dir no: no such directory"),
        (lambda: compare("task=toy", "--from", "no"), "no: no such directory"),
        (lambda: compare("task=toy", "--from"), "--from: expected one argument"),
        (lambda: compare(["task=toy"]), "['task=toy']: must be a string"),  # pyright: ignore
        (lambda: compare("task=toy", "--frm=no"), "--frm=no: no such option"),
        (lambda: read_report("nowhere"), "nowhere/report.json: no such file"),
        (lambda: find_runs("nowhere"), "nowhere: no such directory"),
    ],
)
def test_a_refusal_is_one_line(here, call, words, capfd):
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        call()
    assert caught.value._render_traceback_() == [f"UserError: {caught.value}"]
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert not list(here.rglob("*.json"))
    assert not list(here.rglob("*.yaml"))


# What it leaves


def process_state():
    return {
        "threads": torch.get_num_threads(),
        "random": (random.getstate(), torch.get_rng_state().tolist()),
        "numpy": np.random.get_state()[1].tolist(),  # pyright: ignore
        "environment": dict(os.environ),
        "loggers": [
            (name, logging.getLogger(name).level, list(logging.getLogger(name).handlers))
            for name in ("", "lightning.pytorch", "lightning.fabric")
        ],
        "warnings": list(warnings.filters),
        "arguments": list(sys.argv),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "directory": Path.cwd(),
        "garbage": (gc.isenabled(), gc.get_freeze_count()),
    }


@pytest.mark.slow
def test_a_run_leaves_the_process_as_it_was_however_it_ends(here):
    torch.manual_seed(7)
    logging.getLogger("lightning.pytorch").setLevel(logging.INFO)
    before = process_state()
    train(*TOY, "threads=2", "seed=5")
    assert process_state() == before
    with pytest.raises(UserError):
        train("task._target_=tasks.toy.Nothing")
    train("task=toy", "optimizer=sgd", "optimizer.lr=1e30")
    assert process_state() == before


@pytest.mark.slow
def test_a_run_is_that_of_the_command(here):
    ours = train(*TOY, "hydra.run.dir=ours")
    commands.run("train", *TOY, "hydra.run.dir=theirs", cwd=here)
    theirs = find_runs("theirs")[0]
    assert [path.name for path in ours.figures] == [path.name for path in theirs.figures]
    first, second = (
        json.loads((run.directory / "result.json").read_text()) for run in (ours, theirs)
    )
    for clock in ("seconds", "training_seconds"):
        del first[clock], second[clock]
    for row in (*first["validations"], *second["validations"]):
        del row["seconds"]
    assert first == second
    assert ours.config == theirs.config


@pytest.mark.slow
def test_it_trains_in_a_thread_that_gets_no_signals(here):
    runs = []
    thread = threading.Thread(target=lambda: runs.append(train(*TOY, "figures=false")))
    thread.start()
    thread.join()
    assert runs[0].result.status == "converged"


CELLS = [
    "from scratchopt.notebook import compare, find_runs, sweep, train",
    "train('task=toy', 'optimizer=nag')",
    "import scratchopt.runs.callbacks as callbacks\n"
    "shown, show = [], callbacks.show_progress\n"
    "callbacks.show_progress = lambda *given: (shown.append(given), show(*given))\n"
    "callbacks.BAR_AFTER = 0.0\n"
    "run = train('task=logistic_regression', 'max_epochs=1', 'optimizer=sgd')",
    "print(len(shown), shown[0], shown[-1])",
    "sweep('task=toy', 'optimizer=sgd,nag')",
    "train('task=toy', 'optimizer.momentum=2')",
    "import os, signal, threading\n"
    "threading.Timer(2, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
    "train('task=logistic_regression', 'max_epochs=1000', 'hydra.run.dir=stopped')",
    "find_runs('stopped')",
]


def execute(cells: list[str], directory: Path) -> list[list[Any]]:
    """The outputs of a notebook's cells, by a kernel as Jupyter starts it."""
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)))
    resources = {"metadata": {"path": str(directory)}}
    client = nbclient.NotebookClient(
        notebook, timeout=120, allow_errors=True, kernel_name="python3", resources=resources
    )
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    client.execute(env=os.environ | {"PYTHONPATH": path})
    return [cell.outputs for cell in notebook.cells]


@pytest.mark.slow
def test_a_notebook_shows_what_matters_and_no_noise(tmp_path):
    imported, trained, barred, told, swept, refused, stopped, read = execute(CELLS, tmp_path)
    assert imported == []
    [run] = trained
    assert run.data["text/html"].count("data:image/png;base64,") == 2
    assert "<td" in run.data["text/html"]
    assert "toy, nag: converged" in run.data["text/plain"]
    [bar] = barred  # in one place, and gone
    assert bar.data == {"text/plain": "", "text/html": ""}
    assert re.match(r"\d+ \('step [\d,]+ of 430, epoch 1", told[0].text)
    assert told[0].text.endswith("('',)\n")
    *_, table = swept
    assert table.data["text/plain"].count("converged") >= 2
    assert table.data["text/html"].count("data:image/png;base64,") >= 3
    assert not [o for o in (*swept, *read) if o.get("name") == "stderr"]
    [error] = refused
    assert error.traceback == [
        "UserError: optimizer.momentum=2: Invalid momentum value: 2 (0 <= momentum < 1)"
    ]
    error = stopped[-1]
    assert error.ename == "Interrupted"
    assert error.traceback == ['Interrupted: stopped; train("resume=stopped") goes on with it']
    assert "interrupted" in read[0].data["text/plain"]  # and the kernel lives
