"""What access may cost, as the configuration says it now. Built by ``app``; read through a callable, so that a
reload is seen by the next request or connection."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AccessLimits:
    """``sessions_per_grant`` 0: any number. ``request_life``: seconds until an undecided request lapses.
    ``pending_per_identity``: undecided requests of one person. ``window``: seconds in which equal refusals of one
    source are counted instead of written one by one."""

    sessions_per_grant: int = 0
    request_life: float = 86_400.0
    pending_per_identity: int = 20
    window: float = 10.0
