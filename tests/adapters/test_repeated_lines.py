"""What anybody can have written into the log without a log-in is counted, and nothing else is."""

import io
import logging
from collections.abc import Iterator

import pytest
import structlog

from proxy.adapters import logs
from proxy.adapters.repeated_lines import WINDOW, RepeatedLines
from proxy.api.problems import from_error
from proxy.core.errors import Denied


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure(json=True, stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("uvicorn.error", "Invalid HTTP request received."),
        ("asyncio", "SSL handshake failed\nprotocol: <{}>\ntransport: <{}>"),
        ("asyncssh", "Unexpected packet {}"),
    ],
)
def test_rubbish_of_anybody_is_a_line_and_a_count(log: io.StringIO, name: str, text: str) -> None:
    for number in range(500):
        logging.getLogger(name).warning(text.format(number, number))
    assert len(log.getvalue().splitlines()) == 1
    (repeated,) = logging.getLogger().handlers[0].filters
    assert isinstance(repeated, RepeatedLines)
    repeated.flush()
    assert "499 more alike" in log.getvalue().splitlines()[-1]


def test_who_has_not_logged_in_to_the_api_fills_no_log(log: io.StringIO) -> None:
    for _ in range(100):
        from_error(Denied("log in first", code="unauthenticated"))
    assert len(log.getvalue().splitlines()) == 1
    for _ in range(3):
        from_error(Denied("not yours", code="forbidden"))
    assert len(log.getvalue().splitlines()) == 4, "whoever has a name has a reference, which is in the log"


def test_what_only_we_can_cause_is_written_every_time(log: io.StringIO) -> None:
    for _ in range(3):
        logging.getLogger("asyncio").error("Task exception was never retrieved")
        logging.getLogger("uvicorn.error").error("Exception in ASGI application")
        structlog.get_logger("tidegate.worker").info("refused", why="x")
    assert len(log.getvalue().splitlines()) == 9


def test_the_count_is_written_with_the_next_line_after_the_window() -> None:
    now, written = [0.0], list[str]()
    repeated = RepeatedLines(lambda: now[0], lambda record: written.append(record.getMessage()))
    line = logging.LogRecord("asyncssh", logging.WARNING, "", 0, "rubbish", None, None)
    assert [repeated.filter(line) for _ in range(3)] == [True, False, False]
    now[0] = WINDOW
    assert repeated.filter(line)
    assert written == ["ssh: 2 more alike"]
