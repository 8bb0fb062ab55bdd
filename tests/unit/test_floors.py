"""The floors of the house: every import runs up the list, none around in a circle.

Imports are read from the files, those within functions and of types alone included.
"""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.shared.paths import ROOT

METHODS = "methods"  # every file in scratchopt/ that has no floor of its own
# The rooms, floor by floor: each imports from itself and from the floors above it in this list.
FLOORS = (
    ("engine", "ranges", "snapshot", "step_hooks", "batches", "atomic_write", "objective"),
    ("hyperparameters", "pictures", "gradient_point", "method", "method_files"),
    ("second_order", "problems", "parameter_checks", "saved_state", "optimizer_repr"),
    ("optimizer",),
    (METHODS,),
    ("zero",),
    ("memory_footprint", "torch_twins", "schedules"),
    ("stability",),
    ("scratchopt",),  # the package's own names
    ("lightning",),
    ("config", "tasks"),
    ("runs",),
    ("theory", "plots", "playback", "playground", "bench"),
    ("compare",),
    ("cli",),
    ("notebook",),
    ("scripts",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
TOPS = ("scratchopt", "tasks", "scripts")


def modules(root: Path) -> dict[str, Path]:
    """Every Python file of a checkout, by the name of its module."""
    files = [path for top in TOPS for path in sorted((root / top).rglob("*.py"))]
    names = [".".join(path.relative_to(root).with_suffix("").parts) for path in files]
    return {name.removesuffix(".__init__"): path for name, path in zip(names, files, strict=True)}


@cache
def imports(root: Path) -> dict[str, set[str]]:
    """The modules that each module imports.

    `from scratchopt import NAG` is an import of `scratchopt.nag`, from which the package takes it.
    """
    known = modules(root)
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in known.items()}
    public = {
        alias.asname or alias.name: node.module
        for node in ast.walk(trees.get("scratchopt", ast.Module([], [])))
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }

    def imported(tree: ast.Module) -> Iterator[str]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, "a relative import"
                module = node.module or ""
                for alias in node.names:
                    inner = f"{module}.{alias.name}"
                    own = public.get(alias.name, module) if module == "scratchopt" else module
                    yield inner if inner in known else own

    return {name: {n for n in imported(tree) if n.startswith(TOPS)} for name, tree in trees.items()}


def room(module: str) -> str:
    """The room that a module lies in."""
    top, *inner = module.split(".")
    if top != "scratchopt" or not inner:
        return top
    return inner[0] if inner[0] in FLOOR else METHODS


def climbs(root: Path) -> list[str]:
    """The imports that do not run up the list."""
    return [
        f"{module} imports {other}"
        for module, others in imports(root).items()
        for other in sorted(others)
        if room(module) != room(other) and FLOOR[room(module)] <= FLOOR[room(other)]
    ]


def circle(root: Path) -> list[str]:
    """Modules that import one another in a circle, if there are any."""
    try:
        TopologicalSorter(imports(root)).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_every_room_is_there():
    rooms = {room(module) for module in modules(ROOT)}
    assert rooms == FLOOR.keys()


def test_every_import_runs_up_the_floors():
    assert climbs(ROOT) == []


def test_no_modules_import_one_another_in_a_circle():
    assert circle(ROOT) == []


def test_the_library_imports_no_task_and_a_task_nothing_of_runs():
    for module, others in imports(ROOT).items():
        tops = {other.partition(".")[0] for other in others}
        if module.startswith("scratchopt"):
            assert tops <= {"scratchopt"}, module
        if module.startswith("tasks"):
            below = {other for other in others if FLOOR[room(other)] > FLOOR["lightning"]}
            assert {room(other) for other in below} <= {"tasks"}, module


def test_the_path_is_touched_where_a_process_begins():
    files = [path for top in (*TOPS, "tests", "docs") for path in (ROOT / top).rglob("*.py")]
    touching = {
        path.relative_to(ROOT).as_posix()
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "path"
        if isinstance(node.value, ast.Name) and node.value.id == "sys"
    }
    # That of the site is for its extensions; the last stands for Python in tests, which gives each
    # new process its path.
    assert touching == {"scripts/_checkout.py", "docs/conf.py", "tests/shared/warm/server.py"}


def test_a_script_is_a_docstring_and_a_call():
    for path in (ROOT / "scripts").glob("[!_]*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 15, path.name


@pytest.mark.parametrize(
    ("module", "line", "climb"),
    [
        ("scratchopt/engine/vector.py", "import scratchopt.optimizer", "scratchopt.optimizer"),
        ("scratchopt/optimizer.py", "from scratchopt import NAG", "scratchopt.nag"),
        ("scratchopt/plots/panel.py", "from scratchopt.bench import times", "scratchopt.bench"),
        ("tasks/toy.py", "def f():\n    from scratchopt.runs import lock", "scratchopt.runs"),
    ],
)
def test_an_import_that_runs_down_is_found(tmp_path, module, line, climb):
    public = "from scratchopt.nag import NAG"
    for name, text in (
        ("scratchopt/__init__.py", public),
        ("scratchopt/nag.py", ""),
        (module, line),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    name = module.removesuffix(".py").replace("/", ".")
    assert climbs(tmp_path) == [f"{name} imports {climb}"]


def test_a_circle_is_found_where_types_alone_are_imported(tmp_path):
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/one.py").write_text("import tasks.two")
    guarded = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import tasks.one"
    (tmp_path / "tasks/two.py").write_text(guarded)
    assert set(circle(tmp_path)) == {"tasks.one", "tasks.two"}
