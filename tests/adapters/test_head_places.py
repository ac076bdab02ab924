"""Heads are kept elsewhere: appended to a file, or POSTed; what is away keeps nobody waiting."""

import asyncio
import json
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import structlog

from proxy.adapters.head_places import FIRST_BACKOFF, LONGEST_BACKOFF, HeadFolder, HeadPlaces, HeadWebhook, shown
from proxy.audit.heads import make, problem
from proxy.cli.demo.certificates import Authority
from proxy.cli.kept_heads import parsed
from proxy.core.trail import TrailHead
from tests.audit.trails import PUBLIC, sign


def head(seq: int, origin: int = 1) -> TrailHead:
    return make(seq, f"{seq:064}", 1_800_000_000.0 + seq / 3, sign, origin)


# -- a folder


def test_each_head_is_a_line_that_can_be_verified(tmp_path: Path) -> None:
    place = HeadFolder(tmp_path, "tide-1")
    for seq in (1, 2, 3):
        place.put(head(seq, origin=2))
    (file,) = tmp_path.iterdir()
    assert file.name == "heads-tide-1.jsonl"
    assert file.stat().st_mode & 0o007 == 0
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert lines == [shown(head(seq, origin=2)) for seq in (1, 2, 3)]
    names = ("seq", "digest", "at_epoch", "kid", "signature", "origin")
    read = [TrailHead(*(each[name] for name in names)) for each in parsed([file.read_text()])]
    assert [problem(each, PUBLIC) for each in read] == ["", "", ""]


def test_a_line_that_a_full_disk_cut_short_spoils_no_other(tmp_path: Path) -> None:
    place = HeadFolder(tmp_path, "h")
    place.put(head(1))
    with place.path.open("ab") as file:
        file.write(b'{"seq": 2, "dig')
    place.put(head(3))
    assert [each["seq"] for each in parsed([place.path.read_text()])] == [1, 3]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "heads-h.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        HeadFolder(tmp_path, "h").put(head(1))
    assert not (tmp_path / "elsewhere").exists()


# -- a webhook


class Taker:
    """An HTTPS server that answers as it is told."""

    def __init__(self, folder: Path) -> None:
        self.taken: list[tuple[str, dict[str, str], Any]] = []
        self.status = 204
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.taken.append((self.path, dict(self.headers), json.loads(body)))
                self.send_response(outer.status)
                if outer.status == 302:
                    self.send_header("location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Silent."""

        authority = Authority.create()
        authority.server().write(folder, "taker")
        authority.write(folder)
        self.ca = folder / "ca.crt"
        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "taker.crt", folder / "taker.key")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server.server_address[1]}/heads?of=tide"


@pytest.fixture
def taker(tmp_path: Path) -> Iterator[Taker]:
    made = Taker(tmp_path)
    made.thread.start()
    yield made
    made.server.shutdown()
    made.thread.join()
    made.server.server_close()


def test_a_head_is_posted_with_its_token(taker: Taker) -> None:
    HeadWebhook(taker.url, taker.ca, lambda: "s3cret").put(head(4))
    ((path, headers, body),) = taker.taken
    assert (path, headers["Authorization"], body) == ("/heads?of=tide", "Bearer s3cret", shown(head(4)))


@pytest.mark.parametrize("status", [302, 401, 500])
def test_another_answer_is_a_failure_and_no_redirect_is_followed(taker: Taker, status: int) -> None:
    taker.status = status
    with pytest.raises(OSError, match=str(status)):
        HeadWebhook(taker.url, taker.ca).put(head(4))
    assert len(taker.taken) == 1


def test_an_unknown_certificate_is_not_believed(taker: Taker) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        HeadWebhook(taker.url).put(head(4))
    assert taker.taken == []


# -- handing over


class FakePlace:
    name = "webhook"

    def __init__(self) -> None:
        self.kept: list[int] = []
        self.fails = 0
        self.gate = threading.Event()
        self.gate.set()

    def put(self, head: TrailHead) -> None:
        self.gate.wait()
        if self.fails:
            self.fails -= 1
            raise OSError("away")
        self.kept.append(head.seq)


class CountingMetrics:
    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], float] = {}
        self.changed = asyncio.Condition()

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        assert name == "tidegate_heads_kept_total"
        key = labels["place"], labels["result"]
        self.counts[key] = self.counts.get(key, 0) + by


class World:
    def __init__(self, *places: FakePlace) -> None:
        self.slept: list[float] = []
        self.metrics = CountingMetrics()
        self.places = HeadPlaces(places, self.metrics, structlog.get_logger(), self.sleep)  # type: ignore[arg-type]

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


@asynccontextmanager
async def running(world: World) -> AsyncIterator[HeadPlaces]:
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(world.places.run())
        yield world.places
        task.cancel()


async def until(there: Callable[[], bool]) -> None:
    """What a thread does wakes nobody here."""
    while True:
        if there():
            return
        await asyncio.sleep(0.001)


async def kept(place: FakePlace, *seqs: int) -> None:
    await until(lambda: place.kept[-1:] == list(seqs[-1:]))
    assert place.kept == list(seqs)


async def test_heads_are_handed_over_once_each() -> None:
    place = FakePlace()
    world = World(place)
    async with running(world) as places:
        places.offer(head(1))
        await kept(place, 1)
        places.offer(head(1))
        places.offer(head(2))
        await kept(place, 1, 2)
    assert world.metrics.counts == {("webhook", "kept"): 2}


async def test_a_place_that_is_away_is_tried_again_ever_more_rarely_and_gets_the_newest() -> None:
    place = FakePlace()
    place.fails = 12
    world = World(place)
    async with running(world) as places:
        places.offer(head(1))
        await until(lambda: len(world.slept) >= 5)
        places.offer(head(2))
        places.offer(head(3))
        await kept(place, 3)
    assert world.slept[:3] == [FIRST_BACKOFF, 2 * FIRST_BACKOFF, 4 * FIRST_BACKOFF]
    assert len(world.slept) == 12
    assert max(world.slept) == LONGEST_BACKOFF
    assert world.metrics.counts == {("webhook", "failed"): 12, ("webhook", "kept"): 1}


async def test_a_place_that_hangs_keeps_no_other_waiting() -> None:
    hangs, other = FakePlace(), FakePlace()
    hangs.gate.clear()
    world = World(hangs, other)
    async with running(world) as places:
        for seq in (1, 2, 3):
            places.offer(head(seq))
            await kept(other, *range(1, seq + 1))
        assert hangs.kept == []
        hangs.gate.set()
        await until(lambda: hangs.kept[-1:] == [3])
    assert hangs.kept == [1, 3]
