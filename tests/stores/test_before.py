"""A store that 2881ff7 left is taken up whole: its grants let in and are ended, its sessions and recordings are
what they were, and its trail verifies. How it was made: ``recipe.py``."""

import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from proxy.access.gate import Gate
from proxy.access.revocations import Target
from proxy.api.application import create_api
from proxy.api.services import Services
from proxy.api.verification import verified
from proxy.app import foundation as foundations
from proxy.app.api import services_of
from proxy.app.changes import Changes
from proxy.app.foundation import Configured, Foundation, founded
from proxy.app.trail_keeper import keeper_of
from proxy.core.access import Refusal, Wish
from proxy.core.errors import Denied, PeerError
from proxy.core.feed import Scope
from proxy.core.states import RequestStatus
from tests.fakes.clock import FakeClock
from tests.peers.gateway import Gateway, furnish, gateway
from tests.peers.postgres import Cluster

BEFORE = Path(__file__).parent / "2881ff7"
FACTS: dict[str, Any] = json.loads((BEFORE / "facts.json").read_text())
GRANTS: dict[str, Any] = FACTS["grants"]
LIVE = ["plain", "watched", "approved", "extended"]


def state_of_before(folder: Path) -> Path:
    """A copy of what was left, as private as it was (which Git does not keep)."""
    state = Path(shutil.copytree(BEFORE / "state", folder / "state"))
    for each in (state, *state.rglob("*")):
        each.chmod(0o700 if each.is_dir() else 0o600)
    return state


@dataclass
class Here:
    """This version over that store, a few seconds after it was left."""

    foundation: Foundation
    services: Services
    gate: Gate
    store: Path

    def who(self, name: str) -> Any:
        return self.services.catalog().identities[name]

    async def admitted(self, grant: str, token: str = "") -> Any:
        """Through the gate by a token of this version, or by ``token``."""
        row = await self.foundation.store.read(lambda reader: reader.grant(grant))
        assert row is not None
        text = token or self.foundation.tokens.mint(row, row.identity)[0]
        wish = Wish("sess-new", "postgres", row.account, "127.0.0.1", "shop")
        return await self.gate.admit(text, wish, lambda claims: None)

    async def told(self, path: str, user: str = "carol") -> Any:
        """What the API answers."""
        login = await self.services.logins.open(user, "127.0.0.1")
        api = httpx.ASGITransport(create_api(self.services))
        headers = {"Authorization": f"Bearer {login.token}"}
        async with httpx.AsyncClient(transport=api, base_url="http://api", headers=headers) as client:
            return (await client.get(path)).raise_for_status().json()


@pytest.fixture
async def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres15: Cluster) -> AsyncIterator[Here]:
    clock = FakeClock(FACTS["at"] + 5)
    monkeypatch.setattr(foundations, "SystemClock", lambda: clock)
    state_of_before(tmp_path)
    nowhere = Gateway(tmp_path, postgres15, 1, 2, 3, target_port=postgres15.port, head='node = "old"')
    furnish(nowhere, "", {})
    configured = Configured.read(tmp_path / "gateway.toml")
    async with founded(configured, "old-0") as foundation:
        gate = Gate(
            foundation.store,
            foundation.tokens,
            foundation.certificates,
            lambda: configured.catalog,
            clock,
            foundation.seals,
            lambda: None,
        )
        services = services_of(foundation, Changes(foundation), keeper_of(foundation))
        yield Here(foundation, services, gate, tmp_path / "state" / "tidegate.db")


@pytest.mark.parametrize("name", LIVE)
async def test_its_grants_are_whole(here: Here, name: str) -> None:
    shown = await here.told(f"/v1/grants/{GRANTS[name]['id']}")
    assert {**shown, "remaining": 0} == {**shown, **GRANTS[name], "remaining": 0}
    grant = await here.foundation.store.read(lambda reader: reader.grant(GRANTS[name]["id"]))
    assert grant is not None
    assert (grant.sealed, here.foundation.seals.intact(grant)) == ("", True)


