"""Signs where the trail ends, now and then; called by one process of each host with a writer of the store.

What was signed is never signed anew: a trail that does not go on from the newest head that this host remembers, be
it shorter or written again, must not be made good by us. The memory is written after the commit: a crash between
the two leaves it older than the store, whose own heads it is then brought up to.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.audit.continuity import look
from proxy.audit.heads import Sign, make
from proxy.core.events import TrailRestored, TrailTakenUp
from proxy.core.identity import Who, names
from proxy.core.ports import HeadMemory, Writer
from proxy.core.trail import TrailHead


@dataclass(frozen=True, slots=True)
class Signed:
    """``head``: the newest one there is, to be remembered once it is committed; None where there is none, or where
    something is ``wrong``, in words: then nothing was signed."""

    head: TrailHead | None
    wrong: str = ""


class Signing:
    """Remembers the newest head besides, so that a memory that cannot be written, or was taken away, while the
    gateway runs changes nothing. ``node`` names this host in the trail."""

    def __init__(
        self, sign: Sign, public_keys: Mapping[str, object], memory: HeadMemory, node: str = "gateway"
    ) -> None:
        self._sign = sign
        self._public_keys = public_keys
        self._memory = memory
        self._node = node
        self._last: TrailHead | None = None
        self._begun = 1

    def unit(self, writer: Writer) -> Signed:
        """Sign the trail's end where it has grown since."""
        remembered = self._remembered()
        found = look(writer, remembered, self._public_keys)
        if found.wrong:
            return Signed(None, found.wrong)
        if remembered is None:
            if found.head is None and not found.unsigned:
                return Signed(None)  # an empty trail, and a key of another host, which signs first
            self._take_up(writer, found.head or _FIRST)
        seq, digest = writer.trail_head()
        if seq <= (found.head.seq if found.head else 0):
            return Signed(found.head)
        head = make(seq, digest, writer.now(), self._sign, found.head.origin if found.head else 1)
        writer.put_trail_head(head)
        return Signed(head)

    def restore(self, writer: Writer, by: Who, reason: str) -> tuple[int, int]:
        """Go on from the store as it is, under a new origin; told in the trail. What else is to be in the commit
        comes after, and ``seal`` last. Return the row that tells it, and the last that is known to be lost (0: none
        is)."""
        remembered = self._remembered()
        found = look(writer, remembered, self._public_keys)
        self._begun = 1 + max(each.origin for each in (remembered, found.head, _FIRST) if each is not None)
        lost = remembered if found.wrong and remembered is not None else _FIRST
        event = TrailRestored(
            by[0],
            reason=reason,
            origin=self._begun,
            kept=writer.trail_head()[0],
            lost=lost.seq,
            lost_digest=lost.digest,
            names=names(by),
        )
        return writer.append(event), lost.seq

    def seal(self, writer: Writer) -> TrailHead:
        """Sign the end of a trail that ``restore`` gave a new origin in the same commit."""
        seq, digest = writer.trail_head()
        head = make(seq, digest, writer.now(), self._sign, self._begun)
        writer.put_trail_head(head)
        return head

    def keep(self, head: TrailHead) -> None:
        """Remember a head that is committed. Writes a file; ``Unavailable`` where that cannot be."""
        self._last = head
        self._memory.keep(head)

    def _remembered(self) -> TrailHead | None:
        both = [each for each in (self._last, self._memory.newest()) if each is not None]
        return max(both, key=lambda each: (each.origin, each.seq), default=None)

    def _take_up(self, writer: Writer, head: TrailHead) -> None:
        writer.append(TrailTakenUp(actor="gateway", node=self._node, seq=head.seq, digest=head.digest))


_FIRST = TrailHead(0, "", 0.0, "", "")
