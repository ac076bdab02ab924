"""The channels that a client opens once it is in, and how many it may have. Async, by asyncssh's callbacks; made by
``conversation``, called by ``client_side``.

Sessions (shells, commands, transfers) and forwarded connections have a limit each, the resource's: sshd's
MaxSessions does not count the latter either. What the client has closed is bounded for itself while it still runs.
"""

from collections.abc import Coroutine
from typing import Any, Protocol

import asyncssh

from proxy.core.targets import SshAllowance, SshTarget
from proxy.protocols.ssh.channels import SessionPair
from proxy.protocols.ssh.ledger import Ledger
from proxy.protocols.ssh.lines import ServerLine
from proxy.protocols.ssh.passing import Pair, Talk
from proxy.protocols.ssh.tunnels import SocketWay, TcpWay, TunnelEnd, TunnelPair
from proxy.protocols.ssh.upstream import WINDOW

LINGERING = 4
"""Times as many channels may be there with those that the client has closed, and whose commands still run."""
SHARED = 16 * 1024 * 1024
"""Bytes that the windows of forwarded connections have between them: with more of them each newer one has less, so
that many cannot fill the memory."""
WINDOW_LEAST = 128 * 1024


class OpeningTalk(Talk, Protocol):
    """The conversation, as this file sees it."""

    allowance: SshAllowance
    pairs: set[Pair]
    frozen: bool

    def client_gone(self, error: Exception | None) -> None: ...


class SshOpenings:
    """``client_side.Openings`` of one conversation."""

    def __init__(self, talk: OpeningTalk, limits: SshTarget) -> None:
        self._talk = talk
        self._limits = limits
        self._more_sessions = True

    @property
    def ledger(self) -> Ledger:
        return self._talk.ledger

    def session_opened(self, line: ServerLine) -> Any:
        """A channel on which something may be started, and its callbacks. ``asyncssh.ChannelOpenError`` where there
        is to be none, here and below."""
        if not self._more_sessions:
            self._refuse(
                asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "the client has said that it opens no more sessions"
            )
        self._bound(SessionPair, self._limits.max_sessions, "sessions")
        channel = line.channel()
        pair = SessionPair(self._talk, channel, self._talk.allowance.environment)
        channel.refused = self.ledger.denied
        channel.environment = pair.variable
        channel.signalled = pair.signalled
        channel.end_of_write = pair.reader_gone
        channel.awaited = pair.awaited
        self._talk.pairs.add(pair)
        return channel, pair

    def tunnel_opened(self, line: ServerLine, to: tuple[str, int], of: tuple[str, int]) -> Any:
        """A channel to somewhere else, once that is decided and there."""
        window = self._tunnel_window()
        channel = line.tcp_channel(window)
        return channel, self._tunnelled(TunnelPair(self._talk, channel, TcpWay(*to, *of), window))

    def socket_opened(self, line: ServerLine, path: str) -> Any:
        """A channel to a unix socket of the target's, once that is decided and there."""
        window = self._tunnel_window()
        channel = line.unix_channel(window)
        return channel, self._tunnelled(TunnelPair(self._talk, channel, SocketWay(path), window))

    def no_more_sessions(self) -> None:
        """The client opens none any more (OpenSSH's PROTOCOL, 2.2): who takes it over shall not either."""
        self._more_sessions = False

    def client_gone(self, error: Exception | None) -> None:
        self._talk.client_gone(error)

    def _tunnelled(self, pair: TunnelPair) -> Coroutine[Any, Any, TunnelEnd]:
        self._talk.pairs.add(pair)  # at once: it counts while the target is asked
        return self._connected(pair)

    async def _connected(self, pair: TunnelPair) -> TunnelEnd:
        try:
            return await pair.open()
        except asyncssh.ChannelOpenError:
            self._talk.pairs.discard(pair)
            raise

    def _tunnel_window(self) -> int:
        """What one more forwarded connection may have on its way, in bytes each way."""
        return window_of(self._bound(TunnelPair, self._limits.max_forwards, "forwarded connections"))

    def _bound(self, kind: type[Pair], most: int, what: str) -> int:
        """How many channels of a ``kind`` there are, where there may be one more."""
        if self._talk.frozen:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "the session has ended")
        there = [each for each in self._talk.pairs if isinstance(each, kind)]
        if sum(not each.client_gone for each in there) >= most:
            self._refuse(asyncssh.OPEN_RESOURCE_SHORTAGE, f"no more than {most} {what} at once")
        if len(there) >= LINGERING * most:
            self._refuse(asyncssh.OPEN_RESOURCE_SHORTAGE, f"no more than {LINGERING * most} {what} that still run")
        return len(there)

    def _refuse(self, code: int, why: str) -> None:
        self.ledger.denied("channel", why)
        raise asyncssh.ChannelOpenError(code, why)


def window_of(others: int) -> int:
    """The window of a forwarded connection in bytes, where there are ``others``."""
    return max(WINDOW_LEAST, min(WINDOW, SHARED // (others + 1)))
