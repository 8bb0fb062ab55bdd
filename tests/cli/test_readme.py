"""The README is true: its commands run, its examples work, and it prints what they print.

What `pip install` does is for .ci/run to show, which takes the commands from the README too.
"""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.partition("&& ")[2] or line
    for language, block in BLOCKS
    if language == "bash"
    for line in block.splitlines()
    if "scripts/" in line
]
RESUME = [command for command in COMMANDS if "resume=" in command]
NEWTON = ["python scripts/train.py optimizer=newton", "python scripts/train.py optimizer=nag"]
NODES = [command for command in COMMANDS if "num_nodes=2" in command]
DRAWN = [command for command in COMMANDS if "scripts/play.py" in command or "plot.py" in command]
RECORDED = {"multirun": " -m task=", "outputs": "record_every"}  # what they draw, and its making
COMPARED = [
    command for command in COMMANDS if "scripts/compare.py" in command or "store=" in command
]
AGAINST = re.findall(r"`(?:--against )?(seconds|evaluations)`", README)
ELSEWHERE = [*RESUME, *NODES, *NEWTON, *DRAWN, *COMPARED]
ELSEWHERE += [c for c in COMMANDS if any(made in c for made in RECORDED.values())]
TORCHRUN = ["-m", "torch.distributed.run"]
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}  # or torchrun warns that it sets it


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the files that the README shows: those whose head has their name."""
    folder = tmp_path_factory.mktemp("readme")
    for _, block in BLOCKS:
        if named := re.match(r"(?:# @package.*\n)?# (\S+\.(?:py|yaml))\n", block):
            path = folder / named[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block, encoding="utf-8")
    return folder


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = ONE_THREAD if command.startswith("torchrun") else None
    return subprocess.run(
        words_of(command), cwd=folder, capture_output=True, text=True, timeout=290, env=environment
    )


def words_of(command: str) -> list[str]:
    program, *words = shlex.split(command.replace("scripts/", f"{ROOT}/scripts/"))
    return [sys.executable, *{"python": [], "torchrun": TORCHRUN}[program], *words]


def results(folder: Path) -> list[dict]:
    files = sorted(folder.glob("outputs/*/*/*/result.json"), key=lambda file: file.stat().st_mtime)
    return [json.loads(file.read_text()) for file in files]


def test_the_first_command_prints_what_the_readme_says_and_resumes(folder: Path):
    done = run(COMMANDS[0], folder)
    assert done.returncode == 0, done.stderr
    shown = next(block for _, block in BLOCKS if block.startswith("task "))
    for line in shown.splitlines():
        name = line.split()[0]
        if name != "..." and not line.endswith("<time>"):
            assert re.search(rf"^{re.escape(name)} ", done.stdout, flags=re.MULTILINE), name
    result = results(folder)[-1]
    assert result["metrics"]["test/accuracy"] >= 0.975
    [where] = folder.glob("outputs/mnist/nag/*")
    [resume] = RESUME
    again = run(resume.replace("<time>", where.name), folder)
    assert again.returncode == 0, again.stderr
    assert results(folder)[-1]["updates"] > result["updates"]


@pytest.mark.parametrize("command", [c for c in COMMANDS[1:] if c not in ELSEWHERE])
def test_every_other_command_runs(command: str, folder: Path):
    if "--help" in command:
        assert "optimizer=" in run(command, folder).stdout
        return
    before = len(list(folder.glob("**/result.json")))
    done = run(command, folder)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    if "scripts/bench.py" in command:
        assert "compiled" in done.stdout
        return
    if "scripts/theory.py" in command:
        assert len(list(folder.glob("outputs/theory/*.png"))) == 4
        return
    assert len(list(folder.glob("**/result.json"))) == before + 1


@pytest.mark.parametrize("place", RECORDED)
def test_recorded_runs_are_drawn(place: str, folder: Path):
    [command] = [c for c in COMMANDS if RECORDED[place] in c]
    before = set(folder.glob("multirun/*")) | set(folder.glob("outputs/mnist/nag/*"))
    assert run(command, folder).returncode == 0
    [made] = (set(folder.glob("multirun/*")) | set(folder.glob("outputs/mnist/nag/*"))) - before
    drawings = [c for c in DRAWN if f" {place}/" in c]
    drawings += [f"{c} --against {kind}" for c in drawings for kind in AGAINST if "plot.py" in c]
    for drawing in drawings:
        done = run(drawing.replace("<time>", made.name), folder)
        assert done.returncode == 0, done.stderr
        assert not done.stderr
        *_, last = done.stdout.splitlines()
        assert (folder / last.split("  ")[0]).is_file()


@pytest.mark.timeout(600)
def test_comparisons_write_their_report(folder: Path):
    """The first, which takes half an hour, with a smaller net, budget and so on."""
    tuned, sweep, earlier = COMPARED
    smaller = " budget=1 seeds=1 max_steps=25 task.hidden=[8] store=others"
    is_reported(run(tuned + smaller, folder), folder, "comparisons/mnist/sgd,momentum,nag,adam")
    assert run(sweep, folder).returncode == 0
    assert len(list(folder.glob("runs/*/result.json"))) == 16
    is_reported(run(earlier, folder), folder, "runs/comparison")


def is_reported(done: subprocess.CompletedProcess[str], folder: Path, where: str) -> None:
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"report  {where}")
    report = folder / last.split()[1]
    for name in ("report.html", "report.md", "report.json", "runs.csv", "times.md"):
        assert report.with_name(name).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("command", NEWTON)
def test_newton_and_nag_train_as_the_readme_says(command: str, folder: Path):
    assert command in COMMANDS
    done = run(command, folder)
    assert done.returncode == 0, done.stderr
    result = results(folder)[-1]
    assert result["metrics"]["test/accuracy"] >= 0.97
    named = f"| `{result['optimizer']}` | "
    [row] = [line for line in README.splitlines() if line.startswith(named) and "%" in line]
    _, _, updates, _, evaluations, *_ = row.replace(",", "").split("|")
    assert result["updates"] == int(updates)
    assert result["cost"] == pytest.approx(int(evaluations), rel=0.02)  # a solve may end early


@pytest.mark.parametrize("command", NODES, ids=lambda command: command.split()[0])
def test_a_command_for_two_nodes_makes_one_run_of_two_processes(command: str, folder: Path):
    """Both nodes are this machine, each with one process; Slurm is but its variables."""
    command = command.replace("-per-node 8", "-per-node 1") + " max_steps=10"
    commands, variables = [command] * 2, [{}, {}]
    if command.startswith("torchrun"):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            host = f"localhost:{free.getsockname()[1]}"
        commands = [command.replace("<host>:29500", host)] * 2
    else:
        assert command.startswith("srun --nodes 2 --ntasks-per-node 1 ")
        commands = [command[command.index("python") :]] * 2
        variables = [slurm(task) for task in range(2)]
    before = set(folder.glob("outputs/*/*/*"))
    nodes = [
        subprocess.Popen(
            words_of(line), cwd=folder, env=ONE_THREAD | more, stdout=-1, stderr=-1, text=True
        )
        for line, more in zip(commands, variables, strict=True)
    ]
    printed = [node.communicate(timeout=200) for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], printed
    assert sum("test/accuracy" in out for out, _ in printed) == 1
    [made] = set(folder.glob("outputs/*/*/*")) - before
    result = json.loads((made / "result.json").read_text())
    assert result["updates"] == 10
    assert result["hyperparameters"]["accelerator.num_nodes"] == 2


def slurm(task: int) -> dict[str, str]:
    """What srun tells a task, of which each of two nodes has one."""
    of_all = {"NTASKS": 2, "NTASKS_PER_NODE": 1, "NNODES": 2}
    of_step = {"STEP_NUM_TASKS": 2, "STEP_NUM_NODES": 2, "PROCID": task, "NODEID": task}
    named = {"JOB_NAME": "run", "NODELIST": "localhost", "JOB_ID": os.getpid(), "LOCALID": 0}
    return {f"SLURM_{key}": str(value) for key, value in (of_all | of_step | named).items()}


def test_the_article_table_is_what_the_runs_write(folder: Path):
    """The row that the README shows as a command."""
    [command] = [c for c in COMMANDS if "task.start=-8" in c]
    assert run(command, folder).returncode == 0
    assert results(folder)[-1]["evaluations"] == 34


@pytest.mark.parametrize(
    "code", [b for language, b in BLOCKS if language == "python" and "import" in b]
)
def test_python_examples_run(code: str, folder: Path):
    script = folder / "example.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, script], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_rule_it_shows_is_the_rule():
    shown = next(block for _, block in BLOCKS if "class NAGTorch" in block)
    source = (ROOT / "scratchopt" / "nag_torch.py").read_text(encoding="utf-8")
    assert shown[shown.index("    @staticmethod") :].strip() in source


def test_its_pictures_are_there():
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (ROOT / picture).is_file()
