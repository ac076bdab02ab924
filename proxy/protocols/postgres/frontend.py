"""The client's side of a conversation: what it asks for is recorded, then passed on. Pure; called by ``inspector``.

Source: PostgreSQL manual, "Message Formats" and "Message Flow". A message is held until it is whole, but for copy
data and long Binds, which pass as they come, and a Query or Parse that is too long, which is dropped as it comes,
and refused. The records of a few messages stand before their bytes, which pass together. What a chunk comes to is
made message by message, so that others may have their turn in between. While too much is unanswered no more is
sent. A statement is recorded where it runs: at the Query, or at each Execute, with the values of its Bind.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from proxy.core.access import Decision
from proxy.core.access import Outcome as Verdict
from proxy.core.actions import Statement as Running
from proxy.core.errors import PeerError
from proxy.core.states import EndReason
from proxy.core.steps import STEP, TURN, Ask, Close, Pause, Reply, Step, Tell, Think, Wait
from proxy.protocols.postgres import messages
from proxy.protocols.postgres.backend import Backend, forward
from proxy.protocols.postgres.binding import BindReader
from proxy.protocols.postgres.encoding import Refused
from proxy.protocols.postgres.express import Express
from proxy.protocols.postgres.extended import Extended
from proxy.protocols.postgres.large_objects import Calls
from proxy.protocols.postgres.pending import Pending
from proxy.protocols.postgres.refusing import Excess, Refusing
from proxy.protocols.postgres.search import search
from proxy.protocols.postgres.simple import Simple

_HEADER = struct.Struct("!BI")
HEADER = 5
SMALL = 10_000
"""PQ_SMALL_MESSAGE_LIMIT: the server takes no longer ones of these types."""
_QUERY, _PARSE, _BIND, _EXECUTE, _SYNC, _DATA, _CALL, _TERMINATE = 81, 80, 66, 69, 83, 100, 70, 88
_PLAIN, _PLAIN_MOST = b"BEDCSHcf", 512
"""What is little work, and raises no objection, where it is so short."""
_COPYING = b"dcf"
"""What the server may be waiting for while it answers nothing."""
TOGETHER = 24
"""So many messages are passed on at once, behind their records."""
BYTES_A_STEP = 512
"""Bytes of a message that take as long to read as a short one."""
LARGE = 256 * 1024
"""Bytes of a message from which on each time it is copied is a turn's work."""
VALUES_A_STEP = 32
"""The same, of bind values: each may have to be searched for secrets."""
_RUN_MESSAGES, _RUN_MOST = 1024, 256 * 1024
"""Copy data looked at in one turn: messages, and bytes."""


