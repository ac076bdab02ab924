"""For operators: run the gateway or the demo, reload, rotate keys."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from proxy.cli.client import logged_in
from proxy.cli.commands.options import For, Json, checked_duration, screen_of
from proxy.cli.installs import needs

ConfigFile = Annotated[Path, typer.Option("--config", metavar="FILE", help="The configuration, TOML.")]


def serve(config: ConfigFile = Path("gateway.toml")) -> None:
    """Run the gateway until SIGTERM; SIGHUP reads the configuration again."""
    needs("server", "serve")
    from proxy.app import serve as run

    raise typer.Exit(run(config))


def demo(
    dir: Annotated[
        Path | None, typer.Option("--dir", help="Keep the world here; else it is gone at the end.")
    ] = None,
    port_base: Annotated[
        int | None, typer.Option("--port-base", help="First of the ports; else any free ones.")
    ] = None,
    postgres: Annotated[str | None, typer.Option("--postgres", help="The embedded PostgreSQL: 16 or 18.")] = None,
) -> None:
    """A whole world on this machine: a database, the gateway before it, and people. Runs until Ctrl-C."""
    needs("demo", "demo")
    from proxy.cli.demo.command import run

    raise typer.Exit(run(dir, port_base, postgres))


def reload(context: typer.Context, json: Json = False) -> None:
    """Have the gateway read its configuration again."""
    answer = logged_in().post("/v1/config/reload")
    screen = screen_of(context)
    screen.show(answer, lambda: screen.line(_reloaded(answer)))
    for each in answer.get("warnings", ()):
        screen.note(f"look at this: {each}")
    if answer["restart"]:
        screen.note(f"these act only after a restart: {', '.join(answer['restart'])}")


def _reloaded(answer: Mapping[str, Any]) -> str:
    """``reloaded; changed: …; read anew: …``: the settings, and those that lead to another content than before."""
    changed, anew = ", ".join(answer["changed"]), ", ".join(answer.get("renewed", ()))
    said = [f"changed: {changed or 'nothing'}"] if changed or not anew else []
    return "; ".join(["reloaded", *said, *([f"read anew: {anew}"] if anew else [])])


def drain(
    context: typer.Context,
    node: Annotated[
        str,
        typer.Argument(metavar="[NODE]", help="A node, or a host with all its nodes; not needed for an only host."),
    ] = "",
    duration: For = "30m",
    json: Json = False,
) -> None:
    """Take a node out of service without cutting anybody: nobody new gets in, who is there may stay for a while.

    What is left when the time is over is cut. The process stays, idle, until it is stopped; a new one serves.
    """
    asked = {"node": node, "duration": checked_duration(duration)}
    found = logged_in().post("/v1/nodes/drain", asked)["items"]
    screen = screen_of(context)
    screen.show(
        {"items": found},
        lambda: screen.table(found, {"id": "NODE", "host": "HOST", "drains": "DRAINS UNTIL"}, "there are no nodes"),
    )
    screen.note("next: watch them go with `tidegate sessions --live`, then stop the process")


def rotate(
    context: typer.Context,
    distrust: Annotated[
        bool, typer.Option("--distrust", help="A key was stolen: refuse at once what older keys signed.")
    ] = False,
    json: Json = False,
) -> None:
    """Sign tokens and SSH certificates with new keys from now on; older ones verify until they end."""
    answer = logged_in().post("/v1/keys/rotate", {"distrust": distrust})
    screen = screen_of(context)
    screen.show(answer, lambda: screen.line(f"new key {answer['kid']}"))
    if distrust:
        screen.note(
            "what was signed before is refused, log-ins too; live sessions go on: see `tidegate revoke --all`"
        )
        screen.note("next: tidegate login")
