"""The cancel keys the gateway gives its own sessions: (pid, key) that only this cluster can have made.

Pure; called by ``cancels``. The pid says which node serves the session, so that a CancelRequest that reached
another one finds its way; the key is a truncated HMAC, so it is verified before anything is looked up or
published, and no table of keys is kept. A key of 4 bytes can be guessed: whoever calls ``verify`` throttles per
source. Source: PostgreSQL manual, chapter "Frontend/Backend Protocol", "Canceling Requests in Progress".
"""

import hashlib
import hmac
import zlib

NODE_BITS = 11
SESSION_BITS = 20
NODES = 1 << NODE_BITS
SESSIONS = 1 << SESSION_BITS
KEY_MOST = 32


def node_of(pid: int) -> int:
    """The node number in a pid."""
    return pid >> SESSION_BITS


def node_number(node: str) -> int:
    """The number of a worker's name, below 2048. Two names may share one: the key tells them apart."""
    return zlib.crc32(node.encode()) % NODES


class CancelKeys:
    """Keys of one node. ``secret`` is the cluster's, ``node_number`` below 2048, ``epoch`` random bytes of this
    process: keys of an earlier life of the node are worth nothing."""

    __slots__ = ("_epoch", "_secret", "node_number")

    def __init__(self, secret: bytes, node_number: int, epoch: bytes) -> None:
        if not 0 <= node_number < NODES:
            raise ValueError(f"node number {node_number} is not below {NODES}")
        self.node_number = node_number
        self._secret = secret
        self._epoch = epoch

    def after(self, number: int) -> int:
        """The session number after ``number``: 1 to 1 048 575 and round again."""
        return number % (SESSIONS - 1) + 1

    def pid(self, number: int) -> int:
        """A pid, positive and of 31 bits, of a session number from 1 to 1 048 575."""
        if not 0 < number < SESSIONS:
            raise ValueError(f"session number {number} is not below {SESSIONS}")
        return self.node_number << SESSION_BITS | number

    def key(self, pid: int, length: int, epoch: bytes | None = None) -> bytes:
        """The key of ``pid``: 4 bytes for protocol 3.0, 32 for 3.2. The length is part of what is authenticated, so
        that a short key is not the beginning of the long one."""
        word = b"tidegate cancel\0" + bytes((length,)) + pid.to_bytes(4, "big") + (epoch or self._epoch)
        return hmac.digest(self._secret, word, hashlib.sha256)[:length]

    def verify(self, pid: int, key: bytes, epoch: bytes | None = None) -> bool:
        """Whether ``key`` was made for ``pid``, in constant time. ``epoch`` is another node's, where the pid is."""
        if len(key) not in (4, KEY_MOST) or not 0 < pid < 1 << 31:
            return False
        return hmac.compare_digest(self.key(pid, len(key), epoch), key)

    node_of = staticmethod(node_of)
