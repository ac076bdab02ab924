"""CONNECT as bytes: what is understood, what is refused and with which words."""

import base64
import json

import pytest

from proxy.access.refusals import refused
from proxy.core.access import Refusal
from proxy.core.errors import Denied, Ended, PeerError, TidegateError, Unavailable, Unreachable
from proxy.core.states import EndReason
from proxy.protocols.tcp import connect
from proxy.protocols.tcp.connect import Asked, NotUnderstood, parse

LINE = b"CONNECT echo:0 HTTP/1.1\r\n"
BASIC = b"Proxy-Authorization: Basic " + base64.b64encode(b"any:e.y.J") + b"\r\n"


def head(*lines: bytes, first: bytes = LINE) -> bytes:
    return first + b"".join(lines) + b"\r\n"


@pytest.mark.parametrize(
    ("sent", "asked"),
    [
        (head(), Asked("echo", 0)),
        (head(b"Proxy-Authorization: Bearer e.y.J\r\n"), Asked("echo", 0, "", "e.y.J")),
        (head(b"proxy-authorization:bEaReR   e.y.J \t\r\n"), Asked("echo", 0, "", "e.y.J")),
        (head(BASIC), Asked("echo", 0, "any", "e.y.J")),
        (
            head(
                b"Host: cache:6379\r\n", b"User-Agent: curl/7\x9f8\r\n", first=b"CONNECT cache.a:6379 HTTP/1.0\r\n"
            ),
            Asked("cache.a", 6379, "", "", "curl/78"),
        ),
        # credentials that are none: the answer is 407, not 400
        (head(b"Proxy-Authorization: Basic !!!\r\n"), Asked("echo", 0)),
        (head(b"Proxy-Authorization: Basic /w==\r\n"), Asked("echo", 0)),
        (head(b"Proxy-Authorization: Digest x\r\n"), Asked("echo", 0)),
        (head(b"Proxy-Authorization:\r\n"), Asked("echo", 0)),
        (head(*[b"X: y\r\n"] * connect.HEADERS_MOST), Asked("echo", 0)),
    ],
)
def test_what_is_asked(sent: bytes, asked: Asked) -> None:
    assert parse(sent) == asked


def test_the_token_is_not_shown() -> None:
    assert "e.y.J" not in repr(parse(head(BASIC)))


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\r\n\r\n", 400),
        (head(first=b"\x00\x00\x00\x08\x04\xd2\x16\x2f\r\n"), 400),
        (head(first=b"CONNECT  echo:0 HTTP/1.1\r\n"), 400),
        (head(first=b"CONNECT echo:0\tHTTP/1.1\r\n"), 400),
        (head(first=b"CONNECT echo:0 HTTP/1.1 \r\n"), 400),
        (head(first=b"CONNECT echo:0 HTTP/11\r\n"), 400),
        (head(first=b"CONNECT echo HTTP/1.1\r\n"), 400),
        (head(first=b"CONNECT :0 HTTP/1.1\r\n"), 400),
        (head(first=b"CONNECT echo:65536 HTTP/1.1\r\n"), 400),
        (head(first=b"CONNECT echo:+1 HTTP/1.1\r\n"), 400),
        (head(first="CONNECT echo:\u0661 HTTP/1.1\r\n".encode()), 400),
        (head(first=b"CONNECT http://echo:0/ HTTP/1.1\r\n"), 400),
        (head(first=b"CONNECT [::1]:0 HTTP/1.1\r\n"), 400),
        (head(first=b"GET http://echo/ HTTP/1.1\r\n"), 405),
        (head(first=b"connect echo:0 HTTP/1.1\r\n"), 405),
        (head(first=b"PRI * HTTP/2.0\r\n"), 505),
        (head(first=b"CONNECT echo:0 HTTP/0.9\r\n"), 505),
        (head(first=b"CONNECT " + b"e" * connect.TARGET_MOST + b":0 HTTP/1.1\r\n"), 414),
        (head(*[b"X: y\r\n"] * (connect.HEADERS_MOST + 1)), 431),
        (head(b"X: a\r\n", b" folded\r\n"), 400),
        (head(b" X: a\r\n"), 400),
        (head(b"X : a\r\n"), 400),
        (head(b"X\r\n"), 400),
        (head(b": a\r\n"), 400),
        (head(b"X: a\rY: b\r\n"), 400),
        (head(b"X: a\nY: b\r\n"), 400),
        (head(b"X: a\0\r\n"), 400),
        (head(b"X: a\x7f\r\n"), 400),
        (head(b"Content-Length: 0\r\n"), 400),
        (head(b"Content-Length: 5\r\n"), 400),
        (head(b"transfer-encoding: chunked\r\n"), 400),
        (head(b"Host: a\r\n", b"host: a\r\n"), 400),
        (head(BASIC, b"Proxy-Authorization: Bearer other\r\n"), 400),
    ],
)
def test_what_is_not_understood(sent: bytes, status: int) -> None:
    with pytest.raises(NotUnderstood) as refusal:
        parse(sent)
    assert refusal.value.status == status
    assert refusal.value.hint


