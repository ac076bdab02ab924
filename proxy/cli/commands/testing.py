"""``tidegate config test``: can the gateway enter its targets? Asked on its machine, of its configuration file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxy.cli.commands.configuring import ConfigFile, loaded
from proxy.cli.commands.options import Json, screen_of
from proxy.cli.failures import DONE, FAILED, UNREACHABLE, USAGE, Failed
from proxy.cli.installs import needs
from proxy.cli.screen import Screen

if TYPE_CHECKING:
    from proxy.app.trial import Tried

COLUMNS: Mapping[str, str] = {"resource": "RESOURCE", "address": "ADDRESS", "who": "ACCOUNT", "result": "RESULT"}


def test(
    context: typer.Context,
    resources: Annotated[
        list[str] | None, typer.Argument(metavar="[RESOURCE]...", help="Which resources; without any: all.")
    ] = None,
    config: ConfigFile = Path("gateway.toml"),
    json: Json = False,
) -> None:
    """Whether the gateway can reach its targets, and enter them as each account.

    Run it on the gateway's machine, as its user and with its environment. Each address of each resource is
    connected to and logged in to with the real credential, by the code that sessions use, at most 5 s each; nothing
    is run there, no host key is learnt. Exit code 1 if any failed, 4 if none could be reached.
    """
    needs("server", "config test")
    from proxy.adapters.configuration import catalog
    from proxy.app.trial import try_targets
    from proxy.core.errors import Unavailable

    configured = loaded(config)
    try:
        known = catalog(configured).resources
    except Unavailable as error:
        raise Failed(str(error)) from None
    wanted = resources or list(known)
    for name in wanted:
        if name not in known:
            hint = f"there are: {', '.join(known)}" if known else ""
            raise Failed(f"there is no resource {name} in {config}", hint=hint, code=USAGE)
    tried = try_targets([each for name, each in known.items() if name in wanted], configured.keys_dir)
    code = _code(tried)
    rows = [_row(each) for each in tried]
    screen = screen_of(context)
    screen.show({"ok": code == DONE, "tried": rows}, lambda: _show(screen, rows))
    raise typer.Exit(code)


def _code(tried: Sequence["Tried"]) -> int:
    if all(each.found.ok for each in tried):
        return DONE
    return FAILED if any(each.found.reached for each in tried) else UNREACHABLE


def _row(tried: "Tried") -> dict[str, Any]:
    host, port = tried.address
    return {
        "resource": tried.resource.name,
        "protocol": tried.resource.protocol,
        "address": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        "account": tried.way.login,
        "database": tried.way.database or None,
        "control": tried.way.control,
        "ok": tried.found.ok,
        "reached": tried.found.reached,
        "result": tried.found.result,
        "next": tried.found.hint or None,
    }


def _show(screen: Screen, rows: Sequence[dict[str, Any]]) -> None:
    shown = [{**each, "who": _who(each)} for each in rows]
    screen.table(shown, COLUMNS, "there is no resource in this file")
    hints: dict[str, list[str]] = {}
    for each in shown:
        if each["next"]:
            hints.setdefault(each["next"], []).append(f"{each['resource']} as {each['account']}")
    for hint, places in hints.items():
        screen.line(f"{', '.join(dict.fromkeys(places))}\n  next: {hint}")
    failed = sum(not each["ok"] for each in rows)
    if failed:
        screen.note(f"{failed} of {len(rows)} failed")


def _who(row: dict[str, Any]) -> str:
    where = f"{row['account']}/{row['database']}" if row["database"] else row["account"]
    return f"{where} (control)" if row["control"] else where
