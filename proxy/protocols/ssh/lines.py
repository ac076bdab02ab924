"""What Tidegate changes of asyncssh's connections, on both sides. All that leans on its insides is here and in
``line_channels``, ``tolerance`` and ``tries``, which only this file uses.

Held by ``tests/protocols/ssh/test_lines.py`` to the release that is installed. Here: no empty IGNORE packet before
every packet (a measure for ciphers that are not offered here, and a third of the cost of bulk data); towards a
client, the server speaks second at the key exchange, so that whoever can is given AES-GCM, the fastest cipher here
by far, whatever it prefers; and a client's tries to log in are taken one after the other.
"""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import asyncssh
from asyncssh.constants import (
    DEFAULT_LANG,
    MSG_CHANNEL_OPEN,
    MSG_IGNORE,
    MSG_KEXINIT,
    MSG_SERVICE_ACCEPT,
    MSG_SERVICE_REQUEST,
    MSG_USERAUTH_BANNER,
    MSG_USERAUTH_FAILURE,
    MSG_USERAUTH_REQUEST,
    MSG_USERAUTH_SUCCESS,
)
from asyncssh.packet import PacketDecodeError, SSHPacket, String

from proxy.protocols.ssh.line_channels import (
    ClientChannel,
    ServerChannel,
    TcpChannel,
    UnixChannel,
    bound_packets,
)
from proxy.protocols.ssh.tolerance import TolerantLine
from proxy.protocols.ssh.tries import METHODS, settled

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

DEFERRED_MOST = 1000
"""Packets that wait for a key exchange to end."""
OPENS = frozenset({b"session", b"direct-tcpip", b"direct-streamlocal@openssh.com"})
"""Kinds of channels a client may ask for. All others are refused, as sshd does with those it does not know."""
TUNNEL_DEVICE = b"tun@openssh.com"
USERAUTH = b"ssh-userauth"
SAID_BY_SERVERS = frozenset({MSG_SERVICE_ACCEPT, MSG_USERAUTH_FAILURE, MSG_USERAUTH_SUCCESS, MSG_USERAUTH_BANNER})
SAID_BY_CLIENTS = frozenset({MSG_SERVICE_REQUEST, MSG_USERAUTH_REQUEST})
"""The other side says none of them: there they are answered UNIMPLEMENTED."""


def held_by(channel: Any) -> int:
    """Bytes that wait in a channel, either way."""
    return int(channel._send_buf_len) + sum(len(data) for data, _ in channel._recv_buf)


def _nothing_comes() -> bool:
    """How a closed line takes what comes."""
    return False


