"""Pages are what reading all gives, and cost what is on them, however much lies before."""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.adapters.clock import SystemClock
from proxy.core.records import (
    Note,
    Outcome,
    Passed,
    Record,
    StatementFinished,
    StatementPrepared,
    StatementStarted,
)
from proxy.recording import container, index, journal, pages, reader
from proxy.recording.pages import Pages
from proxy.recording.reader import Recording
from proxy.recording.recorder import FileRecordings
from proxy.recording.statements import NoRows, joined


def started(seq: int, ref: int = 0) -> StatementStarted:
    text = b"" if ref else b"select %d" % seq
    return StatementStarted(seq, 0, 73, ref, text, 0, "", b"", b"", ())


def finished(seq: int) -> StatementFinished:
    return StatementFinished(seq, Outcome.DONE, b"SELECT 1", 1, 10, b"", b"", 73)


def prepared(ref: int) -> StatementPrepared:
    return StatementPrepared(ref, b"s", b"prepared %d" % ref, ())


@pytest.fixture
def recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileRecordings]:
    """With chunks that do not grow, however fast they are filled."""
    monkeypatch.setattr(journal, "GROWTH_MOST", 1)
    made = FileRecordings(tmp_path, SystemClock(), window=4096)
    made.start()
    yield made
    made.stop()


def all_of(root: Path, key: str) -> list[Any]:
    recording = Recording(root, key)
    found = joined("s1", recording.records(), NoRows(), lambda: bool(recording.end))
    return sorted(found, key=lambda each: int(each["seq"]))


def paged(known: Pages, root: Path, key: str, limit: int) -> list[Any]:
    """By pages, as the API asks for them: one more than it shows."""
    found: list[Any] = []
    while True:
        after = found[-1]["seq"] if found else 0
        page, _ = known.statements(Recording(root, key), "s1", NoRows(), after, limit + 1)
        found += page[:limit]
        if len(page) <= limit:
            return found


def notes_of(root: Path, key: str) -> list[Record]:
    return [each.record for each in Recording(root, key).records() if isinstance(each.record, Note)]


@st.composite
def sessions(draw: st.DrawFn) -> list[Record]:
    """Statements that overlap, run prepared texts of long ago, or never end; bytes and notes between them."""
    records: list[Record] = []
    running: list[int] = []
    seq = refs = 0
    for what in draw(st.lists(st.sampled_from("sssspfffbnN"), max_size=60)):
        if what == "s":
            seq += 1
            running.append(seq)
            records.append(started(seq, draw(st.integers(0, refs))))
        elif what == "p":
            refs += 1
            records.append(prepared(refs))
        elif what == "f" and running:
            records.append(finished(running.pop(draw(st.integers(0, len(running) - 1)))))
        elif what == "b":
            records.append(Passed(max(seq, 1), 1, b"x" * draw(st.sampled_from([10, 3000]))))
        elif what == "n":
            records.append(Note("warning", (("text", str(len(records))),)))
        elif what == "N" and running and refs:
            words = (("statement", running[-1]), ("prepared", str(draw(st.integers(1, refs)))))
            records.append(Note("perhaps", words))
    return records


@given(sessions(), st.integers(1, 9), st.booleans(), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_pages_are_what_reading_all_gives(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record], limit: int, sealed: bool, forgetful: bool
) -> None:
    root = tmp_path_factory.mktemp("pages")

    async def look() -> None:
        made = FileRecordings(root, SystemClock(), window=4096)
        made.start()
        try:
            key, pen = made.open("s1", {})
            for each in records:
                pen.write(each)
            if sealed:
                await pen.close({})
            known = Pages()
            with pytest.MonkeyPatch.context() as patching:
                if forgetful:
                    patching.setattr(pages, "PLACES_MOST", 0)
                    patching.setattr(index, "SPOTS_MOST", 2)
                    patching.setattr(index, "TEXTS_MOST", 1)
                wanted = all_of(root, key)
                for _ in range(2):
                    assert paged(known, root, key, limit) == wanted
                for after in range(len(wanted) + 1):
                    one, truncated = Pages().statements(Recording(root, key), "s1", NoRows(), after, limit)
                    assert one == wanted[after : after + limit]
                    assert truncated is not sealed
                notes = notes_of(root, key)
                for after in (*range(len(notes) + 2), 0):
                    found = known.notes(Recording(root, key), after, limit)
                    assert [each.record for each in found] == notes[after : after + limit]
            if not sealed:
                await pen.close({})
        finally:
            made.stop()

    asyncio.run(look())


@dataclass
class Work:
    """What was looked at."""

    frames: int = 0
    bytes: int = 0


@contextlib.contextmanager
def counted() -> Iterator[Work]:
    """Chunks that are decompressed, and frames that are gone through."""
    work = Work()
    frames_of, raw = reader.frames_of, container.Chunk.raw

    def frames(chunk: container.Chunk) -> Iterable[Any]:
        for each in frames_of(chunk):
            work.frames += 1
            yield each

    def counted_raw(self: container.Chunk) -> bytes:
        work.bytes += len(self.stored)
        return raw(self)

    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(reader, "frames_of", frames)
        patching.setattr(index, "frames_of", frames)
        patching.setattr(container.Chunk, "raw", counted_raw)
        yield work


