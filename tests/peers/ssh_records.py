"""What the record of an SSH session says, for end-to-end tests."""

import hashlib
from typing import Any

from tests.peers.gateway import Gateway
from tests.peers.proof import until


def statements(gate: Gateway, grant: str) -> list[dict[str, Any]]:
    """Of a grant's newest session, which has ended."""
    return gate.statements(gate.ended(grant, within=15)["id"])


def told(statement: dict[str, Any]) -> tuple[str, str, str, str | None]:
    """What it was and what came of it: (protocol, text, outcome, tag)."""
    return statement["protocol"], statement["text"], statement["outcome"], statement["tag"]


def content(statement: dict[str, Any]) -> dict[str, tuple[int, str]]:
    """Flow -> (size, SHA-256) of what passed."""
    return {each["flow"]: (each["bytes"], each["sha256"]) for each in statement.get("content") or ()}


def digest(data: bytes) -> tuple[int, str]:
    return len(data), hashlib.sha256(data).hexdigest()


def notes(gate: Gateway, session: str, kind: str) -> list[dict[str, Any]]:
    found = gate.call("GET", f"/v1/sessions/{session}/notes", user="carol")["items"]
    return [each["data"] for each in found if each["kind"] == kind]


def live(gate: Gateway, grant: str) -> str:
    """The id of the one live session of a grant."""
    until(lambda: bool(gate.sessions(grant=grant)))
    return str(gate.sessions(grant=grant)[0]["id"])


def ready(gate: Gateway, session: str, wanted: int = 1) -> None:
    """Wait until so many statements are recorded."""
    until(lambda: len(gate.statements(session)) >= wanted)
