"""README.md, CONTRIBUTING.md, CHANGELOG.md and docs/: links, names, and what others do for them."""

import ast
import csv
import math
import re
import statistics

import pytest

import scratchopt
from tests.shared.pages import BY_HAND, ELSEWHERE, PAGES, blocks, commands
from tests.shared.paths import ROOT

STUDIED = ("logistic_regression", "cnn", "transformer")


def test_commands_that_are_run_elsewhere_are():
    shown = {command for page in PAGES for command in commands(PAGES[page])}
    for command, (place, line) in ELSEWHERE.items():
        assert command in shown
        assert line in (ROOT / place).read_text(encoding="utf-8"), command
    for command in BY_HAND:
        assert command in shown
        assert (ROOT / f"{command.split()[2].replace('.', '/')}.py").is_file()


def test_ci_finds_the_test_command():
    found = re.findall(r'^pip install -e "\.\[dev\]" && pytest.*', PAGES["README.md"], re.MULTILINE)
    assert len(found) == 1
    assert found[0] in ELSEWHERE


def test_extras_are_those_of_the_project():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for page, text in PAGES.items():
        for extra in re.findall(r'pip install -e "\.\[(\w+)\]"', text):
            assert re.search(rf"^{extra} = \[", project, re.MULTILINE), (page, extra)


def test_the_changelog_knows_the_version():
    assert re.search(rf"\b{re.escape(scratchopt.__version__)}\b", PAGES["CHANGELOG.md"])


@pytest.mark.parametrize(
    ("page", "name", "file"),
    [
        ("README.md", "NAG", "nag.py"),
        ("docs/explanation/zero.md", "DataParallel", "zero/data_parallel.py"),
        ("docs/explanation/zero.md", "Stage1", "zero/stage1.py"),
        ("docs/explanation/zero.md", "Stage2", "zero/stage2.py"),
        ("docs/explanation/zero.md", "Stage3", "zero/stage3.py"),
        ("docs/explanation/zero.md", "SharedBucket", "zero/shared_bucket.py"),
    ],
)
def test_the_code_that_a_page_shows_is_the_file_s(page: str, name: str, file: str):
    [shown] = [block for _, block in blocks(PAGES[page]) if block.startswith(f"class {name}")]
    source = (ROOT / "scratchopt" / file).read_text(encoding="utf-8")
    [shown_class] = ast.parse(shown).body
    [real_class] = [n for n in ast.parse(source).body if getattr(n, "name", None) == name]
    assert isinstance(shown_class, ast.ClassDef)
    assert isinstance(real_class, ast.ClassDef)
    for part in ("bases", "body"):
        real = [ast.dump(node) for node in getattr(real_class, part)]
        for node in getattr(shown_class, part):
            assert ast.dump(node) in real


def test_the_study_s_table_is_of_its_runs():
    """The lr of each method on each task, and the median of its seeds; – stands for more."""
    with (ROOT / "docs" / "explanation" / "study_runs.csv").open(encoding="utf-8") as file:
        runs = [run for run in csv.DictReader(file) if run["role"] == "tuned"]
    page = PAGES["docs/explanation/study.md"]
    table = re.findall(r"^\| `(\w+)` \| (\S+ \| \d.*) \|$", page, re.MULTILINE)
    assert len(table) == 16
    for name, row in table:
        lrs, costs = row.split(" | ")[::2], row.split(" | ")[1::2]
        for task, lr, cost in zip(STUDIED, lrs, costs, strict=True):
            own = [run for run in runs if (run["task"], run["optimizer"]) == (task, name)]
            assert {run["optimizer.lr"] for run in own} == {lr}
            median = statistics.median(float(run["cost_to_target"]) for run in own)
            assert cost.split(" ")[0] == ("–" if median == math.inf else f"{median:.0f}")


def test_the_readme_is_a_page():
    assert PAGES["README.md"].count("\n") <= 200


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```$", "", PAGES[page], flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_and_pictures_are_there(page: str):
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.resolve().relative_to(ROOT).as_posix()), target


def test_every_page_and_picture_of_docs_is_reached_from_another():
    linked = {
        ((ROOT / page).parent / target.partition("#")[0]).resolve()
        for page in PAGES
        for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page])
        if not target.startswith(("http", "#"))
    }
    of_the_site = (".py", ".pyc", ".css")
    for file in (ROOT / "docs").rglob("*.*"):
        if file.suffix not in of_the_site and not file.read_bytes().startswith(b"```{include}"):
            assert file in linked, file


@pytest.mark.parametrize("page", PAGES)
def test_the_files_and_modules_that_a_page_names_are_there(page: str):
    text = re.sub(r"^\| `[^`]+` (?=\| `)", "", PAGES[page], flags=re.MULTILINE)  # older names
    for name in re.findall(r"`((?:scratchopt|tasks|conf|scripts|tests|docs|\.ci)/[\w./-]*)`", text):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"`(scratchopt(?:\.[a-z_]+)+)", text):
        path = ROOT / name.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").is_file() or is_public(name), name


def is_public(name: str) -> bool:
    """Whether a dotted name is that of something in a module, such as `scratchopt.from_torch`."""
    module, _, attribute = name.rpartition(".")
    path = ROOT / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return file.is_file() and re.search(rf"\b{attribute}\b", file.read_text("utf-8")) is not None


def test_the_page_of_the_tests_names_every_file_of_them():
    page = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
    files = {f"{path.parent.name}/{path.name}" for path in (ROOT / "tests").glob("*/test_*.py")}
    assert set(re.findall(r"`(\w+/test_\w+\.py)`", page)) == files
