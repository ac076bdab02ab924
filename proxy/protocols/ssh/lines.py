"""What Tidegate changes of asyncssh's connections, on both sides; all that leans on its insides is in this file.

Held by ``tests/protocols/ssh/test_lines.py`` to the release that is installed. Four things: no empty IGNORE
packet before every packet (a measure for ciphers that are not offered here, and a third of the cost of bulk data);
data that fits a channel's window goes out without being copied twice; towards a client, the server speaks second at
the key exchange, so that whoever can is given AES-GCM, the fastest cipher here by far, whatever it prefers; and
nothing that waits has no bound. A channel's window is the peer's to say, up to 4 GiB, so where the line does not
take more, or keys are being exchanged, data waits in its channel, whose bound stops the other side.
"""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import asyncssh
from asyncssh.constants import (
    DEFAULT_LANG,
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_REQUEST,
    MSG_GLOBAL_REQUEST,
    MSG_IGNORE,
    MSG_KEXINIT,
)  # fmt: skip
from asyncssh.packet import Boolean, PacketDecodeError, SSHPacket, String, UInt32

GCM = (b"aes128-gcm@openssh.com", b"aes256-gcm@openssh.com")
ENCRYPTION = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com",
              "aes256-ctr", "aes192-ctr", "aes128-ctr")  # fmt: skip
MACS = (
    "hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512",
)  # fmt: skip
KEY_EXCHANGES = (
    "mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384", "ecdh-sha2-nistp521", "diffie-hellman-group16-sha512", "diffie-hellman-group14-sha256",
)  # fmt: skip
SIGNATURES = (
    "ssh-ed25519", "sk-ssh-ed25519@openssh.com", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521", "sk-ecdsa-sha2-nistp256@openssh.com", "rsa-sha2-512", "rsa-sha2-256",
)  # fmt: skip
SPOKEN_FIRST = 0.3
"""Seconds a client has to speak first at the key exchange; all do at once."""
REKEYED_MOST = 20
REKEYED_BYTES = 64 * 1024
"""A client may ask for new keys this often with fewer bytes than these between two of them: each costs us more than
it."""


PACKET_LEAST = 256
"""A peer that takes smaller packets makes us send as many more of them as it likes."""
JOINED_MOST = 32 * 1024
"""Pieces of data that wait are joined up to here: asyncssh moves all of a list for each that it takes from it."""
REQUESTS_MOST = 64
"""Requests of a channel, or of a connection, that wait for the answer to an earlier one."""
DEFERRED_MOST = 1000
"""Packets that wait for a key exchange to end."""


STARTS = (b"shell", b"exec", b"subsystem")


def _nothing_comes() -> bool:
    """How a closed line takes what comes."""
    return False


