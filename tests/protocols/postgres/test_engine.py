"""The engine's own bounds. What every engine owes is in tests/contracts; towards targets: test_upstream."""

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.core.errors import PeerError
from proxy.protocols.postgres.engine import PostgresEngine
from proxy.sessions.services import Front, Settings
from proxy.sessions.transport import Stream


async def test_a_startup_packet_that_comes_in_time_by_its_own_clock_alone_is_late() -> None:
    """A PROXY header may have used the time up."""
    here, there = socket.socketpair()
    loop = asyncio.get_running_loop()
    services = SimpleNamespace(settings=Settings(startup_timeout=60))
    shared: Any = SimpleNamespace(services=services)
    session: Any = SimpleNamespace(client=Stream(loop, here), startup_by=loop.time() - 1)
    with there:
        with pytest.raises(PeerError, match="in time"):
            await asyncio.wait_for(PostgresEngine(shared, Front()).serve(session), 5)
        session.client.close()
