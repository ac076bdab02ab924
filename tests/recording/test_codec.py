"""Records survive being bytes; bytes that are no record are refused, whatever they are."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.records import (
    Content,
    Flow,
    Note,
    Passed,
    Record,
    Resized,
    ResultRows,
    StatementAnswered,
    StatementFinished,
    StatementPrepared,
    StatementStarted,
)
from proxy.recording import codec
from proxy.recording.codec import BODY, PASSED, PASSED_MOST, Torn, decode, encode
from tests.recording.things import RECORDS


@given(RECORDS, st.floats(allow_nan=False), st.integers(0, 2**32 - 1))
def test_a_record_comes_back_as_it_was(record: Record, at: float, number: int) -> None:
    body = encode(record, at, number)
    kind, _, instant, numbered = BODY.unpack_from(body)
    assert (instant, numbered) == (at, number)
    assert decode(kind, body[BODY.size :]) == record


@given(RECORDS, st.data())
def test_a_record_cut_short_or_followed_by_more_is_torn(record: Record, data: st.DataObject) -> None:
    body = encode(record, 0.0, 0)
    payload = body[BODY.size :]
    for wrong in (payload[: data.draw(st.integers(0, len(payload) - 1))], payload + b"x"):
        with pytest.raises(Torn):
            decode(body[0], wrong)


@given(st.integers(0, 30), st.binary(max_size=80))
def test_garbage_is_torn_or_a_record_but_never_an_accident(kind: int, payload: bytes) -> None:
    with contextlib.suppress(Torn):
        decode(kind, payload)
    with contextlib.suppress(Torn):
        codec.decode_mapping(payload)
    with contextlib.suppress(Torn):
        codec.decode_clock(payload)


@given(st.integers(0, 255), st.binary(max_size=80))
def test_a_record_of_a_later_version_is_a_note_and_no_damage(kind: int, payload: bytes) -> None:
    if kind in codec._DECODERS:
        return
    if kind < codec.PREPARED:  # the container's own
        with pytest.raises(Torn):
            decode(kind, payload)
    else:
        assert decode(kind, payload) == Note("newer", (("record", kind), ("bytes", len(payload))))


def test_the_clocks_and_the_key_come_back() -> None:
    body = codec.clock(1.5, "2026/11/24/sess-1", 3.0, 7)
    assert codec.decode_clock(body[BODY.size :]) == (1.5, "2026/11/24/sess-1")


class Counted(bytes):
    """A value that counts the bytes copied to join it, and what it is joined to, to anything else."""

    copied = 0

    def __radd__(self, before: bytes) -> "Counted":
        Counted.copied += len(before)
        return Counted(bytes(before) + bytes(self))

    def __add__(self, after: bytes) -> "Counted":  # type: ignore[override]
        Counted.copied += len(self)
        return Counted(bytes(self) + bytes(after))


def test_a_bind_of_many_values_is_not_copied_once_for_each(count: int = 4000) -> None:
    values = tuple((23, 1, Counted(b"1234"), 4, "") for _ in range(count))
    record = StatementStarted(1, 1, 73, 1, b"", 0, "", b"s", b"", values)
    Counted.copied = 0
    body = encode(record, 0.0, 0)
    assert Counted.copied <= 100 * count
    assert decode(body[0], bytes(body)[BODY.size :]) == record


def test_values_that_were_packed_before_are_not_looked_at_again() -> None:
    values = [(23, 1, b"1234", 4, "")] * 4000
    packed = codec.Packed(values)
    packed.packed = b"".join(map(codec.value_of, values))
    for ref, name in ((1, b"s"), (0, b"s"), (1, b"n" * 300)):
        record = StatementStarted(1, 1, 73, ref, b"", 0, "", name, b"", tuple(values))
        assert encode(record._replace(parameters=packed), 0.0, 0) == encode(record, 0.0, 0)
    packed.packed = b""
    assert len(encode(record._replace(parameters=packed), 0.0, 0)) < 400


def test_a_body_is_renumbered_and_nothing_else() -> None:
    note = Note("x", (("a", 1),))
    assert codec.renumbered(encode(note, 2.0, 3), 4) == encode(note, 2.0, 4)


def test_a_number_that_does_not_fit_is_an_error_and_not_another_number() -> None:
    with pytest.raises(struct.error):
        encode(StatementFinished(2**32, 0, b"", 0, 0, b"", b"", 73), 0.0, 0)


def test_more_bytes_than_may_pass_at_once_are_neither_written_nor_read() -> None:
    most = Passed(1, Flow.OUTPUT, b"x" * PASSED_MOST)
    body = encode(most, 0.0, 0)
    assert decode(PASSED, body[BODY.size :]) == most
    with pytest.raises(ValueError, match="passed at once"):
        encode(most._replace(data=most.data + b"x"), 0.0, 0)
    forged = struct.pack("<IBI", 1, 1, PASSED_MOST + 1) + most.data + b"x"
    with pytest.raises(Torn):
        decode(PASSED, forged)


def test_a_flow_or_a_size_that_does_not_fit_is_an_error() -> None:
    for record in (Passed(1, 256, b""), Resized(1, -1, 24), Resized(1, 2**32, 24)):
        with pytest.raises(struct.error):
            encode(record, 0.0, 0)


WRITTEN = [
    (
        16,
        "03000000010000000900000001007373656c65637420243117000000",
        StatementPrepared(3, b"s", b"select $1", (23,)),
    ),
    (
        17,
        (
            "070000000149030000000000000008000000000100000001000000010073656c65637420316e70"
            "170000000000000001000000010000000037"
        ),
        StatementStarted(7, 1, 73, 3, b"select 1", 0, "", b"n", b"p", ((23, 0, b"7", 1, ""),)),
    ),
    (21, "07000000", StatementAnswered(7)),
    (
        18,
        "0700000001540100000000000000090000000000000008000000050200000053454c454354203134325030316e6f",
        StatementFinished(7, 1, b"SELECT 1", 1, 9, b"42P01", b"no", 84),
    ),
    (19, "07000000010000000200000001000000000000006461", ResultRows(7, b"d", (b"a", b""))),
    (20, "5b227761726e696e67222c205b5b226e222c20315d5d5d", Note("warning", (("n", 1),))),
    (22, "0700000001020000006f6b", Passed(7, Flow.OUTPUT, b"ok")),
    (23, "070000005000000018000000", Resized(7, 80, 24)),
    (
        25,
        "07000000004908000000" + b"select 1".hex(),
        StatementStarted(7, 0, 73, 0, b"select 1", 0, "", b"", b"", ()),
    ),
    (
        26,
        "07000000014903000000010100" + b"n".hex() + "1700000000000000010000000100000000" + "37",
        StatementStarted(7, 1, 73, 3, b"", 0, "", b"n", b"", ((23, 0, b"7", 1, ""),)),
    ),
    (
        27,
        "070000005401000000000000000900000000000000" + "08000000" + b"SELECT 1".hex(),
        StatementFinished(7, 0, b"SELECT 1", 1, 9, b"", b"", 84),
    ),
    (24, "07000000010500000000000000090000000000000004" + b"abcd".hex(), Content(7, Flow.OUTPUT, 5, 9, "abcd")),
]


@pytest.mark.parametrize(("kind", "payload", "record"), WRITTEN)
def test_what_was_written_before_is_still_read(kind: int, payload: str, record: Record) -> None:
    """Kinds and layouts are for ever: these bytes lie in recordings that somebody keeps."""
    assert decode(kind, bytes.fromhex(payload)) == record
    assert encode(record, 0.0, 0) == BODY.pack(kind, 0, 0.0, 0) + bytes.fromhex(payload)