def test_ok_has_neither_body_nor_length() -> None:
    assert connect.OK == b"HTTP/1.1 200 Connection established\r\n\r\n"


ANSWERS: list[tuple[TidegateError, int]] = [
    (Denied("a token is needed", code="unauthenticated", hint="send it"), 407),
    (refused(Refusal.BAD_TOKEN), 407),
    (refused(Refusal.TOKEN_EXPIRED), 407),
    (refused(Refusal.TOKEN_CUT_SHORT, size=3), 407),
    (refused(Refusal.NO_TLS), 403),
    (refused(Refusal.WRONG_RESOURCE, resource="echo"), 403),
    (refused(Refusal.WRONG_ACCOUNT, account="any"), 403),
    (refused(Refusal.GRANT_REVOKED, by=""), 403),
    (refused(Refusal.TOO_MANY_SESSIONS, limit=1), 403),
    (Ended("your grant was revoked", code=EndReason.GRANT_REVOKED), 403),
    (Ended("it took too long to let the gateway in", code=EndReason.TARGET_UNREACHABLE), 504),
    (Ended("the log-in took too long", code=EndReason.PROTOCOL_ERROR), 408),
    (Ended("the gateway is shutting down", code=EndReason.SHUTDOWN), 503),
    (Unreachable("the target does not answer", detail="10.1.2.3:7000: refused"), 502),
    (Unavailable("grants cannot be verified now"), 503),
    (PeerError("that is too long", code="too_long"), 431),
    (PeerError("that is no header", code="protocol"), 400),
]


@pytest.mark.parametrize(("error", "status"), ANSWERS, ids=[f"{error.code}" for error, _ in ANSWERS])
def test_each_answer_is_a_problem_a_person_can_act_on(error: TidegateError, status: int) -> None:
    lines, _, body = connect.problem(error, "sess_1").partition(b"\r\n\r\n")
    line, *headers = lines.decode("ascii").split("\r\n")
    fields = dict(each.split(": ", 1) for each in headers)
    document = json.loads(body)
    assert line.split(" ")[:2] == ["HTTP/1.1", str(status)]
    assert document["detail"] in line
    assert fields["Content-Length"] == str(len(body))
    assert (fields["Connection"], fields["Content-Type"]) == ("close", "application/problem+json")
    assert (document["status"], document["code"], document["reference"]) == (status, error.code, "sess_1")
    assert ("Proxy-Authenticate: Basic" in lines.decode()) is (status == 407)
    assert ("Proxy-Authenticate: Bearer" in lines.decode()) is (status == 407)
    assert b"10.1.2.3" not in lines + body
    assert b"sslmode" not in body
    assert b"PGPASSWORD" not in body


def test_a_token_cut_short_is_told_where_to_put_all_of_it() -> None:
    assert b"send all of it in Proxy-Authorization" in connect.problem(
        refused(Refusal.TOKEN_CUT_SHORT, size=3), "s"
    )


def test_words_of_others_cannot_make_a_second_answer() -> None:
    words = connect.problem(Denied("revoked by d\u00e4ve\r\nX: y", hint="h"), "sess_1")
    assert words.count(b"\r\n\r\n") == 1
    assert words.startswith(b"HTTP/1.1 403 revoked by dveX: y\r\n")
