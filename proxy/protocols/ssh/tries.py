"""One try of a client to log in, by each method that is taken. Made by ``lines.ServerLine``, which waits for its
answer before it reads on (RFC 4252, 5.1); leans on asyncssh's insides, and knows no tokens.

What cannot be read as a password is a wrong one, as it is for sshd: asyncssh would hang up, and nobody would learn
that a paste went wrong. So each is a try that is counted.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from asyncssh.auth import (
    MSG_USERAUTH_INFO_RESPONSE,
    MSG_USERAUTH_PK_OK,
    ServerAuth,
    _ServerKbdIntAuth,
    _ServerPasswordAuth,
    _ServerPublicKeyAuth,
)
from asyncssh.packet import SSHPacket, String

UNREADABLE = "\ufffd"
"""Stands for a password that is no text; no token has it."""


FAILED_AFTER = 0.005
"""Seconds that a failure takes at least, as of sshd (auth2.c): paramiko's newer transport has a race that an answer
which is earlier wins."""


class KeyTry(_ServerPublicKeyAuth):
    """A key or a certificate, offered or signed with."""

    async def _start(self, packet: SSHPacket) -> None:
        signed, algorithm, key = packet.get_boolean(), packet.get_string(), packet.get_string()
        said = packet.get_consumed_payload() if signed else b""
        signature = packet.get_string() if signed else b""
        packet.check_end()
        conn: Any = self._conn
        if not await conn.validate_public_key(self._username, key, said, signature):
            await asyncio.sleep(FAILED_AFTER)
            self.send_failure()
        elif signed:
            await self.send_success()
        else:
            self.send_packet(MSG_USERAUTH_PK_OK, String(algorithm), String(key))


class PasswordTry(_ServerPasswordAuth):
    """A password."""

    async def _start(self, packet: SSHPacket) -> None:
        change, password = packet.get_boolean(), packet.get_string()
        if change:
            packet.get_string()
        packet.check_end()
        conn: Any = self._conn
        if not change and await conn.validate_password(self._username, text_of(password)):
            await self.send_success()
        else:
            await asyncio.sleep(FAILED_AFTER)
            self.send_failure()


class QuestionTry(_ServerKbdIntAuth):
    """A question, and the answer to it (RFC 4256)."""

    async def _start(self, packet: SSHPacket) -> None:
        """Whatever languages and devices it names: there is one question."""
        conn: Any = self._conn
        await self._send_challenge(await conn.get_kbdint_challenge(self._username, "", ""))

    def _process_info_response(self, pkttype: int, pktid: int, packet: SSHPacket) -> Any:
        count = packet.get_uint32()
        answers = [text_of(packet.get_string()) for _ in range(count)]
        packet.check_end()
        self.create_task(self._validate_response(answers))
        return settled(self)

    async def _validate_response(self, responses: Any) -> None:
        conn: Any = self._conn
        if await conn.validate_kbdint_response(self._username, responses):
            await self.send_success()
        else:
            await asyncio.sleep(FAILED_AFTER)
            self.send_failure()

    _packet_handlers = {MSG_USERAUTH_INFO_RESPONSE: _process_info_response}  # noqa: RUF012 (asyncssh's, per class)


METHODS: Mapping[bytes, Any] = {
    b"publickey": KeyTry,
    b"password": PasswordTry,
    b"keyboard-interactive": QuestionTry,
}


async def settled(attempt: ServerAuth) -> None:
    """Returns when a try has its answer, or its question has been asked. Its errors are its own task's."""
    if attempt.task is not None:
        await asyncio.wait([attempt.task])


def text_of(word: bytes) -> str:
    """A password as text."""
    try:
        return word.decode()
    except UnicodeDecodeError:
        return UNREADABLE
