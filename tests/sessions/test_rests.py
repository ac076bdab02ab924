"""Whose turn it is: one slice a turn, each session in its turn, and whoever has a rest is not read."""

import asyncio
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, cast

from proxy.core.records import StatementStarted
from proxy.core.states import EndReason
from proxy.core.steps import SLICE, STEP, Forward, Observe, Pause, Reply, Side, Step, Wait
from proxy.sessions.relay import Relay
from proxy.sessions.rests import Rests
from proxy.sessions.transport import Stream
from tests.fakes.echo import EchoInspector


async def turn() -> None:
    """One turn of the loop, and what was due in it."""
    await asyncio.sleep(0)


async def test_one_slice_is_done_in_a_turn_and_each_waits_for_its_turn() -> None:
    rests, done = Rests(), list[str]()

    def piece(name: str, left: int) -> None:
        done.append(name)
        if left:
            rests.put(partial(piece, name, left - 1))

    rests.put(partial(piece, "a", 3))
    rests.put(partial(piece, "b", 1))
    seen = []
    while len(done) < 6:
        before = len(done)
        await turn()
        seen.append(len(done) - before)
    assert done == ["a", "b", "a", "b", "a", "a"]
    assert max(seen) == 1 and rests.turns == 6


async def test_between_two_slices_others_are_served() -> None:
    """A socket that is ready is read before the rest goes on."""
    rests, order = Rests(), list[str]()
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()

    def piece(left: int) -> None:
        order.append("rest")
        if left == 5:
            theirs.send(b"x")
        if left:
            rests.put(partial(piece, left - 1))

    def read() -> None:
        order.append(f"read {len(ours.recv(9))}")
        loop.remove_reader(ours)

    loop.add_reader(ours, read)
    rests.put(partial(piece, 6))
    with ours, theirs:
        while order.count("rest") < 7:
            await turn()
    assert order.index("read 1") <= 4, order


async def test_the_longest_piece_is_told_once() -> None:
    rests = Rests()
    rests.took(0.5)
    rests.took(0.2)
    assert (rests.longest(), rests.longest()) == (0.5, 0.0)


class Line:
    """A stream of which the test knows what was written and whether it is read."""

    congested = closed = False
    bytes_read = bytes_written = 0

    def __init__(self) -> None:
        self.said: list[bytes] = []
        self.reading = True

    def write(self, data: bytes) -> None:
        self.said.append(bytes(data))

    def hold(self) -> None:
        self.reading = False

    def release(self) -> None:
        self.reading = True


class Recorder:
    behind = False

    def __init__(self) -> None:
        self.records: list[object] = []

    def write(self, record: object) -> None:
        self.records.append(record)


class Long(EchoInspector):
    """Every byte is a statement of its own, and one step's work; ``w`` waits for the target."""

    def __init__(self) -> None:
        super().__init__()
        self.came = 0

    def feeder(self, side: Side) -> Callable[[bytes], Any]:
        return partial(self.steps, side)

    def steps(self, side: Side, chunk: bytes) -> Iterator[Step]:
        for byte in chunk:
            if side is Side.TARGET:
                self.came += 1
                yield STEP
            elif byte == ord("w"):
                now = self.came
                yield Wait(lambda now=now: self.came > now)  # type: ignore[misc]
            elif byte == ord("p"):
                yield Pause(SLICE)
            else:
                self.seq += 1
                yield Observe(StatementStarted(self.seq, 0, 73, 0, b"x", 0, "", b"", b"", ()))
            yield Forward(bytes((byte,)))

    def running(self) -> bool:
        return False


def relays(inspector: EchoInspector, rests: Rests) -> tuple[Relay, Line, Line, Recorder, list[EndReason]]:
    client, target, recorder, ended = Line(), Line(), Recorder(), list[EndReason]()
    relay = Relay(
        inspector,
        cast(Any, recorder),
        cast(Stream, client),
        cast(Stream, target),
        lambda reason, detail: ended.append(reason),
        lambda: 0.0,
    )
    relay.rests = rests
    return relay, client, target, recorder, ended


