"""Large objects by function calls, as libpq's ``lo_*`` and psql's ``\\lo_*`` make them: as without the gateway,
byte for byte, and in the recording by name. pg_dump and pg_restore: test_dump.py."""

import asyncio
import hashlib
import random
import struct
from pathlib import Path

import pytest

from proxy.protocols.postgres import messages
from proxy.protocols.postgres.large_objects import FUNCTIONS
from tests.e2e.test_differential import Pair, pair  # noqa: F401
from tests.peers.gateway import Gateway
from tests.peers.proof import until
from tests.peers.psql import run
from tests.peers.wire import Wire, log_in
from tests.protocols.postgres.ladder import SYNC, bind, execute, parse, query
from tests.protocols.postgres.test_large_objects import call, int4

OIDS = {
    "lo_open": 952, "lo_close": 953, "loread": 954, "lowrite": 955, "lo_lseek": 956, "lo_creat": 957,
    "lo_tell": 958, "lo_unlink": 964, "lo_create": 715, "lo_truncate": 1004, "lo_lseek64": 3170, "lo_tell64": 3171,
    "lo_truncate64": 3172,
}  # fmt: skip
"""As in every server's pg_proc.dat: what clients have learnt from a catalog."""
READ_WRITE = 0x60000
MADE = struct.pack("!I", 471_100)


def int8(number: int) -> bytes:
    return struct.pack("!q", number)


def said(name: str, *arguments: bytes | None, **how: object) -> bytes:
    return call(OIDS[name], *arguments, **how)  # type: ignore[arg-type]


