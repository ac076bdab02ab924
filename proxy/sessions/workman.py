"""The other end of ``workshop``: a process of its own that does one piece of long work after the other.

Started by ``workshop`` as ``python -I -c …``, with a socket as its standard input; ends when that is closed,
however the worker went. It is told what to call by name, and reads nothing but that socket.
"""

import os
import pickle
import resource
import signal
import socket
import struct

LENGTHS = struct.Struct("!QQ")
"""Before a piece of work: bytes of the pickled call, and of what it is given. Before an answer: of the pickle,
0."""
NICE = 5
MEMORY_MOST = 2 * 1024 * 1024 * 1024


def main() -> None:
    """Work until nobody is there to work for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's, meant for the worker, which ends us by leaving
    os.nice(NICE)  # whoever waits for the loop comes first
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MOST, MEMORY_MOST))
    with socket.socket(fileno=0) as line:
        while head := _read(line, LENGTHS.size):
            size, given = LENGTHS.unpack(head)
            answer = _done(_read(line, size), _read(line, given))
            line.sendall(LENGTHS.pack(len(answer), 0) + answer)


def _done(call: bytes, data: bytes) -> bytes:
    """What the call gives, or why it gives nothing: the kind of error alone, since its words may quote a secret."""
    try:
        result = pickle.loads(call)(data)  # noqa: S301 - our own worker's, over a socket that nobody else has
        return pickle.dumps((True, result), protocol=5)
    except Exception as error:
        return pickle.dumps((False, type(error).__name__), protocol=5)


def _read(line: socket.socket, size: int) -> bytes:
    """``size`` bytes; b"" when the worker is gone."""
    parts: list[bytes] = []
    while size:
        part = line.recv(min(size, 1024 * 1024))
        if not part:
            return b""
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
