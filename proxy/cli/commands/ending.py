"""Ending access: revoke, cut, lock and unlock, each telling what it touched and how fast."""

import time
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from proxy.cli.client import Api, logged_in, part
from proxy.cli.commands.options import Json, Reason, screen_of
from proxy.cli.failures import FAILED, USAGE, Failed
from proxy.cli.screen import Screen

POLL_EVERY = 0.1
WAIT_MOST = 15.0

User = Annotated[str, typer.Option("--user", metavar="USER", help="Everything of this person.")]
OnResource = Annotated[str, typer.Option("--resource", metavar="RESOURCE", help="Everything on this resource.")]
NeededReason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; whoever is cut reads it.")]


def revoke(
    context: typer.Context,
    grant: Annotated[str, typer.Argument(metavar="[GRANT]", help="One grant.")] = "",
    user: User = "",
    resource: OnResource = "",
    token: Annotated[
        str, typer.Option("--token", metavar="JTI", help="One token, by the id in it: jti in the trail.")
    ] = "",
    all: Annotated[bool, typer.Option("--all", help="Every grant there is.")] = False,
    reason: Reason = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do it; else only say what would end.")] = False,
    json: Json = False,
) -> None:
    """End grants and cut every session under them. Without --yes it only says what would end."""
    scopes = {"grant": grant, "identity": user, "resource": resource, "token": token}
    named = [(scope, key) for scope, key in scopes.items() if key] + ([("all", "")] if all else [])
    if len(named) != 1:
        raise Failed(
            "say what to revoke", hint="one of: GRANT, --user U, --resource R, --token JTI, --all", code=USAGE
        )
    if token.startswith("eyJ"):
        hint = "its id is the jti of `tidegate token --json`, or of token_issued in `tidegate audit log`"
        raise Failed("that is the token itself, not its id", hint=hint, code=USAGE)
    if yes and not reason:
        raise Failed("whoever is cut reads the reason", hint="--reason TEXT", code=USAGE)
    (scope, key), api, screen = named[0], logged_in(), screen_of(context)
    body = {"scope": scope, "key": key, "reason": reason, "dry_run": not yes}
    made = api.post("/v1/revocations", body)
    if yes:
        _follow(api, screen, made, "revoked")
        return
    screen.show(made, lambda: _would(screen, made))


def cut(
    context: typer.Context,
    session: Annotated[str, typer.Argument(metavar="SESSION", help="The session.")],
    reason: NeededReason,
    json: Json = False,
) -> None:
    """End one live session; its grant stays."""
    api = logged_in()
    made = api.post(f"/v1/sessions/{part(session)}/cut", {"reason": reason})
    _follow(api, screen_of(context), made, "ordered the cut of")


def lock(
    context: typer.Context, user: User = "", resource: OnResource = "", reason: Reason = "", json: Json = False
) -> None:
    """Lock a person or resource: no log-in, request, token or session until unlocked. Live sessions end."""
    scope, key = _lockable(user, resource)
    if not reason:
        raise Failed("whoever is cut reads the reason", hint="--reason TEXT", code=USAGE)
    api = logged_in()
    made = api.post("/v1/locks", {"scope": scope, "key": key, "reason": reason})
    _follow(api, screen_of(context), made, "locked")


def unlock(context: typer.Context, user: User = "", resource: OnResource = "", json: Json = False) -> None:
    """Take a lock away."""
    scope, key = _lockable(user, resource)
    logged_in().delete(f"/v1/locks?{urlencode({'scope': scope, 'key': key})}")
    screen = screen_of(context)
    screen.show({"scope": scope, "key": key, "locked": False}, lambda: screen.line(f"{key} is unlocked"))


def locks(context: typer.Context, json: Json = False) -> None:
    """Who and what is locked."""
    found = logged_in().get("/v1/locks")["items"]
    headings = {"scope": "WHAT", "key": "NAME", "by": "BY", "at": "SINCE", "reason": "REASON"}
    screen = screen_of(context)
    rows = [{**each, "key": _with_id(each)} for each in found]
    screen.show({"items": found}, lambda: screen.table(rows, headings, "nothing is locked"))


def _with_id(lock: Mapping[str, Any]) -> str:
    """What is locked, with the id where that is another: either unlocks it."""
    return str(lock["key"]) if lock["id"] == lock["key"] else f"{lock['key']} ({lock['id']})"


def _lockable(user: str, resource: str) -> tuple[str, str]:
    if bool(user) == bool(resource):
        raise Failed("say whom or what", hint="--user U or --resource R", code=USAGE)
    return ("identity", user) if user else ("resource", resource)


def _would(screen: Screen, made: Mapping[str, Any]) -> None:
    if made["scope"] == "token":
        screen.line(
            f"this would have token {made['key']} refused, and cut every session it opened; its grant stays"
        )
    else:
        counts = f"{_count(made['grants'], 'grant')} and cut {_count(made['sessions'], 'session')}"
        screen.line(f"this would end {counts}:")
    for grant in made["grants"]:
        screen.line(f"  {grant['id']}  {grant['identity']}  {grant['account']}@{grant['resource']}")
    _touched(screen, made)
    screen.line('nothing was done; to do it add --yes --reason "…"')


def _touched(screen: Screen, made: Mapping[str, Any]) -> None:
    for session in made["sessions"]:
        runs = f"  runs: {' '.join(session['statement'].split())[:60]}" if session["statement"] else ""
        screen.line(f"  {session['id']}  {session['identity']}  {session['account']}@{session['resource']}{runs}")


def _follow(api: Api, screen: Screen, made: Mapping[str, Any], verb: str) -> None:
    """Watch the receipts come in, and say how it went. Exit code 1 when something has not ended in time."""
    if not screen.json:
        of = made["key"] or "everything"
        counts = f"{_count(made['grants'], 'grant')}, {_count(made['sessions'], 'session')} live"
        screen.line(f"{verb} {of}" if made["scope"] == "token" else f"{verb} {of}: {counts}")
        _touched(screen, made)
    waited_until = time.monotonic() + WAIT_MOST
    found = api.get(f"/v1/revocations/{made['seq']}")
    while not found["done"] and time.monotonic() < waited_until:
        time.sleep(POLL_EVERY)
        found = api.get(f"/v1/revocations/{made['seq']}")
    screen.show({**made, "progress": found}, lambda: screen.line(summary(found)))
    if not found["done"]:
        raise typer.Exit(FAILED)


def summary(found: Mapping[str, Any]) -> str:
    """``cut 2 sessions; slowest 11 ms``, and what has not ended."""
    if found["scope"] == "token":
        said = "every node has ended what it opened" if found["done"] else "not every node has ended what it opened"
    else:
        said = f"cut {_count(found['ended'], 'session')}"
    times = [each["milliseconds"] for each in found["ended"] if each["milliseconds"] is not None]
    if times:
        said += f"; slowest {max(times):.0f} ms"
    if found["live"]:
        said += f"; STILL LIVE: {', '.join(each['session'] for each in found['live'])}"
    if found["unconfirmed"]:
        said += f"; not confirmed by: {', '.join(found['unconfirmed'])}"
    return said


def _count(things: list[Any], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"
