"""The inner loop alone, with streams that only keep what they are given: where the last words stand."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from proxy.core.states import EndReason
from proxy.core.steps import Forward, Side, Step
from proxy.sessions.conversation import Farewell
from proxy.sessions.relay import Relay
from proxy.sessions.transport import Stream
from tests.fakes.echo import EchoInspector

SIZE = 4


class Blocks(EchoInspector):
    """The target's messages are blocks of four bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.came = 0

    def feed(self, side: Side, chunk: bytes) -> Sequence[Step]:
        self.came += len(chunk)
        return [Forward(chunk)]

    def target_boundary(self) -> int:
        return -self.came % SIZE

    def farewell(self, reason: EndReason, text: str, hint: str = "") -> bytes:
        assert self.target_boundary() == 0
        return b"BYE!"


class Kept:
    """A stream that is always willing."""

    congested = False

    def __init__(self) -> None:
        self.written = bytearray()

    def write(self, data: bytes) -> None:
        self.written += data

    def attach(self, on_data: Callable[[bytes], None], *_: Any) -> None:
        self.sends = on_data

    def hold(self) -> None: ...
    def release(self) -> None: ...


class Recorder:
    def write(self, record: object) -> None: ...


def a_relay() -> tuple[Relay, Kept, Kept]:
    client, target = Kept(), Kept()
    inspector = Blocks()
    relay = Relay(
        inspector,
        cast(Any, Recorder()),
        cast(Stream, client),
        cast(Stream, target),
        lambda reason, detail: pytest.fail(f"{reason} {detail}"),
        lambda: 0.0,
    )
    relay.start(cast(Any, None))
    return relay, client, target


LAST_WORDS = Farewell(EndReason.GRANT_REVOKED, "your grant was revoked", "")


@pytest.mark.parametrize(
    "chunks",
    [
        [b"ab"],
        [b"ab", b"cd"],
        [b"abcd"],
        [b"", b"ab", b"cdefgh"],
        [b"a", b"b", b"c", b"d", b"efgh"],
        [b"abcdef", b"ghijklmn"],
    ],
)
@pytest.mark.parametrize("before", [0, 1, 2, 3, 4, 5])
def test_the_last_words_stand_after_the_message_in_flight_and_before_what_follows(
    chunks: list[bytes], before: int
) -> None:
    relay, client, target = a_relay()
    if before:
        target.sends(b"." * before)
    relay.freeze(LAST_WORDS)
    for chunk in chunks:
        target.sends(chunk)
    sent = b"." * before + b"".join(chunks)
    whole = -(-before // SIZE) * SIZE
    said = b"BYE!" if whole <= len(sent) else b""
    assert bytes(client.written) == sent[:whole] + said


def test_they_are_said_once_and_the_first_reason_counts() -> None:
    relay, client, target = a_relay()
    relay.freeze(LAST_WORDS)
    relay.freeze(Farewell(EndReason.IDLE, "", ""))
    target.sends(b"abcd")
    assert bytes(client.written) == b"BYE!"


def test_whoever_is_muted_before_says_nothing() -> None:
    relay, client, target = a_relay()
    target.sends(b"ab")
    relay.freeze(LAST_WORDS)
    relay.mute()
    target.sends(b"cd")
    assert bytes(client.written) == b"ab"
