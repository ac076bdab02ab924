"""Whoever changes a sealed recording, wherever, is found out, and the place is named."""

import io
import re
from pathlib import Path

import pytest
import zstandard

from proxy.recording.container import CHUNK, FRAMES, MAGIC, SUFFIX, Altered, Container, Piece, chunks
from proxy.recording.reader import inspect, records_of, verify
from proxy.recording.recorder import FileRecordings
from tests.recording.things import statement


async def sealed(recordings: FileRecordings, root: Path) -> tuple[str, Path, str]:
    key, pen = recordings.open("s1", {"identity": "alice"})
    for seq in range(1, 120):
        pen.write(statement(seq))
    return key, root / f"{key}{SUFFIX}", await pen.close({"end_reason": "idle"})


async def test_every_altered_byte_is_found_and_its_chunk_named(recordings: FileRecordings, tmp_path: Path) -> None:
    _, path, digest = await sealed(recordings, tmp_path)
    whole = path.read_bytes()
    starts = [0, *(each.at for each in chunks(io.BytesIO(whole)))]
    assert len(starts) >= 5
    assert inspect(io.BytesIO(whole)).digest == digest
    for at in range(len(whole)):
        found = inspect(io.BytesIO(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]))
        assert found.problem, at
        named = int(re.findall(r"at byte (\d+)", found.problem)[0])
        assert named == max(start for start in starts if start <= at), at


async def test_every_cut_is_found(recordings: FileRecordings, tmp_path: Path) -> None:
    _, path, _ = await sealed(recordings, tmp_path)
    whole = path.read_bytes()
    for size in range(len(whole)):
        assert inspect(io.BytesIO(whole[:size])).problem, size
    assert inspect(io.BytesIO(whole + b"\0")).problem == f"at byte {len(whole)}: 1 bytes follow the end"


async def test_a_chunk_taken_out_doubled_or_moved_is_found(recordings: FileRecordings, tmp_path: Path) -> None:
    _, path, _ = await sealed(recordings, tmp_path)
    whole = path.read_bytes()
    pieces = [whole[each.at : each.end] for each in chunks(io.BytesIO(whole))]
    for index in range(len(pieces)):
        without = [*pieces[:index], *pieces[index + 1 :]]
        doubled = [*pieces[: index + 1], *pieces[index:]]
        moved = [*without, pieces[index]] if index < len(pieces) - 1 else pieces[::-1]
        for wrong in (without, doubled, moved):
            assert inspect(io.BytesIO(MAGIC + b"".join(wrong))).problem, index


async def test_one_written_anew_has_another_digest(recordings: FileRecordings, tmp_path: Path) -> None:
    _, path, digest = await sealed(recordings, tmp_path)
    parts = list(chunks(io.BytesIO(path.read_bytes())))
    forged = Container(tmp_path / "forged.tgr")
    for part in parts:
        raw = part.raw().replace(b"select 1", b"select 2")
        frames = (parts[parts.index(part) + 1].first if part is not parts[-1] else part.first + 1) - part.first
        forged.append(Piece(part.type, part.first, frames, raw), compressor=zstandard.ZstdCompressor())
    assert forged.digest != digest


async def test_there_is_none(tmp_path: Path) -> None:
    assert verify(tmp_path, "2026/11/24/s1").problem == "there is no such recording"


def test_a_frame_that_claims_to_be_huge_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "s1.tgr"
    container = Container(path)
    bomb = zstandard.ZstdCompressor(level=3)
    container.append(Piece(FRAMES, 0, 1, bytes(64 * 1024 * 1024)), compressor=bomb)
    data = bytearray(path.read_bytes())
    data[len(MAGIC) + 4 : len(MAGIC) + 8] = (100).to_bytes(4, "little")
    assert inspect(io.BytesIO(bytes(data))).problem
    (chunk,) = chunks(io.BytesIO(path.read_bytes()))
    with pytest.raises(Altered, match="another length"):
        chunk._replace(raw_length=100).raw()


def test_a_failed_append_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compressor = zstandard.ZstdCompressor()
    container = Container(tmp_path / "s1.tgr")
    container.append(Piece(1, 0, 1, b"{}"), compressor=compressor)
    before = container.path.read_bytes()

    def half(descriptor: int, data: memoryview, at: int) -> int:
        import os

        if at > len(before):
            raise OSError(28, "No space left on device")
        return os.lseek(descriptor, 0, 0) + os.writev(descriptor, [before + bytes(data[:10])]) - len(before)

    monkeypatch.setattr("proxy.recording.container.os.pwrite", half)
    with pytest.raises(OSError, match="No space"):
        container.append(Piece(FRAMES, 1, 1, b"abc" * 100), compressor=compressor)
    assert container.path.read_bytes() == before
    assert container.broken


async def test_the_records_of_a_copy_can_be_read_anywhere(recordings: FileRecordings, tmp_path: Path) -> None:
    _, path, _ = await sealed(recordings, tmp_path)
    header, found = records_of(io.BytesIO(path.read_bytes()))
    assert header["identity"] == "alice"
    assert [each.record for each in found] == [statement(seq) for seq in range(1, 120)]
    assert CHUNK == 45
