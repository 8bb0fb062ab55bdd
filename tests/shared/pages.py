"""README.md, CONTRIBUTING.md, CHANGELOG.md and docs/: their blocks, and the commands they show."""

import re
from textwrap import dedent

from tests.shared.paths import ROOT

FILES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in FILES}
# What CONTRIBUTING.md has of new files of the checkout is tried in a copy of it, each as a whole.
WALK = re.compile(r"^## (Add a (?:method|task))\n(.*?)(?=^## )", re.MULTILINE | re.DOTALL)
WALKS = dict(WALK.findall(PAGES["CONTRIBUTING.md"]))
PAGES["CONTRIBUTING.md"] = WALK.sub(r"## \1\n", PAGES["CONTRIBUTING.md"])


def blocks(text: str) -> list[tuple[str, str]]:
    """The fenced blocks of a page: language and content."""
    fence = r"^( *)```(\w*|\{[\w-]+\}.*?)\n(.*?)^\1```$"
    found = re.findall(fence, text, flags=re.MULTILINE | re.DOTALL)
    return [(language, dedent(block)) for _, language, block in found]


def commands(text: str) -> list[str]:
    """The command lines of a page: those of its blocks, and scripts between backquotes."""
    shown = [block.replace("\\\n", " ") for language, block in blocks(text) if language == "bash"]
    shown += re.findall(r"`(python (?:scripts/|-m )[^`]+)`", text)
    return list(dict.fromkeys(line for block in shown for line in block.splitlines() if line))


# What .ci/run or another test does: where, and the line or the name that does it there.
DASHBOARD = "tests/browser/test_dashboard.py"
THEORY = "tests/theory/test_pictures.py"
WHEEL = "dist/scratchopt-<version>-py3-none-any.whl"
IMPORTS = (
    'python -c "import scratchopt.lightning, scratchopt.compare, scratchopt.playback; '
    'print(scratchopt.__version__)"'
)
ELSEWHERE = {
    'pip install -e ".[dev]" && pytest -n auto': (".ci/run", 'eval "$test_command"'),
    'pytest -n auto -m "slow or full"': (".ci/run", 'pytest -n auto -m "slow or full"'),
    "ruff check .": (".ci/run", "ruff check ."),
    "ruff format --check .": (".ci/run", "ruff format --check ."),
    "basedpyright": (".ci/run", "basedpyright"),
    "tensorboard --logdir multirun/<time>": (DASHBOARD, '"--logdir"'),
    'pip install -e ".[docs]" && sphinx-build -W docs site': (
        "tests/site/conftest.py",
        '"--fail-on',
    ),
    "pre-commit install": (".pre-commit-config.yaml", "repos:"),
    "pip wheel . --no-deps --wheel-dir dist": (".ci/run", "pip wheel . --no-deps --wheel-dir"),
    f"python -m zipfile --list {WHEEL}": (".ci/run", "python -m zipfile --list"),
    f"pip install {WHEEL}": (".ci/run", "pip install --force-reinstall"),
    IMPORTS: (".ci/run", IMPORTS),
    "python scripts/theory.py": (THEORY, "test_it_writes_every_picture"),
    "python scripts/theory.py --table": (THEORY, "test_the_command_prints_the_page_s_table"),
    "python scripts/bench.py": ("tests/cli/test_bench.py", "test_"),
    "python scripts/bench.py mnist": ("tests/cli/test_bench.py", '"bench", "mnist"'),
    "python scripts/bench.py memory": ("tests/cli/test_bench.py", '"bench", "memory"'),
    "python scripts/bench.py zero": ("tests/cli/test_bench.py", '"bench", "zero"'),
    "python scripts/bench.py zero --figure step.png": (
        "tests/cli/test_bench.py",
        '"bench", "zero", "--figure"',
    ),
    "python -m http.server 8000": ("tests/browser/test_playground.py", '"-m", "http.server"'),
    "python -m tests.contract.test_zero_memory": (
        "tests/contract/test_zero_memory.py",
        "test_what_lies_in_memory_after_a_backward_pass_is_what_was_predicted_to_the_byte",
    ),
    "python -m tests.programs.kills 50 4 0": (
        "tests/cli/test_kills.py",
        "test_killed_runs_go_on_bit_for_bit_and_lose_no_checkpoint",
    ),
    "python -m tests.programs.semantics": (
        "tests/lightning/test_semantics.py",
        "test_every_cell_is_right_or_refused_as_the_table_says",
    ),
}
# What needs hardware, or hours: the module is there, and is run by hand.
BY_HAND = ("python -m tests.programs.gpu", "python -m tests.programs.calibration 400")

HEAD = re.compile(r"(?:# @package.*\n)?# (\S+\.(?:py|yaml))\n")  # of a block that is a file
