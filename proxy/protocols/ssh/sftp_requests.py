"""The client's side of SFTP: what it asks for is recorded, then passed on. Pure; called by ``sftp``.

A request is held until it is whole, but for the data of WRITE, which pass as they come. A request on a handle that
the target did not give for a recorded OPEN never leaves: a handle can be guessed, and what is done with a guessed
one would belong to no file.
"""

import struct
from collections.abc import Mapping

from proxy.core.records import Flow
from proxy.core.steps import Observe, Reply, Step
from proxy.protocols.ssh import sftp_packets as packets
from proxy.protocols.ssh.content import Pieces
from proxy.protocols.ssh.sftp_chunks import Chunks
from proxy.protocols.ssh.sftp_files import (
    OPEN_MOST,
    REPLIES_MOST,
    WAITING_MOST,
    Asking,
    OpenFile,
    Table,
)
from proxy.protocols.ssh.sftp_packets import Asked
from proxy.protocols.ssh.statements import denied, started

_HEADER = struct.Struct("!IB")
_U32 = struct.Struct("!I")
_PLACE = struct.Struct("!QI")
_WORDS: Mapping[int, bytes] = {
    packets.CLOSE: b"close",
    packets.READ: b"read",
    packets.WRITE: b"write",
    packets.FSTAT: b"fstat",
    packets.READDIR: b"readdir",
    packets.EXTENDED: b"fstatvfs",
}
_GUESSED = "no file is open under this handle"
_OF_A_FILE = frozenset({packets.READ, packets.WRITE, packets.READDIR, packets.CLOSE})


