"""What OpenSSH takes and asyncssh ends a connection for. Mixed into the connections of ``lines`` and the channels
of ``line_channels``, on both sides; leans on asyncssh's insides, and does not know what is asked for.

The measure is OpenSSH's ``sshd`` towards clients, and its ``ssh`` towards targets (packet.c, dispatch.c,
channels.c): what a peer must be able to ignore by RFC 4253, 11 is not even looked at; a message that is not
expected is answered UNIMPLEMENTED; what comes late for a channel is dropped. Before the first keys nothing is
passed over, and nothing that is passed over is acted upon: so no state is entered that the RFCs do not know.
"""

from typing import Any

import asyncssh
from asyncssh.constants import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_EXTENDED_DATA,
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_FIRST,
    MSG_CHANNEL_LAST,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_SUCCESS,
    MSG_CHANNEL_WINDOW_ADJUST,
    MSG_DEBUG,
    MSG_DISCONNECT,
    MSG_EXT_INFO,
    MSG_GLOBAL_REQUEST,
    MSG_IGNORE,
    MSG_KEX_FIRST,
    MSG_REQUEST_FAILURE,
    MSG_REQUEST_SUCCESS,
    MSG_UNIMPLEMENTED,
)
from asyncssh.packet import PacketDecodeError, SSHPacket, UInt32

KEEPALIVE = b"keepalive@openssh.com"
HEARS = frozenset({"open", "eof_pending", "eof"})
"""States of a channel whose peer has not closed it yet."""
PASSED_OVER = frozenset({MSG_CHANNEL_WINDOW_ADJUST, MSG_CHANNEL_SUCCESS, MSG_CHANNEL_FAILURE})
"""What sshd takes for a channel that it has never had, too."""


