"""Taking nodes out of service without cutting anybody: who is there stays for a while, nobody new comes.

It is said in the node's own row of the store, which each node reads with its next sign of life, so that it holds
however much of the feed a node has missed; with the process, it ends. Called by the API.
"""

from dataclasses import replace

from proxy.core.errors import NotFound, PeerError
from proxy.core.events import DrainOrdered
from proxy.core.identity import Who, names
from proxy.core.ports import Node, Store, Writer


async def drain(store: Store, by: Who, name: str, seconds: float) -> tuple[Node, ...]:
    """Drain the node, or all nodes of the host, called ``name``; "" is the only host there is. What it has then has
    ``seconds`` to end by itself. Said again, it changes the time. ``NotFound``, or ``PeerError`` where "" could be
    several."""

    def unit(writer: Writer) -> tuple[Node, ...]:
        until = writer.now() + seconds
        drained = tuple(replace(each, drains=until) for each in _named(writer.nodes(), name))
        for node in drained:
            writer.put_node(node)
            writer.append(DrainOrdered(actor=by[0], node=node.id, until=until, names=names(by)))
        return drained

    return await store.commit(unit)


def _named(nodes: list[Node], name: str) -> list[Node]:
    hosts = sorted({each.host for each in nodes})
    if not name and len(hosts) > 1:
        raise PeerError(
            "there are several hosts", hint=f"name one of {', '.join(hosts)}, or a node", code="conflict"
        )
    found = [each for each in nodes if name in ("", each.id, each.host)]
    if not found:
        raise NotFound("no such node", hint="see `tidegate nodes`")
    return found