class Frontend:
    """Fed whatever the client sends. ``left``: bytes of the streamed message in flight; ``closed``: nothing passes
    any more."""

    def __init__(
        self, pending: Pending, backend: Backend, express: Express, extended: Extended, calls: Calls, asks: bool
    ) -> None:
        limits = pending.limits
        self.left = 0
        self.closed = False
        self.simple = Simple(pending)
        self.extended = extended
        self._calls = calls
        self._asks = asks
        self._pending = pending
        self._backend = backend
        self._refusing = Refusing(pending, self.simple, self.extended)
        self._express = express
        self._most: Mapping[int, int] = {
            **dict.fromkeys(b"QP", limits.max_message),
            _BIND: limits.max_bind,
            _DATA: messages.MAX_FRAME,
            _CALL: limits.max_message,  # held whole
            **dict.fromkeys(b"SHXCDEcf", SMALL),
        }
        express.busy = asks
        self._rest = bytearray()
        self._need = HEADER
        self._data = b""
        self._at = self._sent = 0
        self._going = True
        self._reader: BindReader | None = None
        self._excess: Excess | None = None
        self._questions: list[bytes] = []
        self._asked = -1
        self._work: Think | None = None

    @property
    def held(self) -> int:
        """Bytes of messages that have not been passed on."""
        return len(self._rest) + len(self._data)

    # -- chunks --------------------------------------------------------------------------------------------------

    def feed(self, chunk: bytes) -> Iterable[Step]:
        """What to do about the client's next bytes, made as it is asked for."""
        if self._pending.quick:
            self._pending.expand()
        if self.closed:
            return ()
        if self._asked >= 0 or self._work is not None:  # nothing should come while it is held; what does, waits
            self._rest += chunk
            return ()
        if not self._rest:
            return self._take(chunk, None)
        self._rest += chunk
        if len(self._rest) < self._need:
            return ()
        return self._take_rest(None)

    def _take_rest(self, verdict: Decision | None) -> Iterator[Step]:
        """Go on with what has waited."""
        data = bytes(self._rest)
        self._rest.clear()
        if len(data) > LARGE:
            yield TURN
        yield from self._take(data, verdict)

    def _take(self, data: bytes, verdict: Decision | None) -> Iterator[Step]:
        """Over the messages in ``data``; ``verdict`` is about the first."""
        self._data, self._at, self._sent, self._need = data, 0, 0, HEADER
        seen = 0
        try:
            if self.left or self._excess:
                yield from self._go_on()
            self._going = not self.left and self._excess is None
            while self._going and self._at + HEADER <= len(data):
                yield from self._next(verdict)
                verdict = None
                seen += 1
                if not seen % TOGETHER:
                    yield from self._passed()
        except PeerError as error:
            yield from self._passed()
            yield from self._break_off(error)
        if self.closed:
            return
        yield from self._passed()
        if self._at < len(data):
            if len(data) > LARGE:
                yield TURN
            self._rest += data[self._at :]
        self._data = b""
        if self._work is not None:
            yield self._work
        elif self._questions:
            yield self._next_question()
        self._express.busy = self._asks or bool(self.left or self._rest or self._excess)

    def _passed(self) -> Iterable[Step]:
        """Pass on the messages up to here: they are recorded."""
        steps: list[Step] = []
        forward(self._data, self._sent, self._at, steps)
        self._sent = self._at
        return steps

    def _next(self, verdict: Decision | None) -> Iterable[Step]:
        """Take the message at hand; where that may be much work, made as it is asked for. ``_going`` is False then
        where the rest has to wait."""
        begin = self._at
        kind, length = _HEADER.unpack_from(self._data, begin)
        stop = begin + 1 + length
        if (
            kind in _PLAIN
            and 4 <= length <= _PLAIN_MOST
            and stop <= len(self._data)
            and not (self._asks or self._pending.backlog.full())
        ):
            steps: list[Step] = []
            self._recorded(kind, self._data[begin + HEADER : stop], steps)
            self._at = stop
            steps.append(STEP if kind != _BIND or length <= VALUES_A_STEP else Pause(length // VALUES_A_STEP))
            return steps
        return self._any(kind, length, verdict)

    def _any(self, kind: int, length: int, verdict: Decision | None) -> Iterator[Step]:
        """Take the message at hand, whatever it is."""
        begin = self._at
        if kind not in _COPYING and self._pending.backlog.full():
            yield from self._passed()
            yield from self._wait()
        if self._too_long(kind, length):
            yield from self._passed()
            self._excess = Excess(kind, length - 4)
            self._at = self._sent = begin + HEADER
            yield from self._go_on()
            self._going = self._excess is None
            return
        stop = begin + 1 + length
        if kind == _DATA:
            yield from self._copy(stop)
        elif kind == _BIND and length - 4 > self._pending.limits.hold_bind:
            yield from self._begin_bind(stop)
        elif stop <= len(self._data):
            yield from self._whole(kind, self._data[begin + HEADER : stop], verdict)
        else:
            self._need = 1 + length
            self._going = False

    def _wait(self) -> Iterator[Step]:
        """Send no more until enough is answered. The server keeps its answers to a pipeline to itself until it has
        many, or is asked for them: a Flush is not answered, and changes nothing else."""
        if self._pending.open_group:
            yield Tell(messages.FLUSH)
        yield Wait(self._pending.backlog.eased)

    def _too_long(self, kind: int, length: int) -> bool:
        """Whether a message is refused for its length alone. ``PeerError`` where it cannot be passed over."""
        most = self._most.get(kind)
        if most is None:
            raise PeerError(f"invalid frontend message type {kind}", code="protocol")
        if not 4 <= length < 1 << 31:  # a server takes it as a signed number
            raise PeerError("invalid message length", code="protocol")
        if length <= most + 4:
            return False
        if kind in (_QUERY, _PARSE) and length <= messages.MAX_FRAME:
            return True
        raise PeerError(
            f"a message of type {chr(kind)} and {length} bytes: the gateway takes {most} at most", code="limit"
        )

    # -- messages that are not held whole ------------------------------------------------------------------------

    def _go_on(self) -> Iterator[Step]:
        """Take what belongs to a message that was begun before."""
        taken = self._data[self._at : self._at + self.left]
        if taken:
            self.left -= len(taken)
            yield from self._read(taken)
            self._at += len(taken)
        excess = self._excess
        if excess is not None:
            self._at += excess.take(self._data[self._at : self._at + excess.left])
            self._sent = self._at
            if not excess.left:
                self._excess = None
                yield from self._refusing.refuse_long(excess)

    def _begin_bind(self, stop: int) -> Iterator[Step]:
        """The Bind at hand passes as it comes."""
        begin = self._at + HEADER
        taken = self._data[begin:stop]
        self.left = stop - begin - len(taken)
        self._reader = BindReader(self._pending.limits, stop - begin, self.extended.known)
        yield from self._read(taken)
        self._at = begin + len(taken)

    def _read(self, taken: bytes) -> Iterator[Step]:
        """Read on in the Bind that passes, where it is one; at its end it is bound."""
        reader = self._reader
        if reader is None:
            return
        reader.feed(taken)
        while reader.more():
            yield TURN
        if reader.bind is not None:
            self._reader = None
            steps: list[Step] = []
            self.extended.bind(reader.bind, steps)
            yield from steps

    def _copy(self, stop: int) -> Iterator[Step]:
        """Over a run of copy data, from the first, which ends at ``stop``; the last may pass as it comes. Counted
        where the server takes them; where it does not, it drops them itself."""
        data, first = self._data, self._at
        count, last = 1, min(len(data) - HEADER, first + _RUN_MOST)
        unpack = _HEADER.unpack_from
        while stop <= last and count < _RUN_MESSAGES:
            kind, length = unpack(data, stop)
            if kind != _DATA or not 4 <= length <= messages.MAX_FRAME or stop + 1 + length > len(data):
                break
            count += 1
            stop += 1 + length
        self._pending.copying.data(stop - first - HEADER * count)
        self.left = max(0, stop - len(data))
        self._at = stop - self.left
        yield TURN if count == _RUN_MESSAGES else STEP

    # -- whole messages ------------------------------------------------------------------------------------------

    def _whole(self, kind: int, body: bytes, verdict: Decision | None) -> Iterator[Step]:
        """Record, or refuse, what a whole message asks for."""
        steps: list[Step] = []
        stop = self._at + HEADER + len(body)
        large = len(body) > LARGE
        if large:
            yield TURN
        try:
            if verdict is None and (self._long(kind, body) or (self._asks and self._question(kind, body))):
                self._going = False
                return
            known = kind == _CALL and self._calls.allowed(body)
            why = self._refusing.why(kind, verdict, self._asked, known)
            if why is None and kind == _QUERY:
                text = _query_text(body)
                if large:
                    yield TURN
                yield from self.simple.query(text)
                if large:
                    yield TURN
            elif why is None and kind == _CALL:
                yield from self._calls.call(body)
            elif why is None:
                self._recorded(kind, body, steps)
        except Refused as error:
            why = self._refusing.too_much(error)
        self._asked = -1
        if why is not None:
            yield from self._passed()
            self._sent = stop
            self._refusing.refuse(kind, body, why, steps)
        self._at = stop
        yield from steps
        if len(body) > self._pending.texts.brief:
            self._pending.texts.forget()
        size = VALUES_A_STEP if kind == _BIND else BYTES_A_STEP
        work = len(body) // size + self._pending.texts.effort()
        yield Pause(1 + work) if work else STEP
        if kind == _TERMINATE:
            yield from self._passed()
            yield self._close(EndReason.CLIENT_CLOSED, "")

    def _recorded(self, kind: int, body: bytes, steps: list[Step]) -> None:
        """Record and expect what one whole message asks for."""
        pending = self._pending
        if kind == _BIND:
            self.extended.bind_message(body, 0, len(body), steps)
        elif kind == _EXECUTE:
            self.extended.execute(self.extended.portal(body), steps)
        elif kind == _SYNC:
            _empty(body)
            pending.synced()
        elif kind == _PARSE:
            self.extended.parse(body, steps)
        elif kind == 68:  # D
            self.extended.describe(body, steps)
        elif kind == 67:  # C
            self.extended.close(body, steps)
        elif kind in b"cf":
            pending.copying.ended(kind == 102)
        else:  # H, X
            _empty(body)

    # -- decisions -----------------------------------------------------------------------------------------------

    def _long(self, kind: int, body: bytes) -> bool:
        """Whether this message has to be thought about first."""
        whole, known = kind == _QUERY, self._pending.texts
        if not (whole or kind == _PARSE) or len(body) <= known.brief:
            return False
        text = _query_text(body) if whole else self.extended.text_of(body)
        if known.heavy(text, whole):
            self._work = Think(partial(search, known.setting(), whole), text, known.learner(text))
        return self._work is not None

    def _question(self, kind: int, body: bytes) -> bool:
        """Whether this message has to be decided on first; then its statements are the questions."""
        if kind == _QUERY:
            shown = self._pending.texts.shown
            self._questions = [shown(text)[0] for text in self.simple.texts(_query_text(body))]
        elif kind == _EXECUTE:
            self._questions = [self.extended.text(self.extended.portal(body))]
        elif kind == _CALL and self._calls.allowed(body):
            self._questions = [self._calls.text(body)]
        return bool(self._questions)

    def _next_question(self) -> Ask:
        self._asked += 1
        return Ask(Running(self._questions[self._asked].decode("utf-8", "replace")))

    def resume(self, decision: Decision | None) -> Iterable[Step]:
        """The action of the last ``Ask`` is decided, or the last ``Think`` thought. A query string passes when each
        of its statements may."""
        if self.closed or (self._work is None if decision is None else self._asked < 0):
            return ()
        self._work = None
        if decision is not None and decision.outcome is Verdict.ALLOW and self._asked + 1 < len(self._questions):
            return (self._next_question(),)
        self._questions = []
        return self._take_rest(decision)

    # -- ends ----------------------------------------------------------------------------------------------------

    def _break_off(self, error: PeerError) -> Iterator[Step]:
        """The client broke the protocol: it is told so where something may be said."""
        if self._backend.boundary == 0:
            state = "54000" if error.code == "limit" else "08P01"
            yield Reply(messages.error_response("FATAL", state, error.public))
        yield self._close(EndReason.PROTOCOL_ERROR, f"the client: {error.public}")

    def _close(self, reason: EndReason, detail: str) -> Close:
        self.closed = self._express.busy = True
        self._going = False
        self.left = 0
        self._rest.clear()
        self._reader = self._excess = None
        return Close(reason, detail)


def _query_text(body: bytes) -> bytes:
    if body.find(b"\0") != len(body) - 1:
        raise PeerError("invalid Query message", code="protocol")
    return body[:-1]


def _empty(body: bytes) -> None:
    if body:
        raise PeerError("a message with a body that takes none", code="protocol")
