"""Sessions with terminals in the world of the API's tests: what their recordings hold."""

import asyncio
import json
from datetime import datetime
from typing import Any

from proxy.api.services import Kept
from proxy.core.states import EndReason, SessionStatus
from tests.api.world import ApiWorld
from tests.cli.test_replaying import ran

BEGIN = "2027-01-15T08:00:00.000Z"
BEGAN = datetime.fromisoformat(BEGIN).timestamp()
SIZE = {"columns": 100, "rows": 30}


def shell(seq: int, second: int = 1, **changes: Any) -> dict[str, Any]:
    plain = {"protocol": "shell", "transaction": None, "rows": None, "tag": "exit 7", "terminal": SIZE}
    return ran(seq, "", second, duration_ms=9000.0, **(plain | {"outcome": "failed"} | changes))


def command(seq: int, text: str, second: int, **changes: Any) -> dict[str, Any]:
    content = [{"flow": "output", "offset": 0, "bytes": 5, "sha256": "ab" * 32}]
    plain = {"protocol": "exec", "transaction": None, "rows": None, "tag": "exit 0", "content": content}
    return ran(seq, text, second, **(plain | changes))


def showed(*told: tuple[float, bytes], seq: int = 1, first: int = 10) -> list[Kept]:
    """A terminal's size, then what it showed."""
    size = Kept(first, 1.0, seq, "resize", columns=100, rows=30)
    return [size, *(Kept(first + n, at, seq, "output", data) for n, (at, data) in enumerate(told, 1))]


def running(one: dict[str, Any]) -> dict[str, Any]:
    return one | {"outcome": None, "duration_ms": None, "tag": None}


class Scene:
    """A session of alice on an SSH host. ``ended``: it has ended, when it is looked at next."""

    def __init__(self, world: ApiWorld) -> None:
        self.world = world
        self.grant = asyncio.run(world.granted("alice"))
        self._put(status=SessionStatus.LIVE)
        self.kept: list[Kept] = world.recordings.kept

    def _put(self, **changes: Any) -> None:
        held: list[dict[str, Any]] = self.world.recordings.held.get("session-1", [])
        session = self.world.session(self.grant, protocol="ssh", started=BEGAN, database="", **changes)
        asyncio.run(session)
        self.world.recordings.held["session-1"] = self.ran = held

    def end(self) -> None:
        self._put(
            status=SessionStatus.ENDED, ended=BEGAN + 20, end_reason=EndReason.CUT_BY_ADMIN, detail="by dave: lunch"
        )


def lines(text: str) -> list[Any]:
    return [json.loads(each) for each in text.splitlines()]
