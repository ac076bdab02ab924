"""What names hold is bounded by what it takes in memory, not only by how many names there are."""

import gc
import tracemalloc

from proxy.core.states import EndReason
from proxy.protocols.postgres.keeping import KEPT_MOST
from proxy.protocols.postgres.limits import Limits
from proxy.protocols.postgres.messages import frame
from tests.protocols.postgres.ladder import (
    BOUND,
    CLOSED,
    PARSED,
    READY,
    READY_IN_BLOCK,
    SYNC,
    Talk,
    bind,
    close,
    complete,
    describe,
    execute,
    parse,
    query,
)  # fmt: skip

VALUES = [b"v" * 4096] * 60


def test_portals_end_the_session_before_they_fill_the_memory() -> None:
    """20,000 names with 256 KiB of values each were 5 GiB."""
    talk = Talk()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    number = 0
    while not talk.closed and number < 2000:
        talk.steps.clear()
        talk.client(bind(f"p{number}", "s", VALUES))
        number += 1
    kept = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert (
        talk.closed and talk.closed.reason is EndReason.PROTOCOL_ERROR and "too much is kept" in talk.closed.detail
    )
    assert KEPT_MOST / 2 < kept < KEPT_MOST * 1.2


def test_values_that_are_nothing_take_memory_too() -> None:
    talk = Talk()
    for _ in range(20):
        talk.client(bind("", "s", [None] * 60_000))  # while none is answered, each may be the portal
    assert talk.closed and "too much is kept" in talk.closed.detail


def test_types_and_texts_that_are_kept_count() -> None:
    talk = Talk()
    for number in range(60):
        talk.client(parse(f"s{number}", "select 1", *range(60_000)))
    assert talk.closed and "too much is kept" in talk.closed.detail
    talk = Talk(asks=True)
    for number in range(100):
        talk.client(parse(f"s{number}", "select " + "x" * 1_000_000))
        if talk.closed:
            break
        talk.steps.clear()
    assert talk.closed and "too much is kept" in talk.closed.detail


def test_what_is_gone_gives_back_what_it_held() -> None:
    talk = Talk()
    kept = talk.inspector._pending.kept
    for number in range(1000):  # closed, replaced, forgotten with its transaction, failed
        talk.client(bind("a", "s", VALUES), close("P", "a"), SYNC).target(BOUND, CLOSED, READY)
        talk.client(bind("", "s", VALUES), execute(), SYNC).target(BOUND, READY)
        talk.client(bind(f"p{number}", "s", VALUES), SYNC).target(BOUND, READY)
        talk.client(parse("s", "select 1", *range(100))).target(PARSED)
        talk.client(close("S", "s"), SYNC).target(CLOSED, READY)
        talk.steps.clear()
    assert talk.closed is None
    gc.collect()
    assert kept.size < 1024 * 1024
    talk.client(bind("a", "s", VALUES), SYNC).target(BOUND, READY_IN_BLOCK)
    assert kept.size > 200_000
    talk.client(query("commit")).target(complete("COMMIT"), READY)
    assert kept.size == 0


def test_descriptions_are_kept_where_rows_are_and_while_there_is_room() -> None:
    body = b"\0\1" + b"c" * 250_000 + b"\0" + bytes(18)
    for limits, most in ((Limits(), 0), (Limits(record_rows=5), KEPT_MOST)):
        talk = Talk(limits)
        pending = talk.inspector._pending
        for number in range(400):
            talk.client(parse(f"s{number}", "select 1"), describe("S", f"s{number}"), SYNC)
            talk.target(PARSED, frame(b"t", b"\0\0"), frame(b"T", body), READY)
            talk.steps.clear()
        held = sum(len(each.description) for each in pending.statements.things.values())
        assert talk.closed is None and held <= most and (held > KEPT_MOST * 0.9 if most else True)
