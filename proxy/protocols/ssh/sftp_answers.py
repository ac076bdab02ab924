"""The target's side of SFTP: answers end what the client's side began. Pure; called by ``sftp``.

STATUS and HANDLE are held until they are whole; of all others the start is looked at, and the rest passes as it
comes. An answer to nothing, of the wrong type, or longer than asked, is a lie and ends the conversation.
"""

import struct
from collections.abc import Mapping, Set

from proxy.core.records import Flow, Outcome, Record
from proxy.core.steps import Observe, Reply, Step
from proxy.protocols.ssh import sftp_packets as packets
from proxy.protocols.ssh.content import Pieces
from proxy.protocols.ssh.names import said
from proxy.protocols.ssh.sftp_chunks import Chunks
from proxy.protocols.ssh.sftp_files import Asking, OpenFile, Table
from proxy.protocols.ssh.statements import finished

_HEADER = struct.Struct("!IB")
_U32 = struct.Struct("!I")
_NUMBER_AND_SIZE = struct.Struct("!II")
_MEANT: Mapping[int, Set[int]] = {
    packets.OPEN: frozenset({packets.HANDLE}),
    packets.OPENDIR: frozenset({packets.HANDLE}),
    packets.READ: frozenset({packets.DATA}),
    packets.READDIR: frozenset({packets.NAME}),
    packets.REALPATH: frozenset({packets.NAME}),
    packets.READLINK: frozenset({packets.NAME}),
    packets.STAT: frozenset({packets.ATTRS}),
    packets.LSTAT: frozenset({packets.ATTRS}),
    packets.FSTAT: frozenset({packets.ATTRS}),
    packets.EXTENDED: frozenset({packets.EXTENDED_REPLY, packets.NAME}),
}
_NOT_SFTP = "the target does not speak sftp; do its shell's start-up files print something?"


