"""A process that dies by SIGKILL in the middle of a commit: ``python -m tests.contracts.victim URL``."""

import asyncio
import os
import signal
import sys

from proxy.adapters.store.opening import open_store
from proxy.core.events import LoggedIn
from proxy.core.feed import FeedKind, Scope
from proxy.core.ports import Writer
from tests.fakes.clock import FakeClock
from tests.fakes.things import a_grant, an_event


def unit(writer: Writer) -> None:
    writer.put_grant(a_grant("grant-lost"))
    writer.append(an_event(LoggedIn))
    writer.publish(FeedKind.CUT, Scope.SESSION, "lost")
    writer.trail_after(0)  # makes the store write them into the open transaction
    os.kill(os.getpid(), signal.SIGKILL)


async def main(url: str) -> None:
    async with open_store(url, node="victim", clock=FakeClock()) as store:
        await store.commit(unit)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
