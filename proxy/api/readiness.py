"""Whether the gateway can serve, and if not, why. Pure but for one read; called by ``/readyz``."""

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.api.services import Facts
from proxy.core.grounds import told
from proxy.core.ports import Node, Reader

SKEW_MOST = 5.0


@dataclass(frozen=True, slots=True)
class NodesFacts:
    """``waiting``: node id -> when the oldest feed item that it has not acted on was published."""

    nodes: tuple[Node, ...]
    position: int
    store_now: float
    waiting: Mapping[str, float]


def look(reader: Reader) -> NodesFacts:
    """What the store says of the nodes, in one snapshot."""
    nodes, position = reader.nodes(), reader.feed_position()
    waiting = {}
    for node in nodes:
        if node.feed_seen < position:
            oldest = reader.feed_after(node.feed_seen, 1)
            waiting[node.id] = oldest[0].at if oldest else 0.0
    return NodesFacts(tuple(nodes), position, reader.now(), waiting)


def reasons(found: NodesFacts, digest: str, facts: Facts, now: float) -> list[str]:
    """Why not; empty when ready. ``now`` is this machine's wall clock, ``digest`` this process's configuration. A
    node of this machine that admits nobody is a reason, since who connects may come to it; where none is here, only
    if all others do."""
    fresh = [each for each in found.nodes if each.heartbeat >= found.store_now - facts.lease]
    serving = [each for each in fresh if not each.drains]
    why = [] if serving else ["no node that serves sessions is alive"]
    here = [each for each in fresh if each.host == facts.machine]
    if here and not any(each in serving for each in here):
        why.append("the nodes of this machine are being drained")
    admitting = [each for each in serving if not each.refuses]
    for each in [each for each in serving if each in here] if here else [] if admitting else serving:
        why += [told(each.id, ground) for ground in each.refuses]
    if abs(found.store_now - now) > SKEW_MOST:
        why.append(f"the clocks of this machine and the store differ by more than {SKEW_MOST:g} s")
    if {each.digest for each in fresh} - {digest}:
        why.append("the nodes run different configurations")
    late = [each.id for each in fresh if each.id in found.waiting]
    if any(found.waiting[each] < found.store_now - facts.lag for each in late):
        why.append(f"a node is more than {facts.lag:g} s behind the feed")
    return why
