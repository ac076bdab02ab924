"""How a session's processes are made to stop, and the proof that they did: ``sessions.services.TargetControl``.

A process is told to hang up on its own channel, as if its terminal had gone, and the target is asked whether it has
delivered that. Where it has, KILL can follow by the same way. OpenSSH does not for root, nor for a command that it
forces. For root, and where signals were not enough, the gateway then tells the target's kernel itself, by a command
of its own on the same connection: whatever runs beside that command under the same server process is this
session's. What has left its process group (``setsid``) is beyond it.

That command must do no harm. It is not sent where the host runs one command for the account whatever is asked for:
that would run again. It does nothing where its own parent is not a server's process for one connection: where that
has just gone the parent is init, whose children are the whole host.
"""

import asyncio
from contextlib import suppress
from typing import Any

import asyncssh

from proxy.core.records import Note
from proxy.protocols.ssh.channels import SessionPair
from proxy.protocols.ssh.conversation import SshConversation

ANSWERED = 1.0
"""Seconds for the target to say whether it has delivered a signal."""
AGAIN = 4
"""Times that HUP is said once more where it was not delivered."""
PROMPT = 0.05
"""Seconds in which the end of what a signal ends is told."""
HANG_UP = 0.4
"""Seconds a process has after HUP until it is killed."""
ERRAND = 1.0
"""Seconds that command may take."""
ROOT = "root"
"""For whom OpenSSH delivers no signals."""
LAST = 1.0
"""Seconds until the target should have told the end of what was killed."""
CONNECTIONS = ("sshd", "sshd-session", "dropbear")
"""Servers with a process for each connection, as the host's kernel names that."""
TELL = (
    """exec sh -c 'for s in HUP KILL; do all=$(ps -e -o pid= -o ppid= -o comm=); """
    """server=$(echo "$all" | while read p q c; do [ "$p" != "$PPID" ] || echo "${c##*/}"; done); """
    f"""[ "$PPID" -gt 1 ] || exit; case "$server" in {"|".join(CONNECTIONS)}) ;; *) exit;; esac; """
    """echo "$all" | while read p q c; do if [ "$q" = "$PPID" ] && [ "$p" != "$$" ]; then """
    """kill -$s -$p 2>/dev/null || kill -$s $p; fi; done; """
    f"""[ $s = KILL ] || sleep {HANG_UP}; done'"""
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
        await self._opened()
        conversation.stop()
        taken = await self._hung_up()
        if await conversation.quiet(PROMPT) or (taken and await conversation.quiet(HANG_UP)):
            return
        if taken:
            self._kill()
            if await conversation.quiet(PROMPT):
                return
        if self._may_tell(taken):
            await self._tell()
        self._kill()

    async def _opened(self) -> None:
        """What is being opened is there, or is not to be."""
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWERED):
                for each in list(self._conversation.pairs):
                    await each.opened.wait()

    async def _hung_up(self) -> bool:
        """Whether a HUP was delivered. A process that has just begun is not the leader of its group yet, to whom
        OpenSSH sends it: then it is said again."""
        taken = await self._taken()
        for _ in range(AGAIN if self._conversation.target.user != ROOT else 0):
            if taken or await self._conversation.quiet(PROMPT):
                break
            for each in list(self._conversation.pairs):
                each.signal("HUP")
            taken = await self._taken()
        return taken

    async def _taken(self) -> bool:
        """Whether the target has delivered a signal, by its answers."""
        pairs = [each for each in self._conversation.pairs if isinstance(each, SessionPair)]
        asked = [each.taken for each in pairs if each.taken is not None]
        done = (await asyncio.wait(asked, timeout=ANSWERED))[0] if asked else set()
        return any(not each.cancelled() and each.exception() is None and each.result() for each in done)

    def _kill(self) -> None:
        """KILL for what is left, and every channel is closed."""
        for each in list(self._conversation.pairs):
            each.kill()
        self._conversation.target.transport.flush()

    def _may_tell(self, taken: bool) -> bool:
        """Where signals were delivered nothing is forced on the account; where not, it is for root that OpenSSH
        delivers none."""
        allowance, target = self._conversation.allowance, self._conversation.target
        runs = (allowance.shell or allowance.exec) and target.runs_commands()
        return runs and (taken or target.user == ROOT)

    async def _tell(self) -> None:
        """Until nothing runs any more, or the command has had its time."""
        conversation = self._conversation
        conversation.ledger.note(Note("stopped", (("by", "command"),)))
        with suppress(asyncssh.Error, OSError):  # TimeoutError is one
            async with asyncio.timeout(ERRAND):
                await conversation.target.line.session(Errand, command=TELL)
                await conversation.quiet(ERRAND)

    async def stopped(self) -> str:
        """Every channel's process has ended, by what the target says."""
        over = await self._conversation.quiet(LAST)
        return "channels closed by the target" if over and not self._conversation.target_gone else ""


class Errand(asyncssh.SSHClientSession[bytes]):
    """A command of the gateway's own, of which nothing is heard."""

    def session_started(self) -> None: ...

    def data_received(self, data: bytes, datatype: Any) -> None: ...