async def long_one(recordings: FileRecordings, statements: int, texts: str) -> str:
    """``texts``: each its own, one prepared at the beginning, or a new one prepared for each."""
    key, pen = recordings.open("s1", {})
    if texts == "one":
        pen.write(prepared(1))
    for seq in range(1, statements + 1):
        ref = {"own": 0, "one": 1, "new": seq}[texts]
        if texts == "new":
            pen.write(prepared(ref))
        pen.write(started(seq, ref))
        pen.write(finished(seq))
        if seq % 100 == 0:
            pen.write(Note("warning", (("text", str(seq)),)))
            await pen.caught_up()
    await pen.close({})
    return key


@pytest.mark.parametrize("texts", ["own", "one", "new"])
async def test_a_page_costs_the_same_wherever_it_is(recordings: FileRecordings, tmp_path: Path, texts: str) -> None:
    """Of the last one by somebody who comes for the first time, too."""
    many = 8000
    key = await long_one(recordings, many, texts)
    whole = Recording(tmp_path, key).size
    first, last = Pages(), Pages()
    with counted() as at_first:
        page, _ = first.statements(Recording(tmp_path, key), "s1", NoRows(), 0, 100)
    assert [each["seq"] for each in page] == list(range(1, 101))
    with counted() as at_last:
        page, truncated = last.statements(Recording(tmp_path, key), "s1", NoRows(), many - 100, 101)
    assert [each["seq"] for each in page] == list(range(many - 99, many + 1))
    assert page[-1]["text"] == {"own": f"select {many}", "one": "prepared 1", "new": f"prepared {many}"}[texts]
    assert not truncated
    assert at_last.bytes < whole / 2, "some chunks, one of them for a text"
    assert at_last.frames < 8 * at_first.frames
    assert at_last.frames < many / 4


async def test_paging_through_is_linear(recordings: FileRecordings, tmp_path: Path) -> None:
    key = await long_one(recordings, 8000, "one")
    total = 8000 * 2 + 80
    known = Pages()
    with counted() as work:
        assert len(paged(known, tmp_path, key, 200)) == 8000
    pages_of_statements = work.frames
    assert pages_of_statements < 6 * total, "each page begins at a chunk's begin, and ends within one"
    with counted() as work:
        found = []
        while page := known.notes(Recording(tmp_path, key), len(found), 10):
            found += page
    assert len(found) == 80
    assert work.frames < 3 * total


async def test_who_follows_reads_what_is_new(recordings: FileRecordings, tmp_path: Path) -> None:
    """A statement that runs for long is asked for again and again, while bytes of it pass."""
    key, pen = recordings.open("s1", {})
    pen.write(started(1))
    known = Pages()
    looked = 0
    for _ in range(40):
        for _ in range(50):
            pen.write(Passed(1, 1, b"some output " * 8))
        await pen.caught_up()
        with counted() as work:
            (one,), truncated = known.statements(Recording(tmp_path, key), "s1", NoRows(), 0, 2)
            assert known.notes(Recording(tmp_path, key), 0, 10) == []
        assert (one["outcome"], truncated) == (None, True)
        looked += work.frames
    assert looked < 6 * 40 * 50, "not a half of 40 times 40 times 50"
    pen.write(finished(1))
    pen.write(started(2))
    both, _ = known.statements(Recording(tmp_path, key), "s1", NoRows(), 0, 2)
    assert [(each["seq"], each["outcome"]) for each in both] == [(1, "done"), (2, None)]
    await pen.close({})
    both, truncated = known.statements(Recording(tmp_path, key), "s1", NoRows(), 0, 2)
    assert [(each["seq"], each["outcome"]) for each in both] == [(1, "done"), (2, "unknown")]
    assert not truncated


async def test_another_limit_is_another_page(recordings: FileRecordings, tmp_path: Path) -> None:
    key, pen = recordings.open("s1", {})
    for seq in range(1, 8):
        pen.write(started(seq))
    known = Pages()
    for limit in (2, 5, 1, 7):
        page, _ = known.statements(Recording(tmp_path, key), "s1", NoRows(), 0, limit)
        assert [each["seq"] for each in page] == list(range(1, limit + 1))
    await pen.close({})


async def test_instants_are_right_wherever_a_page_begins(recordings: FileRecordings, tmp_path: Path) -> None:
    key = await long_one(recordings, 600, "own")
    wanted = all_of(tmp_path, key)
    known = Pages()
    assert paged(known, tmp_path, key, 7) == wanted
    assert [known.statements(Recording(tmp_path, key), "s1", NoRows(), 300, 1)[0][0]["started"]] == [
        wanted[300]["started"]
    ]


async def test_what_is_remembered_is_bounded(
    recordings: FileRecordings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "RECORDINGS_MOST", 2)
    known = Pages()
    for name in ("s1", "s2", "s3"):
        key, pen = recordings.open(name, {})
        pen.write(started(1))
        await pen.close({})
        known.statements(Recording(tmp_path, key), name, NoRows(), 0, 5)
    assert len(known._kept) == 2


async def test_a_recording_that_was_altered_is_no_page(recordings: FileRecordings, tmp_path: Path) -> None:
    key = await long_one(recordings, 1000, "own")
    path = Recording(tmp_path, key).path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(container.Altered):
        paged(Pages(), tmp_path, key, 100)
