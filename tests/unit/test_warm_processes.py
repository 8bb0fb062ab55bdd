"""A command that is forked from a warm process is to its caller what a new process is."""

import os
import signal
import subprocess
import sys

import pytest

from tests.shared.commands import python

PROGRAM = """
import os, sys
print(sys.argv, os.getcwd(), __name__, os.environ["MARK"], sys.stdin.read(), flush=True)
print("wrong", file=sys.stderr)
"""
ENDS = {
    "of itself": "pass",
    "with a code": "sys.exit(3)",
    "with a line": "sys.exit('a line')",
    "with an error": "import nowhere",
    "at once": "os._exit(9)",
    "by a signal": "os.kill(os.getpid(), 9)",
    "by Ctrl-C": "raise KeyboardInterrupt",
    "with what is left to do": "import atexit; atexit.register(print, 'at exit')",
}


@pytest.mark.parametrize("end", ENDS)
def test_a_warm_process_is_like_a_new_one(end, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM + ENDS[end])
    new, warm = (
        subprocess.run(
            [python(kind), "program.py", "a", "b c"],
            cwd=tmp_path,
            env=os.environ | {"MARK": "of the test"},
            input="told",
            capture_output=True,
            text=True,
        )
        for kind in ("new", "light")
    )
    assert (warm.returncode, warm.stdout) == (new.returncode, new.stdout)
    assert warm.stderr.splitlines()[-1] == new.stderr.splitlines()[-1]
    assert ("Traceback" in warm.stderr) == ("Traceback" in new.stderr)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_reaches_it(signum, tmp_path):
    (tmp_path / "program.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(10)")
    command = [python("light"), "program.py"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(signum)
        assert process.wait(5) == -signum
        process.communicate(timeout=5)  # to the end of its streams, which the forked one holds


def test_what_it_starts_is_warm_and_its_own_modules_are_new(tmp_path):
    (tmp_path / "mine.py").write_text("print('imported')")
    code = "import sys, mine; print(sys.executable, 'torch' in sys.modules)"
    for _ in range(2):
        done = subprocess.run(
            [python("warm"), "-c", code], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.stdout == f"imported\n{python('warm')} True\n", done.stderr
    assert python("new") == sys.executable
