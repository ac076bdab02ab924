"""kill -9 at any moment: every acknowledged record is there, and what is left is sealed once, by one process."""

import fcntl
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy.recording import places
from proxy.recording.container import SUFFIX, Container
from proxy.recording.orphans import Orphan
from proxy.recording.reader import verify
from proxy.recording.recorder import FileRecordings
from proxy.recording.sealer import Sealer
from proxy.recording.window import Spares
from tests.fakes.clock import FakeClock
from tests.recording.things import records, statement, windows

WRITER = """
import asyncio, os, sys
from pathlib import Path
from proxy.adapters.clock import SystemClock
from proxy.core.records import StatementStarted
from proxy.recording.recorder import FileRecordings

async def main():
    recordings = FileRecordings(Path(sys.argv[1]), SystemClock(), window=4096, min_free=0)
    recordings.start()
    pens = [recordings.open(f"s{number}", {"number": number})[1] for number in range(3)]
    seq = 0
    while True:
        seq += 1
        for pen in pens:
            pen.write(StatementStarted(seq, 0, 73, 0, b"select %d" % seq, 0, "", b"", b"", ()))
        os.write(1, b"%d\\n" % seq)
        if seq % 500 == 0:
            key, pen = recordings.open(f"short-{seq}", {})
            pen.write(StatementStarted(1, 0, 73, 0, b"select 1", 0, "", b"", b"", ()))
            print("closed", key, await pen.close({"end_reason": "client_closed"}), flush=True)

asyncio.run(main())
"""


@contextmanager
def writing(root: Path) -> Iterator["subprocess.Popen[bytes]"]:
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(root)], stdout=subprocess.PIPE)
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


def again(root: Path) -> list[Orphan]:
    return FileRecordings(root, FakeClock(), min_free=0).seal_orphans()


@pytest.mark.parametrize("after", [1, *(random.Random(7).randrange(2, 4000) for _ in range(5))])
def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path, after: int) -> None:
    acknowledged, closed = 0, []
    with writing(tmp_path) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith(b"closed"):
                closed.append(line.decode().split())
            elif line.endswith(b"\n"):
                acknowledged = int(line)
            if acknowledged == after:
                child.send_signal(signal.SIGKILL)
    sealed = {orphan.session: orphan for orphan in again(tmp_path)}
    assert {"s0", "s1", "s2"} <= sealed.keys()
    for session in ("s0", "s1", "s2"):
        _, key, digest = sealed[session]
        found = verify(tmp_path, key)
        assert (found.problem, found.digest, found.end["truncated"]) == ("", digest, True)
        count = len(records(tmp_path, key))
        assert count >= acknowledged
        assert records(tmp_path, key) == [statement(seq, b"select %d" % seq) for seq in range(1, count + 1)]
    for _, key, digest in closed:
        found = verify(tmp_path, key)
        assert (found.problem, found.digest, found.end["end_reason"]) == ("", digest, "client_closed")
    assert again(tmp_path) == []
    assert [each.name for each in (tmp_path / "live").iterdir()] == ["sealing"]


def test_what_a_living_process_records_is_not_touched(tmp_path: Path) -> None:
    with writing(tmp_path) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) == 100:
                break
        assert again(tmp_path) == []
        before = int(child.stdout.readline())
        assert int(child.stdout.readline()) == before + 1
    assert len(again(tmp_path)) >= 3


async def left_behind(root: Path, count: int = 100) -> str:
    """A recording as a process leaves it that dies: nothing closed, its lock gone."""
    recordings = FileRecordings(root, FakeClock(), window=4096, min_free=0)
    recordings.start()
    key, pen = recordings.open("s1", {"identity": "alice"})
    for seq in range(1, count + 1):
        pen.write(statement(seq))
    recordings.stop()
    return key


async def test_sessions_said_to_be_alive_are_left_alone(tmp_path: Path) -> None:
    key = await left_behind(tmp_path)
    made = FileRecordings(tmp_path, FakeClock(), min_free=0)
    assert made.seal_orphans(lambda session: session == "s1") == []
    assert [(session, found) for session, found, _ in made.seal_orphans(lambda _: False)] == [("s1", key)]


