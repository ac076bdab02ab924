"""Recordings in memory; ``broken`` makes every write fail as a full disk would."""

from collections.abc import Mapping

from proxy.core.errors import Unavailable
from proxy.core.records import Record


class MemoryRecorder:
    behind = False

    def __init__(self, owner: "MemoryRecordings") -> None:
        self._owner = owner
        self.records: list[Record] = []
        self.end: Mapping[str, object] | None = None

    def write(self, record: Record) -> None:
        if self._owner.broken:
            raise Unavailable("the session can no longer be recorded", code="recorder_failed")
        self.records.append(record)

    async def durable(self) -> None:
        self._owner.synced += 1

    async def caught_up(self) -> None:
        """Always."""

    async def close(self, end: Mapping[str, object]) -> str:
        self.end = end
        return "digest"


class MemoryRecordings:
    def __init__(self) -> None:
        self.broken = False
        self.synced = 0
        self.opened: dict[str, MemoryRecorder] = {}

    def open(self, session: str, header: Mapping[str, object]) -> tuple[str, MemoryRecorder]:
        recorder = self.opened[session] = MemoryRecorder(self)
        return f"memory/{session}", recorder