async def test_of_a_chunk_one_slice_passes_and_its_side_is_held_until_the_rest_has() -> None:
    rests = Rests()
    relay, client, target, recorder, _ = relays(Long(), rests)
    relay._client_sent(b"x" * 200)
    passed = []
    while not client.reading:
        passed.append(len(target.said))
        assert len(recorder.records) >= len(target.said)
        await turn()
    assert passed == [SLICE // 2 * number for number in range(1, len(passed) + 1)] and len(passed) > 5
    assert b"".join(target.said) == b"x" * 200


async def test_two_sessions_with_rests_take_turns_and_a_third_is_served_at_once() -> None:
    rests = Rests()
    first, second, third = (relays(Long(), rests) for _ in range(3))
    first[0]._client_sent(b"x" * 500)
    second[0]._client_sent(b"x" * 500)
    for _ in range(4):
        await turn()
        third[0]._client_sent(b"y")
    assert third[2].said == [b"y"] * 4
    assert abs(len(first[2].said) - len(second[2].said)) <= SLICE // 2
    assert not first[1].reading and not second[1].reading and third[1].reading


async def test_the_targets_rest_is_in_order_and_the_target_is_held() -> None:
    relay, client, target, _, _ = relays(Long(), Rests())
    relay._target_sent(bytes(range(200)))
    assert not target.reading and client.reading
    while not target.reading:
        await turn()
    assert b"".join(client.said) == bytes(range(200))


async def test_a_target_that_is_held_for_its_rest_is_not_read_when_the_client_has_drained() -> None:
    relay, _, target, _, _ = relays(Long(), Rests())
    relay._target_sent(b"x" * 200)
    relay._client_drained()
    assert not target.reading


async def test_nothing_of_a_rest_passes_after_the_end() -> None:
    relay, client, target, recorder, _ = relays(Long(), Rests())
    relay._client_sent(b"x" * 200)
    relay.freeze(None)
    passed, recorded = len(target.said), len(recorder.records)
    for _ in range(9):
        await turn()
    assert (len(target.said), len(recorder.records)) == (passed, recorded) and not client.reading


async def test_a_wait_is_over_when_the_target_has_answered() -> None:
    relay, client, target, _, _ = relays(Long(), Rests())
    relay._client_sent(b"awb")
    assert target.said == [b"a"] and not client.reading
    for _ in range(3):
        await turn()
    assert target.said == [b"a"]
    relay._target_sent(b"1")
    while not client.reading:
        await turn()
    assert target.said == [b"a", b"w", b"b"]


async def test_a_wait_that_is_over_already_is_none() -> None:
    class Ready(Long):
        def steps(self, side: Side, chunk: bytes) -> Iterator[Step]:
            yield Wait(lambda: True)
            yield Forward(chunk)

    _relay, client, target, _, _ = relays(Ready(), Rests())
    _relay._client_sent(b"a")
    assert target.said == [b"a"] and client.reading


async def test_what_fails_in_a_later_slice_fails_the_session() -> None:
    class Fails(Long):
        def steps(self, side: Side, chunk: bytes) -> Iterator[Step]:
            yield from super().steps(side, chunk)
            raise ValueError("surprise")

    for side in Side:
        relay, _, _, _, _ = relays(Fails(), Rests())
        failed: list[Exception] = []
        relay.failed_with = failed.append
        (relay._client_sent if side is Side.CLIENT else relay._target_sent)(b"x" * 200)
        assert not failed
        for _ in range(20):
            await turn()
        assert [str(each) for each in failed] == ["surprise"]


async def test_steps_that_were_made_at_once_are_carried_out_in_slices_too() -> None:
    class Many(Long):
        def feeder(self, side: Side) -> Callable[[bytes], Sequence[Step]]:
            return lambda chunk: [Reply(b"r")] * 1000

    relay, client, _, _, _ = relays(Many(), Rests())
    relay._target_sent(b"x")
    assert len(client.said) == SLICE
    while len(client.said) < 1000:
        await turn()


async def test_who_has_more_recorded_than_is_worked_off_is_not_read() -> None:
    """Statements of many megabytes would end this session, and with it those that write little."""
    may_go_on = asyncio.Event()
    relay, client, target, recorder, _ = relays(Long(), Rests())
    recorder.behind = True
    recorder.caught_up = may_go_on.wait  # type: ignore[attr-defined]
    async with asyncio.TaskGroup() as tasks:
        relay.waits.begin(tasks)
        relay._client_sent(b"x")
        assert target.said == [b"x"] and not client.reading
        await turn()
        assert not client.reading
        recorder.behind = False
        may_go_on.set()
    assert client.reading
