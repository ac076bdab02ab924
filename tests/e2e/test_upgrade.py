"""An upgrade, node by node: two gateways on one store, of which one becomes the next version. Nobody is cut for it,
nobody gets more than both versions understand, and what one of them ends is ended on both."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.peers.gateway import Gateway, Refused, gateway
from tests.peers.next_version import REVISION, next_version, write
from tests.peers.postgres import Cluster
from tests.peers.proof import until
from tests.peers.psql import Talk, talk

pytestmark = pytest.mark.timeout(240)


@dataclass(frozen=True, slots=True)
class Upgrade:
    """``old`` stays this version, ``new`` becomes the next one, whose code is in ``tree``."""

    old: Gateway
    new: Gateway
    url: str
    keys: Path
    tree: Path

    def write(self, body: str, **asked: Any) -> Any:
        """What the next version writes, see ``next_version.write``."""
        return write(self.tree, self.url, self.keys, body, **asked)


@pytest.fixture(params=["sqlite", "postgresql"])
def upgrade(request: pytest.FixtureRequest, postgres15: Cluster) -> Iterator[Upgrade]:
    """Both gateways are of this version still."""
    folder = Path(tempfile.mkdtemp(prefix="tidegate-upgrade-"))
    try:
        with _store(request, folder) as (url, password):
            extra = f'[store]\nurl = "{url}"\n{password}lease = "5s"\n[tokens]\nkeys_dir = "{folder / "keys"}"\n'
            with (
                gateway(postgres15, head='node = "old"', extra=extra) as old,
                gateway(postgres15, head='node = "new"', extra=extra) as new,
            ):
                tree = next_version(folder / "next")
                secret = postgres15.passwords["owner"]
                yield Upgrade(old, new, url.replace("owner@", f"owner:{secret}@"), folder / "keys", tree)
    finally:
        shutil.rmtree(folder)


@contextmanager
def _store(request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[str, str]]:
    """Its URL, and the line of its password."""
    if request.param == "sqlite":
        yield f"sqlite:///{folder / 'store.db'}", ""
        return
    cluster: Cluster = request.getfixturevalue("postgres16")
    with cluster.fresh_database("template0") as database:
        yield f"postgresql://owner@127.0.0.1:{cluster.port}/{database}", 'password = "file:secrets/owner"\n'


def session(gate: Gateway, grant: str) -> psycopg.Connection[Any]:
    token = gate.token(grant=grant)
    return psycopg.connect(gate.dsn("readonly", token=token), autocommit=True)


def one(connection: psycopg.Connection[Any]) -> bool:
    return connection.execute("select 1").fetchone() == (1,)


def refused(gate: Gateway, method: str, path: str, user: str = "alice", **body: Any) -> str:
    with pytest.raises(Refused) as problem:
        gate.call(method, path, body, user=user)
    return f"{problem.value.problem['detail']} {problem.value.problem}"


SEALED = "writer.put_grant(seals.seal(replace(writer.grant(asked['grant']), {change})))"


async def test_an_upgrade_node_by_node_cuts_nobody(upgrade: Upgrade) -> None:
    old, new = upgrade.old, upgrade.new
    token = old.token(grant=old.grant())
    with closing(session(old, old.grant())) as connection:
        async with talk(old.dsn(token=token)) as psql:
            assert await psql.ask("select 1;") == "1\n"
            new.stop()
            new.tree = upgrade.tree
            new.start()
            await lives_through(upgrade, psql)
            assert await psql.ask("select 'still here';") == "still here\n"
        assert one(connection)
    assert_whole(upgrade)


async def lives_through(upgrade: Upgrade, psql: Talk) -> None:
    """What the next version does to a node of this one, with a person at psql."""
    for part in (
        nobody_is_in_the_way,
        what_informs_is_passed_by,
        a_new_field_of_a_grant,
        a_field_that_must_be_understood,
        a_request_with_a_new_key,
        what_ends_ends_what_its_scope_names,
    ):
        part(upgrade)
        assert await psql.ask(f"select '{part.__name__}';") == f"{part.__name__}\n"


def nobody_is_in_the_way(upgrade: Upgrade) -> None:
    """Both let in, both are ready, and they do not take each other for differently configured."""
    for gate in (upgrade.old, upgrade.new):
        with closing(session(gate, gate.grant())) as connection:
            assert one(connection)
        assert gate.call("GET", "/readyz", user=None)["reasons"] == []
        nodes = gate.call("GET", "/v1/nodes", user="dave")["items"]
        assert {each["id"] for each in nodes} == {"old-0", "new-0"}
        assert len({each["digest"] for each in nodes}) == 1
    words = "return [everybody_speaks(writer, each) for each in ('seal-2', 'feed:paused')]"
    assert upgrade.write(words) == [True, False], "the next version writes nothing new while the old one is there"


def what_informs_is_passed_by(upgrade: Upgrade) -> None:
    seq = upgrade.write(
        """
for scope in (Scope.ALL, Scope.NODE, Scope.TEAM, Scope.TEAM):
    seq = writer.publish(FeedKind.WITNESSED, scope, "x", data={"deep": [{}]})
