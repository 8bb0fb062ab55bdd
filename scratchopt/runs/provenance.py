"""The provenance of a run: a hash of its code, and versions of what the code stands on."""

import json
import platform
import sys
from collections.abc import Callable, Iterable
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from pkgutil import extend_path
from typing import Any

from scratchopt.config.checkout import CHECKOUT
from scratchopt.config.fields import UserError
from scratchopt.runs.targets import MADE, list_targets

PACKAGES = ("torch", "lightning", "scratchopt", "hydra-core")
NUMERIC = ("torch", "lightning", "torchmetrics", "numpy")  # what a number may depend on
# The code that has a part in training: all of these folders, and these files of others.
FOLDERS = (
    *("scratchopt/engine", "scratchopt/lightning", "scratchopt/pictures"),
    *("scratchopt/problems", "scratchopt/second_order", "scratchopt/zero", "tasks"),
)
FILES = (
    "config/accelerator",
    *(f"runs/{x}" for x in ("callbacks", "instantiation", "result", "trainer", "training")),
)


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that a result may depend on, in this process."""
    return dict(_versions())


@cache
def _versions() -> dict[str, str | None]:
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def hash_code(config: dict[str, Any]) -> str:
    """Hashes the code that a validated configuration runs: 16 hexadecimal digits of SHA-256.

    It covers this project's code for training, the modules that the `_target_`s name if they lie
    elsewhere (a package with all its Python files, but not what these import in turn), and the
    versions of Python and of the numerical packages.
    """
    return _code(config, _ours, _theirs)


def has_changed(config: dict[str, Any]) -> bool:
    """Tells whether that code is another than when `hash_code` first read it, in this process."""
    return _code(config, _ours.__wrapped__, _theirs.__wrapped__) != hash_code(config)


def _code(config: dict[str, Any], ours: Callable[[], str], theirs: Callable[[str], str]) -> str:
    modules = {target.partition(".")[0] for target in _targets_of(config) if not _is_ours(target)}
    parts = [ours(), *(theirs(name) for name in sorted(modules))]
    return sha256("".join(parts).encode()).hexdigest()[:16]


def refuse_hidden_targets(config: dict[str, Any]) -> None:
    """Refuses a `_target_` in a file of the working directory that one of this checkout hides.

    A user's own package may be called `tasks` or `scripts`, but of two files with the same name
    this checkout's is found.

    Raises:
        UserError: with the file that is to be renamed.
    """
    here = Path.cwd()
    if (here / "scratchopt" / "optimizer.py").exists():
        return  # a checkout of this project, and no user's package
    for target in _targets_of(config):
        top, *inner = target.split(".")
        name = inner[0] if len(inner) > 1 else "__init__"
        first = top == "tasks" or not (here / top / "__init__.py").exists()  # scripts/ has none
        ours = top in ("tasks", "scripts") and first and (CHECKOUT / top / f"{name}.py").exists()
        if ours and ((here / top / f"{name}.py").exists() or (here / top / name).is_dir()):
            raise UserError(
                f"_target_={target}: the name is taken by {top}/{name}.py of scratchopt, which "
                "hides the one in this directory; give yours another name"
            )


def _targets_of(config: dict[str, Any]) -> list[str]:
    return [target for group in MADE for _, target in list_targets(config[group], group)]


def _is_ours(target: str) -> bool:
    """Tells this project's targets from users', whose package may be called `tasks`, too."""
    top, *inner = target.split(".")
    return top == "scratchopt" or (
        top == "tasks" and (len(inner) < 2 or (CHECKOUT / "tasks" / f"{inner[0]}.py").exists())
    )


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
    if name == "tasks":  # the folders of that name beside ours
        return _hash_folders(extend_path([str(CHECKOUT / name)], name)[1:])
    spec = find_spec(name)  # of a module without dots: imports nothing
    if spec is None:
        return name
    if spec.origin is None:  # a package without an __init__.py
        return _hash_folders(sorted(spec.submodule_search_locations or []))
    if not spec.has_location:  # built into Python, whose version is told beside it
        return name
    origin = Path(spec.origin)
    if "site-packages" in origin.parts:
        packages = _distributions().get(name, [name])  # of a namespace there may be several
        return " ".join(f"{package} {_version(package)}" for package in packages)
    files = [origin] if spec.submodule_search_locations is None else origin.parent.rglob("*.py")
    return _hash_of(files, origin.parent)


_distributions = cache(packages_distributions)  # which reads about every installed file


def _hash_folders(folders: Iterable[str]) -> str:
    return "".join(_hash_of(Path(folder).rglob("*.py"), Path(folder)) for folder in folders)


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
