"""Function calls of large objects: which pass, what is recorded of them, and in which order. Real servers, real
clients: tests/e2e/test_large_objects.py."""

import hashlib
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.records import Content, Flow, Outcome, ResultRows, Via
from proxy.core.steps import TURN, Side
from proxy.protocols.postgres import messages as m
from proxy.protocols.postgres.large_objects import BYTEA, FUNCTIONS, INT4, MADE_WITH, OID, functions
from proxy.protocols.postgres.values import PostgresRows
from tests.protocols.postgres.ladder import (
    READY_FAILED,
    READY_IN_BLOCK,
    SYNC,
    Talk,
    bind,
    error,
    execute,
    frames,
    function_call,
    parse,
)

KNOWN = {952: FUNCTIONS[0], 954: FUNCTIONS[2], 955: FUNCTIONS[3], 957: FUNCTIONS[6]}
OPEN, READ, WRITE, CREATE = 952, 954, 955, 957


def talk() -> Talk:
    return Talk(functions=KNOWN)


def call(oid: int, *arguments: bytes | None, formats: tuple[int, ...] = (1,), result: int = 1) -> bytes:
    body = struct.pack(f"!IH{len(formats)}HH", oid, len(formats), *formats, len(arguments))
    for each in arguments:
        body += b"\xff\xff\xff\xff" if each is None else struct.pack("!i", len(each)) + each
    return m.frame(b"F", body + struct.pack("!H", result))


def int4(number: int) -> bytes:
    return struct.pack("!i", number)


def answer(value: bytes | None) -> bytes:
    return m.frame(b"V", b"\xff\xff\xff\xff" if value is None else struct.pack("!i", len(value)) + value)


def test_a_call_is_recorded_by_name_and_passed_as_it_is() -> None:
    asked = call(OPEN, struct.pack("!I", 3_000_000_000), int4(-7))
    said = talk().client(asked).target(answer(int4(0)), READY_IN_BLOCK)
    assert said.to_target == asked
    assert said.to_client == answer(int4(0)) + READY_IN_BLOCK
    (started,) = said.started
    assert (started.via, started.text) == (Via.FASTPATH, b"lo_open(3000000000, -7)")
    assert started.parameters == (
        (OID, 1, struct.pack("!I", 3_000_000_000), 4, ""),
        (INT4, 1, int4(-7), 4, ""),
    )
    assert said.finished[1].outcome == Outcome.DONE
    (rows,) = [each for each in said.records if isinstance(each, ResultRows)]
    assert PostgresRows().rows(rows.description, rows.rows) == [{"lo_open": 0}]


def test_what_is_written_is_counted_and_hashed_and_not_kept() -> None:
    content = b"secret" * 20_000
    said = talk().client(call(WRITE, int4(1), content)).target(answer(int4(len(content))), READY_IN_BLOCK)
    (started,) = said.started
    assert started.text == b"lowrite(1, 120000 bytes)"
    assert started.parameters[1] == (BYTEA, 1, b"", len(content), hashlib.sha256(content).hexdigest())
    assert b"secret" not in repr(said.records).encode()
    assert said.finished[1].data_bytes == len(content)


@given(st.binary(max_size=300), st.lists(st.integers(0, 320), max_size=6))
def test_what_is_read_is_counted_and_hashed_however_it_comes(content: bytes, cuts: list[int]) -> None:
    said = talk().client(call(READ, int4(1), int4(300)))
    stream, at = answer(content) + READY_IN_BLOCK, 0
    for cut in sorted(min(each, len(stream)) for each in cuts):
        said.target(stream[at:cut])
        at = max(at, cut)
    said.target(stream[at:])
    assert said.to_client == stream
    (read,) = [each for each in said.records if isinstance(each, Content)]
    assert read == Content(1, Flow.OUTPUT, 0, len(content), hashlib.sha256(content).hexdigest())
    assert said.finished[1].data_bytes == len(content)
    assert said.records.index(read) < said.records.index(said.finished[1])


@pytest.mark.parametrize(
    ("formats", "values"), [((), (b"17", b"-3")), ((0,), (b"17", b"-3")), ((1, 0), (int4(17), b"-3"))]
)
def test_numbers_as_text(formats: tuple[int, ...], values: tuple[bytes, bytes]) -> None:
    said = talk().client(call(READ, *values, formats=formats, result=0)).target(answer(b"\\x00"), READY_IN_BLOCK)
    assert said.started[0].text == b"loread(17, -3)"
    odd = talk().client(call(READ, b"1); drop", None, formats=(0,)))
    assert odd.started[0].text == b"loread(?, null)"


def test_a_call_that_fails() -> None:
    said = talk().client(call(READ, int4(9), int4(1))).target(error("42704", "invalid descriptor: 9"), READY_FAILED)
    assert (said.finished[1].outcome, said.finished[1].sqlstate) == (Outcome.FAILED, b"42704")


@pytest.mark.parametrize(
    "asked",
    [
        function_call(1598),
        call(953, int4(1)),  # of the target's, and not among those that are known
        call(READ, int4(1)),  # not as many arguments as it takes
        call(READ, int4(1), int4(1), int4(1)),
    ],
)
def test_all_others_are_refused_in_pipelines_too(asked: bytes) -> None:
    said = talk().client(parse("", "insert"), bind(), execute(), asked, SYNC)
    assert asked not in said.to_target
    assert [kind for kind, _ in frames(said.to_target)] == [b"P", b"B", b"E", b"F", b"S"]
    assert said.finished[2].outcome == Outcome.DENIED


def test_without_the_targets_word_none_is_known() -> None:
    assert Talk().client(call(OPEN, int4(1), int4(1))).finished[1].outcome == Outcome.DENIED


@pytest.mark.parametrize(
    "body",
    [
        b"",
        struct.pack("!I", OPEN),
        struct.pack("!IHH", OPEN, 0, 2),
        struct.pack("!IHHi", OPEN, 0, 2, 5),
        struct.pack("!IHHi", OPEN, 0, 2, -2),
        struct.pack("!IH", OPEN, 0xFFFF) + bytes(2 * 0xFFFF + 4),
        call(OPEN, int4(1), int4(1))[5:] + b"\0",
        call(OPEN, int4(1), int4(1))[5:-1],
    ],
)
def test_a_call_that_is_cut_short_or_too_long_never_passes(body: bytes) -> None:
    said = talk().client(m.frame(b"F", body))
    assert m.frame(b"F", body) not in said.to_target
    assert b"08P01" in said.to_client


def test_a_long_write_is_hashed_in_many_turns() -> None:
    """Nobody waits for sixteen megabytes of somebody else."""
    fed: Any = talk().inspector.feeder(Side.CLIENT)(call(WRITE, int4(1), bytes(1 << 20)))
    assert sum(step is TURN for step in fed) >= 64


def test_oids_are_taken_from_the_answer_alone_and_never_a_users() -> None:
    oids = [str(number) for number in range(900, 900 + len(FUNCTIONS))]
    row = "functions " + " ".join(oids)
    assert [functions([row])[900 + number] for number in range(len(FUNCTIONS))] == list(FUNCTIONS)
    for wrong in (
        [],
        [""],
        ["functions"],
        [row + " 1"],
        [row.removeprefix("functions ")],
        [row.replace(" 900", "")],
    ):
        assert functions(wrong) == {}
    for strange in ("0", "-1", str(MADE_WITH), "x", "²"):
        found = functions([row.replace(" 900 ", f" {strange} ")])
        assert FUNCTIONS[0] not in found.values() and len(found) == len(FUNCTIONS) - 1
