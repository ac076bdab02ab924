"""The folder of recordings as the API reads it: sealed, live, missing, altered."""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.adapters.clock import SystemClock
from proxy.api.folder import FolderRecordings
from proxy.core.errors import Unavailable
from proxy.core.records import Note, Outcome, StatementFinished, StatementStarted
from proxy.core.sessions import SessionRecord
from proxy.recording import places
from proxy.recording.container import SUFFIX
from proxy.recording.recorder import FileRecordings
from tests.fakes.things import a_session


class PlainRows:
    """``core.ports.Rows`` that decodes nothing."""

    def parameter(self, oid: int, format: int, value: bytes) -> object:
        return value.decode()

    def rows(self, description: bytes, rows: Iterable[bytes]) -> list[dict[str, object]]:
        return [{"row": each.decode()} for each in rows]


def started(seq: int, text: bytes = b"select 1") -> StatementStarted:
    return StatementStarted(seq, 0, 73, 0, text, 0, "", b"", b"", ((25, 0, b"v", 1, ""),))


def finished(seq: int) -> StatementFinished:
    return StatementFinished(seq, Outcome.DONE, b"SELECT 1", 1, 10, b"", b"", 73)


@pytest.fixture
def recordings(tmp_path: Path) -> Iterator[FileRecordings]:
    made = FileRecordings(tmp_path, SystemClock(), window=4096)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def folder(tmp_path: Path) -> FolderRecordings:
    return FolderRecordings(tmp_path, {"postgres": PlainRows()})


def of(key: str, **changes: object) -> SessionRecord:
    return replace(a_session("s1"), recording=key, **changes)  # type: ignore[arg-type]


async def test_statements_of_a_sealed_one_page_in_the_order_they_were_sent(
    recordings: FileRecordings, folder: FolderRecordings
) -> None:
    key, pen = recordings.open("s1", {})
    for seq in (1, 2, 3):
        pen.write(started(seq))
    for seq in (2, 1, 3):
        pen.write(finished(seq))
    await pen.close({})
    ran = folder.statements(of(key), 0, 2)
    assert ran is not None
    assert [each["seq"] for each in ran.items] == [1, 2]
    assert ran.items[0]["parameters"] == ["v"]
    assert ran.items[0]["outcome"] == "done"
    assert not ran.truncated
    rest = folder.statements(of(key), 2, 2)
    assert rest is not None
    assert [each["seq"] for each in rest.items] == [3]
    assert folder.running(of(key)) is None


async def test_a_live_one_is_read_and_tells_what_runs(recordings: FileRecordings, folder: FolderRecordings) -> None:
    key, pen = recordings.open("s1", {})
    try:
        for record in (started(1), finished(1), started(2, b"select pg_sleep(9)"), started(3)):
            pen.write(record)
        running = folder.running(of(key))
        assert running is not None
        assert (running.seq, running.text) == (2, "select pg_sleep(9)")
        assert abs(running.started - SystemClock().now()) < 60
        ran = folder.statements(of(key), 0, 10)
        assert ran is not None
        assert [each["seq"] for each in ran.items] == [1, 2, 3]
        assert ran.truncated
    finally:
        await pen.close({})


async def test_what_ran_at_an_instant_is_told_when_it_is_over(
    recordings: FileRecordings, folder: FolderRecordings
) -> None:
    key, pen = recordings.open("s1", {})
    pen.write(started(1))
    pen.write(finished(1))
    pen.write(started(2, b"select pg_sleep(9)"))
    await asyncio.sleep(0.05)
    at = SystemClock().now()
    await asyncio.sleep(0.05)
    pen.write(finished(2))
    for _ in range(2):  # live, and when it is sealed
        assert folder.running(of(key)) is None
        ran = folder.running(of(key), at)
        assert ran is not None
        assert (ran.seq, ran.text) == (2, "select pg_sleep(9)")
        assert folder.running(of(key), at + 60) is None
        with contextlib.suppress(Unavailable):
            await pen.close({})