class TolerantLine:
    """Mixed into connections. ``said_goodbye``: the peer has disconnected by a message of its own."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.said_goodbye = False
        self._skipped: tuple[int, bytes] | None = None
        line: Any = self
        # asyncssh's tables name functions, not methods: one that overrides would never be called.
        line._packet_handlers = {
            **line._packet_handlers,
            **dict.fromkeys((MSG_IGNORE, MSG_UNIMPLEMENTED), TolerantLine._pass_over),
            MSG_DEBUG: TolerantLine._process_debug,
            MSG_DISCONNECT: TolerantLine._process_disconnect,
            MSG_EXT_INFO: TolerantLine._process_ext_info,
            MSG_GLOBAL_REQUEST: TolerantLine._process_global_request,
            MSG_REQUEST_SUCCESS: TolerantLine._pass_over,
            MSG_REQUEST_FAILURE: TolerantLine._pass_over,
        }

    # -- what is not expected ------------------------------------------------------------------------------------

    def _recv_packet(self) -> bool:
        line: Any = self
        seq, line._skipped = line._recv_seq, None
        try:
            return bool(super()._recv_packet())  # type: ignore[misc]
        except asyncssh.ProtocolError:
            if line._skipped is None or not self._bears(*line._skipped):
                raise
        kind = line._skipped[0]
        if not MSG_CHANNEL_FIRST <= kind <= MSG_CHANNEL_LAST or not line._auth_complete:
            self.unimplemented(seq)
        line._finish_recv_packet(MSG_IGNORE, seq)
        return True

    def log_received_packet(self, pkttype: int, pktid: int | None, packet: Any, note: str = "") -> None:
        """Told by asyncssh of each packet that no channel has, with a ``note`` where it is about to give up."""
        if note:
            self._skipped = pkttype, packet.get_consumed_payload()

    def log_sent_packet(self, pkttype: int, pktid: int | None, packet: Any, note: str = "") -> None:
        """Nobody reads them; to word one costs more than to send it."""

    def _bears(self, kind: int, consumed: bytes) -> bool:
        """Whether OpenSSH would go on after a message that nobody here waits for."""
        line: Any = self
        if line._recv_encryption is None or kind < MSG_KEX_FIRST:
            return False
        if not line._auth_complete or not MSG_CHANNEL_FIRST <= kind <= MSG_CHANNEL_LAST:
            return True
        if len(consumed) < 5:
            return False
        channel = int.from_bytes(consumed[1:5], "big")
        return kind in PASSED_OVER or channel < line._next_recv_chan  # it has been one

    def unimplemented(self, pktid: int) -> None:
        """Answer a message as one that is not known (RFC 4253, 11.4)."""
        line: Any = self
        line.send_packet(MSG_UNIMPLEMENTED, UInt32(pktid))

    # -- what may be ignored -------------------------------------------------------------------------------------

    def _pass_over(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        """Whatever is in it."""

    def _process_debug(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        try:
            super()._process_debug(pkttype, pktid, packet)  # type: ignore[misc]
        except (PacketDecodeError, asyncssh.ProtocolError):
            return

    def _process_disconnect(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        """A goodbye is one, however it is written: older clients leave out the language."""
        self.said_goodbye = True
        try:
            super()._process_disconnect(pkttype, pktid, packet)  # type: ignore[misc]
        except (PacketDecodeError, asyncssh.ProtocolError):
            line: Any = self
            line._force_close(None)

    def _process_ext_info(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        """Of a target's, which algorithms it signs with is of use; nothing that clients say."""
        line: Any = self
        # Before the first keys anybody on the way may have put it in (CVE-2023-48795): there asyncssh gives up.
        if line._recv_encryption is None or (line.is_client() and line._can_recv_ext_info):
            super()._process_ext_info(pkttype, pktid, packet)  # type: ignore[misc]

    # -- requests of the connection, and whether its peer lives --------------------------------------------------

    def granted(self, request: bytes, packet: SSHPacket) -> bool:
        """Whether the peer has what it asks the connection for; all that is asked for is answered at once."""
        return request == KEEPALIVE

    def _process_global_request(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        line: Any = self
        request, wants_answer = packet.get_string(), packet.get_boolean()
        granted = self.granted(request, packet)
        if wants_answer:
            line.send_packet(MSG_REQUEST_SUCCESS if granted else MSG_REQUEST_FAILURE)

    async def _make_keepalive_request(self) -> None:
        """Any packet of the peer is an answer: some say UNIMPLEMENTED, and some nothing while they are busy."""
        line: Any = self
        line._send_global_request(KEEPALIVE, want_reply=True)

    def _reset_keepalive_timer(self) -> None:
        """Called for whatever comes."""
        line: Any = self
        line._keepalive_count = 0
        super()._reset_keepalive_timer()  # type: ignore[misc]


class TolerantChannel:
    """Mixed into channels: data after an end, a second end and the like are dropped."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        kind = type(self)
        channel: Any = self
        channel._packet_handlers = {
            **channel._packet_handlers,
            MSG_CHANNEL_DATA: kind._process_data,
            MSG_CHANNEL_EXTENDED_DATA: kind._process_extended_data,
            MSG_CHANNEL_WINDOW_ADJUST: kind._process_window_adjust,
            MSG_CHANNEL_EOF: kind._process_eof,
            MSG_CHANNEL_CLOSE: kind._process_close,
            MSG_CHANNEL_REQUEST: kind._process_request,
            MSG_CHANNEL_SUCCESS: kind._process_response,
            MSG_CHANNEL_FAILURE: kind._process_response,
        }

    def log_received_packet(self, pkttype: int, pktid: int | None, packet: Any, note: str = "") -> None:
        """As of the line's."""

    def log_sent_packet(self, pkttype: int, pktid: int | None, packet: Any, note: str = "") -> None:
        """As of the line's."""

    def _process_data(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        data = packet.get_string()
        packet.check_end()
        self._taken_in(data, None)

    def _process_extended_data(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        """What is of no kind that is known here is dropped, and what it took of the window given back."""
        channel: Any = self
        kind, data = packet.get_uint32(), packet.get_string()
        packet.check_end()
        if kind in channel._read_datatypes:
            self._taken_in(data, kind)
        elif len(data) > channel._recv_window:
            raise asyncssh.ProtocolError("Window exceeded")
        elif data and channel._recv_state == "open" and channel._send_state not in {"close_pending", "closed"}:
            channel.send_packet(MSG_CHANNEL_WINDOW_ADJUST, UInt32(len(data)))

    def _taken_in(self, data: bytes, kind: int | None) -> None:
        """Data while the peer may still say something; the window bounds the rest, too."""
        channel: Any = self
        if len(data) > channel._recv_window:
            raise asyncssh.ProtocolError("Window exceeded")
        if channel._recv_state == "open":
            channel._accept_data(data, kind)
        else:
            channel._recv_window -= len(data)

    def _process_window_adjust(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        self._while_it_hears("_process_window_adjust", pkttype, pktid, packet)

    def _process_eof(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        channel: Any = self
        if channel._recv_state == "open":
            super()._process_eof(pkttype, pktid, packet)  # type: ignore[misc]

    def _process_close(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        self._while_it_hears("_process_close", pkttype, pktid, packet)

    def _process_request(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        self._while_it_hears("_process_request", pkttype, pktid, packet)

    def _process_response(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        channel: Any = self
        if channel._request_waiters:
            super()._process_response(pkttype, pktid, packet)  # type: ignore[misc]

    def _while_it_hears(self, name: str, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        channel: Any = self
        if channel._recv_state in HEARS:
            getattr(super(), name)(pkttype, pktid, packet)
