"""Where the trail ends is signed when it has grown, and never again."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from proxy.audit.signing import Signing
from proxy.audit.verification import verify_trail
from proxy.core.events import Unlocked
from tests.audit.trails import PUBLIC, link, sign
from tests.fakes.clock import FakeClock
from tests.fakes.store import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(FakeClock())


async def grow(store: MemoryStore, by: int = 1) -> None:
    for _ in range(by):
        await store.commit(lambda writer: writer.append(Unlocked("dave", "identity", "eve")))


def signed(store: MemoryStore) -> Mapping[int, str]:
    return {seq: head.digest for seq, head in store.state.heads.items()}


async def test_an_empty_trail_is_not_signed(store: MemoryStore) -> None:
    assert await store.commit(Signing(sign).unit) == ""
    assert signed(store) == {}


async def test_the_end_is_signed_once_for_each_growth(store: MemoryStore) -> None:
    signing = Signing(sign)
    await grow(store, 3)
    for _ in range(3):
        assert await store.commit(signing.unit) == ""
    assert list(signed(store)) == [3]
    await grow(store, 2)
    assert await store.commit(signing.unit) == ""
    assert list(signed(store)) == [3, 5]
    report = verify_trail(store.state.trail, list(store.state.heads.values()), PUBLIC)
    assert (report.first_bad, report.signed) == (None, 5)


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("cut", [1, 2, 4])
async def test_a_shorter_trail_is_not_signed(store: MemoryStore, cut: int, restarted: bool) -> None:
    signing = Signing(sign)
    await grow(store, 4)
    await store.commit(signing.unit)
    before = signed(store)
    await store.commit(signing.unit)
    del store.state.trail[-cut:]
    signing = Signing(sign) if restarted else signing
    assert "row 4" in await store.commit(signing.unit)
    assert signed(store) == before


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_trail_written_anew_is_not_signed_however_long_it_is(store: MemoryStore, restarted: bool) -> None:
    signing = Signing(sign)
    await grow(store, 4)
    await store.commit(signing.unit)
    await store.commit(signing.unit)
    before, previous = signed(store), ""
    await grow(store, 2)
    for index, row in enumerate(store.state.trail):
        made = link(row.seq, row.at, row.node, row.kind, "mallory", row.subjects, row.body, previous)
        store.state.trail[index] = made
        previous = made.digest
    signing = Signing(sign) if restarted else signing
    assert "written anew" in await store.commit(signing.unit)
    assert signed(store) == before


async def test_who_removes_heads_too_is_found_out_while_the_gateway_runs(store: MemoryStore) -> None:
    signing = Signing(sign)
    await grow(store, 4)
    await store.commit(signing.unit)
    await store.commit(signing.unit)
    store.state.heads.clear()
    store.state.trail[-1] = replace(store.state.trail[-1], digest="0" * 64)
    assert "row 4" in await store.commit(signing.unit)
