"""scripts/bench.py: its table, what it refuses, and whether it leaves a method out."""

import csv
import math
import re
from functools import partial
from typing import Any

import pytest
import torch

import scratchopt
from scratchopt.bench.memory_cases import PLAIN, WAYS
from scratchopt.bench.step_cases import METHODS, SIZES
from scratchopt.bench.step_times import (
    RATIOS,
    compute_ratios,
    find_fastest,
    make_contestants,
    time_contestants,
)
from scratchopt.bench.turns import time_in_turns
from scratchopt.bench.zero_record import LAYER_BYTES, LAYERS, record_stages
from tests.shared import commands, sides


def test_the_table_has_every_ratio(tmp_path):
    file = tmp_path / "times.csv"
    row = ("784-128-10", "Adam")
    options = ["--sizes", row[0], "--methods", row[1], "--rounds", "2", "--csv", str(file)]
    done = commands.run("bench", "step", *options, cwd=tmp_path, kind="new", OMP_NUM_THREADS="1")
    assert (done.returncode, done.stderr) == (0, "")
    facts, *_, printed = done.stdout.splitlines()
    assert torch.__version__ in facts
    assert "threads: 1" in facts
    size, method, *numbers, best = printed.split()
    assert (size, method) == row
    assert best in ("loop", "foreach", "fused")
    assert len(numbers) == len(RATIOS) + 2
    assert all(float(x) > 0 and math.isfinite(float(x)) for x in numbers)

    (written,) = csv.DictReader(file.read_text().splitlines())
    assert (written["size"], written["method"], written["rounds"]) == (*row, "2")
    ratios = [float(written[name]) for name in RATIOS]
    assert [f"{ratio:.2f}" for ratio in ratios] == numbers[: len(RATIOS)]
    milliseconds = [float(x) for name, x in written.items() if name.endswith(" ms")]
    assert len(milliseconds) == 9
    assert min(milliseconds) > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["step", "--sizes", "huge"], "argument --sizes: invalid choice: 'huge'"),
        (["step", "--methods", "Foo"], "argument --methods: invalid choice: 'Foo'"),
        (["step", "--rounds", "0"], "argument --rounds: 0: must be an integer >= 1"),
        (["step", "--csv", "/no/such/file"], "argument --csv: /no/such/file: No such file"),
        (["step", "--pairs", "3"], "argument --pairs: step has no use for it"),
        (["start", "--rounds", "3"], "argument --rounds: start has no use for it"),
        (["start", "--pairs", "x"], "argument --pairs: x: must be an integer >= 1"),
        (["zero", "--sizes", "600x4k"], "argument --sizes: zero has no use for it"),
        (["step", "--figure", "a.png"], "argument --figure: step has no use for it"),
        (["zero", "--figure", "a.gif"], "argument --figure: a.gif: must end in .png, .svg or .pdf"),
        (["zero", "--figure", "/no/a.png"], "argument --figure: /no/a.png: No such folder: /no"),
        (["zero", "--figure", "a.png", "--pairs", "2"], "argument --pairs: --figure has no use"),
        (["step", "--device", "cuda"], "argument --device: cuda: torch finds no CUDA device"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "says",
)
def test_what_cannot_be_had_ends_in_one_line(arguments, message, tmp_path):
    done = commands.run("bench", *arguments, cwd=tmp_path, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"bench.py: {message}")
    assert done.stderr.count("\n") == 1


def test_no_method_with_a_rule_is_left_out():
    public = {name: getattr(scratchopt, name) for name in scratchopt.__all__}
    ruled = {name for name, thing in public.items() if getattr(thing, "rule", None)}
    assert set(METHODS) == ruled - {"SOAP"}  # nothing in torch does as much work


def _parameter() -> torch.nn.Parameter:
    p = torch.nn.Parameter(torch.ones(3, 5))
    p.grad = torch.ones_like(p)
    return p


