"""Whatever order the blocks of a file come in, its content is hashed; what waits for its turn is bounded."""

import hashlib
import random

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.records import Content, Note, Record
from proxy.protocols.ssh.content import RUNS_MOST, WAITING_BYTES, WAITING_PIECES, Hashed, Pieces, Room

FILE = random.Random(1).randbytes(5000)


def content(offset: int, data: bytes) -> Content:
    return Content(1, 0, offset, len(data), hashlib.sha256(data).hexdigest())


def added(*blocks: tuple[int, bytes], expect: int | None = None) -> list[Record]:
    pieces = Pieces(1, 0, Room())
    if expect is not None:
        pieces.expect(expect)
    records: list[Record] = []
    for offset, data in blocks:
        records += pieces.add(offset, data)
    assert pieces.size == sum(len(data) for _, data in blocks)
    return records + pieces.finish()


def test_a_run() -> None:
    run = Hashed(7)
    run.add(b"ab")
    run.add(memoryview(b"c"))
    assert (run.size, run.end) == (3, 10) and run.content(1, 0) == content(7, b"abc")


@given(st.lists(st.integers(1, 600), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_any_order_is_one_run(sizes: list[int], order: random.Random) -> None:
    blocks, offset = [], 0
    for size in sizes:
        blocks.append((offset, FILE[offset : offset + size]))
        offset = min(len(FILE), offset + size)
    blocks = [each for each in blocks if each[1]]
    order.shuffle(blocks)
    assert added(*blocks, expect=0) == [content(0, FILE[:offset])]


def test_gaps_and_repeats_are_runs_of_their_own() -> None:
    assert added((0, b"aa"), (10, b"bb"), (12, b"cc")) == [content(0, b"aa"), content(10, b"bbcc")]
    assert added((0, b"aaaa"), (0, b"bb"), (2, b"cc")) == [content(0, b"aaaa"), content(0, b"bbcc")]
    assert added((0, b"aa"), (5, b"b"), (5, b"c")) == [content(0, b"aa"), content(5, b"b"), content(5, b"c")]
    assert added() == [content(0, b"")] and added((9, b"x")) == [content(9, b"x")]
    assert added(expect=9) == [content(0, b"")]


def test_several_readers_of_one_file() -> None:
    far = [n * 1_000_000 for n in range(6)]
    blocks = [(start + step * 50_000, bytes((step,)) * 50_000) for step in range(18) for start in far]
    whole = b"".join(bytes((step,)) * 50_000 for step in range(18))
    assert added(*blocks) == [content(start, whole) for start in far]


def test_what_waits_is_bounded_over_all_files() -> None:
    room = Room()
    files = [Pieces(1, 0, room) for _ in range(20)]
    block = bytes(100_000)
    for n in range(40):
        for pieces in files:
            pieces.expect(0)
            pieces.add(1 + n * 200_000, block)
            assert room.held <= WAITING_BYTES
    few = Pieces(1, 0, room)
    few.expect(0)
    for n in range(1000):
        few.add(1 + n * 2, b"x")
        assert len(few._waiting) <= WAITING_PIECES and len(few._open) <= 8
    for pieces in (*files, few):
        pieces.finish()
    assert room.held == 0


def test_too_many_runs_are_counted() -> None:
    records = added(*((n * 2, b"x") for n in range(4 * RUNS_MOST)))
    notes = [each for each in records if isinstance(each, Note)]
    assert len(notes) == 1 and notes[0].kind == "warning"
    assert len(records) == RUNS_MOST + 1


def test_pieces_of_a_byte_are_not_free() -> None:
    room = Room()
    files = [Pieces(1, 0, room) for _ in range(200)]
    for pieces in files:
        pieces.expect(0)
        for n in range(WAITING_PIECES):
            pieces.add(1 + n * 2, b"x")
    assert sum(len(pieces._waiting) for pieces in files) <= WAITING_BYTES // 256
    for pieces in files:
        pieces.finish()
    assert room.held == 0
