"""The API over the fake store, with the people of the access tests: alice and eve (engineers), bob (approver),
carol (auditor), dave (admin)."""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, BinaryIO

import httpx
from fastapi import FastAPI

from proxy.access.logins import Logins
from proxy.api.application import create_api
from proxy.api.services import Facts, Kept, KeptPage, Noted, Ran, Reload, Services
from proxy.api.shapes.sessions import Running
from proxy.app.trail_keeper import TrailKeeper
from proxy.audit.signing import Signing
from proxy.core.access import Grant, Request
from proxy.core.errors import PeerError
from proxy.core.events import KeysRotated
from proxy.core.identity import Identity, Who
from proxy.core.ports import Node
from proxy.core.sessions import SessionRecord
from proxy.core.states import SessionStatus
from tests.access.world import HOUR, OFFICE, PEOPLE, RESOURCES, RULES, World
from tests.audit.trails import PUBLIC, sign
from tests.fakes.heads import FakeHeadMemory
from tests.fakes.store import FakeDoorbell

PASSWORD = "correct horse battery"


class FakePasswords:
    """``core.ports.Passwords``: everybody has the same one."""

    def __init__(self, people: Callable[[], Iterable[Identity]] = lambda: PEOPLE) -> None:
        self.people = people
        self.asked = 0

    async def verify(self, name: str, password: str) -> bool:
        self.asked += 1
        return password == PASSWORD and name in {each.name for each in self.people()}


class FakeMetrics:
    """``core.ports.Metrics`` that adds up."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, ...], float] = {}

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        key = (name, *labels.values())
        self.counts[key] = self.counts.get(key, 0) + by

    def gauge(self, name: str, value: float, **labels: str) -> None:
        raise AssertionError("the API has no gauges")

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        raise AssertionError("the API measures nothing")


class Ahead:
    """The clock of an API whose machine is ``seconds`` ahead of the store's."""

    def __init__(self, world: "ApiWorld", seconds: float) -> None:
        self._world = world
        self._seconds = seconds

    def now(self) -> float:
        return self._world.clock.now() + self._seconds

    monotonic = boottime = now


class FakeRecordings:
    """Recordings by session id."""

    def __init__(self) -> None:
        self.held: dict[str, list[dict[str, Any]]] = {}
        self.noted: list[Noted] = []
        self.kept: list[Kept] = []
        self.digests: dict[str, str] = {}
        self.written: dict[str, float] = {}
        self.quiet: set[str] = set()

    def notes(self, session: SessionRecord, after: int, limit: int) -> list[Noted] | None:
        return self.noted[after : after + limit] if session.id in self.held else None

    def output(self, session: SessionRecord, after: int, limit: int, statement: int = 0) -> KeptPage | None:
        if session.id not in self.held:
            return None
        found = [each for each in self.kept if each.number > after and statement in (0, each.statement)]
        reached = found[:limit][-1].number if found else after
        return KeptPage(found[:limit], reached, len(found) > limit, session.started)

    def digest(self, key: str) -> str | None:
        return self.digests.get(key)

    def sealed(self) -> Iterator[tuple[str, float]]:
        yield from [(key, self.written.get(key, 0.0)) for key in self.digests]

    def silent(self, key: str) -> bool:
        return key in self.quiet

    def statements(self, session: SessionRecord, after: int, limit: int) -> Ran | None:
        found = self.held.get(session.id)
        if found is None:
            return None
        return Ran([each for each in found if each["seq"] > after][:limit], truncated=False)

    def running(self, session: SessionRecord, at: float | None = None) -> Running | None:
        last = (self.held.get(session.id) or [None])[-1]
        return Running(seq=last["seq"], text=last["text"], started=1.0) if last else None

    def open(self, session: SessionRecord) -> BinaryIO | None:
        return io.BytesIO(b"raw" * 100_000) if session.id in self.held else None


