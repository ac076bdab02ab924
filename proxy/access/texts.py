"""What people write into requests and revocations: made one line, bounded, fit to be shown anywhere. Pure."""

from proxy.core.errors import PeerError

REASON_LONGEST = 1000


def reason(text: str) -> str:
    """A reason as one line. It is shown in terminals and told to clients, so it may hold no control characters."""
    line = " ".join(text.split())
    if len(line) > REASON_LONGEST:
        raise PeerError(f"a reason has at most {REASON_LONGEST} characters", hint=f"yours has {len(line)}")
    if not line.isprintable():
        raise PeerError("a reason may not hold control characters")
    return line


def shown(text: str, longest: int = 63) -> str:
    """What a stranger sent, fit for the trail: bounded, and without control characters."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text[:longest])
