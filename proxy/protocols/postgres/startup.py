"""The packets before the log-in: what a client may open a connection with. Pure; called by ``engine`` for each
connection, on bytes nobody has vouched for.

Source: PostgreSQL manual, chapter "Frontend/Backend Protocol", sections "Start-up", "Message Formats" and
"Protocol Versions"; the server's ``ProcessStartupPacket``. Whatever the server would silently change (names cut at
63 bytes, the last of two equal parameters winning) is refused, so that policy and target never mean different
things. Settings pass, since a ``SET`` may follow anyway; they are recorded. Errors: ``BadStartup`` with its
SQLSTATE.
"""

import struct
from dataclasses import dataclass

from proxy.core.errors import PeerError
from proxy.protocols.postgres import messages
from proxy.protocols.postgres.redact import redact_option
from proxy.protocols.postgres.switches import switches

LENGTH_LEAST = 8
LENGTH_MOST = 10_004
"""MAX_STARTUP_PACKET_LENGTH and its length field."""
NAME_MOST = 63
"""NAMEDATALEN - 1: what is longer the server cuts off without a word."""
KEY_LENGTH_3_0 = 4
KEY_LENGTH_3_2 = 32
CANCEL_KEY_MOST = 256
APPLICATION_NAME = "application_name"

PROTOCOL_VIOLATION = "08P01"


class BadStartup(PeerError):
    """A packet that cannot be understood or is not allowed; ``sqlstate`` is what the client is told."""

    code = "protocol"

    def __init__(self, public: str, sqlstate: str = PROTOCOL_VIOLATION, *, hint: str = "") -> None:
        super().__init__(public, hint=hint)
        self.sqlstate = sqlstate


@dataclass(frozen=True, slots=True)
class SslRequest:
    """The client would like TLS; the answer is one byte, S or N."""


@dataclass(frozen=True, slots=True)
class GssRequest:
    """The client would like GSSAPI encryption; the answer is N, and it may ask for TLS after it."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop what session ``pid`` runs, if ``key`` is its key. Gets no answer but the closing of the connection."""

    pid: int
    key: bytes


@dataclass(frozen=True, slots=True)
class Startup:
    """``version`` is what both speak from here on; ``parameters`` are all but user, database, replication and
    protocol options; ``negotiation`` is the NegotiateProtocolVersion to send before AuthenticationOk, or b""."""

    version: int
    user: str
    database: str
    parameters: tuple[tuple[str, str], ...] = ()
    negotiation: bytes = b""

    @property
    def given_name(self) -> bytes:
        """What the client calls itself, byte for byte; b"" where it gives no name. As a parameter of its own it
        counts more than in ``options``, as to the server."""
        named = dict(self.parameters)
        found = named.get(APPLICATION_NAME)
        if found is None:
            settings = switches(named.get("options", ""))
            found = next((value for name, value in reversed(settings) if name.lower() == APPLICATION_NAME), "")
        return _raw(found)

    @property
    def application_name(self) -> str:
        """What the client calls itself, printable ASCII only, for people."""
        return _printable(self.given_name)

    @property
    def key_length(self) -> int:
        """How long a cancel key the client takes: libpq wants exactly 4 bytes in 3.0."""
        return KEY_LENGTH_3_2 if self.version >= messages.PROTOCOL_3_2 else KEY_LENGTH_3_0

    def recorded(self) -> dict[str, str]:
        """The parameters as a recording may keep them: what looks like a secret is ``***``."""
        found = {name: redact_option(name, value) for name, value in self.parameters if name != APPLICATION_NAME}
        if APPLICATION_NAME in dict(self.parameters):
            found[APPLICATION_NAME] = redact_option(APPLICATION_NAME, self.application_name)
        return found


Packet = SslRequest | GssRequest | Cancel | Startup


def length_of(head: bytes) -> int:
    """The length of a packet, of its first 4 bytes, itself included."""
    length = int.from_bytes(head, "big")
    if not LENGTH_LEAST <= length <= LENGTH_MOST:
        raise BadStartup("invalid length of startup packet")
    return length


def parse(packet: bytes) -> Packet:
    """What a packet (without its length field) asks for."""
    if len(packet) < 4:
        raise BadStartup("invalid length of startup packet")
    code = int.from_bytes(packet[:4], "big")
    if code in (messages.SSL_REQUEST_CODE, messages.GSS_REQUEST_CODE):
        if len(packet) != 4:
            raise BadStartup("invalid length of encryption request")
        return SslRequest() if code == messages.SSL_REQUEST_CODE else GssRequest()
    if code == messages.CANCEL_REQUEST_CODE:
        return _cancel(packet)
    return _startup(code, packet)


def _cancel(packet: bytes) -> Cancel:
    key = packet[8:]
    if not 1 <= len(key) <= CANCEL_KEY_MOST:
        raise BadStartup("invalid length of cancel request packet")
    return Cancel(int.from_bytes(packet[4:8], "big"), key)


def _startup(version: int, packet: bytes) -> Startup:
    major, minor = version >> 16, version & 0xFFFF
    if major != 3:
        raise BadStartup(f"unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2", "0A000")
    pairs = _pairs(packet)
    _refuse_duplicates(pairs)
    named = dict(pairs)
    options = tuple(name for name, _ in pairs if name.startswith("_pq_."))
    user = named.get("user", "")
    if not user:
        raise BadStartup("no PostgreSQL user name specified in startup packet", "28000")
    _refuse_replication(named.get("replication", "off"))
    if "options" in named:
        _check_options(named["options"])
    agreed = _agree(version)
    needs_word = agreed != version or options
    return Startup(
        agreed,
        _name("user", user),
        _name("database", named.get("database") or user),
        tuple(_cleaned(name, value) for name, value in pairs if _is_setting(name)),
        messages.negotiate_protocol_version(agreed, options) if needs_word else b"",
    )


