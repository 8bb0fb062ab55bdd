"""README.md, CONTRIBUTING.md and docs/ are true: what they show runs, and prints what they say.

Every command is run, in the order of its page and all in one directory, long ones with arguments
that shorten them; those are run as they stand by tests marked slow. What .ci/run or another test
does is matched against it in tests/unit/test_pages.py.
"""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.shared.commands import python
from tests.shared.pages import BY_HAND, ELSEWHERE, HEAD, PAGES, WALKS, blocks, commands
from tests.shared.paths import ROOT, SCRIPTS

IN_YOUR_CODE = "docs/how-to/your_code.md"
# What makes a command short, by what is in it: what is replaced, and what is added.
SMALL_NET = "task.hidden=[8] max_steps=6 figures=false"
SHORT: dict[str, tuple[dict[str, str], str]] = {
    "scripts/compare.py task=mnist": (
        {"budget=16": "budget=1", "seeds=10": "seeds=1"},
        "max_steps=25 task.hidden=[8] store=others",
    ),
    "optimizers=[adam,adam_cosine]": (
        {"budget=16": "budget=1", "seeds=10": "seeds=1"},
        "max_steps=25 validate_steps=25 store=others",
    ),
    "task=[logistic_regression,cnn,transformer]": (
        {"logistic_regression,cnn,transformer": "logistic_regression", "budget=8": "budget=1"}
        | {"sgd,momentum,nag,adagrad,rmsprop,adam,adamw,nadam,radam,": "", "seeds=10": "seeds=1"},
        "max_steps=2 validate_steps=1 store=others",
    ),
    "scripts/compare.py task=autoencoder": (
        {"[sgd,momentum,nag]": "[nag]", "budget=16": "budget=1", "seeds=10": "seeds=1"},
        "max_steps=2 validate_steps=1 task.hidden=[8] store=others",
    ),
    "task.activation=tanh": (
        {"[50,50,50]": "[8]", "=5000": "=100", "=55000": "=59900", "=300": "=4"},
        "figures=false",
    ),
    "task=transformer optimizer=adam": (
        {"=0,100": "=0,1", "range(5)": "0", "=0.001,0.003,0.006,0.01": "=0.001"},
        "task.width=8 task.layers=1 max_steps=3",
    ),
    "schedule.momentum_rise=25": (
        {"=2000": "=2", "=250": "=1", "range(100,106)": "100", "=0.01,0.03,0.06": "=0.01"},
        "figures=false",
    ),
    "hydra/launcher=joblib": (
        {
            "0.01,0.015,0.02,0.03,0.05,0.07,": "",
            "0.15,0.2,0.3,0.5,0.7,1.0,1.5,2.0,": "1.0,",
            ",0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.75,0.8,0.85,0.9,0.93,0.95,0.97,0.99": ",0.5,0.9",
        },
        "",
    ),
    # A cluster's launcher starts what Hydra's own does.
    "hydra/launcher=": (
        {"range(10)": "0", "=0.03,0.1": "=0.1", "threads=2": "threads=1", "/shared": "shared"},
        f"validate_steps=3 {SMALL_NET}",
    ),
    "--from /shared/runs": ({"/shared": "shared"}, ""),
    "plot.py /shared/runs": ({"/shared": "shared"}, ""),
    "task=noisy_quadratic": (
        {"range(4)": "0,1", "=0.1,0.3": "=0.1"},
        "max_steps=20 validate_steps=10",
    ),
    "scripts/bench.py step": ({"784-128-10 600x4k": "784-128-10"}, "--rounds 1"),
    "resume=": ({}, "max_steps=9"),
    "max_steps=50000": ({"=50000": "=500"}, ""),
    "record_every=10": ({"=200": "=20"}, "task.hidden=[8]"),
    "num_nodes=2": ({"-per-node 8": "-per-node 1"}, SMALL_NET),
    "accelerator=ddp": ({}, SMALL_NET),
    "task=transformer accelerator=zero": (
        {},
        "task.width=8 task.layers=1 max_steps=2 figures=false",
    ),
    "accelerator=zero": ({}, SMALL_NET),
    "scripts/train.py optimizer=": ({}, SMALL_NET),
}


def short(command: str) -> str:
    """A command that does the same in little time; the same command, where it takes little."""
    for part, (replaced, added) in SHORT.items():
        if part in command:
            for old, new in replaced.items():
                assert old in command, f"{command} has no {old}"
                command = command.replace(old, new)
            return re.sub(r" hydra(/|\.)launcher\S+", "", f"{command} {added}".strip())
    return command


