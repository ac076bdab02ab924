"""People's passwords against the Argon2id hashes of the configuration, behind the ``Passwords`` port.

One check costs its hash's memory (64 MiB) and about 130 ms of a core: so two at once at most, in threads, and a
bounded number that wait. Nothing is kept of a password or an answer. Called by the API's log-in, which also limits
guesses by source and name.
"""

import asyncio
from collections.abc import Callable, Mapping

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from proxy.core.errors import Unavailable

AT_ONCE = 2
WAITING_MOST = 64
LONGEST = 1024

# What an unknown name is checked against where nobody has a password. The cost is that of the hashes that
# `python -m gateway_config.passwords` makes; its password was random and is not known to anybody.
_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$YSWKS22eH9WYBsODxjSwqQ$ie/+O1tPoDFkgMUC2ZFuZILb3HLAu8VL2tabT2/YW2U"


class ArgonPasswords:
    """``hashes`` gives name -> Argon2 hash as configured now. Belongs to one event loop."""

    def __init__(self, hashes: Callable[[], Mapping[str, str]]) -> None:
        self._hashes = hashes
        self._hasher = PasswordHasher()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    async def verify(self, name: str, password: str) -> bool:
        """Whether ``password`` is that of ``name``. An unknown name takes as long as a wrong password, and is no.

        ``Unavailable`` when too many wait already.
        """
        if self._waiting >= WAITING_MOST:
            raise Unavailable("too many log-ins at once", hint="try again in a few seconds")
        self._waiting += 1
        try:
            async with self._slots:
                return await self._verify(name, password)
        finally:
            self._waiting -= 1

    async def _verify(self, name: str, password: str) -> bool:
        hashes = self._hashes()
        known = hashes.get(name)
        # An empty or endless password is nobody's, but is not faster to refuse.
        possible = 0 < len(password) <= LONGEST
        fits = await asyncio.to_thread(self._fits, known or stand_in(hashes), password[:LONGEST])
        return fits and known is not None and possible

    def _fits(self, encoded: str, password: str) -> bool:
        try:
            return self._hasher.verify(encoded, password)
        except (VerificationError, InvalidHashError, UnicodeEncodeError):
            return False


def stand_in(hashes: Mapping[str, str]) -> str:
    """The hash an unknown name is checked against: a real one, so that it costs what real ones cost."""
    return next(iter(hashes.values()), _NOBODY)
