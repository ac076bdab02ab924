"""SFTP on its channel: each operation is recorded before it leaves, each file with what passed. Pure; called by
``engine``, in front of the bytes of a ``subsystem sftp`` channel, both ways.

Version 3 (draft-ietf-secsh-filexfer-02), which OpenSSH speaks, and OpenSSH's extensions. One statement from OPEN to
CLOSE: ``get``, ``put``, ``append`` or ``update`` (read and write) and the path, or ``list`` and a folder's; one for
every other operation. What we do not know is refused in the protocol's words, and never leaves.
"""

from collections.abc import Callable, Sequence

from proxy.core.records import Outcome, Record
from proxy.core.steps import Side, Step
from proxy.protocols.ssh.sftp_answers import Answers
from proxy.protocols.ssh.sftp_files import Table
from proxy.protocols.ssh.sftp_requests import Requests


class SftpReader:
    """One channel. ``next_seq`` gives the session's next statement number."""

    def __init__(self, next_seq: Callable[[], int]) -> None:
        self._table = Table(next_seq)
        self._requests = Requests(self._table)
        self._answers = Answers(self._table)

    def feed(self, side: Side, chunk: bytes) -> Sequence[Step]:
        """What to do about bytes that ``side`` sent: ``Observe``, ``Forward``, ``Reply``, and at last ``Close``.
        The bytes of a Forward may be a view of ``chunk``."""
        if self._requests.closed or self._answers.closed or not chunk:
            return []
        return self._requests.feed(chunk) if side == Side.CLIENT else self._answers.feed(chunk)

    def running(self) -> bool:
        """Whether the target owes an answer or a file is open."""
        return bool(self._table.waiting or self._table.handles)

    def finish(self, outcome: Outcome) -> list[Record]:
        """The records that end what is still open when the channel ends; then there is nothing any more."""
        return self._table.finish(outcome)
