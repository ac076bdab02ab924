"""Whether the store goes on from the newest head that this host remembers: a store that was put back to before a
revocation must admit nobody.

Looks before the worker listens, and every few seconds after: the store may be put back under a gateway that runs.
Owned by the worker; knows no file.
"""

from collections.abc import Mapping
from typing import Any

from proxy.audit.continuity import look
from proxy.core.ports import Clock, HeadMemory, Reader, Store

EVERY = 5.0
"""Seconds between two looks; a worker that is told no is let in again as soon after `tidegate audit restored`."""


class TrailGuard:
    """``wrong``: why nobody may be admitted, in words; "" while the store is as it should be."""

    def __init__(
        self, store: Store, memory: HeadMemory, public_keys: Mapping[str, object], clock: Clock, log: Any
    ) -> None:
        self._store = store
        self._memory = memory
        self._public_keys = public_keys
        self._clock = clock
        self._log = log
        self._looked = float("-inf")
        self.wrong = "not looked yet"

    def holds(self) -> bool:
        """Whether nobody may be admitted."""
        return bool(self.wrong)

    def look_soon(self) -> None:
        """Look with the next beat: something was signed for a new origin, or the keys' folder is another."""
        self._looked = float("-inf")

    async def beat(self) -> None:
        """Look where it is time to. ``Unavailable`` without the store or the memory: what was found stands."""
        if self._clock.monotonic() - self._looked >= EVERY:
            await self.look()

    async def look(self) -> None:
        """Hold the store against what is remembered."""

        def found(reader: Reader) -> str:
            # Read first: what is remembered was in the store before it was in the memory.
            return look(reader, remembered, self._public_keys).wrong

        remembered = self._memory.newest()
        wrong = await self._store.read(found)
        self._looked = self._clock.monotonic()
        if wrong and wrong != self.wrong:
            self._log.error("admitting nobody", detail=wrong, next="tidegate audit restored --reason …")
        elif self.wrong and not wrong:
            self._log.info("the store goes on from the last head")
        self.wrong = wrong
