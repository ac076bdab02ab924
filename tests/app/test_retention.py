"""Recordings are kept as long as the configuration says, and their end is in the trail; a low disk is told of."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from proxy.app.foundation import Configured, Foundation, founded
from proxy.app.retention import Retention
from proxy.core.errors import Unavailable
from proxy.core.states import SessionStatus
from proxy.recording import places
from tests.fakes.things import ENDED, a_session
from tests.gateway_config.files import ENVIRON, MINIMAL, put

HOUR = 3600.0


class Gauges:
    """``core.ports.Metrics`` of gauges alone."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def gauge(self, name: str, value: float, **labels: str) -> None:
        self.values[name] = value

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        raise AssertionError

    observe = count


@contextlib.asynccontextmanager
async def keeping(folder: Path, settings: str) -> AsyncIterator[tuple[Foundation, Retention, Gauges]]:
    file = put(folder / "gateway.toml", f"[recordings]\n{settings}\n{MINIMAL}")
    with pytest.MonkeyPatch.context() as patching:
        for name, value in ENVIRON.items():
            patching.setenv(name, value)
        configured = Configured.read(file)
    async with founded(configured, "api") as foundation:
        gauges = Gauges()
        yield foundation, Retention(foundation, gauges), gauges


async def recorded(foundation: Foundation, id: str, hours: float, **changes: Any) -> Path:
    """A session that began and ended so long ago, and its recording."""
    then = foundation.clock.now() - hours * HOUR
    key = places.key_of(id, then)
    given = {**ENDED, "started": then, "ended": then, "recording": key, **changes}
    await foundation.store.commit(lambda writer: writer.put_session(a_session(id, **given)))
    return put(places.container(foundation.configured.config.recordings_dir, key), b"a recording")


async def trail(foundation: Foundation) -> list[tuple[str, Any]]:
    rows = await foundation.store.read(lambda reader: reader.trail_after(0))
    return [(row.kind, row.subjects.get("session")) for row in rows]


async def test_what_is_older_is_deleted_and_told_and_the_rest_stays(tmp_path: Path) -> None:
    async with keeping(tmp_path, 'keep = "48h"') as (foundation, retention, _):
        old = [await recorded(foundation, f"session-old-{n}", 49 + 24 * n) for n in range(3)]
        live = {"status": SessionStatus.LIVE, "ended": None, "end_reason": None, "receipt": None}
        kept = [
            await recorded(foundation, "session-new", 47),
            await recorded(foundation, "session-live", 200, **live),
            await recorded(foundation, "session-of-another-file", 200, recording="2026/01/01/session-x"),
            put(old[0].parent / "session-unknown.tgr", b"of a store that was put back"),
        ]
        await retention.keep()
        assert [each.exists() for each in old] == [False] * 3
        assert [each.exists() for each in kept] == [True] * 4
        assert not old[2].parent.exists()
        deleted = [("recording_deleted", f"session-old-{n}") for n in (2, 1, 0)]
        assert await trail(foundation) == deleted
        await retention.keep()
        assert await retention.expire() == 0
        assert await trail(foundation) == deleted


async def test_nothing_is_deleted_that_the_trail_cannot_be_told_of(tmp_path: Path) -> None:
    async with keeping(tmp_path, 'keep = "1h"') as (foundation, retention, _):
        file = await recorded(foundation, "session-old", 2)

        async def lost(_: object) -> None:
            raise Unavailable("the store cannot be reached")

        with pytest.MonkeyPatch.context() as patching:
            patching.setattr(foundation.store, "commit", lost)
            with pytest.raises(Unavailable):
                await retention.keep()
            assert file.exists()
        await retention.keep()
        assert not file.exists()


async def test_for_ever_where_nothing_is_said(tmp_path: Path) -> None:
    async with keeping(tmp_path, "") as (foundation, retention, _):
        file = await recorded(foundation, "session-old", 24 * 4000)
        await retention.keep()
        assert file.exists()


async def test_a_low_disk_is_told_once_and_when_it_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with keeping(tmp_path, 'low_free = "1MiB"') as (_, retention, gauges):
        await retention.keep()  # there is no folder before the first recording
        assert gauges.values == {}
        await asyncio.to_thread((tmp_path / "state" / "recordings").mkdir)
        with structlog.testing.capture_logs() as told:
            for free in (1 << 20, (1 << 20) - 1, 5, 1 << 21):
                monkeypatch.setattr("shutil.disk_usage", lambda _, free=free: (1 << 30, 0, free))
                await retention.keep()
                assert gauges.values == {"tidegate_recordings_free_bytes": free}
        assert [(each["log_level"], each["free"]) for each in told] == [("error", (1 << 20) - 1), ("info", 1 << 21)]
