"""The words of PostgreSQL's frontend/backend protocol 3: what a message looks like, and how to build or read one.

Source: PostgreSQL manual, part VII, chapter "Frontend/Backend Protocol", sections "Message Formats" and "Error and
Notice Message Fields". Pure bytes; knows neither sessions nor policy. Called by everything in this folder.
Lengths are self-inclusive Int32; every text a peer sent is bounded and every error field optional
(CVE-2026-6666: an ErrorResponse without SQLSTATE crashed a pooler).
"""

import struct
from collections.abc import Iterable, Mapping

from proxy.core.errors import PeerError

PROTOCOL_3_0 = 3 << 16
PROTOCOL_3_2 = 3 << 16 | 2
SSL_REQUEST_CODE = 80877103
GSS_REQUEST_CODE = 80877104
CANCEL_REQUEST_CODE = 80877102
MAX_FRAME = 0x3FFFFFFF
"""No message is as long as 1 GiB (PQ_LARGE_MESSAGE_LIMIT)."""
MAX_TEXT = 8 * 1024
"""Longest text of ours in one error field; libpq takes 30 000 bytes for a whole ErrorResponse before log-in."""

SYNC = b"S\0\0\0\4"
FLUSH = b"H\0\0\0\4"
TERMINATE = b"X\0\0\0\4"
COPY_DONE = b"c\0\0\0\4"
SSL_REQUEST = struct.pack("!II", 8, SSL_REQUEST_CODE)
GSS_REQUEST = struct.pack("!II", 8, GSS_REQUEST_CODE)

_LENGTH = struct.Struct("!I")
_CODE = struct.Struct("!I")


def frame(kind: bytes, body: bytes) -> bytes:
    """One typed message: type byte, self-inclusive length, body."""
    return kind + _LENGTH.pack(len(body) + 4) + body


def terminated(text: str | bytes) -> bytes:
    """A String of the protocol. A NUL inside would end it early and let the rest be read as another field, so it
    becomes a question mark."""
    raw = text.encode("utf-8", "replace") if isinstance(text, str) else text
    return raw.replace(b"\0", b"?") + b"\0"


# -- what a server says -----------------------------------------------------------------------------------------


def authentication_ok() -> bytes:
    return frame(b"R", _CODE.pack(0))


def authentication_cleartext() -> bytes:
    """AuthenticationCleartextPassword: how the token is asked for."""
    return frame(b"R", _CODE.pack(3))


def authentication_sasl(mechanisms: Iterable[str]) -> bytes:
    return frame(b"R", _CODE.pack(10) + b"".join(map(terminated, mechanisms)) + b"\0")


def authentication_sasl_continue(data: bytes) -> bytes:
    return frame(b"R", _CODE.pack(11) + data)


def authentication_sasl_final(data: bytes) -> bytes:
    return frame(b"R", _CODE.pack(12) + data)


def negotiate_protocol_version(version: int, unknown_options: Iterable[str]) -> bytes:
    """NegotiateProtocolVersion: the newest version that is spoken (in full, 0x00030002) and every option that was
    not understood, in the client's own spelling."""
    names = [terminated(name) for name in unknown_options]
    return frame(b"v", struct.pack("!II", version, len(names)) + b"".join(names))


def parameter_status(name: str, value: str) -> bytes:
    return frame(b"S", terminated(name) + terminated(value))


def backend_key_data(pid: int, key: bytes) -> bytes:
    """BackendKeyData: ``key`` is 4 bytes for protocol 3.0, 4 to 256 for 3.2."""
    return frame(b"K", _LENGTH.pack(pid) + key)


def ready_for_query(status: int | bytes) -> bytes:
    """ReadyForQuery with the transaction status I, T or E."""
    return frame(b"Z", status if isinstance(status, bytes) else bytes((status,)))


def error_response(severity: str, sqlstate: str, message: str, detail: str = "", hint: str = "") -> bytes:
    """ErrorResponse. ``severity`` is ERROR, FATAL or PANIC, sent both localised and not (fields S and V)."""
    return frame(b"E", _fields(severity, sqlstate, message, detail, hint))


def notice_response(severity: str, sqlstate: str, message: str, detail: str = "", hint: str = "") -> bytes:
    """NoticeResponse. ``severity`` is WARNING, NOTICE, INFO … Never before AuthenticationOk: libpq and JDBC
    break."""
    return frame(b"N", _fields(severity, sqlstate, message, detail, hint))


def _fields(severity: str, sqlstate: str, message: str, detail: str, hint: str) -> bytes:
    parts = [("S", severity), ("V", severity), ("C", sqlstate), ("M", message), ("D", detail), ("H", hint)]
    return b"".join(kind.encode() + terminated(text[:MAX_TEXT]) for kind, text in parts if text) + b"\0"


# -- what a client says -----------------------------------------------------------------------------------------


def startup_packet(
    parameters: Mapping[str, str] | Iterable[tuple[str, str | bytes]], version: int = PROTOCOL_3_0
) -> bytes:
    """StartupMessage with its length."""
    pairs = parameters.items() if isinstance(parameters, Mapping) else parameters
    body = b"".join(terminated(name) + terminated(value) for name, value in pairs)
    return struct.pack("!II", len(body) + 9, version) + body + b"\0"


def cancel_request(pid: int, key: bytes) -> bytes:
    """CancelRequest with its length."""
    return struct.pack("!III", 12 + len(key), CANCEL_REQUEST_CODE, pid) + key


def password(text: str | bytes) -> bytes:
    return frame(b"p", terminated(text))


def sasl_initial_response(mechanism: str, data: bytes) -> bytes:
    return frame(b"p", terminated(mechanism) + _LENGTH.pack(len(data)) + data)


def sasl_response(data: bytes) -> bytes:
    return frame(b"p", data)


def query(text: str | bytes) -> bytes:
    return frame(b"Q", terminated(text))


def parse(name: bytes, text: str | bytes, types: tuple[int, ...] = ()) -> bytes:
    """Parse: prepares ``text`` under ``name`` with the parameter type oids given."""
    return frame(b"P", terminated(name) + terminated(text) + struct.pack(f"!H{len(types)}I", len(types), *types))


def copy_fail(reason: str) -> bytes:
    return frame(b"f", terminated(reason))


# -- reading ----------------------------------------------------------------------------------------------------


def cstring(body: bytes, offset: int = 0) -> tuple[bytes, int]:
    """The String at ``offset`` and the offset behind its NUL. ``PeerError`` (protocol) when it does not end."""
    end = body.find(b"\0", offset)
    if end < 0:
        raise PeerError("a text in a message does not end", code="protocol")
    return body[offset:end], end + 1


def error_fields(body: bytes) -> dict[bytes, bytes]:
    """Field type -> value of an ErrorResponse's or NoticeResponse's body, also of one that was cut off."""
    return {part[:1]: part[1:] for part in body.split(b"\0") if part}


def parameter(body: bytes) -> tuple[str, str]:
    """Name and value of a ParameterStatus body. ``PeerError`` (protocol) when malformed."""
    name, offset = cstring(body)
    value, _ = cstring(body, offset)
    return name.decode("utf-8", "replace"), value.decode("utf-8", "replace")