class Quiet:
    """Mixed into both connections: no empty IGNORE packets, and an end to what waits. ``full``: data had better
    wait. ``hurried``: it waits no more, since the end is near."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.hurried = False
        line: Any = self
        # Its tables name functions, not methods: one that overrides would never be called.
        line._packet_handlers = {**line._packet_handlers, MSG_GLOBAL_REQUEST: Quiet._process_global_request}

    @property
    def full(self) -> bool:
        line: Any = self
        if self.hurried:
            return False
        return not line._kex_complete or (line._transport is not None and line._transport.congested)

    def hurry(self) -> None:
        """Send what waits now: these are the last words."""
        self.hurried = True
        self.resume_writing()

    def resume_writing(self) -> None:
        """The line takes more: what waits in the channels goes on."""
        line: Any = self
        for channel in list(line._channels.values()):
            channel.go_on()

    def take_apart(self) -> None:
        """Once it is closed: know none of the objects that know this one, so that all go now. A task of asyncssh's
        that has not seen its end yet may still ask for what else there is."""
        line: Any = self
        line._recv_handler = _nothing_comes
        line._auth = line._kex = line._owner = None

    def send_packet(self, pkttype: int, *args: bytes, handler: Any = None) -> None:
        line: Any = self
        if pkttype != MSG_IGNORE:
            super().send_packet(pkttype, *args, handler=handler)  # type: ignore[misc]
            if len(line._deferred_packets) > DEFERRED_MOST:
                raise asyncssh.ProtocolError("too much was asked for while keys are exchanged")

    def _send_deferred_packets(self) -> None:
        super()._send_deferred_packets()  # type: ignore[misc]
        self.resume_writing()

    def _process_global_request(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        line: Any = self
        if len(line._global_request_queue) >= REQUESTS_MOST:
            raise asyncssh.ProtocolError("too many requests that wait for an answer")
        super()._process_global_request(pkttype, pktid, packet)  # type: ignore[misc]


class Swift:
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
        _bound_packets(send_pktsize)
        super().process_open(send_chan, send_window, send_pktsize, session)  # type: ignore[misc]

    def process_open_confirmation(
        self, send_chan: int, send_window: int, send_pktsize: int, packet: SSHPacket
    ) -> None:
        _bound_packets(send_pktsize)
        super().process_open_confirmation(send_chan, send_window, send_pktsize, packet)  # type: ignore[misc]


def _bound_packets(size: int) -> None:
    if size < PACKET_LEAST:
        raise asyncssh.ProtocolError(f"a channel that takes packets of {size} bytes: {PACKET_LEAST} are the least")


class ServerChannel(Swift, asyncssh.SSHServerChannel[bytes]):
    """A session channel of the client. Requests that start something are answered by ``answer``, once the target
    has answered; what the session cannot have is refused by ``refused``, with a word for what it was."""

    refused: Callable[[str], None]
    environment: Callable[[bytes, bytes], bool]
    end_of_write: Callable[[], None]
    awaited: Callable[[], bool]

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._close: SSHPacket | None = None
        self._packet_handlers = {
            **self._packet_handlers,
            MSG_CHANNEL_CLOSE: type(self)._process_close,
            MSG_CHANNEL_REQUEST: type(self)._process_request,
        }

    def _process_request(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        if len(self._request_queue) >= REQUESTS_MOST:
            raise asyncssh.ProtocolError("too many requests that wait for an answer")
        super()._process_request(pkttype, pktid, packet)

    def _process_close(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        """OpenSSH's client closes as soon as both sides have said that they have no more, and takes how it ended
        until its close is answered: so that waits while the session says that an end is ``awaited``."""
        if self._close is None and self.awaited():
            self._close = packet
        else:
            super()._process_close(pkttype, pktid, packet)

    def close(self) -> None:
        """As asyncssh's, and answers the client's own close."""
        super().close()
        packet, self._close = self._close, None
        if packet is not None and self._recv_state in {"open", "eof_pending", "eof"}:
            super()._process_close(MSG_CHANNEL_CLOSE, 0, packet)

    def _cleanup(self, exc: Exception | None = None) -> None:
        """As asyncssh's; nothing comes for the channel any more, so whoever was told of it is not held by it."""
        super()._cleanup(exc)
        for each in ("refused", "environment", "end_of_write", "awaited"):
            vars(self).pop(each, None)

    def answer(self, done: bool) -> None:
        """Answer the request that a session's ``shell_requested`` and the like left open by returning None."""
        if self._request_queue:
            self._report_response(done)

    def exited(self, how: "int | tuple[str, bool, str, str]") -> None:
        """Say how the process ended: at once, as the target did. Dropbear's client closes as soon as both sides
        said that they have no more, and takes nothing after that."""
        if isinstance(how, int):
            self._send_request(b"exit-status", UInt32(how))
        else:
            signal, core, text, language = how
            self._send_request(b"exit-signal", String(signal), Boolean(core), String(text), String(language))

    def _process_env_request(self, packet: SSHPacket) -> bool:
        name, value = packet.get_string(), packet.get_string()
        packet.check_end()
        return self.environment(name, value)

    def _process_exec_request(self, packet: SSHPacket) -> Any:
        """A command line is bytes: asyncssh takes UTF-8 only."""
        command = packet.get_string()
        packet.check_end()
        return self._start_session(command=command.decode("utf-8", "surrogateescape"))

    def _process_x11_req_request(self, packet: SSHPacket) -> bool | None:
        self.refused("x11")
        return False

    def _process_auth_agent_req_at_openssh_dot_com_request(self, packet: SSHPacket) -> Any:
        self.refused("agent")
        return False

    def _process_eow_at_openssh_dot_com_request(self, packet: SSHPacket) -> bool:
        """The client's reader is gone (OpenSSH's PROTOCOL, 2.1): what it read from will be told."""
        packet.check_end()
        self.end_of_write()
        return True


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

    def signal(self, name: str) -> "asyncio.Future[bool]":
        """Send a signal (RFC 4254, 6.9) and ask whether it was delivered."""
        answer: asyncio.Future[bool] = self._loop.create_future()
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be waiting
        self._request_waiters.append(answer)
        self._send_request(b"signal", String(name), want_reply=True)
        return answer


class TcpChannel(Swift, asyncssh.SSHTCPChannel[bytes]):
    """A forwarded connection, on either side."""