@pytest.mark.parametrize("name", ["plain", "approved"])
async def test_they_let_in(here: Here, name: str) -> None:
    assert (await here.admitted(GRANTS[name]["id"])).grant.id == GRANTS[name]["id"]


async def test_a_token_of_then_lets_in(here: Here) -> None:
    assert (await here.admitted(GRANTS["plain"]["id"], FACTS["token"]["token"])).jti == FACTS["token"]["jti"]


async def test_a_lock_and_a_revocation_of_then_hold(here: Here) -> None:
    for name, why in (("watched", Refusal.USER_LOCKED), ("revoked", Refusal.GRANT_REVOKED)):
        with pytest.raises(Denied) as refused:
            await here.admitted(GRANTS[name]["id"])
        assert refused.value.code == why


@pytest.mark.parametrize(
    "change", ["ends = ends + 9999", "account = 'postgres'", "identity = 'dave'", "mac = 'ab'", "sealed = '{}'"]
)
async def test_and_its_seals_hold_too(here: Here, change: str) -> None:
    with closing(sqlite3.connect(here.store)) as store, store:
        store.execute(f"UPDATE grants SET {change} WHERE id = ?", (GRANTS["plain"]["id"],))
    with pytest.raises(Denied) as refused:
        await here.admitted(GRANTS["plain"]["id"], FACTS["token"]["token"])
    assert refused.value.code == Refusal.BAD_TOKEN


async def test_they_are_extended_and_ended_with_the_seal_of_now(here: Here) -> None:
    plain, alice = GRANTS["plain"]["id"], here.who("alice")
    await here.services.grants.extend(plain, alice, 60, "more", "127.0.0.1")
    moved = (await here.admitted(plain)).grant
    assert (moved.sealed != "", here.foundation.seals.intact(replace(moved, sealed=""))) == (True, False)
    await here.services.revocations.revoke(Target(Scope.GRANT, plain), alice, "done")
    with pytest.raises(Denied) as refused:
        await here.admitted(plain, FACTS["token"]["token"])
    assert refused.value.code == Refusal.GRANT_REVOKED


async def test_what_was_asked_then_is_asked_again(here: Here) -> None:
    asked, bob = FACTS["pending"]["id"], here.who("bob")
    with pytest.raises(PeerError, match="before the upgrade"):
        await here.services.requests.approve(asked, bob)
    assert (await here.services.requests.deny(asked, bob, "ask again")).status is RequestStatus.DENIED


async def test_its_sessions_and_recordings_are_what_they_were(here: Here) -> None:
    found = await here.told("/v1/sessions?limit=200")
    assert len(found["items"]) == len(FACTS["sessions"]) == 4
    for then, now in zip(FACTS["sessions"], found["items"], strict=True):
        assert now == {**now, **then}
        page = await here.told(f"/v1/sessions/{then['id']}/statements?limit=500")
        assert page["items"] == FACTS["statements"][then["id"]]


async def test_its_trail_verifies_and_goes_on(here: Here) -> None:
    rows = FACTS["rows"]
    report = await verified(here.services)
    assert (report.ok, report.rows, report.recordings, report.problems) == (True, rows, 4, [])
    await here.services.logins.open("alice", "127.0.0.1")
    report = await verified(here.services)
    assert (report.ok, report.rows) == (True, rows + 1)


# -- with a whole gateway


@pytest.fixture(scope="module")
def taken_up(postgres15: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    state = state_of_before(tmp_path_factory.mktemp("before"))
    with gateway(postgres15, head='node = "old"', state=state) as running:
        yield running


def test_a_gateway_starts_on_it_and_serves(taken_up: Gateway) -> None:
    with closing(psycopg.connect(taken_up.dsn())) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    checked = taken_up.call("GET", "/v1/audit/verify", user="carol")
    assert (checked["ok"], checked["problems"]) == (True, [])
    assert checked["rows"] > FACTS["rows"]
    assert {each["id"] for each in FACTS["sessions"]} < {each["id"] for each in taken_up.sessions()}
