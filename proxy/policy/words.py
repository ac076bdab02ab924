"""Decisions for people: durations as they are typed, and the text of ``tidegate config explain``. Pure."""

from collections.abc import Mapping

from proxy.core.access import Decision, Outcome

_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))

_VERDICTS: Mapping[Outcome, str] = {
    Outcome.ALLOW: "allowed",
    Outcome.DENY: "denied",
    Outcome.NEEDS_APPROVAL: "needs approval",
}


def spoken(seconds: float) -> str:
    """A duration as one would type it: ``1h30m``, ``45s``, ``0.5s``."""
    if not 1 <= seconds <= 366 * 86400:
        return f"{seconds:g}s"
    left, parts = round(seconds), []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def explain(decision: Decision) -> str:
    """The decision and every rule that was looked at, one a line; ``>`` marks the one that decided."""
    lines = [f"{_VERDICTS[decision.outcome]}: {decision.reason}"]
    for name, values in (("networks", decision.networks), ("databases", decision.databases)):
        if values:
            lines.append(f"  {name}: {', '.join(values)}")
    lines += [
        f"{'>' if each.rule == decision.rule and each.matched else ' '} rule {each.rule}: {each.why}"
        for each in decision.trace
    ]
    return "\n".join(
        lines if decision.trace else [*lines, "  there are no rules, and without one nothing is allowed"]
    )
