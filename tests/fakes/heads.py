"""What a host remembers of signed heads, in memory."""

from proxy.core.trail import TrailHead

NOTHING_SIGNED = TrailHead(0, "", 0.0, "", "")


class FakeHeadMemory:
    """``core.ports.HeadMemory``. ``head``: None for a host whose key came from another one."""

    def __init__(self, head: TrailHead | None = NOTHING_SIGNED) -> None:
        self.head = head

    def newest(self) -> TrailHead | None:
        return self.head

    def keep(self, head: TrailHead) -> None:
        if self.head is None or (self.head.origin, self.head.seq) < (head.origin, head.seq):
            self.head = head
