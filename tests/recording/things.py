"""Records to record, and the recordings of a test's own folder."""

from pathlib import Path

from hypothesis import strategies as st

from proxy.core.records import (
    Content,
    Note,
    Passed,
    Record,
    Resized,
    ResultRows,
    StatementAnswered,
    StatementFinished,
    StatementPrepared,
    StatementStarted,
)
from proxy.recording.reader import Recording

SMALL = st.integers(0, 255)
INT = st.integers(0, 2**31 - 1)
UNSIGNED = st.integers(0, 2**32 - 1)
SHORT = st.binary(max_size=60)
DIGEST = st.sampled_from(["", "ab" * 32])
NULL = st.tuples(UNSIGNED, st.integers(0, 1), st.none(), INT, st.just(""))
VALUE = st.tuples(UNSIGNED, st.integers(0, 1), SHORT, INT, DIGEST)
PARAMETERS = (st.lists(NULL | VALUE, max_size=4) | st.lists(NULL | VALUE, min_size=16, max_size=20)).map(tuple)
VALUES = st.none() | INT | st.floats(allow_nan=False) | st.text(max_size=9)
RECORDS: st.SearchStrategy[Record] = st.one_of(
    st.builds(StatementPrepared, UNSIGNED, SHORT, SHORT, st.lists(UNSIGNED, max_size=5).map(tuple)),
    st.builds(
        StatementStarted, UNSIGNED, SMALL, SMALL, UNSIGNED, SHORT, UNSIGNED, DIGEST, SHORT, SHORT, PARAMETERS
    ),
    st.builds(
        StatementStarted,
        UNSIGNED,
        SMALL,
        SMALL,
        st.integers(0, 1),
        st.just(b"") | SHORT,
        st.just(0),
        st.just(""),
        st.just(b"") | st.binary(max_size=300),
        st.just(b""),
        st.just(()) | PARAMETERS,
    ),
    st.builds(
        StatementFinished,
        UNSIGNED,
        st.just(0) | SMALL,
        SHORT,
        st.integers(-1, 2**62),
        st.integers(0, 2**63),
        st.just(b"") | SHORT,
        st.just(b"") | SHORT,
        SMALL,
    ),
    st.builds(StatementAnswered, UNSIGNED),
    st.builds(ResultRows, UNSIGNED, SHORT, st.lists(SHORT, max_size=4).map(tuple)),
    st.builds(Passed, UNSIGNED, st.integers(0, 2), SHORT),
    st.builds(Resized, UNSIGNED, UNSIGNED, UNSIGNED),
    st.builds(Content, UNSIGNED, st.integers(0, 2), st.integers(0, 2**63), st.integers(0, 2**63), DIGEST),
    st.builds(Note, st.text(max_size=9), st.lists(st.tuples(st.text(max_size=9), VALUES)).map(tuple)),
)


def statement(seq: int, text: bytes = b"select 1") -> StatementStarted:
    return StatementStarted(seq, 0, 73, 0, text, 0, "", b"", b"", ())


def records(root: Path, key: str) -> list[Record]:
    return [each.record for each in Recording(root, key).records()]


def windows(root: Path) -> list[Path]:
    return sorted(root.glob("live/*/*.j*"))
