"""A protocol of lines, for tests of the kernel: the client's first line is its token, later lines go to the target.

``slow`` lines make the target busy until ``abandon`` is called, ``ask`` lines are asked about before they go on;
the inspector is as strict about boundaries as a real one: a line is a message.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from proxy.core.access import Decision, Outcome, Wish
from proxy.core.actions import Statement
from proxy.core.errors import TidegateError
from proxy.core.records import Outcome as Ending
from proxy.core.records import Record, StatementFinished, StatementStarted
from proxy.core.states import EndReason
from proxy.core.steps import Ask, Forward, Observe, Recorded, Reply, Side, Step, Think
from proxy.sessions.session import Session


class EchoInspector:
    """Lines up, lines down; one statement a line."""

    def __init__(self) -> None:
        self.seq = 0
        self.answered = 0
        self.inside = False
        self.asked = b""

    def feed(self, side: Side, chunk: bytes) -> Sequence[Step]:
        if side is Side.TARGET:
            self.answered += chunk.count(b"\n")
            self.inside = not chunk.endswith(b"\n")
            return [Forward(chunk)]
        steps: list[Step] = []
        for line in chunk.splitlines():
            self.seq += 1
            started = StatementStarted(self.seq, 0, 73, 0, line, 0, "", b"", b"", ())
            steps.append(Observe(started))
        if chunk.startswith(b"ask"):
            self.asked = chunk
            return [*steps, Ask(Statement(chunk.decode().strip()))]
        if chunk.startswith(b"think"):
            self.asked = chunk
            return [*steps, Think(self.work, chunk, self.thought)]
        return [Recorded(started, chunk)] if len(steps) == 1 else [*steps, Forward(chunk)]

    def feeder(self, side: Side) -> Callable[[bytes], Sequence[Step]]:
        return partial(self.feed, side)

    def resume(self, decision: Decision | None) -> Sequence[Step]:
        if decision is None or decision.outcome is Outcome.ALLOW:
            return [Forward(self.asked)]
        self.answered += 1
        return [Reply(f"DENIED {decision.reason}\n".encode())]

    work: Callable[[bytes], object] = staticmethod(len)
    """What a test puts in its place takes as long as it likes, in another process."""

    def thought(self, result: object) -> None:
        """What came of it."""

    def inject(self, text: str, hint: str = "") -> bytes:
        return b"" if self.inside else f"NOTICE {text}\n".encode()

    def target_boundary(self) -> int:
        return -1 if self.inside else 0

    def farewell(self, reason: EndReason, text: str, hint: str = "") -> bytes:
        return b"" if self.inside else f"FATAL {reason}: {text}\n".encode()

    def outlives(self, side: Side) -> bool:
        return False

    def running(self) -> bool:
        return self.seq > self.answered

    def stop(self) -> bytes:
        return b""

    def holds(self) -> int:
        return len(self.asked)

    def close(self) -> None:
        self.asked = b""

    def finish(self, outcome: Ending) -> Sequence[Record]:
        return [
            StatementFinished(seq, outcome, b"", -1, 0, b"", b"", 73)
            for seq in range(self.answered + 1, self.seq + 1)
        ]


class EchoControl:
    """Stops the target by telling the test's server."""

    goodbye = b"bye\n"

    def __init__(self, server: "EchoTarget") -> None:
        self._server = server

    async def abandon(self) -> None:
        self._server.abandoned.set()

    async def stopped(self) -> str:
        return "asked"


class EchoTarget:
    """A server that echoes lines; ``slow`` is answered only once it was abandoned, ``half`` with half a line."""

    def __init__(self) -> None:
        self.abandoned = asyncio.Event()
        self.lines: list[bytes] = []
        self.open = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            while line := await reader.readline():
                self.lines.append(line)
                if line == b"slow\n":
                    await self.abandoned.wait()
                    line = b"cancelled\n"
                elif line == b"half\n":
                    line = b"hal"
                elif line == b"close\n":
                    return
                elif line.startswith(b"flood"):
                    line = b"z" * 8_000_000 + b"\n"
                writer.write(line)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            self.open -= 1
            writer.close()


class EchoEngine:
    """The engine: read a token line, admit, dial, say OK, relay."""

    name = "echo"

    def __init__(self, target: EchoTarget) -> None:
        self._target = target

    async def serve(self, session: Session) -> None:
        token = bytearray()
        while not token.endswith(b"\n"):
            token += await session.client.read_exactly(1)
        wish = Wish(session.id, "echo", "any", session.source)
        admission = await session.admit(token.decode().strip(), wish)
        stream, _ = await session.dial(admission)
        try:
            await session.start("echo", "test", {})
            await session.client.send(b"OK\n")
            await session.relay(EchoInspector(), stream, EchoControl(self._target))
        finally:
            stream.close()

    def refusal(self, error: TidegateError, session: Session) -> bytes:
        return f"REFUSED {error.code}: {error.public}\n".encode()
