"""The demo's SSH target: shells, commands, files and forwards of the machine it runs on, to one user with one key.

A program of its own, started by ``beside``: no sshd is needed. Started by root, it becomes an unprivileged user
before it listens; the host key has been read by then, and no shell it gives can read it. It is a target for
trying the gateway out, nothing to put on a network.
"""

import argparse
import asyncio
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import asyncssh
from asyncssh.channel import SSHChannel

from proxy.cli.demo.beside import LOOPBACK, Place, stay
from proxy.cli.demo.children import POLL_SECONDS, Child, Children, Ended

USER = "ops"
ENCRYPTION = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes256-ctr")
# As sshd's `AcceptEnv LANG LC_*` on Debian, and what terminals say of their colours.
ACCEPTED, ACCEPTED_BEGINNING = ("LANG", "COLORTERM"), "LC_"
PATH = "/usr/local/bin:/usr/bin:/bin"
# Where files can be put and got, besides the home folder.
SCRATCH = b"/tmp"
# A channel that is not read (its program does not take its input) hides that it was closed: looked at, therefore.
LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Box:
    """What the host is: its keys, the home folder and shell of its user, and the loopback ports it forwards to."""

    host_key: asyncssh.SSHKey
    keys: Sequence[asyncssh.SSHKey]
    home: Path
    shell: str
    forward: frozenset[int]


class Host(asyncssh.SSHServer):
    """One client's connection."""

    def __init__(self, box: Box, children: Children) -> None:
        self._box, self._children = box, children

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return False

    def kbdint_auth_supported(self) -> bool:
        return False

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == USER and key in self._box.keys

    def session_requested(self) -> "Session":
        return Session(self._box, self._children)

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        return dest_host in (LOOPBACK, "localhost") and dest_port in self._box.forward


class Session(asyncssh.SSHServerProcess[bytes]):
    """One channel: a shell, a command, sftp or the old scp."""

    def __init__(self, box: Box, children: Children) -> None:
        super().__init__(lambda _: self._run(), lambda channel: Files(channel, box.home), 3, True)
        self._box, self._children = box, children
        self._child: Child | None = None
        self._left: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def subsystem_requested(self, subsystem: str) -> bool:
        return subsystem == "sftp"

    def signal_received(self, signal: str) -> None:
        if self._child is not None:
            self._child.signal(signal)

    def break_received(self, msec: int) -> bool:
        self.signal_received("INT")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self._left.done():
            self._left.set_result(None)

    def resume_feeding(self, datatype: int | None) -> None:
        """Not at once: asyncio's pipe calls this before it looks whether it is closing, and an end that follows the
        last bytes would close it with those still in its buffer (``_UnixWritePipeTransport._write_ready``)."""
        asyncio.get_running_loop().call_soon(self._resume, datatype)

    def _resume(self, datatype: int | None) -> None:
        if datatype in self._paused_write_streams and not self._left.done():
            super().resume_feeding(datatype)

    async def _run(self) -> None:
        """Run what was asked for to its end, or to the client's."""
        terminal = self.term_size if self.term_type is not None else None
        child = self._child = self._children.start(self._words(), self._environment(), terminal=terminal)
        finished = False
        try:
            with suppress(asyncssh.Error, OSError):
                # No end of one stream while the other may still have something: the channel's close is both's.
                await self.redirect(child.stdin, child.stdout, child.stderr, send_eof=False)
                finished = await self._ended(child) and await self._said_all(child)
        finally:
            if not finished:
                child.hang_up()
                self.close()
        if finished:
            self._report(child.ended.result())
        await self.wait_closed()

    def _words(self) -> Sequence[str]:
        if self.command is not None:
            return (self._box.shell, "-c", self.command)
        if self.term_type is None:
            return (self._box.shell,)
        # The prompt is ours; the machine's own start-up file would set another.
        quiet = ("--norc",) if self._box.shell.endswith("bash") else ()
        return (self._box.shell, *quiet, "-i")

    def _environment(self) -> Mapping[str, str]:
        """The host's own, and of the client's only what is accepted: nothing else decides what a program does."""
        box = self._box
        sent = {
            name: value
            for name, value in self.env.items()
            if name in ACCEPTED or name.startswith(ACCEPTED_BEGINNING)
        }
        ours = {"PATH": PATH, "HOME": str(box.home), "USER": USER, "LOGNAME": USER, "SHELL": box.shell}
        prompt = {"PS1": f"{USER}@box:$PWD$ "} if self.term_type is not None else {}
        terminal = {"TERM": self.term_type} if self.term_type else {}
        return {"LANG": "C.UTF-8"} | sent | ours | prompt | terminal

    async def _ended(self, child: Child) -> bool:
        """Wait for it; False where the client has gone first."""
        while not child.ended.done():
            if self._left.done() or self.is_closing():
                return False
            either: set[asyncio.Future[Any]] = {child.ended, self._left}
            await asyncio.wait(either, timeout=LOOK_SECONDS, return_when="FIRST_COMPLETED")
        return True

    async def _said_all(self, child: Child) -> bool:
        """Wait until its output is with the client; False where that has gone. A terminal has no end while jobs in
        the background hold it: there, what has been said is enough."""
        while not self._left.done():
            try:
                async with asyncio.timeout(POLL_SECONDS if child.stderr is None else LOOK_SECONDS):
                    await self.stdout.drain()
                    await self.stderr.drain()
                return not self._left.done()
            except TimeoutError:
                if child.stderr is None and child.silent():
                    return True
                if self.is_closing():
                    return False
        return False

    def _report(self, ended: Ended) -> None:
        if self._left.done():
            return
        if ended.signal:
            self.exit_with_signal(ended.signal, ended.core)
        else:
            self.exit(ended.code)


