"""A Python that has the libraries imported, and forks a process for each command line.

`python warm_server.py SOCKET MODULE ...` imports the modules, which must start no threads, and
listens. A request is the arguments of Python (a script, `-m module` or `-c code`, and theirs), a
directory, an environment and the three standard streams. The forked process is to the command what
a new one would be, but that the modules are there: what the project imports of its own is imported
anew, signals and exit codes are its own, and it ends when its client does.

It ends itself when its standard input does.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
from contextlib import suppress
from types import ModuleType
from typing import Any, NoReturn

# Sent by the client: the length of the request, with the streams; sent to it: the process's id,
# and at its end the status.
NUMBER = 8


def serve(address: str) -> dict[str, Any]:
    """Forks processes until standard input ends; returns the request in each of them."""
    woken, wake = socket.socketpair()
    wake.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno())
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address + ".new")
    listener.listen(64)
    os.rename(address + ".new", address)  # it is there when it answers
    clients: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([0, listener, woken, *clients.values()], [], [])
        for child, client in clients.items():
            if client in ready:  # it has nothing more to say: it is gone
                os.kill(child, signal.SIGKILL)
        if 0 in ready:
            for child in clients:
                os.kill(child, signal.SIGKILL)
            os._exit(0)
        if woken in ready:
            woken.recv(4096)
        while clients:
            child, status = os.waitpid(-1, os.WNOHANG)
            if not child:
                break
            tell(clients.pop(child), os.waitstatus_to_exitcode(status), last=True)
        if listener in ready:
            client, _ = listener.accept()
            request, streams = receive(client)
            child = os.fork()
            if not child:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for stream, given in enumerate(streams):
                    os.dup2(given, stream)
                for place in (listener, woken, wake, client, *clients.values()):
                    place.close()
                for given in streams:
                    os.close(given)
                return request
            for given in streams:
                os.close(given)
            clients[child] = client
            tell(client, child)


def receive(client: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """A request, and the streams that came with it."""
    head, streams, _, _ = socket.recv_fds(client, NUMBER, 3)
    with client.makefile("rb", buffering=0) as rest:
        body = b""
        while len(body) < int.from_bytes(head, "little"):
            body += rest.read(65536) or b""
    return json.loads(body), streams


def tell(client: socket.socket, number: int, last: bool = False) -> None:
    """Sends a number to a client that may be gone."""
    with suppress(OSError):
        client.sendall(number.to_bytes(NUMBER, "little", signed=True))
    if last:
        client.close()


def become(request: dict[str, Any], executable: str, path: list[str]) -> None:
    """Does what Python does with such arguments."""
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    if (threads := request["environment"].get("OMP_NUM_THREADS")) and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(int(threads))
    first, *rest = request["arguments"]
    sys.executable, sys.orig_argv = executable, [executable, first, *rest]
    added = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    importlib.invalidate_caches()
    if first == "-m":
        sys.argv[:], sys.path[:] = rest, [os.getcwd(), *added, *path]
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        return
    main = ModuleType("__main__")
    if first == "-c":
        sys.argv[:], sys.path[:] = ["-c", *rest[1:]], ["", *added, *path]
        code = compile(rest[0], "<string>", "exec")
    else:
        folder = os.path.dirname(os.path.realpath(first))
        sys.argv[:], sys.path[:] = [first, *rest], [folder, *added, *path]
        main.__file__ = first
        with open(first, "rb") as source:
            code = compile(source.read(), first, "exec")
    sys.modules["__main__"] = main
    exec(code, main.__dict__)


def end(code: Any) -> NoReturn:
    """Leaves as Python does, but that the libraries are not taken apart, which takes half a second.

    So multiprocessing ends its processes.
    """
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    if code == -signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    _, address, *modules = sys.argv
    of_environment = os.environ.get("PYTHONPATH", "")
    path = sys.path[1 + (of_environment.count(os.pathsep) + 1 if of_environment else 0) :]
    this = sys.modules["__main__"]  # it stays alive when another takes its place
    for module in modules:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    request = serve(address)
    code: Any = 0
    try:
        become(request, f"{address}.python", path)
    except SystemExit as ending:
        code = ending.code
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        code = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    end(code)