async def test_a_window_sealed_but_not_deleted_is_not_sealed_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Spares, "give_back", lambda *_: None)
    key = await left_behind(tmp_path, 900)
    monkeypatch.undo()
    assert len(windows(tmp_path)) > 2
    (orphan,) = again(tmp_path)
    assert verify(tmp_path, key).digest == orphan.digest
    assert records(tmp_path, key) == [statement(seq) for seq in range(1, 901)]


@pytest.mark.parametrize("kept", [0, 5, 21, 30, -1, -40])
async def test_a_chunk_that_was_being_appended_is_appended_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    monkeypatch.setattr(Spares, "give_back", lambda *_: None)
    key = await left_behind(tmp_path, 900)
    monkeypatch.undo()
    path = tmp_path / f"{key}{SUFFIX}"
    path.write_bytes(path.read_bytes()[:kept])
    (orphan,) = again(tmp_path)
    assert verify(tmp_path, key).digest == orphan.digest
    assert records(tmp_path, key) == [statement(seq) for seq in range(1, 901)]


async def test_one_that_was_ended_but_not_sealed_keeps_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings = FileRecordings(tmp_path, FakeClock(), window=4096, min_free=0)
    recordings.start()
    key, pen = recordings.open("s1", {})
    pen.write(statement(1))
    monkeypatch.setattr(Sealer, "put", lambda *_: (_ for _ in ()).throw(RuntimeError("killed here")))
    with pytest.raises(RuntimeError):
        await pen.close({"end_reason": "idle"})
    monkeypatch.undo()
    recordings.stop()
    (orphan,) = again(tmp_path)
    found = verify(tmp_path, key)
    assert (found.problem, found.digest) == ("", orphan.digest)
    assert (found.end["end_reason"], found.end["truncated"]) == ("idle", False)


async def test_a_container_that_was_altered_is_not_followed(tmp_path: Path) -> None:
    key = await left_behind(tmp_path, 900)
    path = tmp_path / f"{key}{SUFFIX}"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    assert again(tmp_path) == [("s1", key, "")]
    assert windows(tmp_path)
    assert path.read_bytes() == data
    assert again(tmp_path) == [("s1", key, "")]


async def test_a_window_in_which_nothing_was_written_is_swept_away(tmp_path: Path) -> None:
    owner = tmp_path / places.LIVE / "1-dead"
    owner.mkdir(parents=True)
    (owner / "s1.j000001").write_bytes(bytes(4096))
    (owner / "spare-1").write_bytes(bytes(4096))
    (owner / "lock").write_bytes(b"")
    assert again(tmp_path) == []
    assert not owner.exists()


async def test_a_damaged_window_is_sealed_up_to_the_damage(tmp_path: Path) -> None:
    key = await left_behind(tmp_path, 40)
    (window,) = windows(tmp_path)
    data = bytearray(window.read_bytes())
    at = data.index(b"select 1", 1000)
    data[at] ^= 1
    window.write_bytes(data)
    (orphan,) = again(tmp_path)
    found = records(tmp_path, key)
    assert 10 < len(found) < 40
    assert found == [statement(seq) for seq in range(1, len(found) + 1)]
    assert verify(tmp_path, key).digest == orphan.digest


def test_one_process_seals_at_a_time(tmp_path: Path) -> None:
    (tmp_path / places.LIVE).mkdir()
    with (tmp_path / places.LIVE / places.SEALING).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        program = (
            "import sys; from pathlib import Path; from proxy.recording.orphans import seal_dead; "
            "print('begin', flush=True); print(seal_dead(Path(sys.argv[1]), lambda _: False), flush=True)"
        )
        child = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"begin\n"
        os.set_blocking(child.stdout.fileno(), False)
        assert child.stdout.read() is None
    os.set_blocking(child.stdout.fileno(), True)
    assert child.stdout.read() == b"[]\n"
    child.stdout.close()
    assert child.wait() == 0


def test_a_container_of_a_dead_process_is_resumed_behind_its_last_chunk(tmp_path: Path) -> None:
    fresh = Container(tmp_path / "none.tgr")
    fresh.resume()
    assert (fresh.next, fresh.ended) == (0, False)