# Those that are long as they stand, and are run so too. Others have tests of their own below; or
# are a comparison of half an hour and a sweep of minutes, of which every part is tested.
LONG = dict.fromkeys(
    command
    for page in PAGES.values()
    for command in commands(page)
    if re.search(r"train\.py (optimizer|accelerator)=\S+ ", command)
    if "num_nodes" not in command
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the files that the pages show: those whose head has their name."""
    folder = tmp_path_factory.mktemp("docs")
    for page in PAGES:
        for _, block in blocks(PAGES[page]):
            if named := HEAD.match(block):
                path = folder / named[1]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def done() -> set[str]:
    """The commands that were run in the folder, as several pages show the same."""
    return set()


def words_of(command: str, folder: Path) -> list[str]:
    """A command as `subprocess` takes it; `<time>` is the newest that there is."""
    for place, rest in re.findall(r"([^\s=]+)<time>(\S*)", command):
        found = folder.glob(f"{place}*{rest}")
        newest = max(found, key=lambda path: path.stat().st_mtime_ns).relative_to(folder)
        command = command.replace(f"{place}<time>{rest}", str(newest))
    program, *words = shlex.split(command.replace("scripts/", f"{SCRIPTS}/"))
    torchrun = ["-c", "from torch.distributed.run import main; main()"]  # as the program has it
    start = {"python": [], "torchrun": torchrun}[program]
    return [python("warm"), *start, *words]


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command that must end well, and say nothing of warnings or errors."""
    one_thread = {"OMP_NUM_THREADS": "1"} if command.startswith("torchrun") else {}  # it would warn
    done = subprocess.run(
        words_of(command, folder),
        cwd=folder,
        env=os.environ | one_thread,
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    progress = r"\d+ of at most \d+: .*\n|compare.py: .* left out\n"
    assert not re.sub(progress, "", done.stderr), command
    return done


def results(folder: Path) -> list[dict[str, Any]]:
    """The results of the runs beneath a directory, the latest last."""
    files = sorted(folder.glob("**/result.json"), key=lambda file: file.stat().st_mtime_ns)
    return [json.loads(file.read_text()) for file in files]


def check(command: str, folder: Path) -> str:
    """Runs a command and looks for what it has to leave; returns what it printed."""
    before = len(results(folder))
    printed = run(command, folder).stdout
    made = len(results(folder)) - before
    if "--help" in command or "--cfg" in command:
        assert re.search("^ *optimizer[=:]", printed, re.MULTILINE)
    elif "scripts/compare.py" in command:
        report = folder / printed.splitlines()[-1].removeprefix("report  ")
        for name in ("report.html", "report.md", "report.json", "runs.csv", "times.md"):
            assert report.with_name(name).is_file(), name
    elif "--rows" in command:
        assert "step" in printed
    elif "plot.py" in command or "play.py" in command:
        *_, last = printed.splitlines()
        assert (folder / last.split("  ")[0]).is_file()
    elif "scripts/bench.py" in command:
        assert "compiled" in printed
    elif "resume=" in command:
        assert made == 0
        assert results(folder)[-1]["updates"] > 6
    elif " -m " in command and "train.py" in command:
        swept = [w.partition("=")[2] for w in shlex.split(command) if "[" not in w]
        count = 1
        for values in swept:
            numbers = re.fullmatch(r"range\((\d+)\)", values)
            count *= int(numbers[1]) if numbers else values.count(",") + 1
        assert made + printed.count(": complete already") == count
    elif "scripts/" not in command:  # a page's own program; the page says what it prints
        assert any(f"`{printed.strip()}`" in text for text in PAGES.values())
    else:
        assert made == 1
    return printed


# README.md's two for the article's table; they have a test below.
TABLE = [line for line in commands(PAGES["README.md"]) if re.search(r"start=-8,8|plot\.py", line)]


QUICK = ["README.md", IN_YOUR_CODE, "docs/explanation/speed.md"]
# The chapters that follow the article show what their commands print.
ARTICLE = [page for page in PAGES if re.match(r"docs/tutorial/0[1-6]", page)]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=() if page in QUICK else pytest.mark.slow)
        for page in PAGES
        if page not in ARTICLE
    ],
)
def test_the_commands_of_a_page_run_in_its_order(page: str, folder: Path, done: set[str]):
    left_out = {*ELSEWHERE, *BY_HAND, *done, *(TABLE if page == "README.md" else ())}
    for command in commands(PAGES[page]):
        command = command.removeprefix("pip install -e . && ")
        if command in left_out or "num_nodes" in command:
            continue
        check(short(command), folder)
        if "<time>" not in command:  # or it may mean another run on the next page
            done.add(command)
        if "plot.py" in command:
            for kind in re.findall(r"`--against (\w+)`", PAGES[page]):
                check(f"{command} --against {kind}", folder)


