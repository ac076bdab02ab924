"""What a recording is made of: the records a session writes, protocol by protocol, but in one vocabulary.

The kernel stamps each with the monotonic and wall clock as it is written; a record itself knows no time. Texts are
UTF-8 bytes *after* redaction: a secret never gets this far. Tuples, because they are made on the session path.
"""

from typing import NamedTuple

from proxy.core.words import StoredCode

Parameter = tuple[int, int, bytes | None, int, str]
"""One bind value: type oid (0 unknown), format (0 text, 1 binary), the value or its prefix (None for NULL), the
full length in bytes, and the hex SHA-256 of the whole value when only a prefix was kept (else "")."""


class Via(StoredCode):
    """How a statement reached the target; what a statement is, where the target speaks no SQL.

    EXEC: a command line; SHELL: an interactive shell (its text is ""); SFTP and SCP: one operation, as ``put
    /path``; TUNNEL: a connection through the target or to it, as ``host:port``.
    """

    SIMPLE = 0
    EXTENDED = 1
    COPY = 2
    FASTPATH = 3
    EXEC = 4
    SHELL = 5
    SFTP = 6
    SCP = 7
    TUNNEL = 8


class Flow(StoredCode):
    """Which of a statement's byte streams: INPUT goes to the target, OUTPUT and ERRORS (stderr) come from it."""

    INPUT = 0
    OUTPUT = 1
    ERRORS = 2


class Outcome(StoredCode):
    """How a statement ended. UNKNOWN: the line broke before the server said; SKIPPED: never ran, since an earlier
    one in the same message or pipeline failed."""

    DONE = 0
    FAILED = 1
    DENIED = 2
    CANCELLED = 3
    CUT = 4
    UNKNOWN = 5
    SKIPPED = 6


class StatementPrepared(NamedTuple):
    """A text that later statements name by ``ref`` instead of repeating it. ``types`` are parameter type oids."""

    ref: int
    name: bytes
    text: bytes
    types: tuple[int, ...]


class StatementStarted(NamedTuple):
    """Written before the bytes leave. Either ``text`` or ``ref`` (0: none) says what runs.

    ``seq`` counts statements of the session from 1; ``transaction`` is I, T or E as an ASCII code, the state known
    when it was sent, 0 where the protocol has none; ``text_length`` is the full length when ``text`` is a prefix,
    else 0.
    """

    seq: int
    via: int
    transaction: int
    ref: int
    text: bytes
    text_length: int
    text_digest: str
    statement_name: bytes
    portal: bytes
    parameters: tuple[Parameter, ...]


class StatementAnswered(NamedTuple):
    """The server has completed this statement, but its transaction may still undo it: ``StatementFinished`` follows
    when that is known."""

    seq: int


class StatementFinished(NamedTuple):
    """Joins ``StatementStarted`` of the same ``seq``. ``rows`` is -1 where the tag has no count; ``data_bytes`` are
    the bytes of rows or copy data; ``error`` is the server's primary message, or says whose error undid this
    statement. ``transaction`` is I, T or E: the state it left, as the target told when it was ready again; where
    other statements of the same string or pipeline follow, as far as it is known from command tags."""

    seq: int
    outcome: int
    tag: bytes
    rows: int
    data_bytes: int
    sqlstate: bytes
    error: bytes
    transaction: int


class ResultRows(NamedTuple):
    """The first rows of a result, where the grant says so: the raw RowDescription body (or b"") and the raw
    DataRow bodies kept."""

    seq: int
    description: bytes
    rows: tuple[bytes, ...]


class Passed(NamedTuple):
    """Bytes of a statement that are kept as they were: what a terminal showed and, where the grant says so, what
    was typed, or what went through a tunnel or a command's pipes."""

    seq: int
    flow: int
    data: bytes


class Resized(NamedTuple):
    """The terminal of statement ``seq`` has this many character cells from now on; the first one says that it has a
    terminal at all."""

    seq: int
    columns: int
    rows: int


class Content(NamedTuple):
    """A run of bytes of statement ``seq`` that passed: ``offset`` is where it began (in the file, for a transfer
    that did not begin at its start), ``size`` its length, ``digest`` its hex SHA-256. Written when the run is over,
    before ``StatementFinished``."""

    seq: int
    flow: int
    offset: int
    size: int
    digest: str


class Note(NamedTuple):
    """Something worth keeping that is not a statement: ``kind`` is a word (``startup``, ``parameter``,
    ``notice``, ``cancel``, ``denied``, ``warning``, ``farewell``, ``perhaps``, ``mismatch``, ``rolled
    back``, ``command_observed``, ``signal``, and ``newer`` for a record that a later version wrote); ``data`` are
    JSON-able pairs, of which ``statement`` is a ``seq``."""

    kind: str
    data: tuple[tuple[str, str | int | float | None], ...]


Record = (
    StatementPrepared
    | StatementStarted
    | StatementAnswered
    | StatementFinished
    | ResultRows
    | Passed
    | Resized
    | Content
    | Note
)
