"""Getting in: a token, a client that is already connected, a passfile that stays fresh."""

import asyncio
import os
import secrets
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxy.cli.client import Api, logged_in, part
from proxy.cli.commands.certifying import run_ssh
from proxy.cli.commands.options import As, Json, screen_of
from proxy.cli.documents import json_text
from proxy.cli.failures import UNREACHABLE, USAGE, Failed
from proxy.cli.screen import Screen
from proxy.cli.tokens import Ticket, ticket

if TYPE_CHECKING:
    from proxy.cli.connect.passfile import PassFile
    from proxy.cli.connect.postgres import Relay

Resource = Annotated[str, typer.Argument(metavar="RESOURCE", help="The resource.")]
REFRESH_AT = 0.5
RETRY_EVERY = 5.0


def token(context: typer.Context, resource: Resource, account: As = "", json: Json = False) -> None:
    """A token for your active grant, alone on standard output: the password of any client, for minutes.

    Exit code 3 when you have no active grant.
    """
    from proxy.cli.quick import print_token

    print_token(resource, account, screen_of(context).json)


def connect(
    context: typer.Context,
    resource: Resource,
    args: Annotated[list[str] | None, typer.Argument(metavar="[-- ARGS]", help="For the client, after --.")] = None,
    account: As = "",
    listen: Annotated[
        int | None,
        typer.Option(
            "--listen", metavar="PORT", min=0, max=65535, help="A local port for any client; 0: any free."
        ),
    ] = None,
    no_secret: Annotated[
        bool, typer.Option("--no-secret", help="Let anybody on this machine use the port of --listen.")
    ] = False,
    unix: Annotated[
        Path | None, typer.Option("--socket", metavar="PATH", help="For TCP: a unix socket only you can open.")
    ] = None,
    json: Json = False,
) -> None:
    """Connect to a resource: runs psql or ssh, or with --listen opens a local port for any client.

    Every connection gets a fresh token or certificate. Without --listen the exit code is the client's own. The
    local port of a TCP resource can ask for no password: anybody on this machine who can reach it can use it
    (--socket: only you).
    """
    api = logged_in()
    shown = _shown(api, resource)
    if shown.get("protocol") == "ssh":
        if listen is not None:
            raise Failed("ssh needs no local port", hint="tidegate ssh-config", code=USAGE)
        raise typer.Exit(asyncio.run(run_ssh(api, shown, account, args or [])))
    made = ticket(api, resource, account)
    if made.protocol == "tcp":
        from proxy.cli.commands.tunnelling import tunnel

        tunnel(screen_of(context), api, made, unix or listen)
        return
    if unix is not None:
        raise Failed("--socket is for TCP resources", code=USAGE)
    way = _way(api, made)
    if listen is None:
        raise typer.Exit(asyncio.run(_run_psql(api, made, way, args or [])))
    secret = "" if no_secret else secrets.token_urlsafe(12)
    asyncio.run(_listen(screen_of(context), api, made, way, (listen, secret)))


def _shown(api: Api, resource: str) -> dict[str, Any]:
    """The resource as the API shows it: what is spoken there must be known before a token is made, which SSH needs
    none of. Empty where it is not for the caller: that there is no grant says more."""
    try:
        return dict(api.get(f"/v1/resources/{part(resource)}"))
    except Failed as failed:
        if failed.problem.get("status") == 404:
            return {}
        raise


def passfile(
    context: typer.Context,
    resource: Resource,
    account: As = "",
    file: Annotated[Path, typer.Option("--file", help="Where; your client reads it as PGPASSFILE.")] = Path(
        "tidegate.pgpass"
    ),
    once: Annotated[bool, typer.Option("--once", help="Write it once and stop.")] = False,
    json: Json = False,
) -> None:
    """Keep a password file (mode 0600) with a fresh token, for psql's \\c and clients that reconnect.

    Runs until Ctrl-C or the end of the grant, and then takes the file away. A file that holds anything else, your
    own ~/.pgpass say, is neither replaced nor taken away.
    """
    from proxy.cli.connect.passfile import PassFile

    api = logged_in()
    screen = screen_of(context)
    made = ticket(api, resource, account)
    way = _way(api, made)
    kept = PassFile(file, passfile_entry(way, made.account))
    kept.write(made.token)
    told = {"file": str(file.resolve()), "host": way.host, "port": way.port, "user": made.account}
    stays = False
    try:  # a token that nobody was told of is taken away too
        # people put this line before a command of theirs
        screen.show(told, lambda: screen.line(f"PGPASSFILE={shlex.quote(str(file.resolve()))}"))
        sys.stdout.flush()
        stays = once
        if not once:
            asyncio.run(_keep_fresh(screen, api, made, kept))
    finally:
        if not stays:
            kept.remove()


