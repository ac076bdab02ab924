"""Messages that are not passed on: what goes to the target in their place, and what the client is told. Pure;
called by ``frontend``.

Dropping a message and passing on the Sync behind it would *commit* what came before it in the same pipeline. So
another takes its place that the server fails at the same point and in the same way: it rolls back, discards up to
the Sync where it would have, and says ReadyForQuery where it would have; ``backend`` puts our error in the place of
the server's. Source: PostgreSQL manual, "Pipelining"; "Function Call".
"""

from collections.abc import Mapping
from typing import NamedTuple

from proxy.core.access import Decision
from proxy.core.access import Outcome as Verdict
from proxy.core.errors import PeerError
from proxy.core.records import Note, Outcome, StatementFinished, Via
from proxy.core.steps import Observe, Step, Tell
from proxy.protocols.postgres import encoding, messages
from proxy.protocols.postgres.entries import REFUSED, Refused, Statement
from proxy.protocols.postgres.extended import Extended
from proxy.protocols.postgres.pending import Pending
from proxy.protocols.postgres.simple import Simple

STAND_IN = messages.parse(b"tidegate refused this", b"Tidegate refused this")
"""For a Parse or an Execute. No SQL begins so. Named, since a Parse of the unnamed statement would destroy the
client's."""
QUERY_STAND_IN = messages.query("Tidegate refused this")
CALL_STAND_IN = messages.frame(b"F", bytes(10))
"""A call of the function with oid 0, of which there is none, without arguments."""
INSUFFICIENT_PRIVILEGE = "42501"
FEATURE_NOT_SUPPORTED = "0A000"
PROGRAM_LIMIT_EXCEEDED = "54000"
_QUERY, _CALL = 81, 70
_STAND_INS: Mapping[int, bytes] = {_QUERY: QUERY_STAND_IN, _CALL: CALL_STAND_IN}


BEGINNING = 16 * 1024
"""Bytes that are kept of a message which is too long to be taken."""


class Excess:
    """A Query or Parse of ``size`` bytes, too long to be taken: ``left`` of them are to be dropped yet, ``begins``
    is how it begins."""

    __slots__ = ("begins", "kind", "left", "size")

    def __init__(self, kind: int, size: int) -> None:
        self.kind = kind
        self.size = self.left = size
        self.begins = b""

    def take(self, piece: bytes) -> int:
        """Drop ``piece``; its length."""
        self.left -= len(piece)
        if len(self.begins) < BEGINNING:
            self.begins += piece[: BEGINNING - len(self.begins)]
        return len(piece)


class Why(NamedTuple):
    """Why a message is not passed on. ``which``: which of its statements was refused."""

    sqlstate: str
    text: str
    hint: str
    which: int = 0


class Refusing:
    """What is refused in one conversation."""

    def __init__(self, pending: Pending, simple: Simple, extended: Extended) -> None:
        self._pending = pending
        self._simple = simple
        self._extended = extended

    def why(self, kind: int, verdict: Decision | None, index: int, known: bool = False) -> Why | None:
        """Why this message must not pass; None when it may. A FunctionCall runs a function by its oid, without a
        word that could be recorded or decided on, unless its function is ``known``."""
        if kind == _CALL and not known:
            return Why(
                FEATURE_NOT_SUPPORTED,
                "function calls by oid are not allowed through the gateway, but those of large objects",
                "call the function in a SELECT",
            )
        if verdict is None or verdict.outcome is Verdict.ALLOW:
            return None
        rule = f" (rule {verdict.rule})" if verdict.rule else ""
        text = f"this statement is not allowed{rule}"
        return Why(
            INSUFFICIENT_PRIVILEGE, f"{text}: {verdict.reason}" if verdict.reason else text, "", max(index, 0)
        )

    def too_much(self, error: encoding.Refused) -> Why:
        """Why a message must not pass whose text cannot be recorded as it would run."""
        return Why(PROGRAM_LIMIT_EXCEEDED, str(error), error.hint)

    def refuse_long(self, excess: Excess) -> list[Step]:
        """What is done about a message that was too long to be taken."""
        most = self._pending.limits.max_message
        why = Why(
            PROGRAM_LIMIT_EXCEEDED,
            f"a statement of {excess.size} bytes is not passed on: the gateway takes {most} at most",
            "send it in smaller pieces, its values as parameters, or with COPY",
        )
        steps: list[Step] = []
        self.refuse(excess.kind, excess.begins, why, steps, excess.size)
        return steps

    def refuse(self, kind: int, body: bytes, why: Why, steps: list[Step], size: int = 0) -> None:
        """Record what was refused, and put the stand-in where it was. ``size``: of the whole text, where ``body``
        is only its beginning."""
        pending = self._pending
        seq = 0
        for number, statement in enumerate(self._statements(kind, body, why, steps, size)):
            refused = number == why.which
            seq = statement.seq if refused else seq
            for names, name, thing in statement.changes:
                names.withdraw(name, thing)
            steps.append(Observe(_finished(statement, why if refused else None, pending.status)))
        steps.append(Observe(Note("denied", (("sqlstate", why.sqlstate), ("text", why.text)))))
        answer = messages.error_response("ERROR", why.sqlstate, why.text, hint=why.hint)
        whole = kind in _STAND_INS
        pending.expect((REFUSED, Refused(answer, whole, seq)), steps, whole)
        steps.append(Tell(_STAND_INS.get(kind, STAND_IN)))

    def _statements(self, kind: int, body: bytes, why: Why, steps: list[Step], size: int) -> list[Statement]:
        if why.sqlstate == PROGRAM_LIMIT_EXCEEDED:
            text = body.partition(b"\0")[0] if kind == _QUERY else body.partition(b"\0")[2].partition(b"\0")[0]
            via = Via.SIMPLE if kind == _QUERY else Via.EXTENDED
            return [self._simple.refused(self._pending.texts.encoding.utf8(text), steps, via, size)]
        if kind == _QUERY:
            return [self._simple.start(text, steps) for text in self._simple.texts(body[:-1])]
        if kind == _CALL:
            if len(body) < 4:
                raise PeerError("invalid FunctionCall message", code="protocol")
            text = b"function call of oid %d" % int.from_bytes(body[:4], "big")
            return [self._simple.refused(text, steps, Via.FASTPATH)]
        return [self._extended.start(self._extended.portal(body), steps)]


def _finished(statement: Statement, why: Why | None, status: int) -> StatementFinished:
    outcome = Outcome.SKIPPED if why is None else Outcome.DENIED
    state, text = (b"", b"") if why is None else (why.sqlstate.encode(), why.text.encode())
    return StatementFinished(statement.seq, outcome, b"", -1, 0, state, text, status)
