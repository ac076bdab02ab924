"""Which backend serves a session, told by real servers: its own life and no other's, behind a pooler none."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.cli.demo import shop
from proxy.core.errors import Unreachable
from proxy.core.targets import PostgresControl, PostgresCredential, PostgresTarget, Secret
from proxy.protocols.postgres import lives, messages
from proxy.protocols.postgres.control import Backend, ask, life_of
from proxy.protocols.postgres.lives import Life
from proxy.protocols.postgres.upstream import Entry, LoggedIn, Targets
from proxy.sessions.dialling import connect
from tests.peers.pgbouncer import Bouncer, pgbouncer
from tests.peers.postgres import PASSWORDS, SUPERUSER, Cluster, PeerMissing


@pytest.fixture(scope="session")
def bouncer(postgres15: Cluster) -> Iterator[Bouncer]:
    try:
        with pgbouncer(postgres15) as running:
            yield running
    except PeerMissing as missing:
        pytest.skip(str(missing))


def entry(user: str, ca: Path | None, control: str = SUPERUSER) -> Entry:
    target = PostgresTarget(
        tls_mode="verify-full" if ca else "disable",
        tls_ca=ca,
        control=PostgresControl(control, password(control), shop.DATABASE),
    )
    return Entry(target, user, password(user))


def password(user: str) -> PostgresCredential:
    return PostgresCredential(password=Secret(PASSWORDS[user]))


@asynccontextmanager
async def logged_in(port: int, entry: Entry, **settings: str) -> AsyncIterator[LoggedIn]:
    """A line of one's own to the server."""
    loop = asyncio.get_running_loop()
    stream, address = await connect(loop, (("127.0.0.1", port),), 5.0)
    startup = messages.startup_packet({"user": entry.user, "database": shop.DATABASE, **settings})
    try:
        yield await Targets(loop).login(stream, address, entry, startup)
    finally:
        stream.close()


@asynccontextmanager
async def at(cluster: Cluster, user: str = shop.READER, **settings: str) -> AsyncIterator[LoggedIn]:
    async with logged_in(cluster.port, entry(user, cluster.ca if cluster.tls else None), **settings) as found:
        yield found


async def sure(line: LoggedIn) -> Life:
    found = await life_of(line)
    assert found is not None
    return found


async def goes_on(control: LoggedIn, life: Life, role: str = shop.READER) -> bool | None:
    return lives.goes_on(await ask(control.stream, lives.look(life, role)), life)


async def gone(control: LoggedIn, life: Life, role: str = shop.READER) -> None:
    async with asyncio.timeout(10):
        while await goes_on(control, life, role):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_life_goes_on_until_it_ends(postgres: Cluster) -> None:
    async with at(postgres, SUPERUSER) as control:
        async with at(postgres) as line:
            life = await sure(line)
            assert life.pid == line.pid
            assert await goes_on(control, life)
            assert await goes_on(control, life, SUPERUSER) is False
        await gone(control, life)


async def test_it_is_the_same_whatever_the_session_has_set(postgres15: Cluster) -> None:
    settings = {"TimeZone": "Asia/Kolkata", "DateStyle": "SQL, DMY", "extra_float_digits": "-15"}
    quoting = {"options": "-c standard_conforming_strings=off -c search_path=pg_temp"}
    async with at(postgres15, SUPERUSER) as control, at(postgres15, **settings, **quoting) as line:
        assert await goes_on(control, await sure(line))
        assert await ask(line.stream, "show standard_conforming_strings") == ["off"]


async def test_the_next_life_of_a_pid_is_neither_taken_for_it_nor_ended(postgres15: Cluster) -> None:
    async with at(postgres15, SUPERUSER) as control, at(postgres15) as line:
        life = await sure(line)
        before = life._replace(backend=str(int(life.backend) - 1))
        assert await goes_on(control, before) is False
        await ask(control.stream, lives.end(before, shop.READER))
        assert await ask(line.stream, "select 'here'") == ["here"]
        await ask(control.stream, lives.end(life, shop.READER))
        await gone(control, life)


async def test_a_setting_that_the_target_tells_meanwhile_is_not_lost(postgres15: Cluster) -> None:
    async with at(postgres15) as line:
        told = len(line.parameters)
        await line.stream.send(messages.query("set standard_conforming_strings to off"))
        assert await life_of(line) is None  # the answers of another query come first
        assert messages.frame(b"S", b"standard_conforming_strings\0off\0") in line.parameters[told:]


async def test_a_target_that_goes_on_for_ever_is_not_let_into_a_session(
    postgres15: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.protocols.postgres.control.ANSWERS_MOST", 2)
    async with at(postgres15) as line:
        with pytest.raises(Unreachable, match="does not stop"):
            await life_of(line)


@pytest.mark.parametrize("strings", ["on", "off"])
async def test_a_role_is_found_by_any_name(postgres15: Cluster, strings: str) -> None:
    role = "a\\b'c"
    postgres15.execute(f"create role \"{role}\" login password 'x'")
    try:
        odd = Entry(entry(SUPERUSER, postgres15.ca).target, role, PostgresCredential(password=Secret("x")))
        setting = f"-c standard_conforming_strings={strings}"
        async with at(postgres15, SUPERUSER, options=setting) as control:
            async with logged_in(postgres15.port, odd) as line:
                life = await sure(line)
                assert await goes_on(control, life, role)
            await gone(control, life, role)
    finally:
        postgres15.execute(f'drop role "{role}"')


async def test_another_server_proves_nothing(postgres15: Cluster, postgres16: Cluster) -> None:
    async with at(postgres16, SUPERUSER) as control, at(postgres15) as line:
        assert await goes_on(control, await sure(line)) is None


async def test_an_account_that_may_not_look_sees_it_but_ends_nothing(postgres15: Cluster) -> None:
    async with at(postgres15, shop.OWNER) as control, at(postgres15, SUPERUSER) as watching:
        async with at(postgres15) as line:
            life = await sure(line)
            assert await goes_on(control, life)
            await ask(control.stream, lives.end(life, shop.READER))
            assert await ask(line.stream, "select 'here'") == ["here"]
        await gone(watching, life)
        assert await goes_on(control, life) is False


async def test_a_pooler_names_no_backend_and_so_nothing_is_proved(bouncer: Bouncer, postgres15: Cluster) -> None:
    entered = entry(SUPERUSER, bouncer.ca)
    async with logged_in(bouncer.port, entered) as line:
        assert line.pid
        assert await life_of(line) is None
        control = Backend(Targets(asyncio.get_running_loop()), entered, line, await life_of(line))
        assert await control.stopped() == ""
        assert await ask(line.stream, "select 'here'") == ["here"]


async def test_a_server_that_refuses_to_say_is_not_asked_again(postgres15: Cluster) -> None:
    """In a session that may run nothing, the line stays in step."""
    async with at(postgres15) as line:
        await ask(line.stream, "begin")
        with pytest.raises(Exception, match="refuses to be asked"):
            await ask(line.stream, "select 1/0")
        assert await life_of(line) is None
        assert await ask(line.stream, "rollback") == []
        assert await life_of(line) is not None