@dataclass(frozen=True, slots=True)
class Way:
    """Where the gateway listens for this resource's protocol, and a database of the grant."""

    host: str
    port: int
    database: str


def _way(api: Api, made: Ticket) -> Way:
    """``TIDEGATE_PG_HOST`` and ``TIDEGATE_PG_PORT`` win over what the gateway says of itself."""
    if made.protocol not in ("", "postgres"):
        raise Failed(f"this command does not know {made.protocol} resources", code=USAGE)
    port = os.environ.get("TIDEGATE_PG_PORT") or made.port
    if not port:
        raise Failed("the gateway has no listener for PostgreSQL", hint="ask its operator", code=UNREACHABLE)
    host = os.environ.get("TIDEGATE_PG_HOST") or made.host or api.host
    return Way(host, int(port), next(iter(made.databases), made.resource))


def _relay(api: Api, made: Ticket, way: Way, secret: str = "") -> "Relay":
    from proxy.cli.client import tls_context
    from proxy.cli.connect.postgres import Gateway, Pass, Relay

    context = tls_context(api.ca)
    context.set_alpn_protocols(["postgresql"])

    async def fresh() -> Pass:
        # the grant of now: a new one for the same account carries on where an old one ended
        now = await asyncio.to_thread(ticket, api, made.resource, made.account)
        return Pass(now.account, now.token)

    return Relay(Gateway(way.host, way.port, context), fresh, secret=secret)


async def _run_psql(api: Api, made: Ticket, way: Way, args: list[str]) -> int:
    from proxy.cli.connect.clients import psql, psql_environment
    from proxy.cli.connect.local import private_socket, run_client

    program = psql(os.environ)
    async with private_socket(_relay(api, made, way)) as folder:
        environment = psql_environment(os.environ, folder, made.account, way.database)
        return await run_client([str(program), *args], environment)


async def _listen(screen: Screen, api: Api, made: Ticket, way: Way, at: tuple[int, str]) -> None:
    from proxy.cli.connect.local import LOCAL, local_port, until_stopped

    port, secret = at
    async with local_port(_relay(api, made, way, secret), port) as number:
        told = {"host": LOCAL, "port": number, "user": made.account, "database": way.database, "password": secret}
        if screen.json:
            sys.stdout.write(json_text(told) + "\n")
        else:
            screen.facts([*told.items(), ("until", made.ends)])
            screen.note("Ctrl-C closes the port and what uses it")
        sys.stdout.flush()
        await until_stopped()


def passfile_entry(way: Way, account: str) -> str:
    """A line for libpq (manual, chapter 34.16) up to the token: any database, since that is for the grant's own."""
    host, user = (text.replace("\\", "\\\\").replace(":", "\\:") for text in (way.host, account))
    return f"{host}:{way.port}:*:{user}:"


async def _keep_fresh(screen: Screen, api: Api, made: Ticket, kept: "PassFile") -> None:
    """Write a new token at half of each one's life; a gateway that is away is asked again until it answers."""
    from proxy.cli.connect.local import alone, until_stopped

    async def refresh() -> None:
        wait = made.life * REFRESH_AT
        while True:
            await asyncio.sleep(wait)
            try:
                fresh = await asyncio.to_thread(ticket, api, made.resource, made.account)
            except Failed as failed:
                if failed.code != UNREACHABLE:
                    raise
                screen.note(f"{failed.what}; trying again")
                wait = RETRY_EVERY
                continue
            kept.write(fresh.token)
            wait = fresh.life * REFRESH_AT

    try:
        async with asyncio.TaskGroup() as tasks:
            refreshing = tasks.create_task(refresh())
            await until_stopped()
            refreshing.cancel()
    except BaseExceptionGroup as group:
        raise alone(group) from None
