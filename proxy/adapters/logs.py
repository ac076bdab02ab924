"""The operator's log over structlog: JSON lines, or a readable form on a terminal; never a secret.

``configure`` is called once by the composition root in every process; then ``structlog.get_logger()`` anywhere,
and the standard library's ``logging`` (uvicorn, sqlalchemy, asyncio) goes the same way. Knows nothing of who logs.
"""

import logging
import re
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from proxy.adapters.repeated_lines import RepeatedLines

HIDDEN = "***"
SECRET_KEY = re.compile(
    r"passw|passphrase|(?<![a-z0-9])pass(?![a-z0-9])|pwd|token|secret|authorization|cookie|credential|private|api[_-]?key|access[_-]?key",
    re.IGNORECASE,
)
# Every JWT starts with {" in base64url: its pieces go with it, cut short or whole.
JWT = re.compile(r"eyJ[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*){0,4}")
# A URL's user:password@, as drivers print it in their errors.
URL_PASSWORD = re.compile(r"(://[^/\s:@]*:)[^@/\s]+@")
# A header as HTTP clients print it, or a dict of them.
HEADER = re.compile(r"(authorization[\"']?\s*[:=]\s*[\"']?)(?:\w+\s+)?[^\s\"',}]+", re.IGNORECASE)
MAX_DEPTH = 6


def redact(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """A structlog processor: values under secret-looking keys and JWTs anywhere become ``***``. It runs after
    tracebacks are text, so what an exception quotes is covered too."""
    return {str(key): HIDDEN if _is_secret(str(key)) else _clean(value) for key, value in line.items()}


def redact_text(text: str) -> str:
    """``text`` without JWTs, URL passwords and credentials of HTTP."""
    return HEADER.sub(rf"\1{HIDDEN}", URL_PASSWORD.sub(rf"\1{HIDDEN}@", JWT.sub(HIDDEN, text)))


def _is_secret(key: str) -> bool:
    return SECRET_KEY.search(key) is not None


def _clean(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, bool | int | float | None):
        return value
    if depth >= MAX_DEPTH:
        return HIDDEN
    if isinstance(value, Mapping):
        return {
            str(key): HIDDEN if _is_secret(str(key)) else _clean(each, depth + 1) for key, each in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(each, depth + 1) for each in value]
    return redact_text(repr(value))


def configure(*, json: bool | None = None, level: str = "info", stream: TextIO | None = None) -> None:
    """Send every log line of this process to ``stream`` (standard error). ``json`` None: readable where the stream
    is a terminal, else JSON lines with ``timestamp`` (ISO 8601, UTC), ``level``, ``logger``, ``event``."""
    target = stream or sys.stderr
    as_json = not target.isatty() if json is None else json
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(_formatter(as_json, target))
    handler.addFilter(RepeatedLines(time.monotonic, handler.emit))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        # uvicorn brings handlers of its own; its access log would print query strings
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = name != "uvicorn.access"
    logging.getLogger("sqlalchemy.engine").setLevel(logging.WARNING)
    # It tells of every channel, and from its debug level on of commands and variables, which are the recording's.
    logging.getLogger("asyncssh").setLevel(logging.WARNING)


def _shared() -> list[Processor]:
    return [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        structlog.processors.UnicodeDecoder(),
    ]


def _formatter(as_json: bool, stream: TextIO) -> structlog.stdlib.ProcessorFormatter:
    last: Processor = (
        structlog.processors.JSONRenderer(default=repr)
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_shared(),
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact, last],
    )