class Quiet(TolerantLine):
    """Mixed into both connections: no empty IGNORE packets, and an end to what waits. ``full``: data had better
    wait. ``hurried``: it waits no more, since the end is near."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.hurried = False

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

    def holds(self) -> int:
        """Bytes that wait in its channels, and of a packet that is not whole."""
        line: Any = self
        return len(line._inpbuf) + sum(held_by(each) for each in line._channels.values())

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


class ServerLine(Quiet, asyncssh.SSHServerConnection):
    """The client's connection. ``credential`` is asked about public keys: (user, key or certificate, whether the
    signature was made with it); ``began`` is told, at each try, for whom it is; ``request`` is asked whether a
    client may have what it asks the connection for (name, and the rest of the packet); ``refused`` is told of a
    channel that is not opened: with a word for what it was, and more of it."""

    credential: Callable[[str, bytes, bool], Any]
    began: Callable[[str], None]
    request: Callable[[bytes, bytes], bool]
    refused: Callable[[str, str], None]

    def __init__(self, loop: asyncio.AbstractEventLoop, options: Any) -> None:
        super().__init__(loop, options)
        self._first_kexinit = True
        self._hurry: asyncio.TimerHandle | None = None
        self._rekeyed = 0
        self._moved_at_rekey = 0
        self.moved: Callable[[], int] = int
        kind = type(self)
        self._packet_handlers = {
            **{each: what for each, what in self._packet_handlers.items() if each not in SAID_BY_SERVERS},
            MSG_KEXINIT: kind._process_kexinit,
            MSG_SERVICE_REQUEST: kind._process_service_request,
            MSG_USERAUTH_REQUEST: kind._process_userauth_request,
            MSG_CHANNEL_OPEN: kind._process_channel_open,
        }

    # -- the key exchange ----------------------------------------------------------------------------------------

    def _recv_version(self) -> bool:
        """A client may call its software anything: RFC 4253, 4.2 wants ASCII, OpenSSH takes what comes."""
        try:
            return bool(super()._recv_version())
        except UnicodeDecodeError:
            self.set_extra_info(client_version=self._client_version.decode("ascii", "replace"))
            self._send_kexinit()
            self._kexinit_sent = True
            self._recv_handler = self._recv_pkthdr
            return True

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

    def _process_service_request(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        """paramiko asks for the service before each try; sshd grants it until the client is in."""
        if self._auth_complete:
            self.unimplemented(pktid)
            return
        if self._auth_in_progress:
            self._next_service = USERAUTH
        super()._process_service_request(pkttype, pktid, packet)

    def _process_userauth_request(self, pkttype: int, pktid: int, packet: SSHPacket) -> Any:
        """Answered before what follows is read; those of who is in are passed over (RFC 4252, 5.1)."""
        if self._auth_complete:
            return None
        if not self._auth_in_progress:
            self.unimplemented(pktid)
            return None
        return super()._process_userauth_request(pkttype, pktid, packet)

    async def _finish_userauth(self, begin_auth: bool, method: bytes, packet: SSHPacket) -> None:
        """One try, to its answer. asyncssh would read its configuration anew for each user; there is none."""
        self.began(self._username)
        kind = METHODS.get(method)
        if kind is None:
            self.send_userauth_failure(False)
            return
        attempt = kind(self, self._username, method, packet)
        self._auth = attempt
        await settled(attempt)

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

    # -- what is asked for ---------------------------------------------------------------------------------------

    def granted(self, request: bytes, packet: SSHPacket) -> bool:
        return super().granted(request, packet) or self.request(request, packet.get_remaining_payload())

    def _process_channel_open(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        """What cannot be read is not opened: asyncssh would hang up."""
        asked = SSHPacket(packet.get_remaining_payload())
        kind, number, _, size = asked.get_string(), asked.get_uint32(), asked.get_uint32(), asked.get_uint32()
        bound_packets(size)
        shown, why = kind.decode("ascii", "replace"), "it cannot be read"
        if kind not in OPENS:
            self.refused("tunnel device" if kind == TUNNEL_DEVICE else "channel type", shown)
            why = "this kind of channel is not known"
            self.send_channel_open_failure(number, asyncssh.OPEN_UNKNOWN_CHANNEL_TYPE, why, DEFAULT_LANG)
            return
        try:
            super()._process_channel_open(pkttype, pktid, packet)
        except (PacketDecodeError, asyncssh.ProtocolError):
            self.refused(shown, why)
            self.send_channel_open_failure(number, asyncssh.OPEN_CONNECT_FAILED, why, DEFAULT_LANG)

    def channel(self) -> ServerChannel:
        """A channel for a session that the client opens."""
        return ServerChannel(
            self, self._loop, True, False, False, 0, 0, None, "strict", self._window, self._max_pktsize
        )

    def tcp_channel(self, window: int) -> TcpChannel:
        """A channel for a connection that the client opens."""
        return TcpChannel(self, self._loop, None, "strict", window, self._max_pktsize)

    def unix_channel(self, window: int) -> UnixChannel:
        """A channel for a connection to a unix socket that the client opens."""
        return UnixChannel(self, self._loop, None, "strict", window, self._max_pktsize)


class TargetLine(Quiet, asyncssh.SSHClientConnection):
    """The target's connection. What it says before the log-in is for nobody, and no client is asked to log in."""

    def __init__(self, loop: asyncio.AbstractEventLoop, options: Any) -> None:
        super().__init__(loop, options)
        self._packet_handlers = {
            **{each: what for each, what in self._packet_handlers.items() if each not in SAID_BY_CLIENTS},
            MSG_USERAUTH_BANNER: type(self)._pass_over,
        }

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

    async def connection(
        self, factory: Callable[[], Any], to: tuple[str, int], of: tuple[str, int], window: int
    ) -> TcpChannel:
        """A channel that the target connects ``to`` a host and port, for a client at ``of``."""
        channel = TcpChannel(self, self._loop, None, "strict", window, self._options.max_pktsize)
        await channel.connect(factory, *to, *of)
        return channel

    async def unix_connection(self, factory: Callable[[], Any], path: str, window: int) -> UnixChannel:
        """A channel that the target connects to a unix socket of its own."""
        channel = UnixChannel(self, self._loop, None, "strict", window, self._options.max_pktsize)
        await channel.connect(factory, path)
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
