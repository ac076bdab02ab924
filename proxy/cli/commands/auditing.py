"""The trail: read it, and have it verified."""

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from proxy.cli.client import logged_in
from proxy.cli.commands.options import Json, Limit, screen_of
from proxy.cli.failures import FAILED

VERIFY_WITHIN = 3600.0
"""Seconds: every row and every recording is read."""
SHOWN = (
    *("scope", "key", "name", "identity", "resource", "account", "grant", "session", "request", "jti", "kid"),
    *("status", "why", "reason", "end_reason"),
)


def log(
    context: typer.Context,
    kind: Annotated[str, typer.Option("--kind", help="Only events of this kind, as grant_revoked.")] = "",
    actor: Annotated[str, typer.Option("--actor", help="Only what this person did.")] = "",
    about: Annotated[str, typer.Option("--about", help="As session:ID, grant:ID or identity:NAME.")] = "",
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """Events of the trail, newest first. For auditors and admins."""
    asked = {"kind": kind, "actor": actor, "subject": about}
    names: dict[str, str] = {}
    found = list(logged_in().every("/v1/audit/events", asked, most=limit, names=names))
    rows = [
        {**each, "actor": names.get(each["actor"], each["actor"]), "what": _told(each, names)} for each in found
    ]
    headings = {"seq": "SEQ", "at": "AT", "kind": "EVENT", "actor": "BY", "what": "WHAT"}
    screen = screen_of(context)
    screen.show(
        {"items": found, "names": names}, lambda: screen.table(rows, headings, "the trail holds nothing like that")
    )


def verify(context: typer.Context, json: Json = False) -> None:
    """Whether the trail is whole and the recordings are what it says. Exit code 1 when something is not."""
    api = logged_in()
    screen = screen_of(context)
    if sys.stderr.isatty():
        last = api.get("/v1/audit/events", limit=1)["items"]
        rows = last[0]["seq"] if last else 0
        screen.note(f"going through {rows} rows and the recordings they speak of …")
    api.timeout = VERIFY_WITHIN
    found = api.get("/v1/audit/verify")
    screen.show(found, lambda: screen.line("\n".join(_whole(found) if found["ok"] else _broken(found))))
    if not found["ok"]:
        raise typer.Exit(FAILED)


def _whole(found: dict[str, Any]) -> list[str]:
    """What was looked at, and what that does not say."""
    signed = f"signed up to row {found['signed']}" if found["signed"] else "not signed yet"
    lines = [f"the trail is whole: {found['rows']} rows, {found['heads']} signed heads, {signed}"]
    if found["erased"]:
        lines.append(f"  {found['erased']} rows erased")
    lines.append(f"recordings: {found['recordings']} are what the trail says")
    if found["unsealed"]:
        lines.append(
            f"  {found['unsealed']} have no seal to compare with: their session's node or recorder was lost"
        )
    if found["deleted"]:
        lines.append(f"  {found['deleted']} were deleted when their time was up")
    if found["elsewhere"]:
        lines.append(f"  {found['elsewhere']} are on other machines: ask the API there")
    return lines


def _broken(found: dict[str, Any]) -> list[str]:
    lines = ["SOMEBODY CHANGED WHAT MUST NOT CHANGE", *(f"  {each}" for each in found["problems"])]
    if found["more"]:
        lines.append(f"  and {found['more']} more")
    if found["erased"]:
        lines.append(f"{found['erased']} rows erased")
    lines.append(f"{found['rows']} rows and {found['recordings']} recordings are good")
    return lines


def _told(row: dict[str, Any], names: Mapping[str, str]) -> str:
    """What a row tells, with the names of persons for their ids."""
    if row["format"] > 1 and not row["salt"]:
        return "(erased)"
    body = row["body"]
    persons = {"identity", "key"} if body.get("scope") == "identity" else {"identity"}
    said = {name: body[name] for name in SHOWN if body.get(name)}
    return " ".join(
        f"{name}={names.get(value, value) if name in persons else value}" for name, value in said.items()
    )
