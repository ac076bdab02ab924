"""Where the trail ends is signed when it has grown, and only where it goes on from what this host remembers."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from proxy.audit.signing import Signed, Signing
from proxy.audit.verification import verify_trail
from proxy.core.events import Unlocked
from proxy.core.ports import Writer
from proxy.core.trail import TrailHead, TrailRow
from tests.audit.trails import PUBLIC, link, sign
from tests.fakes.clock import FakeClock
from tests.fakes.heads import FakeHeadMemory
from tests.fakes.store import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(FakeClock())


class Host:
    """One that signs a store. ``restart``: its process is another one."""

    def __init__(self, store: MemoryStore, memory: FakeHeadMemory | None = None, node: str = "tide-1") -> None:
        self.store = store
        self.memory = memory or FakeHeadMemory()
        self.node = node
        self.restart()

    def restart(self) -> None:
        self.signing = Signing(sign, PUBLIC, self.memory, self.node)

    async def sign(self, *, crash: bool = False) -> str:
        """What is wrong; ``crash``: after the commit, before it is remembered."""
        signed: Signed = await self.store.commit(self.signing.unit)
        if signed.head is not None and not crash:
            self.signing.keep(signed.head)
        return signed.wrong

    async def restore(self) -> TrailHead:
        def unit(writer: Writer) -> TrailHead:
            self.signing.restore(writer, ("dave", "dave"), "the disk broke")
            return self.signing.seal(writer)

        head = await self.store.commit(unit)
        self.signing.keep(head)
        return head


async def grow(store: MemoryStore, by: int = 1) -> None:
    for _ in range(by):
        await store.commit(lambda writer: writer.append(Unlocked("dave", "identity", "eve")))


def signed(store: MemoryStore) -> Mapping[int, str]:
    return {seq: head.digest for seq, head in store.state.heads.items()}


def report(store: MemoryStore) -> object:
    found = verify_trail(store.state.trail, list(store.state.heads.values()), PUBLIC)
    return found.first_bad and found.first_bad.what


def rewritten(rows: list[TrailRow], actor: str = "mallory") -> None:
    """By somebody with the store's password: every row another's, the chain recomputed."""
    previous = ""
    for index, row in enumerate(rows):
        rows[index] = link(row.seq, row.at, row.node, row.kind, actor, row.subjects, row.body, previous)
        previous = rows[index].digest


async def test_an_empty_trail_is_not_signed(store: MemoryStore) -> None:
    assert await Host(store).sign() == ""
    assert signed(store) == {}


async def test_the_end_is_signed_once_for_each_growth(store: MemoryStore) -> None:
    host = Host(store)
    await grow(store, 3)
    for _ in range(3):
        assert await host.sign() == ""
    assert list(signed(store)) == [3]
    await grow(store, 2)
    assert await host.sign() == ""
    assert list(signed(store)) == [3, 5]
    found = verify_trail(store.state.trail, list(store.state.heads.values()), PUBLIC)
    assert (found.first_bad, found.signed) == (None, 5)
    assert host.memory.head == store.state.heads[5]


# -- what somebody with the store's password alone may do

HEADS_LEFT = ["all", "older", "none", "forged"]


def tamper_with_heads(store: MemoryStore, left: str) -> None:
    heads = store.state.heads
    if left == "older":
        del heads[max(heads)]
    elif left == "none":
        heads.clear()
    elif left == "forged":
        for seq in [*heads, 50]:
            heads[seq] = TrailHead(seq, "ab" * 32, 5.0, "head-1", "AAAA")


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("left", HEADS_LEFT)
@pytest.mark.parametrize("cut", [1, 2, 4])
async def test_a_trail_that_was_cut_short_is_never_signed(
    store: MemoryStore, cut: int, left: str, restarted: bool
) -> None:
    host = Host(store)
    for _ in range(2):
        await grow(store, 2)
        await host.sign()
    del store.state.trail[-cut:]
    tamper_with_heads(store, left)
    before = signed(store)
    if restarted:
        host.restart()
    assert "older than the last head: row 4" in await host.sign()
    await grow(store, cut + 3)  # and as the gateway goes on
    assert "row 4 of the trail is not what was signed" in await host.sign()
    assert signed(store) == before


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("left", HEADS_LEFT)
async def test_a_trail_written_anew_is_never_signed_however_long_it_is(
    store: MemoryStore, left: str, restarted: bool
) -> None:
    host = Host(store)
    for _ in range(2):
        await grow(store, 2)
        await host.sign()
    await grow(store, 2)
    rewritten(store.state.trail)
    tamper_with_heads(store, left)
    before = signed(store)
    if restarted:
        host.restart()
    assert "written anew" in await host.sign()
    assert signed(store) == before


async def test_an_older_store_with_its_own_good_heads_is_never_signed(store: MemoryStore) -> None:
    host = Host(store)
    await grow(store, 2)
    await host.sign()
    older = store.state.copy()
    await grow(store, 2)
    await host.sign()
    store.state = older
    host.restart()
    assert "older than the last head: row 4" in await host.sign()


async def test_forged_heads_do_not_keep_a_good_trail_from_being_signed(store: MemoryStore) -> None:
    """Who could stop the signing with a row of junk would have what he wants."""
    host = Host(store)
    await grow(store, 2)
    await host.sign()
    store.state.heads[99] = TrailHead(99, "ab", 1.0, "head-1", "AAAA", origin=7)
    await grow(store, 2)
    assert await host.sign() == ""
    assert 4 in signed(store)
    assert "signature" in str(report(store))


async def test_who_takes_the_memory_away_while_the_gateway_runs_changes_nothing(store: MemoryStore) -> None:
    host = Host(store)
    await grow(store, 4)
    await host.sign()
    store.state.heads.clear()
    host.memory.head = None
    store.state.trail[-1] = replace(store.state.trail[-1], digest="0" * 64)
    assert "row 4" in await host.sign()


# -- crashes, other hosts


async def test_a_crash_between_the_commit_and_the_memory_is_caught_up_with(store: MemoryStore) -> None:
    host = Host(store)
    await grow(store, 2)
    await host.sign()
    await grow(store, 2)
    await host.sign(crash=True)
    assert host.memory.head is not None
    assert host.memory.head.seq == 2
    host.restart()
    assert await host.sign() == ""
    assert host.memory.head.seq == 4
    assert list(signed(store)) == [2, 4]


async def test_hosts_remember_what_others_signed(store: MemoryStore) -> None:
    one, other = Host(store), Host(store)
    for host in (one, other, one):
        await grow(store, 2)
        assert await host.sign() == ""
    assert await other.sign() == ""
    assert one.memory.head == other.memory.head == store.state.heads[6]
    assert list(signed(store)) == [2, 4, 6]


async def test_a_host_with_a_copied_key_waits_for_a_signed_head_and_takes_it_up(store: MemoryStore) -> None:
    one, joined = Host(store), Host(store, FakeHeadMemory(None), "tide-2")
    assert await joined.sign() == ""
    await grow(store, 2)
    store.clock.advance(61)
    assert "this host remembers no signed head, and the store has none that is good" in await joined.sign()
    assert signed(store) == {}
    await one.sign()
    assert await joined.sign() == ""
    taken = store.state.trail[-1]
    assert (taken.kind, taken.body["node"], taken.body["seq"]) == ("trail_taken_up", "tide-2", 2)
    assert list(signed(store)) == [2, 3]
    assert await joined.sign() == ""
    assert len(store.state.trail) == 3


async def test_a_store_that_an_older_version_left_unsigned_is_taken_up_once(store: MemoryStore) -> None:
    rows, previous = store.state.trail, ""
    for seq in (1, 2, 3):
        rows.append(link(seq, store.clock.now() - 900, "n", "locked", "dave", {}, {"reason": "x"}, previous))
        previous = rows[-1].digest
    host = Host(store, FakeHeadMemory(None))
    await grow(store, 1)  # of this version, which has just started
    assert await host.sign() == ""
    assert (store.state.trail[-1].kind, store.state.trail[-1].body["seq"]) == ("trail_taken_up", 0)
    assert list(signed(store)) == [5]


async def test_a_store_without_heads_that_this_version_wrote_is_not(store: MemoryStore) -> None:
    """Nor one in which a head was left that proves nothing."""
    host = Host(store, FakeHeadMemory(None))
    await grow(store, 3)
    store.state.heads[1] = TrailHead(1, "ab", 1.0, "head-1", "AAAA")
    assert "none that is good" in await host.sign()
    store.state.heads.clear()
    store.clock.advance(61)
    assert "none that is good" in await host.sign()


async def test_a_host_that_lost_its_memory_is_told_of(store: MemoryStore) -> None:
    host = Host(store)
    await grow(store, 2)
    await host.sign()
    host.memory.head = None
    host.restart()
    assert await host.sign() == ""
    assert [row.kind for row in store.state.trail].count("trail_taken_up") == 1


async def test_two_histories_signed_by_two_hosts_are_not_taken_for_one(store: MemoryStore) -> None:
    one = Host(store)
    await grow(store, 2)
    await one.sign()
    fork = MemoryStore(FakeClock())
    fork.state = store.state.copy()
    other = Host(fork, FakeHeadMemory(one.memory.head))
    for each, host in ((store, one), (fork, other)):
        await grow(each, 2)
        assert await host.sign() == ""
    one.store = fork
    assert "row 4 of the trail is not what was signed" in await one.sign()


# -- a restore


async def test_a_restore_begins_a_new_origin_which_other_hosts_take_up(store: MemoryStore) -> None:
    one, other = Host(store), Host(store)
    await grow(store, 4)
    await one.sign()
    older = store.state.copy()
    await grow(store, 4)
    await one.sign()
    await other.sign()
    store.state = older
    for host in (one, other):
        host.restart()
        assert "older" in await host.sign()
    head = await one.restore()
    assert (head.origin, head.seq) == (2, 5)
    told = store.state.trail[-1]
    assert (told.kind, told.actor, told.body["origin"], told.body["kept"], told.body["lost"]) == (
        *("trail_restored", "dave", 2),
        *(4, 8),
    )
    for host in (one, other):
        assert await host.sign() == ""
        assert host.memory.head == head
    await grow(store, 9)
    assert await other.sign() == ""
    assert store.state.heads[14].origin == 2
    assert report(store) is None


async def test_heads_of_lost_rows_that_are_left_in_the_store_are_explained(store: MemoryStore) -> None:
    host = Host(store)
    for _ in range(3):
        await grow(store, 2)
        await host.sign()
    del store.state.trail[-2:]
    assert "older" in await host.sign()
    assert report(store) is not None
    await host.restore()
    await grow(store, 1)
    await host.sign()
    assert sorted((head.seq, head.origin) for head in store.state.heads.values()) == [
        (2, 1),
        (4, 1),
        (5, 2),
        (6, 2),
    ]
    assert report(store) is None


async def test_a_restore_that_somebody_wrote_himself_explains_nothing(store: MemoryStore) -> None:
    """The row alone, with the store's password: it is signed for nowhere."""
    from proxy.core.events import TrailRestored

    host = Host(store)
    for _ in range(2):
        await grow(store, 2)
        await host.sign()
    del store.state.trail[-1:]
    event = TrailRestored("dave", reason="x", origin=2, kept=3, lost=4, lost_digest="")
    await store.commit(lambda writer: writer.append(event))
    assert "row 4 of the trail is not what was signed" in await host.sign()
    assert "row 4 is not the one that was signed" in str(report(store))
    store.state.heads[4] = replace(store.state.heads[4], origin=2)  # nor is it made so
    assert "row 4 of the trail is not what was signed" in await host.sign()
    assert "signature" in str(report(store))


async def test_a_store_of_an_older_origin_is_older_however_long_it_is(store: MemoryStore) -> None:
    host = Host(store)
    await grow(store, 4)
    await host.sign()
    long_ago = store.state.copy()
    del store.state.trail[-2:]
    store.state.heads.clear()
    await host.restore()
    store.state = long_ago
    assert await host.sign() != ""
    host.restart()
    assert await host.sign() != ""