class Requests(Chunks):
    """Fed whatever the client sends."""

    def __init__(self, table: Table) -> None:
        super().__init__()
        self._table = table
        self._left = 0  # bytes of the packet in flight, whose start is dealt with
        self._drop = False  # they do not leave
        self._data: Pieces | None = None  # or they are data for this file, from here on:
        self._offset = 0
        self._taken = 0  # so much the last ``_packet`` dealt with: all of a packet, or its start

    def feed(self, chunk: bytes) -> list[Step]:
        """What to do about the client's next bytes."""
        position, end = 0, self._take(chunk)
        while position < end and not self.closed:
            if self._left:
                position = self._stream(position, end)
                continue
            need = self._packet(position, end)
            if need:
                self._hold(position, need)
                break
            position += self._taken
        return self._done()

    def _stream(self, position: int, end: int) -> int:
        """Bytes of the packet in flight; where they end."""
        stop = min(end, position + self._left)
        if self._drop:
            self._pass(position)
            self._sent = stop
        elif self._data is not None:
            for record in self._data.add(self._offset, self._view(position, stop)):
                self._steps.append(Observe(record))
        self._offset += stop - position
        self._left -= stop - position
        return stop

    def _close(self, position: int, detail: str) -> int:
        self._break_off(position, detail)
        return 0

    # -- packets -------------------------------------------------------------------------------------------------

    def _packet(self, position: int, end: int) -> int:
        """Deal with the packet at ``position``; 0, or how many bytes of it are needed before it can be."""
        self._taken = 0
        here = end - position
        if here < 5:
            return 5
        length, kind = _HEADER.unpack_from(self._chunk, position)
        if not 5 <= length <= packets.PACKET_MOST:
            return self._close(position, f"a packet of {length} bytes from the sftp client")
        whole: int = 4 + length
        table = self._table
        if kind == packets.WRITE and table.agreed:
            return self._write(position, here, length)
        if here < whole:
            return whole
        self._taken = whole
        if not table.agreed:
            return self._begin(position, kind)
        request = self._number(position)
        if request < 0:
            return 0
        if kind == packets.READ and self._read(position, length, request):
            return 0
        self._whole(position, whole, request)
        return 0

    def _begin(self, position: int, kind: int) -> int:
        if self._table.begun or kind != packets.INIT:
            return self._close(position, "an sftp client that does not wait for the version")
        self._table.begun = True
        return 0

    def _number(self, position: int) -> int:
        """The request's id; -1 where it cannot be taken."""
        request: int = _U32.unpack_from(self._chunk, position + 5)[0]
        if request in self._table.waiting:
            return self._close(position, "an sftp client that uses one request id twice at a time") - 1
        if len(self._table.waiting) >= WAITING_MOST:
            return self._close(position, f"more than {WAITING_MOST} sftp requests at a time") - 1
        return request

    def _read(self, position: int, length: int, request: int) -> bool:
        """A READ of a file that is open, which most requests are; False: look at it again."""
        chunk = self._chunk
        stop = position + length - 8
        file = self._table.handles.get(chunk[position + 13 : stop])
        if file is None or length < 21 or _U32.unpack_from(chunk, position + 9)[0] != length - 21:
            return False
        offset, size = _PLACE.unpack_from(chunk, stop)
        file.flow(Flow.OUTPUT).expect(offset)
        file.waiting += 1
        self._table.waiting[request] = Asking(packets.READ, 0, file, offset, size)
        return True

    def _write(self, position: int, here: int, length: int) -> int:
        chunk = self._chunk
        need = min(4 + length, 13)
        if here < need:
            return need
        size = _U32.unpack_from(chunk, position + 9)[0] if length >= 9 else packets.HANDLE_MOST + 1
        if size <= packets.HANDLE_MOST:
            need = min(4 + length, 25 + size)
            if here < need:
                return int(need)
        request = self._number(position)
        if request < 0:
            return 0
        start = position + 13 + size
        if size > packets.HANDLE_MOST or length < 21 + size:
            self._malformed(position, 4 + length, request)
            return 0
        offset, amount = _PLACE.unpack_from(chunk, start)
        file = self._table.handles.get(chunk[position + 13 : start])
        if amount != length - 21 - size:
            self._malformed(position, 4 + length, request)
        elif file is None:
            self._refuse(position, 4 + length, request, packets.FAILURE, b"write", _GUESSED)
        else:
            file.waiting += 1
            self._table.waiting[request] = Asking(packets.WRITE, 0, file)
            self._data, self._offset, self._left, self._drop = file.flow(Flow.INPUT), offset, amount, False
            self._taken = 25 + size
        return 0

    def _whole(self, position: int, whole: int, request: int) -> None:
        """Any other request."""
        kind = self._chunk[position + 4]
        packet = self._chunk[position : position + whole]
        try:
            found = packets.asked(packet)
        except packets.Malformed:
            self._malformed(position, whole, request)
            return
        except packets.Unsupported as error:
            self._refuse(
                position, whole, request, packets.OP_UNSUPPORTED, str(error).encode(), "not supported here"
            )
            return
        if kind in (packets.OPEN, packets.OPENDIR):
            self._open(position, kind, request, found)
            return
        files = [self._table.handles.get(each) for each in (found.handle, found.second) if each is not None]
        if None in files:
            text = found.text or _WORDS[kind]
            self._refuse(position, whole, request, packets.FAILURE, text, _GUESSED)
            return
        known = [file for file in files if file is not None]
        seq = 0
        if found.text:
            text = b"%s %s" % (found.text, b" -> ".join(file.path for file in known)) if known else found.text
            seq = self._start(text)
        elif kind == packets.CLOSE and found.handle is not None:
            del self._table.handles[found.handle]
        file = known[0] if known and kind in _OF_A_FILE else None
        if file is not None and kind != packets.CLOSE:
            file.waiting += 1
        self._table.waiting[request] = Asking(kind, seq, file)

    def _open(self, position: int, kind: int, request: int, found: Asked) -> None:
        table = self._table
        if len(table.handles) + table.opening >= OPEN_MOST:
            self._close(position, f"more than {OPEN_MOST} sftp files at a time")
            return
        verb, _, path = found.text.partition(b" ")
        main = {b"get": Flow.OUTPUT, b"put": Flow.INPUT, b"append": Flow.INPUT}.get(verb)
        table.opening += 1
        table.waiting[request] = Asking(kind, 0, OpenFile(self._start(found.text), path, main, table.room))

    def _start(self, text: bytes) -> int:
        seq = self._table.next_seq()
        self._steps.append(Observe(started(seq, self._table.via, text)))
        return seq

    # -- refusals ------------------------------------------------------------------------------------------------

    def _malformed(self, position: int, whole: int, request: int) -> None:
        kind = self._chunk[position + 4]
        text = b"packet type %d" % kind
        self._refuse(position, whole, request, packets.BAD_MESSAGE, text, "the request is malformed")

    def _refuse(self, position: int, whole: int, request: int, code: int, text: bytes, why: str) -> None:
        """It does not leave; the client is told in the target's place."""
        table = self._table
        self._pass(position)
        self._steps += denied(table.next_seq(), table.via, text, why.encode())
        answer = packets.status(request, code, f"tidegate: {why}")
        if not table.inside:
            self._steps.append(Reply(answer))
        elif len(table.replies) < REPLIES_MOST:
            table.replies += answer
        else:
            self._close(position, "too many refused sftp requests at a time")
        self._left, self._drop, self._data = whole, True, None
        self._taken = 0
