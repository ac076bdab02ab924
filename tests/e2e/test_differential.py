"""What a client gets through the gateway is what it gets around it, byte for byte: the same script is said to both.

Left out of the comparison is only what must differ: the key for cancels, the pids of backends, and what temporary
tables are called inside.
"""

import re
import struct
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.protocols.postgres import messages
from tests.peers.gateway import Gateway
from tests.peers.wire import Wire, log_in_directly
from tests.protocols.postgres.ladder import (
    COPY_DONE,
    FLUSH,
    SYNC,
    bind,
    close,
    copy_data,
    describe,
    execute,
    parse,
    query,
)

Said = list[tuple[bytes, bytes]]
TEMPORARY = re.compile(rb"pg_temp_\d+")
NAME = "n" * 70 + " of a program"
"""Longer than the server takes: it says so in a NOTICE."""
ENDS = query("rollback") + query("discard all") + query("select 'the end'")


def version(gateway: Gateway) -> int:
    """The newest protocol the target speaks."""
    return messages.PROTOCOL_3_2 if gateway.cluster.version == "18" else messages.PROTOCOL_3_0


def through(gateway: Gateway) -> tuple[Wire, Said]:
    wire = Wire(gateway, direct=True)
    wire.start(version(gateway), client_encoding="UTF8", DateStyle="ISO", application_name=NAME)
    assert wire.message() == (b"R", struct.pack("!I", 3))
    wire.say(messages.password(gateway.token()))
    return wire, wire.until(b"Z")


def around(gateway: Gateway) -> tuple[Wire, Said]:
    wire = Wire(gateway, port=gateway.cluster.port)
    wire.start(version(gateway), client_encoding="UTF8", DateStyle="ISO", application_name=NAME)
    return wire, log_in_directly(wire)


def answers(wire: Wire, script: bytes) -> Said:
    """All that is answered to a script, which is sent without waiting for anything; then the session is as new."""
    wire.say(script + ENDS)
    found: Said = []
    while (b"D", b"\0\1\0\0\0\7the end") not in found:
        found += wire.until(b"Z")
        assert found[-1][0] == b"Z", found
    return found


def comparable(said: Said) -> Said:
    """Without what must differ."""
    found = []
    for kind, body in said:
        if kind == b"K":
            body = bytes(len(body))
        elif kind == b"A":
            body = bytes(4) + body[4:]
        elif kind == b"T":
            body = _without_tables(body)
        elif kind == b"E":
            body = TEMPORARY.sub(b"pg_temp", body)
        found.append((kind, body))
    return found


def _without_tables(body: bytes) -> bytes:
    fixed, at = bytearray(body), 2
    for _ in range(int.from_bytes(body[:2], "big")):
        at = body.index(b"\0", at) + 1
        fixed[at : at + 4] = bytes(4)
        at += 18
    return bytes(fixed)


