"""The site, built once for all tests of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from tests.shared.paths import ROOT


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site's folder, which the first of several workers builds."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "site"
    with FileLock(f"{folder}.lock"):
        if not (folder / "built").exists():
            command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning"]
            command += ["--jobs", "2"]  # as the other worker waits for it
            done = subprocess.run(
                [*command, "docs", str(folder)],
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
            )
            folder.mkdir(exist_ok=True)
            (folder / "built").write_text(f"{done.returncode}\n{done.stderr}", encoding="utf-8")
    return folder
