"""The cancel keys the gateway gives its own sessions: only this cluster can have made them. Pure; used by
``cancels``.

The pid that goes with a key is the target's own, so it names nobody for sure: two targets may give the same, and
one gives it again. The key does: it is an HMAC over the session's id, so no table of keys is kept, and a key is
worth nothing once its session has ended. One of 4 bytes can be guessed: whoever tries keys throttles per source.
One of 32 holds where it belongs, and proves itself before anything is looked up. Source: PostgreSQL manual,
chapter "Frontend/Backend Protocol", "Canceling Requests in Progress" and "Protocol Versions".
"""

import hashlib
import hmac
import secrets

from proxy.core.sessions import OWN_PIDS

SHORT, LONG = 4, 32
"""Bytes of a key in protocol 3.0 and 3.2."""
NODE, SESSION = 4, 16
"""So many bytes of a long key are a digest of the node's name and of the session's id; the rest proves them."""
PIDS = 1 << 31


def own_pid() -> int:
    """Return a pid for a session whose backend's is not known."""
    return OWN_PIDS | secrets.randbits(30)


def digest(name: str, length: int) -> bytes:
    """Return ``length`` bytes that stand for a node's name or a session's id in a long key."""
    return hashlib.sha256(name.encode()).digest()[:length]


class CancelKeys:
    """``secret`` is the cluster's."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def key(self, node: str, session: str, pid: int, length: int) -> bytes:
        """Return the key of a session: ``length`` is ``SHORT`` or ``LONG``."""
        if length == SHORT:
            return self._proof(session.encode(), pid, SHORT)[:SHORT]
        place = digest(node, NODE) + digest(session, SESSION)
        return place + self._proof(place, pid, LONG)[: LONG - len(place)]

    def may_fit(self, pid: int, key: bytes) -> bool:
        """Return whether there may be a session with this pid and key: of a long key, whether this cluster made it.
        In constant time."""
        if len(key) not in (SHORT, LONG) or not 0 < pid < PIDS:
            return False
        place = key[: NODE + SESSION]
        proof = self._proof(place, pid, LONG)[: LONG - len(place)]
        return len(key) == SHORT or hmac.compare_digest(proof, key[len(place) :])

    def proves_itself(self, pid: int, key: bytes) -> bool:
        """Return whether this cluster made the key, as only a long one can tell."""
        return len(key) == LONG and self.may_fit(pid, key)

    def fits(self, node: str, session: str, pid: int, key: bytes) -> bool:
        """Return whether ``key`` is this session's. In constant time."""
        return hmac.compare_digest(self.key(node, session, pid, len(key)), key)

    def _proof(self, what: bytes, pid: int, length: int) -> bytes:
        """The length is part of what is authenticated, so that no short key is the beginning of a long one."""
        word = b"tidegate cancel\0" + bytes((length,)) + pid.to_bytes(4, "big") + what
        return hmac.digest(self._secret, word, hashlib.sha256)
