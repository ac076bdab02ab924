"""The bytes that recordings keep, page by page: sealed and live, of all statements or of one; and who looked."""

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.adapters.clock import SystemClock
from proxy.api import folder as folder_module
from proxy.api.folder import FolderRecordings
from proxy.api.services import Kept, KeptPage
from proxy.core.records import Content, Flow, Outcome, Passed, Resized, StatementFinished, StatementStarted, Via
from proxy.core.sessions import SessionRecord
from proxy.core.states import EndReason, SessionStatus
from proxy.recording import places
from proxy.recording.recorder import FileRecordings
from proxy.recording.statements import NoRows
from tests.api.test_folder import of
from tests.api.test_sessions import views
from tests.api.world import ApiWorld


def started(seq: int, via: Via = Via.SHELL, text: bytes = b"") -> StatementStarted:
    return StatementStarted(seq, via, 0, 0, text, 0, "", b"", b"", ())


def finished(seq: int, tag: bytes = b"exit 0") -> StatementFinished:
    return StatementFinished(seq, Outcome.DONE, tag, -1, 10, b"", b"", 0)


def ssh(key: str) -> SessionRecord:
    return of(key, protocol="ssh")


@pytest.fixture
def recordings(tmp_path: Path) -> Iterator[FileRecordings]:
    made = FileRecordings(tmp_path, SystemClock(), window=4096)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def folder(tmp_path: Path) -> FolderRecordings:
    return FolderRecordings(tmp_path, {"ssh": NoRows()})


def page(folder: FolderRecordings, key: str, after: int = 0, limit: int = 1000, statement: int = 0) -> KeptPage:
    found = folder.output(ssh(key), after, limit, statement)
    assert found is not None
    return found


def every(folder: FolderRecordings, key: str, limit: int = 1000, statement: int = 0) -> list[Kept]:
    items, more, after = [], True, 0
    while more:
        found = page(folder, key, after, limit, statement)
        assert found.reached > after or not found.more
        items += found.items
        more, after = found.more, found.reached
    return items


async def test_what_a_terminal_showed_is_given_with_its_sizes(
    recordings: FileRecordings, folder: FolderRecordings
) -> None:
    key, pen = recordings.open("s1", {})
    digest = Content(2, Flow.ERRORS, 0, 3, "ab" * 32)
    for record in (started(1), Resized(1, 80, 24), Passed(1, Flow.OUTPUT, b"$ "), Passed(1, Flow.INPUT, b"l\xff")):
        pen.write(record)
    for record in (started(2, Via.EXEC, b"ls"), Passed(2, Flow.ERRORS, b"no!"), digest, finished(2), finished(1)):
        pen.write(record)
    await pen.close({})
    found = page(folder, key)
    assert [(each.statement, each.kind, each.data, each.columns, each.rows) for each in found.items] == [
        (1, "resize", None, 80, 24),
        (1, "output", b"$ ", None, None),
        (1, "input", b"l\xff", None, None),
        (2, "errors", b"no!", None, None),
    ]
    assert not found.more
    assert page(folder, key, after=found.reached).items == []
    assert [each.data for each in page(folder, key, statement=2).items] == [b"no!"]
    ran = folder.statements(ssh(key), 0, 10)
    assert ran is not None
    shell, command = ran.items
    assert (shell["protocol"], shell["terminal"], shell["transaction"]) == (
        "shell",
        {"columns": 80, "rows": 24},
        None,
    )
    assert "content" not in shell
    assert command["content"] == [{"flow": "errors", "offset": 0, "bytes": 3, "sha256": "ab" * 32}]
    assert "terminal" not in command


async def test_a_live_one_is_followed_while_it_is_written_and_sealed(
    recordings: FileRecordings, folder: FolderRecordings, tmp_path: Path
) -> None:
    key, pen = recordings.open("s1", {})
    pen.write(started(1))
    followed: list[Kept] = []
    after = 0
    for number in range(300):
        pen.write(Passed(1, Flow.OUTPUT, b"%d " % number * 20))
        if number % 11 == 0:
            found = page(folder, key, after)
            followed += found.items
            after = found.reached
    await pen.close({})
    rest = page(folder, key, after)
    assert [each.data for each in (*followed, *rest.items)] == [b"%d " % number * 20 for number in range(300)]
    fresh = FolderRecordings(tmp_path, {"ssh": NoRows()})
    assert fresh.output(ssh(key), after, 1000) == rest, "a place that is not remembered is found again"


