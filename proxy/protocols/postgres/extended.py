"""The extended query protocol as the client speaks it: Parse, Bind, Describe, Execute, Close. Pure; called by
``frontend`` with whole message bodies.

Source: PostgreSQL manual, chapter "Frontend/Backend Protocol", section "Extended Query", and "Message Formats".
Errors: ``PeerError`` (protocol) for a body that is not what its type says.
"""

import struct
from collections.abc import Collection

from proxy.core.errors import PeerError
from proxy.core.records import Note, Parameter, StatementStarted, Via
from proxy.core.steps import Observe, Step
from proxy.protocols.postgres.binding import Bind, Known, hidden, read_names, read_values
from proxy.protocols.postgres.entries import BIND, CLOSE, DESCRIBE, EXECUTE, PARSE, Statement
from proxy.protocols.postgres.keeping import of_values
from proxy.protocols.postgres.names import BACK_MOST, Portal, certain
from proxy.protocols.postgres.naming import changes_of, drop, drop_portal, prepare, resolve
from proxy.protocols.postgres.pending import Pending
from proxy.protocols.postgres.verbs import tags_of

_COUNT = struct.Struct("!H")


class Extended:
    """``keeps_text``: texts of prepared statements are needed again, for decisions."""

    def __init__(self, pending: Pending, keeps_text: bool) -> None:
        self._pending = pending
        self._keeps_text = keeps_text

    def text_of(self, body: bytes) -> bytes:
        """The text of a Parse, as the client sent it."""
        return self._parsed(body)[1]

    def _parsed(self, body: bytes) -> tuple[bytes, bytes, tuple[int, ...]]:
        """Name, text as it was sent, and types of a Parse."""
        name, offset = self._name(body, 0)
        end = body.find(b"\0", offset)
        count = _COUNT.unpack_from(body, end + 1)[0] if 0 <= end <= len(body) - 3 else -1
        if count < 0 or len(body) != end + 3 + 4 * count:
            raise PeerError("invalid Parse message", code="protocol")
        return name, body[offset:end], struct.unpack_from(f"!{count}I", body, end + 3)

    def parse(self, body: bytes, steps: list[Step]) -> None:
        name, text, types = self._parsed(body)
        pending = self._pending
        prepared = prepare(pending, name, pending.texts.statement(text), types, steps, self._keeps_text)
        pending.expect((PARSE, (pending.statements, name, prepared)), steps)

    def types(self, statement: bytes) -> tuple[int, ...]:
        """The parameter types of a statement, as far as they are known."""
        prepared = resolve(self._pending, self._stored(statement))[0]
        return prepared.types if prepared is not None else ()

    def known(self, statement: bytes) -> Known:
        """The parameter types of a statement, as far as they are known, and which of their values are not kept."""
        prepared = resolve(self._pending, self._stored(statement))[0]
        return (prepared.types, prepared.secrets) if prepared is not None else ((), ())

    def bind_message(self, data: bytes, start: int, stop: int, steps: list[Step]) -> None:
        """A whole Bind, whose body is ``data[start:stop]``."""
        name, statement, position = read_names(data, start, stop)
        values = read_values(data, position, stop, self._pending.limits, self.types(statement))
        self.bind(Bind(name, statement, values.parameters, values.formats), steps)

    def bind(self, bind: Bind, steps: list[Step]) -> None:
        pending = self._pending
        portal = Portal(pending.group, self._stored(bind.portal))
        portal.statement_name = self._stored(bind.statement)
        prepared, portal.perhaps = resolve(pending, portal.statement_name)
        portal.prepared = prepared
        portal.formats = bind.formats
        portal.parameters = bind.parameters
        if prepared is not None:
            if prepared.secrets and prepared.secrets is not bind.masked:
                portal.parameters = masked(bind.parameters, prepared.secrets)
            if portal.name and not prepared.tags:
                prepared.tags = tags_of(prepared.text)
        elif portal.perhaps:
            portal.text = unsure(portal.perhaps)
        if len(pending.portals) >= pending.limits.max_names:
            raise PeerError("too many portals", code="limit")
        portal.share = pending.kept.share(of_values(portal.parameters, portal.formats))
        pending.portals.put(portal.name, portal)
        pending.expect((BIND, (pending.portals, portal.name, portal)), steps)

    def describe(self, body: bytes, steps: list[Step]) -> None:
        pending = self._pending
        kind, name = self._named(body, "Describe")
        if kind == 83:  # S
            pending.expect((DESCRIBE, resolve(pending, name)[0]), steps)
        else:
            pending.expect((DESCRIBE, pending.portals.get(name)), steps)

    def close(self, body: bytes, steps: list[Step]) -> None:
        kind, name = self._named(body, "Close")
        self._pending.expect((CLOSE, (drop if kind == 83 else drop_portal)(self._pending, name)), steps)

    # -- names ---------------------------------------------------------------------------------------------------

    def _stored(self, name: bytes) -> bytes:
        return self._pending.texts.encoding.name(name)

    def _name(self, body: bytes, start: int) -> tuple[bytes, int]:
        """The name at ``start``, and the offset behind it."""
        end = body.find(b"\0", start)
        if end < 0:
            raise PeerError("a name in a message does not end", code="protocol")
        return self._stored(body[start:end]), end + 1

    def _named(self, body: bytes, what: str) -> tuple[int, bytes]:
        """The kind (S or P) and name of a Describe or Close."""
        if not body or body[0] not in b"SP":
            raise PeerError(f"invalid {what} message", code="protocol")
        name, offset = self._name(body, 1)
        if offset != len(body):
            raise PeerError(f"invalid {what} message", code="protocol")
        return body[0], name

    # -- running -------------------------------------------------------------------------------------------------

    def portal(self, body: bytes) -> Portal:
        """The portal an Execute runs, known or not."""
        name, offset = self._name(body, 0)
        if len(body) != offset + 4:
            raise PeerError("invalid Execute message", code="protocol")
        portal = self._pending.portals.get(name)
        if portal is None or portal.gone:
            return Portal(self._pending.group, name)
        if certain(portal, self._pending.group) or portal.previous is None:
            return portal
        either = Portal(portal.group, name)
        either.perhaps = _refs(portal)
        either.text = unsure(either.perhaps)
        return either

    def text(self, portal: Portal) -> bytes:
        """What a decision about running this portal is made on; only where texts are kept."""
        return portal.prepared.text if portal.prepared is not None else portal.text

    def start(self, portal: Portal, steps: list[Step]) -> Statement:
        """Record the run of ``portal``; the statement is not expected to be answered yet."""
        pending = self._pending
        statement = pending.opened(portal)
        prepared = portal.prepared
        if prepared is None:
            record = StatementStarted(
                statement.seq,
                Via.EXTENDED,
                pending.status,
                0,
                portal.text,
                0,
                "",
                portal.statement_name,
                portal.name,
                portal.parameters,
            )
        else:
            if prepared.effect[0]:
                statement.changes = changes_of(pending, prepared.effect, b"", steps, prepared)
            record = StatementStarted(
                statement.seq,
                Via.COPY if prepared.copies else Via.EXTENDED,
                pending.status,
                prepared.ref,
                b"",
                prepared.length,
                prepared.digest,
                portal.statement_name,
                portal.name,
                portal.parameters,
            )
        steps.append(Observe(record))
        if portal.perhaps:
            refs = " ".join(map(str, portal.perhaps))
            steps.append(Observe(Note("perhaps", (("statement", statement.seq), ("prepared", refs)))))
        return statement

    def execute(self, portal: Portal, steps: list[Step]) -> None:
        self._pending.expect((EXECUTE, self.start(portal, steps)), steps)


def masked(parameters: tuple[Parameter, ...], secrets: Collection[int]) -> tuple[Parameter, ...]:
    """``parameters`` without the values whose numbers are in ``secrets``."""
    return tuple(hidden(value) if number in secrets else value for number, value in enumerate(parameters, 1))


def unsure(refs: tuple[int, ...]) -> bytes:
    """The text of what ran, where it is only known that it was one of these."""
    which = b" or ".join(b"prepared statement %d" % ref if ref else b"one prepared elsewhere" for ref in refs)
    return b"/* not known: %s, sent before it was known which */" % which


def _refs(portal: Portal) -> tuple[int, ...]:
    """Of all that a portal's name may stand for; 0 for what is not known."""
    refs: list[int] = []
    back: object = portal
    for _ in range(BACK_MOST):
        if not isinstance(back, Portal) or len(refs) >= 10:
            return tuple(refs)
        if not back.withdrawn and not back.gone:
            refs += (back.prepared.ref,) if back.prepared is not None else back.perhaps or (0,)
        back = None if back.settled else back.previous
    return (*refs, 0)