class Answers(Chunks):
    """Fed whatever the target sends."""

    def __init__(self, table: Table) -> None:
        super().__init__()
        self._table = table
        self._left = 0
        self._data: Pieces | None = None
        self._offset = 0
        self._file: OpenFile | None = None  # the one whose answer is in flight

    def feed(self, chunk: bytes) -> list[Step]:
        """What to do about the target's next bytes."""
        position, end = 0, self._take(chunk)
        while position < end and not self.closed:
            if self._left:
                position = self._stream(position, end)
            else:
                need, taken = self._packet(position, end)
                if need:
                    self._hold(position, need)
                    break
                position += taken
            if not self._left and self._table.replies:
                self._pass(position)
                self._steps.append(Reply(bytes(self._table.replies)))
                self._table.replies.clear()
        self._table.inside = bool(self._left)
        return self._done()

    def _stream(self, position: int, end: int) -> int:
        stop = min(end, position + self._left)
        if self._data is not None:
            self._observe(self._data.add(self._offset, self._view(position, stop)))
            self._offset += stop - position
        self._left -= stop - position
        if not self._left:
            self._whole_answer()
        return stop

    def _whole_answer(self) -> None:
        """All of it has come: perhaps the last that its file waited for."""
        file, self._file, self._data = self._file, None, None
        if file is not None:
            file.waiting -= 1
            self._perhaps_over(file)

    def _observe(self, records: list[Record]) -> None:
        for record in records:
            self._steps.append(Observe(record))

    def _close(self, position: int, detail: str) -> tuple[int, int]:
        self._break_off(position, detail)
        return 0, 0

    # -- packets -------------------------------------------------------------------------------------------------

    def _packet(self, position: int, end: int) -> tuple[int, int]:
        """Deal with the answer at ``position``: how many bytes of it are needed before it can be, or 0 and how many
        were taken."""
        here = end - position
        if here < 5:
            return 5, 0
        length, kind = _HEADER.unpack_from(self._chunk, position)
        table = self._table
        if not table.agreed:
            return self._version(position, here, length, kind)
        if not 5 <= length <= packets.PACKET_MOST:
            return self._close(position, f"a packet of {length} bytes from the sftp server")
        need = 4 + length if kind in (packets.STATUS, packets.HANDLE) else min(4 + length, 13)
        if here < need:
            return need, 0
        request: int = _U32.unpack_from(self._chunk, position + 5)[0]
        asking = table.waiting.get(request)
        if asking is None:
            return self._close(position, "an sftp answer to nothing")
        return self._answer(position, need, request, asking)

    def _answer(self, position: int, need: int, request: int, asking: Asking) -> tuple[int, int]:
        length, kind = _HEADER.unpack_from(self._chunk, position)
        if kind == packets.STATUS:
            return self._status(position, need, request, asking)
        if kind not in _MEANT.get(asking.kind, ()):
            return self._close(position, f"an sftp answer of type {kind} to a request of type {asking.kind}")
        if kind == packets.DATA:
            return self._read(position, length, asking, request)
        if kind == packets.HANDLE:
            return self._handle(position, need, request, asking)
        del self._table.waiting[request]
        if asking.seq:
            self._observe([finished(asking.seq, Outcome.DONE, b"ok")])
        self._file = asking.file
        if asking.file is not None:
            asking.file.size += length
        self._left = length - 5
        if not self._left:
            self._whole_answer()
        return 0, 9

    def _version(self, position: int, here: int, length: int, kind: int) -> tuple[int, int]:
        if not self._table.begun or kind != packets.VERSION or not 5 <= length <= packets.PACKET_MOST:
            return self._close(position, _NOT_SFTP)
        if here < 4 + length:
            return 4 + length, 0
        version = _U32.unpack_from(self._chunk, position + 5)[0]
        if version != 3:
            return self._close(position, f"the target wants version {version} of sftp; only 3 is understood here")
        self._table.agreed = True
        return 0, 4 + length

    def _read(self, position: int, length: int, asking: Asking, request: int) -> tuple[int, int]:
        size = _U32.unpack_from(self._chunk, position + 9)[0] if length >= 9 else -1
        if size != length - 9 or size > asking.size or asking.file is None:
            return self._close(position, "sftp data of another length than asked or said")
        del self._table.waiting[request]
        self._file = asking.file
        self._data = asking.file.flow(Flow.OUTPUT)
        self._offset = asking.offset
        self._left = size
        if not size:
            self._whole_answer()
        return 0, 13

    def _handle(self, position: int, whole: int, request: int, asking: Asking) -> tuple[int, int]:
        try:
            fields = packets.Fields(self._chunk[position : position + whole], 9)
            handle = fields.handle()
            fields.end()
        except packets.Malformed as error:
            return self._close(position, f"an sftp handle that cannot be read: {error}")
        if handle in self._table.handles or asking.file is None:
            return self._close(position, "an sftp handle that is open already")
        del self._table.waiting[request]
        self._table.opening -= 1
        asking.file.opened = True
        self._table.handles[handle] = asking.file
        return 0, whole

    def _status(self, position: int, whole: int, request: int, asking: Asking) -> tuple[int, int]:
        try:
            code, message = packets.read_status(self._chunk[position : position + whole])
        except packets.Malformed as error:
            return self._close(position, f"an sftp status that cannot be read: {error}")
        if code == packets.OK and asking.kind in _MEANT and asking.kind != packets.EXTENDED:
            return self._close(position, "an sftp answer that says ok and gives nothing")
        del self._table.waiting[request]
        file = asking.file
        if file is None:
            if asking.seq:
                done = code == packets.OK
                outcome = Outcome.DONE if done else Outcome.FAILED
                error_text = b"" if done else said(message)
                self._observe([finished(asking.seq, outcome, packets.status_word(code), error_text)])
            return 0, whole
        end_of_file = code == packets.EOF and asking.kind in (packets.READ, packets.READDIR)
        if code != packets.OK and not end_of_file:
            file.failed(code, message)
        if asking.kind in (packets.OPEN, packets.OPENDIR):
            self._table.opening -= 1
            file.closed = True
        elif asking.kind == packets.CLOSE:
            file.closed = True
        else:
            file.waiting -= 1
        self._perhaps_over(file)
        return 0, whole

    def _perhaps_over(self, file: OpenFile) -> None:
        if file.closed and not file.waiting:
            self._observe(file.finish(Outcome.DONE))
