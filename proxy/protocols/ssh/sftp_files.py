"""What one SFTP channel has open and waits for. Pure values that change; written by ``sftp_requests`` and
``sftp_answers``, which are the two sides of ``sftp``.
"""

from collections.abc import Callable
from typing import NamedTuple

from proxy.core.records import Flow, Outcome, Record, Via
from proxy.protocols.ssh.content import Pieces, Room
from proxy.protocols.ssh.names import said
from proxy.protocols.ssh.sftp_packets import OK, status_word
from proxy.protocols.ssh.statements import finished

WAITING_MOST = 4096
OPEN_MOST = 1024
REPLIES_MOST = 512 * 1024


class OpenFile:
    """A file or folder from OPEN to CLOSE: one statement. ``waiting``: its READs, WRITEs and READDIRs that are not
    answered; ``closed``: the answer to CLOSE is there. ``main`` is the flow its verb is about, None for folders and
    for ``update``."""

    __slots__ = ("_room", "closed", "error", "flows", "main", "opened", "path", "seq", "size", "tag", "waiting")

    def __init__(self, seq: int, path: bytes, main: Flow | None, room: Room) -> None:
        self.seq = seq
        self.path = path
        self.main = main
        self.flows: dict[Flow, Pieces] = {}
        self.size = 0
        self.waiting = 0
        self.opened = False
        self.closed = False
        self.tag = b""
        self.error = b""
        self._room = room

    def flow(self, flow: Flow) -> Pieces:
        found = self.flows.get(flow)
        if found is None:
            found = self.flows[flow] = Pieces(self.seq, flow, self._room)
        return found

    def failed(self, code: int, message: bytes) -> None:
        """The target refused something: the first such word is the statement's."""
        if not self.tag:
            self.tag = status_word(code)
            self.error = said(message)

    def finish(self, outcome: Outcome) -> list[Record]:
        """The records that end it: what passed, then how it ended, which is ``outcome`` unless the target said."""
        records: list[Record] = []
        if self.opened and self.main is not None:
            self.flow(self.main)
        for flow in sorted(self.flows):
            records += self.flows[flow].finish()
        size = self.size + sum(pieces.size for pieces in self.flows.values())
        if self.tag and outcome is Outcome.DONE:
            outcome = Outcome.FAILED
        tag = self.tag or (status_word(OK) if outcome is Outcome.DONE else b"")
        records.append(finished(self.seq, outcome, tag, self.error, size))
        return records


class Asking(NamedTuple):
    """A request on its way: of which type, statement ``seq`` of its own (0: none), the file it is about, and for
    READ where and how much."""

    kind: int
    seq: int = 0
    file: OpenFile | None = None
    offset: int = 0
    size: int = 0


class Table:
    """Shared by both sides. ``begun``: INIT went out; ``agreed``: version 3 was agreed; ``inside``: the target's
    packet in flight has gone to the client in part, so that nothing else may be said to it; ``replies`` wait for
    its end."""

    def __init__(self, next_seq: Callable[[], int]) -> None:
        self.next_seq = next_seq
        self.via = Via.SFTP
        self.room = Room()
        self.begun = False
        self.agreed = False
        self.inside = False
        self.waiting: dict[int, Asking] = {}
        self.handles: dict[bytes, OpenFile] = {}
        self.opening = 0
        self.replies = bytearray()

    def finish(self, outcome: Outcome) -> list[Record]:
        """Ends all that is open, in the order it began."""
        files = {file.seq: file for file in self.handles.values()}
        single: set[int] = set()
        for each in self.waiting.values():
            if each.file is not None and not each.seq:
                files[each.file.seq] = each.file
            elif each.seq:
                single.add(each.seq)
        self.waiting.clear()
        self.handles.clear()
        records: list[Record] = []
        for seq in sorted(single | files.keys()):
            records += files[seq].finish(outcome) if seq in files else [finished(seq, outcome, b"")]
        return records
