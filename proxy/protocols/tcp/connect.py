"""CONNECT: what a client asks, and what it is answered. Pure; called by ``engine``.

Source: RFC 9110 sections 9.3.6 (CONNECT), 11.7 (Proxy-Authorization); RFC 9112 (the syntax); RFC 7617 (Basic);
RFC 9457 (problem documents). Stricter than these where two readers could see two different requests: no bare CR or
LF, no folded line, no body, nothing twice.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from proxy.core.access import Refusal
from proxy.core.errors import Denied, Ended, PeerError, TidegateError, Unavailable, Unreachable
from proxy.core.states import EndReason

END = b"\r\n\r\n"
HEAD_MOST = 16 * 1024
"""Bytes of the request line and all headers."""
HEADERS_MOST = 64
TARGET_MOST = 300
"""Bytes of ``name:port``."""
AGENT_MOST = 100
"""Characters of the client's own name that are kept."""
OK = b"HTTP/1.1 200 Connection established\r\n\r\n"
"""No Content-Length and no body: whatever follows is the target's."""

_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) HTTP/([0-9]\.[0-9])")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
_TARGET = re.compile(rb"([0-9A-Za-z][0-9A-Za-z._@-]*):([0-9]{1,5})")
_ONCE = frozenset({b"host", b"proxy-authorization"})
_BODY = frozenset({b"content-length", b"transfer-encoding"})
_HOW = "ask for: CONNECT RESOURCE:0 HTTP/1.1"


class NotUnderstood(PeerError):
    """A request that is refused for its form, with this HTTP ``status``."""

    def __init__(self, status: HTTPStatus, public: str, hint: str = _HOW) -> None:
        super().__init__(public, hint=hint, code="protocol")
        self.status = status


@dataclass(frozen=True, slots=True)
class Asked:
    """``name:port`` is where the client wants to go (port 0: wherever the resource is); ``user`` is "" where it
    names none, ``token`` "" where it shows none; ``agent`` is what it says of itself."""

    name: str
    port: int
    user: str = ""
    token: str = field(default="", repr=False)
    agent: str = ""


def parse(head: bytes) -> Asked:
    """What a request's head, up to and including its empty line, asks for; ``NotUnderstood`` for any other."""
    line, *lines = head.removesuffix(END).split(b"\r\n")
    name, port = _target(line)
    headers = _headers(lines)
    user, token = credentials(headers.get(b"proxy-authorization", b""))
    agent = "".join(each for each in headers.get(b"user-agent", b"").decode("latin-1") if each.isprintable())
    return Asked(name, port, user, token, agent[:AGENT_MOST])


def _target(line: bytes) -> tuple[str, int]:
    found = _LINE.fullmatch(line)
    if found is None:
        raise NotUnderstood(HTTPStatus.BAD_REQUEST, "that is no HTTP request")
    method, target, version = found.groups()
    if version not in (b"1.0", b"1.1"):
        raise NotUnderstood(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "this listener speaks HTTP/1.1")
    if method != b"CONNECT":
        raise NotUnderstood(HTTPStatus.METHOD_NOT_ALLOWED, "this listener knows no method but CONNECT")
    if len(target) > TARGET_MOST:
        raise NotUnderstood(HTTPStatus.REQUEST_URI_TOO_LONG, "that is too long for the name of a resource")
    named = _TARGET.fullmatch(target)
    if named is None or int(named[2]) > 65535:
        raise NotUnderstood(HTTPStatus.BAD_REQUEST, "CONNECT must name a resource and a port")
    return named[1].decode("ascii"), int(named[2])


def _headers(lines: list[bytes]) -> dict[bytes, bytes]:
    """By name in lower case; of what may stand more than once the last, which nobody asks for."""
    if len(lines) > HEADERS_MOST:
        raise NotUnderstood(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"there are over {HEADERS_MOST} headers")
    headers: dict[bytes, bytes] = {}
    for line in lines:
        found = _FIELD.fullmatch(line)
        if found is None:
            raise NotUnderstood(HTTPStatus.BAD_REQUEST, "a header is not well formed")
        name = found[1].lower()
        if name in _BODY:
            raise NotUnderstood(HTTPStatus.BAD_REQUEST, "a CONNECT has no body")
        if name in _ONCE and name in headers:
            raise NotUnderstood(HTTPStatus.BAD_REQUEST, "a header stands twice")
        headers[name] = found[2]
    return headers