class ApiWorld(World):
    """The services of access, and the API over them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.passwords = FakePasswords(lambda: self.catalog.identities.values())
        self.doorbell = FakeDoorbell()
        self.metrics = FakeMetrics()
        self.recordings = FakeRecordings()
        self.facts = Facts(listeners={"postgres": ("", 6432)})
        self.reload_fails = False
        self.own_grounds: list[str] = []
        self.head_memory = FakeHeadMemory()
        signing = Signing(sign, PUBLIC, self.head_memory, "node")
        self.keeper = TrailKeeper(self.store, signing, self.revocations, 1e9)
        self.reload_changes: tuple[Sequence[str], Sequence[str]] = (
            ["policies[0].accounts"],
            ["listeners[pg].tls.certificate"],
        )
        self.logins = Logins(
            self.store, lambda: self.catalog, self.clock, self.ids, self.keys, issuer="tidegate-test"
        )
        self.services = Services(
            store=self.store,
            requests=self.requests,
            grants=self.grants,
            revocations=self.revocations,
            tokens=self.tokens,
            ssh_keys=self.ssh_keys,
            logins=self.logins,
            passwords=self.passwords,
            catalog=lambda: self.catalog,
            clock=self.clock,
            doorbell=self.doorbell,
            metrics=self.metrics,
            recordings=self.recordings,
            metrics_text=lambda: "tidegate_sessions_live 0\n",
            head_keys=lambda: PUBLIC,
            head_memory=self.head_memory,
            grounds=lambda: self.own_grounds,
            restored=self.keeper.restored,
            reload=self.reloaded,
            rotate_keys=self.rotated,
            rotate_targets=self.targets_rotated,
            facts=lambda: self.facts,
        )
        self.api: FastAPI = create_api(self.services)

    async def reloaded(self, by: Who) -> Reload:
        if self.reload_fails:
            raise PeerError("the configuration has 1 problem: store.url: is missing")
        changed, renewed = self.reload_changes
        return Reload("new", tuple(changed), ("listeners",), tuple(renewed), ("nobody is an auditor",))

    async def rotated(self, by: Who, distrust: bool) -> str:
        await self.store.commit(lambda writer: writer.append(KeysRotated(by[0], "k2", "u2", distrust)))
        return "k2"

    async def targets_rotated(self, by: Who, switch: bool) -> None:
        _ = self.ssh_keys.targets.switch() if switch else self.ssh_keys.targets.prepare()

    def client(self, source: str = OFFICE) -> httpx.AsyncClient:
        """An HTTP client that comes from ``source``."""
        transport = httpx.ASGITransport(self.api, raise_app_exceptions=False, client=(source, 1234))
        return httpx.AsyncClient(transport=transport, base_url="http://api")

    async def bearer(self, name: str) -> dict[str, str]:
        """The headers of somebody who is logged in; none for "anonymous"."""
        if name == "anonymous":
            return {}
        login = await self.logins.open(name, OFFICE)
        return {"Authorization": f"Bearer {login.token}"}

    async def call(
        self,
        name: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        source: str = OFFICE,
        **headers: str,
    ) -> httpx.Response:
        """One call by somebody."""
        sent = {**(await self.bearer(name)), **headers}
        async with self.client(source) as client:
            return await client.request(method, path, json=body, headers=sent)

    async def pending(self, name: str = "alice") -> Request:
        """A request that waits for an approver."""
        return await self.requests.make(self.who(name), "shop", "owner", HOUR, "fix order 7", OFFICE)

    async def session(self, grant: Grant, id: str = "session-1", **changes: Any) -> SessionRecord:
        """A session under ``grant``, live unless changed, with a recording of two statements."""
        record = replace(await self.start_session(grant, id), **changes)
        await self.store.commit(lambda writer: writer.put_session(record))
        self.recordings.held[id] = [
            {"session": id, "seq": 1, "text": "select 1"},
            {"session": id, "seq": 2, "text": "select secret from orders"},
        ]
        return record

    async def node(self, id: str = "node-1", **changes: Any) -> Node:
        """A node whose heartbeat is of now and that has acted on everything."""
        now = self.clock.now()
        facts = {"host": "h", "started": now, "heartbeat": now, "digest": self.catalog.digest} | changes
        position = changes.pop("feed_seen", self.store.state.published)
        node = Node(id=id, **{**facts, "feed_seen": position})
        await self.store.commit(lambda writer: writer.put_node(node))
        return node

    async def lived(self) -> dict[str, str]:
        """Alice has a grant with a live session, a request that waits, and there is a node. Their ids."""
        grant, request = await self.granted("alice"), await self.pending("alice")
        session = await self.session(grant)
        await self.node()
        return {"grant": grant.id, "request": request.id, "session": session.id}


def api_world() -> ApiWorld:
    from proxy.core.identity import Catalog

    return ApiWorld(
        Catalog({each.name: each for each in PEOPLE}, {each.name: each for each in RESOURCES}, RULES, "d")
    )


LIVE = SessionStatus.LIVE
