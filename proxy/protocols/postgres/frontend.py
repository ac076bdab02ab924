"""The client's side of a conversation: what it asks for is recorded, then passed on. Pure; called by ``inspector``.

Source: PostgreSQL manual, "Message Formats" and "Message Flow". A message is held until it is whole, but for copy
data and long Binds, which pass as they come. All records of a chunk stand before the bytes of that chunk. A
statement is recorded where it runs: at the Query, or at each Execute, with the values of its Bind.
"""

import struct
from collections.abc import Callable, Mapping

from proxy.core.access import Decision
from proxy.core.access import Outcome as Verdict
from proxy.core.actions import Statement as Running
from proxy.core.errors import PeerError
from proxy.core.states import EndReason
from proxy.core.steps import Ask, Close, Forward, Reply, Step, Think
from proxy.protocols.postgres import messages, texts
from proxy.protocols.postgres.backend import Backend, forward
from proxy.protocols.postgres.binding import BindReader
from proxy.protocols.postgres.express import Express
from proxy.protocols.postgres.extended import Extended
from proxy.protocols.postgres.pending import Pending
from proxy.protocols.postgres.refusing import Refusing, Why
from proxy.protocols.postgres.simple import Simple

_HEADER = struct.Struct("!BI")
HEADER = 5
SMALL = 10_000
"""PQ_SMALL_MESSAGE_LIMIT: the server takes no longer ones of these types."""
_QUERY, _PARSE, _BIND, _EXECUTE, _SYNC, _DATA, _CALL = 81, 80, 66, 69, 83, 100, 70


