"""The API as the command line sees it: one blocking HTTP client of the standard library.

Not httpx: its import alone costs most of what ``tidegate token`` may take. TLS is verified with ``TIDEGATE_CA`` or
the system's authorities. Every failure is a ``Failed`` with an exit code.
"""

import json
import os
import ssl
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from proxy.cli.failures import DENIED, UNREACHABLE, USAGE, Failed, exit_code
from proxy.cli.home import Home, SavedLogin

LOOPBACK = ("localhost", "127.0.0.1", "::1")
TIMEOUT = 30.0
MAX_ANSWER = 64 * 1024 * 1024


class Api:
    """Calls to one API at ``url``, as the holder of ``token`` ("" before log-in). ``timeout``: seconds that it may
    be silent."""

    def __init__(self, url: str, *, ca: str = "", token: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Failed(f"{url!r} is no address of an API", hint="it looks like https://host:port", code=USAGE)
        if parts.scheme == "http" and parts.hostname not in LOOPBACK:
            raise Failed(
                f"{url} is not encrypted: passwords and tokens would cross the network in the clear",
                hint="use the https:// address",
                code=USAGE,
            )
        self.url = url.rstrip("/")
        self.host = parts.hostname
        self.ca = ca
        self.timeout = TIMEOUT
        self._port = parts.port
        self._prefix = parts.path.rstrip("/")
        self._token = token
        self._tls = tls_context(ca) if parts.scheme == "https" else None

    def get(self, path: str, **query: object) -> Any:
        """The JSON at ``path``; a query value of None is left out."""
        asked = {name: value for name, value in query.items() if value not in (None, "")}
        return self.call("GET", f"{path}?{urlencode(asked)}" if asked else path)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return self.call("POST", path, body or {})

    def delete(self, path: str) -> Any:
        return self.call("DELETE", path)

    def every(
        self,
        path: str,
        query: Mapping[str, object] | None = None,
        *,
        limit: int = 100,
        most: int = 1000,
        names: dict[str, str] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """The items of a list over its pages, newest first, ``most`` at most. ``names`` takes up what the pages say
        of ids in their items."""
        before: str | None = None
        while most > 0:
            page = self.get(path, limit=min(limit, most), before=before, **(query or {}))
            if names is not None:
                names.update(page.get("names", {}))
            yield from page["items"]
            most -= len(page["items"])
            before = page.get("next")
            if not before:
                return

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer's JSON (None when it has no body)."""
        raw = self.raw(method, path, body)
        try:
            return json.loads(raw) if raw else None
        except ValueError:
            raise Failed(
                f"{self.url} did not answer as a Tidegate API does", hint="is TIDEGATE_API right?"
            ) from None

    def raw(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> bytes:
        """The answer's body as it is."""
        connection = self._connection()
        try:
            connection.request(method, self._prefix + path, *self._sent(body))
            answer = connection.getresponse()
            content = answer.read(MAX_ANSWER)
        except ssl.SSLCertVerificationError as error:
            raise self._not_reachable(
                f"its certificate is not trusted ({error.verify_message})",
                "set TIDEGATE_CA to the file of the authority that signed it",
            ) from None
        except (OSError, HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise self._not_reachable(why, "is the gateway running, and TIDEGATE_API right?") from None
        finally:
            connection.close()
        if answer.status >= 400:
            raise refused(answer, content)
        return content

    def _connection(self) -> HTTPConnection:
        if self._tls is None:
            return HTTPConnection(self.host, self._port, timeout=self.timeout)
        return HTTPSConnection(self.host, self._port, timeout=self.timeout, context=self._tls)

    def _sent(self, body: Mapping[str, Any] | None) -> tuple[bytes | None, dict[str, str]]:
        headers = {"Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if body is None:
            return None, headers
        headers["Content-Type"] = "application/json"
        return json.dumps(body).encode(), headers

    def _not_reachable(self, why: str, hint: str) -> Failed:
        return Failed(f"the API at {self.url} cannot be reached: {why}", hint=hint, code=UNREACHABLE)


def refused(answer: HTTPResponse, content: bytes) -> Failed:
    """The API's problem document as a failure."""
    try:
        found = json.loads(content)
        problem = found if isinstance(found, dict) else {}
    except ValueError:
        problem = {}
    what = str(problem.get("detail") or f"the API answered {answer.status} {answer.reason}")
    return Failed(what, hint=str(problem.get("hint", "")), code=exit_code(answer.status), problem=problem)


def tls_context(ca: str) -> ssl.SSLContext:
    """Verifies the gateway, with the authority in the file ``ca`` or the system's ("")."""
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except (OSError, ssl.SSLError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise Failed(f"TIDEGATE_CA ({ca}) cannot be used: {why}", code=USAGE) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def address(environment: Mapping[str, str], saved: SavedLogin | None) -> tuple[str, str]:
    """(API, CA): from the environment, else as they were at the last log-in."""
    api = environment.get("TIDEGATE_API") or (saved.api if saved else "")
    if not api:
        raise Failed("no API is named", hint="set TIDEGATE_API to its https:// address", code=USAGE)
    ca = environment.get("TIDEGATE_CA") or (saved.ca if saved and saved.api == api.rstrip("/") else "")
    return api.rstrip("/"), str(Path(ca).resolve()) if ca else ""


def logged_in(environment: Mapping[str, str] | None = None) -> Api:
    """The API as the person who is logged in."""
    variables = os.environ if environment is None else environment
    saved = Home(variables).load()
    api, ca = address(variables, saved)
    if saved is None or saved.api != api:
        where = f" (your log-in is for {saved.api})" if saved else ""
        raise Failed(f"you are not logged in at {api}{where}", hint="tidegate login", code=DENIED)
    return Api(api, ca=ca, token=saved.token)


def part(text: str) -> str:
    """``text`` as one piece of a path."""
    return quote(text, safe="")
