"""Where what is recorded must be on disk first, the client's bytes keep their order behind it, their end too."""

import itertools
from collections.abc import Callable, Coroutine
from typing import Any

from proxy.core.records import Flow
from proxy.core.steps import Side
from proxy.protocols.ssh import sftp_packets as packets
from proxy.protocols.ssh.ledger import Ledger
from proxy.protocols.ssh.passing import Pair, Passage
from proxy.protocols.ssh.sftp import SftpReader
from tests.fakes.recordings import MemoryRecorder, MemoryRecordings
from tests.fakes.things import a_grant
from tests.protocols.ssh.sftp_words import HELLO, INIT, handle, on, opening, read


class Channel:
    """Of asyncssh's what is used here: what comes while it is not read is delivered when it is again; an end behind
    nothing that waits is delivered at once."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.ended = False
        self.paused = False
        self.deliver: Callable[[bytes], None] = lambda data: None
        self._waiting: list[bytes] = []

    def arrive(self, data: bytes) -> None:
        self._waiting.append(data)
        self._flush()

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False
        self._flush()

    def _flush(self) -> None:
        while self._waiting and not self.paused:
            self.deliver(self._waiting.pop(0))

    def write(self, data: bytes, datatype: int | None = None) -> None:
        if self.ended:
            raise BrokenPipeError
        self.sent += data

    def write_eof(self) -> None:
        self.ended = True


class Talk:
    """A conversation whose work is done when the test says so."""

    target: Any = None
    muted = False
    cut = False

    def __init__(self) -> None:
        recorder = MemoryRecorder(MemoryRecordings())
        self.ledger = Ledger(recorder, a_grant("grant-1"), True, self._failed)  # type: ignore[arg-type]
        self.work: list[Coroutine[Any, Any, None]] = []

    @staticmethod
    def _failed(error: Exception) -> None:
        raise error

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.work.append(work)

    def over(self, pair: Pair) -> None: ...

    async def decided(self, action: object) -> str:
        return ""


async def an_open_file() -> tuple[Talk, Passage, Channel, Channel]:
    """A channel of sftp with ``/f`` open under the handle ``h``."""
    talk, client, target = Talk(), Channel(), Channel()
    passage = Passage(talk, client)
    passage.target, passage._reader = target, SftpReader(itertools.count(1).__next__)
    client.deliver = lambda data: passage.heard(Side.CLIENT, data, Flow.INPUT)
    for side, data in HELLO:
        passage.heard(side, data, Flow.INPUT if side is Side.CLIENT else Flow.OUTPUT)
    client.arrive(opening(1, b"/f", 1))
    assert target.sent == INIT
    await talk.work.pop(0)
    passage.heard(Side.TARGET, handle(1, b"h"), Flow.OUTPUT)
    target.sent.clear()
    return talk, passage, client, target


async def test_what_comes_meanwhile_does_not_overtake_what_waits_for_the_disk() -> None:
    talk, _, client, target = await an_open_file()
    two, after = on(packets.REMOVE, 2, b"/a") + on(packets.REMOVE, 3, b"/b"), read(4, b"h", 0, 10)
    client.arrive(two)
    client.arrive(after)
    while talk.work:
        assert target.sent == b""
        await talk.work.pop(0)
    assert target.sent == two + after
    assert not client.paused


async def test_the_end_does_not_overtake_it_either() -> None:
    talk, passage, client, target = await an_open_file()
    last = on(packets.REMOVE, 2, b"/a")
    client.arrive(last)
    passage.ended(Side.CLIENT)
    assert not target.ended
    await talk.work.pop(0)
    assert target.sent == last
    assert target.ended
