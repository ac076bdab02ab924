"""The log: what is on a line, and what never is."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from proxy.adapters import logs

JWT = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl-_x"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure(json=True, stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_time_level_and_context(stream: io.StringIO) -> None:
    structlog.get_logger("tidegate.test").bind(session="session-1").info("session_started", statements=3)
    structlog.get_logger("tidegate.test").warning("later")
    first, second = lines(stream)
    assert first["event"] == "session_started"
    assert first["level"] == "info"
    assert first["logger"] == "tidegate.test"
    assert (first["session"], first["statements"]) == ("session-1", 3)
    assert first["timestamp"].endswith("Z")
    assert "session" not in second


def test_the_standard_library_goes_the_same_way(stream: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").error("could not say %s", f"password {JWT}")
    (line,) = lines(stream)
    assert line["logger"] == "uvicorn.error"
    assert "eyJ" not in stream.getvalue()


def test_uvicorns_access_log_is_silent_and_sqlalchemy_quiet(stream: io.StringIO) -> None:
    logging.getLogger("uvicorn.access").info("GET /?token=1")
    logging.getLogger("sqlalchemy.engine").info("SELECT 1")
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "PGPASSWORD",
        "passwd",
        "db_pass",
        "pwd",
        "passphrase",
        "access_token",
        "client_secret",
        "api_key",
        "X-Api-Key",
        "aws_access_key_id",
        "Authorization",
        "proxy-authorization",
    ],
)
def test_secret_keys_are_hidden_at_any_depth(stream: io.StringIO, key: str) -> None:
    structlog.get_logger().info("x", **{key: "hunter2"}, deep={"a": [{key: "hunter2"}]})
    assert "hunter2" not in stream.getvalue()


@pytest.mark.parametrize("key", ["passed", "bypass", "compass", "keyboard", "apikernel"])
def test_other_keys_are_not(stream: io.StringIO, key: str) -> None:
    structlog.get_logger().info("x", **{key: "shown"})
    assert "shown" in stream.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Basic aHVudGVyMg==",
        "{'authorization': 'Basic aHVudGVyMg==', 'host': 'x'}",
        'proxy-authorization="Bearer aHVudGVyMg=="',
        "Authorization=aHVudGVyMg==",
    ],
)
def test_credentials_of_http_are_hidden_in_any_text(text: str) -> None:
    assert "aHVudGVyMg" not in logs.redact_text(text)
    assert logs.redact_text("authorization was refused") == "authorization was refused"


def test_tracebacks_are_redacted(stream: io.StringIO) -> None:
    try:
        raise ValueError(f"bad {JWT} at postgresql://tidegate:hunter2@db/x")
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = lines(stream)
    assert "ValueError" in line["exception"]
    assert "eyJ" not in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


def test_objects_and_deep_things_are_covered_too(stream: io.StringIO) -> None:
    class Thing:
        def __repr__(self) -> str:
            return f"Thing({JWT})"

    deep: Any = JWT
    for _ in range(20):
        deep = [deep]
    structlog.get_logger().info("x", thing=Thing(), deep=deep, pair=(Thing(), {JWT}))
    assert "eyJ" not in stream.getvalue()


def test_a_terminal_gets_a_readable_form(stream: io.StringIO) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    logs.configure(stream=terminal)
    try:
        raise ValueError(JWT)
    except ValueError:
        structlog.get_logger().exception("failed", token=JWT)
    text = terminal.getvalue()
    assert "failed" in text
    assert "ValueError" in text
    assert "eyJ" not in text
    assert not text.startswith("{")


BASE64URL = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", min_size=4, max_size=60)


@given(before=st.text(max_size=20), head=BASE64URL, body=BASE64URL, signature=BASE64URL, keep=st.integers(8, 200))
def test_no_piece_of_a_token_survives_whole_or_cut_short(
    before: str, head: str, body: str, signature: str, keep: int
) -> None:
    token = f"eyJ{head}.eyJ{body}.{signature}"[:keep]
    cleaned = logs.redact_text(f"{before}={token}")
    assert token not in cleaned
    assert "eyJ" not in cleaned.removeprefix(before)
