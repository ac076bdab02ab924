"""A client and a target that talk SSH: ``sessions.conversation.Conversation`` over any number of channels. Async;
made by ``engine`` for one session, which it records for.

Owns the channels, decides what may be done on them, and ends them all.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any

import asyncssh

from proxy.core.access import Outcome as Decided
from proxy.core.actions import Action
from proxy.core.records import Note, Outcome, Record
from proxy.core.states import EndReason
from proxy.core.targets import SshAllowance, SshTarget
from proxy.protocols.ssh import commands
from proxy.protocols.ssh.channels import SessionPair
from proxy.protocols.ssh.client_side import ClientSide
from proxy.protocols.ssh.ledger import Ledger
from proxy.protocols.ssh.openings import SshOpenings
from proxy.protocols.ssh.passing import REFUSED, Pair
from proxy.protocols.ssh.upstream import TargetSide
from proxy.protocols.ssh.words import advised
from proxy.sessions.conversation import Farewell
from proxy.sessions.session import Session

ABORTED = 1.5
"""Seconds after the end until the target's line is given up: it may still be saying how processes ended."""
SHOWN = 0.01
"""Seconds a client has to show what it was told on its channels."""


class SshConversation:
    """``allowance``: what the account may do; ``pairs``: the channels that are open; ``openings``: opens them;
    ``frozen``: it opens none any more, since the session has ended."""

    def __init__(
        self, session: Session, ledger: Ledger, client: ClientSide, target: TargetSide, allowance: SshAllowance
    ) -> None:
        self.ledger = ledger
        self.outcomes = ledger.outcomes
        self.target = target
        self.broken = False  # SSH says so itself where it ends well
        self.target_gone = False
        self.muted = False
        self.cut = False
        self._told = False
        self._words = "the target closed the connection"
        self._session = session
        self._client = client
        self.allowance = allowance
        options = session.admission.resource.options if session.admission else None
        self.openings = SshOpenings(self, options if isinstance(options, SshTarget) else SshTarget())
        account = session.admission.account.name if session.admission else ""
        self.client_gone = partial(gone, session)
        self.decided = partial(decided, session, allowance, account)
        self.pairs: set[Pair] = set()
        self.frozen = False
        self._tasks: asyncio.TaskGroup | None = None
        self._quiet = asyncio.Event()

    @property
    def statements(self) -> int:
        return self.ledger.statements

    # -- for the kernel ------------------------------------------------------------------------------------------

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """The client may open channels from now on."""
        self._tasks = tasks
        self.target.watcher.gone = self._lost
        self._client.transport.trust()
        self._client.visitor.inside = self.openings

    def running(self) -> bool:
        return any(each.running() for each in self.pairs)

    def activity(self) -> tuple[int, bool]:
        """What went through channels: keepalives are nobody's doing. A shell at its prompt is no work, and neither
        is a connection that is open."""
        work = any(each.running() and not each.waits for each in self.pairs)
        return self.ledger.moved, work

    def stop(self) -> None:
        """HUP for every process."""
        for each in list(self.pairs):
            each.stop()
        self.target.transport.flush()

    def warn(self, text: str, hint: str) -> bool:
        """On every terminal; where there is none there is nobody to read it."""
        for each in self._shells():
            each.say(advised(text, hint))
        return True

    def freeze(self, farewell: Farewell | None) -> None:
        """SSH has messages of its own, so something may be said at once: on every channel, and in the
        disconnect."""
        if self.frozen:
            return
        self.frozen = True
        self._client.transport.freeze()
        if farewell is None:
            return
        words = advised(farewell.text, farewell.hint)
        self.ledger.note(Note("farewell", (("reason", farewell.reason.value), ("text", farewell.text))))
        self.muted = self.cut = True
        self._words = words
        for each in list(self.pairs):
            if isinstance(each, SessionPair) and not each.client_gone:
                each.say(words)
                each.client.exit(REFUSED)
                self._told = True
        self._client.line.hurry()
        self._client.transport.flush()

    async def whole(self, patience: float) -> None:
        """The goodbye to the connection. A moment after those on its channels: a client that reads both at once
        ends before it shows them."""
        if self._told:
            await asyncio.sleep(min(SHOWN, patience))
        self._client.disconnect(self._words)
        self.mute()

    def mute(self) -> None:
        self.muted = True

    async def quiet(self, patience: float) -> bool:
        """Whether nothing runs at the target any more, by what that says, within so many seconds."""
        self._look()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._quiet.wait()
        return not self.running()

    def left(self, outcome: Outcome) -> Sequence[Record]:
        # What still waits for the target's answer would wait for ever: nobody reads the line any more.
        asyncio.get_running_loop().call_later(ABORTED, self.target.line.abort)
        records = [record for each in self.pairs for record in each.finish(outcome)] + list(self.ledger.left())
        for record in records:
            self.ledger.count(record)
        return records

    def holds(self) -> int:
        """See ``Weight.holds``."""
        return self._client.holds() + self.target.holds()

    def press(self, on: bool) -> None:
        """See ``Weight.press``."""
        self._client.transport.press(on)

    def close(self) -> None:
        """See ``Conversation.close``. asyncssh's own objects may live on for a while; they know nobody here."""
        self.pairs.clear()
        self._client.forget()
        self.target.forget()
        self._tasks = None
        self.client_gone, self.decided = partial(_nothing), partial(_over)
        self.ledger.forget()
        del self.openings

    # -- for the channels ----------------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Have something done beside; after the end nothing begins any more, and nobody would wait for it."""
        if self.frozen:
            work.close()
            return
        if self._tasks is None:
            raise AssertionError("the conversation has not been started")
        self._tasks.create_task(self._guarded(work))

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            self.ledger.failed(error)

    def over(self, pair: Pair) -> None:
        self.pairs.discard(pair)
        self._look()

    # -- the end -------------------------------------------------------------------------------------------------

    def _shells(self) -> Sequence[SessionPair]:
        return [each for each in self.pairs if isinstance(each, SessionPair) and each.terminal and each.target]

    def _look(self) -> None:
        if self.running():
            self._quiet.clear()
        else:
            self._quiet.set()

    def _lost(self, error: Exception | None) -> None:
        self.target_gone = True
        self._quiet.set()
        self._session.end(EndReason.TARGET_CLOSED, str(error) if error else "")


def gone(session: Session, error: Exception | None) -> None:
    """The client has left, or what it said could not be understood."""
    if isinstance(error, asyncssh.ProtocolError | asyncssh.MACError):
        session.end(EndReason.PROTOCOL_ERROR, str(error))
    else:
        session.end(EndReason.CLIENT_CLOSED)


def _nothing(_: Exception | None) -> None:
    """What comes of it once all is over."""


async def _over(_: Action) -> str:
    """What ``decided`` says once it is over."""
    return "the session has ended"


async def decided(session: Session, allowance: SshAllowance, account: str, action: Action) -> str:
    """Why it may not be: the account's allowance, then whatever rules there are; "" where it may."""
    found = commands.allowed(action, allowance, account)
    if found.outcome is Decided.ALLOW:
        found = await session.decide(action)
    return "" if found.outcome is Decided.ALLOW else found.reason or "this is not allowed"