async def test_what_runs_is_told_of_a_session_too_long_to_look_through(
    recordings: FileRecordings, folder: FolderRecordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.api.folder.LOOKED_THROUGH_MOST", 0)
    key, pen = recordings.open("s1", {})
    try:
        for seq in range(1, 5000):
            pen.write(started(seq, b"select %d" % seq))
            pen.write(finished(seq))
        assert folder.running(of(key)) is None
        pen.write(started(5000, b"select pg_sleep(9)"))
        running = folder.running(of(key))
        assert running is not None
        assert running.text == "select pg_sleep(9)"
    finally:
        await pen.close({})


async def test_windows_that_are_sealed_while_they_are_read_are_listed_again(
    recordings: FileRecordings, folder: FolderRecordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, pen = recordings.open("s1", {})
    pen.write(started(1, b"select 1"))
    windows, listed = places.windows, iter([[Path("/none/s1.j000001")]])
    monkeypatch.setattr(places, "windows", lambda root, session: next(listed, None) or windows(root, session))
    running = folder.running(of(key))
    assert running is not None
    assert running.text == "select 1"
    await pen.close({})


async def test_notes_are_given_in_order_and_bounded(recordings: FileRecordings, folder: FolderRecordings) -> None:
    key, pen = recordings.open("s1", {})
    pen.write(started(1))
    for word in ("warning", "farewell"):
        pen.write(Note(word, (("text", f"a {word}"), ("n", 1))))
    await pen.close({})
    found = folder.notes(of(key), 0, 10)
    assert found is not None
    assert [(each.kind, each.data) for each in found] == [
        ("warning", {"text": "a warning", "n": 1}),
        ("farewell", {"text": "a farewell", "n": 1}),
    ]
    assert abs(found[0].at - SystemClock().now()) < 60
    assert folder.notes(of(key), 0, 1) == found[:1]
    assert folder.notes(of(key), 1, 1) == found[1:]
    assert folder.notes(of(key), 2, 1) == []


async def test_digests(recordings: FileRecordings, folder: FolderRecordings, tmp_path: Path) -> None:
    key, pen = recordings.open("s1", {})
    digest = await pen.close({})
    assert folder.digest(key) == digest
    path = tmp_path / f"{key}{SUFFIX}"
    path.write_bytes(path.read_bytes()[:-1])
    assert folder.digest(key) == ""
    path.unlink()
    assert folder.digest(key) is None
    assert folder.digest("../../etc/passwd") is None


async def test_the_container_is_given_as_it_is(
    recordings: FileRecordings, folder: FolderRecordings, tmp_path: Path
) -> None:
    key, pen = recordings.open("s1", {})
    pen.write(started(1))
    await pen.close({})
    opened = folder.open(of(key))
    assert opened is not None
    with opened:
        assert opened.read() == (tmp_path / f"{key}{SUFFIX}").read_bytes()


@pytest.mark.parametrize("key", ["", "2026/11/24/nothing", "../../etc/passwd", "/etc/passwd"])
def test_what_is_not_here_is_none(folder: FolderRecordings, key: str) -> None:
    assert folder.statements(of(key), 0, 10) is None
    assert folder.running(of(key)) is None
    assert folder.open(of(key)) is None


async def test_a_key_leads_nowhere_else(recordings: FileRecordings, tmp_path: Path) -> None:
    key, pen = recordings.open("s1", {})
    await pen.close({})
    inner = tmp_path / "inner"
    inner.mkdir()
    assert FolderRecordings(inner, {"postgres": PlainRows()}).open(of(f"../{key}")) is None


async def test_a_protocol_nobody_reads_is_none(recordings: FileRecordings, tmp_path: Path) -> None:
    key, pen = recordings.open("s1", {})
    await pen.close({})
    assert FolderRecordings(tmp_path, {}).statements(of(key), 0, 10) is None


async def test_an_altered_one_is_not_believed_and_its_place_not_told(
    recordings: FileRecordings, folder: FolderRecordings, tmp_path: Path
) -> None:
    key, pen = recordings.open("s1", {})
    for seq in range(1, 50):
        pen.write(started(seq))
    await pen.close({})
    path = tmp_path / f"{key}{SUFFIX}"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(Unavailable) as caught:
        folder.statements(of(key), 0, 10)
    assert caught.value.code == "recording_altered"
    assert str(tmp_path) not in caught.value.public
    assert key not in caught.value.public
