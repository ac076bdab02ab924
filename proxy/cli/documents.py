"""JSON for machines that people see too: what could drive a terminal or turn its text round is escaped.

Standard library only: ``tidegate token --json`` starts through here.
"""

import json
import re
from typing import Any

_SUSPECT = re.compile(r"[^\x20-\x7e\n]")


def json_text(value: Any, indent: int | None = None) -> str:
    """``value`` as JSON; what is not printable in it is written as ``\\uXXXX`` (RFC 8259, section 7)."""
    return _SUSPECT.sub(_escaped, json.dumps(value, indent=indent, ensure_ascii=False))


def _escaped(found: re.Match[str]) -> str:
    """Only strings hold such characters, so that an escape is right wherever one stands."""
    character = found[0]
    return character if character.isprintable() else json.dumps(character)[1:-1]