class Pair:
    """Two sessions that are told the same: one through the gateway, one around it."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.connect()

    def connect(self) -> None:
        (first, welcomed), (second, expected) = through(self.gateway), around(self.gateway)
        self.wires = [first, second]
        assert comparable(welcomed) == comparable(expected)

    def said(self, script: bytes) -> Said:
        """What both say; it must be the same."""
        try:
            said = [comparable(answers(wire, script)) for wire in self.wires]
            assert said[0] == said[1]
        except BaseException:  # the next script, a simpler one perhaps, begins anew
            self.close()
            self.connect()
            raise
        return said[0]

    def close(self) -> None:
        for wire in self.wires:
            wire.close()


@pytest.fixture
def pair(every_gateway: Gateway) -> Iterator[Pair]:
    made = Pair(every_gateway)
    yield made
    made.close()


# -- every type, as text and binary, as a result and as a parameter ------------------------------------------------

VALUES = [
    "'2024-02-29'::date", "'infinity'::date", "'4713-01-01 BC'::date", "'24:00:00'::time",
    "'10:00:00.000001+05:30'::timetz", "'1999-12-31 23:59:59.999999'::timestamp", "'-infinity'::timestamp",
    "'2024-03-31 01:30:00+00'::timestamptz", "'294276-12-31 23:59:59+00'::timestamptz",
    "'-1 year 2 mons -3 days 04:05:06.789'::interval", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid",
    "'NaN'::float8", "'-Infinity'::float8", "'-0'::float8", "5e-324::float8", "0.1::float4", "'NaN'::numeric",
    "'Infinity'::numeric", "1e-100::numeric", "-12345678901234567890.123400::numeric", "0::numeric",
    "32767::int2", "(-2147483648)::int4", "9223372036854775807::int8", "true", "null::text", "''::text",
    "E'tab\\t\\\\ \\u00fc \\U0001d11e'::text", "'x'::char(4)", "'x'::\"char\"", "'name'::name",
    "'\\x00ff5c'::bytea", "''::bytea", "'{1,null,-3}'::int4[]", "'{{a,\"b,c\"},{\"\",null}}'::text[]",
    "'[0:1]={1,2}'::int8[]", "'{}'::date[]", "array['2024-01-01'::timestamptz]", "array[1.5, 'NaN']::numeric[]",
    "array['\\x00'::bytea]", "'{\"a\": [1, 2.50, null]}'::json", "'{\"b\": 1, \"a\": \"\\u00fc\"}'::jsonb",
    "'$.a ? (@ > 1)'::jsonpath", "'[1,5)'::int4range", "'empty'::int8range", "'(,2.5]'::numrange",
    "'[2024-01-01,)'::daterange", "tstzrange('2024-01-01 00:00+00', null)", "'{[1,3),[5,7)}'::int4multirange",
    "'{}'::nummultirange", "'10.0.0.1/8'::inet", "'fe80::/10'::cidr", "'08:00:2b:01:02:03'::macaddr",
    "'08:00:2b:01:02:03:04:05'::macaddr8", "'(1,2)'::point", "'{1,2,3}'::line", "'[(0,0),(1,1)]'::lseg",
    "'(1,1),(0,0)'::box", "'[(0,0),(1,1)]'::path", "'((0,0),(1,1),(2,0))'::polygon", "'<(1,2),3>'::circle",
    "B'101'::bit(3)", "B'10110'::varbit", "'fat & (rat | !cat:*)'::tsquery", "'a:1A fat:2'::tsvector",
    "'16/B374D848'::pg_lsn", "12.34::money", "4294967295::oid", "'pg_class'::regclass", "'1'::xid8",
    "row(1, 'a', null)",
]  # fmt: skip


def test_every_type_in_both_formats(pair: Pair) -> None:
    script = b"".join(
        parse("", f"select {value}") + bind(results=[form]) + describe("P") + execute() + SYNC
        for value in VALUES
        for form in (0, 1)
    )
    said = pair.said(script)
    assert not [body for kind, body in said if kind == b"E"]
    assert sum(kind == b"D" for kind, _ in said) == 2 * len(VALUES) + 1


def test_every_type_as_a_parameter_in_both_formats(pair: Pair) -> None:
    """What came out as a result goes in as a parameter, in the other format comes out again."""
    types = [value for value in VALUES if not value.startswith(("null", "row"))]
    asked = b"".join(
        parse("", f"select {value}") + bind(results=[form]) + describe("P") + execute() + SYNC
        for value in types
        for form in (0, 1)
    )
    said = pair.said(asked)
    oids = [_oid(body) for kind, body in said if kind == b"T"][: 2 * len(types)]
    rows = [body[6:] for kind, body in said if kind == b"D"][: 2 * len(types)]
    script = b"".join(
        parse("", "select $1", oid) + bind("", "", [value], [number % 2], [1 - number % 2]) + execute() + SYNC
        for number, (oid, value) in enumerate(zip(oids, rows, strict=True))
    )
    returned = [body[6:] for kind, body in pair.said(script) if kind == b"D"][: 2 * len(types)]
    for number, value in enumerate(returned):
        assert value == rows[number ^ 1]


def _oid(description: bytes) -> int:
    end = description.index(b"\0", 2) + 1
    return int.from_bytes(description[end + 6 : end + 10], "big")


# -- words beside results ------------------------------------------------------------------------------------------

ERROR = """do $$ begin raise exception 'whole' using errcode = 'P1234', detail = 'detail', hint = 'hint',
column = 'c', constraint = 'k', datatype = 'd', table = 't', schema = 's'; end $$"""
NOTICES = """do $$ begin raise debug 'd'; raise log 'l'; raise info 'i'; raise notice 'n' using hint = 'h';
raise warning 'w' using detail = 'ü', errcode = '01234'; end $$"""


def test_notices_and_errors_come_with_all_their_fields(pair: Pair) -> None:
    script = query("set client_min_messages = debug") + query(NOTICES) + query(ERROR)
    script += query("select *\nfrom customers, nowhere") + query("insert into customers values (1)")
    script += query("set lc_messages = 'C'; set client_encoding = latin1; selec 'ü'".encode("latin-1"))
    said = pair.said(script)
    fields = [messages.error_fields(body) for kind, body in said if kind in b"NE"]
    whole = next(each for each in fields if each[b"C"] == b"P1234")
    assert set(b"SVCMDHWscdnFLRt") == {ord(key) for key in whole}
    assert {b"INFO", b"NOTICE", b"WARNING", b"ERROR"} <= {each[b"V"] for each in fields}
    assert any(each.get(b"P") == b"26" for each in fields)


def test_notifications_come_where_the_server_puts_them(pair: Pair) -> None:
    script = query('listen a; listen "Ü"') + query("begin; notify a, 'one'") + query('notify "Ü"; commit')
    script += parse("", "select pg_notify('a', repeat('x', 7000))") + bind() + execute() + SYNC
    script += query("unlisten *") + query("notify a, 'unheard'")
    said = pair.said(script)
    assert [body.split(b"\0")[-3:-1] for kind, body in said if kind == b"A"][:2] == [
        [b"a", b"one"],
        ["Ü".encode(), b""],
    ]
    assert sum(kind == b"A" for kind, _ in said) == 3


def test_settings_are_reported_as_they_change(pair: Pair) -> None:
    script = query("set datestyle to german; set timezone to 'Asia/Tokyo'") + query(
        "begin; set local intervalstyle to iso_8601"
    )
    script += query("select now()::date, '1 day'::interval; rollback") + query(
        "set standard_conforming_strings = off"
    )
    script += query("select '\\x41'; set client_encoding to 'LATIN1'") + query("select 'ä'".encode("latin-1"))
    said = pair.said(script)
    changed = {messages.parameter(body) for kind, body in said if kind == b"S"}
    assert {
        ("TimeZone", "Asia/Tokyo"),
        ("client_encoding", "LATIN1"),
        ("standard_conforming_strings", "off"),
    } <= changed


# -- scripts nobody wrote ------------------------------------------------------------------------------------------

TEXTS = (
    "", " ;; ", "select 1", "select 1; select 2; select 'ü'", "select 1; select 1/0; select 3", "begin", "commit",
    "rollback", "begin; select 1; commit", "savepoint s", "rollback to s", "selec", "select * from nowhere",
    ERROR, NOTICES, "create temp table if not exists t (i int primary key, s text)",
    "insert into t values (1, 'x'), (2, null) returning *", "select * from t", "update t set s = 'y'",
    "drop table t", "listen a", "notify a, 'p'", "prepare s as select $1::int", "execute s(1)", "deallocate s",
    "deallocate all", "declare p cursor with hold for select generate_series(1, 5)", "fetch 2 from p",
    "move all in p", "close p", "select repeat('x', 20000) from generate_series(1, 3)", "set datestyle to german",
    "set local timezone to 'UTC'", "discard all", "copy (select generate_series(1, 3)) to stdout",
    "copy (select 1) to stdout (format binary); select 2", "copy t to stdout", "explain (costs off) select 1",
    "select /* a ; */ 'b ; ''', $$;$$ -- ;", "create temp table u as select 1", "values (1), (2)", "table t",
)  # fmt: skip
names = st.sampled_from(["", "s"])
portals = st.sampled_from(["", "p"])
texts = st.sampled_from(TEXTS)
extended = st.one_of(
    st.builds(parse, names, texts),
    st.builds(
        parse, names, st.sampled_from(["select $1::int + 1", "select $1, $1::text", "select generate_series(1, 4)"])
    ),
    st.builds(bind, portals, names),
    st.builds(bind, portals, names, st.just([b"41"])),
    st.builds(bind, portals, names, st.just([b"\0\0\0\1"]), st.just([1]), st.just([1])),
    st.builds(describe, st.sampled_from("SP"), names),
    st.builds(execute, portals, st.sampled_from([0, 1, 2])),
    st.builds(close, st.sampled_from("SP"), names),
    st.just(FLUSH),
    st.just(SYNC),
)
copied = st.lists(st.sampled_from([b"1\tx\n", b"2", b"\t\\N\n", b"\\.\n", b"bad\n", b"3\ty\n"]), max_size=4)
COPY = "copy t from stdin"


def group(said: Sequence[bytes]) -> bytes:
    return b"".join(said) + SYNC


def copy(data: Sequence[bytes], ends: bytes, simple: bool) -> bytes:
    begun = query(COPY) if simple else parse("", COPY) + bind() + execute()
    return begun + b"".join(map(copy_data, data)) + ends + (b"" if simple else SYNC)


steps = st.one_of(
    st.builds(query, texts),
    st.lists(extended, max_size=7).map(group),
    st.builds(copy, copied, st.sampled_from([COPY_DONE, messages.copy_fail("no")]), st.booleans()),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=st.lists(steps, min_size=1, max_size=8).map(b"".join))
def test_any_script_gets_the_same_answers(pair: Pair, script: bytes) -> None:
    pair.said(query(TEXTS[15]) + script)