writer.append(TrailWitnessed("gateway", witness="w"))
return seq
"""
    )
    until(lambda: min(each["feed_seen"] for each in nodes(upgrade.old)) >= seq)
    strange = [line for line in upgrade.old.log().splitlines() if "does not know" in line]
    assert len(strange) == 3, "once for each kind and scope"


def nodes(gate: Gateway) -> list[dict[str, Any]]:
    return list(gate.call("GET", "/v1/nodes", user="dave")["items"])


def a_new_field_of_a_grant(upgrade: Upgrade) -> None:
    """``note`` need not be understood: both let in by it, the old one does not extend it."""
    grant = upgrade.old.grant()
    upgrade.write(SEALED.format(change="note='x'"), grant=grant)
    for gate in (upgrade.old, upgrade.new):
        with closing(session(gate, grant)) as connection:
            assert one(connection)
    asked = {"duration": 60, "reason": "more"}
    assert "newer version" in refused(upgrade.old, "POST", f"/v1/grants/{grant}/extend", **asked)
    upgrade.new.call("POST", f"/v1/grants/{grant}/extend", asked, user="alice")


def a_field_that_must_be_understood(upgrade: Upgrade) -> None:
    """``mask`` narrows: the new one lets in by it, the old one nobody; and the old one ends it on both."""
    old, new = upgrade.old, upgrade.new
    grant = old.grant()
    token = old.token(grant=grant)
    with closing(session(old, grant)) as before:
        upgrade.write(SEALED.format(change="mask='email'"), grant=grant)
        with closing(session(new, grant)) as masked:
            assert one(masked)
            with pytest.raises(psycopg.OperationalError, match="made by a newer version of Tidegate"):
                psycopg.connect(old.dsn(token=token))
            assert "grant_newer" in refused(old, "POST", f"/v1/grants/{grant}/token")
            assert (one(before), one(masked)) == (True, True), "nobody is cut for it"
            old.revoke(grant)
            for connection in (before, masked):
                with pytest.raises(psycopg.OperationalError, match="revoked by dave"):
                    until(lambda connection=connection: not one(connection))  # type: ignore[misc]
    found = "grant = writer.grant(asked['grant'])\nreturn [seals.intact(grant), seals.newer(grant), grant.mask]"
    assert upgrade.write(found, grant=grant) == [True, False, "email"], "and loses nothing of it"


def a_request_with_a_new_key(upgrade: Upgrade) -> None:
    """Each decision of the next version says ``quorum``: the old one decides none, and it can be withdrawn
    there."""
    asked = {"resource": "shop", "account": "owner", "duration": 60, "reason": "why"}
    made = [upgrade.new.call("POST", "/v1/requests", asked, user="alice")["request"]["id"] for _ in range(2)]
    word = {"reason": "fine"}
    for what in ("approve", "deny"):
        assert "newer version" in refused(upgrade.old, "POST", f"/v1/requests/{made[0]}/{what}", "bob", **word)
    assert upgrade.old.call("POST", f"/v1/requests/{made[1]}/withdraw", {}, user="alice")["status"] == "withdrawn"
    kept = "request = writer.request(asked['request'])\nreturn [seals.intact(request), request.decision.quorum]"
    assert upgrade.write(kept, request=made[1]) == [True, 2]
    done = upgrade.new.call("POST", f"/v1/requests/{made[0]}/approve", word, user="bob")
    assert done["request"]["status"] == "approved"


def what_ends_ends_what_its_scope_names(upgrade: Upgrade) -> None:
    grant = upgrade.old.grant()
    with closing(session(upgrade.old, grant)) as connection:
        publish = "return writer.publish(FeedKind.PAUSED, Scope.GRANT, asked['grant'], by='dave', reason='audit')"
        seq = upgrade.write(publish, grant=grant)
        with pytest.raises(
            psycopg.OperationalError, match="a newer version of the gateway ended this session by dave"
        ):
            until(lambda: not one(connection))
    assert upgrade.old.ended(grant)["end_reason"] == "unknown_order"
    until(lambda: bool(upgrade.old.call("GET", f"/v1/revocations/{seq}")["done"]))


def assert_whole(upgrade: Upgrade) -> None:
    """The trail verifies for both; the old one takes a restart on the newer store, and what it cannot name ends
    all."""
    old, new = upgrade.old, upgrade.new
    for gate in (old, new):
        checked = gate.call("GET", "/v1/audit/verify", user="carol")
        assert (checked["ok"], checked["problems"]) == (True, [])
    old.stop()
    old.start()
    with closing(session(old, old.grant())) as here, closing(session(new, new.grant())) as there:
        upgrade.write("return writer.publish(FeedKind.PAUSED, Scope.TEAM, 'red')")
        with pytest.raises(psycopg.OperationalError, match="a newer version of the gateway ended this session"):
            until(lambda: not one(here))
        assert one(there)


def test_a_step_that_takes_something_away_keeps_the_old_version_out(postgres15: Cluster, tmp_path: Path) -> None:
    tree = next_version(tmp_path, additive=False)
    with gateway(postgres15) as old:
        old.stop()
        write(tree, f"sqlite:///{old.folder / 'state' / 'tidegate.db'}", old.folder / "state" / "keys", "return 0")
        with pytest.raises(RuntimeError, match="made by a later version of Tidegate") as error:
            old.start()
    assert "upgrade this node before starting it" in str(error.value)
    assert REVISION in str(error.value)