async def test_pages_are_bounded_by_items_and_by_bytes(
    recordings: FileRecordings, folder: FolderRecordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, pen = recordings.open("s1", {})
    sizes = [400_000, 400_000, 400_000, 1_048_576, 1, 1_048_576]
    for size in sizes:
        pen.write(Passed(1, Flow.OUTPUT, b"x" * size))
    await pen.close({})
    pages, after, more = [], 0, True
    while more:
        found = page(folder, key, after)
        pages.append([len(each.data or b"") for each in found.items])
        after, more = found.reached, found.more
    assert pages == [[400_000, 400_000], [400_000], [1_048_576], [1], [1_048_576]]
    assert [len(each.data or b"") for each in every(folder, key, limit=1)] == sizes
    monkeypatch.setattr(folder_module, "PASSED_OVER", 500_000)
    looked = page(folder, key, statement=2)
    assert (looked.items, looked.more) == ([], True), "one look is bounded though it finds nothing"
    assert every(folder, key, statement=2) == []


async def test_a_shell_that_runs_is_told_as_one(recordings: FileRecordings, folder: FolderRecordings) -> None:
    key, pen = recordings.open("s1", {})
    pen.write(started(1))
    running = folder.running(ssh(key))
    assert running is not None
    assert (running.seq, running.text) == (1, "shell")
    await pen.close({})


async def test_a_shell_is_told_of_a_session_too_long_to_look_through(
    recordings: FileRecordings, folder: FolderRecordings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(folder_module, "LOOKED_THROUGH_MOST", 2000)
    key, pen = recordings.open("s1", {})
    pen.write(started(1))
    pen.write(started(2, Via.EXEC, b"true"))
    pen.write(finished(2))
    for number in range(3000):
        pen.write(Passed(1, Flow.OUTPUT, b"%d " % number * 9))
    running = folder.running(ssh(key))
    assert running is not None
    assert (running.seq, running.text) == (1, "shell")
    pen.write(finished(1))
    assert folder.running(ssh(key)) is None
    pen.write(started(3, Via.EXEC, b"late"))
    for number in range(9000):
        pen.write(Passed(3, Flow.OUTPUT, b"%d " % number * 9))
    async with asyncio.timeout(10):
        while len(places.windows(tmp_path, "s1")) > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert folder.running(ssh(key)) is None, "not found in a glance"
    await pen.close({})


# -- over HTTP ---------------------------------------------------------------------------------------------------


async def test_output_pages_and_the_look_is_in_the_trail_once(world: ApiWorld) -> None:
    session = await world.session(await world.granted("alice"))
    world.recordings.kept = [
        Kept(3, 0.5, 1, "resize", columns=80, rows=24),
        Kept(4, 0.75, 1, "output", b"\x1b[1m\xff"),
        Kept(9, 1.0000001, 2, "input", b"q"),
    ]
    path = "/v1/sessions/session-1/output"
    first = (await world.call("carol", "GET", path + "?limit=2")).json()
    assert first["items"] == [
        {"number": 3, "at": 0.5, "statement": 1, "kind": "resize", "data": None, "columns": 80, "rows": 24},
        {
            "number": 4,
            "at": 0.75,
            "statement": 1,
            "kind": "output",
            "data": base64.b64encode(b"\x1b[1m\xff").decode(),
            "columns": None,
            "rows": None,
        },
    ]
    assert (first["session"], first["next"], first["reached"], first["live"]) == ("session-1", 4, 4, True)
    second = (await world.call("carol", "GET", path + "?after=4")).json()
    assert [each["at"] for each in second["items"]] == [1.0]
    assert (second["next"], second["reached"]) == (None, 9)
    one = (await world.call("carol", "GET", path + "?statement=2")).json()
    assert [each["number"] for each in one["items"]] == [9]
    assert views(world) == [("carol", "session-1", "output")]
    ended = {"status": SessionStatus.ENDED, "ended": 1.0, "end_reason": EndReason.IDLE}
    await world.session(await world.granted("alice"), session.id, **ended)
    assert (await world.call("carol", "GET", path)).json()["live"] is False


@pytest.mark.parametrize("query", ["after=-1", "limit=0", "limit=5001", "statement=-1", f"after={1 << 41}"])
async def test_an_odd_page_is_refused(world: ApiWorld, query: str) -> None:
    await world.session(await world.granted("alice"))
    assert (await world.call("carol", "GET", f"/v1/sessions/session-1/output?{query}")).status_code == 422
