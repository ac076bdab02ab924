"""The configuration file: check it, its schema, and what policy would say. Commands of the server's install."""

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.cli.commands.options import As, For, Json, Reason, checked_duration, screen_of
from proxy.cli.documents import json_text
from proxy.cli.failures import DENIED, Failed
from proxy.cli.installs import needs

if TYPE_CHECKING:
    from gateway_config.schema import Config

ConfigFile = Annotated[Path, typer.Option("--config", metavar="FILE", help="The configuration, TOML.")]


def check(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="The configuration, TOML.")] = None,
    config: ConfigFile = Path("gateway.toml"),
    json: Json = False,
) -> None:
    """Everything that is wrong with the configuration, each with its place. Exit code 1 if anything is.

    Locks that hold nobody are told where the store can be looked into.
    """
    needs("server", "config check")
    from gateway_config.cautions import cautions

    path = file or config
    good = loaded(path)
    warnings = [*cautions(good), *_stray_locks(good)]
    screen = screen_of(context)
    screen.show({"ok": True, "problems": [], "warnings": warnings}, lambda: screen.line(f"{path} is good"))
    for each in warnings:
        screen.note(f"look at this: {each}")


def _stray_locks(config: "Config") -> list[str]:
    """What the locks in the store say of this file; nothing where there is no store here, or it is away."""
    from proxy.access.stray_locks import stray_locks
    from proxy.adapters.configuration import catalog
    from proxy.adapters.store.glance import locks_in
    from proxy.app.foundation import store_url
    from proxy.core.errors import Unavailable

    try:
        return list(stray_locks(catalog(config), asyncio.run(locks_in(store_url(config)))))
    except Unavailable:
        return []


def schema(json: Json = False) -> None:
    """The JSON Schema of the configuration, for editors."""
    needs("server", "config schema")
    from gateway_config.schema import schema as schema_of

    sys.stdout.write(json_text(schema_of(), indent=2) + "\n")


def explain(
    context: typer.Context,
    user: Annotated[str, typer.Option("--user", help="Who would ask.")],
    resource: Annotated[str, typer.Option("--resource", help="For which resource.")],
    account: As,
    duration: For = "30m",
    reason: Reason = "",
    source: Annotated[
        str,
        typer.Option("--from", metavar="ADDRESS", help="From which IP; without it no rule with networks matches."),
    ] = "",
    config: ConfigFile = Path("gateway.toml"),
    json: Json = False,
) -> None:
    """What policy would say to a request, and every rule it looked at. Exit code 3 when it would say no."""
    needs("server", "config explain")
    from gateway_config.durations import duration as seconds
    from proxy.adapters.configuration import catalog
    from proxy.core.access import Outcome
    from proxy.core.errors import Unavailable
    from proxy.core.events import plain
    from proxy.policy.decide import Ask, decide
    from proxy.policy.words import explain as explained

    configured = loaded(config)
    try:
        known = catalog(configured)
    except Unavailable as error:
        raise Failed(str(error)) from None
    who, what_for = known.identities.get(known.id_of(user)), known.resources.get(resource)
    if who is None or what_for is None:
        what = f"user {user}" if who is None else f"resource {resource}"
        raise Failed(f"there is no {what} in {config}")
    asked = Ask(who, what_for, account, seconds(checked_duration(duration)), reason, source)
    decision = decide(known.rules, asked)
    screen = screen_of(context)
    screen.show(plain(decision), lambda: screen.line(explained(decision)))
    if decision.outcome is Outcome.DENY:
        raise typer.Exit(DENIED)


def loaded(path: Path) -> "Config":
    """The configuration, or the command's end with all that is wrong with it."""
    from gateway_config.loading import load
    from gateway_config.problems import ConfigProblems

    try:
        return load(path, environ=os.environ)
    except ConfigProblems as found:
        fields = [
            {
                "place": found.place(each),
                "path": each.path,
                "line": each.line,
                "problem": each.message,
            }
            for each in found.problems
        ]
        what = f"{path} has {len(fields)} problem{'s' if len(fields) != 1 else ''}"
        raise Failed(what, problem={"detail": what, "fields": fields}) from None
