"""What came of a request in numbers, for those who decide it: how often and how much, nothing of what was done.

Called by the routes of requests. Reads rows of sessions alone, never a recording.
"""

from itertools import islice

from proxy.access.paging import every
from proxy.api.shapes.access import UseShown
from proxy.core.access import Request
from proxy.core.ports import Reader
from proxy.core.states import SessionStatus

COUNTED_MOST = 10_000
"""Sessions of one grant that are looked at: a pool makes many, and this is one transaction."""


def use_of(request: Request, reader: Reader) -> UseShown:
    """Return the use until now of the grant that ``request`` led to or would extend; all nothing where there is
    none."""
    grant = request.grant or request.extends
    found = every(lambda page: reader.sessions(page, grant=grant)) if grant else iter(())
    now, sessions = reader.now(), list(islice(found, COUNTED_MOST))
    return UseShown(
        grant=grant,
        sessions=len(sessions),
        live=sum(each.status is SessionStatus.LIVE for each in sessions),
        statements=sum(each.totals.statements for each in sessions),
        failed=sum(each.totals.failed for each in sessions),
        bytes_in=sum(each.totals.bytes_in for each in sessions),
        bytes_out=sum(each.totals.bytes_out for each in sessions),
        seconds=sum(max(0.0, (each.ended or now) - each.started) for each in sessions),
        first=min((each.started for each in sessions), default=None),
        last=max((each.started for each in sessions), default=None),
    )
