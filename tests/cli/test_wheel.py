"""The wheel: it installs `scratchopt` alone, which is imported without the checkout."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.shared.commands import python
from tests.shared.paths import ROOT

USE = """
import scratchopt.compare, scratchopt.playback, scratchopt.plots, scratchopt.theory
from scratchopt import NAG
from scratchopt.lightning import OptimizerMonitor
import scratchopt.runs.training
print(scratchopt.__file__, scratchopt.__version__, scratchopt.runs.result._commit())
"""
# A launcher such as submitit's pickles the function that Hydra runs, and loads it on another
# machine, in a process that was started without the script.
PICKLE = """
import sys
import cloudpickle
from scratchopt.cli.train import train
with open(sys.argv[1], "wb") as file:
    cloudpickle.dump(train.__wrapped__, file)
"""
LOAD = """
import pickle, sys
with open(sys.argv[1], "rb") as file:
    print(pickle.load(file).__module__)
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The wheel's content, unpacked."""
    if not find_spec("setuptools"):
        pytest.skip("setuptools is not installed, and builds the wheel")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT / "scratchopt", source / "scratchopt", ignore=lambda *_: ["__pycache__"])
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    for folder_of_the_checkout in ("tasks", "scripts", "conf", "tests"):
        (source / folder_of_the_checkout).mkdir()
        (source / folder_of_the_checkout / "__init__.py").touch()
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    command = [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(folder), "."]
    subprocess.run(command, cwd=source, check=True)
    [wheel] = folder.glob("*.whl")
    ZipFile(wheel).extractall(folder / "installed")
    return folder / "installed"


def run(installed: Path, cwd: Path, code: str, *arguments: str) -> str:
    """What a program prints that has the installed package, and not the checkout."""
    environment = os.environ | {"PYTHONPATH": str(installed)}
    return subprocess.run(
        [python("warm"), "-c", code, *arguments],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


def test_scratchopt_alone_is_installed_with_all_its_files(installed):
    tops = {path.name for path in installed.iterdir()}
    assert {name for name in tops if not name.endswith(".dist-info")} == {"scratchopt"}
    ours = {
        path.relative_to(ROOT)
        for path in (ROOT / "scratchopt").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    there = {path.relative_to(installed) for path in (installed / "scratchopt").rglob("*")}
    assert ours <= there


def test_the_installed_package_is_used_outside_the_checkout(installed, tmp_path):
    from scratchopt import __version__

    file, version, commit = run(installed, tmp_path, USE).split()
    assert Path(file).is_relative_to(installed)
    assert (version, commit) == (__version__, "None")
    [metadata] = installed.glob("*.dist-info/METADATA")
    assert f"\nVersion: {version}\n" in metadata.read_text(encoding="utf-8")


def test_a_pickled_run_is_loaded_in_another_process_without_the_scripts(installed, tmp_path):
    pytest.importorskip("cloudpickle")
    there = tmp_path / "elsewhere"
    there.mkdir()
    run(installed, tmp_path, PICKLE, str(tmp_path / "pickled"))
    assert run(installed, there, LOAD, str(tmp_path / "pickled")) == "scratchopt.cli.train\n"
