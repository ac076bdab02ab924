"""Grants one holds: see them, ask for more time, give one back."""

from typing import Annotated

import typer

from proxy.cli.client import logged_in, part
from proxy.cli.commands.asking import ask
from proxy.cli.commands.options import For, Json, Limit, Reason, checked_duration, screen_of
from proxy.cli.failures import USAGE, Failed

Grant = Annotated[str, typer.Argument(metavar="GRANT", help="The grant.")]


def grants(
    context: typer.Context,
    all: Annotated[bool, typer.Option("--all", help="Those that are over too.")] = False,
    mine: Annotated[bool, typer.Option("--mine", help="Only your own.")] = False,
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """Grants you may see: your own and those you approved; auditors and admins see all."""
    asked = {"mine": "true" if mine else None, "active": None if all else "true"}
    found = list(logged_in().every("/v1/grants", asked, most=limit))
    rows = [{**each, "to": f"{each['account']}@{each['resource']}"} for each in found]
    headings = {
        "id": "GRANT",
        "identity": "WHO",
        "to": "ACCOUNT",
        "status": "STATUS",
        "ends": "ENDS",
        "rule": "RULE",
    }
    screen = screen_of(context)
    empty = "there are no grants" if all else "there are no grants that are not over (--all shows those too)"
    screen.show({"items": found}, lambda: screen.table(rows, headings, empty))


def extend(
    context: typer.Context,
    grant: Grant,
    duration: For = "",
    reason: Reason = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until people have decided.")] = False,
    json: Json = False,
) -> None:
    """Ask for more time for a grant; live sessions go on. Exit code 3 when it is denied."""
    if not duration:
        raise Failed("how much longer?", hint=f"tidegate extend {grant} --for 30m", code=USAGE)
    body = {"duration": checked_duration(duration), "reason": reason}
    ask(screen_of(context), f"/v1/grants/{part(grant)}/extend", body, wait=wait)


def give_back(context: typer.Context, grant: Grant, reason: Reason = "given back", json: Json = False) -> None:
    """End a grant you hold; your sessions under it end too."""
    answer = logged_in().post(f"/v1/grants/{part(grant)}/revoke", {"reason": reason})
    screen = screen_of(context)
    ended = len(answer["sessions"])
    told = f"grant {grant} is over, with {ended} session{'' if ended == 1 else 's'}"
    screen.show(answer, lambda: screen.line(told))
