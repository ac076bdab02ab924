"""How a session's processes are made to stop, and the proof that they did: ``sessions.services.TargetControl``.

A process is told to hang up on its own channel, as if its terminal had gone. Servers refuse that for some (OpenSSH
does for root), and some processes do not care; then the gateway tells the target's kernel itself, by a command of
its own on the same connection: whatever runs beside that command under the same server process is this session's.
What has left its process group (``setsid``) is beyond it.

That command must do no harm. It is not sent where the host runs one command for the account whatever is asked for:
that would run again. It does nothing where its own parent is not a server's process for one connection: where that
has just gone the parent is init, whose children are the whole host.
"""

import asyncio
from typing import Any

import asyncssh

from proxy.core.records import Note
from proxy.protocols.ssh.conversation import SshConversation

POLITE = 0.05
"""Seconds for the signals that SSH has a message for: enough for what ends by them."""
HANG_UP = 0.4
"""Seconds a process has after HUP until it is killed."""
ERRAND = 0.6
"""Seconds that command may take."""
LAST = 1.0
"""Seconds until the target should have told the end of what was killed."""
CONNECTIONS = ("sshd", "sshd-session", "dropbear")
"""Servers with a process for each connection, as the host's kernel names that."""
TELL = (
    """exec sh -c 'all=$(ps -e -o pid= -o ppid= -o comm=); """
    """server=$(echo "$all" | while read p q c; do [ "$p" != "$PPID" ] || echo "${{c##*/}}"; done); """
    """[ "$PPID" -gt 1 ] || exit; case "$server" in {servers}) ;; *) exit;; esac; """
    """echo "$all" | while read p q c; do if [ "$q" = "$PPID" ] && [ "$p" != "$$" ]; then """
    """kill -{signal} -$p 2>/dev/null || kill -{signal} $p; fi; done'"""
)
"""For each process that is the server's child as this command is, and is not this one: its group, or itself. Parent
and children are of one look, so that a parent that ends meanwhile has none."""


class Processes:
    """What a conversation runs on its target."""

    goodbye = b""

    def __init__(self, conversation: SshConversation) -> None:
        self._conversation = conversation

    async def abandon(self) -> None:
        """HUP, and KILL for what is left after that."""
        conversation = self._conversation
        conversation.stop()
        for patience, signal in ((POLITE, "HUP"), (HANG_UP, "KILL")):
            if await conversation.quiet(patience) or not conversation.target.commands:
                return
            await self._tell(signal)

    async def _tell(self, signal: str) -> None:
        self._conversation.ledger.note(Note("stopped", (("signal", signal),)))
        errand, command = Errand(), TELL.format(servers="|".join(CONNECTIONS), signal=signal)
        try:
            async with asyncio.timeout(ERRAND):
                await self._conversation.target.line.session(lambda: errand, command=command)
                await errand.done.wait()
        except (asyncssh.Error, OSError):  # TimeoutError is one
            return

    async def stopped(self) -> str:
        """Every channel's process has ended, by what the target says."""
        over = await self._conversation.quiet(LAST)
        return "channels closed by the target" if over and not self._conversation.target_gone else ""


class Errand(asyncssh.SSHClientSession[bytes]):
    """A command of the gateway's own."""

    def __init__(self) -> None:
        self.done = asyncio.Event()

    def session_started(self) -> None: ...

    def data_received(self, data: bytes, datatype: Any) -> None: ...

    def connection_lost(self, exc: Exception | None) -> None:
        self.done.set()
