"""The scripts as their users run them: processes with a directory, streams and an exit code.

Most of a short command's time would be the imports of torch and Lightning. Where it does not matter
when these happen, a command is forked from a process that has done them (`tests.shared.warm`), and
so are the processes that it starts as `sys.executable`. The project's own modules are imported anew
each time. Systems other than Linux have only new processes.
"""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

from tests.shared.paths import ROOT, SCRIPTS

LIBRARIES = {
    # What a command has imported that refuses its arguments.
    "light": ["hydra.main", "hydra.core.hydra_config", "tqdm"],
    "warm": [
        *("hydra.main", "hydra.core.hydra_config", "hydra._internal.utils"),
        *("torch", "lightning.pytorch", "torchmetrics", "torch._dynamo"),
        *("torch.distributed.checkpoint.state_dict", "torch.utils.tensorboard"),
        *("tensorboard.backend.event_processing.event_accumulator", "matplotlib.figure"),
        *("matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg"),
        *("scipy.stats", "tqdm", "tabulate", "jinja2", "plotly.graph_objects", "contourpy"),
        *("torch.distributed.run", "torch.testing", "pytest"),
    ],
}
SERVER = Path(__file__).parent / "warm" / "server.py"


@cache
def python(kind: str) -> str:
    """An executable that does what Python does: a "new" one, "light" or "warm"."""
    if kind == "new" or sys.platform != "linux":
        return sys.executable
    address = Path(tempfile.mkdtemp(prefix="warm-"), "server")
    client = address.with_suffix(".python")
    client.write_text(f"#!{sys.executable} -IS\n" + SERVER.with_name("client.py").read_text())
    client.chmod(0o700)
    server = subprocess.Popen(
        [sys.executable, str(SERVER), str(address), *LIBRARIES[kind]],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    atexit.register(_stop, server, address.parent)
    while not address.exists():
        assert server.poll() is None
        time.sleep(0.02)
    return str(client)


def _stop(server: subprocess.Popen[bytes], folder: Path) -> None:
    server.communicate()  # it ends with its standard input
    shutil.rmtree(folder)


def command(script: str, *arguments: object, kind: str = "warm") -> list[str]:
    """A command line for `subprocess`."""
    return [python(kind), str(SCRIPTS / f"{script}.py"), *map(str, arguments)]


def run(
    script: str, *arguments: object, cwd: Path, kind: str = "warm", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs a script to its end."""
    return _run(command(script, *arguments, kind=kind), cwd, environment)


def run_module(
    module: str, *arguments: object, kind: str = "warm", limit: float = 280, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs a module of the tests, or of a library, to its end."""
    return _run([python(kind), "-m", module, *map(str, arguments)], ROOT, environment, limit)


def run_code(
    code: str, *arguments: object, kind: str = "warm", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs some lines of Python where the project is found."""
    return _run([python(kind), "-c", code, *map(str, arguments)], ROOT, environment)


def _run(
    command: list[str], cwd: Path, environment: dict[str, str], limit: float = 280
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=limit,
    )


def start(
    script: str, *arguments: object, cwd: Path, kind: str = "warm", **options: Any
) -> subprocess.Popen[str]:
    """Starts a script, whose output is read from pipes."""
    return subprocess.Popen(
        command(script, *arguments, kind=kind),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
