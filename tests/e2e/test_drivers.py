"""psycopg 3 through the gateway, with the newest libpq: what it gets equals what it gets directly."""

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from ipaddress import IPv4Interface, IPv6Network
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb
from psycopg.types.multirange import Multirange
from psycopg.types.range import Range

from tests.peers.gateway import Gateway

QUERIES = [
    "select 1",
    "select null::int, true, 'x'::text, 1.5::numeric, '{1,2}'::int[], '{\"a\": 1}'::jsonb",
    "select generate_series(1, 5000)",
    "select repeat('x', 100000)",
    "select * from customers order by id",
    "select 1 where false",
    "select '\\x00ff'::bytea, '1 day'::interval, '10.0.0.1'::inet, 'a'::\"char\"",
]


def direct(gateway: Gateway, role: str = "postgres") -> str:
    return gateway.cluster.uri(role, sslmode="prefer")


def both(gateway: Gateway, work: Callable[[psycopg.Connection[Any]], Any]) -> tuple[Any, Any]:
    """The same work through the gateway and around it."""
    results = []
    for target in (gateway.dsn("postgres"), direct(gateway)):
        with psycopg.connect(target, autocommit=True) as connection:
            results.append(work(connection))
    return results[0], results[1]


VALUES = [
    1, -(2**15), 2**31, -(2**63), 10**30, True, 0.1, -0.0, float("inf"), 5e-324, Decimal("1.2300"),
    Decimal("-1e-20"), Decimal("NaN"), "", "naïve \U0001d11e \\ ' \t", b"", b"\x00\xff\\", date(1, 1, 1),
    date(9999, 12, 31), time(23, 59, 59, 999999), time(1, 2, tzinfo=timezone(timedelta(hours=-5, minutes=-30))),
    datetime.fromisoformat("2024-02-29T12:00:00.000001"), datetime(2024, 3, 31, 1, 30, tzinfo=UTC),
    timedelta(days=-3, seconds=1, microseconds=-1), uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    IPv4Interface("10.0.0.1/8"), IPv6Network("fe80::/10"), [1, None, 3], [["a", 'b"c,'], [None, ""]],
    [Decimal("1.5"), None], [b"\x00"], [datetime(2024, 1, 1, tzinfo=UTC)], Range(1, 5),
    Range(None, Decimal("2.5"), "(]"), Range(date(2024, 1, 1), None), Range(empty=True),
    Multirange([Range(1, 3), Range(5, 7)]),
]  # fmt: skip


@pytest.mark.parametrize("binary", [False, True])
def test_values_go_there_and_back_in_both_formats(every_gateway: Gateway, binary: bool) -> None:
    placeholder = "%b" if binary else "%t"
    asked = "select " + ", ".join([placeholder] * len(VALUES))

    def work(connection: psycopg.Connection[Any]) -> Any:
        connection.execute("set timezone to 'UTC'")
        cursor = connection.cursor(binary=binary)
        found = [cursor.execute(asked.encode(), VALUES).fetchone() for _ in range(7)]  # prepared at the fifth
        document = {"a": [1, 2.5, None, "ü"]}
        return found, cursor.execute(f"select {placeholder}".encode(), [Jsonb(document)]).fetchone()

    through, around = both(every_gateway, work)
    assert repr(through) == repr(around)
    rows, document = through
    assert document == ({"a": [1, 2.5, None, "ü"]},)
    for row in rows:
        assert [repr(value) for value in row] == [repr(value) for value in rows[0]]
        # What goes as text without its type comes back as text.
        kept = [(sent, came) for sent, came in zip(VALUES, row, strict=True) if type(sent) is type(came)]
        assert len(kept) > 25
        assert [str(sent) for sent, _ in kept] == [str(came) for _, came in kept]


@pytest.mark.parametrize("binary", [False, True])
def test_psycopg_sees_no_difference(every_gateway: Gateway, binary: bool) -> None:
    def work(connection: psycopg.Connection[Any]) -> Any:
        cursor = connection.cursor(binary=binary)
        return [(cursor.execute(each).fetchall(), cursor.statusmessage) for each in QUERIES]

    through, around = both(every_gateway, work)
    assert through == around


def test_psycopg_errors_are_the_targets_own(every_gateway: Gateway) -> None:
    def work(connection: psycopg.Connection[Any]) -> Any:
        found = []
        for each in ("select 1/0", "select * from nowhere", "selec 1", "select 'x'::int"):
            try:
                connection.execute(each)
            except psycopg.Error as error:
                found.append((type(error), error.sqlstate, str(error)))
        return found

    through, around = both(every_gateway, work)
    assert through == around
    assert len(through) == 4


def test_a_pipeline_with_an_error_in_the_middle(every_gateway: Gateway) -> None:
    def work(connection: psycopg.Connection[Any]) -> Any:
        connection.execute("create temp table t (i int)")
        found: list[Any] = []
        # Which of its errors psycopg raises, and where, depends on when the answers arrive.
        with pytest.raises(psycopg.Error), connection.pipeline() as pipeline:
            connection.execute("insert into t values (1)")
            pipeline.sync()
            connection.execute("insert into t values (2)")
            connection.execute("select 1/0")
            connection.execute("insert into t values (3)")
            pipeline.sync()
        found.append(connection.execute("select i from t order by i").fetchall())
        return found

    through, around = both(every_gateway, work)
    assert through == around