@pytest.mark.parametrize("name", METHODS)
def test_a_method_and_its_twin_move_what_the_table_says(name):
    method = METHODS[name]
    lookahead = 3 * bool(getattr(scratchopt, name).gradient_point)
    twin = getattr(torch.optim, method.twin)
    for cls, settings in ((getattr(scratchopt, name), {}), (twin, method.settings)):
        p = _parameter()
        optimizer: Any = cls([p], lr=0.1, **settings)
        if isinstance(optimizer, scratchopt.Optimizer):
            optimizer.lookahead_()
        optimizer.step()
        buffers = [value for value in optimizer.state[p].values() if value.shape == p.shape]
        assert method.moves - lookahead == 3 + 2 * len(buffers)  # reads p and g, writes p


@pytest.mark.parametrize("name", METHODS)
def test_every_contestant_steps_and_leaves_the_parameters_near(name):
    p = _parameter()
    times = time_contestants(make_contestants(name, [p]), [p], steps=2, rounds=3)
    method, one = METHODS[name], "cpu" not in METHODS[name].fused  # torch has no fused RMSprop
    assert len(times) == 9 - one - 2 * method.whole
    assert {len(column) for column in times.values()} == {3}
    torch.testing.assert_close(p.detach(), torch.ones(3, 5), rtol=0, atol=1e-6)
    assert ("fused/fused" in compute_ratios(times)) is not (one or method.whole)


def test_a_ratio_is_the_median_within_rounds_to_the_path_with_the_lowest_median():
    times = {f"ours {driver}": [1.0, 20.0, 3.0] for driver in ("list", "loop", "default")}
    times |= {"ours compiled": [2.0, 8.0, 3.0], "copy": [4.0, 4.0, 4.0]}
    times |= {"torch loop": [9.0, 9.0, 1.0], "torch foreach": [2.0, 10.0, 2.0]}
    times |= {"torch default": [1.0, 1.0, 1.0]}
    assert find_fastest(times) == "torch foreach"
    three = dict.fromkeys(("list", "loop", "default"), 1.5)
    others = {"compiled": 1.0, "default/default": 3.0, "compiled/copy": 0.75}
    assert compute_ratios(times) == three | others


def test_the_sizes_are_those_of_the_models():
    count = {name: sum(map(math.prod, size.shapes)) for name, size in SIZES.items()}
    assert count == {
        "784-128-10": 101_770,
        "784-1024-1024-10": 1_863_690,
        "600x4k": 2_457_600,
        "gpt2-small": 124_439_808,
    }


def test_sides_train_block_by_block_in_turn(tmp_path):
    file = tmp_path / "steps"
    made = {
        name: partial(sides.note_steps, name=name, file=file, wait=wait)
        for name, wait in (("A", 0.0), ("B", 0.02))
    }
    found = time_in_turns(made, block=2, steps=4, rounds=2)
    assert file.read_text()[:24] == 6 * "AABB"  # the last step of each belongs to no turn
    assert [other for _, other in found.values()] == ["a", "b"]
    quick, slow = (times for times, _ in found.values())
    assert len(quick) == len(slow) == 2
    assert min(time.wall for time in slow) >= 20  # the wait within each step, in milliseconds
    assert all(time.cpu < time.wall for time in slow)


def test_a_side_that_fails_ends_all_with_its_error(tmp_path):
    waiting = partial(sides.note_steps, name="A", file=tmp_path / "steps")
    with pytest.raises(RuntimeError, match=r"(?s)B: .*ZeroDivisionError: of this side"):
        time_in_turns({"A": waiting, "B": sides.fail}, block=2, steps=4, rounds=2)


