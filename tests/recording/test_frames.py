"""Frames follow each other until the first that is not whole."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.records import Record
from proxy.recording.codec import decode, encode
from proxy.recording.frames import framed, scan
from tests.recording.things import RECORDS


@given(st.lists(RECORDS, min_size=1, max_size=5))
def test_frames_follow_each_other_and_end_at_zero(records: list[Record]) -> None:
    data = b"".join(framed(encode(record, 0.5, number)) for number, record in enumerate(records)) + bytes(64)
    found = list(scan(data))
    assert [each.number for each in found] == list(range(len(records)))
    assert [decode(each.kind, each.payload) for each in found] == records
    assert found[-1].end == len(data) - 64


@given(RECORDS, st.data())
def test_a_frame_with_a_changed_byte_is_not_read(record: Record, data: st.DataObject) -> None:
    good, changed = framed(encode(record, 1.0, 0)), bytearray(framed(encode(record, 1.0, 1)))
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    assert [each.number for each in scan(good + bytes(changed) + bytes(8))] == [0]


@given(RECORDS, st.data())
def test_a_frame_that_was_being_written_is_not_read(record: Record, data: st.DataObject) -> None:
    whole = framed(encode(record, 1.0, 0))
    cut = data.draw(st.integers(0, len(whole) - 1))
    left = whole[:cut] + bytes(len(whole) - cut)
    assert left == whole or list(scan(left)) == []


@given(st.binary(max_size=200))
def test_garbage_has_no_frames(data: bytes) -> None:
    assert list(scan(data)) == []
