"""What runs are made by: a hash of the code, and versions of what it stands on."""

import json
import platform
import sys
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import sha256
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scratchopt.config.checkout import CHECKOUT

PACKAGES = ("torch", "lightning", "scratchopt", "hydra-core")
NUMERIC = ("torch", "lightning", "torchmetrics", "numpy")  # what a number may depend on
# The code that has a part in training: all of these folders, and these files of others.
FOLDERS = (
    *("scratchopt/engine", "scratchopt/lightning", "scratchopt/pictures"),
    *("scratchopt/problems", "scratchopt/second_order", "tasks"),
)
FILES = (
    "config/accelerator",
    *(f"runs/{x}" for x in ("callbacks", "result", "trainer", "training")),
)


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that a result may depend on."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def code_of(config: dict[str, Any]) -> str:
    """SHA-256, 16 hexadecimal digits, of the code that a validated configuration runs.

    It covers this project's code for training, the modules that the `_target_`s name if they lie
    elsewhere (a package with all its Python files, but not what these import in turn), and the
    versions of Python and of the numerical packages.
    """
    return _code(config, _ours, _theirs)


def has_changed(config: dict[str, Any]) -> bool:
    """Tells whether that code is another than when `code_of` first read it, in this process."""
    return _code(config, _ours.__wrapped__, _theirs.__wrapped__) != code_of(config)


def _code(config: dict[str, Any], ours: Callable[[], str], theirs: Callable[[str], str]) -> str:
    nodes = [config[name] for name in ("task", "optimizer", "datamodule")]
    modules = {target.partition(".")[0] for target in _targets(nodes)}
    parts = [ours(), *(theirs(name) for name in sorted(modules - {"scratchopt", "tasks"}))]
    return sha256("".join(parts).encode()).hexdigest()[:16]


def _targets(node: Any) -> Iterator[str]:
    """The `_target_`s of a node and of all nodes in it."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield str(node["_target_"])
        node = list(node.values())
    if isinstance(node, list):
        for inner in node:
            yield from _targets(inner)


@cache
def _ours() -> str:
    files = [
        *(CHECKOUT / "scratchopt").glob("*.py"),
        *(path for folder in FOLDERS for path in (CHECKOUT / folder).rglob("*.py")),
        *(CHECKOUT / "scratchopt" / f"{name}.py" for name in FILES),
    ]
    known = {name: _version(name) for name in NUMERIC}
    system = [platform.python_version(), platform.machine(), sys.platform]
    return _hash_of(files, CHECKOUT) + json.dumps([system, known])


@cache
def _theirs(name: str) -> str:
    """The version of a top-level module, if it is installed as a package's, else its files."""
    spec = find_spec(name)  # of a module without dots: imports nothing
    if spec is None:
        return name
    if spec.origin is None:  # a package without an __init__.py
        return "".join(_hash_of(Path(p).rglob("*.py"), Path(p)) for p in _folders(spec))
    origin = Path(spec.origin)
    if "site-packages" in origin.parts:
        packages = _distributions().get(name, [name])  # of a namespace there may be several
        return " ".join(f"{package} {_version(package)}" for package in packages)
    files = [origin] if spec.submodule_search_locations is None else origin.parent.rglob("*.py")
    return _hash_of(files, origin.parent)


_distributions = cache(packages_distributions)  # which reads about every installed file


def _folders(spec: ModuleSpec) -> list[str]:
    return sorted(spec.submodule_search_locations or [])


def _hash_of(files: Any, root: Path) -> str:
    whole = sha256()
    for path in sorted(files):
        content = path.read_bytes()
        whole.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return whole.hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
