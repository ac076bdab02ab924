"""Errors as RFC 9457 problem documents (application/problem+json).

Every refusal of the API is one: ``type`` (``about:blank``, or ``urn:tidegate:CODE`` where a machine may want to
tell it apart), ``title``, ``status``, ``detail`` (the public text), ``hint`` (what to do next), ``code`` and
``reference``: a random id that is in the log beside what may not be told. Knows the error types of ``core``; called
by the application and its guards.
"""

import secrets
from collections.abc import Awaitable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from proxy.api.mistakes import mistake, summary
from proxy.core.errors import Denied, Ended, NotFound, PeerError, TidegateError, Unavailable, Unreachable

MEDIA_TYPE = "application/problem+json"
MAX_FIELDS = 20


def status_of(error: TidegateError) -> int:
    """The HTTP status that an error type means; ``code`` only refines it."""
    by_code = {"unauthenticated": 401, "conflict": 409, "too_many": 429, "too_large": 413, "late": 408}
    by_type: Sequence[tuple[type[TidegateError], int]] = (
        (NotFound, 404),
        (PeerError, by_code.get(error.code, 422)),
        (Denied, by_code.get(error.code, 403)),
        (Unavailable, 503),
        (Unreachable, 502),
        (Ended, 409),
    )
    return next((status for kind, status in by_type if isinstance(error, kind)), 500)


def problem(status: int, detail: str, *, code: str = "", hint: str = "", **more: Any) -> dict[str, Any]:
    """One problem document; empty members are left out."""
    document = {
        "type": f"urn:tidegate:{code}" if code else "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "hint": hint,
        "code": code,
        "reference": secrets.token_hex(6),
        **more,
    }
    return {name: value for name, value in document.items() if value not in ("", None, [])}


def answer(document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The problem as a response. A 401 names the scheme (RFC 9110 section 11.6.1)."""
    sent = dict(headers or {})
    if document["status"] == HTTPStatus.UNAUTHORIZED:
        sent.setdefault("WWW-Authenticate", "Bearer")
    if document["status"] == HTTPStatus.TOO_MANY_REQUESTS:
        sent.setdefault("Retry-After", str(document.get("retry_after", 60)))
    return JSONResponse(dict(document), document["status"], sent, media_type=MEDIA_TYPE)


def install(api: FastAPI) -> None:
    """Make every error of ``api`` a problem document."""
    api.add_exception_handler(TidegateError, _told)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _http)
    api.add_exception_handler(Exception, _unexpected)


def from_error(error: TidegateError) -> dict[str, Any]:
    """The document of an error; its ``detail`` goes to the log only, under the same reference."""
    document = problem(status_of(error), error.public, code=error.code, hint=error.hint)
    log = structlog.get_logger("tidegate.api")
    log.info("refused", code=error.code, status=document["status"], reference=document["reference"], why=str(error))
    return document


async def _told(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TidegateError)  # noqa: S101 - as registered
    return answer(from_error(error))


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    """What FastAPI found wrong with the input: the paths and reasons, never the values (one may be a password)."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as registered
    fields = [mistake(each) for each in error.errors()[:MAX_FIELDS]]
    return answer(problem(422, summary(fields), code="invalid", fields=fields))


async def _http(_request: Request, error: Exception) -> JSONResponse:
    """No such path, wrong method, broken JSON."""
    assert isinstance(error, HTTPException)  # noqa: S101 - as registered
    return answer(problem(error.status_code, str(error.detail)), error.headers)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    """A mistake of ours: the reader gets only the reference, the log everything."""
    document = problem(500, "something went wrong inside the gateway", code="error")
    document["hint"] = f"tell the operator the reference {document['reference']}"
    log = structlog.get_logger("tidegate.api")
    log.error("failed", path=request.url.path, reference=document["reference"], exc_info=error)
    return answer(document)


async def logged(work: Awaitable[None]) -> None:
    """Await what nobody waits for an answer of; an error that says whose fault it is goes to the log."""
    try:
        await work
    except TidegateError as error:
        structlog.get_logger("tidegate.api").warning("not_done", code=error.code, why=str(error))