class Files(asyncssh.SFTPServer):
    """Files by the names that a shell there knows them by, in the home folder and the scratch folder only."""

    def __init__(self, channel: "SSHChannel[bytes]", home: Path) -> None:
        super().__init__(cast("asyncssh.SSHServerChannel[bytes]", channel))
        self._home = os.fsencode(home)

    def map_path(self, path: bytes) -> bytes:
        full = os.path.join(self._home, path)  # noqa: PTH118 - bytes
        real = os.path.realpath(full)
        for place in (self._home, SCRATCH):
            if real == place or real.startswith(place + b"/"):
                return full
        raise asyncssh.SFTPPermissionDenied("only the home folder and /tmp are here")

    def exit(self) -> None:
        """sftp ends well: scp takes a channel that closes without saying so for a failure."""
        if self.channel.get_subsystem() is not None:
            self.channel.exit(0)


async def serve(place: Place, box: Box) -> None:
    """Listen until we are asked to end; nothing that was started here runs on."""
    children = Children(box.home)
    server = await asyncssh.listen(
        LOOPBACK,
        place.port,
        server_factory=lambda: Host(box, children),
        server_host_keys=[box.host_key],
        server_version="tidegate-demo",
        config=[],
        encoding=None,
        line_editor=False,
        agent_forwarding=False,
        x11_forwarding=False,
        compression_algs=None,
        encryption_algs=list(ENCRYPTION),
        gss_host=None,
        host_based_auth=False,
        login_timeout=30,
    )
    place.announce()
    async with place.until_asked():
        server.close()
        await children.end()


def box_of(words: Sequence[str]) -> Box:
    """The host as its command line says; files that only root can read are read here."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host-key", required=True)
    parser.add_argument("--keys", required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--forward", type=int, action="append", default=[])
    told = parser.parse_args(words)
    return Box(
        asyncssh.read_private_key(told.host_key),
        asyncssh.read_public_key_list(told.keys),
        told.home.resolve(),
        shutil.which("bash", path=PATH) or "/bin/sh",
        frozenset(told.forward),
    )


if __name__ == "__main__":
    with stay(sys.argv[1:]) as here:
        it = box_of(here.arguments)
        here.become_nobody()
        asyncio.run(serve(here, it))
