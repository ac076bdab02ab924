"""Two API processes over one store: what one changes the other takes up, and what the store was not told of is in
force nowhere."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from proxy.access.logins import Logins
from proxy.adapters.feed import open_feed
from proxy.app.changes import Changes
from proxy.app.foundation import Configured, Foundation, founded, longest_token
from proxy.core.errors import Denied, PeerError, Unavailable
from proxy.core.feed import FeedKind, Scope
from proxy.core.ports import Writer
from proxy.core.trail import TrailRow
from tests.gateway_config.files import ENVIRON, HASH, MINIMAL, put

BOB = f'\n[[users]]\nname = "bob"\npassword_hash = "{HASH}"\n'


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    return put(tmp_path / "gateway.toml", MINIMAL)


@contextlib.asynccontextmanager
async def api(read: Path | Configured, node: str = "api") -> AsyncIterator[tuple[Foundation, Changes]]:
    """What an API process has of this, following the feed."""
    configured = read if isinstance(read, Configured) else Configured.read(read)
    async with founded(configured, node) as foundation:
        changes = Changes(foundation)
        async with open_feed(foundation.store_url, interval=0.01) as feed, asyncio.TaskGroup() as tasks:
            following = tasks.create_task(changes.follow(feed))
            yield foundation, changes
            following.cancel()


async def until(wanted: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not wanted():  # noqa: ASYNC110 (what it waits for says nothing when it happens)
            await asyncio.sleep(0.005)


async def trail(foundation: Foundation) -> list[TrailRow]:
    return await foundation.store.read(lambda reader: reader.trail_after(0))


def knows(foundation: Foundation, name: str) -> bool:
    return name in foundation.configured.catalog.identities


async def test_a_reload_reaches_the_other_api_and_goes_no_further(file: Path) -> None:
    async with api(file) as (here, changes), api(file, "other") as (there, _):
        put(file, MINIMAL + BOB)
        assert (await changes.reload("dave")).changed == ("users[bob]",)
        assert knows(here, "bob")
        await until(lambda: knows(there, "bob"))
        await changes.rotate(
            "dave", False
        )  # the feed's next item: whatever the first one caused has come before it
        new = set(here.keys.public())
        await until(lambda: set(there.keys.public()) == new)
        assert [row.kind for row in await trail(here)] == ["configuration_changed", "keys_rotated"]
        assert await here.store.read(lambda reader: reader.feed_position()) == 2


async def test_what_a_setting_leads_to_is_told_of_though_no_setting_changed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with founded(Configured.read(file), "api") as here:  # nobody follows, who would read it as well
        changes = Changes(here)
        assert (await changes.reload("dave")).renewed == ()
        monkeypatch.setenv("SHOP", "hunter3")
        done = await changes.reload("dave")
        assert (done.changed, done.renewed) == ((), ("resources[shop].accounts[readonly].password",))
        row = (await trail(here))[-1]
        assert list(row.body["changed"]) == ["resources[shop].accounts[readonly].password"]
        assert "hunter" not in str(row)
        assert (await changes.reload("dave")).renewed == ()


async def test_a_log_in_signed_by_the_new_key_is_believed_there_and_by_the_old_one_no_more(file: Path) -> None:
    def logins(of: Foundation) -> Logins:
        return Logins(of.store, lambda: of.configured.catalog, of.clock, of.ids, of.keys, issuer="tidegate")

    async with api(file) as (here, changes), api(file, "other") as (there, _):
        before = (await logins(here).open("alice", "10.0.0.1")).token
        kid = await changes.rotate("dave", True)
        after = (await logins(here).open("alice", "10.0.0.1")).token
        await until(lambda: set(there.keys.public()) == {kid})
        assert (await logins(there).verify(after)).identity.name == "alice"
        for foundation in (here, there):
            with pytest.raises(Denied):
                await logins(foundation).verify(before)


async def test_what_changed_while_the_other_was_starting_is_taken_up(file: Path) -> None:
    configured = Configured.read(file)
    async with api(file) as (_, changes):
        put(file, MINIMAL + BOB)
        await changes.reload("dave")
        async with api(configured, "late") as (late, _):
            await until(lambda: knows(late, "bob"))


async def test_a_file_with_a_mistake_changes_nothing_anywhere(file: Path) -> None:
    async with api(file) as (here, changes), api(file, "other") as (there, others):
        put(file, MINIMAL + "[nonsense]\n")
        with pytest.raises(PeerError) as refused:
            await changes.reload("dave")
        assert "nonsense" in refused.value.hint
        assert await trail(here) == []
        await here.store.commit(lambda writer: writer.publish(FeedKind.RELOADED, Scope.ALL, ""))
        put(file, MINIMAL + BOB)
        await others.reload("dave")  # it follows on, whatever it met
        await until(lambda: knows(here, "bob") and knows(there, "bob"))


def lose(foundation: Foundation, patching: pytest.MonkeyPatch, *, kept: bool) -> None:
    """COMMITs fail from now on; what is ``kept`` happened all the same."""
    really = foundation.store.commit

    async def commit(unit: Callable[[Writer], object]) -> object:
        if kept:
            await really(unit)
        raise Unavailable("the store cannot be reached")

    patching.setattr(foundation.store, "commit", commit)


async def test_what_the_store_was_not_told_of_is_not_in_force(file: Path) -> None:
    async with api(file) as (here, changes):
        with pytest.MonkeyPatch.context() as patching:
            lose(here, patching, kept=False)
            old = here.keys.current()[0]
            put(file, MINIMAL + BOB)
            with pytest.raises(Unavailable):
                await changes.reload("dave")
            assert not knows(here, "bob")
            for distrust in (False, True):
                with pytest.raises(Unavailable):
                    await changes.rotate("dave", distrust)
                assert (here.keys.current()[0], set(here.keys.public())) == (old, {old})
        assert await trail(here) == []


async def test_ssh_keys_are_rotated_too_and_not_in_force_either_where_nobody_was_told(file: Path) -> None:
    async with api(file) as (here, changes), api(file, "other") as (there, _):
        users, line = here.ssh_keys.user_authorities(), here.ssh_keys.targets_authority()
        with pytest.MonkeyPatch.context() as patching:
            lose(here, patching, kept=False)
            for refused in (changes.rotate("dave", True), changes.rotate_targets("dave", False)):
                with pytest.raises(Unavailable):
                    await refused
        for foundation in (here, there):
            assert foundation.ssh_keys.user_authorities() == users
            assert foundation.ssh_keys.next_targets_authority() == b""
        await changes.rotate("dave", True)
        await until(lambda: not set(there.ssh_keys.user_authorities()) & set(users))
        assert there.ssh_keys.user_authorities() == here.ssh_keys.user_authorities()
        with pytest.raises(PeerError):
            await changes.rotate_targets("dave", True)
        await changes.rotate_targets("dave", False)
        await until(lambda: there.ssh_keys.next_targets_authority() != b"")
        assert there.ssh_keys.targets_authority() == line
        await changes.rotate_targets("dave", True)
        await until(lambda: there.ssh_keys.targets_authority() != line)
        assert there.ssh_keys.next_targets_authority() == b""
        told = [row.body["signs"] for row in await trail(here) if row.kind == "targets_authority_rotated"]
        assert told == [False, True]


async def test_nodes_that_may_have_been_told_of_a_key_are_told_again(file: Path) -> None:
    async with api(file) as (here, changes), api(file, "other") as (there, _):
        old = here.keys.current()[0]
        with pytest.MonkeyPatch.context() as patching:
            lose(here, patching, kept=True)
            with pytest.raises(Unavailable):
                await changes.rotate("dave", True)
            with pytest.raises(Unavailable):
                await changes.settle()
        await changes.settle()
        position = await here.store.read(lambda reader: reader.feed_position())
        await changes.settle()
        assert await here.store.read(lambda reader: reader.feed_position()) == position
        await until(lambda: set(there.keys.public()) == {old} == set(here.keys.public()))


def test_a_retired_key_is_believed_as_long_as_anything_it_signed(file: Path) -> None:
    def longest(text: str) -> float:
        return longest_token(Configured.read(put(file, text)).config)

    policy = (
        '[[policies]]\nname = "pools"\nwho = ["*"]\nresources = ["shop"]\naccounts = ["readonly"]\n'
        'max_duration = "7d"\nnetworks = ["10.0.0.0/8"]\napproval = "automatic"\n'
    )
    assert longest(MINIMAL) == longest(MINIMAL + policy) == 12 * 3600 + 5
    assert longest(MINIMAL + policy + 'token_life = "grant"\n') == 7 * 86400 + 5