@pytest.mark.slow
@pytest.mark.parametrize("command", LONG)
def test_a_long_command_runs_as_it_stands(command: str, folder: Path):
    check(command.removeprefix("pip install -e . && "), folder)


# What the pages say that commands print


def shown_table() -> dict[str, str]:
    """The rows that README.md shows of its first command's output."""
    [block] = [
        b for language, b in blocks(PAGES["README.md"]) if not language and b.startswith("task ")
    ]
    rows = [line.split(maxsplit=1) for line in block.splitlines() if line != "..."]
    return dict(rows)


def printed_table(printed: str) -> dict[str, str]:
    """The rows that a run prints."""
    rows = [line.split(maxsplit=1) for line in printed.splitlines() if line]
    return dict(rows)


def test_the_first_command_prints_the_rows_that_the_page_shows(folder: Path):
    shown = shown_table()
    printed = printed_table(
        check(short(commands(PAGES["README.md"])[0].partition("&& ")[2]), folder)
    )
    assert [name for name in printed if name in shown] == list(shown)
    for name in ("task", "optimizer", "status", "dashboard"):
        assert printed[name] == shown[name]
    assert re.fullmatch(shown["run"].replace("<time>", r"[\d_-]+"), printed["run"])


@pytest.mark.slow
def test_the_first_command_prints_what_the_page_shows_and_the_run_resumes(folder: Path):
    shown = shown_table()
    printed = printed_table(check(commands(PAGES["README.md"])[0].partition("&& ")[2], folder))
    for name in ("task", "optimizer", "status", "updates", "evaluations", "dashboard"):
        assert printed[name] == shown[name]
    # To the rounding of sums, which the number of threads decides.
    assert float(printed["test/accuracy"]) == pytest.approx(
        float(shown["test/accuracy"]), abs=0.003
    )
    assert float(printed["test/loss"]) == pytest.approx(float(shown["test/loss"]), abs=0.01)
    hold_to_row("nag", results(folder)[-1])
    page = PAGES["docs/how-to/train.md"]
    [resume] = [command for command in commands(page) if "resume=" in command]
    before = results(folder)[-1]["updates"]
    check(resume, folder)
    assert results(folder)[-1]["updates"] > before


@pytest.mark.slow
def test_the_commands_of_the_article_s_table_print_its_rows(folder: Path):
    """Those that README.md shows beneath the table, from SGD to NAG."""
    train, plot = TABLE
    check(train, folder)
    head, *rows = check(plot, folder).partition("\n\n")[0].splitlines()
    columns = head.split()
    assert columns[:3] == ["optimizer", "start", "lr"]
    printed = {}
    for row in rows:
        optimizer, start, lr, *_, status, updates, evaluations, _, x = row.split()
        printed[optimizer, float(start), float(lr)] = status, updates, evaluations, x
    shown = {
        "SGD": "sgd",
        "Momentum": "momentum",
        "NAG, exact": "nag",
        "NAG, PyTorch's form": "nag_torch",
    }
    found = 0
    for line in PAGES["README.md"].splitlines():
        method, *cells = line.strip("| ").split(" | ")
        if method not in shown:
            continue
        start, lr, _, _, here = cells
        key = shown[method], float(start.replace("−", "-")), float(lr)
        status, updates, evaluations, x = printed[key]
        if here.startswith("stuck"):
            assert (status, here) == ("finished", f"stuck at {x}")
        elif "updates" in here:
            assert here == f"{updates} updates, {evaluations} evaluations"
        else:
            assert (status, here) == ("converged", evaluations)
        found += 1
    assert found == 9


@pytest.mark.slow
@pytest.mark.parametrize("page", ARTICLE)
def test_a_chapter_shows_what_its_commands_print(page: str, folder: Path):
    """Row by row; a gradient of nothing but rounding is left out: it is the processor's."""
    printed = [check(short(command), folder) for command in commands(PAGES[page])]
    for block in (block for language, block in blocks(PAGES[page]) if language == "text"):
        assert any(has_rows(text, block.splitlines()) for text in printed), block


def has_rows(text: str, rows: list[str]) -> bool:
    """Tells whether a text has lines that begin with these, in their order; "..." is any."""
    lines = iter(text.splitlines())
    return all(row == "..." or any(line.startswith(row) for line in lines) for row in rows)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_newton_trains_as_the_page_says(folder: Path):
    command = "python scripts/train.py optimizer=newton"
    assert command in commands(PAGES[IN_YOUR_CODE])
    check(command, folder)
    hold_to_row("newton", results(folder)[-1])


