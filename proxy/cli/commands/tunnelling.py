"""``tidegate connect`` for a TCP resource: a local port, or socket, for programs that cannot CONNECT."""

import asyncio
import os
import sys
from pathlib import Path

from proxy.cli.client import Api, tls_context
from proxy.cli.documents import json_text
from proxy.cli.failures import UNREACHABLE, USAGE, Failed
from proxy.cli.screen import Screen
from proxy.cli.tokens import Ticket, ticket


def tunnel(screen: Screen, api: Api, made: Ticket, at: int | Path | None) -> None:
    """Serve at a port of 127.0.0.1 or a unix socket until Ctrl-C. ``TIDEGATE_TCP_HOST`` and ``TIDEGATE_TCP_PORT``
    win over what the gateway says of itself."""
    from proxy.cli.connect.tcp import Far, Tunnels, until_told

    if at is None:
        what = f"{made.resource} speaks TCP: say where programs of this machine can reach it"
        raise Failed(what, hint=f"tidegate connect {made.resource} --listen 7000", code=USAGE)
    port = os.environ.get("TIDEGATE_TCP_PORT") or made.port
    if not port:
        raise Failed("the gateway has no listener for TCP", hint="ask its operator", code=UNREACHABLE)
    host = os.environ.get("TIDEGATE_TCP_HOST") or made.host or api.host
    context = tls_context(api.ca)
    context.set_alpn_protocols(["http/1.1"])

    async def fresh() -> str:
        # the grant of now: a new one for the same account carries on where an old one ended
        return (await asyncio.to_thread(ticket, api, made.resource, made.account)).token

    def ready(where: str) -> None:
        if screen.json:
            sys.stdout.write(json_text({**_named(at, where), "resource": made.resource}) + "\n")
        else:
            screen.facts([("listening", where), ("resource", made.resource), ("until", made.ends)])
            if not isinstance(at, Path):
                screen.note("anybody on this machine who can reach this port can use it; with --socket only you")
            screen.note("Ctrl-C closes it and what uses it")
        sys.stdout.flush()

    far = Far(host, int(port), context, made.resource)
    asyncio.run(until_told(Tunnels(far, fresh, lambda text: screen.note(f"tidegate: {text}")), at, ready))


def _named(at: int | Path, where: str) -> dict[str, object]:
    """What a program needs to connect."""
    if isinstance(at, Path):
        return {"socket": where}
    host, _, port = where.rpartition(":")
    return {"host": host, "port": int(port)}
