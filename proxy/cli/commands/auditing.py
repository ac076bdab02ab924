"""The trail: read it, and have it verified."""

import sys
import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from proxy.cli.client import Api, logged_in
from proxy.cli.commands.options import Json, Limit, screen_of
from proxy.cli.failures import FAILED, USAGE, Failed
from proxy.cli.kept_heads import compared, pinned, read

VERIFY_WITHIN = 3600.0
"""Seconds: every row and every recording is read."""
ADMITTED_WITHIN = 15.0
POLL_EVERY = 0.2
SHOWN_MOST = 20
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


def verify(
    context: typer.Context,
    against: Annotated[
        str,
        typer.Option(
            "--against",
            metavar="FILE|URL",
            help="Signed heads that were kept elsewhere: a file, a folder, or an https address.",
        ),
    ] = "",
    key: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="KID=KEY", help="With --against: the only keys that are believed."),
    ] = None,
    json: Json = False,
) -> None:
    """Whether the trail is whole and the recordings are what it says. Exit code 1 when something is not.

    Somebody who has this machine can change what it remembers: heads that were kept elsewhere show that too.
    """
    if key and not against:
        raise Failed("--key is for heads that were kept elsewhere", hint="--against FILE|URL", code=USAGE)
    heads, keys = (read(against), pinned(key or ()) if key else {}) if against else ([], {})
    api = logged_in()
    screen = screen_of(context)
    if sys.stderr.isatty():
        last = api.get("/v1/audit/events", limit=1)["items"]
        rows = last[0]["seq"] if last else 0
        screen.note(f"going through {rows} rows and the recordings they speak of …")
    api.timeout = VERIFY_WITHIN
    found = api.get("/v1/audit/verify")
    if heads:
        found["against"] = compared(api, heads, keys)
    good = found["ok"] and (not heads or found["against"]["ok"])
    screen.show(found, lambda: screen.line("\n".join(_told_of(found, good))))
    if not good:
        raise typer.Exit(FAILED)


def restored(
    context: typer.Context,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Which backup, and why; for the trail.")],
    json: Json = False,
) -> None:
    """Say that the store was put back from a backup: everything is revoked, and the trail goes on from here.

    Until it is said, a store that is older than what was signed last admits nobody: it does not know of what was
    revoked since.
    """
    api = logged_in()
    done = api.post("/v1/audit/restored", {"reason": reason})
    why = _not_ready(api)
    screen = screen_of(context)
    lost = f"; rows {done['seq']} to {done['lost']} of before are lost" if done["lost"] >= done["seq"] else ""
    ended = len(done["revoked"]["grants"])
    screen.show(
        done, lambda: screen.line(f"the trail goes on from row {done['seq']}{lost}; {ended} grants were revoked")
    )
    screen.note(f"nobody is admitted yet: {why}" if why else "people are admitted again")
    screen.note("locks, and revocations of single tokens and log-ins, that came after the backup are lost too:")
    screen.note(
        "next: set the locks again, and `tidegate keys rotate --distrust` where a token or log-in was revoked"
    )


def _not_ready(api: Api) -> str:
    """Why people are not admitted, once the nodes had time to see what was said; "" when they are."""
    deadline = time.monotonic() + ADMITTED_WITHIN
    while True:
        try:
            api.get("/readyz")
        except Failed as failed:
            if time.monotonic() > deadline:
                return "; ".join(failed.problem.get("reasons", ())) or failed.what
        else:
            return ""
        time.sleep(POLL_EVERY)


def _told_of(found: dict[str, Any], good: bool) -> list[str]:
    """Everything that was found, the verdict first."""
    lines = _whole(found) if found["ok"] else _broken(found)
    if "against" in found:
        lines += _against(found["against"], found["rows"])
    lines += [f"note: {each}" for each in found["remarks"]]
    return lines if found["ok"] is good else ["SOMEBODY CHANGED WHAT MUST NOT CHANGE", *lines]


def _against(told: dict[str, Any], rows: int) -> list[str]:
    """What became of heads that were kept elsewhere."""
    lines = [
        f"heads kept elsewhere: the trail bears out {told['good']} of {told['heads']}, up to row {told['newest']}"
    ]
    if told["explained"]:
        lines.append(
            f"  {told['explained']} are of rows that were lost when the store was put back, as the trail says"
        )
    if told["newest"] < rows:
        lines.append(f"  none was kept of rows {told['newest'] + 1} to {rows}")
    lines += [f"  {each}" for each in told["problems"][:SHOWN_MOST]]
    lines += [f"  {each}: it proves nothing" for each in told["unsigned"][:SHOWN_MOST]]
    more = max(0, len(told["problems"]) - SHOWN_MOST) + max(0, len(told["unsigned"]) - SHOWN_MOST)
    return [*lines, f"  and {more} more"] if more else lines


def _whole(found: dict[str, Any]) -> list[str]:
    """What was looked at, and what that does not say."""
    signed = f"signed up to row {found['signed']}" if found["signed"] else "not signed yet"
    lines = [f"the trail is whole: {found['rows']} rows, {found['heads']} signed heads, {signed}"]
    if found["erased"]:
        lines.append(f"  {found['erased']} rows erased")
    count = found["recordings"]
    lines.append(f"recordings: {count} {'is' if count == 1 else 'are'} what the trail says")
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
