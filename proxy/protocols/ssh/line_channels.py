"""The channels of both connections, as Tidegate changes those of asyncssh. Made by ``lines``; leans on asyncssh's
insides, and leaves to ``channels`` and ``tunnels`` what may be done on them.

Data that fits a channel's window goes out without being copied twice, and nothing that waits has no bound: a window
is the peer's to say, up to 4 GiB, so where the line does not take more, or keys are being exchanged, data waits in
its channel, whose bound stops the other side.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncssh
from asyncssh.constants import MSG_CHANNEL_CLOSE, MSG_CHANNEL_DATA
from asyncssh.misc import map_handler_name
from asyncssh.packet import Boolean, PacketDecodeError, SSHPacket, String, UInt32

from proxy.protocols.ssh.tolerance import HEARS, KEEPALIVE, TolerantChannel

PACKET_LEAST = 256
"""A peer that takes smaller packets makes us send as many more of them as it likes."""
JOINED_MOST = 32 * 1024
"""Pieces of data that wait are joined up to here: asyncssh moves all of a list for each that it takes from it."""
REQUESTS_MOST = 64
"""Requests of a channel that wait for the answer to an earlier one."""
STARTS = (b"shell", b"exec", b"subsystem")
KNOWN = frozenset(
    {"pty-req", "x11-req", "auth-agent-req@openssh.com", "env", "shell", "exec", "subsystem", "window-change",
     "signal", "break", "eow@openssh.com"}
)  # fmt: skip
"""Requests of a session channel that are looked at. All others are refused, as by sshd where it knows them not."""
BESIDE = frozenset({"window-change", "signal", "break"})
"""Requests that need not wait for the answer to a start, where they want none themselves."""


class Swift(TolerantChannel):
    """Mixed into channels: what fits the window, while nothing waits, is sent as it is. What waits is in few pieces
    and, while the line is ``full``, stays here."""

    def write(self, data: bytes, datatype: int | None = None) -> None:
        size = len(data)
        channel: Any = self
        waiting = channel._send_buf
        if (
            datatype is None
            and channel._send_state == "open"
            and not waiting
            and 0 < size <= channel._send_window
            and size <= channel._send_pktsize
            and not channel._conn.full
        ):
            channel._send_window -= size
            channel.send_packet(MSG_CHANNEL_DATA, String(data))
        elif (
            waiting
            and size
            and channel._send_state == "open"
            and waiting[-1][1] == datatype
            and len(waiting[-1][0]) < JOINED_MOST
        ):
            waiting[-1][0].extend(data)
            channel._send_buf_len += size
            channel._flush_send_buf()
        else:
            super().write(data, datatype)  # type: ignore[misc]

    def go_on(self) -> None:
        """Send what waits here, if that may be."""
        self._flush_send_buf()

    def _flush_send_buf(self) -> None:
        channel: Any = self
        if channel._send_buf and channel._conn is not None and channel._conn.full:
            channel._pause_resume_writing()
        else:
            super()._flush_send_buf()  # type: ignore[misc]

    def _accept_data(self, data: bytes, datatype: int | None = None) -> None:
        channel: Any = self
        waiting = channel._recv_buf
        if not (waiting and waiting[-1][1] == datatype and channel._recv_paused):
            super()._accept_data(data, datatype)  # type: ignore[misc]
            return
        last = waiting[-1][0]
        if len(last) + len(data) > JOINED_MOST or channel._send_state in {"close_pending", "closed"}:
            super()._accept_data(data, datatype)  # type: ignore[misc]
            return
        channel._recv_window -= len(data)
        if type(last) is not bytearray:
            last = bytearray(last)
            waiting[-1] = (last, datatype)
        last += data

    def _deliver_data(self, data: bytes | bytearray, datatype: int | None) -> None:
        super()._deliver_data(bytes(data), datatype)  # type: ignore[misc]

    def process_open(self, send_chan: int, send_window: int, send_pktsize: int, session: Any) -> None:
        bound_packets(send_pktsize)
        super().process_open(send_chan, send_window, send_pktsize, session)  # type: ignore[misc]

    def process_open_confirmation(
        self, send_chan: int, send_window: int, send_pktsize: int, packet: SSHPacket
    ) -> None:
        bound_packets(send_pktsize)
        super().process_open_confirmation(send_chan, send_window, send_pktsize, packet)  # type: ignore[misc]


def bound_packets(size: int) -> None:
    """Raise ``asyncssh.ProtocolError`` where a peer takes only packets that are too small."""
    if size < PACKET_LEAST:
        raise asyncssh.ProtocolError(f"a channel that takes packets of {size} bytes: {PACKET_LEAST} are the least")


class ServerChannel(Swift, asyncssh.SSHServerChannel[bytes]):
    """A session channel of the client. Requests that start something are answered by ``answer``, once the target
    has answered; ``refused`` is told of each that is refused: with a word for what it was, and more of it."""

    refused: Callable[[str, str], None]
    environment: Callable[[bytes, bytes], bool]
    signalled: Callable[[str], bool]
    end_of_write: Callable[[], None]
    awaited: Callable[[], bool]

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._close: SSHPacket | None = None

    # -- requests ------------------------------------------------------------------------------------------------

    def _process_request(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        """One after another, as they are to be answered; a terminal that changes its size meanwhile, or a signal,
        waits for nobody's answer."""
        if self._recv_state not in HEARS:
            return
        name, wants_answer = packet.get_string().decode("ascii", "replace"), packet.get_boolean()
        if self._request_queue and not wants_answer and name in BESIDE:
            self._carried_out(name, packet)
            return
        if len(self._request_queue) >= REQUESTS_MOST:
            raise asyncssh.ProtocolError("too many requests that wait for an answer")
        self._request_queue.append((name, packet, wants_answer))
        if len(self._request_queue) == 1:
            self._service_next_request()

    def _service_next_request(self) -> None:
        name, packet, _ = self._request_queue[0]
        done = self._carried_out(name, packet)
        if done is not None:
            self._report_response(done)

    def _carried_out(self, name: str, packet: SSHPacket) -> bool | None:
        """Whether it is; None where ``answer`` will say so. What cannot be read is refused: sshd would hang up."""
        if name not in KNOWN:
            if name != KEEPALIVE.decode():
                self.refused("request", name)
            return False
        try:
            done: bool | None = getattr(self, f"_process_{map_handler_name(name)}_request")(packet)
        except (PacketDecodeError, asyncssh.ProtocolError) as error:
            self.refused("request", f"{name}: {error}")
            return False
        return done

    def _cleanup(self, exc: Exception | None = None) -> None:
        """As asyncssh's; nothing comes for the channel any more, so whoever was told of it is not held by it."""
        super()._cleanup(exc)
        for each in ("refused", "environment", "signalled", "end_of_write", "awaited"):
            vars(self).pop(each, None)

    def answer(self, done: bool) -> None:
        """Answer the request that a session's ``shell_requested`` and the like left open by returning None."""
        if self._request_queue:
            self._report_response(done)

    def _start_session(self, command: str | None = None, subsystem: str | None = None) -> Any:
        """One start a channel; after one that was refused outright another may be asked for, as of sshd."""
        if self._session_started:
            what = "command" if command is not None else "shell" if subsystem is None else "subsystem"
            self.refused(what, f"a second start on its channel: {command or subsystem or what}")
            return False
        started: Any = super()._start_session(command, subsystem)
        self._session_started = started is not False
        return started

    def _process_pty_req_request(self, packet: SSHPacket) -> bool:
        """As asyncssh's, but for its modes: OpenSSH takes those that are whole (RFC 4254, 8)."""
        name, size, modes = packet.get_string(), packet.get_bytes(16), packet.get_string()
        packet.check_end()
        known = name.decode("ascii", "replace").replace("\ufffd", "?")
        done = super()._process_pty_req_request(SSHPacket(String(known) + size + String(whole_modes(modes))))
        if not done:
            self.refused("terminal", known)
        return bool(done)

    def _process_env_request(self, packet: SSHPacket) -> bool:
        name, value = packet.get_string(), packet.get_string()
        packet.check_end()
        return self.environment(name, value)

    def _process_exec_request(self, packet: SSHPacket) -> Any:
        """A command line is bytes: asyncssh takes UTF-8 only."""
        command = packet.get_string()
        packet.check_end()
        return self._start_session(command=command.decode("utf-8", "surrogateescape"))

    def _process_subsystem_request(self, packet: SSHPacket) -> Any:
        name = packet.get_string()
        packet.check_end()
        return self._start_session(subsystem=name.decode("utf-8", "replace"))

    def _process_signal_request(self, packet: SSHPacket) -> bool:
        name = packet.get_string()
        packet.check_end()
        return self.signalled(name.decode("ascii", "replace"))

    def _process_x11_req_request(self, packet: SSHPacket) -> bool | None:
        self.refused("x11", "")
        return False

    def _process_auth_agent_req_at_openssh_dot_com_request(self, packet: SSHPacket) -> Any:
        self.refused("agent", "")
        return False

    def _process_eow_at_openssh_dot_com_request(self, packet: SSHPacket) -> bool:
        """The client's reader is gone (OpenSSH's PROTOCOL, 2.1): what it read from will be told."""
        packet.check_end()
        self.end_of_write()
        return True

    # -- the end -------------------------------------------------------------------------------------------------

    def _process_close(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        """OpenSSH's client closes as soon as both sides have said that they have no more, and takes how it ended
        until its close is answered: so that waits while the session says that an end is ``awaited``."""
        if self._close is not None:
            return
        if self.awaited():
            self._close = packet
        else:
            super()._process_close(pkttype, pktid, packet)

    def close(self) -> None:
        """As asyncssh's, and answers the client's own close."""
        super().close()
        packet, self._close = self._close, None
        if packet is not None:
            super()._process_close(MSG_CHANNEL_CLOSE, 0, packet)

    def exited(self, how: "int | tuple[str, bool, str, str]") -> None:
        """Say how the process ended: at once, as the target did. Dropbear's client closes as soon as both sides
        said that they have no more, and takes nothing after that."""
        if isinstance(how, int):
            self._send_request(b"exit-status", UInt32(how))
        else:
            signal, core, text, language = how
            self._send_request(b"exit-signal", String(signal), Boolean(core), String(text), String(language))


def whole_modes(modes: bytes) -> bytes:
    """The modes of a terminal up to the last that is whole: five bytes each, until one that ends them."""
    end = 0
    while end + 5 <= len(modes) and 0 < modes[end] < 160:
        end += 5
    return modes[:end] + b"\0"


class ClientChannel(Swift, asyncssh.SSHClientChannel[bytes]):
    """A session channel of the target. ``given_up``: whatever was to start on it is not wanted any more."""

    given_up = False

    @property
    def may_ask(self) -> bool:
        """Whether requests may be sent: after the end of input too, until it is closed."""
        return self._send_chan is not None and self._send_state not in {"close_pending", "closed"}

    def end_of_write(self) -> None:
        """Say that nobody reads any more, so that the command gets SIGPIPE."""
        self._send_request(b"eow@openssh.com")

    async def _make_request(self, request: bytes, *args: bytes) -> bool | None:
        """Nothing is started any more on a channel that was given up while it was being opened."""
        if self.given_up and request in STARTS:
            return False
        return await super()._make_request(request, *args)

    def forget_unsent(self) -> None:
        """What waits for the target's window is not sent any more."""
        self._send_buf.clear()
        self._send_buf_len = 0

    def pass_signal(self, name: str) -> None:
        """Send a signal that the client sends (RFC 4254, 6.9)."""
        self._send_request(b"signal", String(name))

    def signal(self, name: str) -> "asyncio.Future[bool]":
        """Send a signal (RFC 4254, 6.9) and ask whether it was delivered."""
        answer: asyncio.Future[bool] = self._loop.create_future()
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be waiting
        self._request_waiters.append(answer)
        self._send_request(b"signal", String(name), want_reply=True)
        return answer


class TcpChannel(Swift, asyncssh.SSHTCPChannel[bytes]):
    """A forwarded connection, on either side."""


class UnixChannel(Swift, asyncssh.SSHUNIXChannel[bytes]):
    """A connection to a unix socket of the target's, on either side."""