@pytest.mark.slow
def test_the_account_of_a_step_has_every_callback_of_a_run(tmp_path):
    done = commands.run("bench", "mnist", "--pairs", "1", cwd=tmp_path, kind="new")
    assert (done.returncode, done.stderr) == (0, "")
    _, *rows = done.stdout.splitlines()
    names = [row[:31].strip() for row in rows]
    assert names[:5] == [
        *("MNIST step, ms", "MNIST step, CPU ms"),
        *("bare loop, SGD", "+ loader", "+ Trainer without callbacks"),
    ]
    callbacks = {"Lookahead", "MeanGradient", "OptimizerMonitor", "Validations", "Recorder"}
    callbacks |= {"LiveLoss", "Interrupt", "RandomState", "Lines", "Checkpoint"}
    others = {"loader", "validation", "writing of checkpoints"}
    assert {name.removeprefix("of it ") for name in names[5:]} == callbacks | others
    for row in rows:
        ours, least, ratio = map(float, row[31:].split()[:3])
        assert math.isfinite(ours)
        assert ratio == pytest.approx(ours / least, rel=0.5, abs=0.002)


@pytest.mark.slow
def test_what_saves_memory_does_and_says_what_becomes_of_the_numbers(tmp_path):
    done = commands.run("bench", "memory", "--pairs", "1", cwd=tmp_path, kind="new")
    assert (done.returncode, done.stderr) == (0, "")
    _, *rows = done.stdout.splitlines()
    peaks, differences = {}, {}
    for row in rows:
        peak, _, _, _, *_, difference = row[38:].split()
        peaks[row[:38].strip()], differences[row[:38].strip()] = float(peak), float(difference)
    assert list(peaks) == list(WAYS)
    assert max(peaks, key=lambda name: peaks[name]) == PLAIN
    assert peaks["activation checkpointing"] < peaks[PLAIN] / 2
    assert differences["activation checkpointing"] == 0 < differences["bf16-true"]


@pytest.mark.slow
def test_the_stages_are_timed_beside_what_torch_has(tmp_path):
    done = commands.run("bench", "zero", "--pairs", "1", cwd=tmp_path, kind="new")
    assert (done.returncode, done.stderr) == (0, "")
    rows = [row for row in done.stdout.splitlines() if " / " in row]
    sides = ["DataParallel / DDP", "Stage1 / DDP", "Stage2 / DDP", "Stage3 / FSDP2"]
    assert [row[:31].strip() for row in rows] == 2 * sides
    for row in rows:
        ours, torchs, ratio = map(float, row[31:].split()[:3])
        assert min(ours, torchs) > 0
        assert ratio == pytest.approx(ours / torchs, abs=0.006)


@pytest.mark.slow
def test_the_picture_of_a_step_is_its_record(tmp_path):
    done = commands.run("bench", "zero", "--figure", "step.svg", cwd=tmp_path, kind="new")
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "step.svg\n")
    words = re.findall(r">([^<>\n]+)</text>", (tmp_path / "step.svg").read_text(encoding="utf-8"))
    *_, last = (i for i, word in enumerate(words) if word == "MiB that a process holds")
    assert words.count("MiB that a process holds") == 4
    assert {"16", "12", "10.5", "9.5", "10", "8"} <= set(words[:last])


@pytest.mark.slow
def test_what_each_process_holds_in_a_step_is_what_the_stages_promise():
    record = record_stages()
    psi = LAYERS * LAYER_BYTES
    own = {"DataParallel": (1, 1, 1), "Stage1": (1, 1, 2), "Stage2": (1, 2, 2), "Stage3": (2, 2, 2)}
    for name, processes in record.items():
        parameters, gradients, state = (1 / n for n in own[name])
        for moments in processes:
            size = moments[-1].size
            assert list(size.values()) == [psi * parameters, psi * gradients, psi * 2 * state]
            most = {kind: max(moment.size[kind] for moment in moments) for kind in size}
            apart = LAYER_BYTES * (name == "Stage3")  # a layer, beside its own half of it
            assert most["parameters"] == psi * parameters + apart
            halves = LAYER_BYTES / 2 * (name in ("Stage2", "Stage3"))
            assert most["gradients"] == psi * gradients + halves
            assert most["optimizer state"] == size["optimizer state"]
