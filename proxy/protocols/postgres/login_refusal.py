"""A target's own refusal of a log-in: what of it a client may read. Pure; called by ``upstream``, told by
``refusals`` and read by ``trial``.

Programs decide by the SQLSTATE, so it goes through. The target's text goes through for those refusals that echo
what the client itself sent (``ECHOES``). All others may name the gateway's credential, or the addresses it comes
from and goes to: of them the client gets words of ours, and the operator's log the target's. A target may lie in
any text: what passes is bounded, holds no control characters, and nothing that only the gateway knows.
"""

import re
from collections.abc import Collection, Mapping

from proxy.core.errors import Unreachable
from proxy.protocols.postgres import messages

PROTOCOL_VIOLATION = "08P01"
CANNOT_CONNECT = "08001"
INVALID_AUTHORIZATION = "28000"
ECHOES = frozenset({"3D000", "42704", "22023", "53300", "55000"})
"""No such database, no such setting, a value that a setting does not take, no connection left, a database that
takes none."""
TEXT_MOST = 500
"""Characters of one field that are kept: a setting's value may be as long as a startup packet."""

_WORDS: Mapping[str, str] = {
    "28P01": "the target does not accept the gateway's credential for this account",
    "28000": "the target does not let this account in",
    "3D000": "the target has no such database",
    "42501": "the target does not give this account the database or a setting that your client asked for",
    "42704": "the target does not know a setting your client asked for",
    "22023": "the target refuses a setting your client asked for",
    "53300": "the target has too many connections",
    "55000": "the target's database takes no connections",
    "55P02": "the target does not let a setting your client asked for be changed",
    "57P03": "the target is starting up or shutting down",
}
_CLIENTS = frozenset({*ECHOES, "42501", "55P02", "57P03"})
"""What somebody other than the gateway's operator can do something about."""
_STATE = re.compile(r"(?!00|01|02)[0-9A-Z]{5}")
"""An SQLSTATE of an error: not of success, a warning or no data."""


class TurnedAway(Unreachable):
    """The target refused the log-in. ``state`` is its SQLSTATE as it came; ``sqlstate`` the one to tell the client;
    ``explanation`` is what stands in DETAIL; ``ours``: what the gateway calls it."""

    ours = ""
    state = ""
    sqlstate = CANNOT_CONNECT
    explanation = ""


class NotUnderstood(TurnedAway):
    """The target breaks on the log-in's own words: poolers do, on a protocol newer than they know."""


def turned_away(body: bytes, asked: bytes, private: Collection[str]) -> TurnedAway:
    """Return the refusal that an ErrorResponse's ``body`` says. ``asked`` is the startup packet sent, ``private``
    the texts that only the gateway knows: one that stands in the target's text, and that the client has not said
    itself, keeps all of that text from the client."""
    fields = {kind: _readable(text) for kind, text in messages.error_fields(body).items()}
    state = fields.get(b"C", "")
    made = NotUnderstood if state == PROTOCOL_VIOLATION else TurnedAway
    said = fields.get(b"M", "")
    passes = said and state in ECHOES and not _tells(body, asked, private)
    words = _WORDS.get(state, "the target refused the log-in")
    hint = "" if state in _CLIENTS else "tell the gateway's operator"
    refusal = made(said, hint=fields.get(b"H", "")) if passes else made(words, hint=hint)
    refusal.ours = words
    refusal.detail = f"{state}: {said}"
    refusal.explanation = fields.get(b"D", "") if passes else ""
    refusal.state = state
    refusal.sqlstate = _told(state)
    return refusal


def _told(state: str) -> str:
    """Return the SQLSTATE for the client. Of a wrong password it would think that the token is meant, and libpq
    blames the password file: the class stays."""
    if state == "28P01":
        return INVALID_AUTHORIZATION
    return state if _STATE.fullmatch(state) else CANNOT_CONNECT


def _tells(body: bytes, asked: bytes, private: Collection[str]) -> bool:
    secrets = (each.encode() for each in private if each)
    return any(each in body and each not in asked for each in secrets)


def _readable(text: bytes) -> str:
    """One line without anything that could act on a terminal, not longer than ``TEXT_MOST``."""
    shown = text.decode("utf-8", "replace")
    kept = shown if len(shown) <= TEXT_MOST else shown[: TEXT_MOST - 1] + "…"
    return "".join(each if each.isprintable() else "?" for each in kept)
