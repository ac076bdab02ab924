"""Signed heads that somebody kept elsewhere, read from a file or an address; for ``tidegate audit verify``.

What is read is somebody else's text: whoever can write there may lie. Here it is only given its form; what each
head proves is asked of its signature.
"""

import json
import os
import ssl
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, build_opener

from proxy.cli.client import Api, tls_context
from proxy.cli.failures import FAILED, UNREACHABLE, USAGE, Failed

BYTES_MOST = 64 * 1024 * 1024
HEADS_MOST = 10_000
"""Of the newest: each vouches for all rows before it."""
A_TIME = 100
TIMEOUT = 30.0

Head = dict[str, Any]


def read(place: str) -> list[Head]:
    """Return the heads in the file at ``place``, in those of a folder, or at an ``https`` address, oldest first.
    ``Failed`` where there are none: nothing would have been compared, and that must not look like a yes."""
    found = {(each["origin"], each["seq"], each["digest"]): each for each in parsed(_texts(place))}
    if not found:
        raise Failed(f"{place} holds no signed head", hint="is it what `GET /v1/audit/heads` gives?", code=FAILED)
    return [found[key] for key in sorted(found)][-HEADS_MOST:]


def parsed(texts: Iterable[str]) -> Iterator[Head]:
    """The heads in texts that are JSON, or lines of it; what is none (a line that a full disk cut short) is passed
    over."""
    for text in texts:
        try:
            yield from _in(json.loads(text))
        except (ValueError, RecursionError):
            for line in text.splitlines():
                try:
                    yield from _in(json.loads(line))
                except (ValueError, RecursionError):
                    continue


def _in(value: Any) -> Iterator[Head]:
    """The heads in a document: one, a list of them, or a page as the API gives it."""
    if isinstance(value, dict) and isinstance(value.get("items"), list):
        value = value["items"]
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, dict):
            head = _head(each)
            if head is not None:
                yield head


def _head(value: Mapping[str, Any]) -> Head | None:
    seq, origin = value.get("seq"), value.get("origin", 1)
    words = [value.get(name) for name in ("digest", "kid", "signature")]
    if (
        type(seq) is not int
        or type(origin) is not int
        or seq < 1
        or not all(isinstance(each, str) for each in words)
    ):
        return None
    at = value.get("at_epoch")
    if not isinstance(at, int | float):
        try:
            at = datetime.fromisoformat(str(value.get("at"))).timestamp()
        except ValueError:
            return None
    digest, kid, signature = words
    return {"seq": seq, "origin": origin, "digest": digest, "kid": kid, "signature": signature, "at_epoch": at}


def _texts(place: str) -> Iterator[str]:
    if "://" in place:
        yield _fetched(place)
        return
    path = Path(place)
    try:
        files = sorted(path.glob("*.json*")) if path.is_dir() else [path]
        for each in files:
            with each.open("rb") as file:
                yield file.read(BYTES_MOST).decode("utf-8", "replace")
    except OSError as error:
        raise Failed(f"{place} cannot be read: {error.strerror}", code=USAGE) from None


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _fetched(url: str) -> str:
    if urlsplit(url).scheme != "https":
        raise Failed(f"{url} is no https address", hint="what comes in the clear can be anybody's", code=USAGE)
    context = tls_context("")
    authority = os.environ.get("TIDEGATE_CA")
    if authority:
        context.load_verify_locations(cafile=authority)
    try:
        with build_opener(_NoRedirect, HTTPSHandler(context=context)).open(url, timeout=TIMEOUT) as answer:
            content: bytes = answer.read(BYTES_MOST)
    except (URLError, OSError, ssl.SSLError, ValueError) as error:
        raise Failed(f"{url} cannot be read: {error}", code=UNREACHABLE) from None
    return content.decode("utf-8", "replace")


def pinned(keys: Iterable[str]) -> Mapping[str, object]:
    """Return kid -> public key of keys that are written ``KID=BASE64URL``, as ``GET /v1/audit/keys`` gives them."""
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        from proxy.audit.heads import decoded
    except ImportError:
        raise Failed(
            "--key needs the server's packages", hint="pip install 'tidegate[server]'", code=USAGE
        ) from None
    found: dict[str, object] = {}
    for each in keys:
        kid, _, text = each.partition("=")
        try:
            found[kid] = Ed25519PublicKey.from_public_bytes(decoded(text))
        except ValueError:
            raise Failed(
                f"{each} is no key", hint="--key KID=BASE64URL, see GET /v1/audit/keys", code=USAGE
            ) from None
    return found


def unsigned(heads: Iterable[Head], keys: Mapping[str, object]) -> list[str]:
    """Return what is wrong with heads that the pinned keys did not sign."""
    from proxy.audit.heads import problem
    from proxy.core.trail import TrailHead

    names = ("seq", "digest", "at_epoch", "kid", "signature", "origin")
    return [bad for each in heads if (bad := problem(TrailHead(*(each[name] for name in names)), keys))]


def compared(api: Api, heads: list[Head], keys: Mapping[str, object]) -> dict[str, Any]:
    """Return what the trail says of the heads. With pinned ``keys`` their signatures are checked here: then who
    runs the gateway cannot say by which key they should be signed."""
    told: dict[str, Any] = {"heads": len(heads), "newest": heads[-1]["seq"], "good": 0, "explained": 0}
    problems: list[str] = []
    bad = unsigned(heads, keys) if keys else []
    for begin in range(0, len(heads), A_TIME):
        found = api.post("/v1/audit/heads/compare", {"items": heads[begin : begin + A_TIME]})
        told["good"] += found["good"]
        told["explained"] += found["explained"]
        problems += found["problems"]
        bad += [] if keys else found["unsigned"]
    return {**told, "problems": problems, "unsigned": bad, "ok": not problems and not bad and told["good"] > 0}