def credentials(value: bytes) -> tuple[str, str]:
    """(user, token) of a Proxy-Authorization: Bearer, or Basic with the token as the password, which is what most
    programs can send. ("", "") where it is neither."""
    scheme, _, rest = value.partition(b" ")
    rest = rest.strip(b" ")
    if scheme.lower() == b"bearer":
        return "", rest.decode("latin-1")
    if scheme.lower() == b"basic":
        try:
            user, _, token = base64.b64decode(rest, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return user, token
    return "", ""


# -- answers ---------------------------------------------------------------------------------------------------

_WHO_ARE_YOU = frozenset({"unauthenticated", Refusal.BAD_TOKEN, Refusal.TOKEN_CUT_SHORT, Refusal.TOKEN_EXPIRED})
_LATE: Mapping[str, HTTPStatus] = {
    EndReason.PROTOCOL_ERROR.value: HTTPStatus.REQUEST_TIMEOUT,
    EndReason.STALLED.value: HTTPStatus.REQUEST_TIMEOUT,
    EndReason.TARGET_UNREACHABLE.value: HTTPStatus.GATEWAY_TIMEOUT,
    EndReason.STORE_LOST.value: HTTPStatus.SERVICE_UNAVAILABLE,
    EndReason.SHUTDOWN.value: HTTPStatus.SERVICE_UNAVAILABLE,
    EndReason.RECORDER_FAILED.value: HTTPStatus.SERVICE_UNAVAILABLE,
}
_HINTS: Mapping[str, str] = {
    Refusal.NO_TLS: "connect with TLS, and send the CONNECT in it",
    Refusal.WRONG_ACCOUNT: "leave the user of Proxy-Authorization empty, or name the account of your grant",
    Refusal.TOKEN_CUT_SHORT: "send all of it in Proxy-Authorization, or use `tidegate connect RESOURCE "
    "--listen PORT`",
    Refusal.TOKEN_EXPIRED: "get a fresh one with `tidegate token RESOURCE`, or use `tidegate connect RESOURCE "
    "--listen PORT`",
}
"""What to do, where the gate's own hint speaks of another protocol."""
_MORE: Mapping[HTTPStatus, tuple[str, ...]] = {
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: (
        'Proxy-Authenticate: Basic realm="tidegate", charset="UTF-8"',
        'Proxy-Authenticate: Bearer realm="tidegate"',
    ),
    HTTPStatus.METHOD_NOT_ALLOWED: ("Allow: CONNECT",),
}


def status_of(error: TidegateError) -> HTTPStatus:
    """The status that says whose fault it is."""
    match error:
        case NotUnderstood():
            return error.status
        case PeerError(code="too_long"):
            return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        case PeerError():
            return HTTPStatus.BAD_REQUEST
        case Denied(code=code) if code in _WHO_ARE_YOU:
            return HTTPStatus.PROXY_AUTHENTICATION_REQUIRED
        case Unreachable():
            return HTTPStatus.BAD_GATEWAY
        case Ended(code=code) if code in _LATE:
            return _LATE[code]
        case Unavailable():
            return HTTPStatus.SERVICE_UNAVAILABLE
    return HTTPStatus.FORBIDDEN


def problem(error: TidegateError, reference: str) -> bytes:
    """The whole answer for a connection that ends with ``error``: a problem document with what may be told, and
    ``reference``, an id a person can quote to the gateway's operator. The status line says it too: that is all that
    most programs show."""
    status = status_of(error)
    public = "the head of that request is too long" if error.code == "too_long" else error.public
    document = {
        "type": f"urn:tidegate:{error.code}",
        "title": status.phrase,
        "status": status.value,
        "detail": public,
        "hint": _HINTS.get(error.code, error.hint),
        "code": error.code,
        "reference": reference,
    }
    body = json.dumps({name: value for name, value in document.items() if value != ""}).encode() + b"\n"
    reason = "".join(each for each in public if " " <= each <= "~") or status.phrase
    lines = (
        f"HTTP/1.1 {status.value} {reason}",
        *_MORE.get(status, ()),
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
    )
    return "\r\n".join(lines).encode("ascii") + END + body
