"""What a session is called in the target: its ``application_name``, the client's own, or with a mark of ours before
or behind it. Pure; called by ``engine`` at the log-in.

The server cuts a longer name than ``MOST`` bytes and says so in a NOTICE, replaces what is no printable ASCII, and
tells the client the name that it has then. The client is told what it would be told without a mark. Source: the
server's ``truncate_identifier`` and ``check_application_name``.
"""

from proxy.protocols.postgres import messages

MOST = 63
"""NAMEDATALEN - 1, in bytes."""
ESCAPES_SINCE = 16
"""The server's version from which on other bytes than printable ASCII are shown as ``\\xc3``; before: ``?``."""


def mark(identity: str, session: str) -> bytes:
    """Return who is behind a session and which it is, in ``MOST`` bytes at most; the session's id is whole."""
    head, tail = b"tidegate:", f":{session}".encode()
    return head + cut(identity.encode(), MOST - len(head) - len(tail)) + tail


def in_target(given: bytes, ours: bytes, manner: str) -> bytes | None:
    """Return the name to give to the target instead of what the client asked for, None where that is to stand.
    ``given`` is the client's own name, b"" where it has none; ``manner`` is "client", "prefix" or "suffix"."""
    if not given:
        return ours
    if manner == "client":
        return None
    kept = cut(given, MOST - len(ours) - 1)
    if not kept:
        return ours
    return ours + b":" + kept if manner == "prefix" else kept + b":" + ours


def told(parameters: list[bytes], given: bytes, manner: str) -> list[bytes]:
    """Return the target's ParameterStatus messages (and others) of a log-in as the client is to get them: where the
    name has a mark, with the name that the target would have told without."""
    if manner == "client":
        return parameters
    version = _value(parameters, b"server_version").partition(b".")[0]
    shown = cleaned(cut(given, MOST), version.isdigit() and int(version) >= ESCAPES_SINCE)
    ours = messages.frame(b"S", b"application_name\0" + shown + b"\0")
    return [ours if _named(each, b"application_name") else each for each in parameters]


def cut(name: bytes, most: int) -> bytes:
    """Return the first ``most`` bytes of a name in UTF-8, without a part of a character."""
    end = max(most, 0)
    if len(name) <= end:
        return name
    while end and name[end] & 0xC0 == 0x80:
        end -= 1
    return name[:end]


def cleaned(name: bytes, escapes: bool) -> bytes:
    """Return a name as the server keeps it."""
    return b"".join(bytes((byte,)) if 32 <= byte < 127 else b"\\x%02x" % byte if escapes else b"?" for byte in name)


def _named(message: bytes, name: bytes) -> bool:
    return message[:1] == b"S" and message[5:].startswith(name + b"\0")


def _value(parameters: list[bytes], name: bytes) -> bytes:
    found = [each[5:].split(b"\0")[1] for each in parameters if _named(each, name)]
    return found[-1] if found else b""
