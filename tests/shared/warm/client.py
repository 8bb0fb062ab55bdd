"""Stands for Python: the server does the command line, with the streams of this process.

Signals are passed on, and the command's end is this process's too. The server kills a command whose
client is gone. Options of Python's own are for Python, and so are processes that are given more
files than the streams, as multiprocessing's. This file is copied to `<socket>.python`, under a line
that says who runs it, and imports little, as it is to start in no time.
"""

import json
import os
import signal
import socket
import sys

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

arguments = sys.argv[1:]
if arguments[:1] == ["-u"]:
    del arguments[0]
known = arguments and (arguments[0] in ("-m", "-c") or not arguments[0].startswith("-"))
if not known or len(os.listdir("/proc/self/fd")) > 4:  # three streams, and that folder
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
asked = {"arguments": arguments, "directory": os.getcwd(), "environment": dict(os.environ)}
body = json.dumps(asked).encode()
server = socket.socket(socket.AF_UNIX)
server.connect(sys.argv[0].removesuffix(".python"))
socket.send_fds(server, [len(body).to_bytes(8, "little")], [0, 1, 2])
server.sendall(body)


def number() -> int:
    """The next that the server tells."""
    told = server.recv(8)
    if not told:
        sys.exit("the server of the tests' processes is gone")
    return int.from_bytes(told, "little", signed=True)


child = number()
for passed_on in PASSED_ON:
    signal.signal(passed_on, lambda signum, _: os.kill(child, signum))
for stream in (0, 1):  # they are the command's, and end with it
    os.close(stream)
code = number()
if code < 0:
    if -code in PASSED_ON:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