def test_copy_both_ways(every_gateway: Gateway) -> None:
    rows = [(number, "x" * (number % 50)) for number in range(20_000)]

    def work(connection: psycopg.Connection[Any]) -> Any:
        connection.execute("create temp table t (i int, s text)")
        with connection.cursor() as cursor:
            with cursor.copy("copy t from stdin") as copy:
                for row in rows:
                    copy.write_row(row)
            with cursor.copy("copy t to stdout") as copy:
                return sum(len(bytes(chunk)) for chunk in copy), cursor.rowcount

    through, around = both(every_gateway, work)
    assert through == around


def test_server_side_cursors_notices_and_notifications(every_gateway: Gateway) -> None:
    def work(connection: psycopg.Connection[Any]) -> Any:
        notices: list[str] = []
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        connection.execute("do $$ begin raise notice 'hello'; end $$")
        connection.execute("listen here")
        connection.execute("notify here, 'payload'")
        heard = [each.payload for each in connection.notifies(timeout=2, stop_after=1)]
        with connection.transaction(), connection.cursor("named") as cursor:
            cursor.itersize = 100
            cursor.execute("select generate_series(1, 1000)")
            total = sum(row[0] for row in cursor)
        return notices, heard, total

    through, around = both(every_gateway, work)
    assert through == around == (["hello"], ["payload"], 500500)


RUNNING = "select 1 from pg_stat_activity where query like '%{}%' and pid <> pg_backend_pid() and state = 'active'"


@contextmanager
def while_running(gateway: Gateway, mark: str, act: Callable[[], object]) -> Iterator[None]:
    """``act`` is done once the target runs a statement with ``mark`` in it."""
    look = RUNNING.format(mark)
    failed: list[Exception] = []

    def wait() -> None:
        try:
            for _ in range(2000):
                if gateway.cluster.execute(look):
                    act()
                    return
        except Exception as error:
            failed.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    try:
        yield
    finally:
        waiting.join()
    assert not failed


def cancelled(gateway: Gateway, connection: psycopg.Connection[Any], act: Callable[[], object]) -> None:
    """What runs is cancelled by ``act``, and the session goes on."""
    mark = f"cancelled {connection.info.backend_pid}"
    with while_running(gateway, mark, act), pytest.raises(psycopg.errors.QueryCanceled):
        connection.execute(f"select pg_sleep(30) /* {mark} */".encode())
    assert connection.execute("select 1").fetchone() == (1,)


@pytest.mark.parametrize("how", ["cancel", "cancel_safe"])
def test_both_ways_to_cancel(every_gateway: Gateway, how: str) -> None:
    """The old one sends its key in plaintext whatever the session has; libpq 17's as the session was encrypted."""
    with psycopg.connect(every_gateway.dsn("postgres"), autocommit=True) as connection:
        cancelled(every_gateway, connection, getattr(connection, how))


@pytest.mark.parametrize(
    ("options", "protocol"),
    [
        ({"sslnegotiation": "direct"}, 30000),
        ({"max_protocol_version": "3.2"}, 30002),
        ({"max_protocol_version": "latest", "sslnegotiation": "direct", "min_protocol_version": "3.2"}, 30002),
        ({"gssencmode": "prefer", "channel_binding": "disable"}, 30000),
        ({"gssencmode": "disable", "require_auth": "password"}, 30000),
    ],
)
def test_options_of_the_newest_libpq(every_gateway: Gateway, options: dict[str, str], protocol: int) -> None:
    """Whatever the target speaks: in 3.2 the client has a key of 32 bytes, and cancels with it."""
    with psycopg.connect(every_gateway.dsn("postgres", **options), autocommit=True) as connection:
        assert connection.info.full_protocol_version == protocol
        assert connection.pgconn.ssl_in_use
        cancelled(every_gateway, connection, connection.cancel_safe)


@pytest.mark.parametrize(
    "options", [{"channel_binding": "require"}, {"gssencmode": "require"}, {"require_auth": "oauth"}]
)
def test_options_that_ask_for_what_is_not_there_fail_in_the_client(
    gateway15: Gateway, options: dict[str, str]
) -> None:
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(gateway15.dsn(**options))


def test_bind_values_are_recorded_decoded(gateway15: Gateway) -> None:
    grant = gateway15.grant("postgres")
    token = gateway15.token(grant=grant)
    with psycopg.connect(gateway15.dsn("postgres", token=token), autocommit=True) as connection:
        for _ in range(7):  # psycopg prepares at the fifth
            connection.execute("select %s::int + %s::int, %s::text", (40, 2, "naïve"))
        connection.execute("select %s::int4", (5,), binary=True)
    session = gateway15.ended(grant)
    found = gateway15.statements(session["id"])
    assert len(found) == 8
    assert {each["text"] for each in found[:7]} == {"select $1::int + $2::int, $3::text"}
    assert all([str(value) for value in each["parameters"]] == ["40", "2", "naïve"] for each in found[:7])
    assert found[0]["protocol"] == "extended"
    assert all(each["outcome"] == "done" for each in found)