def _agree(version: int) -> int:
    """3.2 for anything newer; 3.0 for 3.1, which was never given out (libpq refuses it in a negotiation)."""
    return messages.PROTOCOL_3_2 if version >= messages.PROTOCOL_3_2 else messages.PROTOCOL_3_0


def _pairs(packet: bytes) -> list[tuple[str, str]]:
    """Names and values up to the terminator, which must be the packet's last byte."""
    pairs: list[tuple[str, str]] = []
    offset = 4
    while offset < len(packet) and packet[offset] != 0:
        try:
            name, offset = messages.cstring(packet, offset)
            value, offset = messages.cstring(packet, offset)
        except PeerError:
            raise BadStartup("invalid startup packet layout: expected terminator as last byte") from None
        pairs.append(_text(name, value))
    if offset != len(packet) - 1:
        raise BadStartup("invalid startup packet layout: expected terminator as last byte")
    return pairs


def _text(name: bytes, value: bytes) -> tuple[str, str]:
    if len(name) > NAME_MOST:
        raise BadStartup(f"a startup parameter's name is longer than {NAME_MOST} bytes")
    try:
        if name.lower() == APPLICATION_NAME.encode():  # any bytes are a name to the server, whatever they say
            return name.decode(), value.decode("utf-8", "surrogateescape")
        return name.decode(), value.decode()
    except UnicodeDecodeError:
        raise BadStartup("startup parameters must be UTF-8", "22021") from None


def _refuse_duplicates(pairs: list[tuple[str, str]]) -> None:
    """Names of settings are case-insensitive to the server, which takes the last of equal ones."""
    seen: set[str] = set()
    for name, _ in pairs:
        if name.lower() in seen:
            raise BadStartup(f'startup parameter "{name}" is given twice')
        seen.add(name.lower())


def _name(what: str, value: str) -> str:
    if len(value.encode()) > NAME_MOST:
        raise BadStartup(f"the {what} name is longer than {NAME_MOST} bytes", "42622")
    return value


def _refuse_replication(value: str) -> None:
    """Anything but a clear no would make the session a walsender. The server's ``parse_bool``: unique prefixes."""
    lower = value.lower()
    if not lower or not ("false".startswith(lower) or "no".startswith(lower) or lower in ("of", "off", "0")):
        raise BadStartup(
            "replication connections are not allowed through the gateway",
            "42501",
            hint="connect without the parameter replication",
        )


def _check_options(value: str) -> None:
    """``options`` as a server's command line: only settings (``-c name=value``, ``--name=value``) pass."""
    try:
        settings = switches(value)
    except ValueError as error:
        raise BadStartup(
            f"invalid command-line arguments for server process: {error}",
            "42601",
            hint="options may hold -c name=value and --name=value only",
        ) from None
    for name, _ in settings:
        if len(name.encode()) > NAME_MOST:
            raise BadStartup(f"a setting's name in options is longer than {NAME_MOST} bytes")


def _is_setting(name: str) -> bool:
    return name not in ("user", "database", "replication") and not name.startswith("_pq_.")


def _cleaned(name: str, value: str) -> tuple[str, str]:
    """Names in lower case: two spellings of one setting must not differ for whoever reads them."""
    return (name.lower() if name.lower() == APPLICATION_NAME else name), value


def _raw(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


def _printable(name: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in name)


def upstream_parameters(
    asked: Startup, account: str, database: str, application_name: bytes | None
) -> tuple[tuple[str, str | bytes], ...]:
    """What the target is told: our account, the admitted database, the client's settings, and last the name that
    the session has there; None: whichever the client asked for.

    The target applies ``options`` first and the parameters in order, so nothing the client sent overrides the name.
    """
    settings: list[tuple[str, str | bytes]] = [
        (name, _raw(value))
        for name, value in asked.parameters
        if name != APPLICATION_NAME or application_name is None
    ]
    name = () if application_name is None else ((APPLICATION_NAME, application_name),)
    return (("user", account), ("database", database), *settings, *name)


def upstream_packet(
    asked: Startup, *, account: str, application_name: bytes | None, version: str = "client", database: str = ""
) -> bytes:
    """The StartupMessage for the target. ``version`` is "client" (what the client speaks) or "3.0", for targets
    that break on anything newer; ``database`` defaults to the one asked for; ``application_name``: see
    ``upstream_parameters``."""
    number = messages.PROTOCOL_3_0 if version == "3.0" else asked.version
    parameters = upstream_parameters(asked, account, database or asked.database, application_name)
    packet = messages.startup_packet(parameters, number)
    if len(packet) > LENGTH_MOST:
        raise BadStartup("the startup parameters are too long", "54000")
    return packet


def encode(request: SslRequest | GssRequest | Cancel) -> bytes:
    """The whole packet, as a client sends it."""
    if isinstance(request, Cancel):
        return messages.cancel_request(request.pid, request.key)
    code = messages.SSL_REQUEST_CODE if isinstance(request, SslRequest) else messages.GSS_REQUEST_CODE
    return struct.pack("!II", 8, code)
