"""Signs where the trail ends, now and then; called by one process of the gateway with a writer of the store.

What was signed is never signed anew: a trail that is shorter than its last head says, or that was written again up
to it, must not be made good by us, be it that the gateway was restarted in between.
"""

from proxy.audit.heads import Sign, make
from proxy.core.ports import Writer
from proxy.core.trail import TrailHead

PAGE = 1000


class Signing:
    """Remembers the last head, so that one who removes heads while the gateway runs is found out too."""

    def __init__(self, sign: Sign) -> None:
        self._sign = sign
        self._last: TrailHead | None = None

    def unit(self, writer: Writer) -> str:
        """Sign the trail's end where it has grown since; "" or, in words, what is wrong with it: then nothing is
        signed."""
        self._catch_up(writer)
        seq, digest = writer.trail_head()
        last = self._last
        if last is not None:
            rows = writer.trail_after(last.seq - 1, 1)
            if not rows or (rows[0].seq, rows[0].digest) != (last.seq, last.digest):
                return (
                    f"row {last.seq} of the trail is not what was signed: it was written anew, or its end cut off"
                )
        if seq > (last.seq if last else 0):
            writer.put_trail_head(make(seq, digest, writer.now(), self._sign))
        return ""

    def _catch_up(self, writer: Writer) -> None:
        """Read the heads that are newer than the last one we know: our own of last time, or of a life before."""
        while page := writer.trail_heads(self._last.seq if self._last else 0, PAGE):
            self._last = page[-1]
