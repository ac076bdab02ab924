"""However the bytes of an SFTP channel are cut, the same passes and is recorded, and nothing passes unrecorded;
whatever is sent, the reader answers."""

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.records import Outcome
from proxy.core.steps import Side
from proxy.protocols.ssh import sftp_packets as packets
from tests.protocols.ssh.sftp_words import (
    CLIENT,
    HELLO,
    TARGET,
    Talk,
    Turn,
    closing,
    cut,
    data,
    extended,
    handle,
    name,
    on,
    opening,
    packet,
    read,
    status,
    text,
    u32,
    u64,
    write,
)

TRANSCRIPT: list[Turn] = [
    *HELLO,
    (CLIENT, on(packets.REALPATH, 1, b".") + opening(2, b"/in", 1) + opening(3, b"/out", 10)),
    (TARGET, name(1, b"/home") + handle(2, b"a") + handle(3, b"bb")),
    (CLIENT, read(4, b"a", 0, 40) + read(5, b"a", 40, 40) + read(6, b"a", 80, 40)),
    (CLIENT, write(7, b"bb", 0, b"q" * 70) + packet(77, 8, b"z" * 50) + write(9, b"no", 0, b"n" * 30)),
    (TARGET, data(5, b"2" * 40) + data(4, b"1" * 40)[:30]),
    (CLIENT, packet(78, 10) + write(11, b"bb", 100, b"p" * 30) + write(12, b"bb", 70, b"r" * 30)),
    (CLIENT, write(13, b"bb", 0, b"s" * 10) + packet(6, 14, u32(300))),
    (TARGET, data(4, b"1" * 40)[30:] + status(7) + status(12) + status(11) + status(6, 1) + status(13, 4)),
    (CLIENT, closing(15, b"bb") + extended(16, b"copy-data", text(b"a"), u64(0), u64(0), text(b"a"), u64(1))),
    (TARGET, status(15) + status(16, 8)),
    (CLIENT, closing(17, b"a") + on(packets.REMOVE, 18, b"/x") + on(packets.STAT, 19, b"/y")),
    (TARGET, status(17) + packet(packets.ATTRS, 19, u32(0)) + status(18)),
]


def outcome(turns: list[Turn]) -> tuple[object, ...]:
    talk = Talk(turns)
    last = talk.reader.finish(Outcome.UNKNOWN)
    return talk.records, talk.passed, talk.to_client, talk.closed, last


def test_byte_by_byte() -> None:
    assert outcome(cut(TRANSCRIPT, [1])) == outcome(TRANSCRIPT)


@given(st.lists(st.integers(1, 90), min_size=1, max_size=20))
def test_any_cut(sizes: list[int]) -> None:
    assert outcome(cut(TRANSCRIPT, sizes)) == outcome(TRANSCRIPT)


def test_a_request_is_recorded_before_its_last_byte_leaves() -> None:
    talk = Talk(HELLO)
    request = on(packets.REMOVE, 1, b"/precious")
    for at in range(len(request)):
        sent = len(talk.passed[CLIENT])
        talk.say([(CLIENT, request[at : at + 1])])
        assert len(talk.passed[CLIENT]) == sent or talk.began


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.sampled_from([CLIENT, TARGET]), st.integers(0, 21), st.binary(max_size=60)), max_size=12),
    st.lists(st.integers(1, 40), min_size=1, max_size=9),
)
def test_whatever_is_sent_is_answered(noise: list[tuple[Side, int, bytes]], sizes: list[int]) -> None:
    turns = [*HELLO, (CLIENT, opening(1, b"/f", 3)), (TARGET, handle(1, b"h"))]
    for number, (side, kind, inside) in enumerate(noise):
        kind = kind if side is CLIENT else 101 + kind % 5
        turns.append((side, packet(kind, number if side is CLIENT else max(0, number - 1), inside)))
    assert outcome(cut(turns, sizes)) == outcome(turns)