def hold_to_row(optimizer: str, result: dict[str, Any]) -> None:
    """Holds a run of MNIST to the row of its optimizer."""
    assert result["metrics"]["test/accuracy"] >= 0.97
    named = f"| `{optimizer}` | "
    rows = PAGES[IN_YOUR_CODE].splitlines()
    [row] = [line for line in rows if line.startswith(named) and "%" in line]
    _, _, updates, _, evaluations, *_ = row.replace(",", "").split("|")
    assert result["updates"] == int(updates)
    assert result["cost"] == pytest.approx(int(evaluations), rel=0.02)  # a solve may end early


# The walk that adds a task


def test_the_walk_of_contributing_adds_a_task(tmp_path: Path):
    """Its files, schema and row, in a copy of the checkout; its commands do what it says."""
    for name in ("conf", "scratchopt", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    data = shutil.ignore_patterns("data")
    shutil.copytree(ROOT / "tasks", tmp_path / "tasks", ignore=data)
    walk = WALKS["Add a task"]
    groups = tmp_path / "scratchopt" / "config" / "groups.py"
    schemas = groups.read_text(encoding="utf-8")
    for language, block in blocks(walk):
        if named := HEAD.match(block):
            (tmp_path / named[1]).write_text(block, encoding="utf-8")
        elif language == "python":
            schemas = schemas.replace(
                "# A target that is not", f"{block}\n\n# A target that is not"
            )
    [row] = re.findall(r'`("tasks\.\w+\.\w+": \w+)`', walk.replace("\n", ""))
    groups.write_text(schemas.replace("SCHEMAS = {\n", f"SCHEMAS = {{\n    {row},\n"), "utf-8")
    trains, refused = (
        subprocess.run(
            [python("warm"), *shlex.split(command)[1:]],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        for command in commands(walk)
    )
    assert trains.returncode == 0, trains.stderr
    [result] = results(tmp_path)
    assert result["metrics"]["val/loss"] < 0.1  # the target of its comparison
    assert list(tmp_path.glob("outputs/two_moons/nag/*/figures/*.png"))
    assert refused.returncode == 1
    assert f"`{refused.stderr.strip()}`" in walk


# Several machines


NODES = [command for page in PAGES for command in commands(PAGES[page]) if "num_nodes=2" in command]


@pytest.mark.slow
@pytest.mark.parametrize("command", NODES, ids=lambda command: command.split()[0])
def test_a_command_for_two_nodes_makes_one_run_of_two_processes(command: str, folder: Path):
    """Both nodes are this machine, each with one process; Slurm is but its variables."""
    command = short(command)
    variables: list[dict[str, str]] = [{}, {}]
    if command.startswith("torchrun"):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            command = command.replace("<host>:29500", f"localhost:{free.getsockname()[1]}")
    else:
        assert command.startswith("srun --nodes 2 --ntasks-per-node 1 ")
        command = command[command.index("python") :]
        variables = [slurm(task) for task in range(2)]
    nodes = [
        subprocess.Popen(
            words_of(command, folder),
            cwd=folder,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for more in variables
    ]
    before = len(results(folder))
    printed = [node.communicate(timeout=200) for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], printed
    assert sum("test/accuracy" in out for out, _ in printed) == 1
    *_, result = made = results(folder)
    assert len(made) == before + 1
    assert result["updates"] == 6
    assert result["hyperparameters"]["accelerator.num_nodes"] == 2


def slurm(task: int) -> dict[str, str]:
    """The variables that srun gives a task, of which each of two nodes has one."""
    of_all = {"NTASKS": 2, "NTASKS_PER_NODE": 1, "NNODES": 2}
    of_step = {"STEP_NUM_TASKS": 2, "STEP_NUM_NODES": 2, "PROCID": task, "NODEID": task}
    named = {"JOB_NAME": "run", "NODELIST": "localhost", "JOB_ID": os.getpid(), "LOCALID": 0}
    return {f"SLURM_{key}": str(value) for key, value in (of_all | of_step | named).items()}


# Examples


@pytest.mark.parametrize(
    ("page", "code"),
    [
        pytest.param(page, block, id=f"{page}-{i}")
        for page in PAGES
        for i, (language, block) in enumerate(blocks(PAGES[page]))
        if language == "python" and "import" in block
        if page != "docs/how-to/frameworks.md"  # tests/unit/test_frameworks.py
        if "torch.distributed" not in block  # the page starts it with torchrun
    ],
)
def test_python_examples_run_and_print_what_they_say(page: str, code: str, folder: Path):
    script = folder / "example.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run([python("warm"), script], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if said := re.search(r"^print\(.*\n# (.*)$", code, flags=re.MULTILINE):
        assert done.stdout.strip() == said[1]
