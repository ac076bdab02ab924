"""Whether a TCP service takes a connection. Async by its shape only; what ``app.trial`` asks of this protocol."""

from proxy.core.errors import TidegateError
from proxy.core.identity import Resource
from proxy.core.trials import Way
from proxy.sessions.dialling import Reached
from proxy.sessions.transport import Stream


class TcpTrial:
    """``protocols.table.Trial`` of TCP: there is nothing to log in with."""

    def ways(self, resource: Resource) -> tuple[Way, ...]:
        """Each account."""
        return tuple(Way(account.name) for account in resource.accounts)

    async def enter(self, stream: Stream, reached: Reached, resource: Resource, way: Way) -> str:
        """A connection is all there is."""
        return ""

    def words(self, error: TidegateError, resource: Resource, way: Way) -> tuple[str, str]:
        """What is wrong, and what to do next."""
        return str(error), ""