BEGUN = query("begin") + said("lo_create", MADE) + said("lo_open", MADE, int4(READ_WRITE))
SCRIPTS = {
    "a whole life": BEGUN
    + said("lowrite", int4(0), bytes(range(256)) * 40)
    + said("lo_tell", int4(0))
    + said("lo_lseek", int4(0), int4(-100), int4(2))
    + said("loread", int4(0), int4(1000))
    + said("lo_lseek64", int4(0), int8(1 << 33), int4(0))
    + said("lo_tell64", int4(0))
    + said("lo_truncate", int4(0), int4(7))
    + said("lo_truncate64", int4(0), int8(5))
    + said("lo_lseek", int4(0), int4(0), int4(0))
    + said("loread", int4(0), int4(100))
    + said("lo_close", int4(0))
    + said("lo_unlink", MADE),
    "nothing to read": BEGUN + said("loread", int4(0), int4(100)),
    "results as text": BEGUN
    + said("lowrite", int4(0), b"abc", result=0)
    + said("lo_lseek", b"0", b"0", b"0", formats=(), result=0)
    + said("loread", b"0", b"10", formats=(0,), result=0),
    "no such object": query("begin") + said("lo_open", MADE, int4(READ_WRITE)) + said("lo_close", int4(0)),
    "no such descriptor": query("begin") + said("loread", int4(3), int4(10)),
    "outside a transaction": said("lo_create", MADE) + said("lo_unlink", MADE) + said("lo_tell", int4(0)),
    "null": BEGUN + said("lo_close", None) + said("loread", int4(0), None),
    "odd numbers": BEGUN + said("lo_close", b"\0\0") + said("lo_tell", b""),
    "odd texts": BEGUN + said("lo_close", b"zero", formats=(0,)),
    "an odd format": BEGUN + said("lo_close", int4(0), formats=(7,)),
    "in a pipeline": query("begin")
    + parse("", "select lo_create(471100)")
    + bind()
    + execute()
    + said("lo_open", MADE, int4(READ_WRITE))
    + parse("", "select 1")
    + SYNC,
    "behind an error in a pipeline": query("begin")
    + parse("", "select 1/0")
    + bind()
    + execute()
    + said("lo_create", MADE)
    + SYNC
    + said("lo_create", MADE)
    + query("rollback"),
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_call_is_answered_as_without_the_gateway(pair: Pair, script: str) -> None:  # noqa: F811
    assert pair.said(SCRIPTS[script])


def test_the_oids_are_the_catalogs_and_the_users_own_functions_are_none_of_them(every_gateway: Gateway) -> None:
    """Whatever its name, its schema and the search_path: a function of a user's stays refused."""
    cluster = every_gateway.cluster
    found = cluster.execute(
        "select proname, oid::int from pg_proc where pronamespace = 'pg_catalog'::regnamespace and "
        f"proname = any(array{[each.name for each in FUNCTIONS]})"
    )
    assert dict(found) == OIDS and len(found) == len(FUNCTIONS)
    cluster.execute(
        "create schema lo; create function lo.lo_creat(int) returns oid language sql as 'select 1::oid'"
    )
    try:
        ((own,),) = cluster.execute("select 'lo.lo_creat(int)'::regprocedure::oid::int")
        wire = Wire(every_gateway, direct=True)
        wire.start(user="postgres", options="-c search_path=lo,pg_catalog")
        log_in(wire, every_gateway.token("postgres"))
        for oid in (own, 1598, 764, 767, 3458):  # its own, random(), and lo_import, lo_export, lo_get of the server
            wire.say(call(oid, int4(-1)))
            assert b"0A000" in wire.until(b"Z")[0][1]
        wire.say(query("begin") + said("lo_creat", int4(-1)))
        assert [kind for kind, _ in wire.until(b"Z") + wire.until(b"Z")] == [b"C", b"Z", b"V", b"Z"]
        wire.close()
    finally:
        cluster.execute("drop schema lo cascade")


def test_calls_are_in_the_recording_by_name(every_gateway: Gateway) -> None:
    content = random.Random(7).randbytes(100_000)
    wire = Wire(every_gateway, direct=True)
    wire.start(user="postgres")
    pid, _ = log_in(wire, every_gateway.token("postgres"))
    (session,) = [each["id"] for each in every_gateway.sessions(pid=str(pid), live="1")]
    wire.say(BEGUN + said("lowrite", int4(0), content) + said("lo_lseek", int4(0), int4(0), int4(0)))
    wire.say(said("loread", int4(0), int4(50_000)) + query("rollback"))
    for _ in range(7):
        assert wire.until(b"Z")[-1][0] == b"Z"
    wire.say(messages.TERMINATE)
    wire.close()
    until(lambda: every_gateway.call("GET", f"/v1/sessions/{session}", user="carol")["status"] == "ended")
    found = [each for each in every_gateway.statements(session) if each["protocol"] == "fastpath"]
    assert [each["text"] for each in found] == [
        "lo_create(471100)",
        f"lo_open(471100, {READ_WRITE})",
        "lowrite(0, 100000 bytes)",
        "lo_lseek(0, 0, 0)",
        "loread(0, 50000)",
    ]
    assert [each.get("results") for each in found] == [
        [[{"lo_create": 471_100}]],
        [[{"lo_open": 0}]],
        [[{"lowrite": 100_000}]],
        [[{"lo_lseek": 0}]],
        None,
    ]
    written = {"prefix": "", "length": 100_000, "sha256": hashlib.sha256(content).hexdigest()}
    assert found[2]["parameters"] == [0, written]
    read = {"flow": "output", "offset": 0, "bytes": 50_000, "sha256": hashlib.sha256(content[:50_000]).hexdigest()}
    assert found[4]["content"] == [read]
    assert {each["outcome"] for each in found} == {"done"}


async def test_psql_takes_files_in_and_out(every_gateway: Gateway, tmp_path: Path) -> None:
    cluster = every_gateway.cluster
    content = random.Random(8).randbytes(3_000_000)
    await asyncio.to_thread((tmp_path / "in").write_bytes, content)
    make = every_gateway.dsn if cluster.tls else every_gateway.plain_dsn
    dsn = await asyncio.to_thread(make, "postgres")
    script = (
        f"\\lo_import '{tmp_path}/in' 'a comment'\n\\lo_export :LASTOID '{tmp_path}/out'\n"
        f"select length(lo_get(:LASTOID));\n\\lo_unlink :LASTOID\n\\lo_list\n"
    )
    await asyncio.to_thread((tmp_path / "script").write_text, script)
    ran = await run(
        cluster.program("psql"), "-X", "-v", "ON_ERROR_STOP=1", "-f", str(tmp_path / "script"), "-d", dsn, within=60
    )
    assert (ran.code, ran.err) == (0, "")
    assert "3000000" in ran.out
    assert await asyncio.to_thread((tmp_path / "out").read_bytes) == content
