"""What the API says of a trail that was tampered with by somebody who has the store's password alone, of one whose
store was put back, and of heads that were kept elsewhere."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from proxy.api.verification import verified
from proxy.core.access import Grant
from proxy.core.events import LoggedIn
from proxy.core.trail import TrailHead
from tests.api.world import ApiWorld, api_world
from tests.audit.trails import erased, link, sign

DAY = 86_400.0


@pytest.fixture
def world() -> ApiWorld:
    return api_world()


async def verify(world: ApiWorld) -> dict[str, Any]:
    """Asked by the services themselves: a log-in would be a row more."""
    return (await verified(world.services)).model_dump()


async def filled(world: ApiWorld) -> Grant:
    """A trail of more than 30 rows, signed twice."""
    grant = await world.granted("alice")
    await world.bearer("carol")
    for each in range(2):
        for _ in range(15):
            await world.store.commit(lambda writer, n=each: writer.append(LoggedIn(f"eve-{n}", "10.0.0.9")))  # type: ignore[misc]
        await world.keeper.sign()
    assert (await verify(world))["ok"]
    return grant


def anew(world: ApiWorld) -> None:
    rows, previous = world.store.state.trail, ""
    for index, row in enumerate(rows):
        actor = "mallory" if row.actor.startswith("eve") else row.actor
        rows[index] = link(row.seq, row.at, row.node, row.kind, actor, row.subjects, row.body, previous)
        previous = rows[index].digest


def heads(world: ApiWorld) -> dict[int, TrailHead]:
    return world.store.state.heads


# -- the three attacks, and their brothers


async def test_a_trail_written_anew_without_its_heads(world: ApiWorld) -> None:
    await filled(world)
    last = max(heads(world))
    anew(world)
    heads(world).clear()
    told = await verify(world)
    assert not told["ok"]
    assert f"row {last} of the trail is not what was signed" in told["problem"]


@pytest.mark.parametrize("lost", [1, 20])
async def test_the_last_rows_cut_off_with_their_heads(world: ApiWorld, lost: int) -> None:
    await filled(world)
    last = world.store.state.trail[-1].seq
    del world.store.state.trail[-lost:]
    for seq in [each for each in heads(world) if each > last - lost]:
        del heads(world)[seq]
    told = await verify(world)
    assert (told["ok"], told["first_bad"]) == (False, last - lost + 1)
    assert f"the store is older than the last head: row {last} was signed" in told["problem"]


async def test_an_older_store_put_back_under_newer_recordings(world: ApiWorld) -> None:
    await filled(world)
    older = world.store.state.copy()
    await filled(world)
    world.recordings.digests["2026/11/28/sess-lost"] = "one"
    world.recordings.digests["2026/11/28/sess-silent"] = "two"
    world.recordings.quiet.add("2026/11/28/sess-silent")
    world.store.state = older
    told = await verify(world)
    assert not told["ok"]
    assert "the store is older than the last head" in told["problem"]
    (unnamed,) = [each for each in told["problems"] if "no row of the trail names the recording" in each]
    assert "2026/11/28/sess-lost" in unnamed


async def test_recordings_are_named_even_where_the_memory_went_too(world: ApiWorld) -> None:
    """Somebody restored the whole machine but for the recordings."""
    await filled(world)
    world.recordings.digests["2026/11/28/sess-lost"] = "one"
    told = await verify(world)
    assert not told["ok"]
    assert "no row of the trail names the recording 2026/11/28/sess-lost" in told["problem"]
    world.recordings.written["2026/11/28/sess-lost"] = world.clock.now() - 5  # its row may not be committed yet
    assert (await verify(world))["ok"]


def taken_away(world: ApiWorld) -> None:
    heads(world).clear()


def replaced_by_older(world: ApiWorld) -> None:
    del heads(world)[max(heads(world))]


@pytest.mark.parametrize("tamper", [taken_away, replaced_by_older])
async def test_heads_that_were_taken_away(world: ApiWorld, tamper: Callable[[ApiWorld], None]) -> None:
    await filled(world)
    last = max(heads(world))
    tamper(world)
    told = await verify(world)
    assert (told["ok"], told["first_bad"]) == (False, last)
    assert "signed heads were taken away" in told["problem"]


async def test_rows_without_a_signed_head_are_named_after_a_while(world: ApiWorld) -> None:
    await filled(world)
    last = world.store.state.trail[-1].seq
    await world.granted("eve")
    assert (await verify(world))["ok"], "signing lags by a few seconds"
    world.clock.advance(61)
    told = await verify(world)
    assert (told["ok"], told["first_bad"]) == (False, last + 1)
    assert f"rows {last + 1} to {told['rows']} are without a signed head" in told["problem"]
    await world.keeper.sign()
    assert (await verify(world))["ok"]


async def test_a_row_that_was_erased_by_nobody_who_may_is_named(world: ApiWorld) -> None:
    await filled(world)
    trail = world.store.state.trail
    trail[4] = erased(trail[4])
    told = await verify(world)
    assert (told["ok"], told["first_bad"], told["erased"]) == (False, 5, 1)
    assert told["signed"] == max(heads(world)), "the chain goes through it"


async def test_a_memory_that_is_lost_is_said(world: ApiWorld) -> None:
    await filled(world)
    world.head_memory.head = None
    world.keeper = api_keeper(world)
    await world.keeper.sign()
    told = await verify(world)
    assert told["ok"]
    assert "node remembered no signed head, and took up that of row" in told["remarks"][-1]


def api_keeper(world: ApiWorld) -> Any:
    """Of a process that was started again."""
    from proxy.app.trail_keeper import TrailKeeper
    from proxy.audit.signing import Signing
    from tests.audit.trails import PUBLIC

    return TrailKeeper(world.store, Signing(sign, PUBLIC, world.head_memory, "node"), world.revocations, 1e9)


# -- a restore


async def test_a_restore_revokes_everything_and_is_told(world: ApiWorld) -> None:
    grant = await filled(world)
    older = world.store.state.copy()
    await world.granted("eve")
    await world.keeper.sign()
    lost = max(heads(world))
    world.store.state = older
    await world.keeper.sign()
    assert "older" in world.keeper.wrong
    rings = world.doorbell.rung
    answer = await world.call("dave", "POST", "/v1/audit/restored", {"reason": "the disk broke"})
    done = answer.json()
    assert (answer.status_code, done["origin"], done["lost"]) == (200, 2, lost)
    assert [each["id"] for each in done["revoked"]["grants"]] == [grant.id]
    assert world.doorbell.rung == rings + 1
    assert world.keeper.wrong == ""
    kinds = [row.kind for row in world.store.state.trail[done["seq"] - 1 :]]
    assert kinds == ["trail_restored", "grant_revoked", "revoked"]
    assert heads(world)[max(heads(world))].origin == 2
    told = await verify(world)
    assert told["ok"], told
    assert f"row {done['seq']}: the store was put back, says dave: the disk broke" in told["remarks"][-1]


async def test_a_restore_explains_the_recordings_of_before_and_none_of_after(world: ApiWorld) -> None:
    await filled(world)
    world.recordings.digests |= {"2026/11/28/sess-before": "one", "2026/11/28/sess-after": "two"}
    world.recordings.written["2026/11/28/sess-before"] = world.clock.now() - DAY
    await world.call("dave", "POST", "/v1/audit/restored", {"reason": "the disk broke"})
    world.recordings.written["2026/11/28/sess-after"] = world.clock.now() + 10
    world.clock.advance(DAY)
    await world.keeper.sign()
    told = await verify(world)
    assert "1 recordings are of sessions whose rows a restore has lost" in told["remarks"]
    assert ["sess-after" in each for each in told["problems"]] == [True]


# -- heads that were kept elsewhere


async def compare(world: ApiWorld, *kept: dict[str, Any]) -> dict[str, Any]:
    answer = await world.call("carol", "POST", "/v1/audit/heads/compare", {"items": list(kept)})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def test_heads_as_the_api_gives_them_are_borne_out(world: ApiWorld) -> None:
    await filled(world)
    kept = (await world.call("carol", "GET", "/v1/audit/heads")).json()["items"]
    told = await compare(world, *kept)
    assert told == {"good": 2, "explained": 0, "problems": [], "unsigned": []}


async def test_what_was_kept_shows_a_store_put_back_with_all_that_this_host_remembers(world: ApiWorld) -> None:
    await filled(world)
    older, remembered = world.store.state.copy(), world.head_memory.head
    await world.granted("eve")
    await world.keeper.sign()
    kept = (await world.call("carol", "GET", "/v1/audit/heads")).json()["items"]
    world.store.state, world.head_memory.head = older, remembered
    assert (await verify(world))["ok"], "this host alone cannot know"
    told = await compare(world, *kept)
    assert (told["good"], len(told["problems"])) == (2, 1)
    assert "the store is older than a head that was kept elsewhere" in told["problems"][0]


async def test_what_was_kept_shows_a_fork(world: ApiWorld) -> None:
    await filled(world)
    kept = (await world.call("carol", "GET", "/v1/audit/heads")).json()["items"]
    anew(world)
    told = await compare(world, *kept)
    assert told["good"] == 0
    assert all("the trail was forked" in each for each in told["problems"])


async def test_a_kept_head_that_nobody_signed_proves_nothing(world: ApiWorld) -> None:
    await filled(world)
    kept = (await world.call("carol", "GET", "/v1/audit/heads")).json()["items"]
    told = await compare(world, kept[0] | {"seq": 7}, kept[0] | {"kid": "head-2"}, kept[0] | {"origin": 3})
    assert (told["good"], told["problems"], len(told["unsigned"])) == (0, [], 3)


async def test_kept_heads_of_before_a_restore_are_explained(world: ApiWorld) -> None:
    await filled(world)
    older = world.store.state.copy()
    await world.granted("eve")
    await world.keeper.sign()
    kept = (await world.call("carol", "GET", "/v1/audit/heads")).json()["items"]
    world.store.state = older
    await world.call("dave", "POST", "/v1/audit/restored", {"reason": "the disk broke"})
    told = await compare(world, *kept)
    assert told == {"good": 2, "explained": 1, "problems": [], "unsigned": []}
    for head in list(heads(world).values()):
        if head.origin == 2:
            heads(world)[head.seq] = replace(head, signature="AAAA")
    assert (await compare(world, *kept))["explained"] == 0, "by nobody but the key"