class Frontend:
    """Fed whatever the client sends. ``left``: bytes of the streamed message in flight; ``closed``: nothing passes
    any more."""

    def __init__(
        self, pending: Pending, backend: Backend, express: Express, extended: Extended, asks: bool
    ) -> None:
        limits = pending.limits
        self.left = 0
        self.closed = False
        self.simple = Simple(pending)
        self.extended = extended
        self._asks = asks
        self._pending = pending
        self._backend = backend
        self._refusing = Refusing(pending, self.simple, self.extended)
        self._express = express
        self._most: Mapping[int, int] = {
            **dict.fromkeys(b"QP", limits.max_message),
            _BIND: limits.max_bind,
            _DATA: messages.MAX_FRAME,
            _CALL: limits.max_message,  # held whole, and refused
            **dict.fromkeys(b"SHXCDEcf", SMALL),
        }
        express.busy = asks
        self._rest = bytearray()
        self._need = HEADER
        self._reader: BindReader | None = None
        self._questions: list[bytes] = []
        self._asked = -1
        self._work: Callable[[], None] | None = None

    # -- chunks --------------------------------------------------------------------------------------------------

    def feed(self, chunk: bytes) -> list[Step]:
        """What to do about the client's next bytes."""
        if self._pending.quick:
            self._pending.expand()
        if self.closed:
            return []
        steps: list[Step] = []
        if self._asked >= 0 or self._work is not None:  # nothing should come while it is held; what does, waits
            self._rest += chunk
            return steps
        if self.left:
            chunk = self._stream(chunk, steps)
        if self._rest:
            self._rest += chunk
            if len(self._rest) < self._need:
                return steps
            chunk = bytes(self._rest)
            self._rest.clear()
        self._take(chunk, steps, None)
        return steps

    def _stream(self, chunk: bytes, steps: list[Step]) -> bytes:
        """Pass on what belongs to the streamed message; the rest of ``chunk``."""
        taken = chunk[: self.left]
        self.left -= len(taken)
        self._express.busy = bool(self.left) or self._asks
        if self._reader is not None:
            try:
                self._reader.feed(taken)
                self._bound()
            except PeerError as error:
                self._break_off(error, steps)
                return b""
        steps.append(Forward(taken))
        return chunk[len(taken) :]

    def _bound(self) -> None:
        if not self.left and self._reader is not None and self._reader.bind is not None:
            self.extended.bind(self._reader.bind)
            self._reader = None

    def _take(self, data: bytes, steps: list[Step], verdict: Decision | None) -> None:
        """Over the messages in ``data``; ``verdict`` is about the first."""
        position = sent = 0
        end = len(data)
        self._need = HEADER
        try:
            while position + HEADER <= end:
                kind, length = _HEADER.unpack_from(data, position)
                self._check(kind, length)
                stop = position + 1 + length
                if stop > end and not self._begin_stream(kind, data, position, stop):
                    self._need = 1 + length
                    break
                if kind == _DATA:
                    stop = self._copy(data, position, stop)
                elif stop <= end:
                    body = data[position + HEADER : stop]
                    judged = self._judged(kind, body, verdict, steps)
                    if judged is None:
                        break
                    why, last = judged
                    verdict, self._asked = None, -1
                    if why is not None:
                        forward(data, sent, position, steps)
                        sent = stop
                        self._refusing.refuse(kind, body, why, steps)
                    elif last:
                        forward(data, sent, stop, steps)
                        self._close(EndReason.CLIENT_CLOSED, "", steps)
                        return
                position = stop
        except PeerError as error:
            forward(data, sent, position, steps)
            self._break_off(error, steps)
            return
        forward(data, sent, min(position, end), steps)
        if position < end:
            self._rest += data[position:]
        if self._work is not None:
            steps.append(Think(self._work))
        elif self._questions:
            steps.append(self._next_question())
        self._express.busy = self._asks or bool(self.left or self._rest)

    def _judged(
        self, kind: int, body: bytes, verdict: Decision | None, steps: list[Step]
    ) -> tuple[Why | None, bool] | None:
        """Why a whole message is refused, and whether it was the last; None where it has to wait. What is not
        refused is recorded and expected to be answered."""
        try:
            if verdict is None and (self._long(kind, body) or (self._asks and self._question(kind, body))):
                return None
            why = self._refusing.why(kind, verdict, self._asked)
            last = why is None and self._message(kind, body, steps)
        except texts.Refused as error:
            why, last = self._refusing.too_much(error), False
        if len(body) > self._pending.limits.think_text:
            self._pending.texts.forget()
        return why, last

    def _check(self, kind: int, length: int) -> None:
        most = self._most.get(kind)
        if most is None:
            raise PeerError(f"invalid frontend message type {kind}", code="protocol")
        if length < 4 or length - 4 > most:
            raise PeerError(
                f"a message of type {chr(kind)} and {length} bytes: the gateway takes {most} at most", code="limit"
            )

    def _begin_stream(self, kind: int, data: bytes, position: int, stop: int) -> bool:
        """Whether the message at ``position`` passes before it is whole."""
        length = stop - position - HEADER
        if kind != _DATA:
            if kind != _BIND or length <= self._pending.limits.hold_bind:
                return False
            self._reader = BindReader(self._pending.limits, length, self.extended.types)
            self._reader.feed(data[position + HEADER :])
        self.left = stop - len(data)
        return True

    def _copy(self, data: bytes, position: int, stop: int) -> int:
        """Over a run of copy data that lie whole in ``data``, from the first, which ends at ``stop``, to where it
        ends. Counted where the server takes them; where it does not, it drops them itself."""
        first, count, last, most = position, 1, len(data) - HEADER, len(data)
        unpack = _HEADER.unpack_from
        while stop <= last:
            kind, length = unpack(data, stop)
            if kind != _DATA or length < 4 or stop + 1 + length > most:
                break
            count += 1
            stop += 1 + length
        self._pending.copying.data(stop - first - HEADER * count)
        return stop

    def _message(self, kind: int, body: bytes, steps: list[Step]) -> bool:
        """Record and expect what one whole message asks for; True for the last one, Terminate."""
        pending = self._pending
        if kind == _BIND:
            self.extended.bind_message(body, 0, len(body))
        elif kind == _EXECUTE:
            self.extended.execute(self.extended.portal(body), steps)
        elif kind == _SYNC:
            _empty(body)
            pending.synced()
        elif kind == _QUERY:
            self.simple.query(_query_text(body), steps)
        elif kind == _PARSE:
            self.extended.parse(body, steps)
        elif kind == 68:  # D
            self.extended.describe(body)
        elif kind == 67:  # C
            self.extended.close(body)
        elif kind in b"cf":
            pending.copying.ended(kind == 102)
        else:  # H, X
            _empty(body)
            return kind == 88
        return False

    # -- decisions -----------------------------------------------------------------------------------------------

    def _long(self, kind: int, body: bytes) -> bool:
        """Whether this message has to be thought about first."""
        if kind not in (_QUERY, _PARSE) or len(body) <= self._pending.limits.think_text:
            return False
        text = _query_text(body) if kind == _QUERY else self.extended.text_of(body)
        self._work = self._pending.texts.search(text, kind == _QUERY)
        return self._work is not None

    def _question(self, kind: int, body: bytes) -> bool:
        """Whether this message has to be decided on first; then its statements are the questions."""
        if kind == _QUERY:
            shown = self._pending.texts.shown
            self._questions = [shown(text)[0] for text in self.simple.texts(_query_text(body))]
        elif kind == _EXECUTE:
            self._questions = [self.extended.text(self.extended.portal(body))]
        return bool(self._questions)

    def _next_question(self) -> Ask:
        self._asked += 1
        return Ask(Running(self._questions[self._asked].decode("utf-8", "replace")))

    def resume(self, decision: Decision | None) -> list[Step]:
        """The action of the last ``Ask`` is decided, or the last ``Think`` thought. A query string passes when each
        of its statements may."""
        if self.closed or (self._work is None if decision is None else self._asked < 0):
            return []
        self._work = None
        if decision is not None and decision.outcome is Verdict.ALLOW and self._asked + 1 < len(self._questions):
            return [self._next_question()]
        self._questions = []
        data = bytes(self._rest)
        self._rest.clear()
        steps: list[Step] = []
        self._take(data, steps, decision)
        return steps

    # -- ends ----------------------------------------------------------------------------------------------------

    def _break_off(self, error: PeerError, steps: list[Step]) -> None:
        """The client broke the protocol: it is told so where something may be said."""
        if self._backend.boundary == 0:
            state = "54000" if error.code == "limit" else "08P01"
            steps.append(Reply(messages.error_response("FATAL", state, error.public)))
        self._close(EndReason.PROTOCOL_ERROR, f"the client: {error.public}", steps)

    def _close(self, reason: EndReason, detail: str, steps: list[Step]) -> None:
        self.closed = self._express.busy = True
        self.left = 0
        self._rest.clear()
        self._reader = None
        steps.append(Close(reason, detail))


def _query_text(body: bytes) -> bytes:
    if body.find(b"\0") != len(body) - 1:
        raise PeerError("invalid Query message", code="protocol")
    return body[:-1]


def _empty(body: bytes) -> None:
    if body:
        raise PeerError("a message with a body that takes none", code="protocol")