class ServerLine(Quiet, asyncssh.SSHServerConnection):
    """The client's connection. ``credential`` is asked about public keys: (user, key or certificate, whether the
    signature was made with it)."""

    credential: Callable[[str, bytes, bool], Any]

    def __init__(self, loop: asyncio.AbstractEventLoop, options: Any) -> None:
        super().__init__(loop, options)
        self._first_kexinit = True
        self._hurry: asyncio.TimerHandle | None = None
        self._rekeyed = 0
        self._moved_at_rekey = 0
        self.moved: Callable[[], int] = int
        self._packet_handlers = {
            **self._packet_handlers,
            MSG_KEXINIT: type(self)._process_kexinit,
        }

    # -- the key exchange ----------------------------------------------------------------------------------------

    def _send_kexinit(self) -> None:
        if self._first_kexinit and self._hurry is None:
            self._hurry = self._loop.call_later(SPOKEN_FIRST, self._speak_first)
        else:
            super()._send_kexinit()

    def _speak_first(self) -> None:
        if self._first_kexinit and self._transport is not None:
            self._first_kexinit = False
            super()._send_kexinit()

    async def _process_kexinit(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        said = KexInit.read(packet.get_remaining_payload())
        if self._first_kexinit:
            self._enc_algs = preferred(said, list(self._enc_algs))
            self._speak_first()
        elif self._kex_complete:
            self._bound_rekeying()
        if self._hurry is not None:
            self._hurry.cancel()
        await super()._process_kexinit(pkttype, pktid, packet)
        # By RFC 4253, 7.1 a guess is wrong where the first of either list differs; asyncssh asks only whether what
        # was guessed is what was chosen, and with dropbear's client the two then wait for different packets.
        first = (self._kex_algs[0], (self._server_host_key_algs or [b""])[0])
        self._ignore_first_kex = said.guessed and said.first != first

    def _bound_rekeying(self) -> None:
        moved = self.moved()
        self._rekeyed = self._rekeyed + 1 if moved - self._moved_at_rekey < REKEYED_BYTES else 0
        self._moved_at_rekey = moved
        if self._rekeyed > REKEYED_MOST:
            raise asyncssh.ProtocolError("too many key exchanges")

    def _cleanup(self, exc: Exception | None) -> None:
        if self._hurry is not None:
            self._hurry.cancel()
        super()._cleanup(exc)

    # -- the log-in ----------------------------------------------------------------------------------------------

    async def validate_public_key(self, username: str, key_data: bytes, msg: bytes, signature: bytes) -> bool:
        """A certificate, and the proof that its key is there. Without ``msg`` the client only asks whether it may
        show it; with it the signature is checked first, and with nothing older than SHA-2."""
        if not msg:
            return bool(await self.credential(username, key_data, False))
        try:
            key = asyncssh.public_key.decode_ssh_certificate(key_data).key
            algorithm = SSHPacket(signature).get_string().decode("ascii", "replace")
            signed = algorithm in SIGNATURES and key.verify(String(self._session_id) + msg, signature)
        except (asyncssh.KeyImportError, PacketDecodeError, ValueError):
            return False
        return signed and bool(await self.credential(username, key_data, True))

    def say(self, text: str) -> None:
        """Words for the person, before or between tries to log in."""
        self.send_auth_banner(text.replace("\n", "\r\n") + "\r\n", DEFAULT_LANG)

    def channel(self) -> ServerChannel:
        """A channel for a session that the client opens."""
        return ServerChannel(
            self, self._loop, True, False, False, 0, 0, None, "strict", self._window, self._max_pktsize
        )

    def tcp_channel(self) -> TcpChannel:
        """A channel for a connection that the client opens."""
        return TcpChannel(self, self._loop, None, "strict", self._window, self._max_pktsize)


class TargetLine(Quiet, asyncssh.SSHClientConnection):
    """The target's connection."""

    async def session(self, factory: Callable[[], Any], **wanted: Any) -> ClientChannel:
        """A channel on which a command, shell or subsystem runs. ``asyncssh.ChannelOpenError`` when the target does
        not have it. ``wanted``: as of ``SSHClientChannel.create``."""
        channel = ClientChannel(
            self, self._loop, "replace", None, "strict", self._options.window, self._options.max_pktsize
        )
        plain: dict[str, Any] = {
            "command": None, "subsystem": None, "env": {}, "request_pty": False, "term_type": None,
            "term_size": None, "term_modes": {},
        }  # fmt: skip
        try:
            await channel.create(
                factory, **{**plain, **wanted}, x11_forwarding=False, x11_display=None, x11_auth_path=None,
                x11_single_connection=False, agent_forwarding=False,
            )  # fmt: skip
        except (AssertionError, AttributeError):
            if channel._session is not None:
                raise
            # Lost after the answer and before asyncssh came to it.
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "SSH connection closed") from None
        return channel

    async def connection(self, factory: Callable[[], Any], to: tuple[str, int], of: tuple[str, int]) -> TcpChannel:
        """A channel that the target connects ``to`` a host and port, for a client at ``of``."""
        channel = TcpChannel(self, self._loop, None, "strict", self._options.window, self._options.max_pktsize)
        await channel.connect(factory, *to, *of)
        return channel


class KexInit(NamedTuple):
    """What of a KEXINIT (RFC 4253, 7.1) is looked at: the first key exchange and host key algorithm, the ciphers
    for both directions, and whether a guessed packet follows."""

    first: tuple[bytes, bytes]
    ciphers: frozenset[bytes]
    guessed: bool

    @classmethod
    def read(cls, payload: bytes) -> "KexInit":
        """Of a payload without its type."""
        packet = SSHPacket(payload)
        packet.get_bytes(16)
        lists = [packet.get_namelist() for _ in range(10)]
        first = [(names or [b""])[0] for names in lists[:2]]
        return cls((first[0], first[1]), frozenset(lists[2]) & frozenset(lists[3]), packet.get_boolean())


def preferred(said: KexInit, offered: list[bytes]) -> list[bytes]:
    """Of what we offer, what a client that said so should find: AES-GCM alone where it knows that, else all."""
    return [each for each in offered if each in GCM and each in said.ciphers] or offered
